//! The agent against a server that misbehaves: one file each. The agent is bounded in time and memory, names
//! the fault, changes nothing, and continues by itself as soon as the server is honest.
//!
//! To add one: a file here with the answer to each message, and its `mod` line.

mod after_the_installation;
mod any_mischief;
mod connection_cut;
mod endless_answer;
mod garbage;
mod huge_headers;
mod no_tls;
mod redirect;
mod too_slow;
mod wrong_content_type;

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use unbox_common::protocol::latest::{HELLO_PATH, PROVE_PATH, REPORT_PATH};
use unbox_server::clock::{Clock as _, SystemClock};
use unbox_tests::{
    bench::usage::Usage,
    clock::Stopwatch,
    process::{Running, wait_for},
    sandbox::{Firmware, Sandbox},
    world::{Reply, Request, SERVER_NAME, Served, World},
};

/// Ample time for everything that an agent does by itself within a minute, on a busy machine.
const LIMIT: Duration = Duration::from_mins(4);

/// The most memory that an agent may ever hold, whatever a server sends. A build with debug assertions
/// takes some 25 MiB for itself.
const MAX_PEAK_KIB: u32 = 64 * 1024;

/// The messages that may be answered badly, in their order.
const MESSAGES: [&str; 3] = [HELLO_PATH, PROVE_PATH, REPORT_PATH];
/// The number of messages before anything is installed.
const BEFORE_INSTALLATION: usize = 2;

/// A switched-on device whose server misbehaves.
struct Ordeal {
    world: Arc<World>,
    served: Served,
    device: Sandbox,
    before: Vec<(PathBuf, String)>,
    /// The index of the message that is answered badly; past the end of [`MESSAGES`], none.
    at: Arc<AtomicUsize>,
    agent: Running,
    since: Stopwatch,
    _folder: TempDir,
}

impl Ordeal {
    /// Switches a device on. The message whose turn it is gets the reply of `misbehave`.
    fn begin(misbehave: impl Fn(&World, &Request) -> Reply + Send + Sync + 'static) -> Result<Self> {
        Self::begin_at(0, None, misbehave)
    }

    /// Switches a device on whose first server is at another address.
    fn begin_elsewhere(url: String) -> Result<Self> {
        Self::begin_at(MESSAGES.len(), Some(url), World::honest_reply)
    }

    /// Switches a device on, with misbehaviour from this message on, and optionally another address.
    fn begin_at(
        turn: usize,
        url: Option<String>,
        misbehave: impl Fn(&World, &Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut world = World::new(SystemClock.now())?;
        world.payload.policy = vec![serde_json::from_value(serde_json::json!({
            "type": "file", "path": "/etc/motd", "content": {"text": "honest\n"},
        }))?];
        let world = Arc::new(world);
        let at = Arc::new(AtomicUsize::new(turn));
        let turn = Arc::clone(&at);
        let served = world.serve(move |world, request| {
            let bad = MESSAGES.get(turn.load(Ordering::Relaxed)).is_some_and(|path| *path == request.path);
            if bad { misbehave(world, request) } else { world.honest_reply(request) }
        })?;
        let folder = tempfile::tempdir()?;
        let bundle = folder.path().join("bundle");
        world.write_bundle(&bundle)?;
        let honest = format!("https://{SERVER_NAME}:{}", served.address.port());
        let firmware = Firmware::new("Acme", "Gateway 3", "AC-0001");
        let url = url.unwrap_or(honest);
        let device = Sandbox::unpack(&folder.path().join("device"), &firmware, &url, &bundle)?;
        let before = device.snapshot()?;
        let since = Stopwatch::start();
        let agent = Running::start(device.agent(&["run", "--once"])?, &folder.path().join("agent.log"))?;
        Ok(Self { world, served, device, before, at, agent, since, _folder: folder })
    }

    /// Misbehaves at each message in turn, and waits each time until the device reports `kind`.
    fn is_named_at_each_message(&mut self, kind: &str) -> Result<()> {
        for turn in 0..BEFORE_INSTALLATION {
            self.at.store(turn, Ordering::Relaxed);
            self.device.remove_status_file()?;
            self.is_named(kind)?;
        }
        Ok(())
    }

    /// Waits until the device reports `kind`, and checks that it is bounded and unchanged.
    fn is_named(&mut self, kind: &str) -> Result<()> {
        wait_for(LIMIT, &format!("the device to say {kind}"), || {
            Ok(self.device.failure()?.is_some_and(|said| said == kind).then_some(()))
        })
        .with_context(|| self.agent.output())?;
        self.is_bounded()?;
        assert_eq!(self.device.snapshot()?, self.before, "{kind}: the device changed");
        let status = self.device.status()?;
        let shown = |pointer| status.pointer(pointer).and_then(Value::as_str);
        assert_eq!(
            (shown("/phase"), shown("/installer/kind")),
            (Some("unenrolled"), Some(kind)),
            "{status:#}"
        );
        assert_eq!(self.device.installed_version()?, None);
        Ok(())
    }

    fn is_bounded(&mut self) -> Result<()> {
        assert!(self.agent.is_running(), "{}", self.agent.output());
        let peak_kib = Usage::of(self.agent.id())?.peak_kib;
        assert!((1..=MAX_PEAK_KIB).contains(&peak_kib), "the agent held {peak_kib} KiB");
        // Between two tries it waits a second or longer.
        let (hellos, most) = (self.world.count_hellos(), self.since.elapsed().as_secs() + 1);
        assert!(hellos <= most, "{hellos} tries in {most} s: it does not wait between them");
        Ok(())
    }

    /// Makes the server honest, and checks that the device recovers by itself.
    fn ends_well(mut self) -> Result<()> {
        self.at.store(MESSAGES.len(), Ordering::Relaxed);
        let url = format!("https://{SERVER_NAME}:{}", self.served.address.port());
        self.device.write("/etc/unbox/agent.toml", &format!("server = \"{url}\"\n"))?;
        let ended = self.agent.wait(LIMIT)?;
        assert!(ended.success(), "{ended}: {}", self.agent.output());
        assert_eq!(self.device.read("/etc/motd")?, "honest\n");
        assert_eq!(self.device.installed_version()?, Some(self.world.payload.version));
        assert!(!self.agent.output().contains("panicked"), "{}", self.agent.output());
        Ok(())
    }
}
