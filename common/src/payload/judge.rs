//! The check whether a payload with a valid signature is one that this device may install now.

use super::{
    DpcKind, InvalidPolicy, MAX_ARTIFACT_BYTES, MAX_EXTRAS_BYTES, MAX_HEALTH_TIMEOUT_S, Payload, check_dpc,
    check_policy,
};
use crate::{
    bytes::Nonce,
    digest::Sha256,
    ids::{DeviceId, Generation},
    timestamp::Timestamp,
    trust::Verified,
};
use std::ops::Deref;

/// The furthest time ahead of the device's clock at which a payload may have been signed, in ms.
///
/// A device that believes the time of a signature judges the payload at that time. Any remaining
/// difference is a time that the device does not believe, and one of the two clocks is wrong.
pub const MAX_FUTURE_MS: u64 = 24 * 3600 * 1000;

/// The facts that the device checks a payload against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The device's own id.
    pub device: DeviceId,
    /// The generation of its enrollment.
    pub generation: Generation,
    /// Digest of the device's public key; `None` where the device is identified by an id that it has kept.
    pub key_digest: Option<Sha256>,
    /// The nonce of its request; `None` if another stage has checked that already.
    pub nonce: Option<Nonce>,
    /// The version that is installed.
    pub installed_version: Option<u64>,
    /// The latest time that the device knows of.
    pub now: Timestamp,
}

/// A payload that this device may install. Only [`judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedPayload(Payload);

impl Deref for AcceptedPayload {
    type Target = Payload;

    fn deref(&self) -> &Payload {
        &self.0
    }
}

/// The reason why a signed payload is not for this device, or not for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadRejected {
    /// The payload is for another device.
    #[error("the payload is for device {found}, this is device {expected}")]
    WrongDevice {
        /// This device.
        expected: DeviceId,
        /// The device in the payload.
        found: DeviceId,
    },
    /// The payload is for another device, by its key.
    #[error("the payload is for the device whose key has the digest {found}, this device's has {expected}")]
    WrongKey {
        /// This device's key.
        expected: Sha256,
        /// The key in the payload.
        found: Sha256,
    },
    /// The payload belongs to another enrollment.
    #[error("the payload belongs to generation {found}, this enrollment is generation {expected}")]
    WrongGeneration {
        /// This enrollment.
        expected: Generation,
        /// The generation in the payload.
        found: Generation,
    },
    /// The payload answers another request.
    #[error("the payload answers another request than the one that was made")]
    WrongNonce,
    /// The payload is older than the installed one.
    #[error("the payload has version {found}, which is older than the installed {installed}")]
    Older {
        /// The installed version.
        installed: u64,
        /// The version in the payload.
        found: u64,
    },
    /// The payload has expired.
    #[error("the payload expired at {expired}, it is now {now}")]
    Expired {
        /// The time of its expiry.
        expired: Timestamp,
        /// The device's time.
        now: Timestamp,
    },
    /// The payload is not valid yet.
    #[error("the payload was issued at {issued}, more than a day ahead of this device's {now}")]
    FromTheFuture {
        /// The time of its signature.
        issued: Timestamp,
        /// The device's time.
        now: Timestamp,
    },
    /// A part of the payload is larger than allowed.
    #[error("the payload's {what} is larger than it may be")]
    TooLarge {
        /// The part, in words.
        what: &'static str,
    },
    /// The payload asks for something that this version cannot do.
    #[error("the payload asks for {0}, which this version of the agent cannot install")]
    Unsupported(&'static str),
    /// The policy contradicts itself, or cannot be installed.
    #[error("the payload's policy cannot be installed")]
    Policy(#[source] InvalidPolicy),
    /// The payload names one artifact with different sizes, or at different addresses.
    #[error("the payload names artifact {0} more than once, with another size or address")]
    TwoArtifacts(Sha256),
}

impl PayloadRejected {
    /// Returns true if every device would refuse this version of the payload, at any time.
    #[must_use]
    pub const fn is_about_contents(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Unsupported(_) | Self::Policy(_))
    }

    /// Returns the short name for reports.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::WrongDevice { .. } => "payload_wrong_device",
            Self::WrongKey { .. } => "payload_wrong_key",
            Self::WrongGeneration { .. } => "payload_wrong_generation",
            Self::WrongNonce => "payload_wrong_nonce",
            Self::Older { .. } => "payload_older",
            Self::Expired { .. } => "payload_expired",
            Self::FromTheFuture { .. } => crate::refusal::RefusalKind::ClockSkew.name(),
            Self::TooLarge { .. } => "payload_too_large",
            Self::Unsupported(_) => "payload_unsupported",
            Self::Policy(_) => "payload_policy",
            Self::TwoArtifacts(_) => "payload_two_artifacts",
        }
    }
}

/// Accepts a payload that is for this device, this enrollment, this request and this time.
///
/// # Errors
/// [`PayloadRejected`] with the first problem.
pub fn judge(payload: Verified<Payload>, expected: &Expectation) -> Result<AcceptedPayload, PayloadRejected> {
    let Expectation { device, generation, key_digest, nonce, installed_version, now } = *expected;
    if payload.device != device {
        return Err(PayloadRejected::WrongDevice { expected: device, found: payload.device });
    }
    if let Some(expected) = key_digest.filter(|expected| payload.key_digest != *expected) {
        return Err(PayloadRejected::WrongKey { expected, found: payload.key_digest });
    }
    if payload.generation != generation {
        return Err(PayloadRejected::WrongGeneration { expected: generation, found: payload.generation });
    }
    if nonce.is_some_and(|nonce| payload.nonce != nonce) {
        return Err(PayloadRejected::WrongNonce);
    }
    if let Some(installed) = installed_version
        && payload.version < installed
    {
        return Err(PayloadRejected::Older { installed, found: payload.version });
    }
    if payload.issued_at.0 > now.0.saturating_add(MAX_FUTURE_MS) {
        return Err(PayloadRejected::FromTheFuture { issued: payload.issued_at, now });
    }
    if payload.expires_at <= now {
        return Err(PayloadRejected::Expired { expired: payload.expires_at, now });
    }
    check_contents(&payload)?;
    Ok(AcceptedPayload(payload.into_inner()))
}

/// Checks whether any device at all could install this payload: the server does so before it
/// accepts a configuration.
///
/// # Errors
/// [`PayloadRejected`] with the first part that is too large, unsupported or contradictory.
pub fn check_contents(payload: &Payload) -> Result<(), PayloadRejected> {
    if payload.artifacts().iter().any(|artifact| artifact.size > MAX_ARTIFACT_BYTES) {
        return Err(PayloadRejected::TooLarge { what: "artifact" });
    }
    if let Some(twice) = payload.contradicted_artifact() {
        return Err(PayloadRejected::TwoArtifacts(twice));
    }
    if let Some(dpc) = &payload.dpc {
        if dpc.kind == DpcKind::Sysext {
            return Err(PayloadRejected::Unsupported("a DPC of kind sysext"));
        }
        let extras = serde_json::to_vec(&dpc.extras).map_or(usize::MAX, |json| json.len());
        if extras > MAX_EXTRAS_BYTES {
            return Err(PayloadRejected::TooLarge { what: "DPC extras" });
        }
        check_dpc(dpc).map_err(PayloadRejected::Policy)?;
        if dpc.health.timeout_s() > Some(MAX_HEALTH_TIMEOUT_S) {
            return Err(PayloadRejected::TooLarge { what: "health check time limit" });
        }
    }
    check_policy(&payload.policy).map_err(PayloadRejected::Policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bytes::FixedBytes,
        ids::ConfigurationId,
        payload::{ConfigurationRef, HealthCheck, Setup},
        trust::{KeySet, SigningKey, sign},
    };

    fn payload() -> Payload {
        Payload {
            device: DeviceId::new(7).unwrap(),
            generation: Generation(2),
            key_digest: Sha256::of(b"key"),
            nonce: FixedBytes([9; 32]),
            version: 50,
            issued_at: Timestamp(1000),
            expires_at: Timestamp(2000),
            configuration: ConfigurationRef {
                id: ConfigurationId::new(1).unwrap(),
                name: "kiosk".to_owned(),
            },
            dpc: None,
            policy: Vec::new(),
            setup: Setup::default(),
        }
    }

    fn expectation() -> Expectation {
        Expectation {
            device: DeviceId::new(7).unwrap(),
            generation: Generation(2),
            key_digest: Some(Sha256::of(b"key")),
            nonce: Some(FixedBytes([9; 32])),
            installed_version: Some(50),
            now: Timestamp(1500),
        }
    }

    fn verified(payload: &Payload) -> Verified<Payload> {
        let key = SigningKey::from_seed(&[1; 32]);
        sign(payload, &[&key]).unwrap().verify(&KeySet::new(1, [key.public()]).unwrap()).unwrap()
    }

    #[test]
    fn the_right_payload_is_accepted() {
        assert_eq!(*judge(verified(&payload()), &expectation()).unwrap(), payload());
    }

    #[test]
    fn a_device_that_kept_its_id_is_known_by_that() {
        let known = Expectation { key_digest: None, ..expectation() };
        let other = Payload { key_digest: Sha256::of(b"other"), ..payload() };
        assert!(judge(verified(&other), &known).is_ok());
    }

    #[test]
    fn every_wrong_payload_has_its_own_error() {
        let changed = |change: fn(&mut Payload)| {
            let mut payload = payload();
            change(&mut payload);
            judge(verified(&payload), &expectation()).unwrap_err().kind()
        };
        assert_eq!(changed(|p| p.device = DeviceId::new(8).unwrap()), "payload_wrong_device");
        assert_eq!(changed(|p| p.key_digest = Sha256::of(b"other")), "payload_wrong_key");
        assert_eq!(changed(|p| p.generation = Generation(1)), "payload_wrong_generation");
        assert_eq!(changed(|p| p.nonce = FixedBytes([8; 32])), "payload_wrong_nonce");
        assert_eq!(changed(|p| p.version = 49), "payload_older");
        assert_eq!(changed(|p| p.expires_at = Timestamp(1500)), "payload_expired");
        assert_eq!(changed(|p| p.issued_at = Timestamp(1501 + MAX_FUTURE_MS)), "clock_skew");
        let sysext = r#"{"name":"dpc","version":"1","kind":"sysext","artifact":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}}"#;
        let mut unsupported = payload();
        unsupported.dpc = Some(serde_json::from_str(sysext).unwrap());
        let rejected = judge(verified(&unsupported), &expectation()).unwrap_err();
        assert_eq!(rejected.kind(), "payload_unsupported");
        let slow = r#"{"type":"unit_active","timeout_s":3601}"#;
        let dpc = unsupported.dpc.as_mut().unwrap();
        dpc.kind = DpcKind::Tar;
        dpc.health = serde_json::from_str(slow).unwrap();
        assert_eq!(judge(verified(&unsupported), &expectation()).unwrap_err().kind(), "payload_too_large");
        let dpc = unsupported.dpc.as_mut().unwrap();
        (dpc.health, dpc.unit) = (HealthCheck::None, Some("unbox-install.service".parse().unwrap()));
        let rejected = judge(verified(&unsupported), &expectation()).unwrap_err();
        assert_eq!(rejected.kind(), "payload_policy");
    }
}
