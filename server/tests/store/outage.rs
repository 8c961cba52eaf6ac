//! A store whose database goes away, and comes back as another one.

use crate::support::Cluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, chown},
    time::Duration,
};
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
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
