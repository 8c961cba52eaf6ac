//! A thousand devices get power at the same moment: all become managed, none twice.

use anyhow::Result;
use serde_json::json;
use unbox_tests::{
    fleet::{Fleet, FleetImage},
    scene::Scene,
    server,
};

#[tokio::test]
async fn a_thousand_devices_power_on_and_all_are_managed_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(None, &json!([]))?;
    let fleet = Fleet {
        devices: 1000,
        at_once: 1000,
        prefix: "K".to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "Gateway 3".to_owned(),
    };
    scene.claim(&fleet.claims_csv(), &[])?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let outcome = fleet.power_on(&image).await?;

    // A refusal without Retry-After would be among the failures.
    assert_eq!(outcome.failures, Vec::<String>::new());
    assert_eq!(outcome.devices.len(), 1000, "some devices were granted the same id");
    let devices = scene.devices()?;
    assert_eq!(devices.len(), 1000);
    for device in devices {
        assert_eq!(
            (device["state"].as_str(), device["generation"].as_u64()),
            (Some("managed"), Some(1)),
            "{device}"
        );
    }
    println!("{} devices were told to wait, and did", outcome.told_to_wait);
    Ok(())
}
