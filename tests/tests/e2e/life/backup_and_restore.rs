//! The server is lost with all of its disk, and comes back from a backup.

use super::{LIMIT, policy};
use anyhow::{Context as _, Result};
use std::{fs, path::Path};
use unbox_tests::{
    process::{Running, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0001,Acme,Gateway 3\nAC-0002,Acme,Gateway 3\n";

fn device(scene: &Scene, folder: &Path, serial: &str) -> Result<Sandbox> {
    let firmware = Firmware::new("Acme", "Gateway 3", serial);
    Sandbox::unpack(&folder.join(serial), &firmware, &scene.server.url(), &scene.server.bundle())
}

/// The drill of the README: back up, lose everything, restore, go on.
#[test]
fn devices_are_managed_by_a_server_that_was_restored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create_with(folder.path(), &[("check_in_s", "1")])?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("before\n"))?;
    scene.claim(CLAIMS, &[])?;
    let known = device(&scene, folder.path(), "AC-0001")?;
    known.power_on(&folder.path().join("known.log"))?;
    let first = known.installed_version()?;

    let backup = folder.path().join("backup");
    let backup = backup.to_str().context("a path that is text")?;
    scene.server.admin(&["backup", "--with-keys", backup])?;
    let (server, artifacts) = (folder.path().join("server"), folder.path().join("artifacts"));
    copy(&server.join("artifacts"), &artifacts)?;
    scene.server.admin(&["customer", "create", "Later"])?;

    scene.server.kill();
    #[expect(clippy::disallowed_methods, reason = "an accident, and not ours")]
    fs::rename(&server, folder.path().join("lost")).context("lose everything")?;
    scene.server.admin(&["restore", backup])?;
    copy(&artifacts, &server.join("artifacts"))?;
    scene.server.start_again()?;

    // One device is known to the backup: it checks in, and takes a configuration of today.
    scene.configure(Some(&scene.demo_dpc("2.0.0", 0)?), &policy("after\n"))?;
    let agent = Running::start(known.agent(&["run"])?, &folder.path().join("again.log"))?;
    wait_for(LIMIT, "the known device to run the newer payload", || {
        Ok(Some(()).filter(|()| known.installed_version().is_ok_and(|version| version > first)))
    })
    .map_err(|error| error.context(agent.output()))?;
    assert_eq!(known.read("/etc/motd")?, "after\n");
    // The other is known by its claim alone, and enrolls.
    let fresh = device(&scene, folder.path(), "AC-0002")?;
    fresh.power_on(&folder.path().join("fresh.log"))?;
    assert_eq!(fresh.read("/etc/motd")?, "after\n");
    let states: Vec<_> = scene.devices()?.into_iter().map(|device| device["state"].clone()).collect();
    assert_eq!(states, ["managed", "managed"]);
    assert_eq!(scene.audit("granted")?.len(), 2, "nobody had to enroll twice");
    Ok(())
}

/// Copies the files of a directory.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
