//! The network side's work on a grant: verify it, fetch its artifacts, hand it to the installer.
//!
//! A verified grant is stored at once, so that a power cut during a download costs neither the handshake
//! nor the bytes already fetched.

use super::session::Session;
use crate::{
    AGENT_VERSION,
    boot::BootContext,
    console::{Console, Situation},
    failure::Failure,
    files,
    handshake::{self, CertificateChain, DeviceKey},
    http::Client,
    ledger::{self, Event, Ledger, Refused},
    payload::{self, GrantError, Rejection, Requester, accept, version_of},
    report::{self, Enrolled, Noted},
    text::{chain, plain},
};
use unbox_common::{
    bytes::Nonce,
    payload::{AcceptedPayload, Payload},
    protocol::{
        latest::{Grant, Outcome},
        limits::MAX_DETAIL_BYTES,
        progress::Progress,
    },
    trust::{Signed, SigningRoot},
};

/// Takes in a grant that just arrived: stores it if it is valid, tells the server if it is not.
pub(super) async fn accept_grant(
    session: &mut Session,
    context: &BootContext,
    key: &DeviceKey,
    grant: &Grant,
    nonce: Nonce,
) -> Result<(), Failure> {
    let context = follow_roots(context, &grant.roots)?;
    let ledger = readable_ledger(&context)?.ledger;
    let requester = Requester { key_digest: Some(key.public().digest()), nonce: Some(nonce) };
    match accept(grant, &context.trust, &ledger, requester, Session::now(&context)) {
        Ok(payload) => {
            payload::io::store_grant(&context.layout.pending_grant(), grant)?;
            fetch_and_hand_over(session, &context, key, grant, &payload).await
        }
        Err(rejection) => Err(report_rejection(session, &context, key, grant, rejection.into()).await?),
    }
}

/// Resumes a grant that was stored before a power cut; `None` if none is still valid.
pub(super) async fn resume(
    session: &mut Session,
    context: &BootContext,
    key: &DeviceKey,
) -> Result<Option<()>, Failure> {
    let path = context.layout.pending_grant();
    let kept = match payload::io::read_grant(&path) {
        Ok(None) => return Ok(None),
        Ok(Some(kept)) => revalidate(context, key, kept.grant)?,
        Err(GrantError::Damaged) => None,
        Err(fault) => return Err(fault.into()),
    };
    if let Some((grant, payload)) = kept {
        return fetch_and_hand_over(session, context, key, &grant, &payload).await.map(Some);
    }
    files::discard(&path)?;
    Ok(None)
}

fn revalidate(
    context: &BootContext,
    key: &DeviceKey,
    grant: Grant,
) -> Result<Option<(Grant, AcceptedPayload)>, Failure> {
    let now = Session::now(context);
    let certificate = CertificateChain::parse(&grant.certificate_chain, key.public());
    if !certificate.is_ok_and(|certificate| certificate.is_valid(now)) {
        return Ok(None);
    }
    let requester = Requester { key_digest: Some(key.public().digest()), nonce: None };
    let payload = accept(&grant, &context.trust, &readable_ledger(context)?.ledger, requester, now).ok();
    Ok(payload.map(|payload| (grant, payload)))
}

/// Fetches the payload's artifacts, and hands the grant to the installer.
async fn fetch_and_hand_over(
    session: &mut Session,
    context: &BootContext,
    key: &DeviceKey,
    grant: &Grant,
    payload: &AcceptedPayload,
) -> Result<(), Failure> {
    let layout = &context.layout;
    let (pending, handed_over) = (layout.pending_grant(), layout.grant());
    report::io::store_enrolled(layout, &Enrolled::from_grant(grant, session.system_clock()))?;
    session.console.say(Situation::Granted { owner: &grant.owner });
    match fetch(context, payload, Some(&mut session.console)).await {
        Err(failure) if failure.cause::<Rejection>().is_some() => {
            files::discard(&pending)?;
            return Err(report_rejection(session, context, key, grant, failure).await?);
        }
        fetched => fetched?,
    }
    // The installer may still be working on the previous grant.
    let before = payload::io::read_grant(&handed_over).ok().flatten();
    let before = before.and_then(|before| {
        serde_json::from_slice::<Payload>(before.grant.payload.envelope().payload.as_ref()).ok()
    });
    files::publish(&pending, &handed_over)?;
    files::discard(&layout.reset_ticket())?;
    let keep: Vec<&Payload> = before.iter().chain([&**payload]).collect();
    // Leftovers take room but do no harm; they can be removed next time.
    let _ = payload::io::clean(layout, &keep);
    session.console.record_stage("payload");
    session.console.say(Situation::Fetched);
    Ok(())
}

async fn fetch(
    context: &BootContext,
    payload: &AcceptedPayload,
    mut console: Option<&mut Console>,
) -> Result<(), Failure> {
    let server = context.server()?;
    let client = Client::new(&context.client_settings())?;
    let mut told = 0;
    let mut progress = |received: u64, total: u64| {
        // In steps of a tenth: a console is not a progress bar.
        let tenths = received.saturating_mul(10) / total.max(1);
        if tenths > told
            && let Some(console) = &mut console
        {
            told = tenths;
            console.say(Situation::Fetching { received, total });
        }
    };
    payload::io::fetch_all(&context.layout, server, &client, payload, &mut progress).await
}

/// Fetches artifacts again that the installer found missing or damaged on the disk.
pub(super) async fn replace_damaged(context: &BootContext, key: &DeviceKey) -> Result<(), Failure> {
    let Some(last) = report::io::read_outcome(&context.layout)? else {
        return Ok(());
    };
    let is_broken = match &last.outcome {
        Outcome::Rejected { kind, .. } | Outcome::RolledBack { kind, .. } => {
            last.tries_again && ["artifact_missing", "artifact_changed"].contains(&kind.as_str())
        }
        Outcome::Managed { .. } => false,
    };
    let stored = payload::io::read_grant(&context.layout.grant()).ok().flatten();
    let Some(stored) = stored.filter(|stored| is_broken && stored.digest == last.grant) else {
        return Ok(());
    };
    let (ledger, now) = (readable_ledger(context)?.ledger, Session::now(context));
    let requester = Requester { key_digest: Some(key.public().digest()), nonce: None };
    match accept(&stored.grant, &context.trust, &ledger, requester, now) {
        Ok(payload) => fetch(context, &payload, None).await,
        Err(_) => Ok(()),
    }
}

/// Follows the roots in an answer, and stores the new ones.
pub(super) fn follow_roots(
    context: &BootContext,
    roots: &[Signed<SigningRoot>],
) -> Result<BootContext, Failure> {
    let mut context = context.clone();
    let before = context.trust.chain.len();
    context.trust = context.trust.with_newer_roots(roots);
    if context.trust.chain.len() > before {
        files::write_json(&context.layout.fetched_roots(), &context.trust.chain)?;
    }
    Ok(context)
}

/// The ledger as the privileged side will see it when it runs.
pub(super) struct ReadableLedger {
    /// The ledger: a damaged one counts as empty, and one from another machine's disk as marked as such.
    pub(super) ledger: Ledger,
    pub(super) is_damaged: bool,
}

pub(super) fn readable_ledger(context: &BootContext) -> Result<ReadableLedger, Failure> {
    let ledger = match ledger::io::read(&context.layout) {
        Err(error) if error.is_damaged() => {
            return Ok(ReadableLedger { ledger: Ledger::new_after_damage(None), is_damaged: true });
        }
        read => read?,
    };
    let own = handshake::key_file::machine(&context.layout)?;
    let is_anothers = match (&ledger.machine, &own) {
        (Some(enrolled), Some(own)) => enrolled.is_other_than(own),
        _ => false,
    };
    let ledger = if is_anothers && ledger.enrollment().is_some() {
        ledger.handle(Event::MachineChanged)?
    } else {
        ledger
    };
    Ok(ReadableLedger { ledger, is_damaged: false })
}

/// Tells the server that its offer is rejected here, and returns the rejection.
async fn report_rejection(
    session: &Session,
    context: &BootContext,
    key: &DeviceKey,
    grant: &Grant,
    rejection: Failure,
) -> Result<Failure, Failure> {
    let layout = &context.layout;
    let at = Session::now(context);
    let version = version_of(grant);
    let is_final = rejection.cause().is_some_and(Rejection::is_about_the_payload);
    let detail = plain(&chain(&rejection), MAX_DETAIL_BYTES);
    let refused = version.filter(|_| is_final).map(|version| Refused {
        generation: grant.generation,
        version,
        kind: rejection.kind().to_owned(),
        detail: detail.clone(),
        agent_version: AGENT_VERSION.to_owned(),
    });
    let enrolled = Enrolled { refused, ..Enrolled::from_grant(grant, session.system_clock()) };
    report::io::store_enrolled(layout, &enrolled)?;
    let mut queue = report::io::read_queue(layout, enrolled.generation)?;
    queue.add_entry(Noted { at, progress: Progress::ParsingError, detail: Some(detail.clone()) });
    queue.set_outcome(Outcome::Rejected { version, kind: rejection.kind().to_owned(), detail });
    report::io::store_queue(layout, &queue)?;
    let Ok(certificate) = CertificateChain::parse(&enrolled.certificate_chain, key.public()) else {
        return Ok(rejection);
    };
    let client = session.client(context, Some((&certificate, key)))?;
    // If the server cannot be told now, the message waits in the queue; the rejection matters more here.
    if let Err(error) = report::io::deliver(layout, context.server()?, &client, &mut queue).await {
        tracing::warn!(error = %chain(&error), "the rejection could not be reported yet");
    }
    Ok(rejection)
}
