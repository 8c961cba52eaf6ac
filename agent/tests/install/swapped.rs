//! A taken-over network process replaces an artifact after it was checked.

use crate::{
    device::Device,
    faults::FailAt,
    payloads::{accept, file, tar},
    refusals::dpc_of,
};
use serde_json::json;
use std::fs;
use unbox_agent::install::InstallOutcome;

const UNIT: &[u8] = b"[Service]\nExecStart=/opt/unbox/dpc/acme/current/dpc\n";

/// Whatever moment is chosen, the device has what was signed, or nothing of it.
#[test]
fn an_archive_that_is_replaced_after_the_survey_is_not_unpacked() {
    let archive = |program: &[u8]| tar(&[file("acme.service", 0o644, UNIT), file("dpc", 0o755, program)]);
    let (mut rolled_back, mut managed) = (0, 0);
    for at in 0.. {
        let mut device = Device::new();
        let dpc = dpc_of(&device, &archive(b"signed"));
        let payload = accept(1, &dpc, &json!([{ "type": "hostname", "name": "kiosk" }]));
        let before = device.picture();
        let artifact = device.artifacts.directory.join(dpc["artifact"]["sha256"].as_str().unwrap());
        let swap = FailAt::meanwhile(at, move || fs::write(&artifact, archive(b"stolen")).unwrap());
        let outcome = device.install(&payload, &swap);
        if swap.count() <= at {
            break;
        }
        match outcome {
            Ok(InstallOutcome::Managed { version: 1 }) => {
                let program = device.root().join("opt/unbox/dpc/acme/current/dpc");
                assert_eq!(fs::read(program).unwrap(), b"signed", "swapped at {at}");
                managed += 1;
            }
            Ok(InstallOutcome::RolledBack { failure, .. }) => {
                assert_eq!(failure.kind, "artifact_changed", "swapped at {at}: {failure:?}");
                assert_eq!(device.picture(), before, "swapped at {at}");
                rolled_back += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), "artifact_changed", "swapped at {at}: {error}");
                assert_eq!(device.picture(), before, "swapped at {at}");
            }
            other => panic!("swapped at {at}: {other:?}"),
        }
    }
    assert!(rolled_back > 0 && managed > 0, "{rolled_back} rolled back, {managed} managed");
}
