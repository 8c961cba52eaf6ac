//! Devices, their requests, reset tickets and reports.

use super::claims::{add_claims, claim};
use super::companies::add_company;
use crate::support::{TestDatabase, TestDevice, report};
use unbox_common::{
    digest::Sha256,
    identity::HardwareIdentity,
    ids::{ClaimId, CompanyId, DeviceId, Generation},
    protocol::latest::{Installed, Outcome},
    timestamp::Timestamp,
    trust::DevicePublicKey,
};
use unbox_server::{
    domain::{
        devices::device::{ApprovalRequest, Device, DeviceState, Enrollment, LastSaid, Tie},
        tenancy::{actor::Scope, company::CompanyKind},
    },
    store::{DeviceFilter, PageRequest, REPORTS_KEPT, ResetTicket, ShownSecrets, StoreError, Tx},
};

const NOW: Timestamp = Timestamp(1000);
const SERIAL: &str = "PF0ABCDE";

fn id() -> DeviceId {
    DeviceId::new(7).unwrap()
}

fn any_key() -> DevicePublicKey {
    TestDevice::new(SERIAL).key()
}

async fn save(db: &TestDatabase, device: Device) {
    db.store.write(move |tx: &mut Tx| tx.save_device(&device)).await.unwrap();
}

/// A device of claim 5 that enrolled twice.
async fn enrolled(db: &TestDatabase) -> Device {
    add_company(db, 1, CompanyKind::Customer, "Acme").await;
    add_claims(db, vec![claim(5, SERIAL)]).await;
    let shown = TestDevice::new(SERIAL);
    let device = Device {
        state: DeviceState::Enrolling { generation: Generation(2), since: NOW },
        active: Some(Enrollment { generation: Generation(1), key: shown.key() }),
        latest: Some(Enrollment { generation: Generation(2), key: shown.wiped().key() }),
        latest_ticket: Some(Sha256::of(b"ticket")),
        identity: Some(HardwareIdentity::from_raw(&shown.hello().identity).unwrap()),
        re_enroll_requested_at: Some(Timestamp(900)),
        version_lead: 7,
        last_said: LastSaid {
            at: Some(NOW),
            agent_version: Some("0.1.0".to_owned()),
            healthy: Some(false),
            installed: Some(Installed { configuration: "3".parse().unwrap(), version: 42, dpc: None }),
            failed_version: Some(43),
            outcome: Some(Outcome::Managed { version: 42 }),
        },
        ..Device::new(id(), ClaimId::new(5).unwrap(), CompanyId::new(1).unwrap(), NOW)
    };
    save(db, device.clone()).await;
    device
}

async fn a_device_comes_back_as_it_was_saved(db: TestDatabase) {
    let mut device = enrolled(&db).await;
    let read = || async { db.read(move |reader| reader.device(Scope::Operator, id())).await };
    assert_eq!(read().await.as_ref(), Some(&device));
    device.complete(Generation(2), NOW).unwrap();
    device.last_said = LastSaid::default();
    device.state = device.state.disable(Some("lost, call us".to_owned()), NOW).unwrap();
    save(&db, device.clone()).await;
    assert_eq!(read().await, Some(device.clone()));
    assert_eq!(db.read(move |reader| reader.device_of_claim(device.claim)).await, Some(device.clone()));
    let stranger = Scope::Customer(CompanyId::new(2).unwrap());
    assert_eq!(db.read(move |reader| reader.device(stranger, id())).await, None);
    for (filter, expected) in [
        (DeviceFilter { state: Some(device.state.name()), ..DeviceFilter::default() }, 1),
        (DeviceFilter { state: Some(DeviceState::Claimed.name()), ..DeviceFilter::default() }, 0),
    ] {
        let wanted = filter.clone();
        let found =
            db.read(move |reader| reader.devices(Scope::Operator, &wanted, &PageRequest::default())).await;
        assert_eq!(found.items.len(), expected, "{filter:?}");
    }
}

async fn a_damaged_device_names_its_column(db: TestDatabase) {
    enrolled(&db).await;
    for (statement, column) in [
        ("UPDATE devices SET latest_key = 'AAAA'", "latest_key"),
        ("UPDATE devices SET state_detail = '{}'", "state_detail"),
        ("UPDATE devices SET state_detail = '{\"state\":\"claimed\"}'", "state"),
    ] {
        db.tamper(statement);
        let error = db.store.read(|reader| reader.device(Scope::Operator, id())).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("table devices, row 7, column {column}: ")),
            "{error}"
        );
    }
}

fn request(key: &[u8], at: u64) -> ApprovalRequest {
    ApprovalRequest {
        device: id(),
        customer: CompanyId::new(1).unwrap(),
        key: Sha256::of(key),
        identity: HardwareIdentity::from_raw(&TestDevice::new(SERIAL).hello().identity).unwrap(),
        replaced: Vec::new(),
        first_at: Timestamp(at),
        last_at: Timestamp(at),
        count: 1,
        approved_at: None,
        source: None,
        tie: Tie::None,
    }
}

async fn note(db: &TestDatabase, asked: ApprovalRequest) {
    db.store.write(move |tx: &mut Tx| tx.save_request(&asked)).await.unwrap();
}

async fn requests_of_a_device_are_counted_and_capped(db: TestDatabase) {
    enrolled(&db).await;
    note(&db, request(b"mine", 1)).await;
    note(&db, request(b"mine", 100)).await;
    let read = || async { db.read(move |reader| reader.requests(Scope::Operator, Some(id()), 1000)).await };
    let expected = ApprovalRequest { last_at: Timestamp(100), count: 2, ..request(b"mine", 1) };
    assert_eq!(read().await, [expected]);
    for key in 0..20_u8 {
        note(&db, request(&[key], 200 + u64::from(key))).await;
    }
    let kept = read().await;
    assert_eq!(kept.len(), 8, "who invents keys cannot fill the disk");
    assert!(kept.iter().all(|one| one.last_at >= Timestamp(212)));
}

async fn an_approval_ends_when_it_did_not_suffice(db: TestDatabase) {
    enrolled(&db).await;
    let key = Sha256::of(b"mine");
    note(&db, request(b"mine", 1)).await;
    db.store.write(move |tx: &mut Tx| tx.approve_request(id(), key, Timestamp(5))).await.unwrap();
    let read = || async { db.read(move |reader| reader.request(id(), key)).await.unwrap() };
    assert_eq!(read().await.approved_at, Some(Timestamp(5)));
    assert!(db.read(move |reader| reader.requests(Scope::Operator, None, 10)).await.is_empty());
    note(&db, request(b"mine", 9)).await;
    assert_eq!(read().await.approved_at, None);
}

async fn a_reset_ticket_is_good_once_and_only_the_newest(db: TestDatabase) {
    enrolled(&db).await;
    let mint = |text: &'static [u8], at: u64| {
        let (digest, created_at) = (Sha256::of(text), Timestamp(at));
        let new = ResetTicket { digest, device: id(), created_at, expires_at: Timestamp(at + 100) };
        db.store.write(move |tx: &mut Tx| tx.insert_reset_ticket(new))
    };
    let good = |text: &'static [u8], at: u64| {
        let shown = ShownSecrets { key: Sha256::of(b"k"), token: None, reset_ticket: Some(Sha256::of(text)) };
        let claim = ClaimId::new(5).unwrap();
        let facts =
            db.store.write(move |tx: &mut Tx| tx.enrollment_facts(claim, (&any_key(), shown), Timestamp(at)));
        async { facts.await.unwrap().unwrap().reset_ticket }
    };
    mint(b"first", 1000).await.unwrap();
    assert!(good(b"first", 1050).await);
    assert!(!good(b"first", 1100).await, "it has expired");
    assert!(!good(b"made up", 1050).await);
    mint(b"second", 1010).await.unwrap();
    assert!(!good(b"first", 1050).await, "a newer one was minted");
    let take =
        || db.store.write(move |tx: &mut Tx| tx.use_reset_ticket(Sha256::of(b"second"), Timestamp(1060)));
    take().await.unwrap();
    assert!(!good(b"second", 1070).await);
    assert!(matches!(take().await, Err(StoreError::Touched { .. })));
}

async fn reports_are_kept_once_and_not_for_ever(db: TestDatabase) {
    enrolled(&db).await;
    let add = |sequences: Vec<u64>| {
        db.store.write(move |tx: &mut Tx| {
            let entries = report(Generation(1), &sequences, None).entries;
            tx.insert_reports(id(), Generation(1), &entries, NOW)
        })
    };
    add(vec![1, 2]).await.unwrap();
    add(vec![2, 3, 3]).await.unwrap();
    let stored = db.read(move |reader| reader.reports(id(), 100)).await;
    assert_eq!(stored.iter().map(|one| one.entry.sequence).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(stored[2].entry, report(Generation(1), &[1], None).entries[0]);
    add(vec![REPORTS_KEPT + 2]).await.unwrap();
    let stored = db.read(move |reader| reader.reports(id(), 100)).await;
    assert_eq!(stored.iter().map(|one| one.entry.sequence).collect::<Vec<_>>(), [REPORTS_KEPT + 2, 3]);
}

async fn facts_are_complete_in_one_look(db: TestDatabase) {
    let device = enrolled(&db).await;
    let shown = ShownSecrets { key: Sha256::of(b"mine"), token: None, reset_ticket: None };
    note(&db, request(b"mine", 1)).await;
    let facts = db
        .store
        .write(move |tx: &mut Tx| tx.enrollment_facts(ClaimId::new(5).unwrap(), (&any_key(), shown), NOW))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(facts.claim, claim(5, SERIAL));
    assert_eq!(facts.device, Some(device.clone()));
    assert_eq!(facts.request, Some(request(b"mine", 1)));
    assert_eq!((facts.customer_name.as_str(), facts.assigned, facts.token), ("Acme", None, None));
    assert!(!facts.key_is_elsewhere);
    let managed =
        db.store.write(move |tx: &mut Tx| tx.managed_facts(id(), Generation(1))).await.unwrap().unwrap();
    assert_eq!((managed.device, managed.sequence), (device, 0));
    let none = db
        .store
        .write(move |tx: &mut Tx| tx.managed_facts(DeviceId::new(8).unwrap(), Generation(1)))
        .await
        .unwrap();
    assert_eq!(none, None);
}

battery!(
    a_device_comes_back_as_it_was_saved,
    a_damaged_device_names_its_column,
    requests_of_a_device_are_counted_and_capped,
    an_approval_ends_when_it_did_not_suffice,
    a_reset_ticket_is_good_once_and_only_the_newest,
    reports_are_kept_once_and_not_for_ever,
    facts_are_complete_in_one_look,
);
