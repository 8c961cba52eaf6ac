//! The real agent, started again and again on devices that are new.

use super::usage::Usage;
use crate::{
    binaries,
    process::{Running, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::{path::Path, time::Duration};

/// The longest that one enrollment may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What the agent costs.
#[derive(Debug)]
pub struct AgentFigures {
    /// From the start of the process to the grant, as the agent itself says; sorted.
    pub start_to_grant: Vec<Duration>,
    /// Memory of an agent that is managed and waits, in KiB.
    pub idle_kib: u64,
    /// Size of the binary, in bytes.
    pub binary_bytes: u64,
}

impl AgentFigures {
    /// Half of the starts were faster.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.start_to_grant.get(self.start_to_grant.len() / 2).copied().unwrap_or_default()
    }
}

/// Switches `count` devices on, one after the other.
///
/// # Errors
/// If one does not become managed.
pub fn measure(folder: &Path, count: usize) -> Result<AgentFigures> {
    let scene = Scene::set(folder)?;
    scene.configure(None, &json!([{"type": "file", "path": "/etc/motd", "content": {"text": "hello"}}]))?;
    let mut csv = String::from("serial_number,manufacturer,model\n");
    (0..count).for_each(|n| csv.extend(["AG-", &n.to_string(), ",Acme,Gateway 3\n"]));
    scene.claim(&csv, &[])?;
    let (mut start_to_grant, mut idle_kib) = (Vec::new(), 0);
    for n in 0..count {
        let firmware = Firmware::new("Acme", "Gateway 3", &format!("AG-{n}"));
        let root = folder.join(format!("device-{n}"));
        let device = Sandbox::unpack(&root, &firmware, &scene.server.url(), &scene.server.bundle())?;
        let mut agent = Running::start(device.agent(&["run"])?, &folder.join("agent.log"))?;
        wait_for(LIMIT, "the device to be managed", || device.installed_version())
            .with_context(|| agent.output())?;
        let stages = wait_for(LIMIT, "the agent's own times", || {
            Ok(device
                .said()?
                .map(|said| said.stages)
                .filter(|stages| stages.iter().any(|one| one.stage == "report")))
        })?;
        let granted = stages.iter().find(|one| one.stage == "handshake").context("the handshake's time")?;
        start_to_grant.push(Duration::from_micros(granted.done_after_us));
        idle_kib = Usage::of(agent.id())?.resident_kib;
        agent.kill();
    }
    start_to_grant.sort_unstable();
    let binary_bytes = std::fs::metadata(binaries::agent()?).context("look at the agent")?.len();
    Ok(AgentFigures { start_to_grant, idle_kib, binary_bytes })
}
