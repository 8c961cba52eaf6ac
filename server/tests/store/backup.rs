//! Backups: all that was there at one moment, and completely or not at all.

use crate::support::{Cluster, TestDatabase, TestDevice, World, beside, change};
use std::{collections::BTreeMap, fs, io::Write as _, path::PathBuf, sync::Arc};
use unbox_common::{protocol::latest::ProofKind, timestamp::Timestamp};
use unbox_server::{
    backup::{Backup, BackupError, write},
    entropy::SeededEntropy,
    service::Services,
    store::{Dumped, Occupancy, Store, StoreError, Value},
};

/// A database with something in it, and its backup.
async fn backed_up(db: TestDatabase) -> (World, PathBuf) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let file = "serial,manufacturer,model,devicemetadata\nPF0XYZAB,Lenovo,20QES0XX00,\"{\"\"a\"\": \"\"ü '1\"\"}\"\n";
    assert_eq!(world.import(file).await.0.unwrap().imported, 1);
    let path = world.db.directory.path().join("backup");
    let summary = write(&world.db.store, None, &path, Timestamp(7), false).await.unwrap();
    assert!(summary.rows > 5 && summary.files == 0, "{summary:?}");
    (world, path)
}

async fn opened(url: &str) -> TestDatabase {
    let store = Store::open(url).await.unwrap();
    TestDatabase { url: url.to_owned(), store, directory: tempfile::tempdir().unwrap() }
}

async fn a_restored_database_is_the_one_that_was_backed_up(db: TestDatabase) {
    let (world, path) = backed_up(db).await;
    let before = world.db.snapshot().await;
    world.claim("PF0LATER", ProofKind::Identifiers).await;
    world.db.store.close().await;
    assert_eq!(Store::occupancy(&world.db.url).await.unwrap(), Occupancy::Occupied);
    Backup::open(&path).unwrap().restore_rows(&world.db.url).await.unwrap();
    let restored = opened(&world.db.url).await;
    assert_eq!(restored.snapshot().await, before);
    assert_eq!(restored.store.integrity().await.unwrap(), Vec::<String>::new());
}

async fn a_backup_moves_from_either_database_to_sqlite(db: TestDatabase) {
    let (world, path) = backed_up(db).await;
    let url = Store::sqlite_url(&world.db.directory.path().join("moved.db"));
    assert_eq!(Store::occupancy(&url).await.unwrap(), Occupancy::Vacant);
    Backup::open(&path).unwrap().restore_rows(&url).await.unwrap();
    assert_eq!(opened(&url).await.snapshot().await, world.db.snapshot().await);
}

/// Writes a company and an entry of the audit trail in one transaction, beside the store.
fn write_pair(url: &str, number: i64) {
    let name = format!("pair {number}");
    beside(url, |database| {
        database.run(&format!(
            "BEGIN;
             INSERT INTO audit (id, happened_at, actor, action, subject, detail, times, last_at)
                 VALUES ({number}, 0, '{name}', 'company_created', 'unknown', '{{}}', 1, 0);
             INSERT INTO companies (id, kind, name, terms, device_protection, default_set_at, created_at)
                 VALUES ({number}, 'customer', '{name}', 'accepted', 0, 0, 0);
             COMMIT"
        ));
    });
}

async fn a_backup_is_of_one_moment_whatever_is_written_meanwhile(db: TestDatabase) {
    const BEFORE: i64 = 3;
    let world = World::new(db).await;
    (1..=BEFORE).for_each(|number| write_pair(&world.db.url, number));
    let is_of_pair = |value: &Value| matches!(value, Value::Text(text) if text.starts_with("pair "));
    let start = (BEFORE, String::new(), BTreeMap::<String, i64>::new());
    let url = world.db.url.clone();
    let dumped = world.db.store.dump(start, move |(written, table, found), part| {
        match part {
            // Before each table's rows, and so between any two tables, somebody writes.
            Dumped::Table { table: next, .. } => {
                *written += 1;
                write_pair(&url, *written);
                *table = next;
            }
            Dumped::Row(values) if values.iter().any(is_of_pair) => {
                *found.entry(table.clone()).or_default() += 1;
            }
            Dumped::Row(_) => {}
        }
        Ok::<_, StoreError>(())
    });
    let (written, _, found) = dumped.await.unwrap();
    assert!(written > BEFORE + 2, "{written}");
    let expected = ["audit", "companies"].map(|table| (table.to_owned(), BEFORE));
    assert_eq!(found, BTreeMap::from(expected), "those from before, and their other halves");
}

async fn a_backup_that_is_not_whole_changes_nothing(db: TestDatabase) {
    let (world, path) = backed_up(db).await;
    let before = world.db.snapshot().await;
    world.db.store.close().await;
    let whole = fs::read_to_string(&path).unwrap();
    let backup = Backup::open(&path).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let another_name = whole.replace("PF0ABCDE", "PF0ABCDF");
    let newer = whole.replacen("\"schema_version\":", "\"schema_version\":9", 1);
    for text in [&whole[..whole.len() / 2], &lines[..lines.len() - 1].concat(), &another_name, &newer, "{}\n"]
    {
        let mut file = fs::File::options().write(true).truncate(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        assert!(Backup::open(&path).is_err(), "{}", &text[..40.min(text.len())]);
        // Also if it was whole when it was looked at.
        assert!(backup.restore_rows(&world.db.url).await.is_err());
        assert_eq!(opened(&world.db.url).await.snapshot().await, before);
    }
}

/// A change of the lines of a backup.
type Edit<'a> = &'a dyn Fn(&mut Vec<String>);

async fn a_whole_backup_with_rows_of_another_schema_changes_nothing(db: TestDatabase) {
    let (world, path) = backed_up(db).await;
    world.claim("PF0LATER", ProofKind::Identifiers).await;
    let before = world.db.snapshot().await;
    world.db.store.close().await;
    let whole = fs::read_to_string(&path).unwrap();
    let companies = "{\"table\":\"companies\",";
    let edits: [(&str, Edit<'_>); 5] = [
        ("an unknown table", &|lines| {
            lines.push(r#"{"table":"nobody_knows","columns":["id"]}"#.to_owned());
            lines.push("[1]".to_owned());
        }),
        ("a table of the database itself", &|lines| {
            lines.push(r#"{"table":"schema_migrations","columns":["version"]}"#.to_owned());
        }),
        ("an unknown column", &|lines| {
            let table = lines.iter_mut().find(|line| line.starts_with(companies)).unwrap();
            *table = table.replace("\"name\"", "\"nobody_knows\"");
        }),
        ("a column that is more than a name", &|lines| {
            let table = lines.iter_mut().find(|line| line.starts_with(companies)).unwrap();
            *table = table.replace("\"name\"", "\"name) SELECT 1 --\"");
        }),
        ("a short row", &|lines| {
            let table = lines.iter().position(|line| line.starts_with(companies)).unwrap();
            "[1]".clone_into(&mut lines[table + 1]);
        }),
    ];
    for (what, edit) in edits {
        let mut file = fs::File::options().write(true).truncate(true).open(&path).unwrap();
        file.write_all(whole.as_bytes()).unwrap();
        change(&path, |lines| edit(lines));
        assert_ne!(fs::read_to_string(&path).unwrap(), whole, "{what}");
        let backup = Backup::open(&path).unwrap();
        assert!(backup.restore_rows(&world.db.url).await.is_err(), "{what}");
        assert_eq!(opened(&world.db.url).await.snapshot().await, before, "{what}");
    }
}

battery!(
    a_restored_database_is_the_one_that_was_backed_up,
    a_backup_moves_from_either_database_to_sqlite,
    a_backup_is_of_one_moment_whatever_is_written_meanwhile,
    a_backup_that_is_not_whole_changes_nothing,
    a_whole_backup_with_rows_of_another_schema_changes_nothing,
);

#[tokio::test]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_backup_moves_from_sqlite_to_postgres_and_its_devices_enroll_there() {
    let (world, path) = backed_up(TestDatabase::sqlite().await).await;
    let url = Cluster::shared().database().await;
    assert_eq!(Store::occupancy(&url).await.unwrap(), Occupancy::Vacant);
    Backup::open(&path).unwrap().restore_rows(&url).await.unwrap();
    let moved = opened(&url).await;
    assert_eq!(moved.snapshot().await, world.db.snapshot().await);
    let World { services, signer, clock, .. } = &world;
    let (entropy, settings) = (Arc::new(SeededEntropy::new(9)), services.settings().clone());
    let there = Services::new(moved.store, signer.clone(), clock.clone(), entropy, settings).unwrap();
    TestDevice::new("PF0ABCDE").enroll(&there).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_served_is_not_replaced() {
    let (world, path) = backed_up(TestDatabase::sqlite().await).await;
    let before = world.db.snapshot().await;
    let lock = Store::lock_for_serving(&world.db.url).unwrap();
    let refused = Backup::open(&path).unwrap().restore_rows(&world.db.url).await;
    assert!(matches!(refused, Err(BackupError::Store(StoreError::Served(_)))));
    assert_eq!(world.db.snapshot().await, before);
    drop(lock);
}
