//! The payload is signed for this device, but for an enrollment of the past.

use super::{is_refused, with_payload, world};
use anyhow::Result;
use unbox_common::ids::Generation;

#[test]
fn payload_for_another_generation_is_rejected() -> Result<()> {
    let attack = with_payload(|payload| payload.generation = Generation(0));
    is_refused("payload_wrong_generation", world()?, attack)
}
