//! The first boot: from power-on to managed, with DPC and policy.

use super::{CLAIMS, device, policy};
use anyhow::Result;
use unbox_tests::scene::{CONFIGURATION, Scene};

#[test]
fn a_claimed_device_is_managed_after_its_first_boot_and_the_server_knows_what_it_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("Property of Acme AG\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    let said = device.power_on(&folder.path().join("agent.log"))?;

    assert!(said.contains("This device is managed by Acme AG"), "{said}");
    assert_eq!(device.read("/etc/motd")?, "Property of Acme AG\n");
    assert_eq!(device.read("/etc/hostname")?, "kiosk-0007\n");
    assert!(device.read("/root/.ssh/authorized_keys")?.contains("admin@acme"));
    let program = device.path("/opt/unbox/dpc/demo-dpc/current/bin/demo-dpc");
    assert!(program.is_file(), "the DPC is not at {}", program.display());

    let version = device.installed_version()?;
    assert!(version.is_some(), "the ledger says that nothing is installed");
    assert_eq!(device.status()?["phase"], "managed");
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    assert_eq!(known["installed"]["version"].as_u64(), version, "{known:#}");
    assert_eq!(known["installed"]["dpc"]["name"], "demo-dpc");
    assert_eq!(known["installed"]["dpc"]["version"], "1.0.0");
    assert!(said.contains(&format!("Installing {CONFIGURATION}")), "{said}");
    assert_eq!((scene.audit("granted")?.len(), scene.audit("refused")?.len()), (1, 0));
    Ok(())
}
