//! The network side of an enrolled device: report, check in when it is due, and act on the news.

use super::{
    enroll::enroll_anew,
    fetch::{accept_grant, follow_roots, replace_damaged, resume},
    session::Session,
    stages::stop,
    state::{NetworkSide, NetworkState},
};
use crate::{
    boot::BootContext,
    exit::Exit,
    failure::Failure,
    files,
    handshake::{self, CertificateChain, DeviceKey, ExchangeError},
    http::{Refusal, TransportError},
    ledger::{self, Ledger},
    payload::{Rejection, io::StoredGrant},
    report::{self, Enrolled, NextAction, Standing, next_action},
};
use std::time::Duration;
use unbox_common::{
    bytes::Nonce,
    identity::HardwareIdentity,
    payload::UnitName,
    protocol::latest::{Grant, News},
    refusal::RefusalKind,
};

/// The time of a round's check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At the time that the server set.
    Due,
    /// In this round: somebody may have power-cycled the device to see it succeed.
    AtOnce,
}

/// The result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoundEnd {
    /// This device has no enrollment.
    NotEnrolled,
    /// Everything is reported; the next check-in is due after this time.
    Rest(Duration),
    /// There is a new grant for the installer.
    Granted,
}

/// Tries until there is a complete grant, or until trying again cannot help.
pub(super) async fn retry_until_granted(
    session: &mut Session,
    identity: &HardwareIdentity,
) -> Result<(), Exit> {
    loop {
        match ask_for_grant(session, identity).await {
            Ok(()) => {
                session.tries.succeed();
                return Ok(());
            }
            Err(failure) if failure.needs_a_new_process() => return stop(session, &failure).map(drop),
            Err(failure) => session.wait_for_retry(&failure, Some(identity)).await?,
        }
    }
}

/// Tries once. An enrolled device that could install nothing yet needs another grant; one with a payload
/// in force needs none.
pub(super) async fn ask_for_grant(session: &mut Session, identity: &HardwareIdentity) -> Result<(), Failure> {
    match perform(session, When::AtOnce, async |_| Ok(identity.clone())).await? {
        RoundEnd::Granted => Ok(()),
        RoundEnd::Rest(_)
            if ledger::io::read(&session.layout).is_ok_and(|ledger| ledger.installed_payload().is_some()) =>
        {
            Ok(())
        }
        RoundEnd::Rest(_) => {
            let refused = report::io::read_enrolled(&session.layout)?.and_then(|enrolled| enrolled.refused);
            let why = refused.map(|one| format!(": {one}")).unwrap_or_default();
            Err(Rejection::Nothing(why).into())
        }
        RoundEnd::NotEnrolled => {
            let context = session.context()?;
            let key = handshake::key_file::device_key(&context.layout, &session.entropy)?;
            enroll_anew(session, &context, identity, &key).await
        }
    }
}

/// Performs one round. `identity` is called only if the device has to enroll again.
pub(super) async fn perform(
    session: &mut Session,
    when: When,
    identity: impl AsyncFnOnce(&Session) -> Result<HardwareIdentity, Failure>,
) -> Result<RoundEnd, Failure> {
    session.pacer.wait_for_round().await;
    let context = session.context()?;
    let key = handshake::key_file::device_key(&context.layout, &session.entropy)?;
    // A fetch that a power cut interrupted comes first. If it fails, the check-in may bring something
    // else.
    let unfinished = match resume(session, &context, &key).await {
        Ok(Some(())) => return Ok(RoundEnd::Granted),
        Ok(None) => replace_damaged(&context, &key).await.err(),
        Err(failure) => Some(failure),
    };
    let NetworkSide { state, enrolled, ledger, handed_over } = NetworkSide::read(session, &context)?;
    let handed_over = handed_over.as_ref();
    let answer = match (state, enrolled) {
        // The file is lost, and no handshake starts for a device that is marked as enrolled.
        (NetworkState::Unenrolled, _) if ledger.enrollment().is_some() => Ok(Answer::EnrollAgain),
        (NetworkState::Unenrolled, _) | (_, None) => {
            return unfinished.map_or(Ok(RoundEnd::NotEnrolled), Err);
        }
        (NetworkState::Expired, _) => Ok(Answer::EnrollAgain),
        (_, Some(enrolled)) => {
            let own = Own { enrolled, ledger, handed_over };
            report_and_check_in(session, &context, &key, own, when).await
        }
    };
    match answer {
        Ok(Answer::Rest(pause)) => {
            remind_installer(&context, handed_over)?;
            unfinished.map_or(Ok(RoundEnd::Rest(pause)), Err)
        }
        Ok(Answer::Install(grant, nonce)) => {
            accept_grant(session, &context, &key, &grant, nonce).await?;
            Ok(RoundEnd::Granted)
        }
        Err(failure) if !ends_enrollment(&failure) => Err(failure),
        Ok(Answer::EnrollAgain) | Err(_) => {
            let identity = identity(session).await?;
            enroll_anew(session, &context, &identity, &key).await?;
            Ok(RoundEnd::Granted)
        }
    }
}

/// Touches a grant that the installer has not dealt with, which wakes it: systemd notices no change of the
/// file until the installer's process has ended, and a grant may arrive just before that.
fn remind_installer(context: &BootContext, handed_over: Option<&StoredGrant>) -> Result<(), Failure> {
    let Some(stored) = handed_over else { return Ok(()) };
    if report::io::read_outcome(&context.layout)?.is_none_or(|last| last.grant != stored.digest) {
        files::touch(&context.layout.grant())?;
    }
    Ok(())
}

/// The device's files before a check-in.
struct Own<'a> {
    enrolled: Enrolled,
    ledger: Ledger,
    handed_over: Option<&'a StoredGrant>,
}

/// The server's answer to a report and check-in.
enum Answer {
    /// Nothing new; the next check-in is due after this time.
    Rest(Duration),
    /// A newer payload, in answer to this nonce.
    Install(Box<Grant>, Nonce),
    /// The device has to enroll again.
    EnrollAgain,
}

/// Returns true if the server says that this enrollment is over: a newer one replaced it, as on a disk
/// restored from a copy, or another authority issues certificates now. The key is known, and may enroll
/// again.
fn ends_enrollment(failure: &Failure) -> bool {
    failure.cause::<Refusal>().is_some_and(|refusal| refusal.problem.kind == RefusalKind::ProofRequired)
        || matches!(failure.cause(), Some(TransportError::CertificateRefused(_)))
}

/// Sends pending reports, and checks in when it is time.
async fn report_and_check_in(
    session: &Session,
    context: &BootContext,
    key: &DeviceKey,
    own: Own<'_>,
    when: When,
) -> Result<Answer, Failure> {
    let layout = &context.layout;
    let now = Session::now(context);
    let Own { enrolled, ledger, handed_over } = own;
    let is_managed = ledger.installed_payload().is_some();
    let mut queue = report::io::read_queue(layout, enrolled.generation)?;
    let pause = match when {
        When::AtOnce => Duration::ZERO,
        When::Due => enrolled.check_in_delay(session.system_clock(), enrolled.jitter(), is_managed),
    };
    if queue.next().is_none() && !pause.is_zero() {
        return Ok(Answer::Rest(pause));
    }
    let certificate = CertificateChain::parse(&enrolled.certificate_chain, key.public())
        .map_err(|_| ExchangeError::WrongCertificate)?;
    let client = session.client(context, Some((&certificate, key)))?;
    let server = context.server()?;
    report::io::deliver(layout, server, &client, &mut queue).await?;
    if !pause.is_zero() {
        return Ok(Answer::Rest(pause));
    }
    let standing = Standing {
        enrolled: &enrolled,
        certificate: &certificate,
        ledger: &ledger,
        healthy: is_healthy(context, &ledger, handed_over),
        root_version: context.trust.root.version,
    };
    let nonce = session.entropy.nonce()?;
    let news = report::io::send_check_in(server, &client, &standing, nonce, now).await?;
    let enrolled = store_news(session, context, enrolled, &news, key)?;
    follow_roots(context, &news.roots)?;
    Ok(match next_action(&news, &enrolled) {
        NextAction::Rest => {
            Answer::Rest(enrolled.check_in_delay(session.system_clock(), enrolled.jitter(), is_managed))
        }
        NextAction::Install(grant) => Answer::Install(grant, nonce),
        NextAction::EnrollAgain => Answer::EnrollAgain,
    })
}

/// Stores the news about the enrollment itself, the new certificate first of all.
fn store_news(
    session: &Session,
    context: &BootContext,
    enrolled: Enrolled,
    news: &News,
    key: &DeviceKey,
) -> Result<Enrolled, Failure> {
    let mut enrolled = Enrolled {
        owner: news.owner.clone(),
        heard_at: session.system_clock(),
        check_in_after_s: news.check_in_after_s,
        ..enrolled
    };
    if !news.certificate_chain.is_empty() {
        CertificateChain::parse(&news.certificate_chain, key.public())
            .map_err(|_| ExchangeError::WrongCertificate)?;
        enrolled.certificate_chain.clone_from(&news.certificate_chain);
    }
    report::io::store_enrolled(&context.layout, &enrolled)?;
    Ok(enrolled)
}

/// Returns true if the installed payload is healthy as far as the network side can see: its unit is active.
fn is_healthy(context: &BootContext, ledger: &Ledger, handed_over: Option<&StoredGrant>) -> bool {
    let Some(installed) = ledger.installed_payload() else {
        return true;
    };
    let unit: Option<UnitName> = handed_over
        .and_then(|stored| stored.grant.payload.verify(&context.trust.root.payload_keys).ok())
        .filter(|payload| payload.version == installed.version)
        .and_then(|payload| payload.dpc.as_ref().and_then(|dpc| dpc.unit.clone()));
    report::io::is_unit_healthy(&context.layout, unit.as_ref())
}
