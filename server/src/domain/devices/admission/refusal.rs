//! Refusals that no proof can avert, given at the hello and again at the proof, and the texts that go with
//! refusals.

use super::proof::NO_TPM;
use crate::domain::{claims::claim::Claim, devices::device::DeviceState, tenancy::company::Terms};
use std::borrow::Cow;
use unbox_common::{protocol::latest::ProofKind, refusal::RefusalKind, timestamp::Timestamp};

/// A refusal and its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// The message that the administrator wrote.
    pub message: Option<String>,
    /// The explanation, if the kind alone does not suffice.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// Returns a refusal that its kind explains.
    #[must_use]
    pub const fn of(kind: RefusalKind) -> Self {
        Self { kind, message: None, detail: None }
    }

    /// Returns a refusal with a fixed explanation.
    #[must_use]
    pub const fn with_detail(kind: RefusalKind, detail: &'static str) -> Self {
        Self { kind, message: None, detail: Some(Cow::Borrowed(detail)) }
    }

    /// Returns a refusal with an explanation composed at run time.
    #[must_use]
    pub const fn with_owned_detail(kind: RefusalKind, detail: String) -> Self {
        Self { kind, message: None, detail: Some(Cow::Owned(detail)) }
    }
}

/// The known facts about a device that says hello.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The claim that matched.
    pub claim: &'a Claim,
    /// The state of its device, if it was seen before.
    pub state: Option<&'a DeviceState>,
    /// True if the claim or the customer gives it a configuration.
    pub configured: bool,
    /// True if the customer accepted the terms of service.
    pub terms: Terms,
}

const NOT_OFFERED: &str = "The owner of this device asks for a proof that it does not offer.";

/// Refuses a device at its hello if no proof could change the outcome.
///
/// A missing configuration is no reason while a token may still bring one.
#[must_use]
pub fn refuse_early(now: Timestamp, found: &Found<'_>, offered: &[ProofKind]) -> Option<Refusal> {
    let Found { claim, state, configured, terms } = *found;
    if let Some(refusal) = state.and_then(state_refusal).or_else(|| claim_refusal(now, claim, terms)) {
        return Some(refusal);
    }
    if !configured && claim.proof != ProofKind::Token {
        return Some(Refusal::of(RefusalKind::NotClaimed));
    }
    match claim.proof {
        ProofKind::Tpm if !offered.contains(&ProofKind::Tpm) => {
            Some(Refusal::with_detail(RefusalKind::ProofRequired, NO_TPM))
        }
        proof if !offered.contains(&proof) => {
            Some(Refusal::with_detail(RefusalKind::ProofRequired, NOT_OFFERED))
        }
        _ => None,
    }
}

/// Returns the refusal that follows from a claim and its customer, whatever the device proves. Outdated
/// terms do not refuse: a fleet must not stop because its owner has yet to read a page.
pub(super) fn claim_refusal(now: Timestamp, claim: &Claim, terms: Terms) -> Option<Refusal> {
    if claim.vacation_at(now).is_some() {
        Some(Refusal::of(RefusalKind::NotClaimed))
    } else if terms == Terms::NotAccepted {
        Some(Refusal::of(RefusalKind::TermsNotAccepted))
    } else {
        None
    }
}

pub(super) fn state_refusal(state: &DeviceState) -> Option<Refusal> {
    let (kind, message) = state.refusal()?;
    Some(Refusal { kind, message: message.map(str::to_owned), detail: None })
}

#[cfg(test)]
mod tests {
    use super::super::{TokenEvidence, fixture::*};
    use super::*;
    use crate::domain::{claims::claim::Vacation, devices::device::Device};
    use ProofKind::{Identifiers, RegisteredKey, Token, Tpm};

    #[test]
    fn a_state_that_refuses_comes_before_every_proof() {
        let disabled = known_device().state.disable(Some("Lost".to_owned()), NOW).unwrap();
        let deprovisioned = DeviceState::Deprovisioned { since: NOW };
        for (state, expected) in [(disabled, "refuse disabled"), (deprovisioned, "refuse deprovisioned")] {
            let device = Device { state, ..known_device() };
            let asked = Asked {
                ticket: b"ticket 4",
                reset_ticket: true,
                token: VALID,
                request: Some(request(&key(2), BOARD, Some(NOW))),
                ..Asked::new(Token, Some(device), 2)
            };
            assert_eq!(asked.outcome(), expected);
        }
    }

    #[test]
    fn a_claim_that_gives_nothing_is_as_good_as_none() {
        for (proof, token) in [(Identifiers, TokenEvidence::None), (Token, VALID)] {
            let asked = Asked { configured: false, token, ..Asked::new(proof, None, 9) };
            assert_eq!(asked.outcome(), "refuse not_claimed");
        }
        let no_token = Asked { configured: false, ..Asked::new(Token, None, 9) };
        assert_eq!(no_token.outcome(), "refuse proof_required");
    }

    #[test]
    fn a_claim_on_vacation_is_as_good_as_none_until_it_comes_back() {
        let vacation = Some(Vacation { started_at: Timestamp(500), ends_at: Timestamp(1001) });
        for (now, expected) in [(NOW, "refuse not_claimed"), (Timestamp(1001), "admit 1 first_key")] {
            let asked = Asked { now, vacation, ..Asked::new(Identifiers, None, 9) };
            assert_eq!(asked.outcome(), expected);
            let claim = Claim { vacation, ..claim(Identifiers) };
            let found = Found { claim: &claim, state: None, configured: true, terms: Terms::Accepted };
            let early = refuse_early(now, &found, &ProofKind::ALL).map(|refusal| refusal.kind);
            assert_eq!(early, (now == NOW).then_some(RefusalKind::NotClaimed));
        }
    }

    #[test]
    fn who_never_accepted_the_terms_enrolls_nothing_and_who_has_yet_to_read_new_ones_does() {
        for (terms, expected) in [
            (Terms::NotAccepted, "refuse terms_not_accepted"),
            (Terms::Stale, "admit 1 first_key"),
            (Terms::Accepted, "admit 1 first_key"),
        ] {
            let asked = Asked { terms, ..Asked::new(Identifiers, None, 9) };
            assert_eq!(asked.outcome(), expected);
        }
    }

    #[test]
    fn hello_is_refused_only_for_what_no_proof_changes() {
        let all = ProofKind::ALL;
        let disabled = DeviceState::Claimed.disable(None, NOW).unwrap();
        for (proof, state, configured, offered, expected) in [
            (Identifiers, None, true, &all[..], None),
            (Identifiers, Some(&disabled), true, &all[..], Some(RefusalKind::Disabled)),
            (Identifiers, None, false, &all[..], Some(RefusalKind::NotClaimed)),
            (Token, None, false, &all[..], None),
            (Token, None, true, &[Identifiers][..], Some(RefusalKind::ProofRequired)),
            (RegisteredKey, None, true, &[][..], Some(RefusalKind::ProofRequired)),
            (Tpm, None, true, &all[..], None),
            (Tpm, None, true, &[Identifiers][..], Some(RefusalKind::ProofRequired)),
        ] {
            let claim = claim(proof);
            let found = Found { claim: &claim, state, configured, terms: Terms::Accepted };
            let refusal = refuse_early(NOW, &found, offered);
            assert_eq!(refusal.map(|one| one.kind), expected, "{proof} {offered:?}");
        }
    }
}
