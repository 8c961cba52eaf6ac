//! Every reason for which a server says no, and the device's reaction to each.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The closed set of refusal kinds. The wire name is the variant in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Nobody claimed this device, or nobody knows it: the answers are equal.
    NotClaimed,
    /// A known device with an unknown key: somebody has to approve it.
    PendingApproval,
    /// The claim asks for a proof that the device cannot give, or gave wrongly.
    ProofRequired,
    /// The pre-provisioning token is not one of this customer's.
    InvalidToken,
    /// The pre-provisioning token was revoked, or it expired.
    RevokedToken,
    /// The customer has no licence left.
    NoLicence,
    /// Two owners claim this device.
    AmbiguousIdentity,
    /// The device is known, but parts of it were replaced.
    HardwareChanged,
    /// An identifier broke a rule.
    InvalidIdentifier,
    /// The owner disabled the device, for example because it was lost.
    Disabled,
    /// The owner gave the device away for good.
    Deprovisioned,
    /// The customer has not accepted the terms.
    TermsNotAccepted,
    /// The server does not speak this version of the protocol, or not this message.
    UnsupportedProtocol,
    /// A certificate or a ticket is outside its time: one of the two clocks is wrong.
    ClockSkew,
    /// More requests than this address or this series of identifiers may make.
    TooManyRequests,
    /// The server cannot take this now.
    Busy,
}

/// The device's reaction to a refusal or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Try again by itself, with growing pauses.
    Retry,
    /// Only a person can change the answer: say so on the console, and ask again now and then.
    WaitForAdministrator,
    /// Trying again cannot help: stop, and say why.
    Fatal,
}

impl Disposition {
    /// Returns the shortest and the longest pause before the next try; `None` if there is none.
    #[must_use]
    pub const fn pause(self) -> Option<(Duration, Duration)> {
        match self {
            Self::Retry => Some((Duration::from_secs(1), Duration::from_mins(5))),
            Self::WaitForAdministrator => Some((Duration::from_secs(30), Duration::from_mins(15))),
            Self::Fatal => None,
        }
    }
}

impl RefusalKind {
    /// Every kind, in the order of the protocol document.
    pub const ALL: [Self; 16] = [
        Self::NotClaimed,
        Self::PendingApproval,
        Self::ProofRequired,
        Self::InvalidToken,
        Self::RevokedToken,
        Self::NoLicence,
        Self::AmbiguousIdentity,
        Self::HardwareChanged,
        Self::InvalidIdentifier,
        Self::Disabled,
        Self::Deprovisioned,
        Self::TermsNotAccepted,
        Self::UnsupportedProtocol,
        Self::ClockSkew,
        Self::TooManyRequests,
        Self::Busy,
    ];

    /// Returns the device's reaction to it.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::ClockSkew | Self::TooManyRequests | Self::Busy => Disposition::Retry,
            Self::NotClaimed
            | Self::PendingApproval
            | Self::ProofRequired
            | Self::InvalidToken
            | Self::RevokedToken
            | Self::NoLicence
            | Self::AmbiguousIdentity
            | Self::HardwareChanged
            | Self::Disabled
            | Self::TermsNotAccepted => Disposition::WaitForAdministrator,
            Self::InvalidIdentifier | Self::Deprovisioned | Self::UnsupportedProtocol => Disposition::Fatal,
        }
    }

    /// Returns the HTTP status of the answer (RFC 9110, section 15).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidIdentifier | Self::UnsupportedProtocol => 400,
            Self::ProofRequired | Self::InvalidToken | Self::RevokedToken | Self::ClockSkew => 401,
            Self::PendingApproval
            | Self::NoLicence
            | Self::HardwareChanged
            | Self::Disabled
            | Self::TermsNotAccepted => 403,
            Self::NotClaimed => 404,
            Self::AmbiguousIdentity => 409,
            Self::Deprovisioned => 410,
            Self::TooManyRequests => 429,
            Self::Busy => 503,
        }
    }

    /// Returns one line for the person in front of the device: the situation, and the next step.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NotClaimed => {
                "This device is not registered to a customer yet. Ask the reseller or your IT department to register \
                 the serial number shown here."
            }
            Self::PendingApproval => {
                "This device was enrolled before with another key. An administrator has to approve it."
            }
            Self::ProofRequired => {
                "The owner of this device asks for a proof that it cannot give. Ask your IT department for the \
                 pre-provisioning token, on a USB stick labelled UNBOX to plug in, or for the device's own image."
            }
            Self::InvalidToken => {
                "The pre-provisioning token of this device is not valid for it. Ask your IT department for a current \
                 one, for example on a USB stick labelled UNBOX to plug in."
            }
            Self::RevokedToken => {
                "The pre-provisioning token of this device was revoked or expired. Ask your IT department for a \
                 current one, for example on a USB stick labelled UNBOX to plug in."
            }
            Self::NoLicence => {
                "The owner of this device has no licence left. An administrator has to add one."
            }
            Self::AmbiguousIdentity => {
                "Two organisations have registered this device. Their administrators see which identifiers collide \
                 and have to settle it."
            }
            Self::HardwareChanged => {
                "Parts of this device were replaced since it was last enrolled. An administrator has to approve the \
                 change."
            }
            Self::InvalidIdentifier => {
                "This device shows an identifier that cannot be used. Ask the maker to program a valid one."
            }
            Self::Disabled => "The owner has disabled this device.",
            Self::Deprovisioned => "The owner has released this device for good.",
            Self::TermsNotAccepted => "The owner has not accepted the terms of service yet.",
            Self::UnsupportedProtocol => {
                "This agent and the server do not speak the same protocol. Update the image."
            }
            Self::ClockSkew => "The clock of this device or of the server is wrong.",
            Self::TooManyRequests => "The server asks to slow down. The device tries again by itself.",
            Self::Busy => "The server is busy. The device tries again by itself.",
        }
    }

    /// Returns the wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotClaimed => "not_claimed",
            Self::PendingApproval => "pending_approval",
            Self::ProofRequired => "proof_required",
            Self::InvalidToken => "invalid_token",
            Self::RevokedToken => "revoked_token",
            Self::NoLicence => "no_licence",
            Self::AmbiguousIdentity => "ambiguous_identity",
            Self::HardwareChanged => "hardware_changed",
            Self::InvalidIdentifier => "invalid_identifier",
            Self::Disabled => "disabled",
            Self::Deprovisioned => "deprovisioned",
            Self::TermsNotAccepted => "terms_not_accepted",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::ClockSkew => "clock_skew",
            Self::TooManyRequests => "too_many_requests",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_wire_name() {
        for kind in RefusalKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert!(serde_json::from_str::<RefusalKind>("\"teapot\"").is_err());
    }

    #[test]
    fn only_a_fatal_refusal_ends_the_trying() {
        for kind in RefusalKind::ALL {
            assert_eq!(
                kind.disposition().pause().is_none(),
                kind.disposition() == Disposition::Fatal,
                "{kind}"
            );
            assert!((400..=503).contains(&kind.status()), "{kind}");
        }
    }
}
