//! The process around a server: readiness, stopping, and the notification of both.

use super::{Addresses, ServeError, Server};
use crate::files::{self, PUBLIC_FILE};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use serde::Serialize;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The contents of the ready file.
#[derive(Serialize)]
struct Ready<'a> {
    pid: u32,
    #[serde(flatten)]
    addresses: &'a Addresses,
}

/// The signals that the server handles. Once installed, none of them kills the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    meaning: HangUp,
}

/// The meaning of SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// For a service: its keys have changed.
    Reload,
    /// For a program in a terminal: the terminal is gone.
    Stop,
}

enum Wish {
    Stop,
    Reload,
}

impl Signals {
    /// Starts to handle signals.
    ///
    /// # Errors
    /// [`ServeError::Signals`] if the handlers cannot be installed.
    pub fn install(meaning: HangUp) -> Result<Self, ServeError> {
        let on = |kind| signal(kind).map_err(ServeError::Signals);
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
            meaning,
        })
    }

    /// Waits until the process is told to stop. A wait that is dropped early loses no signal.
    pub async fn stop(&mut self) {
        while !matches!(self.next().await, Wish::Stop) {}
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hang_up.recv() => match self.meaning {
                HangUp::Stop => Wish::Stop,
                HangUp::Reload => Wish::Reload,
            },
        }
    }
}

/// Runs a started server until the process is told to stop, and reads its keys again on request. A second
/// SIGTERM or SIGINT does not wait for requests.
///
/// # Errors
/// [`ServeError`] if a listener fails, or if the readiness could not be announced.
pub async fn run(
    mut server: Server,
    mut signals: Signals,
    ready_file: Option<&Path>,
    announce: impl FnOnce(&Addresses),
) -> Result<(), ServeError> {
    raise_file_limit();
    announce(server.addresses());
    tracing::info!(addresses = list_addresses(server.addresses()), "devices can connect");
    if let Some(path) = ready_file {
        let ready = Ready { pid: std::process::id(), addresses: server.addresses() };
        files::replace(path, serde_json::json!(ready).to_string().as_bytes(), PUBLIC_FILE)?;
    }
    let status = format!("Serving on {}", list_addresses(server.addresses()));
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let ended = loop {
        tokio::select! {
            error = server.wait_for_failure() => break Err(error),
            wish = signals.next() => match wish {
                Wish::Stop => break Ok(()),
                Wish::Reload => reload(&server, &status),
            },
        }
    };
    notify(&[NotifyState::Stopping, NotifyState::Status("Finishing requests")]);
    tracing::info!("stopping: requests under way are finished");
    let impatient = server.handle();
    let mut stopping = std::pin::pin!(server.stop());
    loop {
        tokio::select! {
            () = &mut stopping => break,
            wish = signals.next() => if matches!(wish, Wish::Stop) { impatient.shutdown() },
        }
    }
    if let Some(path) = ready_file {
        files::remove(path)?;
    }
    ended
}

fn reload(server: &Server, status: &str) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    match server.reload() {
        Ok(()) => tracing::info!("keys and certificates were read again"),
        Err(error) => tracing::error!(
            error = crate::log::chain(&error),
            "keys and certificates could not be read again; those in use stay"
        ),
    }
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Notifies systemd, if it listens (`sd_notify(3)`).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Raises the limit on open files: every connection is one, and most systems start processes with room for
/// 1,024.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::info!(%error, "the limit of open files stays as it is");
    }
}

fn list_addresses(addresses: &Addresses) -> String {
    let all = addresses.addresses.iter().chain(&addresses.plain_addresses).chain(&addresses.api_addresses);
    all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
