//! The life of a device, with the real server and the real agent: one chapter each.

mod acme;
mod backup_and_restore;
mod claimed_later;
mod claimed_twice;
mod factory_reset;
mod factory_reset_without_ticket;
mod first_boot;
mod newer_payload;
mod registered_at_the_factory;
mod renewed_certificate;
mod replaced_anchors;
mod replaced_authority;
mod restored_database;
mod rotated_device_authority;
mod station_without_a_server;
mod switched_on_again;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use unbox_tests::{
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

/// Ample time for anything that a device or a server does within seconds.
const LIMIT: Duration = Duration::from_mins(2);

/// The claim of the one device.
const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0007,Acme,Gateway 3\n";

/// Makes the device in the claims, in its factory state for this server.
fn device(scene: &Scene, folder: &Path) -> Result<Sandbox> {
    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0007");
    Sandbox::unpack(folder, &firmware, &scene.server.url(), &scene.server.bundle())
}

/// Returns the device's certificate, as the network side keeps it.
fn certificate(device: &Sandbox) -> Result<String> {
    let enrollment: Value = serde_json::from_str(&device.read("/var/lib/unbox/exchange/enrollment.json")?)?;
    let certificate = enrollment.pointer("/certificate_chain/0").and_then(Value::as_str);
    certificate.map(ToOwned::to_owned).context("a certificate in the enrollment")
}

/// Returns a policy of one file, and of items that a sandbox supports.
fn policy(motd: &str) -> Value {
    json!([
        {"type": "file", "path": "/etc/motd", "content": {"text": motd}},
        {"type": "hostname", "name": "kiosk-0007"},
        {"type": "authorized_keys", "user": "root", "privileged": true, "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE admin@acme"]},
    ])
}
