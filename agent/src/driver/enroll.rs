//! The network side of an unenrolled device: from the first message to a grant.

use super::{
    fetch::{accept_grant, readable_ledger},
    session::Session,
};
use crate::{
    boot::{BootContext, Token},
    console::Situation,
    failure::Failure,
    handshake::{self, DeviceKey, io::Applicant},
    http::Refusal,
    report,
};
use unbox_common::{identity::HardwareIdentity, protocol::latest::PriorEnrollment};

/// Enrolls from the first message on.
pub(super) async fn enroll_anew(
    session: &mut Session,
    context: &BootContext,
    identity: &HardwareIdentity,
    key: &DeviceKey,
) -> Result<(), Failure> {
    let server = context.server()?;
    let client = session.client(context, None)?;
    session.console.say(Situation::Contacting { server: &server.to_string() });
    let applicant = Applicant { identity, key, enrollment: prior_enrollment(context)? };
    let enroll = async |token: Option<&Token>| {
        handshake::io::enroll(context, &client, &applicant, token, &session.entropy).await
    };
    let granted = match (enroll(context.settings.token.as_ref()).await, &context.settings.spare_token) {
        // For example, the built-in token was revoked and somebody plugged in another one.
        (Err(failure), Some(spare)) if failure.cause().is_some_and(Refusal::is_about_the_token) => {
            enroll(Some(spare)).await?
        }
        (tried, _) => tried?,
    };
    handshake::key_file::store_machine(&context.layout, identity)?;
    session.console.record_stage("handshake");
    accept_grant(session, context, key, granted.grant(), granted.nonce()).await
}

/// Returns the progress of this device, in case the server lost it: the certificate proves it to any
/// server with the same keys, even after it expired.
fn prior_enrollment(context: &BootContext) -> Result<Option<PriorEnrollment>, Failure> {
    let Some(enrolled) = report::io::read_enrolled(&context.layout)? else { return Ok(None) };
    let payload_version = readable_ledger(context)?.ledger.floor.and_then(|floor| floor.payload_version);
    let certificate = enrolled.certificate_chain.into_iter().next();
    Ok(certificate.map(|certificate| PriorEnrollment { certificate, payload_version }))
}
