//! What factories registered, and how it is found.

use super::{
    claims::{add_claims, claim},
    companies::add_company,
};
use crate::support::{TestDatabase, serial_set};
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, Observed, Source},
    ids::{ClaimId, CompanyId, FactoryRecordId},
    matching::IdentifierSet,
    timestamp::Timestamp,
};
use unbox_server::{
    domain::{
        claims::claim::Claim,
        factory::record::FactoryRecord,
        tenancy::{actor::Scope, company::CompanyKind},
    },
    store::{StoreError, Tx},
};

fn identity(of: &[(IdentifierKind, &str)]) -> HardwareIdentity {
    HardwareIdentity::new(of.iter().map(|(kind, value)| Observed {
        identifier: Identifier::parse(*kind, value).unwrap(),
        source: Source::Smbios,
    }))
    .unwrap()
}

fn record(id: i64, company: i64, identity: HardwareIdentity) -> FactoryRecord {
    FactoryRecord {
        id: FactoryRecordId::new(id).unwrap(),
        company: CompanyId::new(company).unwrap(),
        identity,
        claim: None,
        created_at: Timestamp(1000),
        created_by: "test".to_owned(),
    }
}

async fn a_record_is_found_by_what_its_device_shows_now_and_by_its_own_company(db: TestDatabase) {
    use IdentifierKind::{BoardSerial, MacAddress};
    add_company(&db, 1, CompanyKind::Reseller, "Boxes").await;
    add_company(&db, 2, CompanyKind::Reseller, "Crates").await;
    let mac = (MacAddress, "00:16:3e:00:00:01");
    let built = record(5, 1, identity(&[mac, (BoardSerial, "B1")]));
    let repaired = FactoryRecord { identity: identity(&[mac, (BoardSerial, "B2")]), ..built.clone() };
    let elsewhere = record(6, 2, identity(&[mac]));
    let (was, now, other) = (built.clone(), repaired.clone(), elsewhere.clone());
    db.store
        .write(move |tx: &mut Tx| {
            assert!(!tx.has_factory_records()?);
            tx.insert_factory_record(&was)?;
            tx.insert_factory_record(&other)?;
            assert!(tx.has_factory_records()?);
            tx.update_factory_record(&now)
        })
        .await
        .unwrap();
    let keys = |key: &str| vec![key.to_owned(), "mac_address 00:16:3e:00:00:01".to_owned()];
    let both = [built.company, elsewhere.company];
    for (companies, keys, expected) in [
        (both[..1].to_vec(), keys("board_serial B2"), vec![repaired.clone()]),
        (both.to_vec(), keys("board_serial B1"), vec![repaired, elsewhere]),
        (both[..1].to_vec(), vec!["board_serial B1".to_owned()], vec![]),
    ] {
        assert_eq!(db.read(move |reader| reader.factory_records(&companies, &keys)).await, expected);
    }
}

async fn a_claim_that_got_a_key_is_found_by_it_and_within_its_scope(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    let was = claim(5, "PF0ABCDE");
    add_claims(&db, vec![was.clone(), claim(6, "PF0ABCDF")]).await;
    let key = Sha256::of(b"key").to_string();
    let set = IdentifierSet::new([Identifier::parse(IdentifierKind::DeviceKey, &key).unwrap()]).unwrap();
    let now = Claim { sets: was.sets.with_set(set), ..was.clone() };
    let (before, after) = (was, now.clone());
    db.store.write(move |tx: &mut Tx| tx.set_claim_sets(&before, &after)).await.unwrap();
    let by_key = vec![format!("device_key {key}")];
    let by_serial: Vec<String> = serial_set("PF0ABCDE")
        .lookup_key()
        .map(|one| format!("{} {}", one.kind(), one.value()))
        .into_iter()
        .collect();
    let (own, other) = (CompanyId::new(1).unwrap(), CompanyId::new(2).unwrap());
    for keys in [by_key, by_serial] {
        let with = async |scope, keys: &[String]| {
            let keys = keys.to_vec();
            db.read(move |reader| reader.claims_with(scope, &keys)).await
        };
        assert_eq!(with(Scope::Customer(own), &keys).await, std::slice::from_ref(&now));
        assert!(with(Scope::Customer(other), &keys).await.is_empty());
        assert!(with(Scope::Reseller(own), &keys).await.is_empty());
    }
}

async fn a_record_from_before_claims_were_noted_knows_the_claim_of_its_organisation_that_has_its_key(
    db: TestDatabase,
) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    add_company(&db, 2, CompanyKind::Customer, "Bolt").await;
    let key = |of: &[u8]| {
        let digest = Sha256::of(of).to_string();
        Identifier::parse(IdentifierKind::DeviceKey, &digest).unwrap()
    };
    let with_key = |id, of: &[u8]| {
        let bare = claim(id, &format!("PF0ABC{id:02}"));
        Claim { sets: bare.sets.with_set(IdentifierSet::new([key(of)]).unwrap()), ..bare }
    };
    add_claims(&db, vec![with_key(5, b"one"), with_key(6, b"two")]).await;
    let built = |id, company, of: &[u8]| {
        let digest = key(of).value().to_owned();
        record(id, company, identity(&[(IdentifierKind::DeviceKey, &digest)]))
    };
    let all = vec![built(11, 1, b"one"), built(12, 1, b"none"), built(13, 2, b"two")];
    db.store
        .write(move |tx: &mut Tx| {
            for one in &all {
                tx.insert_factory_record(one)?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    let (_, backfill) = include_str!("../../migrations/0006_factory_claims.sql").split_once(';').unwrap();
    db.tamper(backfill);
    for (id, claim) in [(11, Some(5)), (12, None), (13, None)] {
        let id = FactoryRecordId::new(id).unwrap();
        let found = db.read(move |reader| reader.factory_record(Scope::Operator, id)).await.unwrap();
        assert_eq!(found.claim.map(ClaimId::get), claim, "{id}");
    }
}

battery!(
    a_record_from_before_claims_were_noted_knows_the_claim_of_its_organisation_that_has_its_key,
    a_record_is_found_by_what_its_device_shows_now_and_by_its_own_company,
    a_claim_that_got_a_key_is_found_by_it_and_within_its_scope,
);
