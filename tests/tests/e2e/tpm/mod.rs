//! The proof by a TPM, with the real agent, the real server and simulated TPMs.

mod enroll;
mod keys;
mod refuse;

use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use unbox_tests::{
    sandbox::{Firmware, Sandbox},
    scene::Scene,
    swtpm::{Certified, Manufacturer, SimulatedTpm},
};

/// The claim of the one device.
const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0007,Acme,Gateway 3\n";

/// Makes a manufacturer and one of its TPMs, reachable at `socket`.
fn manufactured(folder: &Path, certified: Certified, socket: &Path) -> Result<(Manufacturer, SimulatedTpm)> {
    let manufacturer = Manufacturer::new(&folder.join("maker"))?;
    let mut tpm = manufacturer.make(&folder.join("tpm"), certified)?;
    tpm.serve(socket)?;
    Ok((manufacturer, tpm))
}

/// Makes the device in the claims, in its factory state for this server.
fn device(scene: &Scene, folder: &Path) -> Result<Sandbox> {
    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0007");
    Sandbox::unpack(folder, &firmware, &scene.server.url(), &scene.server.bundle())
}

fn policy() -> Value {
    json!([{"type": "hostname", "name": "kiosk-0007"}])
}
