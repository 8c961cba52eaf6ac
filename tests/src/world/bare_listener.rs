//! A listener that does not even speak TLS: the test alone decides about each connection.

use anyhow::{Context as _, Result};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A running listener, which stops when dropped.
#[derive(Debug)]
pub struct BareListener {
    /// The address on which it listens.
    pub address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BareListener {
    /// Gives every connection to `treat`, one after the other. Those that it returns stay open and silent.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start(mut treat: impl FnMut(TcpStream) -> Option<TcpStream> + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let address = listener.local_addr().context("find the port")?;
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                open.extend(treat(stream));
            }
        });
        Ok(Self { address, ends, thread: Some(thread) })
    }
}

impl Drop for BareListener {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It waits for a connection, so it gets one.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
