//! A station works on while its server is away; what it tested is registered when the server is back, once.

use super::registered_at_the_factory::Station;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};
use unbox_tests::{
    binaries,
    process::{command, run},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0001,Acme,Gateway 3\nAC-0002,Acme,Gateway 3\nAC-0003,Acme,Gateway 3\n";

/// Runs the shift on from where it was, with these scans; what it printed.
fn work(station: &Station, folder: &Path, scans: &str) -> Result<String> {
    let typed = folder.join("scans");
    fs::remove_file(&typed).ok();
    std::io::Write::write_all(&mut File::create_new(&typed)?, scans.as_bytes())?;
    let (units, log) = (folder.join("units"), folder.join("shift.jsonl"));
    let mut agent = command(binaries::agent()?, &["station", "--online", "--units"]);
    agent.arg(units).arg("--log").arg(log).args(station.arguments()?);
    agent.stdin(Stdio::from(File::open(&typed).context("open the scans")?));
    run(agent)?.success()
}

#[test]
fn what_was_tested_while_the_server_was_away_is_registered_once_when_it_is_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path())?;
    scene.claim(CLAIMS, &[])?;
    let station = Station::set_up(&scene, folder.path())?;
    for serial in ["AC-0001", "AC-0002", "AC-0003"] {
        let firmware = Firmware::new("Acme", "Gateway 3", serial);
        let root = folder.path().join("units").join(serial);
        Sandbox::unpack(&root, &firmware, &scene.server.url(), &scene.server.bundle())?;
    }
    // Of each time that something was registered: how many devices were new, and how many were changed.
    let registered = |scene: &Scene| -> Result<Vec<[Option<u64>; 2]>> {
        let entries = scene.audit("devices_registered")?;
        let count = |entry: &Value, name: &str| entry["detail"][name].as_u64();
        Ok(entries.iter().map(|entry| ["new", "updated"].map(|name| count(entry, name))).collect())
    };

    scene.server.kill();
    let away = work(&station, folder.path(), "AC-0001\nAC-0002\n")?;
    ensure!(away.contains("The server could not be asked"), "{away}");
    ensure!(away.contains("2 could not check, 0 fail, 2 to be uploaded"), "{away}");
    let still_away = work(&station, folder.path(), "AC-0001\n")?;
    ensure!(still_away.contains("2 could not check, 0 fail, 2 to be uploaded"), "{still_away}");

    scene.server.start_again()?;
    assert!(registered(&scene)?.is_empty(), "nothing reached the server before");
    let back = work(&station, folder.path(), "AC-0003\n")?;
    ensure!(
        back.contains("1 pass, 0 needs attention, 2 could not check, 0 fail, 0 to be uploaded"),
        "{back}"
    );
    assert_eq!(registered(&scene)?, [[Some(3), Some(0)]]);

    let again = work(&station, folder.path(), "AC-0001\nAC-0002\nAC-0003\n")?;
    ensure!(
        again.contains("3 pass, 0 needs attention, 0 could not check, 0 fail, 0 to be uploaded"),
        "{again}"
    );
    assert_eq!(
        registered(&scene)?,
        [[Some(3), Some(0)]],
        "a unit that is tested again is registered already"
    );
    Ok(())
}
