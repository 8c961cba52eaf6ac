//! `run`: all stages in one process, with the same code, for targets too small for units.

use super::{
    enroll,
    exit::Exit,
    keep::{self, Kept},
    session::Session,
    settle::{Settled, Settling},
    stage::stopped,
};
use crate::{
    failure::{DeviceFault, Failure},
    identity,
};
use std::time::Duration;
use unbox_common::{identity::HardwareIdentity, refusal::Disposition};

/// How long a device that only waits for its next check-in may sleep at once: a clock that is
/// set in the meantime is noticed.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// From power-on to managed; then reports and checks in, unless it is to be done `once`.
pub(super) async fn run(session: &mut Session, once: bool) -> Result<Exit, Exit> {
    session.console.ready();
    let _lock = match session.lock_exchange() {
        Ok(Some(lock)) => lock,
        Ok(None) => return stopped(session, &DeviceFault::Busy.into()),
        Err(fault) => return stopped(session, &fault.into()),
    };
    let identity = match survey(session).await {
        Ok(identity) => identity,
        Err(failure) => return stopped(session, &failure),
    };
    session.console.done("identity");
    loop {
        match turn(session, &identity).await {
            Ok(Turn::Again) => {}
            Ok(Turn::Rest { exit, .. }) if once => return Ok(exit),
            Ok(Turn::Rest { pause, .. }) => {
                session.succeeded();
                session.rest(pause.min(LONGEST_REST)).await;
            }
            Err(failure) => session.again(&failure, Some(&identity)).await?,
        }
    }
}

enum Turn {
    /// There is something to do at once.
    Again,
    /// Everything is done and said; what follows comes after a pause.
    Rest { pause: Duration, exit: Exit },
}

/// One turn: install what was granted, or enroll, or report.
async fn turn(session: &mut Session, identity: &HardwareIdentity) -> Result<Turn, Failure> {
    let (settled, ledger) = {
        let mut settling = Settling::begin(session, || {})?;
        (settling.look(), settling.ledger().clone())
    };
    let passing = ledger.failed().is_some_and(|failed| failed.disposition == Disposition::Retry);
    match settled {
        Ok(Settled::NotManaged) if passing => return Err(DeviceFault::RolledBack.into()),
        Ok(_) => {}
        // The server is told what was rejected, and may have something else.
        Err(Failure::Rejected(_)) => {}
        Err(failure) => return Err(failure),
    }
    if !enroll::is_settled(session)? {
        enroll::once(session, identity).await?;
        return Ok(Turn::Again);
    }
    let exit = if ledger.installed().is_some() && ledger.failed().is_none() {
        Exit::Done
    } else {
        Exit::Administrator
    };
    match keep::round(session, async |_| Ok(identity.clone())).await? {
        Kept::Granted => Ok(Turn::Again),
        Kept::Rest(pause) => {
            session.console.done("report");
            Ok(Turn::Rest { pause, exit })
        }
        Kept::NotEnrolled => Ok(Turn::Rest { pause: LONGEST_REST, exit: Exit::Administrator }),
    }
}

async fn survey(session: &Session) -> Result<HardwareIdentity, Failure> {
    let survey = identity::io::survey(&session.layout).await;
    let handed_over = identity::io::hand_over(&session.layout, &survey)
        .and_then(|()| survey.identity().map_err(identity::io::SurveyError::from));
    Ok(handed_over.map_err(DeviceFault::from)?)
}
