//! Faults of the device itself: each ends in a named state, without a loop and without a loss.

mod full_disk;
mod half_written_ledger;
mod power_cuts;
mod read_only_root;
mod wrong_clock;

use anyhow::{Context as _, Result};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_tests::{
    host::Program,
    process::Running,
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

/// Ample time for anything that an agent does within seconds.
const LIMIT: Duration = Duration::from_mins(2);

/// The claim of the one device.
const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0009,Acme,Gateway 3\n";

/// Makes a server with a small DPC and a policy, and the claim of the one device.
fn scene(folder: &Path) -> Result<Scene> {
    let scene = Scene::create(folder)?;
    let policy = serde_json::json!([
        {"type": "file", "path": "/etc/motd", "content": {"text": "Property of Acme AG\n"}},
    ]);
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy)?;
    scene.claim(CLAIMS, &[])?;
    Ok(scene)
}

/// Makes the device in the claims, in its factory state for this server.
fn device(scene: &Scene, folder: &Path) -> Result<Sandbox> {
    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0009");
    Sandbox::unpack(folder, &firmware, &scene.server.url(), &scene.server.bundle())
}

/// Runs the agent for one try that cannot succeed, and returns its exit code and its output.
fn fails(agent: std::process::Command, log: &Path) -> Result<(Option<i32>, String)> {
    let mut agent = Running::start(agent, log)?;
    let ended = agent.wait(LIMIT)?;
    let said = agent.output();
    assert!(!said.contains("panicked"), "{said}");
    Ok((ended.code(), said))
}

/// A file system below a sandbox, unmounted when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a file system in memory of this size, such as `12m`.
    fn small(at: &Path, size: &str) -> Result<Self> {
        std::fs::create_dir_all(at).with_context(|| format!("make {}", at.display()))?;
        let options = format!("size={size},mode=0777");
        Program::as_root("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).run()?;
        Ok(Self(at.to_owned()))
    }

    /// Mounts an existing directory over itself.
    fn itself(at: &Path) -> Result<Self> {
        Program::as_root("mount").arg("--bind").arg(at).arg(at).run()?;
        Ok(Self(at.to_owned()))
    }

    /// Changes its options.
    fn remount(&self, options: &str) -> Result<()> {
        Program::as_root("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).run()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed has reported that already.
        let _ = Program::as_root("umount").arg("--lazy").arg(&self.0).run();
    }
}
