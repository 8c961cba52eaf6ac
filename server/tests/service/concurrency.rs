//! Many at once: nobody twice, nobody lost.

use crate::support::{TestDatabase, TestDevice, World, certificate, new_claim, report};
use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};
use tokio::task::JoinSet;
use unbox_common::{
    ids::Generation,
    protocol::latest::{Outcome, ProofKind},
};
use unbox_server::{
    domain::tenancy::audit::Action,
    store::{AuditFilter, DeviceFilter, PageRequest},
};

const EVERYTHING: PageRequest = PageRequest { size: Some(1000), after: None };

async fn a_fleet_enrolls_at_once_and_none_twice(db: TestDatabase) {
    let world = World::new(db).await;
    let mut file = "serial_number,manufacturer,model\n".to_owned();
    for number in 0..100 {
        writeln!(file, "SERIAL{number:03},Lenovo,20QES0XX00").unwrap();
    }
    assert_eq!(world.import(&file).await.0.unwrap().imported, 100);
    let servers = [world.services.clone(), world.another_server(2)];
    let mut fleet = JoinSet::new();
    for number in 0..100 {
        let services = servers[number % 2].clone();
        fleet.spawn(async move {
            let device = TestDevice::new(&format!("SERIAL{number:03}"));
            let grant = device.enroll(&services).await.unwrap();
            let done = Some(Outcome::Managed { version: 1 });
            services.devices.report(certificate(&grant), report(grant.generation, &[1], done)).await.unwrap();
            grant
        });
    }
    let grants = fleet.join_all().await;
    assert!(grants.iter().all(|grant| grant.generation == Generation(1)));
    assert_eq!(grants.iter().map(|grant| grant.device_id).collect::<BTreeSet<_>>().len(), 100);
    let devices =
        world.services.devices.list_devices(&world.by, DeviceFilter::default(), EVERYTHING).await.unwrap();
    assert_eq!(devices.items.len(), 100);
    assert!(devices.items.iter().all(|device| device.active.is_some()));
    let granted = AuditFilter { action: Some(Action::Granted), ..AuditFilter::default() };
    assert_eq!(
        world.services.tenancy.list_audit(&world.by, granted, EVERYTHING).await.unwrap().items.len(),
        100
    );
}

async fn one_device_that_enrolls_many_times_at_once_counts_each(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = Arc::new(TestDevice::new("PF0ABCDE"));
    let servers = [world.services.clone(), world.another_server(2)];
    let mut attempts = JoinSet::new();
    for number in 0..20 {
        let (services, device) = (servers[number % 2].clone(), Arc::clone(&device));
        attempts.spawn(async move { device.enroll(&services).await.unwrap() });
    }
    let grants = attempts.join_all().await;
    let mut generations: Vec<u64> = grants.iter().map(|grant| grant.generation.0).collect();
    generations.sort_unstable();
    assert_eq!(generations, (1..=20).collect::<Vec<_>>(), "two grants of one generation");
    assert_eq!(grants.iter().map(|grant| grant.device_id).collect::<BTreeSet<_>>().len(), 1);
}

async fn a_report_is_not_lost_to_an_enrollment_beside_it(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = Arc::new(TestDevice::new("PF0ABCDE"));
    for round in 1..=10_u64 {
        let grant = device.enroll(&world.services).await.unwrap();
        let hello = device.hello_bytes();
        let challenge = world.services.devices.hello(&hello).await.unwrap();
        let prove = device.prove_bytes(&hello, &challenge);
        let done = report(grant.generation, &[round], Some(Outcome::Managed { version: 1 }));
        let other = world.another_server(round);
        let (reported, granted) = tokio::join!(
            world.services.devices.report(certificate(&grant), done),
            other.devices.prove(&prove)
        );
        let granted = granted.unwrap();
        let stored = world.services.devices.device(&world.by, grant.device_id).await.unwrap().device;
        assert_eq!(stored.generation(), granted.generation);
        // Either the report came first and completed its generation, or the newer grant did and
        // the report's generation was no longer the latest one.
        if let Ok(acknowledged) = reported {
            assert_eq!(acknowledged.sequence, round);
            let completed = stored.active.as_ref().map(|one| one.generation) == Some(grant.generation);
            assert!(completed || stored.enrollment(grant.generation).is_none());
        }
        let done = report(granted.generation, &[round], Some(Outcome::Managed { version: 1 }));
        world.services.devices.report(certificate(&granted), done).await.unwrap();
    }
}

async fn servers_that_draw_ids_at_once_draw_different_ones(db: TestDatabase) {
    let world = World::new(db).await;
    let servers = [world.services.clone(), world.another_server(2), world.another_server(3)];
    let mut claims = JoinSet::new();
    for number in 0..60 {
        let services = servers[number % 3].clone();
        let (by, new) =
            (world.by.clone(), new_claim(world.customer, &format!("SN{number:03}A"), ProofKind::Token));
        claims.spawn(async move { services.claims.create_claim(&by, new).await.unwrap().id });
    }
    let ids = claims.join_all().await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 60);
}

battery!(
    a_fleet_enrolls_at_once_and_none_twice,
    one_device_that_enrolls_many_times_at_once_counts_each,
    a_report_is_not_lost_to_an_enrollment_beside_it,
    servers_that_draw_ids_at_once_draw_different_ones,
);
