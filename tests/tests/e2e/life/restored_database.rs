//! The server's database is lost, and an older copy is put back.

use super::{CLAIMS, device, policy};
use anyhow::{Context as _, Result};
use std::{fs, path::Path};
use unbox_tests::{
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

/// A second device, which the copy does not know.
const LATER: &str = "serial_number,manufacturer,model\nAC-0008,Acme,Gateway 3\n";

#[test]
fn devices_come_back_to_managed_by_themselves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Nobody approves anything: for the server's own part, every window is over.
    let mut scene = Scene::create_with(folder.path(), &[("check_in_s", "1"), ("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("first\n"))?;
    scene.claim(CLAIMS, &["--proof", "identifiers"])?;
    scene.claim(LATER, &[])?;
    let log = |name: &str| folder.path().join(name);
    let (known, unknown) = (device(&scene, &log("known"))?, later(&scene, &log("unknown"))?);
    known.power_on(&log("known-1.log"))?;
    let copy = log("copy.db");
    scene.server.stop()?;
    let database = folder.path().join("server/unbox.db");
    fs::copy(&database, &copy).context("copy the database")?;
    scene.server.start_again()?;

    unknown.power_on(&log("unknown-1.log"))?;
    scene.configure(None, &policy("second\n"))?;
    for turn in ["known-2.log", "known-3.log"] {
        enroll_again(&scene, &known, &log(turn))?;
    }
    assert_eq!(known.read("/etc/motd")?, "second\n");
    let before: Vec<_> =
        [&known, &unknown].map(Sandbox::installed_version).into_iter().collect::<Result<_>>()?;

    scene.server.stop()?;
    put_back(&copy, &database)?;
    scene.server.start_again()?;
    assert_eq!(scene.device()?["generation"], 1, "the copy knows one device, as it was");
    for (device, name) in [(&known, "known-4.log"), (&unknown, "unknown-2.log")] {
        device.check_in()?;
        let said = device.power_on(&log(name))?;
        assert_eq!(device.read("/etc/motd")?, "first\n", "what the copy gives is in force: {said}");
    }
    for (device, before) in [&known, &unknown].into_iter().zip(before) {
        assert!(device.installed_version()? >= before, "no version falls");
    }
    let mut generations: Vec<u64> = Vec::new();
    for known in scene.devices()? {
        assert_eq!(known["state"], "managed", "{known:#}");
        generations.extend(known["generation"].as_u64());
    }
    generations.sort_unstable();
    assert_eq!(generations, [2, 4]);
    assert!(scene.audit("approval_requested")?.is_empty());
    Ok(())
}

fn later(scene: &Scene, folder: &Path) -> Result<Sandbox> {
    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0008");
    Sandbox::unpack(folder, &firmware, &scene.server.url(), &scene.server.bundle())
}

/// The administrator asks for it, and the device does it at its next check-in.
fn enroll_again(scene: &Scene, device: &Sandbox, log: &Path) -> Result<()> {
    let serial = device.read("/sys/class/dmi/id/product_serial")?;
    let listed = scene.devices()?;
    let known = listed.iter().find(|one| one.to_string().contains(serial.trim())).context("the device")?;
    scene.server.admin(&["device", "re-enroll", known["id"].as_str().context("an id")?])?;
    device.check_in()?;
    device.power_on(log)?;
    Ok(())
}

/// Puts a copy where the database lies, and leaves nothing beside it.
fn put_back(copy: &Path, database: &Path) -> Result<()> {
    for ending in ["-wal", "-shm"] {
        let beside = database.with_extension(format!("db{ending}"));
        if beside.exists() {
            fs::remove_file(&beside).context("remove what lies beside the database")?;
        }
    }
    fs::copy(copy, database).map(drop).context("put the copy back")
}
