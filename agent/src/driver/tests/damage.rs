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
const NETWORK: [&str; 12] = [
    "exchange/device.key",
    "exchange/machine.json",
    "exchange/grant.json",
    "exchange/grant.pending.json",
    "exchange/enrollment.json",
    "exchange/queue.json",
    "exchange/reset-ticket",
    "exchange/signing-roots.json",
    "exchange/status.json",
    "exchange/pace.json",
    "exchange/artifacts",
    "exchange",
];

/// The kinds of damage.
const DAMAGES: [&str; 6] = ["emptied", "zeros", "cut in half", "of another version", "directory", "FIFO"];

fn damage(how: &str, path: &Path) {
    let before = files::read(path, 1 << 20).ok().flatten().unwrap_or_else(|| b"{\"half\": \"a doc".to_vec());
    let bytes = match how {
        "emptied" => Vec::new(),
        "zeros" => vec![0; before.len()],
        "cut in half" => before[..before.len() / 2].to_vec(),
        "of another version" => b"{\"version\": 99, \"format\": 99}\n".to_vec(),
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
async fn a_managed_device_whose_enrollment_is_lost_enrolls_again_with_its_next_report() {
    for how in ["removed", "emptied", "directory"] {
        let world = World::new();
        assert_eq!(world.run().await, Exit::Done);
        match how {
            "removed" => files::discard(&world.layout.enrollment()).unwrap(),
            how => damage(how, &world.layout.enrollment()),
        }
        // The unit of the handshake does not start: the marker is there.
        assert!(world.layout.enrolled_marker().exists());
        for stage in ["identity", "report", "install", "report"] {
            assert_eq!(world.stage(stage).await, Exit::Done, "{how} {stage}: {}", world.paper.text());
        }
        assert_eq!((world.scene().hellos.len(), world.phase()), (2, "managed"), "{how}");
    }
}

/// The user of the network side, as long as this lives.
struct NetworkUser;

impl NetworkUser {
    /// Id of the user and of the group.
    const ID: u32 = 65534;

    fn become_it() -> Self {
        nix::unistd::setegid(Self::ID.into()).unwrap();
        nix::unistd::seteuid(Self::ID.into()).unwrap();
        Self
    }
}

impl Drop for NetworkUser {
    fn drop(&mut self) {
        nix::unistd::seteuid(0.into()).unwrap();
        nix::unistd::setegid(0.into()).unwrap();
    }
}

/// Gives a folder and everything below it to the network side.
fn hand_to_network_user(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NetworkUser::ID), Some(NetworkUser::ID)).unwrap();
    for entry in path.read_dir().into_iter().flatten() {
        hand_to_network_user(&entry.unwrap().path());
    }
}

#[tokio::test]
#[ignore = "needs root, and a process of its own: it becomes another user"]
async fn a_device_comes_back_from_files_that_the_network_side_may_not_read() {
    let files_of_network = NETWORK.iter().filter(|file| file.contains('.'));
    for file in files_of_network.chain(&["ledger.json", "outcome.json"]) {
        let world = World { is_unit: true, ..World::new() };
        let group = format!("root:x:0:\nunbox:x:{}:\n", NetworkUser::ID);
        files::replace(&world.root.join("etc/group"), group.as_bytes(), 0o644).unwrap();
        assert_eq!(world.run().await, Exit::Done);
        hand_to_network_user(&world.layout.exchange());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&world.root, open).unwrap();
        let stage = async |stage: &str| {
            let user = ["handshake", "check-in", "report"].contains(&stage).then(NetworkUser::become_it);
            let ended = world.stage(stage).await;
            drop(user);
            ended
        };
        assert_eq!(stage("check-in").await, Exit::Done, "{file}: {}", world.paper.text());

        let path = world.layout.state().join(file);
        let content = files::read(&path, 1 << 20).unwrap().unwrap_or_default();
        files::replace(&path, &content, 0o600).unwrap();
        let user = NetworkUser::become_it();
        assert!(files::read(&path, 1 << 20).is_err(), "{file}");
        drop(user);
        if *file == "exchange/device.key" {
            // It may be somebody else's, and what is installed depends on it: a person decides.
            assert_eq!(stage("check-in").await, Exit::Administrator);
            assert!(world.paper.text().contains("Code: key_unusable"), "{}", world.paper.text());
            assert_eq!(world.reset(None).await, Exit::Done);
        }
        for version in [50, 60] {
            world.scene().version = version;
            world.scene().sends_payload = version > 50;
            for name in ["identity", "handshake", "check-in", "install", "report"] {
                assert_eq!(stage(name).await, Exit::Done, "{file} {name}: {}", world.paper.text());
            }
            assert_eq!((world.phase(), world.installed_version()), ("managed", Some(version)), "{file}");
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
