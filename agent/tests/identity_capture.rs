//! A captured machine shows what the machine itself shows, byte for byte, and no secret of it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use unbox_agent::{
    boot::Layout,
    files,
    identity::{
        State, SurveyReport,
        io::{CaptureError, capture, survey},
        survey_text,
    },
};
use unbox_common::models::Models;

fn fixtures() -> impl Iterator<Item = PathBuf> {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    machines.read_dir().unwrap().map(|entry| entry.unwrap().path())
}

/// Everything that a survey says, as people and as programs read it.
async fn describe(root: &Path) -> (String, String) {
    let survey = survey(&Layout::new(root)).await;
    (
        survey_text(&survey, Models::built_in()),
        serde_json::to_string_pretty(&SurveyReport::new(&survey, Models::built_in())).unwrap(),
    )
}

fn every_file(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap().file_type() {
            kind if kind.is_dir() => files.extend(every_file(&path)),
            kind if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    files
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    files::replace(&path, bytes, files::PUBLIC_FILE).unwrap();
}

/// A machine with a secret wherever its sources may hold one.
fn machine_with_secrets() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let strings = |texts: &[&str]| texts.join("\0") + "\0\0";
    let mut table = vec![1, 27, 0, 1, 1, 2, 0, 3];
    table.extend([0x11; 16]);
    table.extend([6, 0, 0]);
    table.extend(strings(&["Acme", "Gateway 3", "AB12"]).bytes());
    table.extend([11, 5, 0, 2, 3]);
    let free = ["batch 17", "io.systemd.credential:unbox.token=sesame", "wifi.password=sesame"];
    table.extend(strings(&free).bytes());
    table.extend([127, 4, 0, 3, 0, 0]);
    write(root.path(), "sys/firmware/dmi/tables/DMI", &table);
    write(
        root.path(),
        "sys/firmware/dmi/tables/smbios_entry_point",
        b"_SM3_\0\x18\x03\x04\0\x01\0\xff\0\0\0\0\0\0\0\0\0\0\0",
    );
    write(root.path(), "sys/firmware/vpd/ro/serial_number", b"AB12");
    write(root.path(), "sys/firmware/vpd/ro/stable_device_secret_DO_NOT_SHARE", b"sesame");
    let entry = |key: &str, value: &str| {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        [&[1, length(key)], key.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    let partition =
        [entry("serial_number", "AB12"), entry("stable_device_secret_DO_NOT_SHARE", "sesame"), vec![0]];
    write(root.path(), "sys/firmware/vpd/ro_raw", &partition.concat());
    write(root.path(), "sys/firmware/vpd/rw_raw", b"\x01\x7fgbind_attribute sesame");
    for path in ["etc/unbox/token", "etc/wpa_supplicant.conf", "var/lib/unbox/exchange/device.key"] {
        write(root.path(), path, b"sesame");
    }
    root
}

#[tokio::test]
async fn a_captured_machine_shows_the_same() {
    for machine in fixtures() {
        let name = machine.file_name().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        capture(&Layout::new(&machine), folder.path()).await.unwrap();
        assert_eq!(describe(folder.path()).await, describe(&machine).await, "{name:?}");
        // Once more, from the capture itself.
        let again = tempfile::tempdir().unwrap();
        capture(&Layout::new(folder.path()), again.path()).await.unwrap();
        assert_eq!(describe(again.path()).await, describe(&machine).await, "{name:?}, captured twice");
    }
}

#[tokio::test]
async fn this_machine_captured_shows_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let own = capture(&Layout::new("/"), folder.path()).await.unwrap();
    let json = serde_json::to_string_pretty(&SurveyReport::new(&own, Models::built_in())).unwrap();
    assert_eq!(describe(folder.path()).await, (survey_text(&own, Models::built_in()), json));
}

#[tokio::test]
async fn no_secret_gets_into_a_capture() {
    let machine = machine_with_secrets();
    let folder = tempfile::tempdir().unwrap();
    capture(&Layout::new(machine.path()), folder.path()).await.unwrap();
    let files = every_file(folder.path());
    assert!(files.len() > 4, "{files:?}");
    for file in &files {
        let bytes = fs::read(file).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"sesame"), "{}", file.display());
    }
    let (text, json) = describe(folder.path()).await;
    assert_eq!((text.clone(), json), describe(machine.path()).await);
    assert!(text.contains("batch 17") && !text.contains("sesame"), "{text}");
}

#[tokio::test]
async fn what_could_not_be_read_could_not_be_read_in_the_capture_either() {
    let machine = machine_with_secrets();
    // A cut table, a folder in place of a file, and a file that is too large.
    write(machine.path(), "sys/firmware/dmi/tables/DMI", &[1, 27, 0, 1, 1]);
    fs::create_dir_all(machine.path().join("sys/class/dmi/id/product_serial")).unwrap();
    write(machine.path(), "sys/class/dmi/id/sys_vendor", &[b'x'; 5000]);
    let folder = tempfile::tempdir().unwrap();
    let own = capture(&Layout::new(machine.path()), folder.path()).await.unwrap();
    assert_eq!(describe(folder.path()).await, describe(machine.path()).await);
    let states: Vec<_> = own.unreadable.iter().map(|one| (one.from.as_str(), one.state)).collect();
    assert_eq!(
        states,
        [
            ("/sys/firmware/dmi/tables/DMI", State::Invalid),
            ("/sys/class/dmi/id/sys_vendor", State::Invalid),
            ("/sys/class/dmi/id/product_serial", State::Invalid),
            ("/sys/firmware/vpd/rw_raw", State::Invalid),
        ]
    );
}

#[tokio::test]
async fn a_capture_is_its_owners_alone_and_never_mixes_two_machines() {
    let machine = machine_with_secrets();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("unit-1");
    capture(&Layout::new(machine.path()), &folder).await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in every_file(&folder) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
    }
    let before = every_file(&folder);
    let refused = capture(&Layout::new(machine.path()), &folder).await;
    assert!(matches!(refused, Err(CaptureError::NotEmpty(_))), "{refused:?}");
    assert_eq!(every_file(&folder), before);

    let file = parent.path().join("file");
    write(parent.path(), "file", b"kept");
    let refused = capture(&Layout::new(machine.path()), &file).await;
    assert!(matches!(refused, Err(CaptureError::Unusable { .. })), "{refused:?}");
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

#[tokio::test]
async fn a_damaged_capture_says_so() {
    let machine = machine_with_secrets();
    let folder = tempfile::tempdir().unwrap();
    capture(&Layout::new(machine.path()), folder.path()).await.unwrap();
    write(folder.path(), "unbox/capture.json", b"{");
    let damaged = survey(&Layout::new(folder.path())).await;
    assert_eq!(damaged.unreadable[0].from, "/unbox/capture.json");
    assert_eq!(damaged.unreadable[0].state, State::Invalid);
}

#[tokio::test]
async fn a_link_out_of_a_capture_leads_nowhere() {
    let machine = tempfile::tempdir().unwrap();
    let interface = "sys/class/net/eth0";
    write(machine.path(), &format!("{interface}/type"), b"1\n");
    write(machine.path(), &format!("{interface}/address"), b"00:16:3e:00:00:01\n");
    write(machine.path(), &format!("{interface}/addr_assign_type"), b"0\n");
    symlink("/", machine.path().join(interface).join("device")).unwrap();
    let survey = survey(&Layout::new(machine.path())).await;
    assert_eq!(survey.accepted, []);
}
