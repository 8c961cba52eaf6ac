//! Every instant of an installation, an update, a removal and their ways back: power that goes
//! there, a disk that is full there, a disk that turns read-only there.

use crate::{
    device::{Device, Picture},
    faults::{FailAt, Failure},
    payloads::{accept, file, gzip, tar},
};
use serde_json::{Value, json};
use unbox_agent::install::{InstallError, InstallOutcome};
use unbox_common::payload::AcceptedPayload;

const UNIT: &str =
    "[Service]\nExecStart=/opt/unbox/dpc/acme/current/bin/dpc\n[Install]\nWantedBy=multi-user.target\n";
const CA: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

fn dpc(device: &Device, release: &str, extras: &Value) -> Value {
    let program = format!("dpc {release}");
    let archive = tar(&[
        file("./bin/dpc", 0o755, program.as_bytes()),
        file("lib/systemd/system/acme.service", 0o644, UNIT.as_bytes()),
    ]);
    json!({
        "name": "acme", "version": release, "kind": "tar", "unit": "acme.service", "extras": extras,
        "artifact": device.artifacts.add(&gzip(&archive)),
        "health": { "type": "unit_active", "stable_for_s": 1, "timeout_s": 5 },
    })
}

/// A payload with every kind of item.
fn first(device: &Device) -> AcceptedPayload {
    let package = device.artifacts.add(b"tool 1.0\netc/issue tool\nusr/share/empty/tool x\netc/tool.conf 1");
    let passwd = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
    let policy = json!([
        { "type": "file", "path": "/etc/motd", "content": { "text": "hello\n" } },
        { "type": "file", "path": "/etc/passwd", "content": { "text": passwd }, "mode": "0600", "privileged": true },
        { "type": "file", "path": "/srv/new/deep/file", "content": { "base64": "AAEC" }, "mode": "0640" },
        { "type": "unit", "name": "old.service", "enabled": false, "active": false },
        { "type": "unit", "name": "held.service", "active": true },
        { "type": "unit", "name": "quiet.service", "masked": true },
        { "type": "sysctl", "key": "net.ipv4.ip_forward", "value": "1" },
        { "type": "sysctl", "key": "vm.swappiness", "value": "10" },
        { "type": "hostname", "name": "kiosk-1" },
        { "type": "time_zone", "zone": "Europe/Zurich" },
        { "type": "ca_certificate", "name": "acme", "pem": CA },
        { "type": "authorized_keys", "user": "ada", "keys": ["ssh-ed25519 AAAA ada"] },
        { "type": "package", "name": "tool", "version": "1.0", "artifact": package },
    ]);
    accept(10, &dpc(device, "1", &json!({ "token": "s3cret" })), &policy)
}

/// Another one, in which some things are new, some are changed, some are gone.
fn second(device: &Device) -> AcceptedPayload {
    // It replaces what nobody owns, diverts a file, and leaves out one that it had.
    let package = device
        .artifacts
        .add(b"tool 2.0\netc/issue tool 2\nusr/share/other/tool x\ndivert /etc/banner\netc/banner tool");
    let large = device.artifacts.add(&[b'z'; 5000]);
    let policy = json!([
        { "type": "file", "path": "/etc/motd", "content": { "text": "hello again\n" }, "mode": "0600" },
        { "type": "file", "path": "/srv/new/other", "content": { "artifact": large } },
        { "type": "unit", "name": "held.service", "enabled": true, "active": true },
        { "type": "unit", "name": "quiet.service", "enabled": true },
        { "type": "sysctl", "key": "vm.swappiness", "value": "20" },
        { "type": "hostname", "name": "kiosk-2" },
        { "type": "package", "name": "tool", "version": "2.0", "artifact": package },
    ]);
    accept(20, &dpc(device, "2", &json!({ "token": "other" })), &policy)
}

/// An operation on a device, from a state that is reached without failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Install,
    Update,
    Remove,
    /// An update whose DPC turns out not to be well.
    UnhealthyUpdate,
    /// An update with a package whose scripts fail when everything is in place.
    FailingUpdate,
}

const ACTS: [Act; 5] = [Act::Install, Act::Update, Act::Remove, Act::UnhealthyUpdate, Act::FailingUpdate];

impl Act {
    /// A device on which this can be done.
    fn device(self) -> Device {
        let mut device = Device::new();
        if self != Self::Install {
            let payload = first(&device);
            let outcome = device.install(&payload, &FailAt::never()).unwrap();
            assert_eq!(outcome, InstallOutcome::Managed { version: 10 });
        }
        device.healthy = self != Self::UnhealthyUpdate;
        device
    }

    fn run(
        self,
        device: &mut Device,
        faults: &std::sync::Arc<FailAt>,
    ) -> Result<InstallOutcome, InstallError> {
        match self {
            Self::Install => {
                let payload = first(device);
                device.install(&payload, faults)
            }
            Self::Update | Self::UnhealthyUpdate => {
                let payload = second(device);
                device.install(&payload, faults)
            }
            Self::Remove => device.uninstall(faults),
            Self::FailingUpdate => {
                let bad = b"tool 3.0\netc/issue tool 3\ndivert /etc/banner\netc/banner tool\nfail";
                let artifact = device.artifacts.add(bad);
                let policy = json!([
                    { "type": "file", "path": "/etc/motd", "content": { "text": "third\n" } },
                    { "type": "package", "name": "tool", "version": "3.0", "artifact": artifact },
                ]);
                device.install(&accept(30, &Value::Null, &policy), faults)
            }
        }
    }

    /// The old state, the new one, and how many operations are between them.
    fn ends(self) -> (Picture, Picture, usize) {
        let mut device = self.device();
        let old = device.picture();
        let faults = FailAt::never();
        let outcome = self.run(&mut device, &faults).unwrap();
        let goes_back = matches!(self, Self::UnhealthyUpdate | Self::FailingUpdate);
        assert_eq!(matches!(outcome, InstallOutcome::RolledBack { .. }), goes_back, "{outcome:?}");
        (old, device.picture(), faults.count())
    }
}

/// Switches the device on again until the installation has come to its end.
fn settle(device: &mut Device) -> Option<InstallOutcome> {
    device.reboot();
    device.resume(&FailAt::never()).unwrap()
}

#[test]
fn a_power_cut_at_any_instant_ends_in_the_old_state_or_the_new_one() {
    for act in ACTS {
        let (old, new, operations) = act.ends();
        let (mut ends_old, mut ends_new) = (0, 0);
        for at in 0..operations {
            let mut device = act.device();
            let faults = FailAt::new(Failure::PowerCut, at);
            let _ = act.run(&mut device, &faults);
            assert!(faults.struck(), "{act:?} {at}");
            settle(&mut device);
            let (is_old, is_new) = (device.looks_like(&old), device.looks_like(&new));
            assert!(is_old || is_new, "{act:?} cut at {at} of {operations}:\n{:#?}", device.picture());
            ends_old += usize::from(is_old);
            ends_new += usize::from(is_new);
        }
        println!("{act:?}: {operations} cuts, {ends_old} ended in the old state, {ends_new} in the new one");
        assert!(ends_old > 0 && ends_new > 0, "{act:?}");
    }
}

#[test]
fn a_second_power_cut_while_going_on_changes_nothing_about_that() {
    for act in ACTS {
        let (old, new, operations) = act.ends();
        for at in (0..operations).step_by(7) {
            let mut device = act.device();
            let _ = act.run(&mut device, &FailAt::new(Failure::PowerCut, at));
            for again in (0..).step_by(11) {
                device.reboot();
                let faults = FailAt::new(Failure::PowerCut, again);
                let _ = device.resume(&faults);
                if !faults.struck() {
                    break;
                }
            }
            settle(&mut device);
            let is_either = device.looks_like(&old) || device.looks_like(&new);
            assert!(is_either, "{act:?} cut at {at} of {operations}:\n{:#?}", device.picture());
        }
    }
}

#[test]
fn a_disk_that_fills_up_at_any_instant_leaves_everything_as_it_was() {
    for act in ACTS {
        let (old, new, operations) = act.ends();
        for at in 0..operations {
            let mut device = act.device();
            let outcome = act.run(&mut device, &FailAt::new(Failure::FullDisk, at));
            let kind = match &outcome {
                Ok(InstallOutcome::RolledBack { failure, .. }) => failure.kind.clone(),
                Ok(_) => {
                    assert!(device.looks_like(&new), "{act:?} full at {at}");
                    continue;
                }
                // Somebody filled the disk when everything was final already.
                Err(InstallError::Unfinished(_)) => {
                    settle(&mut device);
                    assert!(device.looks_like(&new), "{act:?} full at {at}");
                    continue;
                }
                Err(error) => {
                    assert!(act != Act::Remove, "a reset is refused, full at {at}: {error}");
                    error.kind().to_owned()
                }
            };
            assert!(
                ["no_space", "unhealthy", "program_failed"].contains(&kind.as_str()),
                "{act:?} full at {at}: {outcome:?}"
            );
            assert!(device.looks_like(&old), "{act:?} full at {at}:\n{:#?}", device.picture());
            assert_eq!(device.resume(&FailAt::never()).unwrap(), None, "{act:?} full at {at}");
        }
    }
}

#[test]
fn a_disk_that_turns_read_only_is_said_and_settled_at_the_next_start() {
    for act in ACTS {
        let (old, new, operations) = act.ends();
        for at in (0..operations).step_by(3) {
            let mut device = act.device();
            let outcome = act.run(&mut device, &FailAt::new(Failure::ReadOnly, at));
            if at == 0 {
                assert_eq!(outcome.as_ref().unwrap_err().kind(), "read_only");
                assert!(device.looks_like(&old));
            }
            settle(&mut device);
            let is_either = device.looks_like(&old) || device.looks_like(&new);
            assert!(is_either, "{act:?} read-only at {at}:\n{:#?}", device.picture());
        }
    }
}

#[test]
fn install_update_and_reset_restore_the_device_as_it_left_the_factory() {
    let mut device = Device::new();
    let factory = device.picture();
    let never = FailAt::never();
    let (one, two) = (first(&device), second(&device));
    assert_eq!(device.install(&one, &never).unwrap(), InstallOutcome::Managed { version: 10 });
    assert_eq!(device.drift(), []);
    assert_eq!(device.install(&two, &never).unwrap(), InstallOutcome::Managed { version: 20 });
    assert_eq!(device.drift(), []);
    assert_eq!(device.uninstall(&never).unwrap(), InstallOutcome::Removed);
    assert_eq!(device.picture(), factory);
    assert_eq!(device.list_records(), ["blobs", "lock"]);
}

#[test]
fn installing_the_same_again_changes_nothing_but_the_start_of_the_dpc() {
    let mut device = Device::new();
    let payload = first(&device);
    let _ = device.install(&payload, &FailAt::never()).unwrap();
    let (picture, kept) = (device.picture(), device.list_records());
    let _ = device.install(&payload, &FailAt::never()).unwrap();
    assert_eq!((device.picture(), device.list_records()), (picture, kept));
}

#[test]
fn an_unhealthy_dpc_is_rolled_back_and_said() {
    let mut device = Act::UnhealthyUpdate.device();
    let old = device.picture();
    let outcome = Act::UnhealthyUpdate.run(&mut device, &FailAt::never()).unwrap();
    let InstallOutcome::RolledBack { version: Some(20), failure } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, "unhealthy");
    assert_eq!(failure.detail, "the DPC is not healthy: unit acme.service failed");
    assert_eq!(device.picture(), old);
}

#[test]
fn a_device_that_never_stays_up_is_taken_back_in_the_end() {
    let mut device = Device::new();
    let factory = device.picture();
    let payload = first(&device);
    let operations = Act::Install.ends().2;
    // The power goes whenever the DPC has just been started.
    let _ = device.install(&payload, &FailAt::new(Failure::PowerCut, operations * 2 / 3));
    let mut tries = 0;
    let outcome = loop {
        device.reboot();
        device.healthy = false;
        tries += 1;
        assert!(tries < 10);
        match device.resume(&FailAt::new(Failure::PowerCut, 5)) {
            Ok(Some(outcome)) => break outcome,
            Ok(None) => panic!("the journal is gone"),
            Err(_) if tries == 6 => break settle(&mut device).unwrap(),
            Err(_) => (),
        }
    };
    assert!(matches!(outcome, InstallOutcome::RolledBack { version: Some(10), .. }), "{outcome:?}");
    assert!(device.looks_like(&factory));
}
