//! The disk is full: of the state, of the artifacts, of the DPC.

use super::{Mounted, device, fails, scene};
use anyhow::Result;
use std::fs::File;
use std::io::Write as _;

#[test]
#[ignore = "needs root, to mount a small file system: run tests/run"]
fn a_disk_without_room_for_the_dpc_is_named_and_enrolls_when_there_is_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    let before = device.snapshot()?;
    let state = Mounted::small(&device.path("/var/lib/unbox"), "3m")?;
    for boot in 1..3 {
        let log = folder.path().join(format!("full-{boot}.log"));
        let (code, said) = fails(device.agent(&["run", "--once", "--attempts", "1"])?, &log)?;
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("The disk of this device is full"), "{said}");
        let status = device.status()?;
        assert_eq!(status["installer"]["kind"], "disk_full", "{status:#}");
        assert_eq!(status["phase"], "unenrolled");
        assert_eq!(device.snapshot()?, before);
    }
    assert_eq!(scene.device()?["state"], "enrolling", "{:#}", scene.device()?);

    state.remount("size=256m")?;
    device.power_on(&folder.path().join("room.log"))?;
    assert_eq!(device.read("/etc/motd")?, "Property of Acme AG\n");
    assert_eq!(scene.device()?["state"], "managed");
    Ok(())
}

#[test]
#[ignore = "needs root, to mount a small file system: run tests/run"]
fn a_disk_without_a_single_block_is_named_and_costs_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    let before = device.snapshot()?;
    let state = Mounted::small(&device.path("/var/lib/unbox"), "64k")?;
    let ballast = device.path("/var/lib/unbox/ballast");
    let mut file = File::options().create(true).append(true).open(&ballast)?;
    // Until it does not fit any more.
    while file.write_all(&[7; 4096]).is_ok() {}
    let log = folder.path().join("full.log");
    let (code, said) = fails(device.agent(&["run", "--once", "--attempts", "1"])?, &log)?;
    assert_eq!(code, Some(3), "{said}");
    let status = device.status()?;
    assert_eq!(status["installer"]["kind"], "disk_full", "{status:#}");
    assert_eq!(device.snapshot()?, before);
    assert!(scene.devices()?.is_empty(), "a device without a key has enrolled");

    state.remount("size=256m")?;
    device.power_on(&folder.path().join("room.log"))?;
    assert_eq!(scene.device()?["generation"], 1);
    assert_eq!(scene.device()?["state"], "managed");
    Ok(())
}

#[test]
#[ignore = "needs root, to mount a small file system: run tests/run"]
fn a_target_without_room_changes_nothing_and_is_told_to_the_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    let opt = Mounted::small(&device.path("/opt"), "2m")?;
    let before = device.snapshot()?;
    let log = folder.path().join("full.log");
    let (code, said) = fails(device.agent(&["run", "--once", "--attempts", "1"])?, &log)?;
    assert_ne!(code, Some(0), "{said}");
    assert_eq!(device.failure()?.as_deref(), Some("no_space"), "{said}");
    assert_eq!(device.snapshot()?, before);
    assert_eq!(device.installed_version()?, None);

    opt.remount("size=256m")?;
    device.power_on(&folder.path().join("room.log"))?;
    assert_eq!(device.read("/etc/motd")?, "Property of Acme AG\n");
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    Ok(())
}
