//! The program under requests that are made to exhaust its memory.

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
    sync::Arc,
    thread,
    time::Duration,
};
use unbox_server::{files, keys::Layout};

/// The most memory that the server may have had in use at any time, in KiB.
const MAX_RESIDENT_KIB: u64 = 256 * 1024;
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
        let admin = Admin::founded();
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
    fn exchange(&self, head: &str, body: &[u8]) -> Answer {
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
            Answer::read(&mut reader)
        })
    }

    fn assert_light(&self, attack: &str) {
        let peak = peak_resident_kib(&self.serving);
        assert!(peak < MAX_RESIDENT_KIB, "{attack}: {} MiB", peak / 1024);
    }
}

fn peak_resident_kib(serving: &Serving) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", serving.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The start of an answer, and how often a text was in all of it.
struct Answer {
    start: String,
    parts: usize,
}

impl Answer {
    fn read(stream: &mut impl Read) -> Self {
        const PART: &[u8] = b"HTTP/1.1 200";
        let (mut start, mut parts, mut buffer, mut kept) = (Vec::new(), 0, vec![0; 64 * 1024], Vec::new());
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..read]);
            start.extend(buffer[..read].iter().take(4096_usize.saturating_sub(start.len())));
            parts += kept.windows(PART.len()).filter(|window| *window == PART).count();
            kept.drain(..kept.len().saturating_sub(PART.len() - 1));
        }
        Self { start: String::from_utf8_lossy(&start).into_owned(), parts }
    }

    fn status(&self) -> u16 {
        self.start.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Whether the client was told when to come back.
    fn is_busy(&self) -> bool {
        matches!(self.status(), 429 | 503) && self.start.to_ascii_lowercase().contains("\r\nretry-after: ")
    }
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

/// Sends most of a ClientHello that claims to have 61,440 bytes.
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
        assert_eq!(Answer::read(&mut fresh).status(), 200, "{attack}");
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
    let body = vec![b'\n'; 19 * 1024 * 1024];
    let head = "POST /batch HTTP/1.1\r\ncontent-type: multipart/mixed; boundary=x";
    let answers: Vec<Answer> = thread::scope(|scope| {
        let sent: Vec<_> = (0..40).map(|_| scope.spawn(|| world.exchange(head, &body))).collect();
        sent.into_iter().map(|one| one.join().unwrap()).collect()
    });
    world.assert_light("forty anonymous batches");
    let refused = answers.iter().filter(|one| [0, 401, 413].contains(&one.status()) || one.is_busy()).count();
    assert_eq!(refused, 40, "nobody reads what a stranger sends");
    let small = world.exchange("GET /openapi.json HTTP/1.1", b"");
    assert_eq!(small.status(), 200);
}

#[test]
fn twelve_large_batches_of_claims_hold_little_memory() {
    let world = World::with_devices(0);
    let mut body = "{\"claims\":[".to_owned();
    let entries = notes(32);
    while body.len() < 10 * 1024 * 1024 {
        let number = body.len();
        write!(
            body,
            "{{\"customerId\":\"{}\",\"sectionType\":\"SECTION_TYPE_ZERO_TOUCH\",\"deviceIdentifier\":{{\
             \"serialNumber\":\"PF{number}\",\"manufacturer\":\"LENOVO\",\"model\":\"20QES0XX00\"}},\
             \"deviceMetadata\":{{\"entries\":{entries}}}}},",
            world.customer
        )
        .unwrap();
    }
    // The last one is no claim, so that the whole is refused, as late as can be.
    body.push_str("5]}");
    let head = format!(
        "POST /v1/partners/{}/devices:claimAsync HTTP/1.1\r\ncontent-type: application/json\r\n\
         authorization: Bearer {}",
        world.partner, world.partner_key
    );
    let answers: Vec<Answer> = thread::scope(|scope| {
        let sent: Vec<_> = (0..12).map(|_| scope.spawn(|| world.exchange(&head, body.as_bytes()))).collect();
        sent.into_iter().map(|one| one.join().unwrap()).collect()
    });
    world.assert_light("twelve large batches of claims");
    let refused = answers.iter().filter(|one| one.status() == 400).count();
    let statuses: Vec<u16> = answers.iter().map(Answer::status).collect();
    assert!(refused > 0, "some were read to their end: {statuses:?}");
    assert!(answers.iter().all(|one| one.status() == 400 || one.is_busy()), "{statuses:?}");
    let claims = world.admin.json(&["claim", "list"]);
    assert_eq!(claims["claims"].as_array().map(Vec::len), Some(0), "a refused batch claims nothing");
}

#[test]
fn a_batch_of_sixty_large_lists_holds_little_memory() {
    const LISTS: usize = 60;
    let world = World::with_devices(2000);
    let mut body = String::new();
    for _ in 0..LISTS {
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
    let answer = world.exchange(&head, body.as_bytes());
    world.assert_light("sixty large lists");
    assert_eq!(answer.parts, 1 + LISTS, "each list is there: {}", answer.start);
}
