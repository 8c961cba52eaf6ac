//! The server is killed in the middle of a power-on: what it acknowledged is still there.

use anyhow::Result;
use serde_json::json;
use std::time::Duration;
use unbox_tests::{
    fleet::{Fleet, FleetImage},
    scene::Scene,
    seed::Seed,
    server,
};

#[tokio::test]
async fn nothing_that_a_killed_server_acknowledged_is_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    scene.configure(None, &json!([]))?;
    let fleet = |prefix: &str| Fleet {
        devices: 400,
        at_once: 64,
        prefix: prefix.to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "Gateway 3".to_owned(),
    };
    let mut seed = Seed::from_environment(3);
    for round in 0..3 {
        let fleet = fleet(&format!("K{round}"));
        scene.claim(&fleet.claims_csv(), &[])?;
        let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
        let powered = tokio::spawn(async move { fleet.power_on(&image).await });
        tokio::time::sleep(Duration::from_millis(100 + seed.draw_below(1500))).await;
        scene.server.kill();
        let outcome = powered.await??;
        scene.server.start_again()?;

        let known: Vec<i64> = scene
            .devices()?
            .iter()
            .filter(|device| device["state"] == "managed")
            .filter_map(|device| device["id"].as_str()?.parse().ok())
            .collect();
        println!(
            "round {round}: killed after {} acknowledged, {} failed",
            outcome.devices.len(),
            outcome.failures.len()
        );
        for device in &outcome.devices {
            assert!(known.contains(device), "device {device} was acknowledged and is lost");
        }
    }
    Ok(())
}
