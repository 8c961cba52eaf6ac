//! PostgreSQL: stopped, killed, failed over, out of room or of connections.

use super::{Admin, Mounted, Value, Working, code, error, fs, sleep, text};
use crate::{
    beside::beside,
    cluster::{Cluster, USER},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Stdio,
    time::Duration,
};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn a_server_outlives_its_database_and_says_what_to_do_meanwhile() {
    let mut cluster = Cluster::own();
    let working = Working::on(&block_on(cluster.database()));
    assert_eq!(working.add("before").status, 200);

    cluster.kill();
    sleep(Duration::from_millis(1100));
    assert_eq!(working.readiness().status, 503);
    let refused = working.add("killed");
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("Try again"), "{}", refused.text);
    assert!(refused.text.to_ascii_lowercase().contains("\nretry-after: "), "{}", refused.text);

    // Another one takes over, and has not become the primary yet.
    cluster.start();
    cluster.stop();
    cluster.start_as_standby();
    sleep(Duration::from_millis(1100));
    let unready = working.readiness();
    assert_eq!(unready.status, 503, "{}", unready.text);
    assert!(unready.text.contains("can only be read"), "{}", unready.text);
    let refused = working.add("standby");
    assert_eq!(refused.status, 503, "{}", refused.text);
    let found = working.admin.run(&["doctor"]);
    assert!(text(&found).contains("make the standby the primary"), "{}", text(&found));

    cluster.promote();
    working.wait_until_ready();
    assert_eq!(working.add("after").status, 200);
    let mut added = working.added();
    added.sort();
    assert_eq!(added, ["after", "before"], "what was refused is not there");
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn a_full_disk_of_postgres_is_told_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let disk = Mounted::small(&folder.path().join("disk"), "32m");
    let space = disk.0.join("space");
    fs::create_dir(&space).unwrap();
    let user = nix::unistd::User::from_name(USER).unwrap().unwrap();
    chown(&space, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let cluster = Cluster::own();
    let url = block_on(async {
        cluster.run(&format!("CREATE TABLESPACE small LOCATION '{}'", space.display())).await;
        let url = cluster.database().await;
        cluster.run("ALTER DATABASE test0 SET TABLESPACE small").await;
        url
    });
    let working = Working::on(&url);
    disk.fill();
    let (mut added, mut refused) = (Vec::new(), None);
    for number in 0..2000 {
        let name = format!("{}-{number}", "x".repeat(40));
        let answer = working.add(&name);
        match answer.status {
            200 => added.push(name),
            503 => {
                refused = Some(answer);
                break;
            }
            other => panic!("{other}: {}", answer.text),
        }
    }
    let refused = refused.unwrap();
    assert!(refused.text.contains("disk is full"), "{}", refused.text);
    disk.make_room();
    assert_eq!(working.add("room").status, 200);
    added.push("room".to_owned());
    let mut found = working.added();
    found.sort();
    added.sort();
    assert_eq!(found, added, "all that was acknowledged, and nothing else");
    drop(working);
    drop(cluster);
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn an_import_goes_on_after_a_short_restart_with_each_row_once() {
    const ROWS: usize = 12_000;
    let mut cluster = Cluster::own();
    let admin = Admin::founded_on(&block_on(cluster.database()));
    admin.json(&["customer", "create", "Acme"]);
    let results = admin.dir.path().join("results.csv");
    let mut import = admin
        .command(&["import", "-", "--customer", "Acme", "--json", "--results", results.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = import.stdin.take().unwrap();
    writeln!(rows, "serial_number,manufacturer,model").unwrap();
    let mut send = |range: std::ops::Range<usize>| {
        for row in range {
            writeln!(rows, "PF{row:06},LENOVO,20QES0XX00").unwrap();
        }
    };
    send(0..6_000);
    cluster.kill();
    // No more than the import reads ahead: it waits for the database, and this for it.
    send(6_000..8_000);
    sleep(Duration::from_secs(2));
    cluster.start();
    send(8_000..ROWS);
    drop(rows);
    let ended = import.wait_with_output().unwrap();
    assert_eq!(code(&ended), 0, "{}", error(&ended));
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(summary["rows"], ROWS);
    let told = fs::read_to_string(&results).unwrap();
    let lines: Vec<&str> = told.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, (2..ROWS + 2).map(|line| line.to_string()).collect::<Vec<_>>(), "one result a row");
    let exported = admin.json(&["claim", "export"])["claims"].as_array().unwrap().len();
    assert_eq!(exported, ROWS, "no row twice, none lost");
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn an_import_over_http_goes_on_after_a_short_restart_with_each_row_once() {
    const ROWS: usize = 12_000;
    let mut cluster = Cluster::own();
    let working = Working::on(&block_on(cluster.database()));
    working.admin.json(&["customer", "create", "Acme"]);
    working.admin.json(&["reseller", "link", "Resale", "Acme"]);
    let partner = working.users.split('/').nth(3).unwrap();
    let mut stream = TcpStream::connect(working.address("api_addresses")).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    write!(
        stream,
        "POST /v1/partners/{partner}/devices:import HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/csv\r\n\
         X-Goog-Api-Key: {}\r\nContent-Length: {}\r\n\r\n{HEAD}",
        working.key,
        HEAD.len() + ROWS * row(0).len()
    )
    .unwrap();
    let mut reader = stream.try_clone().unwrap();
    let mut send = |range: std::ops::Range<usize>| {
        stream.write_all(range.map(row).collect::<String>().as_bytes()).unwrap();
    };
    send(0..6_000);
    // The first rows are in the database, and others are on their way.
    let mut answer = String::new();
    while !answer.contains(",imported,") {
        let mut part = [0; 4096];
        let read = reader.read(&mut part).unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    cluster.kill();
    send(6_000..8_000);
    sleep(Duration::from_secs(2));
    cluster.start();
    send(8_000..ROWS);
    reader.read_to_string(&mut answer).unwrap();
    let (head, results) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{answer}");
    let lines: Vec<Vec<&str>> = results.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let (end, rows) = lines.split_last().unwrap();
    assert_eq!(end[1], "done", "{end:?}");
    let numbers: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(numbers, (2..ROWS + 2).map(|line| line.to_string()).collect::<Vec<_>>(), "one result a row");
    assert!(rows.iter().all(|row| ["imported", "already_claimed"].contains(&row[1])), "{rows:?}");
    let exported = working.admin.json(&["claim", "export"])["claims"].as_array().unwrap().len();
    assert_eq!(exported, ROWS, "no row twice, none lost");
}

const HEAD: &str = "serial,model,manufacturer,profiletype,owner\n";

fn row(number: usize) -> String {
    format!("PF{number:06},20QES0XX00,LENOVO,ZERO_TOUCH,Acme\n")
}

fn count_tables(url: &str) -> i64 {
    const COUNT: &str = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'";
    beside(url, |database| database.run(COUNT).parse().unwrap())
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn an_emptied_database_stays_empty_until_somebody_decides() {
    let cluster = Cluster::own();
    let url = block_on(cluster.database());
    let admin = Admin::founded_on(&url);
    admin.json(&["customer", "create", "Acme"]);
    assert!(count_tables(&url) > 0);
    block_on(async {
        cluster.run("DROP DATABASE test0").await;
        cluster.run("CREATE DATABASE test0").await;
    });
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["customer", "list"], &["migrate"]] {
        let output = admin.run(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        let told = error(&output);
        assert!(told.contains("the database is empty") && told.contains("restore FILE"), "{told}");
        assert_eq!(count_tables(&url), 0, "{arguments:?}");
    }
    let found = admin.run(&["doctor"]);
    assert_eq!(code(&found), 3);
    assert!(text(&found).contains("the database is empty"), "{}", text(&found));
    assert_eq!(count_tables(&url), 0);
    admin.json(&["migrate", "--create"]);
    assert_eq!(admin.json(&["customer", "list"])["companies"], serde_json::json!([]));
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn too_few_connections_are_told_at_the_start_and_by_doctor() {
    let cluster = Cluster::shared();
    let url = block_on(async {
        let url = cluster.database().await;
        cluster.run("ALTER DATABASE test0 CONNECTION LIMIT 20").await;
        url
    });
    let admin = Admin::founded_on(&url);
    assert_eq!(admin.serve().stop(), Some(0));
    let log = fs::read_to_string(admin.dir.path().join("log")).unwrap();
    assert!(log.contains("too few connections") && log.contains("needed=32"), "{log}");
    let found = admin.run(&["doctor"]);
    assert_eq!(code(&found), 3);
    assert!(text(&found).contains("takes 20 connections at most"), "{}", text(&found));
}
