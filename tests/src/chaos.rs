//! A TCP relay that misbehaves from a seed: it cuts, stalls, drips and corrupts.
//!
//! It stands between real clients and a real server. TLS must notice every change, and both sides must
//! recover from every break.

use crate::seed::Seed;
use anyhow::{Context as _, Result};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    time::{sleep, timeout},
};

/// The longest that a connection may live.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// The fate of one connection, after this many bytes from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mischief {
    /// The connection is left alone.
    None,
    /// The connection ends in the middle.
    Cut,
    /// One byte is changed.
    Corrupt,
    /// The connection stalls for a while.
    Stall,
    /// The connection continues a few bytes at a time.
    Drip,
    /// The connection is not even answered.
    Refuse,
}

/// A running relay; it ends with the runtime that it runs in.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// The address for clients.
    pub address: SocketAddr,
    calm: Arc<AtomicBool>,
    harmed: Arc<AtomicUsize>,
}

impl Chaos {
    /// Relays to `server`, and harms about half of the connections until [`Self::stop_harm`].
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn relay_to(server: SocketAddr, seed: Seed) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen")?;
        let address = listener.local_addr().context("find the port")?;
        let chaos = Self { address, calm: Arc::default(), harmed: Arc::default() };
        tokio::spawn(chaos.clone().relay_all(listener, server, Arc::new(Mutex::new(seed))));
        Ok(chaos)
    }

    /// Only relays from now on.
    pub fn stop_harm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Returns the number of connections that it has harmed.
    #[must_use]
    pub fn count_harmed(&self) -> usize {
        self.harmed.load(Ordering::Relaxed)
    }

    async fn relay_all(self, listener: TcpListener, server: SocketAddr, seed: Arc<Mutex<Seed>>) {
        while let Ok((client, _)) = listener.accept().await {
            let (mischief, after_bytes) = self.choose(&seed);
            if mischief != Mischief::None {
                self.harmed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::spawn(timeout(CONNECTION_TIMEOUT, relay(client, server, mischief, after_bytes)));
        }
    }

    fn choose(&self, seed: &Mutex<Seed>) -> (Mischief, usize) {
        let Ok(mut seed) = seed.lock() else { return (Mischief::None, 0) };
        if self.calm.load(Ordering::Relaxed) {
            return (Mischief::None, 0);
        }
        let mischief = match seed.draw_below(10) {
            0 | 1 => Mischief::Cut,
            2 => Mischief::Corrupt,
            3 => Mischief::Stall,
            4 => Mischief::Drip,
            5 => Mischief::Refuse,
            _ => Mischief::None,
        };
        (mischief, usize::try_from(seed.draw_below(6000)).unwrap_or_default())
    }
}

async fn relay(client: TcpStream, server: SocketAddr, mischief: Mischief, after_bytes: usize) -> Result<()> {
    if mischief == Mischief::Refuse {
        return Ok(());
    }
    let server = TcpStream::connect(server).await.context("connect to the server")?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = tokio::spawn(pump(from_client, to_server, Mischief::None, 0));
    let down = pump(from_server, to_client, mischief, after_bytes).await;
    up.abort();
    down
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mischief: Mischief,
    after_bytes: usize,
) -> Result<()> {
    let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
    loop {
        let read = from.read(&mut buffer).await.context("read")?;
        let Some(bytes) = buffer.get_mut(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        let reached = passed + read > after_bytes;
        passed += read;
        match mischief {
            Mischief::Cut if reached => return Ok(()),
            Mischief::Corrupt if reached => {
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 0x55;
                }
            }
            Mischief::Stall if reached && passed - read <= after_bytes => sleep(Duration::from_secs(3)).await,
            Mischief::Drip if reached => {
                for few in bytes.chunks(512) {
                    to.write_all(few).await.context("drip")?;
                    sleep(Duration::from_millis(5)).await;
                }
                continue;
            }
            _ => {}
        }
        to.write_all(bytes).await.context("write")?;
    }
}
