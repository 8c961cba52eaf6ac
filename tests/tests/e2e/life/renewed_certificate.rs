//! A device whose certificate nears its end.

use super::{CLAIMS, LIMIT, certificate, device, policy};
use anyhow::Result;
use tokio::runtime::Runtime;
use unbox_tests::{
    copied_identity::CopiedIdentity,
    fleet::FleetImage,
    process::Running,
    sandbox::{Sandbox, Trouble},
    scene::Scene,
    server,
};

/// So much later, less than a third of a day is left.
const LATER_S: i64 = 17 * 3600;

#[test]
fn a_certificate_is_renewed_before_it_runs_out_and_the_enrollment_stays() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("certificate_days", "1")])?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let (first, key, snapshot) = (certificate(&device)?, own_key(&device)?, device.snapshot()?);

    let log = folder.path().join("later.log");
    let later = Trouble { clock_offset_s: LATER_S, ..Trouble::default() };
    let mut agent = Running::start(device.agent_in(&later, &["run", "--once"])?, &log)?;
    assert!(agent.wait(LIMIT)?.success(), "{}", agent.output());
    let second = certificate(&device)?;
    assert_ne!(second, first, "{}", agent.output());
    assert_eq!(own_key(&device)?, key, "the key has changed");
    assert_eq!(device.snapshot()?, snapshot);
    assert_eq!(scene.audit("certificate_renewed")?.len(), 1);
    assert_eq!(scene.audit("granted")?.len(), 1, "it enrolled again");

    let enrollment = device.read("/var/lib/unbox/exchange/enrollment.json")?;
    let renewed = CopiedIdentity::read(&enrollment, &key)?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    assert_eq!(Runtime::new()?.block_on(renewed.check_in(&image))?.status, 200);
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    Ok(())
}

fn own_key(device: &Sandbox) -> Result<String> {
    device.read("/var/lib/unbox/exchange/device.key")
}
