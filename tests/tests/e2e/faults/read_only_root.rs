//! Nothing can be written: the disk is dying, or the image was meant to be read-only.

use super::{Mounted, device, fails, scene};
use anyhow::Result;

#[test]
#[ignore = "needs root, to mount a file system read-only: run tests/run"]
fn a_read_only_device_says_so_and_ends_and_a_writable_one_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    let before = device.snapshot()?;
    let root = Mounted::itself(device.root())?;
    root.remount("bind,ro")?;
    let log = folder.path().join("read-only.log");
    let (code, said) = fails(device.agent(&["run", "--once", "--attempts", "1"])?, &log)?;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("Code: storage_failed"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(device.snapshot()?, before);
    assert_eq!(device.status()?["phase"], "unenrolled");
    assert!(scene.devices()?.is_empty());

    root.remount("bind,rw")?;
    device.power_on(&folder.path().join("writable.log"))?;
    assert_eq!(scene.device()?["state"], "managed");
    Ok(())
}

#[test]
#[ignore = "needs root, to mount a file system read-only: run tests/run"]
fn a_managed_device_that_turns_read_only_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let (before, ledger) = (device.snapshot()?, device.read("/var/lib/unbox/ledger.json")?);
    let root = Mounted::itself(device.root())?;
    root.remount("bind,ro")?;
    let log = folder.path().join("read-only.log");
    let (code, said) = fails(device.agent(&["run", "--once", "--attempts", "1"])?, &log)?;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("Code: storage_failed"), "{said}");
    assert_eq!(device.status()?["phase"], "managed");

    root.remount("bind,rw")?;
    device.power_on(&folder.path().join("writable.log"))?;
    assert_eq!((device.snapshot()?, device.read("/var/lib/unbox/ledger.json")?), (before, ledger));
    assert_eq!(scene.audit("granted")?.len(), 1, "it enrolled again");
    Ok(())
}
