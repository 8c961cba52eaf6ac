//! What every scenario shares: a server on the host, and a machine from the factory that belongs to it.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path, time::Duration};
use unbox_tests::{
    host::Deadline,
    scene::Scene,
    vm::{Image, Machine, SERVER_NAME, SOON, Smbios, Vm},
};

/// Ample time from power-on to managed on a busy machine without hardware virtualisation.
pub(super) const ENROLLED: Duration = Duration::from_mins(4);

/// Serial number of the device in every scenario.
pub(super) const SERIAL: &str = "AC-7001";

/// The claims file of every scenario.
pub(super) const CLAIMS: &str = "serial_number,manufacturer,model\nAC-7001,Acme,Gateway 3\n";

/// A server with a DPC and every kind of policy item, and the claim of [`SERIAL`].
pub(super) fn scene(folder: &Path) -> Result<Scene> {
    let scene = Scene::create(folder)?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("first"))?;
    scene.claim(CLAIMS, &[])?;
    Ok(scene)
}

/// A policy with one item of each kind that needs nothing but the base image.
pub(super) fn policy(text: &str) -> Value {
    json!([
        {"type": "file", "path": "/etc/kiosk/kiosk.conf", "content": {"text": text}, "mode": "0640"},
        {"type": "sysctl", "key": "net.ipv4.ip_forward", "value": "1"},
        {"type": "hostname", "name": "kiosk-7001"},
        {"type": "time_zone", "zone": "Europe/Zurich"},
        {"type": "authorized_keys", "user": "root", "privileged": true, "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE admin@acme"]},
        {"type": "unit", "name": "systemd-timesyncd.service", "masked": true},
    ])
}

/// The device of every scenario, as the factory ships it for this server.
pub(super) fn machine(scene: &Scene) -> Result<Machine> {
    let bundle = scene.server.bundle();
    let port = scene.server.address.port();
    Ok(Machine::new(&Image::agent()?)
        .smbios(Smbios::from_label("Acme", "Gateway 3", SERIAL))
        .guest_forward(443, scene.server.address)
        .file("/etc/unbox/agent.toml", format!("server = \"https://{SERVER_NAME}\"\n"), 0o644)
        .file("/etc/unbox/trust/anchors.pem", fs::read(bundle.join("anchors.pem"))?, 0o644)
        .file("/etc/unbox/trust/root.json", fs::read(bundle.join("root.json"))?, 0o644)
        .name(&format!("device-{port}")))
}

/// Waits until the device says that it is managed.
pub(super) fn wait_managed(vm: &mut Vm) -> Result<()> {
    vm.wait_until("unbox-agent status --json | grep -q '\"phase\": *\"managed\"'", ENROLLED).map(drop)
}

/// Has the device ask the server for news, before it is time.
pub(super) fn check_in(vm: &mut Vm) -> Result<()> {
    // Another process of the agent may be at work just now.
    vm.wait_until("runuser -u unbox -- unbox-agent check-in", SOON).map(drop)
}

/// Has the device forget its enrollment.
pub(super) fn reset(vm: &mut Vm) -> Result<()> {
    // The installer looks after its work at each boot, and may be at it just now.
    vm.wait_until("unbox-agent reset", SOON).map(drop)
}

/// The server's view of the one device.
pub(super) fn device(scene: &Scene) -> Result<Value> {
    let mut devices = scene.devices()?;
    ensure!(devices.len() == 1, "expected one device, found {}", devices.len());
    Ok(devices.remove(0))
}

/// Waits until the server's view of the one device is as `expected`.
pub(super) fn wait_device(scene: &Scene, expected: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Deadline::after(SOON);
    loop {
        let device = device(scene)?;
        if expected(&device) {
            return Ok(device);
        }
        if !deadline.pause() {
            bail!("the server's view of the device did not become what was expected: {device:#}");
        }
    }
}

/// Whether the server shows this generation as managed.
pub(super) fn is_managed(device: &Value, generation: u64) -> bool {
    device["state"] == "managed" && device["generation"] == generation
}

/// Every file, link and directory that an installation may touch, with owner, mode and content: one line each.
/// While they are being listed no installation can begin, and one that a power cut interrupted has been brought to
/// its end. The machine's id is another one on every disk.
pub(super) fn manifest(vm: &mut Vm) -> Result<BTreeSet<String>> {
    const LIST: &str = "umask 077; mkdir -p /var/lib/unbox/install; cd /; \
        flock var/lib/unbox/install/lock bash -c 'test ! -e var/lib/unbox/install/journal.jsonl && { \
        find etc opt root home srv usr/local -xdev ! -name machine-id -printf \"%p %y %m %u %g %l\\n\"; \
        find etc opt root home srv usr/local -xdev ! -name machine-id -type f -exec sha256sum {} +; }'";
    Ok(vm.wait_until(LIST, ENROLLED)?.lines().map(str::to_owned).collect())
}

/// How one manifest differs from another.
pub(super) fn difference(one: &BTreeSet<String>, other: &BTreeSet<String>) -> String {
    let gone = one.difference(other).map(|line| format!("- {line}"));
    let new = other.difference(one).map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}
