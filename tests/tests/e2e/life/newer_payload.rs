//! The customer changes the configuration of a managed device.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::Result;
use unbox_tests::{process::Running, process::wait_for, scene::Scene};

#[test]
fn a_check_in_brings_the_newer_payload_and_the_server_sees_it_installed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("check_in_s", "1")])?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("first\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    let log = folder.path().join("agent.log");
    let agent = Running::start(device.agent(&["run"])?, &log)?;
    let first = wait_for(LIMIT, "the device to be managed", || device.installed_version())
        .map_err(|error| error.context(agent.output()))?;
    assert_eq!(device.read("/etc/motd")?, "first\n");

    scene.configure(Some(&scene.demo_dpc("2.0.0", 0)?), &policy("second\n"))?;
    let second = wait_for(LIMIT, "the device to run the newer payload", || {
        Ok(device.installed_version()?.filter(|version| *version > first))
    })
    .map_err(|error| error.context(agent.output()))?;
    assert_eq!(device.read("/etc/motd")?, "second\n");
    let known = wait_for(LIMIT, "the server to see it", || {
        Ok(Some(scene.device()?).filter(|known| known["installed"]["version"].as_u64() == Some(second)))
    })?;
    assert_eq!(known["installed"]["dpc"]["version"], "2.0.0");
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    assert_eq!(scene.audit("granted")?.len(), 1, "it enrolled again");
    Ok(())
}
