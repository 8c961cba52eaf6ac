//! The power is cut at a write: any write, of any stage, and again while the device gets over it.
//!
//! The cut is the death of the process; what a disk loses of what was not yet on it is the business of
//! `agent/tests/install/cuts.rs`.

use super::LIMIT;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use unbox_common::{payload::Dpc, protocol::latest::Outcome, timestamp::Timestamp};
use unbox_server::clock::{Clock as _, SystemClock};
use unbox_tests::{
    dpc, files,
    process::Running,
    sandbox::{Firmware, Sandbox},
    seed::Seed,
    world::{SERVER_NAME, Served, World},
};

/// How many cuts there are, spread over all writes.
const CUTS: u64 = 48;

#[test]
fn a_device_that_was_cut_off_at_any_write_ends_where_it_would_have_ended() -> Result<()> {
    let mut seed = Seed::from_environment(41);
    let folder = tempfile::tempdir()?;
    let now = SystemClock.now();
    let (writes, whole) = uncut(&folder.path().join("uncut"), now)?;
    ensure!(writes > CUTS, "only {writes} writes were counted");
    let stride = writes / CUTS;
    println!("{writes} writes from power-on to managed, a cut before every {stride}th");
    let mut cuts = 0;
    for first in (1 + seed.below(stride)..=writes).step_by(usize::try_from(stride)?) {
        let second = 1 + seed.below(writes);
        let device = Device::new(&folder.path().join(format!("cut-{first}")), now)?;
        for at in [first, second] {
            cuts += u64::from(device.is_cut(at)?);
        }
        let said = device.sandbox.power_on(&device.log("resumed"))?;
        let cut_at = format!("cut before writes {first} and {second}: {said}");
        assert_eq!(device.end()?, whole, "{cut_at}");
        let outcomes = device.world.reports().into_iter().filter_map(|report| report.outcome);
        for outcome in outcomes {
            assert!(matches!(outcome, Outcome::Managed { version } if version == now.0), "{cut_at}");
        }
        let again = device.sandbox.power_on(&device.log("again"))?;
        assert!(!again.contains("Installing"), "{cut_at}{again}");
        assert_eq!(device.end()?, whole, "{cut_at}");
    }
    println!("{cuts} cuts");
    ensure!(cuts >= CUTS, "only {cuts} of the cuts fell into a write");
    Ok(())
}

/// How a device ends: what is on it, and what its ledger says, but for the number of its enrollments.
type End = (Vec<(PathBuf, String)>, Value);

/// One device, and the server that it belongs to.
struct Device {
    world: Arc<World>,
    _served: Served,
    sandbox: Sandbox,
    folder: PathBuf,
}

impl Device {
    /// A device whose configuration brings a DPC and a policy.
    fn new(folder: &Path, now: Timestamp) -> Result<Self> {
        let mut world = World::new(now)?;
        let mut tar = Vec::new();
        let program = folder.join("program");
        files::write(&program, b"#!/bin/sh\n")?;
        dpc::write_tar(&program, &mut tar, 100_000)?;
        let artifact = world.add_artifact(tar);
        world.payload.dpc = Some(serde_json::from_value::<Dpc>(json!({
            "name": "demo-dpc", "version": "1", "kind": "tar", "artifact": artifact,
        }))?);
        let policy = json!([
            {"type": "file", "path": "/etc/kiosk/kiosk.conf", "content": {"text": "managed\n"}, "mode": "0640"},
            {"type": "file", "path": "/etc/motd", "content": {"artifact": artifact}},
            {"type": "hostname", "name": "kiosk-0001"},
            {"type": "time_zone", "zone": "Europe/Zurich"},
            {"type": "authorized_keys", "user": "root", "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE admin@acme"]},
        ]);
        world.payload.policy = serde_json::from_value(policy)?;
        let world = Arc::new(world);
        let served = world.serve(World::honest)?;
        let bundle = folder.join("bundle");
        world.write_bundle(&bundle)?;
        let url = format!("https://{SERVER_NAME}:{}", served.address.port());
        let firmware = Firmware::new("Acme", "Gateway 3", "AC-0001");
        let sandbox = Sandbox::unpack(&folder.join("device"), &firmware, &url, &bundle)?;
        // Where it is from is not part of how it ends.
        sandbox.write("/usr/share/zoneinfo/Europe/Zurich", "TZif2")?;
        Ok(Self { world, _served: served, sandbox, folder: folder.to_owned() })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Switches the device on, and cuts its power before its `at`th write; whether it came that far.
    fn is_cut(&self, at: u64) -> Result<bool> {
        let agent = self.sandbox.agent_with_cut(at, &["run", "--once"])?;
        let mut agent = Running::start(agent, &self.log("cut"))?;
        let ended = agent.wait(LIMIT)?;
        ensure!(ended.success() || ended.signal() == Some(9), "{ended}: {}", agent.output());
        Ok(!ended.success())
    }

    fn end(&self) -> Result<End> {
        let status = self.sandbox.status()?;
        let mut phase = status.pointer("/ledger/phase").cloned().context("a phase in the ledger")?;
        if let Some(enrollment) = phase.pointer_mut("/enrollment").and_then(Value::as_object_mut) {
            enrollment.remove("generation");
        }
        let is_own = |path: &Path| path.starts_with("etc/unbox");
        let files = self.sandbox.snapshot()?.into_iter().filter(|(path, _)| !is_own(path));
        Ok((files.collect(), phase))
    }
}

/// A device whose power is never cut: how many writes that took, and how it ends.
fn uncut(folder: &Path, now: Timestamp) -> Result<(u64, End)> {
    let device = Device::new(folder, now)?;
    let count = folder.join("writes");
    let mut agent =
        Running::start(device.sandbox.agent_counted(&count, &["run", "--once"])?, &device.log("uncut"))?;
    let ended = agent.wait(LIMIT)?;
    ensure!(ended.success(), "{ended}: {}", agent.output());
    Ok((count.metadata().context("count the writes")?.len(), device.end()?))
}
