//! The server against clients that misbehave: whatever they do, devices are enrolled beside them, every
//! answer is bounded, and nothing panics.

use anyhow::{Context as _, Result, ensure};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use unbox_common::protocol::latest::{CHECK_IN_PATH, HELLO_PATH, PROVE_PATH, REPORT_PATH};
use unbox_tests::{
    bench::usage::Usage,
    fleet::{Anchors, Fleet, FleetImage},
    scene::Scene,
    seed::Seed,
    server,
};

/// Ample time on a busy machine for what the server ends after seconds.
const PATIENCE: Duration = Duration::from_mins(2);
/// The most bytes that a server may answer to somebody who has said nothing sensible.
const MAX_ALERT_BYTES: usize = 64;
/// The most memory that the server may take beside what it had.
const MAX_GROWTH_KIB: u32 = 96 * 1024;
/// The most that may be logged about one hostile connection, in bytes.
const MAX_LOG_BYTES: usize = 1024;
/// Devices that enroll in the meantime.
const DEVICES: usize = 20;

/// A server under attack.
struct Siege {
    scene: Scene,
    tls: Arc<ClientConfig>,
    _folder: TempDir,
}

/// What an attacker knows.
#[derive(Clone)]
struct Target {
    server: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Siege {
    fn begin(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let scene = Scene::create_with(folder.path(), settings)?;
        scene.configure(None, &json!([]))?;
        let tls = Anchors::read(&scene.server.bundle().join("anchors.pem"))?.tls(None)?;
        Ok(Self { scene, tls, _folder: folder })
    }

    /// Runs the attack while devices enroll; they all do, and the server is well afterwards.
    async fn stands(self, connections: usize, attack: impl AsyncFnOnce(Target) -> Result<()>) -> Result<()> {
        let image =
            FleetImage::from_bundle(self.scene.server.address, server::NAME, &self.scene.server.bundle())?;
        let fleet = |prefix: &str| Fleet {
            devices: DEVICES,
            at_once: 4,
            prefix: prefix.to_owned(),
            manufacturer: "Acme".to_owned(),
            model: "Gateway 3".to_owned(),
        };
        let (during, after) = (fleet("D"), fleet("E"));
        for one in [&during, &after] {
            self.scene.claim(&one.claims_csv(), &[])?;
        }
        let (before, logged) = (Usage::of(self.scene.server.id())?, self.scene.server.log().len());
        let target = Target { server: self.scene.server.address, tls: Arc::clone(&self.tls) };
        let (attacked, enrolled) = tokio::join!(attack(target), during.power_on(&image));
        attacked?;
        for outcome in [enrolled?, after.power_on(&image).await?] {
            assert_eq!(outcome.failures, Vec::<String>::new());
            assert_eq!(outcome.devices.len(), DEVICES);
        }
        let log = self.scene.server.log();
        assert!(!log.contains("panicked"), "{log}");
        let growth = Usage::of(self.scene.server.id())?.peak_kib.saturating_sub(before.peak_kib);
        assert!(growth <= MAX_GROWTH_KIB, "the server took {growth} KiB");
        let most = connections * MAX_LOG_BYTES + 2 * DEVICES * 4 * MAX_LOG_BYTES;
        assert!(log.len() - logged <= most, "{} bytes were logged", log.len() - logged);
        assert_eq!(self.scene.devices()?.len(), 2 * DEVICES);
        Ok(())
    }
}

impl Target {
    /// A TCP connection from one of many addresses of this machine.
    async fn connect(&self, from: u8) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4().context("make a socket")?;
        socket.bind((Ipv4Addr::new(127, 0, 1, from), 0).into()).context("choose an address")?;
        timeout(PATIENCE, socket.connect(self.server)).await?.context("connect")
    }

    async fn connect_tls(&self, from: u8) -> Result<TlsStream<TcpStream>> {
        let stream = self.connect(from).await?;
        let name = ServerName::try_from(server::NAME).context("parse the server's name")?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        timeout(PATIENCE, connector.connect(name, stream)).await?.context("TLS handshake")
    }
}

/// Reads what comes until the other side ends it; how is of no interest.
async fn answer(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let (mut answer, mut part) = (Vec::new(), vec![0; 16 * 1024]);
    timeout(PATIENCE, async {
        while let Ok(read @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
        }
    })
    .await
    .context("the server does not end the connection")?;
    Ok(answer)
}

#[tokio::test]
async fn garbage_at_the_tls_port_disturbs_nobody() -> Result<()> {
    const CONNECTIONS: u64 = 400;
    let mut seed = Seed::from_environment(21);
    let siege = Siege::begin(&[("header_timeout_s", "2")])?;
    siege
        .stands(400, async |target| {
            for n in 0..CONNECTIONS {
                let length = seed.draw_below(6000);
                let mut garbage = seed.bytes(length);
                if n % 2 == 0 {
                    // As far as the first bytes go, a TLS handshake record.
                    garbage.splice(..0, [22, 3, 1]);
                }
                let mut stream = target.connect(u8::try_from(1 + n % 100)?).await?;
                // It may be closed before it has taken all of it.
                let _ = stream.write_all(&garbage).await;
                let _ = stream.shutdown().await;
                let said = answer(&mut stream).await?;
                ensure!(said.len() <= MAX_ALERT_BYTES, "{} bytes are no alert", said.len());
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn requests_that_drip_for_ever_are_ended() -> Result<()> {
    const CONNECTIONS: usize = 200;
    let siege = Siege::begin(&[("header_timeout_s", "2"), ("request_timeout_s", "2")])?;
    let starts = [
        "",
        "POST /device/v1/hello HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
        "POST /device/v1/hello HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 4000\r\n\r\n{",
    ];
    siege
        .stands(CONNECTIONS, async |target| {
            let mut dripping = JoinSet::new();
            for n in 0..CONNECTIONS {
                let (target, start) = (target.clone(), starts[n % starts.len()]);
                dripping.spawn(async move {
                    let mut stream = target.connect_tls(u8::try_from(1 + n % 100)?).await?;
                    stream.write_all(start.as_bytes()).await?;
                    let (mut read, mut write) = tokio::io::split(stream);
                    let drip = async {
                        while write.write_all(b"a").await.is_ok() && write.flush().await.is_ok() {
                            sleep(Duration::from_millis(200)).await;
                        }
                        // From here on it is only listened to.
                        std::future::pending::<()>().await;
                    };
                    tokio::select! {
                        () = drip => Ok(Vec::new()),
                        said = answer(&mut read) => said,
                    }
                });
            }
            while let Some(said) = dripping.join_next().await {
                let said = said??;
                ensure!(said.len() <= 2048, "{} bytes for nothing", said.len());
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn bodies_and_headers_without_measure_are_refused_and_not_kept() -> Result<()> {
    const PARTS: usize = 48;
    let head = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
    };
    let mut requests = Vec::new();
    for path in [HELLO_PATH, PROVE_PATH, REPORT_PATH, CHECK_IN_PATH] {
        requests.push((head(path, "content-length: 99999999999"), vec![b'x'; 1024 * 1024]));
        let chunk = [&b"100000\r\n"[..], &vec![b'['; 0x10_0000], b"\r\n"].concat();
        requests.push((head(path, "transfer-encoding: chunked"), chunk));
        requests.push((format!("POST {path} HTTP/1.1\r\nx-huge: "), vec![b'h'; 1024 * 1024]));
        requests.push((format!("POST {path}?"), vec![b'q'; 1024 * 1024]));
    }
    let siege = Siege::begin(&[("request_timeout_s", "5")])?;
    siege
        .stands(requests.len(), async |target| {
            let mut sending = JoinSet::new();
            for (head, part) in requests {
                let target = target.clone();
                sending.spawn(async move {
                    let stream = target.connect_tls(1).await?;
                    let (mut read, mut write) = tokio::io::split(stream);
                    let name = head.lines().next().unwrap_or_default().to_owned();
                    let send = async {
                        let mut sent = write.write_all(head.as_bytes()).await;
                        for _ in 0..PARTS {
                            sent = match sent {
                                Ok(()) => write.write_all(&part).await,
                                Err(error) => Err(error),
                            };
                        }
                        std::future::pending::<()>().await;
                    };
                    let said = tokio::select! {
                        () = send => Vec::new(),
                        said = answer(&mut read) => said?,
                    };
                    anyhow::Ok((name, said))
                });
            }
            let mut told = 0;
            while let Some(answered) = sending.join_next().await {
                let (name, said) = answered??;
                let text = String::from_utf8_lossy(&said);
                told += usize::from(text.starts_with("HTTP/1.1 413"));
                ensure!(said.len() <= 4096, "{name}: {} bytes", said.len());
                ensure!(
                    said.is_empty() || text.starts_with("HTTP/1.1 4"),
                    "{name} was taken: {}",
                    text.lines().next().unwrap_or_default()
                );
            }
            // Some of them hear it; to the others the connection breaks while they still send.
            ensure!(told > 0, "nobody was told that it is too much");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn thousands_of_idle_connections_keep_nobody_out() -> Result<()> {
    const ATTACKERS: u8 = 8;
    const EACH: usize = 400;
    let idle_ends_after = [("header_timeout_s", "20"), ("connections_per_address", "300")];
    let siege = Siege::begin(&idle_ends_after)?;
    raise_open_files()?;
    siege
        .stands(usize::from(ATTACKERS) * EACH, async |target| {
            let mut idle = Vec::new();
            for from in 1..=ATTACKERS {
                for _ in 0..EACH {
                    idle.push(target.connect(from).await?);
                }
            }
            println!("{} connections that say nothing", idle.len());
            // They end by themselves: those above an address's share at once, the others in time.
            for mut one in idle {
                let said = answer(&mut one).await?;
                ensure!(said.len() <= MAX_ALERT_BYTES, "{} bytes are no alert", said.len());
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn pipelined_junk_is_answered_within_bounds_and_ended() -> Result<()> {
    const CONNECTIONS: u8 = 50;
    let mut seed = Seed::from_environment(22);
    let siege = Siege::begin(&[("header_timeout_s", "2")])?;
    siege
        .stands(usize::from(CONNECTIONS) * 70, async |target| {
            let mut answered = 0;
            for from in 1..=CONNECTIONS {
                let stream = target.connect_tls(from).await?;
                let (mut read, mut write) = tokio::io::split(stream);
                let length = 1 + seed.draw_below(3000);
                let junk = [
                    "GET /junk HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(64).into_bytes(),
                    b"\x00\x01".to_vec(),
                    seed.bytes(length),
                    b"\r\n\r\n".to_vec(),
                ];
                let talk = async {
                    let _ = write.write_all(&junk.concat()).await;
                    let _ = write.flush().await;
                    std::future::pending::<()>().await;
                };
                let said = tokio::select! {
                    () = talk => Vec::new(),
                    said = answer(&mut read) => said?,
                };
                let text = String::from_utf8_lossy(&said);
                ensure!(said.len() <= 65 * 2048, "{} bytes", said.len());
                ensure!(text.matches("HTTP/1.1 ").count() <= 65, "{text}");
                answered += text.matches("HTTP/1.1 404").count();
            }
            // What is sensible is answered, unless the connection broke below the answers.
            ensure!(answered >= 64, "{answered} answers");
            Ok(())
        })
        .await
}

/// A test that holds thousands of connections needs as many files.
fn raise_open_files() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    ensure!(hard >= 5000, "needs 5,000 open files, may have {hard}: raise the limit (ulimit -Hn)");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")
}
