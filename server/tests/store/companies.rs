//! Companies, configurations, artifacts and tokens.

use crate::support::{MINIMAL_DOCUMENT, TestDatabase};
use unbox_common::{
    digest::Sha256,
    ids::{ArtifactId, CompanyId, ConfigurationId, TokenId},
    timestamp::Timestamp,
};
use unbox_server::{
    domain::{
        catalogue::{
            artifact::Artifact,
            configuration::{Configuration, Document},
        },
        devices::token::Token,
        tenancy::{
            actor::Scope,
            company::{Company, CompanyKind, Terms},
        },
    },
    store::{ArtifactsOf, CompanyFilter, PageRequest, StoreError, Tx},
};

const NOW: Timestamp = Timestamp(1000);

fn company(id: i64, kind: CompanyKind, name: &str) -> Company {
    Company {
        id: CompanyId::new(id).unwrap(),
        kind,
        name: name.parse().unwrap(),
        default_configuration: None,
        parent: None,
        terms: Terms::Accepted,
        language: None,
        workspace: None,
        device_protection: false,
        factory_keys: false,
        created_at: NOW,
    }
}

fn configuration(id: i64, customer: i64, name: &str) -> Configuration {
    Configuration {
        id: ConfigurationId::new(id).unwrap(),
        customer: CompanyId::new(customer).unwrap(),
        name: name.parse().unwrap(),
        document: Document::parse(MINIMAL_DOCUMENT).unwrap(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Writes a company, and says whether it was new.
pub(super) async fn add_company(db: &TestDatabase, id: i64, kind: CompanyKind, name: &str) -> bool {
    let new = company(id, kind, name);
    db.store.write(move |tx: &mut Tx| tx.insert_company(&new)).await.unwrap()
}

async fn add_configuration(db: &TestDatabase, new: Configuration) -> bool {
    db.store.write(move |tx: &mut Tx| tx.insert_configuration(&new)).await.unwrap()
}

async fn names_are_unique_within_a_kind(db: TestDatabase) {
    assert!(add_company(&db, 1, CompanyKind::Customer, "Acme").await);
    assert!(add_company(&db, 2, CompanyKind::Reseller, "Acme").await);
    assert!(!add_company(&db, 3, CompanyKind::Customer, "Acme").await);
    let found = db
        .read(move |reader| reader.company_named(Scope::Operator, CompanyKind::Reseller, "Acme"))
        .await
        .unwrap();
    assert_eq!(found, company(2, CompanyKind::Reseller, "Acme"));
    assert_eq!(
        db.read(move |reader| reader.company_named(Scope::Operator, CompanyKind::Customer, "acme")).await,
        None
    );
}

async fn a_name_in_use_cannot_be_taken_over(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_company(&db, 2, CompanyKind::Customer, "Bolt").await;
    let rename = |to: &'static str| {
        db.store.write(move |tx: &mut Tx| tx.update_company(&company(2, CompanyKind::Customer, to)))
    };
    assert!(!rename("Acme").await.unwrap());
    assert!(rename("Bolt").await.unwrap(), "its own name is free");
    assert!(rename("Cog").await.unwrap());
}

async fn a_tenant_sees_only_its_own(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_company(&db, 2, CompanyKind::Customer, "Bolt").await;
    add_configuration(&db, configuration(10, 1, "Kiosk")).await;
    let (acme, bolt) =
        (Scope::Customer(CompanyId::new(1).unwrap()), Scope::Customer(CompanyId::new(2).unwrap()));
    let id = ConfigurationId::new(10).unwrap();
    assert!(db.read(move |reader| reader.configuration(acme, id)).await.is_some());
    assert_eq!(db.read(move |reader| reader.configuration(bolt, id)).await, None);
    let seen = db.read(move |reader| reader.configurations(bolt, None, &PageRequest::default())).await;
    assert!(seen.items.is_empty());
    let companies = db
        .read(move |reader| reader.companies(bolt, &CompanyFilter::default(), &PageRequest::default()))
        .await
        .items;
    assert_eq!(companies.iter().map(|one| one.id.get()).collect::<Vec<_>>(), [2]);
}

async fn pages_follow_each_other_without_gap(db: TestDatabase) {
    for id in 1..=5 {
        add_company(&db, id, CompanyKind::Customer, &format!("Customer {id}")).await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let request = PageRequest { size: Some(2), after };
        let page = db
            .read(move |reader| reader.companies(Scope::Operator, &CompanyFilter::default(), &request))
            .await;
        seen.extend(page.items.iter().map(|one| one.id.get()));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

async fn a_configuration_is_known_by_what_uses_it(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    assert!(add_configuration(&db, configuration(10, 1, "Kiosk")).await);
    assert!(!add_configuration(&db, configuration(11, 1, "Kiosk")).await, "a customer's names are unique");
    let (customer, id) = (CompanyId::new(1).unwrap(), ConfigurationId::new(10).unwrap());
    assert_eq!(db.read(move |reader| reader.configuration_use(id)).await, None);
    db.store.write(move |tx: &mut Tx| tx.set_default_configuration(customer, Some(id), NOW)).await.unwrap();
    let used = db.read(move |reader| reader.configuration_use(id)).await;
    assert_eq!(used, Some(unbox_server::store::Use::Default));
}

async fn a_token_is_revoked_once(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    let token = Token {
        id: TokenId::new(20).unwrap(),
        customer: CompanyId::new(1).unwrap(),
        name: "Lab".parse().unwrap(),
        configuration: None,
        created_at: NOW,
        expires_at: Some(Timestamp(5000)),
        revoked_at: None,
    };
    let (id, new) = (token.id, token.clone());
    db.store.write(move |tx: &mut Tx| tx.insert_token(&new, Sha256::of(b"secret"))).await.unwrap();
    assert_eq!(db.read(move |reader| reader.token(Scope::Operator, id)).await, Some(token));
    let revoke = || db.store.write(move |tx: &mut Tx| tx.revoke_token(id, Timestamp(2000)));
    revoke().await.unwrap();
    assert!(matches!(revoke().await, Err(StoreError::Touched { expected: 1, touched: 0, .. })));
}

async fn artifacts_are_listed_by_age(db: TestDatabase) {
    let artifacts: Vec<Artifact> = [b"a".as_slice(), b"b", b"c"]
        .into_iter()
        .zip(1..)
        .map(|(bytes, id)| Artifact {
            id: ArtifactId::new(id).unwrap(),
            customer: None,
            sha256: Sha256::of(bytes),
            size: 1,
            name: "dpc.tar".parse().unwrap(),
            created_at: NOW,
        })
        .collect();
    let new = artifacts.clone();
    let inserted = db
        .store
        .write(move |tx: &mut Tx| {
            let mut inserted = Vec::new();
            for artifact in new.iter().chain(&new) {
                inserted.push(tx.insert_artifact(artifact)?);
            }
            Ok::<_, StoreError>(inserted)
        })
        .await
        .unwrap();
    assert_eq!(inserted, [true, true, true, false, false, false]);
    let expected: Vec<Sha256> = artifacts.iter().map(|one| one.sha256).collect();
    let first = db
        .read(move |reader| {
            reader.artifacts(
                Scope::Operator,
                ArtifactsOf::Anybody,
                &PageRequest { size: Some(2), after: None },
            )
        })
        .await;
    let second = db
        .read(move |reader| {
            reader.artifacts(
                Scope::Operator,
                ArtifactsOf::Anybody,
                &PageRequest { size: Some(2), after: first.next.clone() },
            )
        })
        .await;
    let seen: Vec<Sha256> = first.items.iter().chain(&second.items).map(|one| one.sha256).collect();
    assert_eq!(seen, expected);
}

battery!(
    names_are_unique_within_a_kind,
    a_name_in_use_cannot_be_taken_over,
    a_tenant_sees_only_its_own,
    pages_follow_each_other_without_gap,
    a_configuration_is_known_by_what_uses_it,
    a_token_is_revoked_once,
    artifacts_are_listed_by_age,
);
