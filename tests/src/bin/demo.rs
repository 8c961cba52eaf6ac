//! `cargo demo`: one device from power-on to managed, with the real server and the real agent.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_agent::console::StatusFile;
use unbox_tests::{
    binaries,
    clock::Stopwatch,
    process::Running,
    sandbox::{Firmware, Sandbox},
    scene::{CONFIGURATION, CUSTOMER, Scene},
};

/// The longest that the device may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Takes one device from power-on to managed in a temporary directory, and shows each stage.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave server, database and device in place, for a look at them.
    #[arg(long)]
    keep: bool,
}

/// The stages, each with its task.
const STAGES: [(&str, &str); 6] = [
    ("boot", "read configuration and trust anchors"),
    ("identity", "read serial number, maker, model, MAC addresses"),
    ("handshake", "hello, challenge, prove, grant over TLS 1.3"),
    ("payload", "verify the signature, fetch and check the DPC"),
    ("install", "plan, journal, change, health check, commit"),
    ("report", "tell the server over mutual TLS"),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("unbox-demo-").tempdir().context("make a directory")?;
    say("Unbox: one device, from power-on to managed\n")?;
    let built = Stopwatch::start();
    binaries::agent()?;
    step(built, "built", "the server, the agent, and a DPC")?;
    let ended = play(folder.path());
    if arguments.keep {
        let kept = folder.keep();
        say(&format!("\nKept in {}", kept.display()))?;
    }
    say(&ended?)
}

/// Runs the whole demo, and returns its last line.
fn play(folder: &Path) -> Result<String> {
    let started = Stopwatch::start();
    let mut scene = Scene::create(folder)?;
    step(started, "server", &format!("initialised, and serving {}", scene.server.url()))?;
    let configured = Stopwatch::start();
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy())?;
    step(
        configured,
        "customer",
        &format!("{CUSTOMER} configured {CONFIGURATION}: DPC demo-dpc 1.0.0, 4 policy items"),
    )?;
    let claimed = Stopwatch::start();
    let imported = scene.claim(&claims(), &[])?;
    step(claimed, "reseller", imported.lines().next().unwrap_or("imported the claims"))?;

    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0007");
    let device =
        Sandbox::unpack(&folder.join("device"), &firmware, &scene.server.url(), &scene.server.bundle())?;
    say("\nSomebody unpacks Acme Gateway 3, serial number AC-0007, and switches it on.\n")?;
    let log = folder.join("agent.log");
    let switched_on = Stopwatch::start();
    let mut agent = Running::start(device.agent(&["run", "--once"])?, &log)?;
    let status = agent.wait(LIMIT)?;
    let in_all = switched_on.elapsed();
    ensure!(status.success(), "the agent ended with {status}: {}", agent.output());
    let said = device.status_file()?.context("the agent said nothing")?;
    let to_grant = show_stages(&said)?;
    say(&indent(&agent.output()))?;

    let shown = show_device(&scene, &device)?;
    show_places(folder, &scene.server.bundle(), &device)?;
    scene.server.stop()?;
    Ok(format!(
        "\nmanaged: device {}, generation {}, {} ms from start to grant, {} ms in all",
        field_text(&shown, "id"),
        field_text(&shown, "generation"),
        to_grant.as_millis(),
        in_all.as_millis()
    ))
}

fn policy() -> Value {
    json!([
        {"type": "file", "path": "/etc/motd", "content": {"text": "Property of Acme AG\n"}},
        {"type": "hostname", "name": "kiosk-0007"},
        {"type": "sysctl", "key": "net.ipv4.ip_forward", "value": "0"},
        {"type": "authorized_keys", "user": "root", "privileged": true, "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE admin@acme"]},
    ])
}

fn claims() -> String {
    let mut csv = String::from("serial_number,manufacturer,model\n");
    (1..=100).for_each(|n| csv.extend([format!("AC-{n:04}").as_str(), ",Acme,Gateway 3\n"]));
    csv
}

fn show_stages(said: &StatusFile) -> Result<Duration> {
    let (mut before, mut to_grant) = (0, Duration::ZERO);
    for (name, what) in STAGES {
        let Some(stage) = said.stages.iter().find(|one| one.stage == name) else { continue };
        let took = Duration::from_micros(stage.done_after_us.saturating_sub(before));
        before = stage.done_after_us;
        if name == "handshake" {
            to_grant = Duration::from_micros(stage.done_after_us);
        }
        line(took, name, what)?;
    }
    ensure!(!to_grant.is_zero(), "the agent did not say when it was granted");
    Ok(to_grant)
}

fn show_device(scene: &Scene, device: &Sandbox) -> Result<Value> {
    let devices = scene.devices()?;
    let shown = devices.first().cloned().context("the server knows no device")?;
    let id = field_text(&shown, "id");
    say("\nThe device, as the server now sees it (unbox-server device show):\n")?;
    say(&indent(&scene.server.admin(&["device", "show", &id])?))?;
    let motd = device.read("/etc/motd")?;
    say(&format!("The device's /etc/motd: {}", motd.trim_end()))?;
    Ok(shown)
}

/// Returns a field in the form that a person reads.
fn field_text(shown: &Value, field: &str) -> String {
    shown.get(field).map_or_else(String::new, |value| value.to_string().trim_matches('"').to_owned())
}

fn show_places(folder: &Path, bundle: &Path, device: &Sandbox) -> Result<()> {
    let places: [(&str, PathBuf); 4] = [
        ("server", folder.join("server")),
        ("trust for images", bundle.to_owned()),
        ("device's root", device.root().to_owned()),
        ("agent's log", folder.join("agent.log")),
    ];
    say("\nWhere everything lies (cargo demo --keep leaves it there):\n")?;
    for (what, path) in places {
        say(&format!("  {what:<17} {}", path.display()))?;
    }
    Ok(())
}

fn step(since: Stopwatch, name: &str, what: &str) -> Result<()> {
    line(since.elapsed(), name, what)
}

fn line(took: Duration, name: &str, what: &str) -> Result<()> {
    say(&format!("  {name:<10} {:>9.1} ms   {what}", took.as_secs_f64() * 1e3))
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

fn say(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").context("print")
}
