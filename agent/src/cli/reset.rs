//! `reset`: back to how the device was before it was enrolled, so that it enrolls again.

use super::{exit::Exit, session::Session, settle::Settling, stage::stopped};
use crate::{
    boot::{BootError, parse_token},
    console::Situation,
    failure::{DeviceFault, Failure},
    files, handshake,
};
use std::path::Path;
use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};

/// Checks that the device can enroll again, then takes away what was installed and forgets the
/// enrollment. With a reset ticket the device's key is forgotten too, and the ticket is kept for
/// the next handshake: it is what allows a new key.
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
        handshake::io::device_key(&context.layout, &session.entropy)?;
        return Ok(None);
    };
    let bytes = files::read(path, MAX_TOKEN_BYTES as u64 + 2)?;
    let ticket = bytes
        .map(|bytes| Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
        .and_then(|text| parse_token(&text))
        .ok_or(DeviceFault::NoTicket)?;
    Ok(Some(ticket))
}

fn forget(session: &mut Session, ticket: Option<&Secret>) -> Result<(), Failure> {
    let layout = session.layout.clone();
    Settling::begin(session, || {})?.reset()?;
    let mut gone = vec![
        layout.grant(),
        layout.pending_grant(),
        layout.enrollment(),
        layout.queue(),
        layout.reset_ticket(),
    ];
    if let Some(ticket) = ticket {
        gone.push(layout.device_key());
        remove(&gone)?;
        let stored = files::replace(&layout.reset_ticket(), ticket.expose().as_bytes(), files::PRIVATE_FILE);
        return Ok(stored?);
    }
    remove(&gone)
}

fn remove(paths: &[std::path::PathBuf]) -> Result<(), Failure> {
    for path in paths {
        files::remove(path)?;
    }
    Ok(())
}
