//! Installations of artifacts by the real agent; beside them, `curl | sha256sum` of the same bytes.

use super::{
    Size,
    agent::time_of_stage,
    median, median_of,
    report::{Row, Unit},
    usage::Usage,
};
use crate::{
    clock::Stopwatch,
    process::{Running, command, run, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
    seed::Seed,
};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// The longest that one installation may take.
const LIMIT: Duration = Duration::from_mins(2);

/// One installation.
struct Installed {
    /// The time from the grant to the artifact on the disk, checked and durable.
    fetch: Duration,
    /// The time from the agent's start to managed.
    all: Duration,
    /// The agent's peak memory, in MiB.
    peak: f64,
}

/// Installs an artifact of this size on new devices, in turn with `curl | sha256sum`.
///
/// # Errors
/// If a device does not become managed, or curl is not there.
pub(super) fn measure(folder: &Path, size: &Size, mebibytes: usize) -> Result<Vec<Row>> {
    let scene = Scene::create(folder)?;
    let file = folder.join("artifact.bin");
    let mut seed = Seed::new(7);
    let bytes: Vec<u8> = (0..mebibytes << 17).flat_map(|_| seed.draw_below(u64::MAX).to_le_bytes()).collect();
    crate::files::write(&file, &bytes)?;
    let artifact = scene.upload(&file)?;
    scene.configure(
        None,
        &json!([{"type": "file", "path": "/opt/artifact", "content": {"artifact": artifact}}]),
    )?;
    let digest = artifact.pointer("/sha256").and_then(Value::as_str).context("a digest")?;
    let mut csv = String::from("serial_number,manufacturer,model\n");
    (0..=size.rounds).for_each(|n| csv.extend(["PB-", &n.to_string(), ",Acme,Gateway 3\n"]));
    scene.claim(&csv, &[])?;

    let before = Usage::of(scene.server.id())?.peak_mib();
    let (mut floors, mut installed) = (Vec::new(), Vec::new());
    // The first round warms the page cache, and does not count.
    for n in 0..=size.rounds {
        let (floor, one) = (floor(&scene, digest)?, install(folder, &scene, size, n)?);
        if n > 0 {
            floors.push(floor);
            installed.push(one);
        }
    }
    let growth = Usage::of(scene.server.id())?.peak_mib() - before;
    Ok(rows(mebibytes, &floors, &installed, growth))
}

fn install(folder: &Path, scene: &Scene, size: &Size, n: usize) -> Result<Installed> {
    let firmware = Firmware::new("Acme", "Gateway 3", &format!("PB-{n}"));
    let root = folder.join(format!("device-{n}"));
    let device = Sandbox::unpack(&root, &firmware, &scene.server.url(), &scene.server.bundle())?;
    let mut start = command(&size.agent, &["--root"]);
    start.arg(&root).args(["run", "--once"]);
    let mut agent = Running::start(start, &folder.join("agent.log"))?;
    let (mut peak, process) = (0.0_f64, agent.id());
    wait_for(LIMIT, "the agent to end", || {
        peak = Usage::of(process).map_or(0.0, |usage| usage.peak_mib()).max(peak);
        Ok((!agent.is_running()).then_some(()))
    })?;
    let said = device.status_file()?.with_context(|| agent.output())?;
    let (granted, fetched) = (time_of_stage(&said, "handshake")?, time_of_stage(&said, "payload")?);
    let all = time_of_stage(&said, "install").with_context(|| agent.output())?;
    std::fs::remove_dir_all(&root).context("remove the device")?;
    Ok(Installed { fetch: fetched.saturating_sub(granted), all, peak })
}

fn floor(scene: &Scene, digest: &str) -> Result<Duration> {
    let url = format!("{}/artifacts/sha256/{digest}", scene.server.url());
    let anchors = scene.server.bundle().join("anchors.pem");
    let line = format!("curl -sS --fail --cacert '{}' '{url}' | sha256sum", anchors.display());
    let started = Stopwatch::start();
    let printed = run(command("sh", &["-c", &line]))?.success()?;
    anyhow::ensure!(printed.starts_with(digest), "curl fetched something else: {printed}");
    Ok(started.elapsed())
}

fn rows(mebibytes: usize, floors: &[Duration], installed: &[Installed], growth: f64) -> Vec<Row> {
    let ratios =
        floors.iter().zip(installed).map(|(floor, one)| floor.as_secs_f64() / one.fetch.as_secs_f64());
    let ratio = median_of(ratios.collect());
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (floor, fetch) = (median(floors.to_vec()), median(installed.iter().map(|one| one.fetch).collect()));
    let all = median(installed.iter().map(|one| one.all).collect());
    let peak = installed.iter().map(|one| one.peak).fold(0.0, f64::max);
    let beside = format!(
        "`curl \\| sha256sum` {:.0} ms; the agent {:.0} ms, on the disk with `fsync`",
        millis(floor),
        millis(fetch)
    );
    let named = |what: &str| format!("{mebibytes} MiB payload: {what}");
    let small = mebibytes < 8;
    // A small one is a matter of round trips: its time is reported, without a ratio.
    let throughput = Row::new(named("throughput"), ratio, Unit::OfTheFloor).with_floor(beside);
    let mut rows = vec![
        if small { throughput } else { throughput.at_least(0.8) },
        Row::new(named("agent's start to managed"), millis(all), Unit::Millis)
            .with_floor("handshake, fetch, install (a second copy, durable) and health"),
    ];
    if !small {
        rows.push(Row::new(named("peak memory of the agent"), peak, Unit::Mebibytes).at_most(24.0));
        rows.push(Row::new(named("growth of the server"), growth, Unit::Mebibytes).at_most(8.0));
    }
    rows
}
