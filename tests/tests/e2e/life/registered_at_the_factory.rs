//! A factory makes the key, a station's account registers it, and a claim asks for exactly that key.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use unbox_tests::{
    process::{Running, wait_for},
    sandbox::Sandbox,
    scene::{RESELLER, Scene},
};

/// A station of the reseller.
pub(super) struct Station {
    url: String,
    organisation: String,
    key: PathBuf,
    bundle: PathBuf,
}

impl Station {
    pub(super) fn set_up(scene: &Scene, folder: &Path) -> Result<Self> {
        let create =
            ["account", "create", "--company", RESELLER, "--service-account", "bench-4", "--role", "station"];
        let account = scene.server.admin_json(&create)?;
        let text = |name: &str| -> Result<String> {
            let text = account.get(name).and_then(Value::as_str);
            text.map(ToOwned::to_owned).with_context(|| format!("{name} of the account {account}"))
        };
        let key = folder.join("station.key");
        let out = key.to_str().context("a path that is text")?;
        scene.server.admin(&["account", "api-key", "create", &text("id")?, "--out", out])?;
        let organisation = format!("partners/{}", text("company")?);
        Ok(Self { url: scene.server.url(), organisation, key, bundle: scene.server.bundle() })
    }

    pub(super) fn arguments(&self) -> Result<Vec<&str>> {
        let key = self.key.to_str().context("a path that is text")?;
        let bundle = self.bundle.to_str().context("a path that is text")?;
        Ok(vec![
            "--server",
            &self.url,
            "--organisation",
            &self.organisation,
            "--key-file",
            key,
            "--trust",
            bundle,
        ])
    }

    /// How `factory register` ended, and what it printed.
    fn register(&self, device: &Sandbox) -> Result<(Option<i32>, Value)> {
        let arguments = [&["factory", "register", "--json"][..], &self.arguments()?].concat();
        let ended = device.run_agent(&arguments)?;
        let printed = serde_json::from_str(&ended.stdout).with_context(|| format!("{ended:?}"))?;
        Ok((ended.status.code(), printed))
    }

    /// How `verify --online` ended, and what it said.
    fn verify(&self, device: &Sandbox) -> Result<(Option<i32>, String)> {
        let arguments = [&["verify", "--online"][..], &self.arguments()?].concat();
        let ended = device.run_agent(&arguments)?;
        Ok((ended.status.code(), ended.stdout + &ended.stderr))
    }
}

#[test]
fn a_claim_that_asks_for_the_registered_key_enrolls_that_device_and_no_twin() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("registered\n"))?;
    let station = Station::set_up(&scene, folder.path())?;
    let (unit, twin) =
        (device(&scene, &folder.path().join("unit"))?, device(&scene, &folder.path().join("twin"))?);

    let (code, made) = station.register(&unit)?;
    assert_eq!((code, &made["state"]), (Some(0), &Value::from("REGISTERED")), "{made}");
    let (code, again) = station.register(&unit)?;
    assert_eq!((code, &again["state"]), (Some(0), &Value::from("ALREADY_REGISTERED")), "{again}");
    assert_eq!((&again["device_key"], &again["recordId"]), (&made["device_key"], &made["recordId"]));
    let (code, said) = station.verify(&unit)?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("Nobody has claimed this unit."), "{said}");
    let (code, refused) = station.register(&twin)?;
    assert_eq!((code, &refused["state"]), (Some(1), &Value::from("REFUSED")), "{refused}");

    scene.claim(CLAIMS, &["--proof", "registered_key"])?;
    let (code, said) = station.verify(&unit)?;
    assert_eq!(code, Some(0), "{said}");
    let log = folder.path().join("twin.log");
    let mut agent = Running::start(twin.agent(&["run", "--once"])?, &log)?;
    wait_for(LIMIT, "the twin to be refused", || {
        Ok(twin.failure()?.is_some_and(|kind| kind == "proof_required").then_some(()))
    })?;
    agent.kill();
    unit.power_on(&folder.path().join("unit.log"))?;
    assert_eq!(unit.read("/etc/motd")?, "registered\n");
    Ok(())
}

#[test]
fn a_record_is_taken_back_once_no_device_uses_its_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(None, &policy("registered\n"))?;
    let station = Station::set_up(&scene, folder.path())?;
    let unit = device(&scene, &folder.path().join("unit"))?;
    let (_, made) = station.register(&unit)?;
    let key = made.get("device_key").and_then(Value::as_str).context("the key")?;
    let record = made.get("recordId").and_then(Value::as_str).context("the record")?;
    scene.claim(CLAIMS, &["--proof", "registered_key"])?;

    let found = |identifier: &str| -> Result<usize> {
        let listed = ["factory", "list", "--company", RESELLER, "--identifier", identifier];
        let listed = scene.server.admin_json(&listed)?;
        Ok(listed.get("factory_records").and_then(Value::as_array).map_or(0, Vec::len))
    };
    assert_eq!((found("ac-0007")?, found(key)?, found("AC-0008")?), (1, 1, 0));
    let listed = scene.server.admin(&["factory", "list"])?;
    assert!(listed.starts_with("ID ") && listed.contains("serial_number AC-0007"), "{listed}");
    let shown = scene.server.admin_json(&["factory", "show", record])?;
    assert_eq!(shown.get("key"), Some(&Value::from(key)), "{shown}");
    let claim = shown.get("claim").and_then(Value::as_str).context("the claim that has its key")?;
    let shown = scene.server.admin(&["factory", "show", record])?;
    assert!(shown.contains(&format!("claim with its key: {claim}")) && shown.contains(key), "{shown}");

    unit.power_on(&folder.path().join("unit.log"))?;
    let refused = scene.server.admin(&["factory", "delete", record, "--yes"]).unwrap_err();
    assert!(format!("{refused:#}").contains(&format!("The device of claim {claim} enrolled")), "{refused:#}");
    assert_eq!(found(key)?, 1);
    scene.server.admin(&["claim", "remove", claim, "--yes"])?;
    let deleted = scene.server.admin_json(&["factory", "delete", record, "--yes"])?;
    assert_eq!(deleted.pointer("/deleted/0/claim"), Some(&Value::Null), "{deleted}");
    assert_eq!(found(key)?, 0);

    let twin = device(&scene, &folder.path().join("twin"))?;
    let (code, made) = station.register(&twin)?;
    assert_eq!((code, &made["state"]), (Some(0), &Value::from("REGISTERED")), "{made}");
    let record = made.get("recordId").and_then(Value::as_str).context("the record")?;
    let deleted = scene.server.admin(&["factory", "delete", record, "--yes"])?;
    assert_eq!(deleted, format!("Deleted record {record}.\n"));
    Ok(())
}

#[test]
fn a_factory_with_an_old_folder_gives_its_devices_the_newest_root() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    let mut station = Station::set_up(&scene, folder.path())?;
    let old = folder.path().join("old");
    std::fs::create_dir(&old)?;
    for file in ["anchors.pem", "root.json"] {
        std::fs::copy(station.bundle.join(file), old.join(file))?;
    }
    let newest = std::mem::replace(&mut station.bundle, old);
    scene.server.admin(&["key", "rotate"])?;
    scene.server.admin(&["key", "rotate", "--root"])?;
    scene.server.stop()?;
    scene.server.start_again()?;
    let unit = device(&scene, &folder.path().join("unit"))?;
    let (code, made) = station.register(&unit)?;
    assert_eq!((code, &made["state"]), (Some(0), &Value::from("REGISTERED")), "{made}");
    let root = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    assert_eq!(root(&unit.path("/etc/unbox/trust/root.json"))?, root(&newest.join("root.json"))?);
    assert_ne!(root(&station.bundle.join("root.json"))?, root(&newest.join("root.json"))?);

    // A folder of another server leads nowhere, and no device is made that trusts nobody.
    let stranger = Scene::create(&folder.path().join("stranger"))?;
    std::fs::copy(stranger.server.bundle().join("root.json"), station.bundle.join("root.json"))?;
    let twin = device(&scene, &folder.path().join("twin"))?;
    let before = twin.snapshot()?;
    let arguments = [&["factory", "register"][..], &station.arguments()?].concat();
    let ended = twin.run_agent(&arguments)?;
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.stderr.contains("do not follow from"), "{ended:?}");
    assert_eq!(twin.snapshot()?, before);
    Ok(())
}

#[test]
fn a_station_without_its_key_or_its_server_registers_nothing_and_says_why() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    let mut station = Station::set_up(&scene, folder.path())?;
    let unit = device(&scene, &folder.path().join("unit"))?;
    let key = std::mem::replace(&mut station.key, folder.path().join("missing"));
    let before = unit.snapshot()?;
    let (code, said) = station.verify(&unit)?;
    assert_eq!(code, Some(3), "{said}");
    let arguments = [&["factory", "register"][..], &station.arguments()?].concat();
    let ended = unit.run_agent(&arguments)?;
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert_eq!(unit.snapshot()?, before);
    station.key = key;
    station.organisation = "partners/1".to_owned();
    let (code, said) = station.verify(&unit)?;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("The server could not be asked: the server refused"), "{said}");
    Ok(())
}
