//! A store whose database goes away, and comes back as another one.

use crate::support::Cluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{fs, net::TcpListener, time::Duration};
use unbox_common::timestamp::Timestamp;
use unbox_server::store::{Outage, Store, StoreError};

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

#[tokio::test]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_database_over_tls_is_reached_only_by_its_name_and_its_authority() {
    let (own, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &own).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cluster = Cluster::with_tls(port, &certificate.pem(), &key.serialize_pem());
    cluster.database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &CertifiedIssuer<'_, KeyPair>| {
        let path = directory.path().join(name);
        fs::write(&path, authority.pem()).unwrap();
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
