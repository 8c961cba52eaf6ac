//! Claims, and how they are found.

use super::companies::add_company;
use crate::support::{TestDatabase, serial_set};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    ids::{ClaimId, CompanyId},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};
use unbox_server::{
    domain::{
        claims::claim::{Claim, ClaimSets, Collision, Metadata, Sought},
        tenancy::{actor::Scope, company::CompanyKind},
    },
    store::{ClaimFilter, PageRequest, ResellerCursor, StoreError, Tx},
};

const NOW: Timestamp = Timestamp(1000);

/// A claim of customer 1 on the Lenovo of this serial number.
pub(super) fn claim(id: i64, serial: &str) -> Claim {
    Claim {
        id: ClaimId::new(id).unwrap(),
        customer: CompanyId::new(1).unwrap(),
        reseller: None,
        configuration: None,
        configured_at: NOW,
        proof: ProofKind::Identifiers,
        activation_ends_at: Timestamp(9000),
        sets: ClaimSets::new(vec![serial_set(serial)]),
        order: Some("PO 1".parse().unwrap()),
        metadata: Metadata::default(),
        vacation: None,
        protected: false,
        created_at: NOW,
        created_by: "test".to_owned(),
        collision: None,
        released_at: None,
    }
}

pub(super) async fn add_claims(db: &TestDatabase, claims: Vec<Claim>) {
    db.store.write(move |tx: &mut Tx| tx.insert_claims(&claims)).await.unwrap();
}

fn key(serial: &str) -> String {
    format!("serial_number {serial}")
}

/// What a Lenovo of that model is looked for by that shows these identifiers.
fn sought(lookups: &[String]) -> Sought {
    let names = ["", "lenovo/20qes0xx00"].map(str::to_owned);
    Sought { lookups: lookups.to_vec(), named: names.to_vec() }
}

async fn a_claim_is_found_by_its_strongest_identifier(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_claims(&db, vec![claim(5, "PF0ABCDE"), claim(6, "PF0ABCDF")]).await;
    for (keys, expected) in [
        (vec![key("PF0ABCDE")], vec![5]),
        (vec![key("PF0ABCDE"), key("PF0ABCDF"), "mac_address 00:16:3e:00:00:01".to_owned()], vec![5, 6]),
        (
            (0..40).map(|n| format!("mac_address 00:16:3e:00:00:{n:02x}")).chain([key("PF0ABCDF")]).collect(),
            vec![6],
        ),
        (vec!["manufacturer Lenovo".to_owned()], vec![]),
        (vec![], vec![]),
    ] {
        let by = sought(&keys);
        let mut found: Vec<i64> = db
            .read(move |reader| reader.claims_found_by(&by))
            .await
            .iter()
            .map(|one| one.claim.id.get())
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{keys:?}");
    }
    let stored =
        db.read(move |reader| reader.claim(Scope::Operator, ClaimId::new(5).unwrap())).await.unwrap();
    assert_eq!(stored, claim(5, "PF0ABCDE"));
}

async fn an_ended_claim_is_found_by_nothing_and_still_shown(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_claims(&db, vec![claim(5, "PF0ABCDE")]).await;
    let release =
        || db.store.write(move |tx: &mut Tx| tx.release_claim(&claim(5, "PF0ABCDE"), Timestamp(2000)));
    release().await.unwrap();
    assert!(db.read(move |reader| reader.claims_found_by(&sought(&[key("PF0ABCDE")]))).await.is_empty());
    let page = PageRequest::default();
    assert!(
        db.read(|reader| reader.claims(Scope::Operator, &ClaimFilter::default(), &PageRequest::default()))
            .await
            .items
            .is_empty()
    );
    let all = ClaimFilter { released: true, ..ClaimFilter::default() };
    let shown = db.read(move |reader| reader.claims(Scope::Operator, &all, &page)).await.items;
    assert_eq!(shown[0].released_at, Some(Timestamp(2000)));
    assert!(matches!(release().await, Err(StoreError::Touched { .. })), "a claim ends once");
}

async fn a_serial_number_is_found_with_its_maker_and_model(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    let of_model = |id: i64| {
        let members = [
            (IdentifierKind::SerialNumber, "PF0ABCDE".to_owned()),
            (IdentifierKind::Manufacturer, "Lenovo".to_owned()),
            (IdentifierKind::Model, format!("Model {id}")),
        ];
        let members = members.map(|(kind, value)| Identifier::parse(kind, &value).unwrap());
        Claim { sets: ClaimSets::new(vec![IdentifierSet::new(members).unwrap()]), ..claim(id, "PF0ABCDE") }
    };
    add_claims(&db, (1..=100).map(of_model).chain([claim(200, "PF0ABCDE")]).collect()).await;
    let found = db.read(move |reader| reader.claims_found_by(&sought(&[key("PF0ABCDE")]))).await;
    assert_eq!(found.iter().map(|one| one.claim.id.get()).collect::<Vec<_>>(), [200]);
    let near = db.read(move |reader| reader.claims_near(&[key("PF0ABCDE")])).await;
    assert_eq!(
        near.iter().map(|one| one.id.get()).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<i64>>(),
        "the oldest"
    );
}

async fn a_collision_is_kept_and_listed_until_it_is_over(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_claims(&db, vec![claim(5, "PF0ABCDE"), claim(6, "PF0ABCDF")]).await;
    let collision = Collision {
        at: Timestamp(2000),
        identifiers: vec![key("PF0ABCDE")],
        others_kinds: [IdentifierKind::Imei].into(),
    };
    let set = async |to: Option<Collision>| {
        db.store
            .write(move |tx: &mut Tx| tx.set_collision(ClaimId::new(5).unwrap(), to.as_ref()))
            .await
            .unwrap();
        let colliding = ClaimFilter { colliding: true, ..ClaimFilter::default() };
        db.read(move |reader| reader.claims(Scope::Operator, &colliding, &PageRequest::default())).await.items
    };
    assert_eq!(set(Some(collision.clone())).await[0].collision, Some(collision));
    assert!(set(None).await.is_empty());
}

async fn lists_are_filtered_and_scoped(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_company(&db, 2, CompanyKind::Customer, "Bolt").await;
    let bolts =
        Claim { customer: CompanyId::new(2).unwrap(), proof: ProofKind::Token, ..claim(6, "PF0ABCDF") };
    add_claims(&db, vec![claim(5, "PF0ABCDE"), bolts]).await;
    let all = ClaimFilter::default();
    for (scope, filter, expected) in [
        (Scope::Operator, all.clone(), vec![5, 6]),
        (Scope::Customer(CompanyId::new(2).unwrap()), all.clone(), vec![6]),
        (Scope::Operator, ClaimFilter { proof: Some(ProofKind::Token), ..all.clone() }, vec![6]),
        (Scope::Operator, ClaimFilter { identifier: Some(key("PF0ABCDE")), ..all.clone() }, vec![5]),
        (
            Scope::Customer(CompanyId::new(2).unwrap()),
            ClaimFilter { customer: Some(CompanyId::new(1).unwrap()), ..all.clone() },
            vec![],
        ),
    ] {
        let wanted = filter.clone();
        let found = db.read(move |reader| reader.claims(scope, &wanted, &PageRequest::default())).await.items;
        let ids: Vec<i64> = found.iter().map(|one| one.id.get()).collect();
        assert_eq!(ids, expected, "{scope:?} {filter:?}");
    }
}

async fn a_reseller_sees_what_it_registered_and_how_much_that_is(db: TestDatabase) {
    for (id, kind, name) in [
        (1, CompanyKind::Customer, "Acme"),
        (2, CompanyKind::Customer, "Bolt"),
        (7, CompanyKind::Reseller, "Boxes"),
        (8, CompanyKind::Reseller, "Crates"),
    ] {
        add_company(&db, id, kind, name).await;
    }
    let company = |id| CompanyId::new(id).unwrap();
    for (reseller, customer) in [(7, 1), (7, 2), (8, 1)] {
        let link = db
            .store
            .write(move |tx: &mut Tx| tx.link_companies(company(reseller), company(customer), Timestamp(1)));
        assert!(link.await.unwrap());
    }
    let of = |id, customer, reseller, serial: &str| Claim {
        customer: company(customer),
        reseller: Some(company(reseller)),
        ..claim(id, serial)
    };
    let first = of(14, 1, 7, "PF0ABCDE");
    add_claims(&db, vec![first.clone(), of(12, 2, 7, "PF0ABCDF"), of(13, 1, 8, "PF0ABCDG")]).await;
    add_claims(&db, vec![of(15, 1, 7, "PF0ABCDH"), claim(16, "PF0ABCDJ")]).await;
    let cursor = |customer, claim| {
        Some(ResellerCursor { customer: company(customer), claim: ClaimId::new(claim).unwrap() })
    };
    for (reseller, customers, after, limit, expected, total) in [
        (7, vec![], None, 10, vec![14, 15, 12], 3),
        (7, vec![], None, 2, vec![14, 15], 3),
        (7, vec![], cursor(1, 15), 2, vec![12], 3),
        (7, vec![company(2)], None, 10, vec![12], 1),
        (7, vec![company(2), company(1)], cursor(1, 14), 10, vec![15, 12], 3),
        (8, vec![], None, 10, vec![13], 1),
        (8, vec![company(2)], None, 10, vec![], 0),
        (1, vec![], None, 10, vec![], 0),
    ] {
        let (of, named) = (customers.clone(), customers.clone());
        let found =
            db.read(move |reader| reader.claims_of_reseller(company(reseller), &of, after, limit)).await;
        let ids: Vec<i64> = found.iter().map(|one| one.id.get()).collect();
        assert_eq!(ids, expected, "{reseller} {customers:?} {after:?}");
        assert_eq!(
            db.read(move |reader| reader.count_claims_of_reseller(company(reseller), &named)).await,
            total
        );
    }
    let scope = Scope::Reseller(company(8));
    assert!(db.read(move |reader| reader.claim(scope, first.id)).await.is_none(), "another reseller's");
    assert!(db.read(move |reader| reader.claim(Scope::Reseller(company(7)), first.id)).await.is_some());
    db.store.write(move |tx: &mut Tx| tx.release_claim(&first, Timestamp(2000))).await.unwrap();
    assert_eq!(db.read(move |reader| reader.count_claims_of_reseller(company(7), &[])).await, 2);
    assert_eq!(db.read(move |reader| reader.claims_of_reseller(company(7), &[], None, 10)).await.len(), 2);
}

async fn a_claim_is_found_by_weaker_identifiers_by_people_only(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    let mac = "mac_address 00:16:3e:00:00:01".to_owned();
    let members = serial_set("PF0ABCDE").members().to_vec();
    let own = Identifier::parse(IdentifierKind::MacAddress, "00:16:3e:00:00:01").unwrap();
    let set = IdentifierSet::new(members.into_iter().chain([own])).unwrap();
    let with_mac = Claim { sets: ClaimSets::new(vec![set]), ..claim(5, "PF0ABCDE") };
    add_claims(&db, vec![with_mac.clone()]).await;
    let filter = ClaimFilter { identifier: Some(mac.clone()), ..ClaimFilter::default() };
    let (wanted, page) = (filter.clone(), PageRequest::default());
    assert_eq!(
        db.read(move |reader| reader.claims(Scope::Operator, &wanted, &page)).await.items,
        std::slice::from_ref(&with_mac)
    );
    assert!(
        db.read(move |reader| reader.claims_found_by(&sought(std::slice::from_ref(&mac)))).await.is_empty()
    );
    db.store.write(move |tx: &mut Tx| tx.release_claim(&with_mac, Timestamp(2000))).await.unwrap();
    let all = ClaimFilter { released: true, ..filter };
    assert!(
        db.read(move |reader| reader.claims(Scope::Operator, &all, &PageRequest::default()))
            .await
            .items
            .is_empty()
    );
}

async fn a_row_that_does_not_fit_is_named(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_claims(&db, vec![claim(5, "PF0ABCDE")]).await;
    for (statement, column) in [
        ("UPDATE claims SET proof = 'password'", "proof"),
        ("UPDATE claims SET proof = 'token', identifiers = '{}'", "identifiers"),
        ("UPDATE claims SET identifiers = '[]', configured_at = -1", "configured_at"),
    ] {
        db.tamper(statement);
        let id = ClaimId::new(5).unwrap();
        let error = db.store.read(move |reader| reader.claim(Scope::Operator, id)).await.unwrap_err();
        let expected = format!("table claims, row 5, column {column}: ");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

battery!(
    a_claim_is_found_by_its_strongest_identifier,
    an_ended_claim_is_found_by_nothing_and_still_shown,
    a_serial_number_is_found_with_its_maker_and_model,
    a_collision_is_kept_and_listed_until_it_is_over,
    lists_are_filtered_and_scoped,
    a_reseller_sees_what_it_registered_and_how_much_that_is,
    a_claim_is_found_by_weaker_identifiers_by_people_only,
    a_row_that_does_not_fit_is_named,
);
