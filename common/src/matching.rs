//! Which claim a device belongs to: a pure function of its identity and the claims.

use crate::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Rank},
    ids::{ClaimId, CompanyId},
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

/// Why a list of identifiers is not a set that a claim can register.
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
                && of_kind.len() > first.kind().most()
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

    /// The members, ordered by kind and value.
    #[must_use]
    pub fn members(&self) -> &[Identifier] {
        &self.members
    }

    /// What the whole set is worth: its strongest member.
    #[must_use]
    pub const fn rank(&self) -> Rank {
        self.rank
    }

    /// The identifier to look this set up by: the strongest, which few devices share.
    #[must_use]
    pub fn lookup_key(&self) -> Option<&Identifier> {
        self.members.iter().find(|one| one.kind().rank() == Some(self.rank))
    }

    fn matches(&self, identity: &HardwareIdentity) -> bool {
        self.members.iter().filter(|one| !self.merely_names(one)).all(|one| identity.shows(one))
    }

    /// Whether a member only says what people call the device, and need not be shown: beside an
    /// identifier that the maker certifies, maker and model are those of a price list, which the
    /// device's firmware does not know.
    #[must_use]
    pub fn merely_names(&self, member: &Identifier) -> bool {
        self.rank == Rank::CertifiedDeviceId && member.kind().rank().is_none()
    }
}

/// The identifiers of a device by which a store looks up claims that might match it.
pub fn lookup_keys(identity: &HardwareIdentity) -> impl Iterator<Item = &Identifier> {
    identity.observed().iter().map(|one| &one.identifier).filter(|one| one.kind().rank().is_some())
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
}

/// Why a claim matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The claim.
    pub claim: ClaimId,
    /// Its owner.
    pub owner: CompanyId,
    /// What the matching set is worth.
    pub rank: Rank,
    /// The members of that set, as `kind value`.
    pub identifiers: Vec<String>,
}

/// The outcome of matching one device against the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// One owner's claim, and why.
    Claim(Reason),
    /// Claims of different owners at the same, strongest rank: every one of them.
    Ambiguous(Vec<Reason>),
    /// No set matched whole. Sets of which a part matched, for the administrators only.
    None {
        /// Claims of which at least one ranked identifier matched.
        near: Vec<Reason>,
    },
}

/// Finds the claim that `identity` belongs to.
///
/// The strongest rank at which any set matches decides. Several claims of one owner at that
/// rank are one: the oldest (lowest id) stands for them.
#[must_use]
pub fn match_claims(identity: &HardwareIdentity, claims: &[RegisteredClaim]) -> Match {
    let mut whole: Vec<Reason> = claims.iter().filter_map(|claim| best_match(identity, claim)).collect();
    let Some(strongest) = whole.iter().map(|reason| reason.rank).min() else {
        return Match::None { near: claims.iter().filter_map(|claim| near_match(identity, claim)).collect() };
    };
    whole.retain(|reason| reason.rank == strongest);
    whole.sort_by_key(|reason| reason.claim);
    let owners: BTreeSet<CompanyId> = whole.iter().map(|reason| reason.owner).collect();
    match whole.first() {
        Some(first) if owners.len() == 1 => Match::Claim(first.clone()),
        _ => Match::Ambiguous(whole),
    }
}

fn best_match(identity: &HardwareIdentity, claim: &RegisteredClaim) -> Option<Reason> {
    let best = claim.sets.iter().filter(|set| set.matches(identity)).min_by_key(|set| set.rank())?;
    Some(reason(claim, best.rank(), best.members().iter()))
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

/// One part of a device that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedPart {
    /// The kind of identifier that changed.
    pub kind: IdentifierKind,
    /// What it was when the device last enrolled.
    pub was: Vec<String>,
    /// What it is now; empty if it is gone.
    pub now: Vec<String>,
}

/// A known device of which parts were replaced: its own state, not a new device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareChange {
    /// What changed. Never empty.
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
        RegisteredClaim { claim: ClaimId::new(number).unwrap(), owner: CompanyId::new(owner).unwrap(), sets }
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

    #[test]
    fn the_stronger_set_wins_and_equal_ranks_of_two_owners_are_ambiguous() {
        let laptop = identity(LAPTOP);
        let by_mac = claim(1, 7, vec![set(&[(MacAddress, "00:16:3e:00:00:01")])]);
        let by_serial = claim(2, 8, vec![set(&LAPTOP[..3])]);
        let also_by_serial = claim(3, 9, vec![set(&LAPTOP[..3])]);
        let Match::Claim(reason) = match_claims(&laptop, &[by_mac.clone(), by_serial.clone()]) else {
            panic!()
        };
        assert_eq!(reason.claim.get(), 2);
        let Match::Ambiguous(reasons) = match_claims(&laptop, &[by_mac, by_serial, also_by_serial]) else {
            panic!()
        };
        assert_eq!(reasons.iter().map(|reason| reason.claim.get()).collect::<Vec<_>>(), [2, 3]);
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
