//! Disks that were copied, and boards that were replaced.

use super::*;

#[tokio::test]
async fn a_disk_copied_into_another_machine_enrolls_as_what_that_one_is() {
    for by_units in [false, true] {
        let world = World::new();
        assert_eq!(world.run().await, Exit::Done);
        let known = world.scene().check_ins.len();
        world.becomes("product_serial", "ZZ98YY76");
        (world.scene().device, world.scene().generation, world.scene().version) = (8, 0, 40);
        if by_units {
            assert!(!world.layout.other_machine_marker().exists());
            assert_eq!(world.stage("identity").await, Exit::Done);
            assert!(world.layout.other_machine_marker().exists(), "the handshake is run");
            assert_eq!(world.stage("handshake").await, Exit::Done);
            assert!(world.artifact_is_installed(), "until there is something else");
            assert_eq!(world.stage("install").await, Exit::Done);
        } else {
            assert_eq!(world.run().await, Exit::Done);
        }
        let hellos = world.scene().hellos.clone();
        let check_ins = world.scene().check_ins.len();
        assert_eq!((hellos.len(), check_ins), (2, known), "nothing with the other's key");
        assert_ne!(hellos[1].device_key, hellos[0].device_key);
        assert!(hellos[1].identity.iter().any(|one| one.value == "ZZ98YY76"));
        assert!(world.paper.text().contains("This disk was copied from another device"));
        let ledger = ledger::io::read(&world.layout).unwrap();
        assert_eq!((ledger.phase.name(), ledger.enrollment().unwrap().device.get()), ("managed", 8));
        assert_eq!(ledger.floor.unwrap().payload_version, Some(40), "its own numbers");
        assert_eq!(world.run().await, Exit::Done);
        assert_eq!(world.scene().hellos.len(), 2, "once");
        assert_eq!(world.stage("identity").await, Exit::Done);
        assert!(!world.layout.other_machine_marker().exists());
    }
}

#[tokio::test]
async fn a_copied_disk_asks_by_its_own_name_even_where_only_reports_are_sent() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let said = || {
        let scene = world.scene();
        (scene.reports.len(), scene.check_ins.len())
    };
    let key = || files::read(&world.layout.device_key(), 1 << 14).unwrap().unwrap();
    let (said_before, of_the_other) = (said(), key());
    world.becomes("product_serial", "ZZ98YY76");
    (world.scene().device, world.scene().generation) = (8, 0);
    assert_eq!(world.stage("identity").await, Exit::Done);
    assert_eq!(world.stage("report").await, Exit::Done, "nothing to report: it is another device");
    assert_eq!(said(), said_before);
    assert_ne!(key(), of_the_other);
    assert!(!world.layout.grant().exists());
}

#[tokio::test]
async fn an_image_that_was_booted_before_it_was_copied_gives_every_machine_its_own_key() {
    let world = World::new();
    world.scene().refusal = Some(Problem::new(RefusalKind::NotClaimed));
    assert_eq!(world.run().await, Exit::Administrator);
    let key = || files::read(&world.layout.device_key(), 1 << 14).unwrap().unwrap();
    let of_the_image = key();
    assert_eq!(world.run().await, Exit::Administrator);
    assert_eq!(key(), of_the_image, "the same machine");
    world.becomes("product_serial", "ZZ98YY76");
    assert_eq!(world.run().await, Exit::Administrator);
    assert_ne!(key(), of_the_image);
}

#[tokio::test]
async fn a_replaced_board_keeps_key_and_enrollment() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.becomes("board_serial", "B0ARD222");
    world.becomes("product_uuid", "4c4c4544-0058-4b10-8039-b7c04f513134");
    let (key, ledger) = (files::read(&world.layout.device_key(), 1 << 14).unwrap(), world.ledger_bytes());
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!(files::read(&world.layout.device_key(), 1 << 14).unwrap(), key);
    assert_eq!((world.ledger_bytes(), world.scene().hellos.len()), (ledger, 1));
}
