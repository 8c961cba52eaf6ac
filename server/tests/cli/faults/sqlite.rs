//! SQLite: a full disk, a file that can only be read, that is damaged, missing, or served already.

use super::{super::mode, Admin, Mounted, Working, code, error, fs, sleep, text};
use std::{io::Write as _, path::PathBuf, time::Duration};
use unbox_common::digest::Sha256;
use unbox_server::store::Store;

#[test]
#[ignore = "needs root, to mount a small file system: run tests/run"]
fn a_full_disk_is_told_and_the_server_works_again_as_soon_as_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::small(&folder.path().join("disk"), "4m");
    let working = Working::on(&Store::sqlite_url(&folder.path().join("disk/unbox.db")));
    assert_eq!(working.readiness().status, 200);
    assert_eq!(working.add("before").status, 200);
    for round in 0..2 {
        disk.fill();
        sleep(Duration::from_millis(1100));
        let unready = working.readiness();
        assert_eq!(unready.status, 503, "{}", unready.text);
        assert!(unready.text.contains("disk is full"), "{}", unready.text);
        for attempt in 0..3 {
            let refused = working.add(&format!("full-{round}-{attempt}"));
            assert_eq!(refused.status, 503, "{}", refused.text);
            assert!(refused.text.contains("disk is full"), "{}", refused.text);
            assert!(refused.text.to_ascii_lowercase().contains("\nretry-after: "), "{}", refused.text);
        }
        disk.make_room();
        sleep(Duration::from_millis(1100));
        assert_eq!(working.readiness().status, 200);
        assert_eq!(working.add(&format!("room-{round}")).status, 200);
    }
    let mut added = working.added();
    added.sort();
    assert_eq!(added, ["before", "room-0", "room-1"], "what was refused is not there");
}

#[test]
#[ignore = "needs root, to mount a small file system: run tests/run"]
fn a_file_that_can_only_be_read_is_told_at_the_start_and_by_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::small(&folder.path().join("disk"), "8m");
    let admin = Admin::founded_on(&Store::sqlite_url(&folder.path().join("disk/unbox.db")));
    disk.make_read_only();
    let told = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(told.contains("can only be read") && told.contains("mounted read-only"), "{told}");
    let output = admin.run(&["doctor"]);
    assert_eq!(code(&output), 3);
    assert!(text(&output).contains("The database can only be read"), "{}", text(&output));
}

#[test]
#[ignore = "needs root, to mount a small file system: run tests/run"]
fn a_disk_that_turns_read_only_under_a_server_is_told_and_costs_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (file, at) = (folder.path().join("image"), folder.path().join("disk"));
    let disk = Mounted::in_file(&file, &at);
    let Working { admin, serving, key, users } = {
        let working = Working::on(&Store::sqlite_url(&at.join("unbox.db")));
        assert_eq!(working.readiness().status, 200);
        assert_eq!(working.add("before").status, 200);
        disk.fail();
        sleep(Duration::from_millis(1100));
        let unready = working.readiness();
        assert_eq!(unready.status, 503, "{}", unready.text);
        assert!(unready.text.contains("disk reports errors"), "{}", unready.text);
        let refused = working.add("refused");
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(refused.text.to_ascii_lowercase().contains("\nretry-after: "), "{}", refused.text);
        working
    };
    serving.kill();
    disk.repair(&file);
    fs::remove_file(admin.path("ready.json")).unwrap();
    let serving = admin.serve_with(&["--listen-plain", "127.0.0.1:0", "--listen-api", "127.0.0.1:0"]);
    let working = Working { admin, serving, key, users };
    assert_eq!(working.readiness().status, 200);
    assert_eq!(working.add("after").status, 200);
    let mut added = working.added();
    added.sort();
    assert_eq!(added, ["after", "before"], "what was refused is not there");
}

#[test]
fn a_second_server_of_one_file_is_refused_and_told_what_to_do() {
    let admin = Admin::founded();
    let first = admin.serve();
    let second = admin.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code(&second), 1);
    assert!(error(&second).contains("stop it first"), "{}", error(&second));
    assert!(error(&second).contains("PostgreSQL"), "{}", error(&second));
    assert_eq!(mode(&admin.path("unbox.db-serving")), 0o600);
    first.kill();
    fs::remove_file(admin.path("ready.json")).unwrap();
    // The lock ends with its process, however that ended.
    assert_eq!(admin.serve().stop(), Some(0));
}

/// Every file below the server's directory, with the digest of its contents: keys never reach a log.
fn files(admin: &Admin) -> Vec<(PathBuf, Sha256)> {
    let mut found = Vec::new();
    let mut folders = vec![admin.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), Sha256::of(&fs::read(path).unwrap())));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn doctor_changes_no_file() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme"]);
    let before = files(&admin);
    assert_eq!(code(&admin.run(&["doctor"])), 0);
    assert_eq!(files(&admin), before);
    let serving = admin.serve();
    let output = admin.run(&["doctor"]);
    assert_eq!(code(&output), 0, "beside a server that runs: {}", text(&output));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_lost_database_stays_lost_until_somebody_decides() {
    let admin = Admin::founded();
    fs::remove_file(admin.path("unbox.db")).unwrap();
    let before = files(&admin);
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["customer", "list"], &["migrate"]] {
        let output = admin.run(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        let told = error(&output);
        assert!(told.contains("there is no database") && told.contains("restore FILE"), "{told}");
        assert_eq!(files(&admin), before, "{arguments:?}");
    }
    let output = admin.run(&["doctor"]);
    assert_eq!(code(&output), 3);
    assert!(text(&output).contains("there is no database"), "{}", text(&output));
    assert_eq!(files(&admin), before);
    fs::File::create_new(admin.path("unbox.db")).unwrap();
    let told = error(&admin.run(&["customer", "list"]));
    assert!(told.contains("the database is empty"), "{told}");
    admin.json(&["migrate", "--create"]);
    assert_eq!(admin.json(&["customer", "list"])["companies"], serde_json::json!([]));
}

#[test]
fn a_damaged_database_is_called_that() {
    let admin = Admin::founded();
    let damage = |from: u64, bytes: &[u8]| {
        use std::io::{Seek as _, SeekFrom};
        let mut file = fs::File::options().write(true).open(admin.path("unbox.db")).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        file.write_all(bytes).unwrap();
    };
    // First its tables, then what makes it a database at all.
    for (from, bytes) in [(100, &[0xff; 2000][..]), (0, b"no database any more")] {
        damage(from, bytes);
        let before = files(&admin);
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["customer", "list"]] {
            let output = admin.run(arguments);
            assert_eq!(code(&output), 1, "{arguments:?}");
            let told = error(&output);
            assert!(told.contains("The database is damaged") && told.contains("backup"), "{told}");
        }
        let output = admin.run(&["doctor"]);
        assert_eq!(code(&output), 3);
        assert!(text(&output).contains("The database is damaged"), "{}", text(&output));
        // The lock, and SQLite's own files beside a database, come and go.
        let lasting = |mut files: Vec<(PathBuf, Sha256)>| {
            files.retain(|(path, _)| !path.to_string_lossy().contains("unbox.db-"));
            files
        };
        assert_eq!(lasting(files(&admin)), lasting(before));
    }
}
