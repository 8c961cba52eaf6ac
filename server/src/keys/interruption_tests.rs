//! Tests of changes of keys that cannot be made, or were cut off: in the end all files agree with each other.

use super::{
    anchors::{self, Reached},
    io::{KeyLock, certificates, former_device_cas, load_authority, load_roots},
    *,
};
use crate::{
    entropy::SystemEntropy,
    files::{self, PRIVATE_FILE, cut},
};
use std::{fs, time::SystemTime};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

type Command = fn(&Layout) -> Result<(), KeyError>;

/// Every command that changes keys.
const COMMANDS: [Command; 9] = [
    rotate_payload_key,
    retire_payload_keys,
    rotate_root_key,
    renew_server,
    rotate_device_ca,
    retire_device_cas,
    rotate_anchors,
    add_anchor,
    retire_anchors,
];

fn names() -> Vec<String> {
    vec!["enroll.example.com".to_owned()]
}

fn rotate_payload_key(layout: &Layout) -> Result<(), KeyError> {
    rotate::rotate_payload_key(layout, None, &SystemEntropy::new()).map(drop)
}

fn retire_payload_keys(layout: &Layout) -> Result<(), KeyError> {
    rotate::retire_payload_keys(layout, None).map(drop)
}

fn rotate_root_key(layout: &Layout) -> Result<(), KeyError> {
    rotate::rotate_root_key(layout, None, None, &SystemEntropy::new()).map(drop)
}

fn renew_server(layout: &Layout) -> Result<(), KeyError> {
    rotate::renew_server(layout, &names(), NOW, &SystemEntropy::new())
}

fn rotate_device_ca(layout: &Layout) -> Result<(), KeyError> {
    rotate::rotate_device_ca(layout, NOW, &SystemEntropy::new())
}

fn retire_device_cas(layout: &Layout) -> Result<(), KeyError> {
    rotate::retire_device_cas(layout)
}

fn rotate_anchors(layout: &Layout) -> Result<(), KeyError> {
    anchors::rotate(layout, &names(), None, NOW, &SystemEntropy::new()).map(drop)
}

fn add_anchor(layout: &Layout) -> Result<(), KeyError> {
    anchors::add(layout, &layout.device_ca(), None).map(drop)
}

fn retire_anchors(layout: &Layout) -> Result<(), KeyError> {
    let (certificate, names) = (layout.server_certificate(), names());
    let reached = Reached { certificate: &certificate, names: &names };
    anchors::retire(layout, reached, None, NOW, &SystemEntropy::new()).map(drop)
}

fn make_server() -> (TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("server"));
    let founding = Founding { names: names(), url: "https://enroll.example.com".to_owned() };
    initialise(&layout, &founding, NOW, &SystemEntropy::new()).unwrap();
    (dir, layout)
}

fn tree(layout: &Layout) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for dir in [layout.dir().to_owned(), layout.keys(), layout.roots(), layout.trust()] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
    files.sort();
    files
}

/// Cuts a command off after each of its changes but the last, always on a fresh server, and runs it again.
/// Returns the number of its changes.
fn cut_everywhere(before: &[Command], command: Command, check: impl Fn(&Layout)) -> u32 {
    let prepared = || {
        let (dir, layout) = make_server();
        for command in before {
            command(&layout).unwrap();
        }
        (dir, layout)
    };
    let is_whole = |changes: &u32| {
        let (_dir, layout) = prepared();
        cut::fail_after(*changes, || command(&layout)).is_ok()
    };
    let changes = (1..=10).find(is_whole).unwrap() - 1;
    for cut_after in 1..changes {
        let (_dir, layout) = prepared();
        cut::fail_after(cut_after, || command(&layout)).unwrap_err();
        command(&layout).unwrap_or_else(|error| panic!("cut off after {cut_after}: {error}"));
        let faults = faults(&layout);
        assert!(faults.is_empty(), "cut off after {cut_after}: {faults:?}");
        check(&layout);
    }
    changes
}

/// The numbers of roots, of payload keys and of root keys.
fn count_trusted(layout: &Layout) -> (u64, usize, usize) {
    let summary = survey(layout, &layout.server_certificate()).unwrap();
    (summary.root_version, summary.payload_keys.len(), summary.root_keys.len())
}

#[test]
fn a_payload_key_is_rotated_and_retired_once_wherever_that_is_cut_off() {
    let changes = cut_everywhere(&[], rotate_payload_key, |layout| {
        assert_eq!(count_trusted(layout), (2, 2, 1));
    });
    assert_eq!(changes, 3, "the key, the root, and the root for images");
    let changes = cut_everywhere(&[rotate_payload_key], retire_payload_keys, |layout| {
        assert_eq!(count_trusted(layout), (3, 1, 1));
        assert!(!layout.payload_key(1).exists() && layout.payload_key(2).exists());
        assert!(matches!(retire_payload_keys(layout), Err(KeyError::NothingToRetire)));
    });
    assert_eq!(changes, 3);
}

#[test]
fn a_root_key_is_rotated_once_wherever_that_is_cut_off() {
    let changes = cut_everywhere(&[], rotate_root_key, |layout| {
        assert_eq!(count_trusted(layout), (2, 1, 1));
        rotate_payload_key(layout).unwrap();
    });
    assert_eq!(changes, 3);
}

#[test]
fn a_device_authority_is_rotated_once_wherever_that_is_cut_off() {
    let changes = cut_everywhere(&[], rotate_device_ca, |layout| {
        let [former] = former_device_cas(layout).unwrap().try_into().unwrap();
        assert_ne!(load_authority(&layout.device_ca()).unwrap().certificate(), &former);
    });
    assert_eq!(changes, 2);
}

#[test]
fn anchors_are_rotated_and_retired_once_wherever_that_is_cut_off() {
    let named = |layout: &Layout| anchors::anchors_in_force(layout, &load_roots(layout).unwrap()).unwrap();
    let chain = |layout: &Layout| certificates(&layout.server_certificate()).unwrap().len();
    let changes = cut_everywhere(&[], rotate_anchors, |layout| {
        let [old, new] = named(layout).try_into().unwrap();
        let own = load_authority(&layout.tls_ca()).unwrap();
        assert_eq!((own.certificate(), own.has_former(), chain(layout)), (&new, true, 2));
        assert_eq!(certificates(&layout.trusted_anchors()).unwrap(), [old, new]);
        assert_eq!(count_trusted(layout).0, 2);
        assert!(!layout.next_tls_ca().exists());
    });
    assert_eq!(changes, 6);
    let changes = cut_everywhere(&[rotate_anchors], retire_anchors, |layout| {
        let own = load_authority(&layout.tls_ca()).unwrap();
        assert_eq!((own.has_former(), chain(layout)), (false, 1));
        for anchors in [named(layout), certificates(&layout.trusted_anchors()).unwrap()] {
            assert_eq!(anchors, [own.certificate().clone()]);
        }
        assert!(anchors::devices_accept_file(layout, &layout.server_certificate(), NOW).unwrap());
        assert_eq!(count_trusted(layout).0, 3);
        assert!(matches!(retire_anchors(layout), Err(KeyError::NoFormerAnchor)));
    });
    assert_eq!(changes, 5);
    let changes = cut_everywhere(&[], add_anchor, |layout| {
        assert_eq!((count_trusted(layout).0, named(layout).len()), (2, 2));
    });
    assert_eq!(changes, 3);
}

#[test]
fn no_anchor_is_retired_while_their_rotation_is_unfinished() {
    for changes in 2..6 {
        let (_dir, layout) = make_server();
        cut::fail_after(changes, || rotate_anchors(&layout)).unwrap_err();
        let before = tree(&layout);
        assert!(matches!(retire_anchors(&layout), Err(KeyError::Unfinished(_))), "{changes}");
        assert_eq!(tree(&layout), before);
        assert!(faults(&layout).iter().any(|fault| matches!(fault, KeyError::Unfinished(_))));
        assert!(anchors::devices_accept_file(&layout, &layout.server_certificate(), NOW).unwrap());
        assert!(io::load(&layout).is_ok(), "it is served all the same");
    }
}

#[test]
fn a_missing_root_is_named_and_its_chain_is_never_continued() {
    for lost in 1..=3 {
        let (_dir, layout) = make_server();
        rotate_payload_key(&layout).unwrap();
        rotate_payload_key(&layout).unwrap();
        fs::remove_file(layout.root(lost)).unwrap();
        let before = tree(&layout);
        let is_named = |error: &KeyError| matches!(error, KeyError::RootMissing { path, newest: 3 } if *path == layout.root(lost));
        for (number, command) in COMMANDS.iter().enumerate() {
            let refused = command(&layout).unwrap_err();
            assert!(is_named(&refused), "root {lost}, command {number}: {refused}");
        }
        assert!(is_named(&io::load(&layout).err().unwrap()), "the server does not start");
        let faults = faults(&layout);
        assert!(faults.len() == 1 && faults.iter().all(is_named), "{faults:?}");
        assert_eq!(tree(&layout), before);
    }
}

#[test]
fn only_one_command_changes_keys_at_a_time() {
    let (_dir, layout) = make_server();
    let before = tree(&layout);
    let lock = KeyLock::take(&layout).unwrap();
    for command in COMMANDS {
        assert!(matches!(command(&layout), Err(KeyError::Busy(_))));
    }
    drop(lock);
    assert_eq!(tree(&layout), before);
    rotate_payload_key(&layout).unwrap();
}

#[test]
fn keys_that_a_crash_left_half_written_are_removed_by_the_next_command() {
    let (_dir, layout) = make_server();
    let left = layout.keys().join(".new-AbCdEf");
    files::write_new(&left, b"a private key", PRIVATE_FILE).unwrap();
    fs::File::options().write(true).open(&left).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    rotate_payload_key(&layout).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_missing_file_is_told_with_the_step_that_helps() {
    let (dir, layout) = make_server();
    let told = io::load(&Layout::new(dir.path().join("nowhere"))).err().unwrap();
    assert!(matches!(told, KeyError::Missing(_)) && told.to_string().contains("--dir"), "{told}");
    let typo = dir.path().join("root-l.pem");
    let told = rotate::rotate_payload_key(&layout, Some(&typo), &SystemEntropy::new()).unwrap_err();
    assert!(matches!(&told, KeyError::NoFile(path) if *path == typo), "{told}");
    fs::remove_file(layout.device_ca()).unwrap();
    let told = io::load(&layout).err().unwrap();
    assert!(matches!(told, KeyError::Lost(_)) && told.to_string().contains("from a backup"), "{told}");
}
