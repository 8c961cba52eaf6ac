//! The audit trail.

use crate::support::TestDatabase;
use serde_json::json;
use unbox_common::{
    ids::{CompanyId, DeviceId},
    timestamp::Timestamp,
};
use unbox_server::{
    domain::tenancy::{
        actor::Scope,
        audit::{Action, Event, Subject},
    },
    store::{AuditFilter, PageRequest, StoreError, Tx},
};

fn event(action: Action, subject: Subject, at: u64) -> Event {
    Event {
        at: Timestamp(at),
        actor: "somebody".to_owned(),
        company: None,
        action,
        subject,
        customer: Some(CompanyId::new(1).unwrap()),
        detail: json!({"kind": "not_claimed", "at": at}),
    }
}

async fn append(db: &TestDatabase, events: Vec<(i64, Event)>) {
    db.store
        .write(move |tx: &mut Tx| {
            for (id, event) in &events {
                tx.append(*id, event.clone());
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

async fn refusals_are_counted_and_not_stored_one_by_one(db: TestDatabase) {
    let refused = |at| event(Action::Refused, Subject::Unknown, at);
    append(&db, (1..=50_i64).map(|id| (id, refused(u64::try_from(id).unwrap()))).collect()).await;
    append(&db, vec![(60, refused(4_000_000)), (61, event(Action::Granted, Subject::Unknown, 7))]).await;
    let all = db
        .read(move |reader| reader.audit(Scope::Operator, &AuditFilter::default(), &PageRequest::default()))
        .await
        .items;
    let seen: Vec<(i64, u64)> = all.iter().map(|one| (one.id, one.count)).collect();
    assert_eq!(seen, [(61, 1), (60, 1), (1, 50)], "newest first, one row for each hour");
    assert_eq!((all[2].at, all[2].last_at), (Timestamp(1), Timestamp(50)));
    assert_eq!(all[2].detail, json!({"kind": "not_claimed", "at": 50}));
}

async fn entries_are_filtered_scoped_and_paged(db: TestDatabase) {
    let device = Subject::Device(DeviceId::new(9).unwrap());
    let foreign =
        Event { customer: Some(CompanyId::new(2).unwrap()), ..event(Action::DeviceDisabled, device, 4) };
    append(
        &db,
        vec![
            (1, event(Action::Granted, device, 1)),
            (2, event(Action::DeviceDisabled, device, 2)),
            (3, event(Action::DeviceDisabled, Subject::Unknown, 3)),
            (4, foreign),
        ],
    )
    .await;
    let any = AuditFilter::default();
    let first = Scope::Customer(CompanyId::new(1).unwrap());
    for (scope, filter, expected) in [
        (Scope::Operator, any.clone(), vec![4, 3, 2, 1]),
        (first, any.clone(), vec![3, 2, 1]),
        (first, AuditFilter { subjects: vec![device], ..any.clone() }, vec![2, 1]),
        (Scope::Operator, AuditFilter { action: Some(Action::Granted), ..any.clone() }, vec![1]),
        (Scope::Operator, AuditFilter { since: Some(Timestamp(3)), ..any.clone() }, vec![4, 3]),
        (first, AuditFilter { customer: Some(CompanyId::new(2).unwrap()), ..any.clone() }, vec![]),
    ] {
        let wanted = filter.clone();
        let found = db.read(move |reader| reader.audit(scope, &wanted, &PageRequest::default())).await.items;
        assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), expected, "{scope:?} {filter:?}");
    }
    let also = any.clone();
    let page =
        db.read(move |reader| reader.audit(first, &also, &PageRequest { size: Some(2), after: None })).await;
    let rest = db.read(move |reader| reader.audit(first, &any, &PageRequest::from_cursor(page.next))).await;
    assert_eq!(rest.items.iter().map(|one| one.id).collect::<Vec<_>>(), [1]);
}

async fn an_organisation_sees_its_own_things_and_what_its_people_did_to_others(db: TestDatabase) {
    let device = Subject::Device(DeviceId::new(9).unwrap());
    let (acme, boxes) = (CompanyId::new(1).unwrap(), CompanyId::new(2).unwrap());
    let entry = |customer, company, actor: &str, at| Event {
        customer,
        company,
        actor: actor.to_owned(),
        ..event(Action::Claimed, device, at)
    };
    append(
        &db,
        vec![
            (1, entry(Some(acme), Some(boxes), "account 4 orders", 10)),
            (2, entry(Some(boxes), Some(boxes), "account 4 orders", 20)),
            (3, entry(Some(acme), None, "account 42 orders", 30)),
            (4, entry(Some(acme), Some(acme), "account 4", 40)),
            (5, entry(None, Some(boxes), "account 5 stock", 50)),
            (6, entry(None, None, "account 6", 60)),
        ],
    )
    .await;
    let any = AuditFilter::default;
    let of = |company| AuditFilter { organisation: Some(company), ..any() };
    let by = |actor: &str| AuditFilter { actor: Some(actor.to_owned()), ..any() };
    for (scope, filter, expected) in [
        (Scope::Operator, of(boxes), vec![5, 2, 1]),
        (Scope::Operator, of(acme), vec![4, 3, 1]),
        (Scope::Reseller(boxes), any(), vec![5, 2, 1]),
        (Scope::Reseller(boxes), of(boxes), vec![5, 2, 1]),
        (Scope::Reseller(boxes), of(acme), vec![]),
        (Scope::Customer(acme), of(boxes), vec![]),
        (Scope::Customer(acme), any(), vec![4, 3, 1]),
        (Scope::Operator, by("account 4"), vec![4, 2, 1]),
        (Scope::Operator, by("account 4 orders"), vec![2, 1]),
        (Scope::Operator, by("%"), vec![]),
        (Scope::Operator, AuditFilter { until: Some(Timestamp(30)), ..any() }, vec![2, 1]),
        (
            Scope::Customer(acme),
            AuditFilter { until: Some(Timestamp(40)), since: Some(Timestamp(30)), ..any() },
            vec![3],
        ),
    ] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let filter = filter.clone();
            let page = db
                .read(move |reader| reader.audit(scope, &filter, &PageRequest { size: Some(2), after }))
                .await;
            found.extend(page.items.iter().map(|one| one.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{scope:?} {filter:?}");
    }
}

battery!(
    an_organisation_sees_its_own_things_and_what_its_people_did_to_others,
    refusals_are_counted_and_not_stored_one_by_one,
    entries_are_filtered_scoped_and_paged,
);
