//! The way that the types allow: verified, judged, installed; and a secret that is exposed on purpose.

use unbox_agent::install::{ArtifactDir, InstallOutcome, Installer};
use unbox_common::{
    payload::{Expectation, judge},
    protocol::latest::Grant,
    secret::Secret,
    trust::KeySet,
};

fn install(
    installer: &mut Installer<'_>,
    grant: &Grant,
    keys: &KeySet,
    expectation: &Expectation,
    artifacts: &ArtifactDir,
) -> InstallOutcome {
    let payload = judge(grant.payload.verify(keys).unwrap(), expectation).unwrap();
    installer.install(&payload, artifacts).unwrap()
}

fn sent(token: &Secret) -> String {
    token.expose().to_owned()
}

fn main() {}
