//! Numbers that mean different things are different types.

use unbox_common::{
    ids::{ClaimId, DeviceId},
    matching::RegisteredClaim,
};

fn owner_of(device: DeviceId, claims: &[RegisteredClaim]) -> Option<&RegisteredClaim> {
    let claim: ClaimId = device; //~ E0308
    claims.iter().find(|one| one.claim == claim)
}

fn main() {}
