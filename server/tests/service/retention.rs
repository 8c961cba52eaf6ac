//! Room on the disk, and what is forgotten in time.

use crate::support::{START, TestDatabase, TestDevice, World, certificate, report};
use std::{
    fs,
    io::{self, Cursor, Read},
    os::unix::fs::PermissionsExt as _,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Duration,
};
use tokio::task::spawn_blocking;
use unbox_common::{
    ids::{CompanyId, Generation},
    protocol::latest::ProofKind,
};
use unbox_server::service::{
    ArtifactUpload, AuditFilter, NewUpload, PageRequest, ServiceError, Services, UploadPart,
};

const DAY: Duration = Duration::from_hours(24);

async fn add(
    world: &World,
    services: &Services,
    customer: Option<CompanyId>,
    bytes: Vec<u8>,
) -> Result<(), ServiceError> {
    let upload =
        ArtifactUpload { customer, ..ArtifactUpload::for_all_customers("app.tar", Cursor::new(bytes)) };
    services.catalogue.add_artifact(&world.by, upload).await.map(drop)
}

async fn a_customer_has_a_share_of_the_disk_and_a_refusal_leaves_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    let services = world.server_with(9, |settings| settings.company_bytes = 100);
    let (acme, bolt) = (Some(world.customer), Some(world.other_customer("Bolt").await));
    add(&world, &services, acme, vec![1; 60]).await.unwrap();
    let before = world.db.snapshot().await;
    let refused = add(&world, &services, acme, vec![2; 60]).await;
    assert!(matches!(refused, Err(ServiceError::QuotaExceeded(_))), "{refused:?}");
    let upload = |size| NewUpload { customer: world.customer, name: "x".to_owned(), size, expected: None };
    let refused = services.catalogue.start_upload(&world.by, upload(Some(41))).await;
    assert!(matches!(refused, Err(ServiceError::QuotaExceeded(_))), "{refused:?}");
    assert_eq!(world.db.snapshot().await, before);
    let parts = services.settings().artifact_directory.join(".parts");
    assert_eq!(fs::read_dir(parts).unwrap().count(), 0);
    add(&world, &services, acme, vec![3; 40]).await.unwrap();
    add(&world, &services, bolt, vec![4; 100]).await.unwrap();
    add(&world, &services, None, vec![5; 1000]).await.unwrap();
}

/// Bytes that arrive when the test sends them.
struct Slow {
    chunks: Receiver<Vec<u8>>,
    chunk: Cursor<Vec<u8>>,
}

impl Slow {
    /// The sender waits until each chunk is taken.
    fn new() -> (SyncSender<Vec<u8>>, Self) {
        let (send, chunks) = sync_channel(0);
        (send, Self { chunks, chunk: Cursor::default() })
    }
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.chunk.read(buffer)?;
        if read > 0 {
            return Ok(read);
        }
        self.chunk = Cursor::new(self.chunks.recv().unwrap_or_default());
        self.chunk.read(buffer)
    }
}

async fn send(to: &SyncSender<Vec<u8>>, chunk: Vec<u8>) {
    let to = to.clone();
    spawn_blocking(move || to.send(chunk).unwrap()).await.unwrap();
}

async fn streams_side_by_side_share_the_quota_also_on_two_servers(db: TestDatabase) {
    let world = World::new(db).await;
    let server = |seed| world.server_with(seed, |settings| settings.company_bytes = 100);
    let (here, there) = (server(9), server(10));
    let bolt = world.other_customer("Bolt").await;
    for (customer, other) in [(world.customer, &here), (bolt, &there)] {
        let (sender, bytes) = Slow::new();
        let upload =
            ArtifactUpload { customer: Some(customer), ..ArtifactUpload::for_all_customers("slow", bytes) };
        let (services, by) = (here.clone(), world.by.clone());
        let slow = tokio::spawn(async move { services.catalogue.add_artifact(&by, upload).await });
        send(&sender, vec![1; 30]).await;
        add(&world, other, Some(customer), vec![2; 60]).await.unwrap();
        let before = world.db.snapshot().await;
        send(&sender, vec![3; 20]).await;
        drop(sender);
        let refused = slow.await.unwrap();
        assert!(matches!(refused, Err(ServiceError::QuotaExceeded(_))), "{refused:?}");
        assert_eq!(world.db.snapshot().await, before);
        let parts = here.settings().artifact_directory.join(".parts");
        assert_eq!(fs::read_dir(parts).unwrap().count(), 0);
        add(&world, &here, Some(customer), vec![4; 40]).await.unwrap();
    }
}

async fn an_upload_saves_no_more_than_the_quota_leaves_when_it_saves(db: TestDatabase) {
    let world = World::new(db).await;
    let server = |seed| world.server_with(seed, |settings| settings.company_bytes = 100);
    let (here, there) = (server(9), server(10));
    let new = NewUpload { customer: world.customer, name: "x".to_owned(), size: Some(50), expected: None };
    let id = here.catalogue.start_upload(&world.by, new).await.unwrap().id;
    let turn = here.catalogue.upload_turn(&world.by, world.customer, id).await.unwrap();
    let (sender, bytes) = Slow::new();
    let (services, by) = (here.clone(), world.by.clone());
    let whole = UploadPart { from: 0, length: Some(50), total: Some(50) };
    let slow = tokio::spawn(async move { services.catalogue.continue_upload(&by, turn, whole, bytes).await });
    send(&sender, vec![1; 30]).await;
    add(&world, &there, Some(world.customer), vec![2; 60]).await.unwrap();
    let before = world.db.snapshot().await;
    send(&sender, vec![3; 20]).await;
    drop(sender);
    let refused = slow.await.unwrap();
    assert!(matches!(refused, Err(ServiceError::QuotaExceeded(_))), "{refused:?}");
    assert_eq!(world.db.snapshot().await, before);
}

async fn uploads_leave_a_reserve_of_the_disk(db: TestDatabase) {
    let world = World::new(db).await;
    let services = world.server_with(9, |settings| settings.reserved_bytes = u64::MAX / 2);
    let before = world.db.snapshot().await;
    for owner in [Some(world.customer), None] {
        let refused = add(&world, &services, owner, vec![1; 60]).await;
        assert!(matches!(refused, Err(ServiceError::NoRoom(_))), "{refused:?}");
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn reports_are_forgotten_when_they_are_old(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let grant = TestDevice::new("PF0ABCDE").enroll(&world.services).await.unwrap();
    let who = certificate(&grant);
    world.services.devices.report(who, report(Generation(1), &[1, 2], None)).await.unwrap();
    world.clock.advance(DAY);
    world.services.devices.report(who, report(Generation(1), &[3], None)).await.unwrap();
    world.clock.set(START.plus(world.services.settings().reports_kept));
    assert_eq!(world.services.upkeep.forget_reports().await.unwrap(), 0, "to the day");
    world.clock.advance(DAY / 2);
    assert_eq!(world.services.upkeep.forget_reports().await.unwrap(), 2);
    assert_eq!(world.db.snapshot().await["reports"].len(), 1);
}

async fn a_claim_that_ended_is_forgotten_with_its_device(db: TestDatabase) {
    let world = World::new(db).await;
    let [ended, stays] = ["PF0ABCDE", "PF0ABCDF"];
    let mut claims = Vec::new();
    for serial in [ended, stays] {
        claims.push(world.claim(serial, ProofKind::Identifiers).await.id);
        let grant = TestDevice::new(serial).enroll(&world.services).await.unwrap();
        world.services.devices.report(certificate(&grant), report(Generation(1), &[1], None)).await.unwrap();
    }
    world.services.claims.unclaim(&world.by, claims[0]).await.unwrap();
    world.clock.advance(world.services.settings().claims_kept);
    let before = world.db.snapshot().await;
    assert_eq!(world.services.upkeep.forget_claims().await.unwrap(), 0, "to the day");
    assert_eq!(world.db.snapshot().await, before);
    world.clock.advance(DAY);
    assert_eq!(world.services.upkeep.forget_claims().await.unwrap(), 1);
    let after = world.db.snapshot().await;
    for table in ["claims", "devices", "reports"] {
        assert_eq!(after[table].len(), 1, "{table}");
    }
    assert!(after["claims"][0].contains(stays) && !after["claims"][0].contains(ended));
    assert_eq!(world.services.upkeep.forget_claims().await.unwrap(), 0);
}

async fn the_audit_trail_is_on_disk_in_a_file_before_it_is_deleted(db: TestDatabase) {
    let world = World::new(db).await;
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("audit");
    let services = world.server_with(9, |settings| {
        settings.audit_kept = Some(DAY);
        settings.audit_directory.clone_from(&folder);
    });
    world.clock.advance(DAY);
    world.other_customer("Bolt").await;
    let entries = async || {
        let all = PageRequest { size: Some(1000), after: None };
        world.services.tenancy.list_audit(&world.by, AuditFilter::default(), all).await.unwrap().items.len()
    };
    let before = entries().await;
    assert_eq!(
        world.services.upkeep.archive_audit().await.unwrap(),
        0,
        "it is kept unless the settings say otherwise"
    );
    assert_eq!(services.upkeep.archive_audit().await.unwrap(), 0, "to the day");
    world.clock.advance(DAY / 2);
    let moved = services.upkeep.archive_audit().await.unwrap();
    assert_eq!(entries().await, 1);
    assert_eq!(usize::try_from(moved).unwrap(), before - 1);
    let file = folder.join(format!("audit-{}.ndjson", &START.to_string()[..10]));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), before - 1);
    assert!(text.contains("company_created"), "{text}");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(services.upkeep.archive_audit().await.unwrap(), 0);
}

battery!(
    a_customer_has_a_share_of_the_disk_and_a_refusal_leaves_nothing,
    streams_side_by_side_share_the_quota_also_on_two_servers,
    an_upload_saves_no_more_than_the_quota_leaves_when_it_saves,
    uploads_leave_a_reserve_of_the_disk,
    reports_are_forgotten_when_they_are_old,
    a_claim_that_ended_is_forgotten_with_its_device,
    the_audit_trail_is_on_disk_in_a_file_before_it_is_deleted,
);
