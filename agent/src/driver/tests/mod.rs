//! The commands against a small honest server that can be told to misbehave: the files on the device, the
//! messages to the server, and the state that a refusal must not change.

mod damage;
mod foreign;
mod machine;
mod pace;
mod turns;
mod units;

use super::{reset, round, round::When, run, session::Session, stages};
use crate::{
    boot::{Layout, StartingPoint, trust_fixtures::signed_root},
    clock::{self, Stopwatch, Waits},
    console::{Console, tests::Paper},
    exit::Exit,
    files,
    handshake::certificate_of_spki,
    identity,
    ledger::{self, Phase},
    payload::fixtures,
    report::OutcomeFile,
    test_server::{Reply, Request, TestServer},
};
use damage::{OBSTACLES, put_in_the_way};
use serde_json::{Value, json};
use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use unbox_common::{
    bytes::{Bytes, FixedBytes, Nonce},
    digest::Sha256,
    ids::{DeviceId, Generation},
    payload::{Artifact, Payload},
    protocol::{
        latest::{CheckIn, Hello, Outcome, ProofKind, Report},
        problem::Problem,
    },
    refusal::RefusalKind,
    timestamp::Timestamp,
};

const ARTIFACT: &[u8] = b"the bytes of an artifact";

/// A path below a file.
const IMPOSSIBLE: Option<&str> = Some("/opt/keep/below");

/// A callback that receives the path of every message.
type Hears = Box<dyn Fn(&str) + Send>;
/// A callback that changes the scene before every message.
type Shuffles = Box<dyn FnMut(&mut Scene) + Send>;

/// The server's behaviour, and the messages it received.
struct Scene {
    /// Version of the payload on offer.
    version: u64,
    /// The number of the root whose payload key signs.
    signer: u8,
    /// The number of roots sent along.
    roots: u8,
    /// The device that the payload is for.
    device: i64,
    /// A path in the payload that this device cannot have.
    impossible: Option<&'static str>,
    /// True if artifacts can be fetched.
    has_artifacts: bool,
    /// Another host that the payload names for its artifact.
    host: Option<String>,
    /// The lifetime of certificates.
    certified_for: Duration,
    /// The time by which the server's clock is ahead of the device's.
    ahead: Duration,
    /// The refusal sent in answer to every message.
    refusal: Option<Problem>,
    /// The required token.
    token: Option<&'static str>,
    /// The commands in the answer to the next check-in.
    commands: Vec<&'static str>,
    /// Receives the path of every message.
    on_message: Option<Hears>,
    /// Changes the scene before every message.
    shuffle: Option<Shuffles>,
    sends_payload: bool,
    /// True if the device's certificate belongs to an enrollment that is over.
    is_over: bool,
    generation: u64,
    hello: Option<Hello>,
    hellos: Vec<Hello>,
    proofs: Vec<Value>,
    reports: Vec<Report>,
    check_ins: Vec<CheckIn>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            version: 50,
            signer: 1,
            roots: 1,
            device: 7,
            impossible: None,
            has_artifacts: true,
            host: None,
            certified_for: Duration::from_hours(24 * 90),
            ahead: Duration::ZERO,
            refusal: None,
            token: None,
            commands: Vec::new(),
            on_message: None,
            shuffle: None,
            sends_payload: false,
            is_over: false,
            generation: 0,
            hello: None,
            hellos: Vec::new(),
            proofs: Vec::new(),
            reports: Vec::new(),
            check_ins: Vec::new(),
        }
    }
}

impl Scene {
    fn answer(&mut self, request: &Request) -> Reply {
        let path = request.line.split(' ').nth(1).unwrap();
        if let Some(heard) = self.on_message.as_ref().filter(|_| path.starts_with("/device/")) {
            heard(path);
        }
        if let Some(mut shuffle) = self.shuffle.take() {
            shuffle(self);
            self.shuffle = Some(shuffle);
        }
        if let Some(problem) = &self.refusal {
            return Reply::problem(problem);
        }
        match path {
            "/device/v1/hello" => {
                let hello: Hello = serde_json::from_slice(&request.body).unwrap();
                let proof = if hello.proofs.contains(&ProofKind::Token) { "token" } else { "identifiers" };
                self.hello = Some(hello.clone());
                self.hellos.push(hello);
                if self.token.is_some() && proof != "token" {
                    return Reply::problem(&Problem::new(RefusalKind::ProofRequired));
                }
                let ticket = Bytes(b"ticket".to_vec());
                Reply::json(&json!({"ticket": ticket, "nonce": FixedBytes([2; 32]), "proof": proof}))
            }
            "/device/v1/prove" => {
                let proof: Value = serde_json::from_slice(&request.body).unwrap();
                let is_wanted = self.token.is_none_or(|token| proof["token"] == token);
                self.proofs.push(proof);
                if !is_wanted {
                    return Reply::problem(&Problem::new(RefusalKind::RevokedToken));
                }
                self.generation += 1;
                self.is_over = false;
                let hello = self.hello.clone().unwrap();
                Reply::json(&self.grant(hello.nonce))
            }
            "/device/v1/report" | "/device/v1/check-in" if self.is_over => {
                Reply::problem(&Problem::new(RefusalKind::ProofRequired))
            }
            "/device/v1/report" => {
                let report: Report = serde_json::from_slice(&request.body).unwrap();
                let sequence = report.entries.last().map_or(0, |entry| entry.sequence);
                self.reports.push(report);
                Reply::json(&json!({"sequence": sequence, "server_time": clock::system()}))
            }
            "/device/v1/check-in" => {
                let check_in: CheckIn = serde_json::from_slice(&request.body).unwrap();
                let mut news = self.grant(check_in.nonce);
                let renews = check_in.renew_certificate;
                self.check_ins.push(check_in);
                if !self.sends_payload {
                    news["payload"] = Value::Null;
                }
                if !renews {
                    news["certificate_chain"] = json!([]);
                }
                news["commands"] = json!(std::mem::take(&mut self.commands));
                Reply::json(&news)
            }
            _ if self.has_artifacts => Reply::with("200 OK", &[], ARTIFACT),
            _ => Reply::with("503 Busy", &[("retry-after", "1")], b""),
        }
    }

    fn grant(&self, nonce: Nonce) -> Value {
        let key = &self.hello.as_ref().unwrap().device_key;
        let now = clock::system().max(clock::build_date()).plus(self.ahead);
        let certificate =
            certificate_of_spki(key, now.minus(Duration::from_hours(1)), now.plus(self.certified_for));
        let mut grant = fixtures::grant(&self.payload(nonce), self.signer);
        grant.roots = (2..=self.roots).map(signed_root).collect();
        grant.certificate_chain = vec![certificate];
        serde_json::to_value(grant).unwrap()
    }

    fn payload(&self, nonce: Nonce) -> Payload {
        let url = self.host.as_ref().map(|host| format!("{host}/artifact").parse().unwrap());
        let artifact = Artifact { sha256: Sha256::of(ARTIFACT), size: ARTIFACT.len() as u64, url };
        let mut payload = fixtures::payload(self.version, &[artifact]);
        if let Some(path) = self.impossible {
            let below = json!({"type": "file", "path": path, "content": {"text": "x"}});
            payload.policy.push(serde_json::from_value(below).unwrap());
        }
        Payload {
            device: DeviceId::new(self.device).unwrap(),
            generation: Generation(self.generation),
            key_digest: self.hello.as_ref().unwrap().device_key.digest(),
            issued_at: clock::system().plus(self.ahead),
            nonce,
            ..payload
        }
    }
}

/// A clock that jumps: waits take no real time, but all of them seem to have passed.
struct Jumping {
    began: Timestamp,
    passed: Mutex<Duration>,
    limit: Duration,
}

impl Jumping {
    fn until(limit: Duration) -> Self {
        Self { began: clock::system(), passed: Mutex::default(), limit }
    }

    fn advance_to(&self, time: Duration) {
        let mut passed = self.passed.lock().unwrap();
        *passed = time.max(*passed);
    }

    /// Returns once the limit has passed.
    async fn over(&self) {
        while self.monotonic() < self.limit {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Waits for Jumping {
    fn monotonic(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    fn system(&self) -> Timestamp {
        self.began.plus(self.monotonic())
    }

    fn wait(&self, pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        *self.passed.lock().unwrap() += pause;
        Box::pin(async move {
            if self.monotonic() >= self.limit {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
        })
    }
}

/// A device in a sandbox, and its server.
struct World {
    _folder: tempfile::TempDir,
    root: PathBuf,
    server: TestServer,
    layout: Layout,
    scene: Arc<Mutex<Scene>>,
    paper: Paper,
    /// True if systemd starts every process.
    is_unit: bool,
}

impl World {
    fn new() -> Self {
        let scene = Arc::new(Mutex::new(Scene::default()));
        let answering = Arc::clone(&scene);
        let server = TestServer::start(move |request| answering.lock().unwrap().answer(request));
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let put = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            files::make_directory(path.parent().unwrap(), 0o755).unwrap();
            files::replace(&path, bytes, 0o644).unwrap();
        };
        put("etc/unbox/trust/anchors.pem", server.anchor_pem().as_bytes());
        put("etc/unbox/trust/root.json", &serde_json::to_vec(&signed_root(1)).unwrap());
        put("etc/unbox/agent.toml", format!("server = \"{}\"\n", server.url()).as_bytes());
        put("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        put("etc/group", b"root:x:0:\n");
        for (field, value) in
            [("sys_vendor", "Acme"), ("product_name", "Gateway 3"), ("product_serial", "AB12CD34")]
        {
            put(&format!("sys/class/dmi/id/{field}"), value.as_bytes());
        }
        put("opt/keep", b"");
        Self {
            layout: Layout::new(&root),
            _folder: folder,
            root,
            server,
            scene,
            paper: Paper::default(),
            is_unit: false,
        }
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap()
    }

    /// Makes a session for one try, on a clock that jumps, so that its pace costs no time.
    fn session(&self) -> Session {
        self.session_by(Some(1), Arc::new(Jumping::until(Duration::MAX)))
    }

    fn session_with(&self, attempts: Option<u32>) -> Session {
        self.session_by(attempts, Arc::new(Stopwatch::start()))
    }

    fn session_by(&self, attempts: Option<u32>, waits: Arc<dyn Waits>) -> Session {
        let from =
            StartingPoint { root: self.root.clone(), config: None, credentials: None, is_unit: self.is_unit };
        let out = Box::new(self.paper.clone());
        Session::new(from, Console::new(out, self.layout.status(), Stopwatch::start()), attempts, waits)
    }

    async fn run(&self) -> Exit {
        run::run(&mut self.session(), true).await.unwrap_or_else(|exit| exit)
    }

    /// Runs as without `--once`, until this much time has passed on a clock that jumps. Returns the
    /// messages with their times, and the exit status if the process ended.
    async fn run_for(
        &self,
        attempts: Option<u32>,
        limit: Duration,
    ) -> (Vec<(Duration, String)>, Option<Exit>) {
        let jumping = Arc::new(Jumping::until(limit));
        let sent = self.log_messages(&jumping);
        let mut session = self.session_by(attempts, Arc::clone(&jumping) as Arc<dyn Waits>);
        let ended = tokio::select! {
            ended = run::run(&mut session, false) => Some(ended.unwrap_or_else(|exit| exit)),
            () = jumping.over() => None,
        };
        (std::mem::take(&mut *sent.lock().unwrap()), ended)
    }

    /// Has every message noted from now on, with its time.
    fn log_messages(&self, clock: &Arc<Jumping>) -> Arc<Mutex<Vec<(Duration, String)>>> {
        let (clock, sent) = (Arc::clone(clock), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&sent);
        self.scene().on_message =
            Some(Box::new(move |path| log.lock().unwrap().push((clock.monotonic(), path.to_owned()))));
        sent
    }

    async fn stage(&self, name: &str) -> Exit {
        let session = &mut self.session();
        let ended = match name {
            "identity" => stages::identity(session).await,
            "handshake" => stages::handshake(session).await,
            "install" => stages::install(session).await,
            "check-in" => stages::report(session, When::AtOnce).await,
            _ => stages::report(session, When::Due).await,
        };
        ended.unwrap_or_else(|exit| exit)
    }

    async fn reset(&self, ticket: Option<&str>) -> Exit {
        let file = ticket.map(|ticket| {
            let file = self.root.join("ticket");
            files::replace(&file, ticket.as_bytes(), 0o600).unwrap();
            file
        });
        self.reset_by(reset::Reset { ticket_file: file.as_deref(), forget_newer: None }).await
    }

    async fn reset_by(&self, how: reset::Reset<'_>) -> Exit {
        let clock = Jumping::until(Duration::from_hours(1));
        let mut session = self.session_by(Some(1), Arc::new(clock));
        reset(&mut session, how).await.unwrap_or_else(|exit| exit)
    }

    /// Plugs in a medium with this reader's result.
    fn plug_in(&self, name: &str, found: &Value) {
        let folder = self.layout.media().join(name);
        files::make_directory(&folder, 0o700).unwrap();
        files::replace(&folder.join("found.json"), found.to_string().as_bytes(), 0o600).unwrap();
    }

    /// Waits until the console has printed this text.
    async fn wait_to_hear(&self, text: &str) {
        while !self.paper.text().contains(text) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes the next round check in, however far away its time is.
    fn make_due(&self) {
        let path = self.layout.enrollment();
        let mut enrolled: Value =
            serde_json::from_slice(&files::read(&path, 1 << 20).unwrap().unwrap()).unwrap();
        enrolled["heard_at"] = json!(0);
        files::replace(&path, enrolled.to_string().as_bytes(), 0o600).unwrap();
    }

    /// Changes a value in its firmware.
    fn becomes(&self, field: &str, value: &str) {
        let path = self.root.join("sys/class/dmi/id").join(field);
        files::replace(&path, value.as_bytes(), 0o444).unwrap();
    }

    fn phase(&self) -> &'static str {
        ledger::io::read(&self.layout).unwrap().phase.name()
    }

    fn ledger_bytes(&self) -> Option<Vec<u8>> {
        files::read(&self.layout.ledger(), 1 << 20).unwrap()
    }

    fn installed_version(&self) -> Option<u64> {
        ledger::io::read(&self.layout).unwrap().installed_payload().map(|installed| installed.version)
    }

    fn artifact_is_installed(&self) -> bool {
        files::read(&self.root.join("opt/file-0"), 1 << 10).unwrap().as_deref() == Some(ARTIFACT)
    }

    fn last_outcome(&self) -> Option<Outcome> {
        self.scene().reports.iter().rev().find_map(|report| report.outcome.clone())
    }

    fn rejection(&self) -> Option<String> {
        match self.last_outcome()? {
            Outcome::Rejected { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

#[tokio::test]
async fn from_power_on_to_managed_and_nothing_happens_twice() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    assert!(world.artifact_is_installed());
    assert_eq!(world.phase(), "managed");
    assert!(world.layout.enrolled_marker().exists());
    assert_eq!(world.last_outcome(), Some(Outcome::Managed { version: 50 }));
    let (ledger, reports) = (world.ledger_bytes(), world.scene().reports.len());
    // What is written again, even with the same bytes, is another file.
    let marker = || world.layout.enrolled_marker().metadata().unwrap().ino();
    let before = marker();
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.ledger_bytes(), marker()), (ledger, before));
    let scene = world.scene();
    assert_eq!((scene.hellos.len(), scene.reports.len()), (1, reports));
    assert!(world.paper.text().contains("This device is managed by Acme AG"));
}

#[tokio::test]
async fn four_stages_hand_over_by_files() {
    let world = World::new();
    assert_eq!(world.stage("report").await, Exit::Done, "nothing to report yet");
    assert_eq!(world.stage("handshake").await, Exit::TryAgain, "no identity yet");
    assert_eq!(world.stage("identity").await, Exit::Done);
    assert_eq!(world.stage("install").await, Exit::Done, "no grant yet");
    assert_eq!(world.stage("handshake").await, Exit::Done);
    assert_eq!(world.phase(), "unenrolled");
    assert!(world.layout.grant().exists() && !world.layout.pending_grant().exists());
    assert_eq!(world.stage("handshake").await, Exit::Done);
    assert_eq!(world.scene().hellos.len(), 1, "one grant is enough");
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!(world.phase(), "managed");
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(world.last_outcome(), Some(Outcome::Managed { version: 50 }));
}

#[tokio::test]
async fn a_payload_that_is_not_believed_is_reported_and_changes_nothing() {
    let world = World::new();
    world.scene().signer = 66;
    assert_eq!(world.run().await, Exit::Administrator);
    assert_eq!(world.rejection().as_deref(), Some("payload_untrusted"));
    assert!(!world.layout.grant().exists() && !world.layout.pending_grant().exists());
    assert_eq!((world.installed_version(), world.phase()), (None, "unenrolled"));
    assert!(!world.layout.enrolled_marker().exists() && !world.artifact_is_installed());
}

#[tokio::test]
async fn the_privileged_side_believes_nothing_in_the_exchange() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let (ledger, generation) = (world.ledger_bytes(), world.scene().generation);
    let forge = |change: &dyn Fn(&mut Scene)| {
        let hello = world.scene().hello.clone();
        let mut scene = Scene { generation, hello, ..Scene::default() };
        change(&mut scene);
        scene.grant(FixedBytes([3; 32])).to_string().into_bytes()
    };
    for (grant, expected) in [
        (forge(&|scene| (scene.version, scene.signer) = (60, 66)), "payload_untrusted"),
        (forge(&|scene| (scene.version, scene.device) = (60, 8)), "payload_wrong_device"),
        (forge(&|scene| scene.version = 49), "payload_older"),
        (forge(&|scene| (scene.version, scene.generation) = (60, 0)), "payload_wrong_generation"),
    ] {
        files::replace(&world.layout.grant(), &grant, 0o600).unwrap();
        assert_eq!(world.stage("install").await, Exit::Administrator, "{expected}");
        let outcome = files::read(&world.layout.outcome(), 1 << 20).unwrap().unwrap();
        let outcome: OutcomeFile = serde_json::from_slice(&outcome).unwrap();
        assert!(matches!(outcome.outcome, Outcome::Rejected { kind, .. } if kind == expected));
        assert_eq!(world.ledger_bytes(), ledger, "{expected}");
        assert_eq!(world.stage("install").await, Exit::Done, "refused once is enough");
    }
    for garbage in [&b"{"[..], b"", b"[]"] {
        files::replace(&world.layout.grant(), garbage, 0o600).unwrap();
        assert_eq!(world.stage("install").await, Exit::Done);
        assert_eq!((world.ledger_bytes(), world.layout.grant().exists()), (ledger.clone(), false));
    }
    for obstacle in OBSTACLES {
        put_in_the_way(obstacle, &world.layout.grant());
        assert_eq!(world.stage("install").await, Exit::Done, "{obstacle}");
        assert_eq!(world.ledger_bytes(), ledger, "{obstacle}");
        assert!(world.layout.grant().symlink_metadata().is_err(), "{obstacle}");
    }
    assert!(!world.paper.text().contains("root:"));
}

#[tokio::test]
async fn a_grant_outlives_a_power_cut_while_artifacts_are_fetched() {
    let world = World::new();
    world.scene().has_artifacts = false;
    assert_eq!(world.run().await, Exit::TryAgain);
    assert!(world.layout.pending_grant().exists() && !world.layout.grant().exists());
    world.scene().has_artifacts = true;
    assert_eq!(world.run().await, Exit::Done);
    let scene = world.scene();
    assert_eq!((scene.hellos.len(), scene.generation), (1, 1));
}

#[tokio::test]
async fn a_reset_takes_everything_away_and_keeps_the_floor() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let key = files::read(&world.layout.device_key(), 1 << 10).unwrap();
    assert_eq!(world.reset(None).await, Exit::Done);
    assert!(!world.artifact_is_installed() && !world.layout.enrolled_marker().exists());
    for gone in
        [world.layout.grant(), world.layout.enrollment(), world.layout.queue(), world.layout.outcome()]
    {
        assert!(!gone.exists(), "{}", gone.display());
    }
    assert_eq!(files::read(&world.layout.device_key(), 1 << 10).unwrap(), key);
    assert_eq!(world.phase(), "unenrolled");
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.scene().generation, world.phase()), (2, "managed"));

    assert_eq!(world.reset(Some("rst_0123456789\n")).await, Exit::Done);
    assert!(!world.layout.device_key().exists());
    assert_eq!(world.run().await, Exit::Done);
    let scene = world.scene();
    assert_eq!(scene.proofs.last().unwrap()["reset_ticket"], "rst_0123456789");
    assert_ne!(scene.hellos[2].device_key, scene.hellos[1].device_key);
    assert!(!world.layout.reset_ticket().exists(), "a ticket is good for once");
}

#[tokio::test]
async fn a_reset_that_could_not_come_back_takes_nothing_away() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let ledger = world.ledger_bytes();
    let config = world.layout.local_config();
    let settings = files::read(&config, 1 << 10).unwrap().unwrap();
    files::replace(&config, b"", 0o644).unwrap();
    assert_eq!(world.reset(None).await, Exit::Fatal);
    files::replace(&config, &settings, 0o644).unwrap();
    assert_eq!(world.reset(Some("two words")).await, Exit::Fatal);
    assert_eq!(world.ledger_bytes(), ledger);
    assert!(world.artifact_is_installed() && world.layout.enrollment().exists());
}

#[tokio::test]
async fn a_check_in_brings_a_newer_payload_and_never_an_older_one() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.scene().version = 60;
    world.scene().sends_payload = true;
    world.make_due();
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!(world.installed_version(), Some(60));
    assert_eq!(world.scene().check_ins[0].installed.as_ref().unwrap().version, 50);

    let ledger = world.ledger_bytes();
    world.scene().version = 55;
    world.make_due();
    assert_eq!(world.run().await, Exit::Administrator);
    assert_eq!(world.rejection().as_deref(), Some("payload_older"));
    assert_eq!(world.ledger_bytes(), ledger);
}

#[tokio::test]
async fn a_request_to_enroll_again_is_followed() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.scene().commands = vec!["dance", "re_enroll"];
    world.make_due();
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.scene().hellos.len(), world.phase()), (2, "managed"));
    let ledger = ledger::io::read(&world.layout).unwrap();
    assert!(
        matches!(ledger.phase, Phase::Managed { enrollment, .. } if enrollment.generation == Generation(2))
    );
}

#[tokio::test]
async fn a_certificate_is_renewed_and_one_that_ran_out_enrolls_again() {
    let world = World::new();
    world.scene().certified_for = Duration::from_mins(20);
    assert_eq!(world.run().await, Exit::Done);
    world.scene().certified_for = Duration::from_hours(24 * 90);
    world.make_due();
    assert_eq!(world.run().await, Exit::Done);
    assert!(world.scene().check_ins[0].renew_certificate);
    world.make_due();
    assert_eq!(world.run().await, Exit::Done);
    assert!(!world.scene().check_ins[1].renew_certificate);
    assert_eq!(world.scene().hellos.len(), 1);

    let path = world.layout.enrollment();
    let mut enrolled: Value = serde_json::from_slice(&files::read(&path, 1 << 20).unwrap().unwrap()).unwrap();
    let key = world.scene().hellos[0].device_key.clone();
    let long_ago = clock::build_date().minus(Duration::from_hours(48));
    let expired = certificate_of_spki(&key, long_ago, long_ago.plus(Duration::from_hours(24)));
    enrolled["certificate_chain"] = json!([expired]);
    files::replace(&path, enrolled.to_string().as_bytes(), 0o600).unwrap();
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.scene().hellos.len(), world.phase()), (2, "managed"));
}

#[tokio::test]
async fn a_device_whose_clock_is_days_behind_is_managed_at_once() {
    let world = World::new();
    world.scene().ahead = Duration::from_hours(24 * 3);
    assert_eq!(world.run().await, Exit::Done, "{}", world.paper.text());
    assert_eq!((world.scene().hellos.len(), world.phase()), (1, "managed"));
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.scene().hellos.len(), world.phase()), (1, "managed"), "its enrollment is still good");
}

#[tokio::test]
async fn a_disk_put_back_from_a_copy_enrolls_again() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.make_due();
    world.scene().is_over = true;
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.scene().hellos.len(), world.phase()), (2, "managed"));
}

#[tokio::test]
async fn a_rotated_root_is_followed_and_kept_by_the_privileged_side() {
    let world = World::new();
    world.scene().signer = 3;
    world.scene().roots = 3;
    assert_eq!(world.run().await, Exit::Done);
    assert!(world.layout.signing_roots().exists());
    files::remove(&world.layout.fetched_roots()).unwrap();
    world.make_due();
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!(world.scene().check_ins[0].root_version, 3);
}

#[tokio::test]
async fn a_refusal_is_told_on_the_console_and_leaves_only_the_key() {
    let world = World::new();
    for kind in RefusalKind::ALL {
        let message = Some(format!("About {kind}.\u{1b}[2J"));
        world.scene().refusal = Some(Problem::new(kind).message(message));
        let exit = world.run().await;
        assert!(matches!(exit, Exit::TryAgain | Exit::Administrator | Exit::Fatal), "{kind}");
        let shown = world.paper.text();
        assert!(shown.contains(kind.advice()), "{kind}: {shown}");
        assert!(shown.contains(&format!("About {kind}. [2J")) && !shown.contains('\u{1b}'), "{kind}");
        assert!(shown.contains("serial_number AB12CD34"), "{kind}");
        assert_eq!((world.phase(), world.layout.enrollment().exists()), ("unenrolled", false), "{kind}");
    }
    world.scene().refusal = None;
    assert_eq!(world.run().await, Exit::Done, "claimed later");
}

#[tokio::test]
async fn a_token_is_given_and_shown_to_nobody_else() {
    let world = World::new();
    let config = world.layout.local_config();
    let mut settings = files::read(&config, 1 << 10).unwrap().unwrap();
    settings.extend(b"token_file = \"/etc/unbox/token\"\n");
    files::replace(&config, &settings, 0o644).unwrap();
    files::replace(&world.root.join("etc/unbox/token"), b"ppt_hidden_123\n", 0o600).unwrap();
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!(world.scene().proofs[0]["token"], "ppt_hidden_123");
    let mut folders = vec![world.layout.state(), world.layout.runtime()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!text.contains("ppt_hidden"), "{}", path.display());
            }
        }
    }
    assert!(!world.paper.text().contains("ppt_hidden"));
}

#[tokio::test]
async fn two_processes_do_not_work_on_one_exchange() {
    let world = World::new();
    assert_eq!(world.stage("identity").await, Exit::Done);
    let held = world.session().lock_exchange().unwrap().unwrap();
    assert_eq!(world.stage("handshake").await, Exit::Done);
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(
        world.stage("check-in").await,
        Exit::TryAgain,
        "who asks by hand is told that nothing was asked"
    );
    assert_eq!(world.run().await, Exit::TryAgain);
    assert!(world.scene().hellos.is_empty());
    drop(held);
    assert_eq!(world.stage("handshake").await, Exit::Done);
    assert_eq!(world.scene().hellos.len(), 1);
}

#[tokio::test]
async fn an_artifact_that_cannot_be_had_does_not_keep_the_news_away() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.scene().version = 60;
    world.scene().sends_payload = true;
    world.scene().has_artifacts = false;
    files::remove(&world.layout.artifact(Sha256::of(ARTIFACT))).unwrap();
    world.make_due();
    assert_eq!(world.run().await, Exit::TryAgain);
    assert!(world.layout.pending_grant().exists());
    world.scene().sends_payload = false;
    world.make_due();
    assert_eq!(world.run().await, Exit::TryAgain, "it is still missing");
    assert_eq!(world.scene().check_ins.len(), 2, "and yet it checked in");
    world.scene().has_artifacts = true;
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!((world.installed_version(), world.scene().hellos.len()), (Some(60), 1));
}

#[tokio::test]
async fn an_artifact_that_the_disk_lost_is_fetched_again() {
    let world = World::new();
    assert_eq!(world.stage("identity").await, Exit::Done);
    assert_eq!(world.stage("handshake").await, Exit::Done);
    files::replace(&world.layout.artifact(Sha256::of(ARTIFACT)), b"the bytes of an ARTIFACT", 0o600).unwrap();
    assert_eq!(world.stage("install").await, Exit::TryAgain);
    assert_eq!((world.phase(), world.artifact_is_installed()), ("unenrolled", false));
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(world.stage("install").await, Exit::Done);
    assert!(world.artifact_is_installed());
    assert_eq!(world.scene().hellos.len(), 1);
}

#[tokio::test]
async fn a_device_that_could_install_nothing_asks_for_something_else() {
    let world = World::new();
    assert_eq!(world.stage("identity").await, Exit::Done);
    world.scene().signer = 66;
    for _ in 0..3 {
        assert_eq!(world.stage("handshake").await, Exit::Administrator);
    }
    let generation = world.scene().generation;
    assert_eq!(generation, 1, "by its certificate, and not by enrolling again and again");
    world.scene().signer = 1;
    world.scene().sends_payload = true;
    assert_eq!(world.stage("handshake").await, Exit::Done);
    assert_eq!(world.stage("install").await, Exit::Done);
    assert!(world.artifact_is_installed());
}

#[tokio::test]
async fn a_reset_that_was_cut_off_goes_on() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let ledger = ledger::io::read(&world.layout).unwrap().handle(ledger::Event::ResetBegun).unwrap();
    ledger::io::write(&world.layout, &ledger).unwrap();
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!(world.phase(), "unenrolled");
    assert!(!world.artifact_is_installed() && !world.layout.grant().exists());
    assert!(!world.layout.enrolled_marker().exists());
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!(world.scene().generation, 2);
}

#[tokio::test]
async fn who_asks_by_hand_need_not_wait_until_a_check_in_is_due() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.scene().version = 60;
    world.scene().sends_payload = true;
    let before = world.scene().check_ins.len();
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(world.scene().check_ins.len(), before, "it is not due");
    assert_eq!(world.stage("check-in").await, Exit::Done);
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!((world.scene().check_ins.len(), world.installed_version()), (before + 1, Some(60)));
}

#[tokio::test]
async fn an_installer_that_missed_a_grant_is_woken_again() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    world.scene().version = 60;
    world.scene().sends_payload = true;
    assert_eq!(world.stage("check-in").await, Exit::Done);
    let grant = world.layout.grant();
    let changed = || grant.metadata().unwrap().modified().unwrap();
    let handed_over = changed();
    world.scene().sends_payload = false;
    assert_eq!(world.stage("report").await, Exit::Done);
    assert!(changed() > handed_over);
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!(world.installed_version(), Some(60));
    let dealt_with = changed();
    assert_eq!(world.stage("report").await, Exit::Done);
    assert_eq!(changed(), dealt_with);
}

#[tokio::test]
async fn a_reset_waits_for_whoever_is_at_work() {
    let world = World::new();
    assert_eq!(world.run().await, Exit::Done);
    let ledger = world.ledger_bytes();
    let held = world.session().lock_exchange().unwrap().unwrap();
    let somebody = async {
        world.wait_to_hear("The reset waits for it").await;
        assert_eq!(world.ledger_bytes(), ledger);
        drop(held);
    };
    let mut session = world.session();
    let how = reset::Reset { ticket_file: None, forget_newer: None };
    let (ended, ()) = tokio::join!(reset(&mut session, how), somebody);
    assert_eq!(ended, Ok(Exit::Done));
    assert_eq!(world.phase(), "unenrolled");
}

#[tokio::test]
async fn a_device_that_waits_for_a_token_goes_on_when_a_medium_with_one_is_plugged_in() {
    let world = World::new();
    world.scene().token = Some("ppt_1");
    assert_eq!(world.stage("identity").await, Exit::Done);
    let identity = identity::io::take_over(&world.layout).unwrap();
    world.plug_in("sda1", &json!({"not_used": "there is no file named unbox-token in its first folder"}));
    let mut session = world.session_with(None);
    let somebody = async {
        world.wait_to_hear("Next try in").await;
        let said = world.paper.text();
        assert!(said.contains("USB stick labelled UNBOX"), "{said}");
        assert!(said.contains("medium sda1 is not used: there is no file named unbox-token"), "{said}");
        assert_eq!(world.scene().proofs.len(), 0);
        assert!(!world.layout.grant().exists() && world.ledger_bytes().is_none());
        world.plug_in("sdb1", &json!({"token": "ppt_1"}));
    };
    let (ended, ()) = tokio::join!(round::retry_until_granted(&mut session, &identity), somebody);
    assert_eq!(ended, Ok(()));
    let said = world.paper.text();
    assert!(said.contains("Found a pre-provisioning token on the removable medium sdb1."), "{said}");
    assert!(!said.contains("ppt_1"), "{said}");
    assert_eq!(world.scene().proofs[0]["token"], "ppt_1");
    assert!(world.layout.grant().exists());
}

#[tokio::test]
async fn a_mediums_token_is_tried_when_the_built_in_one_is_refused_and_not_before() {
    let world = World::new();
    let told = |line: &str| format!("BOOT_IMAGE=/vmlinuz {line}").into_bytes();
    files::make_directory(&world.root.join("proc"), 0o755).unwrap();
    files::replace(&world.root.join("proc/cmdline"), &told("unbox.token=old"), 0o644).unwrap();
    world.plug_in("sdb1", &json!({"token": "new"}));
    world.scene().token = Some("new");
    assert_eq!(world.run().await, Exit::Done);
    let shown: Vec<Value> = world.scene().proofs.iter().map(|proof| proof["token"].clone()).collect();
    assert_eq!(shown, ["old", "new"]);

    let world = World::new();
    files::make_directory(&world.root.join("proc"), 0o755).unwrap();
    files::replace(&world.root.join("proc/cmdline"), &told("unbox.token=good"), 0o644).unwrap();
    world.plug_in("sdb1", &json!({"token": "hostile"}));
    world.scene().token = Some("good");
    assert_eq!(world.run().await, Exit::Done);
    assert_eq!(world.scene().proofs.len(), 1);
    assert_eq!(world.scene().proofs[0]["token"], "good");
}

#[tokio::test]
async fn media_that_disagree_are_named_and_no_token_is_shown() {
    let world = World::new();
    world.scene().token = Some("ppt_1");
    world.plug_in("sda1", &json!({"token": "ppt_1"}));
    world.plug_in("sdb1", &json!({"token": "ppt_2"}));
    assert_eq!(world.run().await, Exit::Administrator);
    let said = world.paper.text();
    for name in ["sda1", "sdb1"] {
        let expected =
            format!("medium {name} is not used: another medium holds another token: leave only one");
        assert!(said.contains(&expected), "{said}");
    }
    assert_eq!(world.scene().proofs.len(), 0);
    assert!(!world.layout.grant().exists());
}
