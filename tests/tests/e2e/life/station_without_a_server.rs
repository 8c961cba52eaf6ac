//! A station works on while its server is away; what it tested is asked about and registered when the server
//! is back, once and by itself.

use super::{LIMIT, registered_at_the_factory::Station};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use unbox_tests::{
    binaries,
    process::{command, run, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0001,Acme,Gateway 3\nAC-0002,Acme,Gateway 3\nAC-0003,Acme,Gateway 3\n";

/// A server with three claims, which is away, and the units.
fn away(folder: &Path) -> Result<(Scene, Station)> {
    let mut scene = Scene::create(folder)?;
    scene.claim(CLAIMS, &[])?;
    let station = Station::set_up(&scene, folder)?;
    for serial in ["AC-0001", "AC-0002", "AC-0003"] {
        let firmware = Firmware::new("Acme", "Gateway 3", serial);
        let root = folder.join("units").join(serial);
        Sandbox::unpack(&root, &firmware, &scene.server.url(), &scene.server.bundle())?;
    }
    scene.server.kill();
    Ok((scene, station))
}

/// Of each time that something was registered: how many devices were new, and how many were changed.
fn registered(scene: &Scene) -> Result<Vec<[Option<u64>; 2]>> {
    let entries = scene.audit("devices_registered")?;
    let count = |entry: &Value, name: &str| entry.get("detail")?.get(name)?.as_u64();
    Ok(entries.iter().map(|entry| ["new", "updated"].map(|name| count(entry, name))).collect())
}

/// Runs the shift on from where it was, with these scans; what it printed.
fn work(station: &Station, folder: &Path, scans: &str) -> Result<String> {
    let typed = folder.join("scans");
    fs::remove_file(&typed).ok();
    File::create_new(&typed)?.write_all(scans.as_bytes())?;
    let (units, log) = (folder.join("units"), folder.join("shift.jsonl"));
    let mut agent = command(binaries::agent()?, &["station", "--online", "--units"]);
    agent.arg(units).arg("--log").arg(log).args(station.arguments()?);
    agent.stdin(Stdio::from(File::open(&typed).context("open the scans")?));
    run(agent)?.success()
}

#[test]
fn what_was_tested_while_the_server_was_away_is_registered_once_when_it_is_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut scene, station) = away(folder.path())?;
    let away = work(&station, folder.path(), "AC-0001\nAC-0002\n")?;
    ensure!(away.contains("The server could not be asked"), "{away}");
    ensure!(away.contains("2 could not check, 0 fail, 2 to be uploaded"), "{away}");
    let still_away = work(&station, folder.path(), "AC-0001\n")?;
    ensure!(still_away.contains("2 could not check, 0 fail, 2 to be uploaded"), "{still_away}");

    scene.server.start_again()?;
    assert!(registered(&scene)?.is_empty(), "nothing reached the server before");
    let back = work(&station, folder.path(), "AC-0003\n")?;
    ensure!(back.contains("The server was asked again about 2 units: 2 pass."), "{back}");
    ensure!(
        back.contains("3 pass, 0 needs attention, 0 could not check, 0 fail, 0 to be uploaded"),
        "{back}"
    );
    // The latest first: the new unit, and before it those that had waited.
    assert_eq!(registered(&scene)?, [[Some(1), Some(0)], [Some(2), Some(0)]]);

    let again = work(&station, folder.path(), "AC-0001\nAC-0002\nAC-0003\n")?;
    ensure!(
        again.contains("3 pass, 0 needs attention, 0 could not check, 0 fail, 0 to be uploaded"),
        "{again}"
    );
    assert_eq!(registered(&scene)?.len(), 2, "a unit that is tested again is registered already");
    Ok(())
}

#[test]
fn a_station_whose_server_comes_back_gives_the_verdict_without_another_scan() -> Result<()> {
    for (form, quit) in [(None, "\x03\x03"), (Some("--lines"), "quit\r")] {
        let folder = tempfile::tempdir()?;
        let (mut scene, station) = away(folder.path())?;
        let (units, log) = (folder.path().join("units"), folder.path().join("shift.jsonl"));
        let (terminal, inner) = pty_process::blocking::open()?;
        terminal.resize(pty_process::Size::new(24, 80))?;
        let agent = pty_process::blocking::Command::new(binaries::agent()?);
        let agent = agent.args(["station", "--online", "--units"]).arg(units).arg("--log").arg(&log);
        let agent = agent.args(station.arguments()?).args(form).env("TERM", "xterm");
        let mut agent = agent.spawn(inner)?;
        let terminal = Arc::new(terminal);
        let (shown, written) = (Arc::clone(&terminal), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&written);
        // Whoever does not read from a terminal stops the program in it.
        let read = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = (&*shown).read(&mut bytes) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..length]);
            }
        });
        let lines = |kind: &str| -> Result<Option<()>> {
            let log = fs::read_to_string(&log).unwrap_or_default();
            Ok(log.contains(&format!("{{\"line\":\"{kind}\"")).then_some(()))
        };

        (&*terminal).write_all(b"AC-0001\r")?;
        wait_for(LIMIT, "the test to be in the log", || lines("tested"))?;
        scene.server.start_again()?;
        wait_for(LIMIT, "the new verdict to be in the log", || lines("asked_again"))?;
        wait_for(LIMIT, "the upload to be in the log", || lines("uploaded"))?;
        assert_eq!(registered(&scene)?, [[Some(1), Some(0)]]);
        wait_for(LIMIT, "the new verdict to be told", || {
            let written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&written).into_owned();
            // A screen is told word by word; this one stands in no other sentence.
            Ok(text.contains("about").then_some(()))
        })?;
        (&*terminal).write_all(quit.as_bytes())?;
        assert_eq!(agent.wait()?.code(), Some(0));
        // It ends with the program.
        let _ = read.join();
    }
    Ok(())
}
