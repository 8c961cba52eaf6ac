//! A factory reset: a fresh disk with the same identifiers, and somebody who kept a copy of the old one.

use super::{CLAIMS, device, policy};
use anyhow::Result;
use serde_json::Value;
use tokio::runtime::Runtime;
use unbox_tests::{
    copied_identity::CopiedIdentity, fleet::FleetImage, sandbox::Sandbox, scene::Scene, server,
};

#[test]
fn a_wiped_device_becomes_generation_2_and_its_old_certificate_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("again\n"))?;
    scene.claim(CLAIMS, &["--proof", "token"])?;
    let token = scene.token()?;
    let power_on = |name: &str| -> Result<Sandbox> {
        let device = device(&scene, &folder.path().join(name))?;
        device.write("/etc/unbox/token", &token)?;
        let server = scene.server.url();
        let settings = format!("server = \"{server}\"\ntoken_file = \"/etc/unbox/token\"\n");
        device.write("/etc/unbox/agent.toml", &settings)?;
        let said = device.power_on(&folder.path().join(format!("{name}.log")))?;
        assert!(!said.contains(&token), "the token is on the console");
        Ok(device)
    };
    let old = power_on("old-disk")?;
    let exchange = "/var/lib/unbox/exchange";
    let copied = CopiedIdentity::read(
        &old.read(&format!("{exchange}/enrollment.json"))?,
        &old.read(&format!("{exchange}/device.key"))?,
    )?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let runtime = Runtime::new()?;
    assert_eq!(runtime.block_on(copied.check_in(&image))?.status, 200, "the certificate is in force");

    let new = power_on("new-disk")?;
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(2)));
    assert_eq!(known["installed"]["version"].as_u64(), new.installed_version()?);
    assert_eq!((scene.audit("granted")?.len(), scene.audit("refused")?.len()), (2, 0));
    let snapshot = new.snapshot()?;

    let refused = runtime.block_on(copied.check_in(&image))?;
    let problem: Value = serde_json::from_slice(&refused.body)?;
    assert_eq!((refused.status, problem["kind"].as_str()), (401, Some("proof_required")), "{problem:#}");
    assert_eq!(scene.device()?, known, "a refusal changed the device");
    let entries = scene.audit("refused")?;
    assert_eq!(entries.len(), 1, "{entries:#?}");
    assert_eq!(entries[0]["subject"], format!("device {}", known["id"].as_str().unwrap_or_default()));
    assert_eq!(entries[0]["detail"]["kind"], "proof_required", "{entries:#?}");

    // The right one is not disturbed by any of it.
    new.power_on(&folder.path().join("again.log"))?;
    assert_eq!(new.snapshot()?, snapshot);
    assert_eq!(scene.device()?, known);
    Ok(())
}
