//! A store whose database goes away, and comes back as another one.

use crate::support::Cluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt as _, chown},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::time::Instant;
use unbox_common::timestamp::Timestamp;
use unbox_server::{
    files::{self, PRIVATE_FILE},
    store::{Outage, Store, StoreError},
};

#[tokio::test]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_store_outlives_a_restart_and_a_failover_of_its_database() {
    let mut cluster = Cluster::own();
    let store = Store::create(&cluster.database().await).await.unwrap();
    store.write_probe(Timestamp(1)).await.unwrap();
    cluster.kill();
    let error = store.write_probe(Timestamp(2)).await.unwrap_err();
    let away = matches!(error, StoreError::Busy) || error.outage() == Some(Outage::Unreachable);
    assert!(away, "{error:?}");
    cluster.start();
    store.write_probe(Timestamp(3)).await.unwrap();
    cluster.stop();
    cluster.start_as_standby();
    let error = store.write_probe(Timestamp(4)).await.unwrap_err();
    assert_eq!(error.outage(), Some(Outage::ReadOnly), "{error:?}");
    assert!(store.is_read_only().await.unwrap());
    cluster.promote();
    for _ in 0..300 {
        if store.write_probe(Timestamp(5)).await.is_ok() {
            assert!(!store.is_read_only().await.unwrap());
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new primary takes no writes");
}

/// Returns a certificate authority.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Starts a cluster that is reached at 127.0.0.1 over TLS alone, with this certificate and its key.
fn cluster_with_tls(port: u16, certificate: &str, key: &str) -> Cluster {
    Cluster::start_new("on", port, |data| {
        let write = |name: &str, contents: &str| {
            let path = data.join(name);
            files::replace(&path, contents.as_bytes(), PRIVATE_FILE).unwrap();
            let owner = data.metadata().unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        };
        write("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
        write("server.crt", certificate);
        write("server.key", key);
        "ssl = on\nlisten_addresses = '127.0.0.1'\n".to_owned()
    })
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_database_over_tls_is_reached_only_by_its_name_and_its_authority() {
    let (own, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &own).unwrap();
    let port = free_port();
    let cluster = cluster_with_tls(port, &certificate.pem(), &key.serialize_pem());
    cluster.database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &CertifiedIssuer<'_, KeyPair>| {
        let path = directory.path().join(name);
        files::replace(&path, authority.pem().as_bytes(), PRIVATE_FILE).unwrap();
        path.display().to_string()
    };
    let url = |host: &str, authority: &str| {
        format!("postgres://unbox@{host}:{port}/test0?sslmode=verify-full&sslrootcert={authority}")
    };
    let (own, other) = (file("own.pem", &own), file("other.pem", &other));
    for (why, refused) in [
        ("without TLS", format!("postgres://unbox@localhost:{port}/test0")),
        ("another authority", url("localhost", &other)),
        ("another name", url("127.0.0.1", &own)),
    ] {
        assert!(Store::create(&refused).await.is_err(), "{why}");
    }
    let store = Store::create(&url("localhost", &own)).await.unwrap();
    store.write_probe(Timestamp(1)).await.unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Passes on bytes until `is_silent`, and then keeps them without a word.
fn pass_on(mut from: TcpStream, mut to: TcpStream, is_silent: &AtomicBool) {
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut part) {
        while is_silent.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        if to.write_all(&part[..read]).is_err() {
            break;
        }
    }
}

/// Starts a proxy before a database at this port, and returns its own port.
fn start_proxy(database: u16, is_silent: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, is_silent) = (listener.local_addr().unwrap().port(), Arc::clone(is_silent));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", database)).unwrap());
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap(), Arc::clone(&is_silent));
            let there = Arc::clone(&is_silent);
            thread::spawn(move || pass_on(client, server, &there));
            thread::spawn(move || pass_on(back.0, back.1, &back.2));
        }
    });
    port
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_database_that_falls_silent_holds_nobody_for_long() {
    let database = free_port();
    let cluster = Cluster::start_new("on", database, |_| "listen_addresses = '127.0.0.1'\n".to_owned());
    cluster.database().await;
    let is_silent = Arc::new(AtomicBool::new(false));
    let port = start_proxy(database, &is_silent);
    let store = Store::create(&format!("postgres://unbox@127.0.0.1:{port}/test0")).await.unwrap();
    store.write_probe(Timestamp(1)).await.unwrap();
    let is_unreachable = |error: StoreError| {
        assert_eq!(error.outage(), Some(Outage::Unreachable), "{error:?}");
    };

    is_silent.store(true, Ordering::SeqCst);
    let began = Instant::now();
    // The connection that is there, and then a new one.
    is_unreachable(store.write_probe(Timestamp(2)).await.unwrap_err());
    is_unreachable(store.write_probe(Timestamp(3)).await.unwrap_err());
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    is_silent.store(false, Ordering::SeqCst);
    store.write_probe(Timestamp(4)).await.unwrap();

    is_silent.store(true, Ordering::SeqCst);
    let began = Instant::now();
    store.close().await;
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_database_that_can_be_written_again_is_written_at_once() {
    let cluster = Cluster::own();
    let store = Store::create(&cluster.database().await).await.unwrap();
    store.write_probe(Timestamp(1)).await.unwrap();
    cluster.run("ALTER ROLE unbox SET default_transaction_read_only = on").await;
    cluster.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test0'").await;
    let error = store.write_probe(Timestamp(2)).await.unwrap_err();
    assert_eq!(error.outage(), Some(Outage::ReadOnly), "{error:?}");
    cluster.run("BEGIN READ WRITE; ALTER ROLE unbox RESET default_transaction_read_only; COMMIT").await;
    store.write_probe(Timestamp(3)).await.unwrap();
}
