//! The payload answers a handshake that somebody recorded.

use super::{is_refused, with_payload, world};
use anyhow::Result;
use unbox_common::bytes::FixedBytes;

#[test]
fn replayed_payload_is_rejected() -> Result<()> {
    let attack = with_payload(|payload| payload.nonce = FixedBytes([1; 32]));
    is_refused("payload_wrong_nonce", world()?, attack)
}
