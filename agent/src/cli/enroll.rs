//! The network side from nothing to a grant with everything that it needs.

use super::{
    exit::Exit,
    session::Session,
    take_in::{go_on, take_in},
};
use crate::{
    boot::BootContext,
    console::Situation,
    failure::Failure,
    handshake::{
        self, CertificateChain, DeviceKey,
        io::{Client, ClientSettings},
    },
    report::{self, Enrolled},
};
use unbox_common::identity::HardwareIdentity;

/// Tries until there is a grant, or until trying again cannot help.
pub(super) async fn until_granted(session: &mut Session, identity: &HardwareIdentity) -> Result<(), Exit> {
    loop {
        match once(session, identity).await {
            Ok(()) => {
                session.succeeded();
                return Ok(());
            }
            Err(failure) => session.again(&failure, Some(identity)).await?,
        }
    }
}

/// Tries once.
pub(super) async fn once(session: &mut Session, identity: &HardwareIdentity) -> Result<(), Failure> {
    let context = session.context()?;
    let key = handshake::io::device_key(&context.layout, &session.entropy)?;
    match go_on(session, &context, &key).await? {
        Some(()) => Ok(()),
        None => afresh(session, &context, identity, &key).await,
    }
}

/// Enrolls from the first message on.
pub(super) async fn afresh(
    session: &mut Session,
    context: &BootContext,
    identity: &HardwareIdentity,
    key: &DeviceKey,
) -> Result<(), Failure> {
    let server = context.server()?;
    let client = Client::new(&ClientSettings::of(context))?;
    session.console.say(Situation::Contacting { server: &server.to_string() });
    let granted = handshake::io::enroll(context, &client, identity.clone(), key, &session.entropy).await?;
    session.console.done("handshake");
    take_in(session, context, key, granted.grant(), granted.nonce()).await
}

/// Whether this device has a valid enrollment and its grant: then there is nothing to enroll.
/// What the installer refused of it is the check-in's to replace.
pub(super) fn is_settled(session: &mut Session) -> Result<bool, Failure> {
    let context = session.context()?;
    let layout = &context.layout;
    let is_handed_over = layout.grant().exists() && !layout.pending_grant().exists();
    Ok(is_handed_over && valid_enrollment(session, &context)?.is_some())
}

/// The enrollment that the network side speaks for, if its certificate is this key's and good.
pub(super) fn valid_enrollment(
    session: &Session,
    context: &BootContext,
) -> Result<Option<Enrolled>, Failure> {
    let layout = &context.layout;
    let Some(enrolled) = report::io::enrolled(layout)? else {
        return Ok(None);
    };
    let key = handshake::io::device_key(layout, &session.entropy)?;
    let certificate = CertificateChain::parse(&enrolled.certificate_chain, key.public());
    let valid = certificate.is_ok_and(|chain| chain.is_valid(context.time().now));
    Ok(valid.then_some(enrolled))
}
