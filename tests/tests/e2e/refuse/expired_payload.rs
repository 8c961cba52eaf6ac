//! The payload was good, once.

use super::{is_refused, with_payload, world};
use anyhow::Result;
use std::time::Duration;

#[test]
fn expired_payload_is_rejected() -> Result<()> {
    let attack = with_payload(|payload| payload.expires_at = payload.issued_at.minus(Duration::from_secs(1)));
    is_refused("payload_expired", world()?, attack)
}
