//! The program under requests that are made to exhaust its memory or its disk.

use super::{Admin, Serving};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{SocketAddrV4, TcpStream},
    os::fd::AsRawFd as _,
    path::Path,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};
use unbox_server::{files, keys::Layout};

/// The most memory that the server may have had in use at any time, in KiB.
const MAX_RESIDENT_KIB: u64 = 256 * 1024;
const MIB: usize = 1024 * 1024;
/// How long a client waits for a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A server that runs, with a customer, its reseller and API keys.
struct World {
    admin: Admin,
    serving: Serving,
    customer: String,
    partner: String,
    customer_key: String,
    partner_key: String,
}

impl World {
    /// A world whose customer has these many devices, each with 4 KiB of notes.
    fn with_devices(devices: usize) -> Self {
        Self::with(devices, &[])
    }

    /// The same, with settings other than the defaults.
    fn with(devices: usize, settings: &[(&str, &str)]) -> Self {
        let admin = Admin::founded();
        for (name, value) in settings {
            admin.set(name, value);
        }
        let id = |made: Value| made["id"].as_str().unwrap().to_owned();
        let customer = id(admin.json(&["customer", "create", "Acme AG"]));
        let partner = id(admin.json(&["reseller", "create", "Boxes"]));
        admin.json(&["reseller", "link", "Boxes", "Acme AG"]);
        let customer_key = api_key(&admin, "Acme AG", "viewer");
        let partner_key = api_key(&admin, "Boxes", "admin");
        if devices > 0 {
            let mut file = "serial,manufacturer,model,owner,devicemetadata\n".to_owned();
            for at in 0..devices {
                let notes = notes(8).replace('"', "\"\"");
                writeln!(file, "PF{at:06},LENOVO,20QES0XX00,{customer},\"{notes}\"").unwrap();
            }
            let path = admin.path("claims.csv");
            files::write_new(&path, file.as_bytes(), 0o600).unwrap();
            admin.json(&["import", path.to_str().unwrap()]);
        }
        let serving = admin.serve_with(&["--listen-api", "127.0.0.1:0"]);
        Self { admin, serving, customer, partner, customer_key, partner_key }
    }

    /// Sends one request and reads its answer; a server that has heard enough may stop reading.
    fn exchange(&self, request: &Request) -> Answer {
        self.exchange_pausing(request, || {})
    }

    /// The same, with a pause after each part that was read.
    fn exchange_pausing(&self, Request { head, body }: &Request, pause: impl FnMut()) -> Answer {
        let address = self.serving.ready["api_addresses"][0].as_str().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut reader = stream.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            });
            Answer::read(&mut reader, pause)
        })
    }

    /// Sends each request so many times, all at once.
    fn at_once<const N: usize>(&self, requests: [(&Request, usize); N]) -> [Vec<Answer>; N] {
        thread::scope(|scope| {
            let sent = requests.map(|(request, times)| -> Vec<_> {
                (0..times).map(|_| scope.spawn(move || self.exchange(request))).collect()
            });
            sent.map(|sent| sent.into_iter().map(|one| one.join().unwrap()).collect())
        })
    }

    fn assert_light(&self, attack: &str) {
        let peak = peak_resident_kib(&self.serving);
        assert!(peak < MAX_RESIDENT_KIB, "{attack}: {} MiB", peak / 1024);
    }

    /// Waits until the program holds no file without a name.
    fn wait_until_nothing_is_spooled(&self) {
        let held = || {
            let files = fs::read_dir(format!("/proc/{}/fd", self.serving.child.id())).unwrap();
            let paths = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
            paths.filter(|path| path.to_string_lossy().ends_with("(deleted)")).count()
        };
        for _ in 0..600 {
            if held() == 0 {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{} files without a name are still open", held());
    }
}

fn peak_resident_kib(serving: &Serving) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", serving.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A request without what every one has.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn get(path: &str, key: &str) -> Self {
        Self { head: format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {key}"), body: Vec::new() }
    }

    /// A batch of a stranger.
    fn anonymous_batch() -> Self {
        let head = "POST /batch HTTP/1.1\r\ncontent-type: multipart/mixed; boundary=x".to_owned();
        Self { head, body: vec![b'\n'; 19 * MIB] }
    }

    /// Claims of devices with 16 KiB of notes each, at least so many bytes of them, and their number.
    fn claims(world: &World, bytes: usize) -> (Self, usize) {
        let (mut body, mut devices) = ("{\"claims\":[".to_owned(), 0);
        let entries = notes(32);
        while body.len() < bytes {
            let comma = if devices > 0 { "," } else { "" };
            write!(
                body,
                "{comma}{{\"customerId\":\"{}\",\"sectionType\":\"SECTION_TYPE_ZERO_TOUCH\",\
                 \"deviceIdentifier\":{{\"serialNumber\":\"PF{devices:06}\",\"manufacturer\":\"LENOVO\",\
                 \"model\":\"20QES0XX00\"}},\"deviceMetadata\":{{\"entries\":{entries}}}}}",
                world.customer
            )
            .unwrap();
            devices += 1;
        }
        body.push_str("]}");
        let head = format!(
            "POST /v1/partners/{}/devices:claimAsync HTTP/1.1\r\ncontent-type: application/json\r\n\
             authorization: Bearer {}",
            world.partner, world.partner_key
        );
        (Self { head, body: body.into_bytes() }, devices)
    }

    /// Claims of which the last one is none, so that the whole is refused, as late as can be.
    fn malformed_claims(world: &World, bytes: usize) -> Self {
        let (mut request, _) = Self::claims(world, bytes);
        request.body.truncate(request.body.len() - "]}".len());
        request.body.extend_from_slice(b",5]}");
        request
    }

    /// A small batch of so many lists of all devices.
    fn lists(world: &World, lists: usize) -> Self {
        let mut body = String::new();
        for _ in 0..lists {
            write!(
                body,
                "--x\r\nContent-Type: application/http\r\n\r\n\
                 GET /v1/customers/{}/devices?pageSize=5000 HTTP/1.1\r\n\r\n\r\n",
                world.customer
            )
            .unwrap();
        }
        body.push_str("--x--\r\n");
        assert!(body.len() < 8 * 1024, "the request is small: {}", body.len());
        let head = format!(
            "POST /batch HTTP/1.1\r\ncontent-type: multipart/mixed; boundary=x\r\nauthorization: Bearer {}",
            world.customer_key
        );
        Self { head, body: body.into_bytes() }
    }
}

/// The start and the end of an answer, and how often a text was in all of it.
struct Answer {
    start: String,
    end: String,
    parts: usize,
}

impl Answer {
    fn read(stream: &mut impl Read, mut pause: impl FnMut()) -> Self {
        const PART: &str = "HTTP/1.1 200";
        const SHOWN: usize = 4096;
        let (mut start, mut end, mut parts) = (Vec::new(), Vec::new(), 0);
        let (mut buffer, mut kept) = (vec![0; 64 * 1024], Vec::new());
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..read]);
            start.extend(buffer[..read].iter().take(SHOWN.saturating_sub(start.len())));
            end.extend_from_slice(&buffer[read.saturating_sub(SHOWN)..read]);
            end.drain(..end.len().saturating_sub(SHOWN));
            parts += String::from_utf8_lossy(&kept).matches(PART).count();
            kept.drain(..kept.len().saturating_sub(PART.len() - 1));
            pause();
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { start: text(&start), end: text(&end), parts }
    }

    fn status(&self) -> u16 {
        self.start.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// The document that a short answer holds.
    fn json(&self) -> Value {
        let (_, body) = self.start.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{}", self.start))
    }

    /// Whether the client was told when to come back.
    fn is_busy(&self) -> bool {
        matches!(self.status(), 429 | 503) && self.start.to_ascii_lowercase().contains("\r\nretry-after: ")
    }

    /// Whether a stranger was turned away.
    fn is_refused(&self) -> bool {
        [0, 401, 413].contains(&self.status()) || self.is_busy()
    }
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(Answer::status).collect()
}

/// The bytes of all files below a directory.
fn stored_bytes(directory: &Path) -> u64 {
    let sizes = fs::read_dir(directory).unwrap().map(|entry| {
        let (path, found) = {
            let entry = entry.unwrap();
            (entry.path(), entry.metadata())
        };
        // A file may be gone again by now.
        found.map_or(0, |found| if found.is_dir() { stored_bytes(&path) } else { found.len() })
    });
    sizes.sum()
}

fn api_key(admin: &Admin, company: &str, role: &str) -> String {
    let made = admin.json(&[
        "account",
        "create",
        "--company",
        company,
        "--service-account",
        "robot",
        "--role",
        role,
    ]);
    let file = admin.path(&format!("{role}.key"));
    let email = made["email"].as_str().unwrap();
    admin.json(&["account", "api-key", "create", email, "--out", file.to_str().unwrap()]);
    fs::read_to_string(file).unwrap().trim().to_owned()
}

/// Notes beside a device, each of 500 bytes.
fn notes(entries: usize) -> String {
    let entries = (0..entries).map(|at| (format!("note{at}"), "x".repeat(500).into()));
    Value::Object(entries.collect()).to_string()
}

/// Connects from an address in the network of this number.
fn connect_from(network: u8, to: SocketAddrV4) -> TcpStream {
    let stream = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(stream.as_raw_fd(), &SockaddrIn::new(127, 1, network, 1, 0)).unwrap();
    connect(stream.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    let stream = TcpStream::from(stream);
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    stream
}

/// Sends most of a `ClientHello` that claims to have 61,440 bytes.
fn half_a_handshake(network: u8, server: SocketAddrV4) -> TcpStream {
    let mut stream = connect_from(network, server);
    let mut hello = vec![1, 0, 0xf0, 0];
    hello.resize(60_000, 3);
    for record in hello.chunks(16 * 1024) {
        let length = u16::try_from(record.len()).unwrap().to_be_bytes();
        // The server may have closed it, or read no more for now.
        let _ = stream.write_all(&[&[22, 3, 1], &length[..], record].concat());
    }
    stream
}

/// Sends most of the head of a request over TLS; `None` if the server did not take the connection.
fn half_a_head(
    network: u8,
    server: SocketAddrV4,
    tls: &Arc<ClientConfig>,
    bytes: usize,
) -> Option<StreamOwned<ClientConnection, TcpStream>> {
    let stream = connect_from(network, server);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let tls = ClientConnection::new(tls.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, stream);
    let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: {}", "x".repeat(bytes));
    let (start, rest) = head.as_bytes().split_at(head.len().min(7 * 1024));
    stream.write_all(start).ok()?;
    let _ = stream.write_all(rest);
    Some(stream)
}

#[test]
fn thousands_of_unfinished_handshakes_and_requests_hold_little_memory() {
    const EACH: usize = 4000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    assert!(most > EACH as u64 + 1000, "needs more open files than {most}: raise the limit (ulimit -Hn)");
    let admin = Admin::founded();
    let settings = fs::read_to_string(admin.path("server.toml")).unwrap();
    let patient = settings.replace("#header_timeout_s = 15", "header_timeout_s = 300");
    files::replace(&admin.path("server.toml"), patient.as_bytes(), files::PRIVATE_FILE).unwrap();
    let serving = admin.serve();
    let server: SocketAddrV4 = serving.ready["addresses"][0].as_str().unwrap().parse().unwrap();
    let mut roots = RootCertStore::empty();
    let anchors = fs::read(Layout::new(admin.path("")).trusted_anchors()).unwrap();
    roots.add(CertificateDer::from_pem_slice(&anchors).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Arc::new(tls);
    let network = |at: usize| u8::try_from(at % 100).unwrap();
    let is_well = |attack: &str| {
        let peak = peak_resident_kib(&serving);
        assert!(peak < MAX_RESIDENT_KIB, "{attack}: {} MiB", peak / 1024);
        println!("{attack}: {} MiB", peak / 1024);
        let mut fresh = half_a_head(200, server, &tls, 10).unwrap();
        fresh.write_all(b"\r\nconnection: close\r\n\r\n").unwrap();
        assert_eq!(Answer::read(&mut fresh, || {}).status(), 200, "{attack}");
    };
    let held = side_by_side(EACH, |at| half_a_handshake(network(at), server));
    is_well("unfinished handshakes");
    drop(held);
    let held = side_by_side(EACH, |at| half_a_head(network(at), server, &tls, 30 * 1024));
    is_well("unfinished requests");
    drop(held);
}

/// Does the same these many times, by several threads.
fn side_by_side<T: Send>(times: usize, one: impl Fn(usize) -> T + Sync) -> Vec<T> {
    const THREADS: usize = 8;
    thread::scope(|scope| {
        let one = &one;
        let start = |first| scope.spawn(move || (first..times).step_by(THREADS).map(one).collect::<Vec<_>>());
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn forty_anonymous_batches_hold_little_memory() {
    let world = World::with_devices(0);
    let [answers] = world.at_once([(&Request::anonymous_batch(), 40)]);
    world.assert_light("forty anonymous batches");
    assert!(answers.iter().all(Answer::is_refused), "nobody reads what a stranger sends");
    assert_eq!(world.exchange(&Request::get("/openapi.json", "")).status(), 200);
}

#[test]
fn twelve_large_batches_of_claims_hold_little_memory() {
    let world = World::with_devices(0);
    let [answers] = world.at_once([(&Request::malformed_claims(&world, 10 * MIB), 12)]);
    world.assert_light("twelve large batches of claims");
    let refused = answers.iter().filter(|one| one.status() == 400).count();
    let statuses = statuses(&answers);
    assert!(refused > 0, "some were read to their end: {statuses:?}");
    assert!(answers.iter().all(|one| one.status() == 400 || one.is_busy()), "{statuses:?}");
    let claims = world.admin.json(&["claim", "list"]);
    assert_eq!(claims["claims"].as_array().map(Vec::len), Some(0), "a refused batch claims nothing");
}

#[test]
fn a_batch_of_sixty_large_lists_holds_little_memory() {
    const LISTS: usize = 60;
    let world = World::with_devices(2000);
    let answer = world.exchange(&Request::lists(&world, LISTS));
    world.assert_light("sixty large lists");
    assert_eq!(answer.parts, 1 + LISTS, "each list is there: {}", answer.start);
}

#[test]
fn batches_claims_and_lists_at_once_hold_little_memory() {
    let world = World::with_devices(2000);
    let (batch, claims) = (Request::anonymous_batch(), Request::malformed_claims(&world, 10 * MIB));
    let lists = Request::lists(&world, 60);
    let [batches, claims, lists] = world.at_once([(&batch, 40), (&claims, 12), (&lists, 2)]);
    world.assert_light("all at once");
    assert!(batches.iter().all(Answer::is_refused), "{:?}", statuses(&batches));
    assert!(claims.iter().all(|one| one.status() == 400 || one.is_busy()), "{:?}", statuses(&claims));
    assert!(lists.iter().all(|one| one.status() == 200 || one.is_busy()), "{:?}", statuses(&lists));
    let afterwards = world.exchange(&Request::lists(&world, 1));
    assert_eq!(afterwards.parts, 2, "and then it works as before: {}", afterwards.start);
}

#[test]
fn twenty_slow_readers_of_a_large_operation_hold_little_memory() {
    const READERS: usize = 20;
    let world = World::with_devices(0);
    let (claims, devices) = Request::claims(&world, 20 * MIB);
    let name = world.exchange(&claims).json()["name"].as_str().unwrap().to_owned();
    let progress = Request::get(&format!("/v1/{name}?fields=done"), &world.partner_key);
    while world.exchange(&progress).json()["done"] != true {
        thread::sleep(Duration::from_millis(200));
    }
    let operation = Request::get(&format!("/v1/{name}"), &world.partner_key);
    let begun = Barrier::new(READERS);
    let read = || {
        let mut is_first = true;
        world.exchange_pausing(&operation, || {
            // Nobody goes on before all have something in hand.
            if std::mem::take(&mut is_first) {
                begun.wait();
            }
            thread::sleep(Duration::from_millis(5));
        })
    };
    let answers: Vec<Answer> = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        readers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    world.assert_light("twenty slow readers");
    for answer in answers {
        assert_eq!(answer.status(), 200, "{}", answer.start);
        let is_whole = answer.end.contains(&format!("\"successCount\": {devices}\n"));
        assert!(is_whole && answer.end.ends_with("\r\n0\r\n\r\n"), "{}", answer.end);
    }
}

#[test]
fn refused_batches_leave_nothing_on_the_disk() {
    const BYTES: usize = 3 * MIB;
    let world = World::with(0, &[("operations_mib", "1")]);
    let malformed = Request::malformed_claims(&world, BYTES);
    let (too_much, _) = Request::claims(&world, BYTES);
    let refuse = || {
        let answers = [&malformed, &too_much].map(|request| world.exchange(request));
        assert_eq!(statuses(&answers), [400, 429], "{}", answers[1].start);
        world.wait_until_nothing_is_spooled();
    };
    // SQLite's log of changes gets as long as the longest transaction, and is then used again.
    refuse();
    let before = stored_bytes(&world.admin.path(""));
    for _ in 0..10 {
        refuse();
    }
    let after = stored_bytes(&world.admin.path(""));
    assert!(after < before + BYTES as u64 / 2, "{before} bytes before, {after} after");
    let claims = world.admin.json(&["claim", "list"]);
    assert_eq!(claims["claims"].as_array().map(Vec::len), Some(0));
}
