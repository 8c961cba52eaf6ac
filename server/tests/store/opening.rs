//! Opening a database: new, known, newer than this program, and in use.

use super::companies::add_company;
use crate::support::TestDatabase;
use unbox_common::timestamp::Timestamp;
use unbox_server::{
    domain::tenancy::{actor::Scope, company::CompanyKind},
    store::{Store, StoreError, newest_version},
};

async fn a_database_is_opened_again_as_it_was_left(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    db.store.close().await;
    let again = Store::open(&db.url).await.unwrap();
    let found = again.read(|reader| reader.company_named(Scope::Operator, CompanyKind::Customer, "Acme"));
    assert!(found.await.unwrap().is_some());
    again.write_probe(Timestamp(1)).await.unwrap();
    assert_eq!(again.schema_version().await.unwrap(), newest_version());
    assert_eq!(again.integrity().await.unwrap(), Vec::<String>::new());
}

async fn a_database_of_a_newer_server_is_left_alone(db: TestDatabase) {
    db.store.close().await;
    db.tamper(
        "UPDATE schema_migrations SET version = 99 WHERE version = (SELECT MAX(version) FROM schema_migrations)",
    );
    let error = Store::open(&db.url).await.err().unwrap();
    let StoreError::TooNew { found, known } = error else { panic!("{error:?}") };
    assert_eq!((found, known), (99, newest_version()));
}

async fn two_servers_share_one_database(db: TestDatabase) {
    let other = Store::open(&db.url).await.unwrap();
    let here = add_company(&db, 1, CompanyKind::Customer, "Acme").await;
    let there = TestDatabase { store: other, url: db.url.clone(), directory: tempfile::tempdir().unwrap() };
    assert!(here && !add_company(&there, 2, CompanyKind::Customer, "Acme").await);
}

battery!(
    a_database_is_opened_again_as_it_was_left,
    a_database_of_a_newer_server_is_left_alone,
    two_servers_share_one_database,
);

#[tokio::test]
async fn other_databases_are_refused_by_name() {
    for url in ["", "mysql://localhost/x", "/var/lib/unbox.db"] {
        assert!(matches!(Store::open(url).await, Err(StoreError::UnknownDatabase)), "{url}");
    }
    let nowhere = Store::create("sqlite:///nowhere/at/all/unbox.db").await;
    assert!(matches!(nowhere, Err(StoreError::Create(_))));
}

#[tokio::test]
async fn a_database_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a b%20?#.db");
    let store = Store::create(&Store::sqlite_url(&path)).await.unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_name().to_str().unwrap().starts_with("a b%20?#.db"), "{entry:?}");
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    assert!(path.exists());
    store.close().await;
}
