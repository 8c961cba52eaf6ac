//! The four stages as run by units, each with the fewest rights possible.

use super::{
    apply::{Applied, Applier},
    error::DriverError,
    round::{self, RoundEnd, When},
    session::Session,
    state::NetworkSide,
};
use crate::{
    boot::{self, Found},
    console::Situation,
    exit::Exit,
    failure::Failure,
    files::{self, FilesError},
    identity, ledger,
    machine::Machine,
    text::chain,
};
use std::{io, os::fd::AsFd as _, path::Path};
use unbox_common::{identity::HardwareIdentity, refusal::Disposition};

/// Runs `stage identity`: as root, without a network.
pub(crate) async fn identity(session: &mut Session) -> Result<Exit, Exit> {
    let survey = identity::io::survey(&session.layout).await;
    let handed_over = identity::io::hand_over(&session.layout, &survey)
        .and_then(|()| survey.identity().map_err(identity::io::SurveyError::from));
    match handed_over {
        Ok(identity) => match mark_machine(session, &identity).and_then(|()| check_exchange(session)) {
            Ok(()) => Ok(Exit::Done),
            Err(failure) => stop(session, &failure),
        },
        Err(error) => stop(session, &error.into()),
    }
}

/// Marks a machine that is not the enrolled one, so that the handshake runs despite the enrollment on the
/// disk.
fn mark_machine(session: &Session, identity: &HardwareIdentity) -> Result<(), Failure> {
    let path = session.layout.other_machine_marker();
    let enrolled = ledger::io::read(&session.layout).ok().and_then(|ledger| ledger.machine);
    if enrolled.is_some_and(|machine| machine.is_other_than(&Machine::from_identity(identity))) {
        files::replace(&path, b"", files::PUBLIC_FILE)?;
    } else {
        files::discard(&path)?;
    }
    Ok(())
}

/// Checks that nothing else is in the place of the exchange folder. Only root could put it right, and this
/// stage writes nothing there; systemd does not even start the others then.
fn check_exchange(session: &Session) -> Result<(), Failure> {
    let exchange = session.layout.exchange();
    if exchange.symlink_metadata().is_ok() && !exchange.is_dir() {
        return Err(DriverError::NoExchange(exchange).into());
    }
    Ok(())
}

/// Runs `medium`: without a network, without root, and with access to nothing but the medium itself.
pub(crate) fn medium(folder: &Path) -> Result<Exit, Exit> {
    let handed_on = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| FilesError::Read { path: "/dev/stdin".into(), source })
        .and_then(|volume| boot::io::read_medium(volume.into(), folder));
    match handed_on {
        Ok(Found::Token(_)) => tracing::info!("a token was found"),
        Ok(Found::NotUsed(why)) => tracing::warn!(why, "the medium is not used"),
        Err(error) => {
            tracing::error!(error = %chain(&error), "what was found could not be handed on");
            return Err(Exit::Administrator);
        }
    }
    Ok(Exit::Done)
}

/// Runs `stage handshake`: with the network, without root. Ends when there is a grant.
pub(crate) async fn handshake(session: &mut Session) -> Result<Exit, Exit> {
    session.console.notify_ready();
    let _lock = match session.lock_exchange() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(exit_at_rest(session, "Another process of the agent is at work.")),
        Err(failure) => return stop(session, &failure),
    };
    if let Err(failure) = bind_key(session) {
        return stop(session, &failure);
    }
    let side = session.context().and_then(|context| NetworkSide::read(session, &context));
    match side {
        Ok(side) if side.state.needs_no_handshake() => {
            return Ok(exit_at_rest(session, "This device is enrolled, or about to be."));
        }
        Ok(_) => {}
        Err(failure) => return stop(session, &failure),
    }
    let identity = match read_identity(session) {
        Ok(identity) => identity,
        Err(failure) => return stop(session, &failure),
    };
    round::retry_until_granted(session, &identity).await?;
    Ok(Exit::Done)
}

/// Runs `stage install`: as root, without a network. Ends when the grant is dealt with.
pub(crate) async fn install(session: &mut Session) -> Result<Exit, Exit> {
    loop {
        let identity = identity::io::take_over(&session.layout).ok();
        let settled = Applier::begin(session, identity.as_ref(), notify_ready).and_then(|mut applier| {
            // Interrupted work is complete now: nothing on the disk is half done.
            notify_ready();
            let settled = applier.apply_grant()?;
            Ok((settled, applier.ledger().failed_payload().map(|failed| failed.disposition)))
        });
        match settled {
            // A newer grant may have arrived in the meantime, and no other process would be notified.
            Ok((Applied::Managed, _)) => session.tries.succeed(),
            Ok((Applied::Nothing, _)) => return Ok(Exit::Done),
            Ok((Applied::NotManaged, Some(Disposition::Retry))) => {
                session.wait_for_retry(&DriverError::RolledBack.into(), None).await?;
            }
            Ok((Applied::NotManaged, _)) => return Ok(Exit::Administrator),
            Err(failure) if failure.disposition() == Disposition::Retry && !failure.needs_a_new_process() => {
                session.wait_for_retry(&failure, None).await?;
            }
            Err(failure) => return stop(session, &failure),
        }
    }
}

/// Runs `stage report` and `check-in`: with the network, without root. Performs one round.
pub(crate) async fn report(session: &mut Session, when: When) -> Result<Exit, Exit> {
    let _lock = match session.lock_exchange() {
        Ok(Some(lock)) => lock,
        // A unit's round is done by the other process; a person's question to the server is not.
        Ok(None) if when == When::AtOnce => return stop(session, &DriverError::Busy.into()),
        Ok(None) => return Ok(exit_at_rest(session, "Another process of the agent is at work.")),
        Err(failure) => return stop(session, &failure),
    };
    if let Err(failure) = bind_key(session) {
        return stop(session, &failure);
    }
    match round::perform(session, when, async |session| read_identity(session)).await {
        Ok(RoundEnd::NotEnrolled) => Ok(exit_at_rest(session, "This device is not enrolled yet.")),
        // A person who ran the command wants to see the result.
        Ok(RoundEnd::Rest(_)) if when == When::AtOnce => {
            Ok(exit_at_rest(session, "The server has nothing new."))
        }
        Ok(RoundEnd::Rest(_) | RoundEnd::Granted) => Ok(Exit::Done),
        Err(failure) => stop(session, &failure),
    }
}

/// Binds the key to the machine. A missing identity is ignored: the next stage that needs one reports it.
fn bind_key(session: &mut Session) -> Result<(), Failure> {
    match identity::io::take_over(&session.layout) {
        Ok(identity) => session.bind_key(&identity),
        Err(_) => Ok(()),
    }
}

fn read_identity(session: &Session) -> Result<HardwareIdentity, Failure> {
    Ok(identity::io::take_over(&session.layout)?)
}

fn exit_at_rest(session: &mut Session, why: &str) -> Exit {
    session.console.say(Situation::AtRest { why });
    Exit::Done
}

pub(super) fn stop(session: &mut Session, failure: &Failure) -> Result<Exit, Exit> {
    session.console.say(Situation::Stopped { failure, identity: None });
    Err(Exit::from_failure(failure))
}

/// Tells systemd that the boot need not wait any longer.
fn notify_ready() {
    // Without systemd, nothing waits.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
