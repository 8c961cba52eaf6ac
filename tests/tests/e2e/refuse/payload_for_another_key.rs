//! The payload is signed and names this device, but was made for another key.

use super::{is_refused, with_payload, world};
use anyhow::Result;
use unbox_common::digest::Sha256;

#[test]
fn payload_for_another_key_is_rejected() -> Result<()> {
    let other = Sha256::of(b"the key of another device");
    is_refused("payload_wrong_key", world()?, with_payload(move |payload| payload.key_digest = other))
}
