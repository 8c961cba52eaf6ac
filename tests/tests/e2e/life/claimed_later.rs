//! A device that nobody has claimed is switched on.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::Result;
use unbox_tests::{process::Running, process::wait_for, scene::Scene};

#[test]
fn an_unclaimed_device_waits_unchanged_and_enrolls_by_itself_once_it_is_claimed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("later\n"))?;
    let device = device(&scene, &folder.path().join("device"))?;
    let before = device.snapshot()?;
    let log = folder.path().join("agent.log");
    let mut agent = Running::start(device.agent(&["run", "--once"])?, &log)?;
    wait_for(LIMIT, "the device to say that it is not claimed", || {
        Ok(device.failure()?.is_some_and(|kind| kind == "not_claimed").then_some(()))
    })?;
    assert!(agent.output().contains("AC-0007"), "nobody could read out what to claim: {}", agent.output());
    assert_eq!(device.snapshot()?, before);
    assert_eq!(device.status()?["phase"], "unenrolled");
    assert!(scene.devices()?.is_empty());

    scene.claim(CLAIMS, &[])?;
    assert!(agent.wait(LIMIT)?.success(), "{}", agent.output());
    assert_eq!(device.read("/etc/motd")?, "later\n");
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    Ok(())
}
