//! Backups: all that was there at one moment, and completely or not at all.

use crate::support::{TestDatabase, World, change};
use std::{fs, io::Write as _, path::PathBuf};
use unbox_common::{protocol::latest::ProofKind, timestamp::Timestamp};
use unbox_server::{
    backup::{Backup, BackupError, write},
    store::{Occupancy, Store, StoreError},
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
            lines.push(r#"{"table":"_sqlx_migrations","columns":["version"]}"#.to_owned());
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
    a_backup_that_is_not_whole_changes_nothing,
    a_whole_backup_with_rows_of_another_schema_changes_nothing,
);

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
