//! The payload is signed, but names another device.

use super::{is_refused, with_payload, world};
use anyhow::Result;
use unbox_common::ids::DeviceId;

#[test]
fn payload_for_another_device_is_rejected() -> Result<()> {
    let other = DeviceId::new(99)?;
    is_refused("payload_wrong_device", world()?, with_payload(move |payload| payload.device = other))
}
