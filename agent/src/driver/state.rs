//! The progress of the network side, as the files in the exchange show it.
//!
//! ```text
//!              a grant arrives        its artifacts are here       the installer installs
//! Unenrolled -----------------> Fetching ---------------> HandedOver ---------------> Enrolled
//!     ^  |                         ^ ^                        |                         |  |
//!     |  '-- reset, other machine  | |                        | it cannot               |  |
//!     |                            | '---- Unserved <---------'                         |  |
//!     |                            |  a newer grant                                     |  |
//!     |                            '----------------------------------------------------'  |
//!     '------------ a new enrollment <---- Expired <------- certificate or ledger lost ----'
//! ```

use super::{
    fetch::{ReadableLedger, readable_ledger},
    session::Session,
};
use crate::{
    boot::BootContext,
    failure::Failure,
    handshake::{self, CertificateChain},
    ledger::Ledger,
    payload::{self, io::StoredGrant},
    report::{self, Enrolled},
};

/// The progress of the network side of this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkState {
    /// There is no enrollment.
    Unenrolled,
    /// A grant was accepted, and some of its artifacts are not here yet.
    Fetching,
    /// The enrollment is unusable, because its certificate ran out or the device's records were damaged:
    /// the device enrolls again.
    Expired,
    /// The device is enrolled, and has neither a grant to install nor anything installed.
    Unserved,
    /// The installer has a grant, and nothing is installed yet.
    HandedOver,
    /// The device is enrolled, and something is installed.
    Enrolled,
}

/// The files that the state follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    /// The certificate in the enrollment's file is valid; `None` without such a file.
    certificate_is_valid: Option<bool>,
    ledger_is_damaged: bool,
    grant: Option<Grant>,
    is_installed: bool,
}

/// The grant in the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// Some of its artifacts are missing.
    Pending,
    /// It is with the installer.
    HandedOver,
}

impl Files {
    const fn state(self) -> NetworkState {
        match self {
            Self { grant: Some(Grant::Pending), .. } => NetworkState::Fetching,
            Self { certificate_is_valid: None, .. } => NetworkState::Unenrolled,
            Self { certificate_is_valid: Some(false), .. } | Self { ledger_is_damaged: true, .. } => {
                NetworkState::Expired
            }
            Self { is_installed: true, .. } => NetworkState::Enrolled,
            Self { grant: Some(Grant::HandedOver), .. } => NetworkState::HandedOver,
            Self { .. } => NetworkState::Unserved,
        }
    }
}

/// The files of the network side, each read once.
#[derive(Debug)]
pub(super) struct NetworkSide {
    pub(super) state: NetworkState,
    pub(super) enrolled: Option<Enrolled>,
    /// The ledger as the privileged side will see it.
    pub(super) ledger: Ledger,
    /// The grant that the installer has.
    pub(super) handed_over: Option<StoredGrant>,
}

impl NetworkSide {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Failure`] if a file cannot be read.
    pub(super) fn read(session: &Session, context: &BootContext) -> Result<Self, Failure> {
        let layout = &context.layout;
        let enrolled = report::io::read_enrolled(layout)?;
        let certificate_is_valid = match &enrolled {
            Some(enrolled) => {
                let key = handshake::key_file::device_key(layout, &session.entropy)?;
                let certificate = CertificateChain::parse(&enrolled.certificate_chain, key.public());
                Some(certificate.is_ok_and(|chain| chain.is_valid(context.time().now)))
            }
            None => None,
        };
        let handed_over = payload::io::read_grant(&layout.grant()).ok().flatten();
        let grant = if layout.pending_grant().exists() {
            Some(Grant::Pending)
        } else {
            handed_over.is_some().then_some(Grant::HandedOver)
        };
        let ReadableLedger { ledger, is_damaged } = readable_ledger(context)?;
        let files = Files {
            certificate_is_valid,
            ledger_is_damaged: is_damaged,
            grant,
            is_installed: ledger.installed_payload().is_some(),
        };
        Ok(Self { state: files.state(), enrolled, ledger, handed_over })
    }
}

impl NetworkState {
    /// Returns true if the installer has its grant or has dealt with it. A grant that it refused is replaced
    /// by a check-in.
    pub(super) const fn needs_no_handshake(self) -> bool {
        matches!(self, Self::HandedOver | Self::Enrolled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of the files.
    fn all() -> impl Iterator<Item = Files> {
        (0..36_u8).map(|number| Files {
            certificate_is_valid: [None, Some(false), Some(true)][usize::from(number / 12)],
            ledger_is_damaged: number & 1 != 0,
            grant: [None, Some(Grant::Pending), Some(Grant::HandedOver)][usize::from(number % 12 / 4)],
            is_installed: number & 2 != 0,
        })
    }

    #[test]
    fn a_grant_that_lacks_artifacts_is_fetched_before_anything_else() {
        for files in all() {
            assert_eq!(
                files.state() == NetworkState::Fetching,
                files.grant == Some(Grant::Pending),
                "{files:?}"
            );
        }
    }

    #[test]
    fn only_a_valid_enrollment_with_sound_records_is_used() {
        for files in all().filter(|files| files.grant != Some(Grant::Pending)) {
            let is_used = files.certificate_is_valid == Some(true) && !files.ledger_is_damaged;
            let expected = match files.certificate_is_valid {
                None => NetworkState::Unenrolled,
                Some(_) if !is_used => NetworkState::Expired,
                Some(_) if files.is_installed => NetworkState::Enrolled,
                Some(_) if files.grant == Some(Grant::HandedOver) => NetworkState::HandedOver,
                Some(_) => NetworkState::Unserved,
            };
            assert_eq!(files.state(), expected, "{files:?}");
        }
    }

    #[test]
    fn a_handshake_is_needed_until_the_installer_has_its_grant() {
        for files in all() {
            let is_enrolled = files.certificate_is_valid == Some(true) && !files.ledger_is_damaged;
            let has_grant = files.grant == Some(Grant::HandedOver) || files.is_installed;
            let expected = is_enrolled && has_grant && files.grant != Some(Grant::Pending);
            assert_eq!(files.state().needs_no_handshake(), expected, "{files:?}");
        }
    }
}
