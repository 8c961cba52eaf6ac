//! `reset`: returns the device to its state before enrollment, so that it enrolls again.

use super::{apply::Applier, error::DriverError, session::Session, stages::stop};
use crate::{
    boot::{BootError, Layout, parse_token},
    console::Situation,
    exit::Exit,
    failure::Failure,
    files::{self, Attributes, Entry, FilesError, Owner},
    handshake::key_file::{self, make_exchange},
    identity, install, ledger,
};
use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};

/// Time for a process of the network side to finish its work. After that it is taken for one that holds
/// the lock on purpose: anything it still writes belongs to an enrollment that is over.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Interval between attempts to take the lock.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The options of a reset.
pub(crate) struct Reset<'a> {
    /// A file with the administrator's one-time ticket.
    pub(crate) ticket_file: Option<&'a Path>,
    /// Asks for consent to discard a newer agent's records, given a description of the loss; `None` if
    /// they must be kept.
    pub(crate) forget_newer: Option<&'a mut dyn FnMut(&str) -> bool>,
}

/// Checks that the device can enroll again, then removes the installed payload and forgets the
/// enrollment. With a reset ticket, the device's key is forgotten too, and the ticket, which allows a new
/// key, is stored for the next handshake. An unusable key is forgotten in any case.
pub(crate) async fn reset(session: &mut Session, how: Reset<'_>) -> Result<Exit, Exit> {
    let ended = match validate(session, how.ticket_file) {
        Ok(ticket) => forget(session, ticket.as_ref(), how.forget_newer).await,
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(()) => {
            let why = "This device was reset. It enrolls again at its next start.";
            session.console.say(Situation::AtRest { why });
            Ok(Exit::Done)
        }
        Err(failure) => stop(session, &failure),
    }
}

/// Checks that the device could enroll again, before anything is removed, and returns the ticket.
fn validate(session: &mut Session, ticket_file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let context = session.context()?;
    let may_come_by_credential = context.layout.is_running_system();
    if context.settings.server.is_none() && !may_come_by_credential {
        return Err(BootError::NoServer.into());
    }
    let Some(path) = ticket_file else {
        return Ok(None);
    };
    let bytes = files::read(path, MAX_TOKEN_BYTES as u64 + 2)?;
    let ticket = bytes
        .map(|bytes| Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
        .and_then(|text| parse_token(&text))
        .ok_or(DriverError::NoTicket)?;
    Ok(Some(ticket))
}

/// Stores the input of the next handshake first, then forgets everything else: after a power cut in
/// between, the device is still managed, or its reset resumes.
async fn forget(
    session: &mut Session,
    ticket: Option<&Secret>,
    forget_newer: Option<&mut dyn FnMut(&str) -> bool>,
) -> Result<(), Failure> {
    let layout = session.layout.clone();
    files::free_directory(&layout.exchange())?;
    let _lock = wait_for_exchange_lock(session).await?;
    if let Some(confirm) = forget_newer {
        set_newer_records_aside(&layout, confirm)?;
    }
    if let Some(ticket) = ticket {
        store_ticket(&layout, ticket)?;
    }
    let is_unusable = key_file::is_unusable(&layout, &session.entropy);
    let identity = identity::io::take_over(&layout).ok();
    Applier::begin(session, identity.as_ref(), || {})?.reset()?;
    if ticket.is_some() || is_unusable {
        files::discard(&layout.device_key())?;
    }
    Ok(())
}

/// Moves a newer agent's records aside, if there are any and `confirm` agrees.
fn set_newer_records_aside(layout: &Layout, confirm: &mut dyn FnMut(&str) -> bool) -> Result<(), Failure> {
    let mut newer = install::newer_records(&layout.state())?;
    if ledger::io::read(layout).is_err_and(|error| error.is_newer()) {
        newer.push(layout.ledger());
    }
    if newer.is_empty() {
        return Ok(());
    }
    if !confirm(&describe_loss(layout, &newer)) {
        return Err(DriverError::NotConfirmed.into());
    }
    for path in newer {
        files::set_aside(&path, files::NEWER)?;
    }
    Ok(())
}

fn describe_loss(layout: &Layout, newer: &[PathBuf]) -> String {
    let names: Vec<String> = newer.iter().map(|path| path.display().to_string()).collect();
    let installed = if newer.iter().any(|path| path.starts_with(layout.state().join("install"))) {
        "What it installed stays on this device as it is, and nothing can take it away later."
    } else {
        "What is installed is taken away."
    };
    format!(
        "A newer version of the agent wrote {}. They are put aside with the ending {}, and this device enrolls \
         again. {installed}",
        names.join(", "),
        files::NEWER
    )
}

/// Takes the lock of the exchange, if it exists, and waits for its holder, but not indefinitely: the
/// lock's owner is another user, who might never release it.
async fn wait_for_exchange_lock(session: &mut Session) -> Result<Option<File>, Failure> {
    let path = session.layout.exchange_lock();
    if !session.layout.exchange().is_dir() {
        return Ok(None);
    }
    let mut waited = Duration::ZERO;
    loop {
        let lock = match Entry::from_path(&path)?.open() {
            // Not a regular file, so nobody can hold a lock on it.
            Err(error) if error.is_not_a_document() => return Ok(None),
            opened => opened?,
        };
        match lock.map(|file| file.try_lock().map(|()| file)) {
            None => return Ok(None),
            Some(Ok(file)) => return Ok(Some(file)),
            Some(Err(_)) if waited >= LOCK_PATIENCE => {
                tracing::warn!(
                    "another process did not let go of the exchange; the reset goes on without it"
                );
                return Ok(None);
            }
            Some(Err(_)) => {
                let why = "Another process of the agent is at work. The reset waits for it.";
                session.console.say(Situation::AtRest { why });
                session.sleep(LOOK_EVERY).await;
                waited += LOOK_EVERY;
            }
        }
    }
}

/// Stores the ticket for the network side, with the owner of the exchange.
fn store_ticket(layout: &Layout, ticket: &Secret) -> Result<(), Failure> {
    make_exchange(layout)?;
    let exchange = layout.exchange();
    let owner = exchange.metadata().map_err(|source| FilesError::Read { path: exchange, source })?;
    let owner = Some(Owner { uid: owner.uid(), gid: owner.gid() });
    let attributes = Attributes { mode: files::PRIVATE_FILE, owner };
    let entry = Entry::from_path(&layout.reset_ticket())?;
    entry.discard()?;
    entry.write(attributes, |file| file.write_all(ticket.expose().as_bytes()))?;
    Ok(())
}
