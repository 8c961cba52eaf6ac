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
    let scene = Scene::set_with(folder.path(), &[("retry_waiting_s", "1")])?;
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
fn a_station_without_its_key_or_its_server_registers_nothing_and_says_why() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::set(folder.path())?;
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
