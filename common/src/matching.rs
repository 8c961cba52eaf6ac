//! The choice of the claim that a device belongs to: a pure function of its identity and the claims.

use crate::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Rank},
    ids::{ClaimId, CompanyId},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most identifiers that one set may hold.
pub const MAX_SET_IDENTIFIERS: usize = 16;

/// Identifiers that must all be shown for a claim to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentifierSet {
    members: Vec<Identifier>,
    rank: Rank,
}

/// The reason why a list of identifiers is not a set that a claim can register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSet {
    /// Nothing in it tells one device from another.
    #[error(
        "expected at least one of serial number, service tag, IMEI, MEID, MAC address, UUID, certified \
         device ID or key"
    )]
    NothingIdentifying,
    /// A serial number is unique only within one maker's model.
    #[error("a {0} needs manufacturer and model beside it: other makers use the same numbers")]
    NeedsMakerAndModel(IdentifierKind),
    /// More members than a set may hold.
    #[error("expected at most {MAX_SET_IDENTIFIERS} identifiers in a set, found {0}")]
    TooMany(usize),
    /// More different values of a kind than one device has.
    #[error("more values for {0} than one device has")]
    Contradiction(IdentifierKind),
}

impl IdentifierSet {
    /// Checks that a list of identifiers can tell one device from all others.
    ///
    /// # Errors
    /// [`InvalidSet`] with the rule that it broke.
    pub fn new(members: impl IntoIterator<Item = Identifier>) -> Result<Self, InvalidSet> {
        let members: BTreeSet<Identifier> = members.into_iter().collect();
        if members.len() > MAX_SET_IDENTIFIERS {
            return Err(InvalidSet::TooMany(members.len()));
        }
        let members: Vec<Identifier> = members.into_iter().collect();
        for of_kind in members.chunk_by(|a, b| a.kind() == b.kind()) {
            if let [first, ..] = of_kind
                && of_kind.len() > first.kind().max_values()
            {
                return Err(InvalidSet::Contradiction(first.kind()));
            }
        }
        let rank =
            members.iter().filter_map(|one| one.kind().rank()).min().ok_or(InvalidSet::NothingIdentifying)?;
        let holds = |kind| members.iter().any(|one: &Identifier| one.kind() == kind);
        let named = holds(IdentifierKind::Manufacturer) && holds(IdentifierKind::Model);
        // A set that a stronger member already pins down needs no name beside its serial.
        let pinned =
            members.iter().any(|one| one.kind().rank() == Some(rank) && !one.kind().needs_maker_and_model());
        match members.iter().find(|one| one.kind().needs_maker_and_model()) {
            Some(serial) if !named && !pinned => Err(InvalidSet::NeedsMakerAndModel(serial.kind())),
            _ => Ok(Self { members, rank }),
        }
    }

    /// Returns the members, ordered by kind and value.
    #[must_use]
    pub fn members(&self) -> &[Identifier] {
        &self.members
    }

    /// Returns the rank of the whole set: that of its strongest member.
    #[must_use]
    pub const fn rank(&self) -> Rank {
        self.rank
    }

    /// Returns the identifier to look this set up by: the strongest, which few devices share.
    #[must_use]
    pub fn lookup_key(&self) -> Option<&Identifier> {
        self.members.iter().find(|one| one.kind().rank() == Some(self.rank))
    }

    fn matches(&self, identity: &HardwareIdentity) -> bool {
        self.members.iter().filter(|one| !self.is_product_name(one)).all(|one| identity.shows(one))
    }

    /// Returns true if a member is only a name of the product and need not be shown: beside an identifier
    /// that the maker certifies, maker and model come from a price list, which the device's firmware does
    /// not know.
    #[must_use]
    pub fn is_product_name(&self, member: &Identifier) -> bool {
        self.rank == Rank::CertifiedDeviceId && member.kind().rank().is_none()
    }
}

/// Returns the identifiers of a device by which a store looks up claims that might match it.
pub fn lookup_keys(identity: &HardwareIdentity) -> impl Iterator<Item = &Identifier> {
    identity.observations().iter().map(|one| &one.identifier).filter(|one| one.kind().rank().is_some())
}

/// A claim as matching sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredClaim {
    /// The claim.
    pub claim: ClaimId,
    /// The customer that owns the device by this claim.
    pub owner: CompanyId,
    /// The registered sets; any one of them is enough.
    pub sets: Vec<IdentifierSet>,
    /// The time of its registration.
    pub registered_at: Timestamp,
    /// The device that enrolled by it, if one did.
    pub bound: Option<Bound>,
}

/// A device that enrolled by a claim, as matching sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The time of its first enrollment.
    pub since: Timestamp,
    /// True if its key is the one that the device to be matched says it holds.
    pub has_key: bool,
    /// The identity that it showed when it last enrolled.
    pub identity: Option<HardwareIdentity>,
}

/// The reason why a claim matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The claim.
    pub claim: ClaimId,
    /// Its owner.
    pub owner: CompanyId,
    /// The rank of the matching set.
    pub rank: Rank,
    /// The members of that set, as `kind value`.
    pub identifiers: Vec<String>,
}

/// The outcome of matching one device against the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// One owner's claim, and the reason.
    Claim(Reason),
    /// The claim that the device is bound to, although claims of other owners match it, too.
    Contested {
        /// The claim, and the reason why it matched.
        reason: Reason,
        /// The claims of other owners.
        others: Vec<Reason>,
    },
    /// Claims of different owners: all of those that matched whole.
    Ambiguous(Vec<Reason>),
    /// No set matched whole. Sets that matched in part are for the administrators only.
    None {
        /// Claims with at least one ranked identifier that matched.
        near: Vec<Reason>,
    },
}

/// Finds the claim that `identity` belongs to.
///
/// Every claim counts that has a set which matches whole. Between claims of one owner the strongest
/// rank decides, and between equals the oldest (lowest id). Between owners no rank decides: a stronger
/// identifier would take a device from its owner without a word. An enrolled device stays with its
/// claim, whatever others have registered since.
#[must_use]
pub fn match_claims(identity: &HardwareIdentity, claims: &[RegisteredClaim]) -> Match {
    let mut whole: Vec<Whole<'_>> = claims.iter().filter_map(|claim| best_match(identity, claim)).collect();
    if whole.is_empty() {
        return Match::None { near: claims.iter().filter_map(|claim| near_match(identity, claim)).collect() };
    }
    whole.sort_by_key(|one| (one.reason.rank, one.reason.claim));
    let of_key: Vec<&Whole<'_>> = whole.iter().filter(|one| one.has_key()).collect();
    let bound: Vec<&Whole<'_>> = if of_key.is_empty() {
        whole.iter().filter(|one| one.is_enrolled_device(identity, &whole)).collect()
    } else {
        of_key
    };
    let decisive: Vec<&Whole<'_>> = if bound.is_empty() { whole.iter().collect() } else { bound };
    match decisive.as_slice() {
        [first, rest @ ..] if rest.iter().all(|one| one.reason.owner == first.reason.owner) => {
            let owner = first.reason.owner;
            let others = reasons(whole.iter().filter(|one| one.reason.owner != owner));
            let reason = first.reason.clone();
            if others.is_empty() { Match::Claim(reason) } else { Match::Contested { reason, others } }
        }
        _ => Match::Ambiguous(reasons(whole.iter())),
    }
}

fn reasons<'w, 'c: 'w>(of: impl Iterator<Item = &'w Whole<'c>>) -> Vec<Reason> {
    of.map(|one| one.reason.clone()).collect()
}

/// A claim with a set that matched whole, at its strongest.
struct Whole<'c> {
    claim: &'c RegisteredClaim,
    reason: Reason,
}

impl Whole<'_> {
    fn has_key(&self) -> bool {
        self.claim.bound.as_ref().is_some_and(|bound| bound.has_key)
    }

    /// Returns true if the device is the one that enrolled by this claim, before any other owner's claim
    /// was registered.
    fn is_enrolled_device(&self, identity: &HardwareIdentity, whole: &[Whole<'_>]) -> bool {
        let Some(Bound { since, identity: Some(enrolled), .. }) = &self.claim.bound else { return false };
        let mut others = whole.iter().filter(|one| one.claim.owner != self.claim.owner);
        is_same_machine(identity, enrolled) && others.all(|one| *since < one.claim.registered_at)
    }
}

/// Returns true if all identifiers that a machine has only one of are unchanged; for a machine that shows
/// none of those, whether everything is still there. A card with an address or a modem may come from
/// another machine.
fn is_same_machine(now: &HardwareIdentity, enrolled: &HardwareIdentity) -> bool {
    let identifies = |kind: IdentifierKind| kind.rank().is_some_and(|rank| rank != Rank::Key);
    let (mut has_same, mut has_other) = (false, false);
    for kind in IdentifierKind::ALL.into_iter().filter(|kind| identifies(*kind) && kind.max_values() == 1) {
        match (now.of_kind(kind).next(), enrolled.of_kind(kind).next()) {
            (None, None) => {}
            (Some(now), Some(then)) if now == then => has_same = true,
            (Some(_), Some(_)) => return false,
            _ => has_other = true,
        }
    }
    if has_same || has_other {
        return has_same;
    }
    let parts =
        || enrolled.observations().iter().map(|one| &one.identifier).filter(|one| identifies(one.kind()));
    parts().next().is_some() && parts().all(|one| now.shows(one))
}

fn best_match<'c>(identity: &HardwareIdentity, claim: &'c RegisteredClaim) -> Option<Whole<'c>> {
    let best = claim.sets.iter().filter(|set| set.matches(identity)).min_by_key(|set| set.rank())?;
    Some(Whole { claim, reason: reason(claim, best.rank(), best.members().iter()) })
}

fn near_match(identity: &HardwareIdentity, claim: &RegisteredClaim) -> Option<Reason> {
    claim.sets.iter().find_map(|set| {
        let shared: Vec<_> = set.members().iter().filter(|one| identity.shows(one)).collect();
        let rank = shared.iter().filter_map(|one| one.kind().rank()).min()?;
        Some(reason(claim, rank, shared.into_iter()))
    })
}

fn reason<'a>(claim: &RegisteredClaim, rank: Rank, members: impl Iterator<Item = &'a Identifier>) -> Reason {
    let identifiers = members.map(ToString::to_string).collect();
    Reason { claim: claim.claim, owner: claim.owner, rank, identifiers }
}

/// One part of a device that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedPart {
    /// The kind of identifier that changed.
    pub kind: IdentifierKind,
    /// The value when the device last enrolled.
    pub was: Vec<String>,
    /// The value now; empty if it is gone.
    pub now: Vec<String>,
}

/// A known device with replaced parts: a state of its own, not a new device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareChange {
    /// The changes. Never empty.
    pub replaced: Vec<ReplacedPart>,
}

/// The kinds that travel with a board. A network card alone may come and go.
const BOARD_KINDS: [IdentifierKind; 3] =
    [IdentifierKind::SerialNumber, IdentifierKind::BoardSerial, IdentifierKind::SystemUuid];

/// Compares a device that matched at `rank` with what it showed when it last enrolled.
///
/// A serial number, board serial or UUID that is different or gone is a replaced board. MAC
/// addresses count only if every one of them is new, because a dock or a card may come and go.
/// The kinds at `rank` or stronger are the match itself and are not compared.
#[must_use]
pub fn hardware_change(
    now: &HardwareIdentity,
    last: &HardwareIdentity,
    rank: Rank,
) -> Option<HardwareChange> {
    let values = |identity: &HardwareIdentity, kind| -> Vec<String> {
        identity.of_kind(kind).map(|one| one.value().to_owned()).collect()
    };
    let weaker = |kind: &IdentifierKind| {
        kind.rank().is_some_and(|own| own > rank)
            || (*kind == IdentifierKind::BoardSerial && rank == Rank::Serial)
    };
    let mut replaced = Vec::new();
    for kind in BOARD_KINDS.into_iter().filter(weaker) {
        let (was, is) = (values(last, kind), values(now, kind));
        if !was.is_empty() && was != is {
            replaced.push(ReplacedPart { kind, was, now: is });
        }
    }
    let kind = IdentifierKind::MacAddress;
    let (was, is) = (values(last, kind), values(now, kind));
    if weaker(&kind) && !was.is_empty() && was.iter().all(|mac| !is.contains(mac)) {
        replaced.push(ReplacedPart { kind, was, now: is });
    }
    (!replaced.is_empty()).then_some(HardwareChange { replaced })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::Sha256,
        identity::{Observed, Source},
    };
    use IdentifierKind::{BoardSerial, MacAddress, Manufacturer, Model, SerialNumber, SystemUuid};

    fn id(kind: IdentifierKind, value: &str) -> Identifier {
        Identifier::parse(kind, value).unwrap()
    }

    fn identity(of: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        let observed =
            of.iter().map(|(kind, value)| Observed { identifier: id(*kind, value), source: Source::Smbios });
        HardwareIdentity::new(observed).unwrap()
    }

    fn set(of: &[(IdentifierKind, &str)]) -> IdentifierSet {
        IdentifierSet::new(of.iter().map(|(kind, value)| id(*kind, value))).unwrap()
    }

    fn claim(number: i64, owner: i64, sets: Vec<IdentifierSet>) -> RegisteredClaim {
        RegisteredClaim {
            claim: ClaimId::new(number).unwrap(),
            owner: CompanyId::new(owner).unwrap(),
            sets,
            registered_at: Timestamp(1000),
            bound: None,
        }
    }

    /// Binds a claim to a device that enrolled at this time and showed this, with another key.
    fn bound(claim: RegisteredClaim, since: u64, identity: &HardwareIdentity) -> RegisteredClaim {
        let identity = Some(identity.clone());
        RegisteredClaim { bound: Some(Bound { since: Timestamp(since), has_key: false, identity }), ..claim }
    }

    /// Returns a word for the outcome, with the claims that it names.
    fn outcome(of: Match) -> String {
        let ids = |reasons: &[Reason]| {
            reasons.iter().map(|one| one.claim.to_string()).collect::<Vec<_>>().join(" ")
        };
        match of {
            Match::Claim(reason) => format!("claim {}", reason.claim),
            Match::Contested { reason, others } => format!("claim {} against {}", reason.claim, ids(&others)),
            Match::Ambiguous(reasons) => format!("ambiguous {}", ids(&reasons)),
            Match::None { near } => format!("none, near {}", ids(&near)),
        }
    }

    const LAPTOP: &[(IdentifierKind, &str)] = &[
        (SerialNumber, "PF0ABCDE"),
        (Manufacturer, "LENOVO"),
        (Model, "20QES0XX00"),
        (MacAddress, "00:16:3e:00:00:01"),
        (SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133"),
        (BoardSerial, "L1HF123"),
    ];

    #[test]
    fn all_members_of_a_set_must_match() {
        let laptop = identity(LAPTOP);
        let right = claim(
            1,
            7,
            vec![set(&[(SerialNumber, "PF0ABCDE"), (Manufacturer, "Lenovo"), (Model, "20qes0xx00")])],
        );
        let wrong =
            claim(2, 8, vec![set(&[(SerialNumber, "PF0ABCDE"), (Manufacturer, "Acme"), (Model, "Gateway")])]);
        let Match::Claim(reason) = match_claims(&laptop, &[wrong.clone(), right]) else { panic!("no match") };
        assert_eq!((reason.claim.get(), reason.rank), (1, Rank::Serial));
        let Match::None { near } = match_claims(&laptop, &[wrong]) else { panic!("matched") };
        assert_eq!(near[0].identifiers, ["serial_number PF0ABCDE"]);
    }

    #[test]
    fn a_bare_serial_is_not_an_identity() {
        let bare = IdentifierSet::new([id(SerialNumber, "PF0ABCDE")]);
        assert_eq!(bare, Err(InvalidSet::NeedsMakerAndModel(SerialNumber)));
        assert_eq!(IdentifierSet::new([id(Model, "X")]), Err(InvalidSet::NothingIdentifying));
        assert_eq!(
            IdentifierSet::new([
                id(SystemUuid, LAPTOP[4].1),
                id(SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513134")
            ]),
            Err(InvalidSet::Contradiction(SystemUuid))
        );
        assert_eq!(set(&[(IdentifierKind::ServiceTag, "7XK9Q13")]).rank(), Rank::Serial);
    }

    #[test]
    fn a_phone_has_two_modems_and_no_three() {
        let imeis =
            |bodies: &[&str]| IdentifierSet::new(bodies.iter().map(|body| id(IdentifierKind::Imei, body)));
        let two = imeis(&["49015420323751", "49015420323752"]).unwrap();
        assert_eq!((two.members().len(), two.rank()), (2, Rank::Modem));
        assert_eq!(
            imeis(&["49015420323751", "49015420323752", "49015420323753"]),
            Err(InvalidSet::Contradiction(IdentifierKind::Imei))
        );
        let phone =
            identity(&[(IdentifierKind::Imei, "490154203237518"), (IdentifierKind::Imei, "490154203237526")]);
        let by_one = claim(1, 7, vec![imeis(&["49015420323752"]).unwrap()]);
        let Match::Claim(reason) = match_claims(&phone, &[by_one]) else { panic!("no match") };
        assert_eq!(reason.rank, Rank::Modem);
    }

    #[test]
    fn what_the_maker_certifies_is_worth_more_than_a_serial_number_and_less_than_a_key() {
        let digest = Sha256::of(b"endorsement key").to_string();
        for (kind, value, rank) in [
            (IdentifierKind::TpmKey, digest.as_str(), Rank::Key),
            (IdentifierKind::CertifiedDeviceId, "C1KS-A1B2C3", Rank::CertifiedDeviceId),
            (IdentifierKind::Meid, "A1000000123456", Rank::Serial),
        ] {
            // A serial number that a stronger member pins down needs no name beside it.
            let named = [(SerialNumber, "PF0ABCDE"), (Manufacturer, "Acme"), (Model, "G3"), (kind, value)];
            assert_eq!(set(&named).rank(), rank);
        }
    }

    #[test]
    fn a_model_beside_a_certified_id_names_the_device_and_need_not_be_shown() {
        let certified = (IdentifierKind::CertifiedDeviceId, "C1KS-A1B2C3");
        let registered =
            set(&[certified, (SerialNumber, "PF0ABCDE"), (Model, "Chromebook of the price list")]);
        let shown = [certified, (SerialNumber, "PF0ABCDE"), (Manufacturer, "Google"), (Model, "Kohaku")];
        let claims = [claim(1, 7, vec![registered])];
        assert!(matches!(match_claims(&identity(&shown), &claims), Match::Claim(_)));
        let other = [certified, (SerialNumber, "PF0ABCDF"), (Model, "Chromebook of the price list")];
        assert!(matches!(match_claims(&identity(&other), &claims), Match::None { .. }), "its serial must be");
    }

    /// Returns one set of each rank that a device can show all together, strongest first.
    fn of_each_rank() -> (HardwareIdentity, Vec<IdentifierSet>) {
        let key = Sha256::of(b"device key").to_string();
        let ranked: [&[(IdentifierKind, &str)]; 6] = [
            &[(IdentifierKind::DeviceKey, &key)],
            &[(IdentifierKind::CertifiedDeviceId, "C1KS-A1B2C3")],
            &LAPTOP[..3],
            &[(IdentifierKind::Imei, "490154203237518")],
            &LAPTOP[3..4],
            &LAPTOP[4..5],
        ];
        let sets: Vec<IdentifierSet> = ranked.iter().map(|members| set(members)).collect();
        assert!(sets.is_sorted_by(|one, other| one.rank() < other.rank()), "every rank once");
        (identity(&ranked.concat()), sets)
    }

    #[test]
    fn no_rank_decides_between_owners_and_the_stronger_does_for_one() {
        let (device, sets) = of_each_rank();
        for (stronger, first) in sets.iter().enumerate() {
            for second in &sets[stronger + 1..] {
                for (one, other, stronger) in [(first, second, 1), (second, first, 2)] {
                    let of = |owner| [claim(1, 7, vec![one.clone()]), claim(2, owner, vec![other.clone()])];
                    let ranks = (one.rank(), other.rank());
                    let Match::Ambiguous(reasons) = match_claims(&device, &of(8)) else {
                        panic!("{ranks:?}")
                    };
                    assert_eq!(reasons[0].claim.get(), stronger, "{ranks:?}");
                    assert_eq!(reasons.len(), 2);
                    assert_eq!(
                        outcome(match_claims(&device, &of(7))),
                        format!("claim {stronger}"),
                        "{ranks:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_device_that_enrolled_stays_with_its_claim_whatever_others_register() {
        let (device, sets) = of_each_rank();
        for own in &sets {
            for others in &sets {
                let early = bound(claim(1, 7, vec![own.clone()]), 900, &device);
                let late = claim(2, 8, vec![others.clone()]);
                let found = match_claims(&device, &[late.clone(), early.clone()]);
                assert_eq!(outcome(found), "claim 1 against 2", "{:?} {:?}", own.rank(), others.rank());
                // The same with a part that was built in since.
                let before: Vec<_> = device
                    .observations()
                    .iter()
                    .filter(|one| !others.members().contains(&one.identifier) || own == others)
                    .cloned()
                    .collect();
                let early = bound(early, 900, &HardwareIdentity::new(before).unwrap());
                let found = match_claims(&device, &[late, early]);
                assert_eq!(outcome(found), "claim 1 against 2", "{:?} {:?}", own.rank(), others.rank());
            }
        }
    }

    #[test]
    fn who_enrolls_something_after_a_device_was_claimed_does_not_get_the_device() {
        let laptop = identity(LAPTOP);
        let owners = claim(1, 7, vec![set(&LAPTOP[..3])]);
        let by_mac = claim(2, 8, vec![set(&LAPTOP[3..4])]);
        // A device that showed only the second claim's identifier, and so matched nothing else.
        let pretended = identity(&LAPTOP[3..4]);
        for (since, enrolled) in [(1000, &laptop), (1001, &pretended), (900, &pretended)] {
            let other = bound(by_mac.clone(), since, enrolled);
            let found = match_claims(&laptop, &[owners.clone(), other]);
            assert_eq!(outcome(found), "ambiguous 1 2", "{since} {enrolled:?}");
        }
        // The owner's device came later still, and is bound: by then nobody can tell.
        let both = [bound(owners, 1200, &laptop), bound(by_mac, 1100, &pretended)];
        assert_eq!(outcome(match_claims(&laptop, &both)), "ambiguous 1 2");
    }

    #[test]
    fn a_part_that_moved_takes_no_device_along() {
        let (mac, serial) = (set(&LAPTOP[3..4]), set(&LAPTOP[..3]));
        let other_machine = identity(&[(SerialNumber, "PF0OTHER"), LAPTOP[1], LAPTOP[2], LAPTOP[3]]);
        let of_part = |owner| bound(claim(1, owner, vec![mac.clone()]), 900, &other_machine);
        let laptop = identity(LAPTOP);
        let found = |owner| match_claims(&laptop, &[of_part(owner), claim(2, 8, vec![serial.clone()])]);
        assert_eq!(outcome(found(7)), "ambiguous 2 1");
        assert_eq!(outcome(found(8)), "claim 2");
        // Boards that show nothing but addresses: one card of another board is not that board.
        let (own, moved) = ((MacAddress, "00:16:3e:00:00:02"), LAPTOP[3]);
        let enrolled = identity(&[moved, (MacAddress, "00:16:3e:00:00:03")]);
        let claims = [bound(claim(1, 7, vec![mac.clone()]), 900, &enrolled), claim(2, 8, vec![set(&[own])])];
        assert_eq!(outcome(match_claims(&identity(&[own, moved]), &claims)), "ambiguous 1 2");
        let both = identity(&[own, moved, (MacAddress, "00:16:3e:00:00:03")]);
        assert_eq!(outcome(match_claims(&both, &claims)), "claim 1 against 2");
    }

    #[test]
    fn the_key_that_enrolled_says_which_claim_it_is() {
        let laptop = identity(LAPTOP);
        let with_key = |claim: RegisteredClaim| {
            let bound = Some(Bound { since: Timestamp(5000), has_key: true, identity: None });
            RegisteredClaim { bound, ..claim }
        };
        let (by_serial, by_uuid) =
            (claim(1, 7, vec![set(&LAPTOP[..3])]), claim(2, 8, vec![set(&LAPTOP[4..5])]));
        let found = match_claims(&laptop, &[bound(by_serial.clone(), 900, &laptop), with_key(by_uuid)]);
        assert_eq!(outcome(found), "claim 2 against 1");
        let own = claim(3, 7, vec![set(&LAPTOP[3..4])]);
        assert_eq!(outcome(match_claims(&laptop, &[by_serial, with_key(own)])), "claim 3");
    }

    #[test]
    fn claims_that_match_in_part_affect_nobody() {
        let owners = claim(99, 7, vec![set(&LAPTOP[..3])]);
        let invented = |number: i64| {
            let model = format!("Model {number}");
            claim(number, 8, vec![set(&[LAPTOP[0], LAPTOP[1], (Model, &model)])])
        };
        let claims: Vec<_> = (1..=65).map(invented).chain([owners]).collect();
        assert_eq!(outcome(match_claims(&identity(LAPTOP), &claims)), "claim 99");
    }

    #[test]
    fn several_claims_of_one_owner_are_one() {
        let (early, late) = (claim(4, 7, vec![set(&LAPTOP[..3])]), claim(5, 7, vec![set(&LAPTOP[..3])]));
        let Match::Claim(reason) = match_claims(&identity(LAPTOP), &[late, early]) else { panic!() };
        assert_eq!(reason.claim.get(), 4);
    }

    #[test]
    fn a_replaced_board_is_a_hardware_change_and_a_dock_is_not() {
        let was = identity(LAPTOP);
        let mut docked = LAPTOP.to_vec();
        docked.push((MacAddress, "00:16:3e:00:00:99"));
        assert_eq!(hardware_change(&identity(&docked), &was, Rank::Serial), None);
        assert_eq!(hardware_change(&was, &identity(&docked), Rank::Serial), None);

        let repaired = identity(&[
            LAPTOP[0],
            LAPTOP[1],
            LAPTOP[2],
            (BoardSerial, "L1HF999"),
            (MacAddress, "00:16:3e:00:00:02"),
        ]);
        let change = hardware_change(&repaired, &was, Rank::Serial).unwrap();
        let kinds: Vec<_> = change.replaced.iter().map(|part| part.kind).collect();
        assert_eq!(kinds, [BoardSerial, SystemUuid, MacAddress]);
        assert_eq!(change.replaced[1].now, Vec::<String>::new());
    }
}
