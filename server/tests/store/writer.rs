//! Write transactions: together where that is cheaper, and never at a neighbour's expense.

use super::companies::add_company;
use crate::support::TestDatabase;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use unbox_common::{ids::CompanyId, timestamp::Timestamp};
use unbox_server::{
    domain::tenancy::{
        actor::Scope,
        audit::{Action, Event, Subject},
        company::{Company, CompanyKind, Terms},
    },
    store::{AuditFilter, CompanyFilter, PageRequest, Store, StoreError, Tx},
};

fn company(id: i64, name: &str) -> Company {
    Company {
        id: CompanyId::new(id).unwrap(),
        kind: CompanyKind::Customer,
        name: name.parse().unwrap(),
        default_configuration: None,
        parent: None,
        terms: Terms::Accepted,
        language: None,
        workspace: None,
        device_protection: false,
        factory_keys: false,
        created_at: Timestamp(1),
    }
}

async fn a_failing_job_harms_no_neighbour(db: TestDatabase) {
    let mut jobs = JoinSet::new();
    for id in 1..=200_i64 {
        let store = db.store.clone();
        jobs.spawn(async move {
            let outcome = store
                .write(move |tx: &mut Tx| {
                    tx.insert_company(&company(id, &format!("Customer {id}")))?;
                    if id % 10 == 0 { Err(StoreError::Cursor) } else { Ok(id) }
                })
                .await;
            (id, outcome)
        });
    }
    for (id, outcome) in jobs.join_all().await {
        match outcome {
            Ok(written) => assert_eq!((written, id % 10 == 0), (id, false)),
            Err(error) => assert!(id % 10 == 0 && matches!(error, StoreError::Cursor), "{id}: {error}"),
        }
    }
    let all = PageRequest { size: Some(1000), after: None };
    let kept = db
        .store
        .read(move |reader| reader.companies(Scope::Operator, &CompanyFilter::default(), &all))
        .await
        .unwrap()
        .items;
    assert_eq!(kept.len(), 180);
    assert!(kept.iter().all(|one| one.id.get() % 10 != 0), "a job that failed left something");
}

async fn what_a_job_reads_it_may_decide_by(db: TestDatabase) {
    add_company(&db, 1, CompanyKind::Customer, "0").await;
    let id = CompanyId::new(1).unwrap();
    let mut jobs = JoinSet::new();
    for _ in 0..100 {
        let store = db.store.clone();
        jobs.spawn(async move {
            store
                .write(move |tx: &mut Tx| {
                    {
                        // A lock as every service takes it: here the claims that a claim's row stands for.
                        let was = tx.company(Scope::Operator, id)?.unwrap();
                        let next = was.name.as_str().parse::<u32>().unwrap() + 1;
                        let next = Company { name: next.to_string().parse().unwrap(), ..was };
                        tx.update_company(&next)?;
                        Ok::<_, StoreError>(())
                    }
                })
                .await
        });
    }
    jobs.join_all().await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let name = db.read(move |reader| reader.company(Scope::Operator, id)).await.unwrap().name;
    assert_eq!(name.as_str(), "100");
}

async fn a_closed_store_has_written_everything_and_takes_no_more(db: TestDatabase) {
    let mut jobs = JoinSet::new();
    for id in 1..=50_i64 {
        let store = db.store.clone();
        jobs.spawn(async move {
            store.write(move |tx: &mut Tx| tx.insert_company(&company(id, &format!("Customer {id}")))).await
        });
    }
    tokio::task::yield_now().await;
    db.store.close().await;
    let acknowledged = jobs.join_all().await.iter().filter(|outcome| matches!(outcome, Ok(true))).count();
    let again = Store::open(&db.url).await.unwrap();
    let all = PageRequest { size: Some(1000), after: None };
    let kept = again
        .read(move |reader| reader.companies(Scope::Operator, &CompanyFilter::default(), &all))
        .await
        .unwrap()
        .items;
    assert!(kept.len() >= acknowledged, "{} kept, {acknowledged} acknowledged", kept.len());
    let late = db.store.write(|tx: &mut Tx| tx.insert_company(&company(99, "Late")));
    assert!(late.await.is_err());
}

battery!(a_failing_job_harms_no_neighbour, a_closed_store_has_written_everything_and_takes_no_more);

/// PostgreSQL lets two transactions read the same row: services lock the claim first, see
/// `service/concurrency.rs`.
#[tokio::test]
async fn on_sqlite_every_job_sees_what_the_one_before_it_wrote() {
    what_a_job_reads_it_may_decide_by(TestDatabase::sqlite().await).await;
}

/// A job that runs, and keeps the writer until the gate is opened.
async fn blocked(store: &Store) -> (Arc<Notify>, JoinHandle<Result<(), StoreError>>) {
    let (gate, runs) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (store, open, running) = (store.clone(), Arc::clone(&gate), Arc::clone(&runs));
    let runtime = Handle::current();
    let blocker = tokio::spawn(async move {
        store
            .write(move |_: &mut Tx| {
                running.notify_one();
                runtime.block_on(open.notified());
                Ok(())
            })
            .await
    });
    runs.notified().await;
    (gate, blocker)
}

#[tokio::test]
async fn jobs_share_a_transaction_and_a_failure_is_run_again_alone() {
    let db = TestDatabase::sqlite().await;
    let runs = Arc::new(AtomicU32::new(0));
    let (gate, blocker) = blocked(&db.store).await;
    let mut jobs = JoinSet::new();
    for fails in [false, true, false] {
        let (store, runs) = (db.store.clone(), Arc::clone(&runs));
        jobs.spawn(async move {
            store
                .write(move |_: &mut Tx| {
                    let runs = Arc::clone(&runs);
                    {
                        runs.fetch_add(1, Ordering::SeqCst);
                        if fails { Err(StoreError::Cursor) } else { Ok(()) }
                    }
                })
                .await
        });
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    blocker.await.unwrap().unwrap();
    let failures = jobs.join_all().await.into_iter().filter(Result::is_err).count();
    assert_eq!(failures, 1);
    assert_eq!(runs.load(Ordering::SeqCst), 5, "two together until the second failed, then each alone");
}

#[tokio::test]
async fn a_job_sees_the_events_of_those_before_it_in_its_group() {
    let db = TestDatabase::sqlite().await;
    let (gate, blocker) = blocked(&db.store).await;
    let store = db.store.clone();
    let appends = tokio::spawn(async move {
        let event = Event {
            at: Timestamp(1),
            actor: "somebody".to_owned(),
            company: None,
            action: Action::Granted,
            subject: Subject::Unknown,
            customer: None,
            detail: serde_json::Value::Null,
        };
        let append = move |tx: &mut Tx| tx.append(1, event.clone());
        store
            .write(move |tx: &mut Tx| {
                append(tx);
                Ok::<_, StoreError>(())
            })
            .await
    });
    tokio::task::yield_now().await;
    let store = db.store.clone();
    let reads = tokio::spawn(async move {
        store
            .write(|tx: &mut Tx| {
                let all = (AuditFilter::default(), PageRequest::default());
                tx.audit(Scope::Operator, &all.0, &all.1)
            })
            .await
    });
    tokio::task::yield_now().await;
    gate.notify_one();
    blocker.await.unwrap().unwrap();
    appends.await.unwrap().unwrap();
    assert_eq!(reads.await.unwrap().unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_job_that_panics_harms_nobody_else() {
    let db = TestDatabase::sqlite().await;
    let (gate, blocker) = blocked(&db.store).await;
    let panics = tokio::spawn({
        let store = db.store.clone();
        async move { store.write(|_: &mut Tx| -> Result<(), StoreError> { panic!("a mistake") }).await }
    });
    tokio::task::yield_now().await;
    let neighbour = tokio::spawn({
        let store = db.store.clone();
        async move { store.write(|tx: &mut Tx| tx.insert_company(&company(1, "Acme"))).await }
    });
    tokio::task::yield_now().await;
    gate.notify_one();
    blocker.await.unwrap().unwrap();
    assert!(panics.await.unwrap().is_err());
    assert!(neighbour.await.unwrap().unwrap());
    assert!(db.store.write(|tx: &mut Tx| tx.insert_company(&company(2, "Bolt"))).await.unwrap());
}

#[tokio::test]
async fn a_full_queue_is_told_at_once() {
    let db = TestDatabase::sqlite().await;
    let (gate, blocker) = blocked(&db.store).await;
    let mut jobs = JoinSet::new();
    for _ in 0..1100 {
        let store = db.store.clone();
        jobs.spawn(async move { store.write(|_: &mut Tx| Ok::<_, StoreError>(())).await });
    }
    // While the gate is closed, only those that found no place are answered.
    for _ in 1024..1100 {
        let outcome = jobs.join_next().await.unwrap().unwrap();
        assert!(matches!(outcome, Err(StoreError::Busy)), "{outcome:?}");
    }
    gate.notify_one();
    blocker.await.unwrap().unwrap();
    assert!(jobs.join_all().await.iter().all(Result::is_ok));
}
