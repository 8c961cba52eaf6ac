//! `run`: all stages in one process, with the same code, for targets too small for units.

use super::{
    apply::{Applied, Applier},
    error::DriverError,
    round::{self, RoundEnd, When},
    session::Session,
    stages::stop,
    state::NetworkSide,
};
use crate::{
    console::Situation,
    exit::Exit,
    failure::Failure,
    files, identity,
    ledger::{Ledger, Phase},
    report::{self, OutcomeFile},
    text::chain,
};
use std::time::Duration;
use unbox_common::{identity::HardwareIdentity, protocol::latest::Outcome, refusal::Disposition};

/// The longest single sleep of a device that only waits for its next check-in, so that a changed clock is
/// noticed.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// Runs all stages from power-on to managed; then reports and checks in, unless `once` is set.
///
/// As with the units, the server is asked at once when the process begins, and after that when a check-in
/// is due: the result of an installation is no reason to ask again.
pub(crate) async fn run(session: &mut Session, once: bool) -> Result<Exit, Exit> {
    session.console.notify_ready();
    session.console.record_stage("boot");
    let _lock = match session.lock_exchange() {
        Ok(Some(lock)) => lock,
        Ok(None) => return stop(session, &DriverError::Busy.into()),
        Err(failure) => return stop(session, &failure),
    };
    let identity = match survey(session).await {
        Ok(identity) => identity,
        Err(failure) => return stop(session, &failure),
    };
    session.console.record_stage("identity");
    let mut when = When::AtOnce;
    loop {
        match take_turn(session, &identity, when).await {
            Ok(Turn::Again) => when = When::Due,
            Ok(Turn::Rest { exit, .. }) if once => return Ok(exit),
            Ok(Turn::Rest { exit, .. }) if session.tries.are_used_up() => return Err(exit),
            Ok(Turn::Rest { pause, .. }) => {
                when = When::Due;
                session.tries.succeed();
                session.sleep(pause.min(LONGEST_REST)).await;
            }
            Err(failure) => session.wait_for_retry(&failure, Some(&identity)).await?,
        }
    }
}

enum Turn {
    /// More to do at once.
    Again,
    /// Everything is done and reported; the next turn follows after a pause.
    Rest { pause: Duration, exit: Exit },
}

/// Performs one turn: install a pending grant, or enroll, and report.
async fn take_turn(session: &mut Session, identity: &HardwareIdentity, when: When) -> Result<Turn, Failure> {
    session.bind_key(identity)?;
    let (applied, ledger) = {
        let mut applier = Applier::begin(session, Some(identity), || {})?;
        (applier.apply_grant(), applier.ledger().clone())
    };
    note_refusal(session, &applied, &ledger);
    let context = session.context()?;
    if !NetworkSide::read(session, &context)?.state.needs_no_handshake() {
        applied?;
        round::ask_for_grant(session, identity).await?;
        return Ok(Turn::Again);
    }
    // The server is told the result in any case, and may offer something else.
    let is_managed = ledger.installed_payload().is_some() && ledger.failed_payload().is_none();
    let when = if is_managed { When::Due } else { when };
    let ended = round::perform(session, when, async |_| Ok(identity.clone())).await?;
    let passing = ledger.failed_payload().is_some_and(|failed| failed.disposition == Disposition::Retry);
    let exit = match applied {
        Ok(Applied::NotManaged) if passing => return Err(DriverError::RolledBack.into()),
        Err(failure) if failure.disposition() == Disposition::Retry => return Err(failure),
        Err(failure) => Exit::from_failure(&failure),
        Ok(_) if is_managed => Exit::Done,
        Ok(_) => Exit::Administrator,
    };
    match ended {
        RoundEnd::Granted => Ok(Turn::Again),
        RoundEnd::Rest(pause) => {
            session.console.record_stage("report");
            print_result(session, &ledger)?;
            Ok(Turn::Rest { pause, exit })
        }
        RoundEnd::NotEnrolled => Ok(Turn::Rest { pause: LONGEST_REST, exit: Exit::Administrator }),
    }
}

/// Prints at once why nothing was installed, even if the server cannot be told, and counts the try.
/// Temporary failures are counted and printed by the retry instead.
fn note_refusal(session: &mut Session, applied: &Result<Applied, Failure>, ledger: &Ledger) {
    match applied {
        Err(failure) if failure.disposition() != Disposition::Retry => {
            session.tries.fail();
            let (kind, detail) = (failure.kind(), chain(failure));
            session.console.say(Situation::Rejected { kind, detail: &detail });
        }
        Ok(Applied::NotManaged)
            if ledger.failed_payload().is_some_and(|failed| failed.disposition != Disposition::Retry) =>
        {
            session.tries.fail();
        }
        _ => {}
    }
}

/// Leaves the final status of this device on the console.
fn print_result(session: &mut Session, ledger: &Ledger) -> Result<(), Failure> {
    match (&ledger.phase, report::io::read_outcome(&session.layout)?) {
        (Phase::Managed { enrollment, .. }, _) => session.console.say(Situation::Managed {
            device: enrollment.device,
            generation: enrollment.generation,
            owner: &enrollment.owner,
        }),
        (_, Some(OutcomeFile { outcome, .. })) => match &outcome {
            Outcome::Managed { .. } => {}
            Outcome::RolledBack { kind, detail, .. } => {
                session.console.say(Situation::RolledBack { kind, detail });
            }
            Outcome::Rejected { kind, detail, .. } => {
                session.console.say(Situation::Rejected { kind, detail });
            }
        },
        _ => {}
    }
    Ok(())
}

/// Reads the identity. It stays in this process: no other process needs it.
async fn survey(session: &Session) -> Result<HardwareIdentity, Failure> {
    files::make_directory(&session.layout.runtime(), files::PUBLIC_DIRECTORY)?;
    let survey = identity::io::survey(&session.layout).await;
    Ok(survey.identity().map_err(identity::io::SurveyError::from)?)
}
