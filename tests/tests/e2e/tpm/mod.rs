//! The proof by a TPM, with the real agent, the real server and simulated TPMs.

mod keys;

use anyhow::Result;
use std::path::Path;
use unbox_tests::swtpm::{Certified, Manufacturer, SimulatedTpm};

/// A manufacturer and one TPM of it, reachable at `socket`.
fn manufactured(folder: &Path, certified: Certified, socket: &Path) -> Result<(Manufacturer, SimulatedTpm)> {
    let manufacturer = Manufacturer::new(&folder.join("maker"))?;
    let mut tpm = manufacturer.make(&folder.join("tpm"), certified)?;
    tpm.serve(socket)?;
    Ok((manufacturer, tpm))
}
