//! The decision whether a grant holds a payload that this device may install now.

use super::Rejection;
use crate::{boot::Trust, clock, ledger::Ledger};
use unbox_common::{
    bytes::Nonce,
    digest::Sha256,
    payload::{AcceptedPayload, Expectation, judge},
    protocol::latest::Grant,
    timestamp::Timestamp,
    trust::VerifyError,
};

/// The sender of the request that a grant answers, as far as this side of the device knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// Digest of the key that sent the request; `None` if the ledger identifies the device.
    pub key_digest: Option<Sha256>,
    /// The nonce; `None` if it was compared before, and on the privileged side, which did not make it.
    pub nonce: Option<Nonce>,
}

/// Verifies a grant's payload and judges it by this device's ledger.
///
/// It is judged at `now`, or at the time of its signature if that is later.
///
/// `trust` has followed the roots in the grant ([`Trust::with_newer_roots`]). `requester` sent the request that
/// the grant answers.
///
/// # Errors
/// [`Rejection`] with the first fault.
pub fn accept(
    grant: &Grant,
    trust: &Trust,
    ledger: &Ledger,
    requester: Requester,
    now: Timestamp,
) -> Result<AcceptedPayload, Rejection> {
    let verified = grant.payload.verify(&trust.root.payload_keys).map_err(|error| match error {
        VerifyError::Unreadable(_) => Rejection::Unreadable(error),
        _ => Rejection::Untrusted(error),
    })?;
    // Trusted keys signed it at that time, so that time has passed: a device whose clock lost its battery
    // learns it here. A time too far ahead to be believed still counts as in the future.
    let signed_at = Some(verified.issued_at).filter(|at| *at <= clock::horizon());
    let now = signed_at.map_or(now, |at| at.max(now));
    let Requester { key_digest, nonce } = requester;
    let known = ledger.expectation(grant.device_id, grant.generation, now);
    judge(verified, &Expectation { key_digest, nonce, ..known }).map_err(Rejection::Judged)
}

/// Returns the version that a grant's payload claims, verified or not; `None` if it claims none.
#[must_use]
pub fn version_of(grant: &Grant) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    let payload = grant.payload.envelope().payload.as_ref();
    serde_json::from_slice(payload).ok().map(|Versioned { version }| version)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::boot::trust_fixtures::{payload_key, signed_root, trust};
    use crate::ledger::{Enrollment, Event};
    use unbox_common::{
        bytes::FixedBytes,
        ids::{ConfigurationId, DeviceId, Generation},
        payload::{Artifact, ConfigurationRef, Payload, Setup},
        protocol::latest::{Installed, Owner},
        trust::sign,
    };

    pub(crate) const NONCE: Nonce = FixedBytes([9; 32]);
    const PRIVILEGED: Requester = Requester { key_digest: None, nonce: None };
    const NOW: Timestamp = Timestamp(1500);

    pub(crate) fn owner() -> Owner {
        Owner {
            company: "Acme AG".to_owned(),
            contact_email: "it@acme.example".to_owned(),
            contact_phone: "+41 44 000 00 00".to_owned(),
            message: None,
        }
    }

    pub(crate) fn payload(version: u64, artifacts: &[Artifact]) -> Payload {
        let policy = artifacts.iter().enumerate().map(|(at, artifact)| {
            serde_json::from_value(serde_json::json!({
                "type": "file",
                "path": format!("/opt/file-{at}"),
                "content": {"artifact": artifact},
            }))
            .unwrap()
        });
        Payload {
            device: DeviceId::new(7).unwrap(),
            generation: Generation(2),
            key_digest: Sha256::of(b"key"),
            nonce: NONCE,
            version,
            issued_at: Timestamp(1000),
            expires_at: Timestamp(u64::MAX),
            configuration: ConfigurationRef {
                id: ConfigurationId::new(1).unwrap(),
                name: "kiosk".to_owned(),
            },
            dpc: None,
            policy: policy.collect(),
            setup: Setup::default(),
        }
    }

    /// Makes a grant of this payload, signed with the payload key of root `signer`.
    pub(crate) fn grant(payload: &Payload, signer: u8) -> Grant {
        Grant {
            device_id: payload.device,
            generation: payload.generation,
            certificate_chain: Vec::new(),
            owner: owner(),
            payload: sign(payload, &[&payload_key(signer)]).unwrap(),
            roots: Vec::new(),
            server_time: Timestamp(1400),
            check_in_after_s: 60,
        }
    }

    fn managed(version: u64) -> Ledger {
        let enrollment =
            Enrollment { device: DeviceId::new(7).unwrap(), generation: Generation(2), owner: owner() };
        let installed = Installed { configuration: ConfigurationId::new(1).unwrap(), version, dpc: None };
        Ledger::new()
            .handle(Event::Accepted {
                enrollment,
                version,
                grant: Sha256::of(b"grant"),
                issued_at: Timestamp(900),
            })
            .unwrap()
            .handle(Event::Committed { installed })
            .unwrap()
    }

    fn requester() -> Requester {
        Requester { key_digest: Some(Sha256::of(b"key")), nonce: Some(NONCE) }
    }

    fn kind(grant: &Grant, ledger: &Ledger) -> &'static str {
        let rejected =
            accept(grant, &trust().with_newer_roots(&grant.roots), ledger, requester(), NOW).unwrap_err();
        crate::failure::Failure::from(rejected).kind()
    }

    #[test]
    fn a_good_grant_is_accepted_on_both_sides() {
        let grant = grant(&payload(50, &[]), 1);
        for (ledger, requester) in [(Ledger::new(), requester()), (managed(50), PRIVILEGED)] {
            let accepted = accept(&grant, &trust(), &ledger, requester, NOW).unwrap();
            assert_eq!(accepted.version, 50);
        }
    }

    #[test]
    fn a_payload_by_a_stranger_or_changed_on_the_way_is_untrusted() {
        let good = grant(&payload(50, &[]), 1);
        assert_eq!(kind(&grant(&payload(50, &[]), 66), &Ledger::new()), "payload_untrusted");
        let mut tampered = serde_json::to_value(&good).unwrap();
        let document = tampered["payload"]["payload"].as_str().unwrap().replacen('e', "f", 1);
        tampered["payload"]["payload"] = document.into();
        let tampered = serde_json::from_value(tampered).unwrap();
        assert_eq!(kind(&tampered, &Ledger::new()), "payload_untrusted");
    }

    #[test]
    fn a_payload_for_another_device_or_enrollment_is_rejected() {
        let mut other = payload(50, &[]);
        other.device = DeviceId::new(8).unwrap();
        assert_eq!(kind(&grant(&other, 1), &managed(50)), "payload_wrong_device");
        let mut mixed = grant(&payload(50, &[]), 1);
        mixed.device_id = DeviceId::new(8).unwrap();
        assert_eq!(kind(&mixed, &Ledger::new()), "payload_wrong_device");

        let mut others = payload(50, &[]);
        others.key_digest = Sha256::of(b"another key");
        for ledger in [Ledger::new(), managed(50)] {
            assert_eq!(kind(&grant(&others, 1), &ledger), "payload_wrong_key");
        }

        let mut earlier = payload(60, &[]);
        earlier.generation = Generation(1);
        assert_eq!(kind(&grant(&earlier, 1), &managed(50)), "payload_wrong_generation");
        let mut replayed = payload(50, &[]);
        replayed.nonce = FixedBytes([8; 32]);
        assert_eq!(kind(&grant(&replayed, 1), &Ledger::new()), "payload_wrong_nonce");
    }

    #[test]
    fn what_was_reached_is_never_gone_below_not_even_after_a_reset() {
        assert_eq!(kind(&grant(&payload(49, &[]), 1), &managed(50)), "payload_older");
        let reset = managed(50).handle(Event::ResetBegun).unwrap().handle(Event::ResetDone).unwrap();
        assert_eq!(kind(&grant(&payload(49, &[]), 1), &reset), "payload_older");
        let mut earlier = payload(60, &[]);
        earlier.generation = Generation(1);
        assert_eq!(kind(&grant(&earlier, 1), &reset), "payload_wrong_generation");
        let damaged = Ledger::new_after_damage(managed(50).floor);
        assert_eq!(kind(&grant(&payload(49, &[]), 1), &damaged), "payload_older");
    }

    #[test]
    fn another_owners_server_starts_from_its_own_numbers_only_after_a_reset() {
        let mut other = payload(10, &[]);
        (other.device, other.generation) = (DeviceId::new(8).unwrap(), Generation(1));
        let reset = managed(50).handle(Event::ResetBegun).unwrap().handle(Event::ResetDone).unwrap();
        assert!(accept(&grant(&other, 1), &trust(), &reset, PRIVILEGED, NOW).is_ok());
        assert_eq!(kind(&grant(&other, 1), &managed(50)), "payload_wrong_device");
    }

    #[test]
    fn an_expired_payload_is_rejected() {
        let mut expired = payload(50, &[]);
        expired.expires_at = NOW;
        assert_eq!(kind(&grant(&expired, 1), &Ledger::new()), "payload_expired");
    }

    #[test]
    fn a_signature_tells_a_clock_that_is_behind_what_time_it_is() {
        let year = std::time::Duration::from_hours(365 * 24);
        for (years, expected) in [(0, None), (3, None), (9, None), (11, Some("clock_skew"))] {
            let mut signed = payload(50, &[]);
            signed.issued_at = clock::build_date().plus(year * years);
            let judged = accept(&grant(&signed, 1), &trust(), &Ledger::new(), requester(), NOW);
            let refused = judged.map_err(|rejected| crate::failure::Failure::from(rejected).kind()).err();
            assert_eq!(refused, expected, "{years} years after the build");
            signed.expires_at = signed.issued_at;
            let expired = kind(&grant(&signed, 1), &Ledger::new());
            assert_eq!(expired, expected.unwrap_or("payload_expired"), "{years}");
        }
    }

    #[test]
    fn a_grant_may_bring_the_root_that_its_signature_needs() {
        let mut rotated = grant(&payload(50, &[]), 2);
        assert_eq!(kind(&rotated, &Ledger::new()), "payload_untrusted");
        rotated.roots = vec![signed_root(2)];
        let trust = trust().with_newer_roots(&rotated.roots);
        assert!(accept(&rotated, &trust, &Ledger::new(), requester(), NOW).is_ok());
        // The old key is no longer trusted.
        let mut by_old_key = grant(&payload(50, &[]), 1);
        by_old_key.roots = vec![signed_root(2)];
        assert_eq!(kind(&by_old_key, &Ledger::new()), "payload_untrusted");
    }
}
