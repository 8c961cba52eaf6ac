//! Matching: the order of claims decides nothing, no rank decides between owners, and a device that
//! enrolled is lost to nobody.

use proptest::{collection::vec, prelude::*, sample::subsequence};
use std::collections::BTreeSet;
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Observed, Rank, Source},
    ids::{ClaimId, CompanyId},
    matching::{Bound, IdentifierSet, Match, RegisteredClaim, match_claims},
    timestamp::Timestamp,
};

/// A small world, so that claims and devices meet often.
fn pool() -> Vec<Identifier> {
    use IdentifierKind::{BoardSerial, DeviceKey, MacAddress, Manufacturer, Model, SerialNumber, SystemUuid};
    let of = |kind, values: &[&str]| -> Vec<Identifier> {
        values.iter().map(|value| Identifier::parse(kind, value).unwrap()).collect()
    };
    [
        of(SerialNumber, &["PF0AAAA1", "PF0AAAA2"]),
        of(BoardSerial, &["L1HF1", "L1HF2"]),
        of(MacAddress, &["00:16:3e:00:00:01", "00:16:3e:00:00:02", "00:16:3e:00:00:03"]),
        of(SystemUuid, &["4c4c4544-0058-4b10-8039-b7c04f513133", "4c4c4544-0058-4b10-8039-b7c04f513134"]),
        of(DeviceKey, &["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]),
        of(Manufacturer, &["Acme", "Lenovo"]),
        of(Model, &["Gateway", "20QES0XX00"]),
    ]
    .concat()
}

fn some_identity() -> impl Strategy<Value = HardwareIdentity> {
    let pool = pool();
    let size = 1..=pool.len();
    subsequence(pool, size).prop_filter_map("nothing identifying", |some| {
        HardwareIdentity::new(
            some.into_iter().map(|identifier| Observed { identifier, source: Source::Smbios }),
        )
        .ok()
    })
}

fn some_set() -> impl Strategy<Value = IdentifierSet> {
    subsequence(pool(), 1..=5).prop_filter_map("not a set", |some| IdentifierSet::new(some).ok())
}

fn some_claims() -> impl Strategy<Value = Vec<RegisteredClaim>> {
    vec((1..4_i64, vec(some_set(), 1..3)), 0..8).prop_map(|claims| {
        let numbered = claims.into_iter().zip(1..);
        numbered
            .map(|((owner, sets), number)| RegisteredClaim {
                claim: ClaimId::new(number).unwrap(),
                owner: CompanyId::new(owner).unwrap(),
                sets,
                registered_at: Timestamp(u64::try_from(number).unwrap()),
                bound: None,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_claims_decides_nothing(
        identity in some_identity(),
        (claims, shuffled) in some_claims().prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
    ) {
        let (one, other) = (match_claims(&identity, &claims), match_claims(&identity, &shuffled));
        match (one, other) {
            // Near misses are a list for people; their order follows the store's.
            (Match::None { near: one }, Match::None { near: other }) => prop_assert_eq!(one.len(), other.len()),
            (one, other) => prop_assert_eq!(one, other),
        }
    }

    #[test]
    fn a_match_is_whole_of_one_owner_and_its_strongest(identity in some_identity(), claims in some_claims()) {
        let whole = |set: &&IdentifierSet| set.members().iter().all(|member| identity.shows(member));
        let ranks: Vec<_> = claims
            .iter()
            .filter_map(|claim| Some((claim, claim.sets.iter().filter(whole).map(IdentifierSet::rank).min()?)))
            .collect();
        let strongest = ranks.iter().map(|(_, rank)| *rank).min();
        let owners: BTreeSet<_> = ranks.iter().map(|(claim, _)| claim.owner).collect();
        match match_claims(&identity, &claims) {
            Match::None { .. } => prop_assert_eq!(strongest, None),
            Match::Claim(reason) => {
                prop_assert_eq!(Some(reason.rank), strongest);
                prop_assert_eq!(owners.into_iter().collect::<Vec<_>>(), [reason.owner]);
            }
            Match::Ambiguous(reasons) => {
                prop_assert!(owners.len() > 1);
                prop_assert_eq!(reasons.len(), ranks.len(), "all of them are shown");
            }
            Match::Contested { .. } => prop_assert!(false, "nothing is bound"),
        }
    }

    #[test]
    fn a_device_that_enrolled_stays_with_its_owner(
        identity in some_identity(),
        claims in some_claims(),
        later in some_claims(),
    ) {
        let Match::Claim(reason) = match_claims(&identity, &claims) else { return Ok(()) };
        let since = Timestamp(100);
        let mut now = claims;
        for one in now.iter_mut().filter(|one| one.claim == reason.claim) {
            one.bound = Some(Bound { since, has_key: false, identity: Some(identity.clone()) });
        }
        now.extend(later.into_iter().map(|one| RegisteredClaim {
            claim: ClaimId::new(one.claim.get() + 100).unwrap(),
            owner: CompanyId::new(one.owner.get() + 100).unwrap(),
            registered_at: Timestamp(one.registered_at.0 + 100),
            ..one
        }));
        match match_claims(&identity, &now) {
            Match::Claim(found) | Match::Contested { reason: found, .. } => {
                prop_assert_eq!(found.claim, reason.claim);
            }
            // Nothing but a key that is not in the machine: no part of it says which machine it is.
            other => {
                let keys_alone = identity.observations().iter().all(|one| {
                    one.identifier.kind().rank().is_none_or(|rank| rank == Rank::Key)
                });
                prop_assert!(keys_alone, "{:?}", other);
            }
        }
    }

    #[test]
    fn more_identifiers_never_lose_a_claim(
        identity in some_identity(),
        claims in some_claims(),
        more in subsequence(pool(), 0..4),
    ) {
        let mut richer = identity.clone();
        for identifier in more {
            // A second serial number is another device's.
            richer = richer.with_identifier(identifier, Source::Smbios).unwrap_or(richer);
        }
        let matched = |identity: &HardwareIdentity| !matches!(match_claims(identity, &claims), Match::None { .. });
        prop_assert!(!matched(&identity) || matched(&richer));
    }
}
