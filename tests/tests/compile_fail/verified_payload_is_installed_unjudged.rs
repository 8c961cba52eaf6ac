//! A payload that the right keys signed is not yet one for this device, now.

use unbox_agent::install::{ArtifactDir, InstallOutcome, Installer};
use unbox_common::{payload::Payload, trust::Verified};

fn install(
    installer: &mut Installer<'_>,
    payload: &Verified<Payload>,
    artifacts: &ArtifactDir,
) -> InstallOutcome {
    installer.install(payload, artifacts).unwrap() //~ E0308
}

fn main() {}
