//! The server lost the authority of device certificates, and has another one now.

use super::{CLAIMS, device, policy};
use anyhow::{Context as _, Result};
use std::fs;
use unbox_tests::{scene::Scene, server::TestServer};

#[test]
fn a_device_whose_certificate_is_refused_enrolls_again_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let snapshot = device.snapshot()?;

    scene.server.stop()?;
    let mut other = TestServer::start(&folder.path().join("other"))?;
    other.stop()?;
    let authority = "keys/device-ca.pem";
    fs::copy(folder.path().join("other").join(authority), folder.path().join("server").join(authority))
        .context("replace the authority")?;
    scene.server.start_again()?;

    let said = device.check_in()?;
    assert!(!said.contains("another network"), "{said}");
    device.power_on(&folder.path().join("second.log"))?;
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(2)));
    assert_eq!(device.snapshot()?, snapshot);
    device.power_on(&folder.path().join("third.log"))?;
    assert_eq!(scene.device()?["generation"], 2, "once is enough");
    Ok(())
}
