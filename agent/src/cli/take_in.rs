//! The network side's work on a grant: believe it, fetch what it needs, hand it to the installer.
//!
//! A grant that is believed is kept at once, so that a power cut while artifacts are fetched
//! costs neither the handshake nor the bytes that are there.

use super::session::Session;
use crate::{
    boot::BootContext,
    console::{Situation, chain},
    failure::{DeviceFault, Failure},
    files::{self, FilesError},
    handshake::{
        CertificateChain, DeviceKey,
        io::{Client, ClientSettings},
    },
    ledger::{self, Ledger, io::LedgerError},
    payload::{self, accept},
    report::{self, Enrolled, Noted},
};
use std::path::Path;
use unbox_common::{
    bytes::Nonce,
    payload::AcceptedPayload,
    protocol::{
        latest::{Grant, Outcome},
        limits::MAX_GRANT_BYTES,
        progress::Progress,
    },
    timestamp::Timestamp,
    trust::{Signed, SigningRoot},
};

/// Takes in a grant that just came: keeps it if it is believed, tells the server if it is not.
pub(super) async fn take_in(
    session: &mut Session,
    context: &BootContext,
    key: &DeviceKey,
    grant: &Grant,
    nonce: Nonce,
) -> Result<(), Failure> {
    let layout = &context.layout;
    let now = Session::now(context);
    let context = follow_roots(context, &grant.roots)?;
    let enrolled = Enrolled::by(grant, now);
    report::io::store_enrolled(layout, &enrolled)?;
    let ledger = readable_ledger(&context)?;
    match accept(grant, &context.trust, &ledger, Some(nonce), now) {
        Ok(payload) => {
            store_grant(&layout.pending_grant(), grant)?;
            note(&context, &enrolled, now, Progress::ParsingComplete)?;
            fetch(session, &context, grant, &payload).await
        }
        Err(rejection) => {
            let rejection = Failure::from(rejection);
            tell_rejection(&context, &enrolled, key, &rejection).await?;
            Err(rejection)
        }
    }
}

/// Goes on with a grant that was kept when the power was cut; `None` if there is none that is
/// still good.
pub(super) async fn go_on(
    session: &mut Session,
    context: &BootContext,
    key: &DeviceKey,
) -> Result<Option<()>, Failure> {
    let path = context.layout.pending_grant();
    let limit = MAX_GRANT_BYTES as u64 * 2;
    let Some(bytes) = files::read(&path, limit)? else {
        return Ok(None);
    };
    let now = Session::now(context);
    let good = serde_json::from_slice::<Grant>(&bytes).ok().and_then(|grant| {
        let certificate = CertificateChain::parse(&grant.certificate_chain, key.public()).ok()?;
        let ledger = readable_ledger(context).ok()?;
        let payload = accept(&grant, &context.trust, &ledger, None, now).ok()?;
        certificate.is_valid(now).then_some((grant, payload))
    });
    if let Some((grant, payload)) = good {
        return fetch(session, context, &grant, &payload).await.map(Some);
    }
    files::remove(&path)?;
    Ok(None)
}

/// Fetches what the payload needs, and hands the grant to the installer.
async fn fetch(
    session: &mut Session,
    context: &BootContext,
    grant: &Grant,
    payload: &AcceptedPayload,
) -> Result<(), Failure> {
    session.console.say(Situation::Granted { owner: &grant.owner });
    let layout = &context.layout;
    let server = context.server()?;
    let client = Client::new(&ClientSettings::of(context))?;
    let console = &mut session.console;
    let mut told = 0;
    let mut progress = |received: u64, total: u64| {
        // A tenth at a time: a console is no progress bar.
        let tenths = received.saturating_mul(10) / total.max(1);
        if tenths > told {
            told = tenths;
            console.say(Situation::Fetching { received, total });
        }
    };
    payload::io::fetch_all(layout, server, &client, payload, &mut progress).await?;
    store_grant(&layout.grant(), grant)?;
    files::remove(&layout.pending_grant())?;
    files::remove(&layout.reset_ticket())?;
    // What is in the way takes room, and does no harm: the next time is as good.
    let _ = payload::io::clean(layout, &[payload]);
    session.console.done("payload");
    session.console.say(Situation::Fetched);
    Ok(())
}

fn store_grant(path: &Path, grant: &Grant) -> Result<(), Failure> {
    let json = serde_json::to_vec(grant)
        .map_err(|error| FilesError::Write { path: path.to_owned(), source: error.into() });
    let stored = json.and_then(|json| files::replace(path, &json, files::PRIVATE_FILE));
    Ok(stored?)
}

/// Follows the roots that came with an answer, and keeps those that are new.
pub(super) fn follow_roots(
    context: &BootContext,
    roots: &[Signed<SigningRoot>],
) -> Result<BootContext, Failure> {
    let mut context = context.clone();
    let before = context.trust.chain.len();
    context.trust = context.trust.advanced(roots);
    if context.trust.chain.len() > before {
        let path = context.layout.fetched_roots();
        let json = serde_json::to_vec(&context.trust.chain)
            .map_err(|error| FilesError::Write { path: path.clone(), source: error.into() });
        let stored = json.and_then(|json| files::replace(&path, &json, files::PRIVATE_FILE));
        stored?;
    }
    Ok(context)
}

/// The ledger as the network side sees it. A damaged one counts as none: the privileged side
/// begins a new one, above the floor that it kept.
pub(super) fn readable_ledger(context: &BootContext) -> Result<Ledger, Failure> {
    match ledger::io::read(&context.layout) {
        Err(error) if error.is_damaged() => Ok(Ledger::after_damage(None)),
        read => Ok(read.map_err(|error: LedgerError| DeviceFault::from(error))?),
    }
}

fn note(
    context: &BootContext,
    enrolled: &Enrolled,
    at: Timestamp,
    progress: Progress,
) -> Result<(), Failure> {
    let layout = &context.layout;
    let mut queue = report::io::queue(layout, enrolled.generation)?;
    for progress in [Progress::BootstrapInitiated, progress] {
        queue.note(Noted { at, progress, detail: None });
    }
    Ok(report::io::store_queue(layout, &queue)?)
}

/// Tells the server that what it offers is not believed here.
async fn tell_rejection(
    context: &BootContext,
    enrolled: &Enrolled,
    key: &DeviceKey,
    rejection: &Failure,
) -> Result<(), Failure> {
    let layout = &context.layout;
    let mut queue = report::io::queue(layout, enrolled.generation)?;
    let detail = chain(rejection);
    let at = Session::now(context);
    let progress = Progress::ParsingError;
    queue.note(Noted { at, progress, detail: Some(detail.clone()) });
    queue.conclude(Outcome::Rejected { kind: rejection.kind().to_owned(), detail });
    report::io::store_queue(layout, &queue)?;
    let Ok(certificate) = CertificateChain::parse(&enrolled.certificate_chain, key.public()) else {
        return Ok(());
    };
    let client = Client::new(&ClientSettings {
        certificate: Some((&certificate, key)),
        ..ClientSettings::of(context)
    })?;
    let server = context.server()?;
    // If it cannot be told now, it waits in the queue; the rejection is what counts here.
    if let Err(error) = report::io::deliver(layout, server, &client, &mut queue).await {
        tracing::warn!(error = %chain(&error), "the rejection could not be reported yet");
    }
    Ok(())
}
