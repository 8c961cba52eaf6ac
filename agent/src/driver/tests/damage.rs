//! Files that a disk damaged, or that were replaced by something else.

use super::*;

#[tokio::test]
async fn a_half_written_ledger_is_put_aside_and_the_device_comes_back() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let whole = world.ledger_bytes().unwrap();
    files::replace(&world.layout.ledger(), &whole[..whole.len() / 2], 0o640).unwrap();
    assert_eq!(world.stage("identity").await, Exit::Done);
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(world.scene().hellos.len(), 2, "it enrolls again");
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!(world.phase(), "managed");
    assert!(world.layout.ledger().with_extension("json.damaged").exists());
    assert!(world.paper.text().contains("records were damaged"));
    let floor = ledger::io::read(&world.layout).unwrap().floor.unwrap();
    assert_eq!((floor.generation, floor.payload_version), (Generation(2), Some(50)));

    // Not below the floor, although the ledger that recorded it was lost.
    files::replace(&world.layout.ledger(), b"", 0o640).unwrap();
    world.scene().version = 49;
    let older = world.scene().grant(FixedBytes([3; 32])).to_string();
    files::replace(&world.layout.grant(), older.as_bytes(), 0o600).unwrap();
    assert_eq!(world.stage("install").await, Exit::Administrator);
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(world.rejection().as_deref(), Some("payload_older"));
}

#[tokio::test]
async fn a_damaged_ledger_alone_costs_no_enrollment() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    files::replace(&world.layout.ledger(), b"", 0o640).unwrap();
    assert_eq!(world.run().await, Exit::Done, "the grant is still good");
    assert_eq!((world.phase(), world.installed_version()), ("managed", Some(50)));
    assert_eq!(world.scene().hellos.len(), 1);
}

#[tokio::test]
async fn nothing_that_the_network_side_does_keeps_root_from_a_reset() {
    for obstacle in OBSTACLES {
        let world = World::new();
        assert_eq!(world.run().await, Exit::Done);
        let exchange = world.layout.exchange();
        let names: Vec<_> = exchange.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        let more = [world.layout.pending_grant(), world.layout.reset_ticket(), world.layout.fetched_roots()];
        for path in names.iter().chain(&more) {
            files::discard(path).unwrap();
            put_in_the_way(obstacle, path);
            let staged = Sha256::of(path.file_name().unwrap().as_encoded_bytes()).to_string();
            put_in_the_way(obstacle, &exchange.join(format!(".unbox-{}", &staged[..16])));
        }
        assert_eq!(world.stage("install").await, Exit::Done, "{obstacle}");
        assert_eq!(world.reset(Some("rst_0123456789")).await, Exit::Done, "{obstacle}");
        assert!(!world.artifact_is_installed() && world.phase() == "unenrolled", "{obstacle}");
        assert_eq!(world.run().await, Exit::Done, "{obstacle}");
        assert_eq!(world.phase(), "managed", "{obstacle}");
    }
    // A lock that is never released.
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.scene().version = 60;
    world.scene().sends_payload = true;
    assert_eq!(world.stage("check-in").await, Exit::Done);
    let _held = world.session().lock_exchange().unwrap().unwrap();
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!(world.installed_version(), Some(60));
    assert_eq!(world.reset(None).await, Exit::Done);
    assert_eq!((world.phase(), world.artifact_is_installed()), ("unenrolled", false));
}

/// Objects that an ordinary user may put where a file is expected.
pub(super) const OBSTACLES: [&str; 5] = ["directory", "FIFO", "socket", "link", "dangling link"];

pub(super) fn put_in_the_way(obstacle: &str, path: &Path) {
    files::discard(path).unwrap();
    match obstacle {
        "directory" => std::fs::create_dir_all(path.join("below/it")).unwrap(),
        "FIFO" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        "socket" => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        "link" => std::os::unix::fs::symlink("/etc/shadow", path).unwrap(),
        _ => std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(),
    }
}

/// Every file and directory that the privileged side keeps on a managed device, below its state directory.
const PRIVILEGED: [&str; 11] = [
    "ledger.json",
    "floor.json",
    "signing-roots.json",
    "outcome.json",
    "enrolled",
    "install/installed.json",
    "install/installed.copy.json",
    "install/journal.jsonl",
    "install/reserve",
    "install/blobs",
    "install",
];

/// Every file and directory that the network side keeps.
const NETWORK: [&str; 11] = [
    "exchange/device.key",
    "exchange/machine.json",
    "exchange/grant.json",
    "exchange/grant.pending.json",
    "exchange/enrollment.json",
    "exchange/queue.json",
    "exchange/reset-ticket",
    "exchange/signing-roots.json",
    "exchange/status.json",
    "exchange/artifacts",
    "exchange",
];

/// The kinds of damage.
const DAMAGES: [&str; 6] = ["emptied", "zeros", "cut in half", "of another version", "unreadable", "FIFO"];

fn damage(how: &str, path: &Path) {
    let before = files::read(path, 1 << 20).ok().flatten().unwrap_or_else(|| b"{\"half\": \"a doc".to_vec());
    let bytes = match how {
        "emptied" => Vec::new(),
        "zeros" => vec![0; before.len()],
        "cut in half" => before[..before.len() / 2].to_vec(),
        "of another version" => b"{\"version\": 99, \"format\": 99}\n".to_vec(),
        // Root can read every file, so an unreadable one is a directory.
        "unreadable" => return put_in_the_way("directory", path),
        obstacle => return put_in_the_way(obstacle, path),
    };
    files::replace(path, &bytes, 0o600).unwrap();
}

#[tokio::test]
async fn a_device_comes_back_from_every_damage_to_the_records_of_the_privileged_side() {
    comes_back(&PRIVILEGED).await;
}

#[tokio::test]
async fn a_device_comes_back_from_every_damage_to_the_files_of_the_network_side() {
    comes_back(&NETWORK).await;
}

/// Checks that the device recovers by itself, or by a reset where only that is safe; and that a reset
/// always works.
async fn comes_back(files: &[&str]) {
    for file in files {
        for how in DAMAGES {
            let case = format!("{file} {how}");
            let world = World::new();
            (world.scene().signer, world.scene().roots) = (3, 3);
            assert_eq!(world.run().await, Exit::Done);
            damage(how, &world.layout.state().join(file));
            let by_itself = match (*file, how) {
                ("ledger.json" | "exchange/device.key", "of another version") => Exit::Fatal,
                ("install/installed.json" | "install/journal.jsonl", "of another version") => {
                    Exit::Administrator
                }
                _ => Exit::Done,
            };
            let ended = world.run().await;
            assert_eq!(ended, by_itself, "{case}: {}", world.paper.text());
            if ended == Exit::Done {
                assert_eq!((world.phase(), world.installed_version()), ("managed", Some(50)), "{case}");
                assert!(world.artifact_is_installed() && world.layout.enrolled_marker().is_file(), "{case}");
                // Repairs last.
                let (hellos, ledger) = (world.scene().hellos.len(), world.ledger_bytes());
                assert_eq!(world.run().await, Exit::Done, "{case}");
                assert_eq!((world.scene().hellos.len(), world.ledger_bytes()), (hellos, ledger), "{case}");
            } else {
                let said = world.paper.text();
                let kinds = ["ledger_newer", "key_unusable", "install_state_unusable"];
                assert!(kinds.iter().any(|kind| said.contains(&format!("Code: {kind}"))), "{case}: {said}");
            }
            damage(how, &world.layout.state().join(file));
            // A newer agent's records are given up only where somebody says so.
            let mut confirm = |_: &str| true;
            let forget_newer: Option<&mut dyn FnMut(&str) -> bool> =
                if how == "of another version" { Some(&mut confirm) } else { None };
            let reset = reset::Reset { ticket_file: None, forget_newer };
            assert_eq!(world.reset_by(reset).await, Exit::Done, "{case}: {}", world.paper.text());
            assert_eq!(world.run().await, Exit::Done, "{case}: {}", world.paper.text());
            assert_eq!((world.phase(), world.installed_version()), ("managed", Some(50)), "{case}");
        }
    }
}

#[tokio::test]
async fn a_stage_that_may_not_mend_the_network_sides_folder_says_what_does() {
    for obstacle in ["FIFO", "dangling link"] {
        let world = World::new();
        assert_eq!(world.run().await, Exit::Done);
        put_in_the_way(obstacle, &world.layout.exchange());
        assert_eq!(world.stage("identity").await, Exit::Administrator, "{obstacle}");
        let said = world.paper.text();
        assert!(said.contains("Code: state_damaged") && said.contains("`unbox-agent reset`"), "{said}");
        assert_eq!(world.reset(None).await, Exit::Done, "{obstacle}");
        assert_eq!(world.stage("identity").await, Exit::Done, "{obstacle}");
        assert_eq!(world.run().await, Exit::Done, "{obstacle}");
        assert_eq!(world.phase(), "managed", "{obstacle}");
    }
}

#[tokio::test]
async fn a_reset_names_the_way_on_from_a_newer_record_of_what_is_installed() {
    for name in ["installed.json", "journal.jsonl"] {
        let world = World::new();
        assert_eq!(world.run().await, Exit::Done);
        let path = world.layout.state().join("install").join(name);
        files::replace(&path, b"{\"format\":9}\n", 0o600).unwrap();
        assert_eq!(world.reset(None).await, Exit::Administrator);
        let said = world.paper.text();
        assert!(said.contains("`unbox-agent reset --forget-newer`"), "{name}: {said}");
        assert!(world.artifact_is_installed() && world.layout.enrollment().exists(), "{name}");
        let mut confirm = |_: &str| true;
        let how = reset::Reset { ticket_file: None, forget_newer: Some(&mut confirm) };
        assert_eq!(world.reset_by(how).await, Exit::Done, "{name}");
        assert_eq!(world.phase(), "unenrolled", "{name}");
    }
}

#[tokio::test]
async fn the_records_of_a_newer_agent_are_given_up_only_when_somebody_says_so() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let newer = b"{\"version\": 2, \"phase\": \"elsewhere\"}";
    files::replace(&world.layout.ledger(), newer, 0o640).unwrap();
    let unchanged = |world: &World| {
        assert_eq!(world.ledger_bytes().unwrap(), newer);
        assert!(world.artifact_is_installed() && world.layout.enrollment().exists());
    };
    assert_eq!(world.reset(None).await, Exit::Fatal);
    assert!(world.paper.text().contains("`unbox-agent reset --forget-newer`"), "{}", world.paper.text());
    unchanged(&world);
    let mut asked = String::new();
    let mut refuse = |what: &str| {
        what.clone_into(&mut asked);
        false
    };
    let how = reset::Reset { ticket_file: None, forget_newer: Some(&mut refuse) };
    assert_eq!(world.reset_by(how).await, Exit::Fatal);
    unchanged(&world);
    assert!(asked.contains("ledger.json") && asked.contains("What is installed is taken away"), "{asked}");
    let mut confirm = |_: &str| true;
    let how = reset::Reset { ticket_file: None, forget_newer: Some(&mut confirm) };
    assert_eq!(world.reset_by(how).await, Exit::Done);
    assert!(!world.artifact_is_installed() && world.phase() == "unenrolled");
    assert_eq!(std::fs::read(world.layout.state().join("ledger.json.newer")).unwrap(), newer);
    // The floor survives: nothing older is installed.
    world.scene().version = 49;
    assert_eq!(world.run().await, Exit::Administrator);
    assert_eq!(world.rejection().as_deref(), Some("payload_older"));
}
