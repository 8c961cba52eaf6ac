//! A store whose database goes away, and comes back as another one.

use crate::support::Cluster;
use std::time::Duration;
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
