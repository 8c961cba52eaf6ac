//! The network side of an unenrolled device: from the first message to a grant.

use super::{
    session::Session,
    take_in::{readable_ledger, take_in},
};
use crate::{
    boot::{BootContext, Token},
    console::Situation,
    failure::Failure,
    handshake::{self, CertificateChain, DeviceKey, io::Applicant},
    payload,
    report::{self, Enrolled},
};
use unbox_common::{identity::HardwareIdentity, protocol::latest::PriorEnrollment};

/// Enrolls from the first message on.
pub(super) async fn afresh(
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
        (Err(failure), Some(spare)) if failure.is_about_the_token() => enroll(Some(spare)).await?,
        (tried, _) => tried?,
    };
    handshake::key_file::note_machine(&context.layout, identity)?;
    session.console.done("handshake");
    take_in(session, context, key, granted.grant(), granted.nonce()).await
}

/// Returns the progress of this device, in case the server lost it: the certificate proves it to any
/// server with the same keys, even after it expired.
fn prior_enrollment(context: &BootContext) -> Result<Option<PriorEnrollment>, Failure> {
    let Some(enrolled) = report::io::enrolled(&context.layout)? else { return Ok(None) };
    let payload_version = readable_ledger(context)?.floor.and_then(|floor| floor.payload_version);
    let certificate = enrolled.certificate_chain.into_iter().next();
    Ok(certificate.map(|certificate| PriorEnrollment { certificate, payload_version }))
}

/// Whether nothing is left to enroll: this device has a valid enrollment, and the installer has its grant
/// or has dealt with it. If the installer refused it, the check-in replaces it.
pub(super) fn is_settled(session: &mut Session) -> Result<bool, Failure> {
    let context = session.context()?;
    let layout = &context.layout;
    let is_installed = readable_ledger(&context)?.installed().is_some();
    let is_handed_over = payload::io::read_grant(&layout.grant()).is_ok_and(|grant| grant.is_some());
    let is_pending = layout.pending_grant().exists();
    Ok((is_handed_over || is_installed) && !is_pending && valid_enrollment(session, &context)?.is_some())
}

/// Returns the network side's enrollment, if its certificate is valid and matches this key.
pub(super) fn valid_enrollment(
    session: &Session,
    context: &BootContext,
) -> Result<Option<Enrolled>, Failure> {
    let layout = &context.layout;
    let Some(enrolled) = report::io::enrolled(layout)? else {
        return Ok(None);
    };
    let key = handshake::key_file::device_key(layout, &session.entropy)?;
    let certificate = CertificateChain::parse(&enrolled.certificate_chain, key.public());
    let valid = certificate.is_ok_and(|chain| chain.is_valid(context.time().now));
    Ok(valid.then_some(enrolled))
}
