//! Artifacts and their owners, and uploads that go on where they stopped.

use crate::support::{MINIMAL_DOCUMENT, TestDatabase, World};
use std::{
    fs,
    io::{self, Cursor, Read},
    time::Duration,
};
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, UploadId},
    payload::MAX_ARTIFACT_BYTES,
};
use unbox_server::{
    domain::{
        catalogue::artifact::Artifact,
        tenancy::{actor::Actor, audit::Action},
    },
    service::{
        ArtifactUpload, ConfigurationChange, MAX_OPEN_UPLOADS, NewUpload, ServiceError, Services,
        UPLOAD_KEPT, UploadPart, UploadProgress,
    },
    store::{ArtifactsOf, AuditFilter, PageRequest},
};

const BYTES: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn acme(world: &World) -> Actor {
    Actor::of_customer("Ann of Acme", world.customer)
}

fn bytes_for(customer: Option<CompanyId>, bytes: &'static [u8]) -> ArtifactUpload<Cursor<&'static [u8]>> {
    ArtifactUpload { customer, ..ArtifactUpload::for_all_customers("app.tar", Cursor::new(bytes)) }
}

async fn add(world: &World, customer: Option<CompanyId>, bytes: &'static [u8]) -> Artifact {
    world.services.catalogue.add_artifact(&world.by, bytes_for(customer, bytes)).await.unwrap()
}

async fn seen(world: &World, by: &Actor, of: ArtifactsOf) -> Vec<(Option<CompanyId>, Sha256)> {
    let page = world.services.catalogue.list_artifacts(by, of, PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|one| (one.customer, one.sha256)).collect()
}

/// A document that needs the artifact of these bytes.
fn document(bytes: &[u8]) -> String {
    let artifact = format!(r#"{{"sha256":"{}","size":{}}}"#, Sha256::of(bytes), bytes.len());
    let dpc = format!(r#"{{"dpc":{{"name":"dpc","version":"1","kind":"tar","artifact":{artifact}}},"#);
    MINIMAL_DOCUMENT.replacen('{', &dpc, 1)
}

#[track_caller]
fn refused<T>(result: Result<T, ServiceError>, words: &str) {
    let error = result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains(words), "expected {words:?}, found {error:?}");
}

async fn the_same_bytes_of_two_customers_are_one_file_until_the_last_gives_them_up(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let owners = [Some(world.customer), Some(bolt), None];
    for owner in owners {
        let first = add(&world, owner, BYTES).await;
        assert_eq!(add(&world, owner, BYTES).await, first, "the same bytes again are the same artifact");
    }
    let digest = Sha256::of(BYTES);
    let path = world.services.catalogue.artifact_path(digest);
    let files = || fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files().filter(|name| *name != ".parts").count(), 1);
    assert_eq!(fs::read_dir(path.parent().unwrap().join(".parts")).unwrap().count(), 0);
    for owner in owners {
        assert_eq!(fs::read(&path).unwrap(), BYTES);
        world.services.catalogue.delete_artifact(&world.by, owner, digest).await.unwrap();
        let gone = world.services.catalogue.delete_artifact(&world.by, owner, digest).await;
        assert!(matches!(gone, Err(ServiceError::OperatorOnly | ServiceError::NotFound { .. })));
    }
    assert!(!path.exists());
}

async fn a_customer_sees_its_own_artifacts_and_the_shared_ones(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let own = add(&world, Some(world.customer), b"own").await;
    let others = add(&world, Some(bolt), b"others").await;
    let shared = add(&world, None, b"shared").await;
    add(&world, None, b"own").await;
    let ann = acme(&world);
    let (mine, theirs) = (ArtifactsOf::Customer(world.customer), ArtifactsOf::Customer(bolt));
    let expected = [(Some(world.customer), own.sha256), (None, shared.sha256)];
    assert_eq!(seen(&world, &ann, mine).await, expected);
    assert_eq!(seen(&world, &ann, ArtifactsOf::Anybody).await, expected);
    assert_eq!(seen(&world, &ann, theirs).await, []);
    let boxes = Actor::of_reseller("Boxes", bolt);
    assert_eq!(seen(&world, &boxes, theirs).await, []);
    assert_eq!(seen(&world, &world.by, ArtifactsOf::Anybody).await.len(), 4);
    assert_eq!(seen(&world, &world.by, ArtifactsOf::Operator).await.len(), 2);

    let before = world.db.snapshot().await;
    let services = &world.services;
    for customer in [Some(world.customer), Some(bolt)] {
        refused(services.catalogue.artifact(&ann, customer, others.sha256).await, "There is no artifact");
        refused(
            services.catalogue.delete_artifact(&ann, customer, others.sha256).await,
            if customer == Some(bolt) { "There is no customer" } else { "There is no artifact" },
        );
    }
    assert_eq!(services.catalogue.artifact(&ann, Some(world.customer), shared.sha256).await.unwrap(), shared);
    refused(
        services.catalogue.delete_artifact(&ann, Some(world.customer), shared.sha256).await,
        "Only the operator",
    );
    refused(services.catalogue.delete_artifact(&ann, None, shared.sha256).await, "Only the operator");
    refused(services.catalogue.add_artifact(&ann, bytes_for(None, b"x")).await, "Only the operator");
    refused(services.catalogue.add_artifact(&ann, bytes_for(Some(bolt), b"x")).await, "There is no customer");
    refused(
        services.catalogue.delete_artifact(&boxes, Some(bolt), others.sha256).await,
        "There is no customer",
    );
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_configuration_names_only_what_its_customer_may_name(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    add(&world, Some(bolt), b"others").await;
    add(&world, Some(world.customer), b"own").await;
    add(&world, None, b"shared").await;
    let (services, ann) = (&world.services, acme(&world));
    let before = world.db.snapshot().await;
    let create = async |name: &str, bytes: &[u8]| {
        services.catalogue.create_configuration(&ann, world.customer, name, &document(bytes)).await
    };
    refused(create("Others", b"others").await, "which is not on this server");
    let change =
        ConfigurationChange { document: Some(document(b"others")), ..ConfigurationChange::default() };
    refused(
        services.catalogue.update_configuration(&ann, world.configuration, change).await,
        "which is not on this server",
    );
    let dpc = format!(
        r#"{{"name":"dpc","version":"1","kind":"tar","artifact":{{"sha256":"{}","size":6}}}}"#,
        Sha256::of(b"others")
    );
    refused(services.catalogue.save_dpc(&world.by, None, &dpc).await, "which is not on this server");
    assert_eq!(world.db.snapshot().await, before);
    create("Own", b"own").await.unwrap();
    create("Shared", b"shared").await.unwrap();
}

async fn what_is_used_stays_and_the_message_names_what_uses_it(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let own = add(&world, Some(world.customer), b"bytes").await;
    let created = services
        .catalogue
        .create_configuration(by, world.customer, "Kassa", &document(b"bytes"))
        .await
        .unwrap();
    let uses = format!("it is used: configuration {} \"Kassa\". Change that first.", created.id);
    let delete = async |owner| services.catalogue.delete_artifact(by, owner, own.sha256).await;
    refused(delete(Some(world.customer)).await, &uses);
    // What all share is as good, and then protected in its turn.
    add(&world, None, b"bytes").await;
    delete(Some(world.customer)).await.unwrap();
    refused(delete(None).await, &uses);
    let dpc = format!(
        r#"{{"name":"till","version":"1","kind":"tar","artifact":{{"sha256":"{}","size":5}}}}"#,
        own.sha256
    );
    services.catalogue.save_dpc(by, None, &dpc).await.unwrap();
    services.catalogue.delete_configuration(by, created.id).await.unwrap();
    let before = world.db.snapshot().await;
    refused(delete(None).await, "it is used: DPC till of the catalogue. Change that first.");
    assert_eq!(world.db.snapshot().await, before);
    services.catalogue.delete_dpc(by, "till").await.unwrap();
    delete(None).await.unwrap();
    assert!(!services.catalogue.artifact_path(own.sha256).exists());
}

async fn bytes_that_are_not_what_was_expected_leave_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    let before = world.db.snapshot().await;
    let expected = Some(Sha256::of(b"something else"));
    let upload = ArtifactUpload { expected, ..bytes_for(Some(world.customer), BYTES) };
    refused(world.services.catalogue.add_artifact(&acme(&world), upload).await, "expected the digest");
    let cut =
        ArtifactUpload { customer: None, name: "x".to_owned(), expected: None, bytes: cut_after(BYTES) };
    refused(world.services.catalogue.add_artifact(&world.by, cut).await, "Send them again");
    let nameless = ArtifactUpload::for_all_customers(" ", Cursor::new(BYTES));
    refused(world.services.catalogue.add_artifact(&world.by, nameless).await, "name: expected one line");
    assert_eq!(world.db.snapshot().await, before);
    let parts = world.services.settings().artifact_directory.join(".parts");
    assert_eq!(fs::read_dir(parts).unwrap().count(), 0);
    assert!(!world.services.catalogue.artifact_path(Sha256::of(BYTES)).exists());
}

/// Bytes, and then a lost connection.
fn cut_after(bytes: &'static [u8]) -> impl Read + Send + 'static {
    struct Lost;
    impl Read for Lost {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    Cursor::new(bytes).chain(Lost)
}

async fn start(world: &World, size: Option<u64>, expected: Option<Sha256>) -> UploadId {
    let new = NewUpload { customer: world.customer, name: "app.tar".to_owned(), size, expected };
    world.services.catalogue.start_upload(&acme(world), new).await.unwrap().id
}

async fn send(
    world: &World,
    services: &Services,
    id: UploadId,
    part: (u64, Option<u64>, Option<u64>),
    bytes: impl Read + Send + 'static,
) -> Result<UploadProgress, ServiceError> {
    let by = acme(world);
    let turn = services.catalogue.upload_turn(&by, world.customer, id).await?;
    let (from, length, total) = part;
    services.catalogue.continue_upload(&by, turn, UploadPart { from, length, total }, bytes).await
}

fn slice(from: usize, to: usize) -> (u64, Option<u64>, Option<u64>, Cursor<&'static [u8]>) {
    (from as u64, Some((to - from) as u64), Some(BYTES.len() as u64), Cursor::new(&BYTES[from..to]))
}

async fn an_upload_goes_on_where_it_stopped(db: TestDatabase) {
    let world = World::new(db).await;
    let id = start(&world, None, Some(Sha256::of(BYTES))).await;
    let total = Some(36);
    let send = async |services: &Services, part, bytes: Box<dyn Read + Send>| {
        send(&world, services, id, part, bytes).await.unwrap()
    };
    let here = &world.services;
    let ten = slice(0, 10);
    let first = send(here, (ten.0, ten.1, ten.2), Box::new(ten.3)).await;
    assert_eq!(first, UploadProgress::Open(10));
    // The connection is lost in the middle: what arrived counts.
    let lost = send(here, (10, Some(26), total), Box::new(cut_after(&BYTES[10..15]))).await;
    assert_eq!(lost, UploadProgress::Open(15));
    // Another server, or the same one started anew.
    let there = world.another_server(7);
    assert_eq!(send(&there, (15, Some(0), total), Box::new(io::empty())).await, UploadProgress::Open(15));
    // Too far ahead: the client is told where to go on, and nothing is read.
    assert_eq!(
        send(&there, (20, Some(16), total), Box::new(Cursor::new(&BYTES[20..]))).await,
        UploadProgress::Open(15)
    );
    // What is here already comes again with the rest.
    let UploadProgress::Done(artifact) =
        send(&there, (5, Some(31), total), Box::new(Cursor::new(&BYTES[5..]))).await
    else {
        panic!("it is whole")
    };
    assert_eq!((artifact.sha256, artifact.customer), (Sha256::of(BYTES), Some(world.customer)));
    assert_eq!(fs::read(there.catalogue.artifact_path(artifact.sha256)).unwrap(), BYTES);
    // The last answer was lost, too.
    let again = send(here, (36, Some(0), total), Box::new(io::empty())).await;
    assert_eq!(again, UploadProgress::Done(artifact));
    let noted = AuditFilter { action: Some(Action::ArtifactRegistered), ..AuditFilter::default() };
    let noted = here.tenancy.list_audit(&acme(&world), noted, PageRequest::default()).await.unwrap().items;
    assert_eq!((noted.len(), noted[0].actor.as_str()), (1, "Ann of Acme"));
}

async fn an_upload_that_alternates_between_two_directories_keeps_its_progress(db: TestDatabase) {
    let world = World::new(db).await;
    let id = start(&world, None, None).await;
    let there = world.server_with_artifacts_in("elsewhere");
    let ten = slice(0, 10);
    let begun = send(&world, &world.services, id, (ten.0, ten.1, ten.2), ten.3).await.unwrap();
    assert_eq!(begun, UploadProgress::Open(10));
    let before = world.db.snapshot().await;
    for from in [0, 10] {
        let sent = send(&world, &there, id, (from, None, Some(36)), &BYTES[usize::try_from(from).unwrap()..]);
        refused(sent.await, "the server where it began");
        assert_eq!(world.db.snapshot().await, before);
    }
    let done = send(&world, &world.services, id, (10, None, Some(36)), &BYTES[10..]).await.unwrap();
    assert!(matches!(done, UploadProgress::Done(one) if one.sha256 == Sha256::of(BYTES)));
}

async fn two_servers_with_one_directory_work_on_an_upload_one_after_the_other(db: TestDatabase) {
    let world = World::new(db).await;
    let (id, ann) = (start(&world, None, None).await, acme(&world));
    let there = world.another_server(7);
    let turn = world.services.catalogue.upload_turn(&ann, world.customer, id).await.unwrap();
    let waiting = there.catalogue.upload_turn(&ann, world.customer, id);
    let working = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let part = UploadPart { from: 0, length: Some(10), total: Some(36) };
        world.services.catalogue.continue_upload(&ann, turn, part, &BYTES[..10]).await
    };
    let (worked, waited) = tokio::join!(working, waiting);
    assert_eq!(worked.unwrap(), UploadProgress::Open(10));
    assert_eq!(waited.unwrap().received_bytes(), 10, "it sees what the other server wrote meanwhile");
}

async fn an_upload_of_unknown_size_ends_with_its_bytes(db: TestDatabase) {
    let world = World::new(db).await;
    for (first, rest, whole) in [(0, BYTES, BYTES), (10, BYTES, BYTES)] {
        let id = start(&world, None, None).await;
        if first > 0 {
            let open = send(&world, &world.services, id, (0, Some(first), None), &BYTES[..10]).await.unwrap();
            assert_eq!(open, UploadProgress::Open(first));
        }
        let done = send(&world, &world.services, id, (0, None, None), rest).await.unwrap();
        assert!(matches!(done, UploadProgress::Done(one) if one.sha256 == Sha256::of(whole)));
    }
    let empty = start(&world, Some(0), None).await;
    let done = send(&world, &world.services, empty, (0, Some(0), Some(0)), io::empty()).await.unwrap();
    assert!(matches!(done, UploadProgress::Done(one) if one.size == 0));
}

async fn bytes_that_contradict_what_was_said_are_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let id = start(&world, Some(36), Some(Sha256::of(b"something else"))).await;
    let ten = slice(0, 10);
    send(&world, services, id, (ten.0, ten.1, ten.2), ten.3).await.unwrap();
    let before = world.db.snapshot().await;
    for (part, words) in [
        ((10, Some(26), Some(37)), "expected 36 bytes in all"),
        ((10, Some(5), None), "no more bytes than were announced"),
        ((10, Some(27), None), "not less than what has arrived"),
    ] {
        refused(send(&world, services, id, part, &BYTES[10..]).await, words);
    }
    assert_eq!(world.db.snapshot().await["artifacts"], before["artifacts"]);
    let stranger = world.other_customer("Bolt").await;
    let bolt = Actor::of_customer("Bob of Bolt", stranger);
    for customer in [world.customer, stranger] {
        refused(services.catalogue.upload_turn(&bolt, customer, id).await.map(drop), "There is no upload");
    }
    let new = |customer, size| NewUpload { customer, name: "x".to_owned(), size, expected: None };
    refused(services.catalogue.start_upload(&bolt, new(world.customer, None)).await, "There is no customer");
    let large = new(stranger, Some(MAX_ARTIFACT_BYTES + 1));
    refused(services.catalogue.start_upload(&bolt, large).await, "At most 17179869184 bytes");
    // With the wrong digest it is over.
    refused(send(&world, services, id, (10, Some(26), None), &BYTES[10..]).await, "expected the digest");
    refused(
        services.catalogue.upload_turn(&acme(&world), world.customer, id).await.map(drop),
        "There is no upload",
    );
    assert_eq!(world.db.snapshot().await["artifact_registrations"], Vec::<String>::new());
    let parts = services.settings().artifact_directory.join(".parts");
    assert_eq!(fs::read_dir(parts).unwrap().count(), 0);
}

async fn open_uploads_are_few_and_abandoned_ones_are_forgotten(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let first = start(&world, Some(36), None).await;
    for _ in 1..MAX_OPEN_UPLOADS {
        start(&world, None, None).await;
    }
    let before = world.db.snapshot().await;
    let new = NewUpload { customer: world.customer, name: "x".to_owned(), size: None, expected: None };
    refused(
        services.catalogue.start_upload(&acme(&world), new.clone()).await,
        "16 uploads that are not finished",
    );
    assert_eq!(world.db.snapshot().await, before);
    let turn = services.catalogue.upload_turn(&acme(&world), world.customer, first).await.unwrap();
    services.catalogue.cancel_upload(turn).await.unwrap();
    let kept = services.catalogue.start_upload(&acme(&world), new).await.unwrap().id;
    world.clock.advance(UPLOAD_KEPT.saturating_sub(Duration::from_millis(1)));
    let ten = slice(0, 10);
    send(&world, services, kept, (ten.0, ten.1, ten.2), ten.3).await.unwrap();
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(services.catalogue.sweep_uploads().await.unwrap(), 15);
    assert_eq!(world.db.snapshot().await["uploads"].len(), 1);
    world.clock.advance(UPLOAD_KEPT);
    assert_eq!(services.catalogue.sweep_uploads().await.unwrap(), 1);
    let parts = services.settings().artifact_directory.join(".parts");
    assert_eq!(fs::read_dir(parts).unwrap().count(), 0);
}

async fn who_comes_back_takes_the_upload_from_a_connection_that_hangs(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, ann) = (&world.services, acme(&world));
    let id = start(&world, Some(36), None).await;
    let turn = services.catalogue.upload_turn(&ann, world.customer, id).await.unwrap();
    let taken_over = turn.wait_for_takeover();
    let hanging = async {
        taken_over.await;
        // What the route does: the stream of the connection ends.
        services
            .catalogue
            .continue_upload(&ann, turn, UploadPart { from: 0, length: None, total: None }, &BYTES[..5])
            .await
    };
    let (hung, back) = tokio::join!(hanging, services.catalogue.upload_turn(&ann, world.customer, id));
    assert_eq!(hung.unwrap(), UploadProgress::Open(0));
    assert_eq!(back.unwrap().received_bytes(), 0);
}

battery!(
    the_same_bytes_of_two_customers_are_one_file_until_the_last_gives_them_up,
    a_customer_sees_its_own_artifacts_and_the_shared_ones,
    a_configuration_names_only_what_its_customer_may_name,
    what_is_used_stays_and_the_message_names_what_uses_it,
    bytes_that_are_not_what_was_expected_leave_nothing,
    an_upload_goes_on_where_it_stopped,
    an_upload_that_alternates_between_two_directories_keeps_its_progress,
    two_servers_with_one_directory_work_on_an_upload_one_after_the_other,
    an_upload_of_unknown_size_ends_with_its_bytes,
    bytes_that_contradict_what_was_said_are_refused,
    open_uploads_are_few_and_abandoned_ones_are_forgotten,
    who_comes_back_takes_the_upload_from_a_connection_that_hangs,
);
