//! The network side from nothing to a grant with everything that it needs.

use super::{
    exit::Exit,
    session::Session,
    take_in::{go_on, readable_ledger, take_in},
};
use crate::{
    boot::BootContext,
    console::Situation,
    failure::{DeviceFault, Failure},
    files,
    handshake::{
        self, CertificateChain, DeviceKey,
        io::{Client, ClientSettings},
    },
    report::{self, Enrolled, OutcomeFile},
};
use unbox_common::{digest::Sha256, identity::HardwareIdentity, protocol::limits::MAX_GRANT_BYTES};

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
    let key = handshake::io::device_key(&context.layout, &session.entropy).map_err(DeviceFault::from)?;
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
    let server = context.server().map_err(DeviceFault::from)?;
    let client = Client::new(&ClientSettings::of(context))?;
    session.console.say(Situation::Contacting { server: &server.to_string() });
    let granted = handshake::io::enroll(context, &client, identity.clone(), key, &session.entropy).await?;
    session.console.done("handshake");
    take_in(session, context, key, granted.grant(), granted.nonce()).await
}

/// Whether this device has a valid enrollment already, or a grant that waits for the installer:
/// then there is nothing to enroll.
pub(super) fn is_settled(session: &mut Session) -> Result<bool, Failure> {
    let context = session.context()?;
    let ledger = readable_ledger(&context)?;
    if let Some(own) = ledger.enrollment() {
        let enrolled = valid_enrollment(session, &context)?;
        return Ok(enrolled.is_some_and(|enrolled| enrolled.generation == own.generation));
    }
    let layout = &context.layout;
    let grant = files::read(&layout.grant(), MAX_GRANT_BYTES as u64 * 2).map_err(DeviceFault::from)?;
    let Some(grant) = grant else {
        return Ok(false);
    };
    // A grant that the installer has refused is waited for by nobody.
    let outcome = report::io::outcome(layout).map_err(DeviceFault::from)?;
    let grant = Sha256::of(&grant);
    Ok(!outcome.is_some_and(|outcome: OutcomeFile| outcome.grant == grant))
}

/// The enrollment that the network side speaks for, if its certificate is this key's and good.
pub(super) fn valid_enrollment(
    session: &Session,
    context: &BootContext,
) -> Result<Option<Enrolled>, Failure> {
    let layout = &context.layout;
    let Some(enrolled) = report::io::enrolled(layout).map_err(DeviceFault::from)? else {
        return Ok(None);
    };
    let key = handshake::io::device_key(layout, &session.entropy).map_err(DeviceFault::from)?;
    let certificate = CertificateChain::parse(&enrolled.certificate_chain, key.public());
    let valid = certificate.is_ok_and(|chain| chain.is_valid(context.time().now));
    Ok(valid.then_some(enrolled))
}
