//! The payload is well formed, but signed by a key that the image does not trust.

use super::{is_refused, with_grant, world};
use anyhow::Result;
use unbox_common::payload::Payload;

#[test]
fn payload_signed_by_a_stranger_is_rejected() -> Result<()> {
    let attack = with_grant(|world, grant| {
        let payload: Payload = serde_json::from_slice(grant.payload.envelope().payload.as_ref())?;
        grant.payload = world.keys.sign_as_stranger(&payload)?;
        Ok(())
    });
    is_refused("payload_untrusted", world()?, attack)
}
