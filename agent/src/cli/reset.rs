//! `reset`: back to how the device was before it was enrolled, so that it enrolls again.

use super::{exit::Exit, session::Session, settle::Settling, stage::stopped};
use crate::{
    boot::{BootError, Layout, parse_token},
    console::Situation,
    failure::{DeviceFault, Failure},
    files::{self, Attributes, Entry, FilesError, Owner},
    handshake::{self, key_file::make_exchange},
};
use std::{fs::File, io::Write as _, os::unix::fs::MetadataExt as _, path::Path};
use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};

/// Checks that the device can enroll again, then takes away what was installed and forgets the
/// enrollment. With a reset ticket the device's key is forgotten too, and the ticket is kept for
/// the next handshake: it is what allows a new key. A key in a TPM that is not this device's is
/// forgotten in any case.
pub(super) fn reset(session: &mut Session, ticket_file: Option<&Path>) -> Result<Exit, Exit> {
    match validated(session, ticket_file).and_then(|ticket| forget(session, ticket.as_ref())) {
        Ok(()) => {
            let why = "This device was reset. It enrolls again at its next start.";
            session.console.say(Situation::AtRest { why });
            Ok(Exit::Done)
        }
        Err(failure) => stopped(session, &failure),
    }
}

/// Nothing is taken away from a device that could not come back.
fn validated(session: &mut Session, ticket_file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let context = session.context()?;
    let may_come_by_credential = context.layout.is_running_system();
    if context.settings.server.is_none() && !may_come_by_credential {
        return Err(DeviceFault::from(BootError::NoServer).into());
    }
    let Some(path) = ticket_file else {
        // Without a ticket, the key is what the server knows this device by.
        if context.layout.device_key().exists() {
            handshake::key_file::device_key(&context.layout, &session.entropy)?;
        }
        return Ok(None);
    };
    let bytes = files::read(path, MAX_TOKEN_BYTES as u64 + 2)?;
    let ticket = bytes
        .map(|bytes| Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
        .and_then(|text| parse_token(&text))
        .ok_or(DeviceFault::NoTicket)?;
    Ok(Some(ticket))
}

/// First what the next handshake needs, then everything else: a power cut in between leaves a
/// device that is managed, or one whose reset goes on.
fn forget(session: &mut Session, ticket: Option<&Secret>) -> Result<(), Failure> {
    let layout = session.layout.clone();
    let _lock = nobody_is_at_work(&layout)?;
    if let Some(ticket) = ticket {
        keep_ticket(&layout, ticket)?;
    }
    let unusable = handshake::key_file::key_is_elsewhere(&layout, &session.entropy)?;
    Settling::begin(session, || {})?.reset()?;
    if ticket.is_some() || unusable {
        files::remove(&layout.device_key())?;
    }
    Ok(())
}

/// The lock of the exchange, if anybody ever made one. Its owner may be another user.
fn nobody_is_at_work(layout: &Layout) -> Result<Option<File>, Failure> {
    if !layout.exchange().is_dir() {
        return Ok(None);
    }
    let lock = Entry::of(&layout.exchange_lock())?.open()?;
    match lock.map(|file| file.try_lock().map(|()| file)) {
        None => Ok(None),
        Some(Ok(file)) => Ok(Some(file)),
        Some(Err(_)) => Err(DeviceFault::Busy.into()),
    }
}

/// Keeps the ticket where the network side finds it, as its own.
fn keep_ticket(layout: &Layout, ticket: &Secret) -> Result<(), Failure> {
    make_exchange(layout)?;
    let exchange = layout.exchange();
    let owner = exchange.metadata().map_err(|source| FilesError::Read { path: exchange, source })?;
    let owner = Some(Owner { uid: owner.uid(), gid: owner.gid() });
    let attributes = Attributes { mode: files::PRIVATE_FILE, owner };
    Entry::of(&layout.reset_ticket())?
        .write(attributes, |file| file.write_all(ticket.expose().as_bytes()))?;
    Ok(())
}
