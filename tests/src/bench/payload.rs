//! The real agent installs artifacts of two sizes; beside it, `curl | sha256sum` of the same bytes.

use super::usage::Usage;
use crate::{
    clock::Stopwatch,
    process::{Running, command, run, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
    seed::Seed,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// The longest that one installation may take.
const LIMIT: Duration = Duration::from_mins(2);

/// What one artifact cost.
#[derive(Debug)]
pub struct PayloadFigures {
    /// Its size in MiB.
    pub mebibytes: usize,
    /// From the start of the agent to managed.
    pub agent: Duration,
    /// `curl | sha256sum` of the same artifact.
    pub floor: Duration,
    /// The most memory of the agent, in KiB.
    pub agent_peak_kib: u64,
    /// How much the server grew, in KiB.
    pub server_growth_kib: u64,
}

/// Installs a file of this size on a new device.
///
/// # Errors
/// If the device does not become managed, or curl is not there.
pub fn measure(folder: &Path, mebibytes: usize) -> Result<PayloadFigures> {
    let scene = Scene::set(folder)?;
    let file = folder.join("artifact.bin");
    let mut seed = Seed::new(7);
    let bytes: Vec<u8> = (0..mebibytes << 17).flat_map(|_| seed.below(u64::MAX).to_le_bytes()).collect();
    crate::files::write(&file, &bytes)?;
    let artifact = scene.upload(&file)?;
    scene.configure(
        None,
        &json!([{"type": "file", "path": "/opt/artifact", "content": {"artifact": artifact}}]),
    )?;
    scene.claim("serial_number,manufacturer,model\nPB-1,Acme,Gateway 3\n", &[])?;

    let floor = floor(&scene, artifact.pointer("/sha256").and_then(Value::as_str).context("a digest")?)?;
    let before = Usage::of(scene.server.id())?;
    let firmware = Firmware::new("Acme", "Gateway 3", "PB-1");
    let device =
        Sandbox::unpack(&folder.join("device"), &firmware, &scene.server.url(), &scene.server.bundle())?;
    let started = Stopwatch::start();
    let mut agent = Running::start(device.agent(&["run", "--once"])?, &folder.join("agent.log"))?;
    let (mut agent_peak_kib, process) = (0, agent.id());
    let ended = wait_for(LIMIT, "the agent to end", || {
        agent_peak_kib = Usage::of(process).map_or(0, |usage| usage.peak_kib).max(agent_peak_kib);
        Ok((!agent.is_running()).then(|| started.elapsed()))
    })?;
    ensure!(device.installed_version()?.is_some(), "the device is not managed: {}", agent.output());
    let after = Usage::of(scene.server.id())?;
    Ok(PayloadFigures {
        mebibytes,
        agent: ended,
        floor,
        agent_peak_kib,
        server_growth_kib: after.peak_kib.saturating_sub(before.peak_kib),
    })
}

/// The best of three: the first one also warms the page cache.
fn floor(scene: &Scene, digest: &str) -> Result<Duration> {
    let url = format!("{}/artifacts/sha256/{digest}", scene.server.url());
    let anchors = scene.server.bundle().join("anchors.pem");
    let line = format!("curl -sS --fail --cacert '{}' '{url}' | sha256sum", anchors.display());
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let started = Stopwatch::start();
        let printed = run(command("sh", &["-c", &line]))?.success()?;
        ensure!(printed.starts_with(digest), "curl fetched something else: {printed}");
        best = best.min(started.elapsed());
    }
    Ok(best)
}
