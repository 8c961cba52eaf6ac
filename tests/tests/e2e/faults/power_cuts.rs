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
use unbox_common::{
    payload::{Dpc, Payload},
    protocol::latest::{CHECK_IN_PATH, Outcome},
    timestamp::Timestamp,
};
use unbox_server::clock::{Clock as _, SystemClock};
use unbox_tests::{
    dpc, files,
    process::Running,
    sandbox::{Firmware, Sandbox, Trouble},
    seed::Seed,
    world::{Reply, Request, SERVER_NAME, Served, World},
};

/// How many cuts of a journey there are, spread over all its writes.
const CUTS: u64 = 12;
/// After so many seconds the next check-in is due.
const CHECK_IN_DUE_S: i64 = 60;

/// What the device is doing when its power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journey {
    /// From power-on to managed.
    Enrollment,
    /// From one payload to the next.
    Update,
    /// Back to what left the factory, and from there to managed again.
    Reset,
}

#[test]
fn an_enrollment_that_was_cut_off_at_any_write_ends_where_it_would_have_ended() -> Result<()> {
    is_cut_anywhere(Journey::Enrollment, 41)
}

#[test]
fn an_update_that_was_cut_off_at_any_write_ends_where_it_would_have_ended() -> Result<()> {
    is_cut_anywhere(Journey::Update, 42)
}

#[test]
fn a_reset_that_was_cut_off_at_any_write_ends_where_it_would_have_ended() -> Result<()> {
    is_cut_anywhere(Journey::Reset, 43)
}

fn is_cut_anywhere(journey: Journey, seed: u64) -> Result<()> {
    let mut seed = Seed::from_environment(seed);
    let folder = tempfile::tempdir()?;
    let now = SystemClock.now();
    let (writes, whole) = uncut(journey, &folder.path().join("uncut"), now)?;
    let stride = writes.div_ceil(CUTS);
    eprintln!("{journey:?}: {writes} writes, a cut before every {stride}th");
    let mut cuts = 0;
    for first in (1 + seed.draw_below(stride)..=writes).step_by(usize::try_from(stride)?) {
        let second = 1 + seed.draw_below(writes);
        let device = Device::new(journey, &folder.path().join(format!("cut-{first}")), now)?;
        for at in [first, second] {
            cuts += u64::from(device.is_cut(at)?);
        }
        let said = device.settle("resumed")?;
        let cut_at = format!("cut before writes {first} and {second}: {said}");
        assert_eq!(device.end()?, whole, "{cut_at}");
        for outcome in device.world.reports().into_iter().filter_map(|report| report.outcome) {
            assert!(matches!(outcome, Outcome::Managed { .. }), "{outcome:?}, {cut_at}");
        }
        let again = device.settle("again")?;
        assert!(!again.contains("Installing"), "{cut_at}{again}");
        assert_eq!(device.end()?, whole, "{cut_at}");
    }
    eprintln!("{cuts} cuts");
    ensure!(cuts >= writes / stride, "only {cuts} of the cuts fell into a write");
    Ok(())
}

/// How a device ends: what is on it, and what its ledger says, but for the number of its enrollments.
type End = (Vec<(PathBuf, String)>, Value);

/// One device, and the server that it belongs to.
struct Device {
    world: Arc<World>,
    _served: Served,
    sandbox: Sandbox,
    journey: Journey,
    folder: PathBuf,
}

impl Device {
    /// A device at the start of its journey.
    fn new(journey: Journey, folder: &Path, now: Timestamp) -> Result<Self> {
        let mut world = World::new(now)?;
        world.check_in_after_s = 1;
        let newer = Payload { version: now.0 + 1, ..contents(&mut world, folder, "2")? };
        world.payload = contents(&mut world, folder, "1")?;
        let world = Arc::new(world);
        let served = world.serve(move |world, request| match journey {
            Journey::Update => with_news(world, request, &newer),
            _ => world.honest_reply(request),
        })?;
        let bundle = folder.join("bundle");
        world.write_bundle(&bundle)?;
        let url = format!("https://{SERVER_NAME}:{}", served.address.port());
        let firmware = Firmware::new("Acme", "Gateway 3", "AC-0001");
        let sandbox = Sandbox::unpack(&folder.join("device"), &firmware, &url, &bundle)?;
        sandbox.write("/usr/share/zoneinfo/Europe/Zurich", "TZif2")?;
        sandbox.write("/usr/share/zoneinfo/Europe/Paris", "TZif2")?;
        let device = Self { world, _served: served, sandbox, journey, folder: folder.to_owned() };
        if journey != Journey::Enrollment {
            device.sandbox.power_on(&device.log("before"))?;
        }
        Ok(device)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Sends the device on its journey; how the agent ended.
    fn travel(&self, trouble: &Trouble<'_>) -> Result<std::process::ExitStatus> {
        let (clock_offset_s, arguments) = match self.journey {
            Journey::Enrollment => (0, &["run", "--once"][..]),
            Journey::Update => (CHECK_IN_DUE_S, &["run", "--once"][..]),
            Journey::Reset => (0, &["reset"][..]),
        };
        let agent = self.sandbox.agent_in(&Trouble { clock_offset_s, ..*trouble }, arguments)?;
        let mut agent = Running::start(agent, &self.log("journey"))?;
        let ended = agent.wait(LIMIT)?;
        ensure!(ended.success() || ended.signal() == Some(9), "{ended}: {}", agent.output());
        Ok(ended)
    }

    /// Cuts the power before the `at`th write; whether the device came that far.
    fn is_cut(&self, at: u64) -> Result<bool> {
        Ok(!self.travel(&Trouble { cut_before_change: at, ..Trouble::default() })?.success())
    }

    /// Switches the device on until it has nothing more to do; what it said.
    fn settle(&self, name: &str) -> Result<String> {
        // Later than any check-in that the journey may have made.
        let clock_offset_s = if self.journey == Journey::Update { 2 * CHECK_IN_DUE_S } else { 0 };
        let later = Trouble { clock_offset_s, ..Trouble::default() };
        let mut agent = Running::start(self.sandbox.agent_in(&later, &["run", "--once"])?, &self.log(name))?;
        let ended = agent.wait(LIMIT)?;
        ensure!(ended.success(), "{ended}: {}", agent.output());
        Ok(agent.output())
    }

    fn end(&self) -> Result<End> {
        let status = self.sandbox.status()?;
        let mut phase = status.pointer("/ledger/phase").cloned().context("a phase in the ledger")?;
        if let Some(enrollment) = phase.pointer_mut("/enrollment").and_then(Value::as_object_mut) {
            enrollment.remove("generation");
        }
        // Each device has a server of its own.
        let is_image = |path: &Path| path.starts_with("etc/unbox");
        let files = self.sandbox.snapshot()?.into_iter().filter(|(path, _)| !is_image(path));
        Ok((files.collect(), phase))
    }
}

/// A payload with a DPC and a policy, of which every release has its own.
fn contents(world: &mut World, folder: &Path, release: &str) -> Result<Payload> {
    let (program, mut tar) = (folder.join(format!("program-{release}")), Vec::new());
    files::write(&program, format!("#!/bin/sh\n# {release}\n").as_bytes())?;
    dpc::write_tar(&program, &mut tar, 100_000)?;
    let artifact = world.add_artifact(tar);
    let (zone, removed) = match release {
        "1" => ("Europe/Zurich", "/etc/kiosk/only-first.conf"),
        _ => ("Europe/Paris", "/etc/kiosk/only-second.conf"),
    };
    let policy = json!([
        {"type": "file", "path": "/etc/kiosk/kiosk.conf", "content": {"text": release}, "mode": "0640"},
        {"type": "file", "path": removed, "content": {"text": release}},
        {"type": "file", "path": "/etc/motd", "content": {"artifact": artifact}},
        {"type": "hostname", "name": format!("kiosk-{release}")},
        {"type": "time_zone", "zone": zone},
        {"type": "authorized_keys", "user": "root", "privileged": true, "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE admin@acme"]},
    ]);
    let dpc = json!({"name": "demo-dpc", "version": release, "kind": "tar", "artifact": artifact});
    Ok(Payload {
        dpc: Some(serde_json::from_value::<Dpc>(dpc)?),
        policy: serde_json::from_value(policy)?,
        ..world.payload.clone()
    })
}

/// Replies honestly, and has a newer payload for whoever does not run it.
fn with_news(world: &World, request: &Request, newer: &Payload) -> Reply {
    if request.path != CHECK_IN_PATH {
        return world.honest_reply(request);
    }
    let runs = world.check_ins().last().and_then(|said| said.installed.as_ref().map(|one| one.version));
    let news = world.news((runs != Some(newer.version)).then_some(newer));
    news.map_or_else(|error| Reply::text(500, format!("{error:#}")), |news| Reply::json(&news))
}

/// A journey that is not cut off: how many writes it took, and how it ends.
fn uncut(journey: Journey, folder: &Path, now: Timestamp) -> Result<(u64, End)> {
    let device = Device::new(journey, folder, now)?;
    let count = folder.join("writes");
    let ended = device.travel(&Trouble { count_changes_in: Some(&count), ..Trouble::default() })?;
    ensure!(ended.success(), "{journey:?} ended with {ended}");
    device.settle("settled")?;
    let version = device.sandbox.installed_version()?.context("something is installed")?;
    assert_eq!(version, now.0 + u64::from(journey == Journey::Update));
    Ok((count.metadata().context("count the writes")?.len(), device.end()?))
}
