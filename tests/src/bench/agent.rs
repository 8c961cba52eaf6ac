//! The real agent, started again and again on new devices.

use super::{
    Size, median,
    report::{Row, Unit},
    usage::Usage,
};
use crate::{
    clock::Stopwatch,
    process::{Running, command, run, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::{path::Path, time::Duration};
use unbox_agent::console::StatusFile;

/// The longest that one enrollment may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Switches devices on, one after the other.
///
/// # Errors
/// If one does not become managed.
pub(super) fn measure(folder: &Path, size: &Size) -> Result<Vec<Row>> {
    let scene = Scene::create(folder)?;
    scene.configure(None, &json!([{"type": "file", "path": "/etc/motd", "content": {"text": "hello"}}]))?;
    let mut csv = String::from("serial_number,manufacturer,model\n");
    (0..size.agents).for_each(|n| csv.extend(["AG-", &n.to_string(), ",Acme,Gateway 3\n"]));
    scene.claim(&csv, &[])?;
    let (mut to_grant, mut to_managed, mut idle) = (Vec::new(), Vec::new(), 0.0);
    for n in 0..size.agents {
        let firmware = Firmware::new("Acme", "Gateway 3", &format!("AG-{n}"));
        let root = folder.join(format!("device-{n}"));
        let device = Sandbox::unpack(&root, &firmware, &scene.server.url(), &scene.server.bundle())?;
        let mut start = command(&size.agent, &["--root"]);
        start.arg(device.root()).arg("run");
        let mut agent = Running::start(start, &folder.join("agent.log"))?;
        let said = wait_for(LIMIT, "the device to be managed", || {
            Ok(device.status_file()?.filter(|said| time_of_stage(said, "report").is_ok()))
        })
        .with_context(|| agent.output())?;
        to_grant.push(time_of_stage(&said, "handshake")?);
        to_managed.push(time_of_stage(&said, "install")?);
        idle = Usage::of(agent.id())?.resident_mib();
        agent.kill();
    }
    let started = measure_bare_start(size)?;
    let bytes = std::fs::metadata(&size.agent).context("look at the agent")?.len();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        Row::new(
            format!("Agent's start to the grant, median of {}", size.agents),
            millis(median(to_grant)),
            Unit::Millis,
        )
        .at_most(10.0)
        .with_floor(format!(
            "managed after {:.1} ms; a start that only prints the version takes {:.1} ms from outside",
            millis(median(to_managed)),
            millis(started)
        )),
        Row::new("Memory of a managed agent that waits", idle, Unit::Mebibytes).at_most(12.0),
        Row::new("Agent's binary, in the profile for devices", super::megabytes(bytes), Unit::Megabytes)
            .at_most(8.0),
    ])
}

/// Returns the time at which the agent had finished a stage, by its own stopwatch.
pub(super) fn time_of_stage(said: &StatusFile, stage: &str) -> Result<Duration> {
    let done = said.stages.iter().find(|one| one.stage == stage);
    let done = done.with_context(|| format!("the agent has not done `{stage}`: {}", said.headline))?;
    Ok(Duration::from_micros(done.done_after_us))
}

/// Measures a start that only prints the version.
pub(super) fn measure_bare_start(size: &Size) -> Result<Duration> {
    let each = (0..size.agents).map(|_| {
        let started = Stopwatch::start();
        run(command(&size.agent, &["--version"]))?.success()?;
        Ok(started.elapsed())
    });
    Ok(median(each.collect::<Result<_>>()?))
}
