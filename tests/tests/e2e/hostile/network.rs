//! Honest devices and an honest server, and a network between them that cuts, stalls, drips and corrupts.

use anyhow::{Context as _, Result};
use serde_json::json;
use std::{collections::BTreeSet, fmt::Write as _, time::Duration};
use tokio::{task::JoinSet, time::timeout};
use unbox_tests::{
    chaos::Chaos,
    fleet::{FleetImage, SimulatedDevice},
    process::Running,
    sandbox::{Firmware, Sandbox},
    scene::Scene,
    seed::Seed,
    server,
};

/// Simulated devices, all switched on at once.
const DEVICES: usize = 100;
/// After so many tries of one device, the network recovers; no device needs many more.
const TRIES: usize = 25;
/// Real agents.
const AGENTS: usize = 6;
/// After so many harmed connections the network recovers: an agent that is unlucky for longer waits for
/// minutes before its next try, as it should.
const ENOUGH_FOR_AGENTS: usize = 15;
/// Ample time for an agent to get through, with its own pauses between its tries.
const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn a_hundred_devices_get_through_a_bad_network_and_none_is_there_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(None, &json!([]))?;
    scene.claim(&claims(DEVICES), &[])?;
    let chaos = Chaos::relay_to(scene.server.address, Seed::from_environment(31)).await?;
    let image = FleetImage::from_bundle(chaos.address, server::NAME, &scene.server.bundle())?;

    let mut devices = JoinSet::new();
    for n in 0..DEVICES {
        let (image, chaos) = (image.clone(), chaos.clone());
        devices.spawn(async move {
            let device = SimulatedDevice::new(&serial(n), "Acme", "Gateway 3")?;
            get_through(&device, &image, &chaos).await.with_context(|| serial(n))
        });
    }
    let mut ids = BTreeSet::new();
    while let Some(one) = devices.join_next().await {
        ids.insert(one??);
    }
    println!("{} connections were harmed", chaos.count_harmed());
    assert_eq!(ids.len(), DEVICES, "some devices were granted the same id");
    assert!(chaos.count_harmed() > DEVICES / 2, "only {} connections were harmed", chaos.count_harmed());
    all_are_managed_once(&scene, DEVICES)
}

/// Tries until the server has acknowledged that the device is managed.
async fn get_through(device: &SimulatedDevice, image: &FleetImage, chaos: &Chaos) -> Result<i64> {
    for _ in 0..TRIES {
        if let Ok(enrolled) = device.enroll(image).await {
            return Ok(enrolled.grant.device_id.get());
        }
    }
    chaos.stop_harm();
    Ok(device.enroll(image).await?.grant.device_id.get())
}

#[tokio::test]
async fn agents_get_through_a_bad_network_by_themselves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    let policy = json!([{"type": "file", "path": "/etc/motd", "content": {"text": "through\n"}}]);
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy)?;
    scene.claim(&claims(AGENTS), &[])?;
    let chaos = Chaos::relay_to(scene.server.address, Seed::from_environment(32)).await?;
    let url = format!("https://{}:{}", server::NAME, chaos.address.port());

    let mut waiting = JoinSet::new();
    for n in 0..AGENTS {
        let home = folder.path().join(serial(n));
        let firmware = Firmware::new("Acme", "Gateway 3", &serial(n));
        let device = Sandbox::unpack(&home, &firmware, &url, &scene.server.bundle())?;
        let log = folder.path().join(format!("{}.log", serial(n)));
        let mut agent = Running::start(device.agent(&["run", "--once"])?, &log)?;
        waiting.spawn_blocking(move || -> Result<()> {
            let ended = agent.wait(LIMIT)?;
            assert!(ended.success(), "{ended}: {}", agent.output());
            assert_eq!(device.read("/etc/motd")?, "through\n");
            assert!(!agent.output().contains("panicked"), "{}", agent.output());
            Ok(())
        });
    }
    while chaos.count_harmed() < ENOUGH_FOR_AGENTS && !waiting.is_empty() {
        if let Ok(Some(one)) = timeout(Duration::from_millis(100), waiting.join_next()).await {
            one??;
        }
    }
    chaos.stop_harm();
    while let Some(one) = waiting.join_next().await {
        one??;
    }
    println!("{} connections were harmed", chaos.count_harmed());
    all_are_managed_once(&scene, AGENTS)
}

fn all_are_managed_once(scene: &Scene, devices: usize) -> Result<()> {
    let known = scene.devices()?;
    assert_eq!(known.len(), devices);
    let claims: BTreeSet<_> = known.iter().filter_map(|device| device["claim"].as_str()).collect();
    assert_eq!(claims.len(), devices, "one claim has two devices");
    for device in &known {
        assert_eq!(device["state"], "managed", "{device:#}");
    }
    assert_eq!(scene.audit("refused")?, Vec::<serde_json::Value>::new());
    assert!(!scene.server.log().contains("panicked"), "{}", scene.server.log());
    Ok(())
}

fn serial(n: usize) -> String {
    format!("CH{n:05}")
}

fn claims(devices: usize) -> String {
    let mut csv = String::from("serial_number,manufacturer,model\n");
    for n in 0..devices {
        // Writing to a text cannot fail.
        let _ = writeln!(csv, "{},Acme,Gateway 3", serial(n));
    }
    csv
}
