//! Somebody on the way changes the signed payload.

use super::{change_envelope, is_refused, with_grant, world};
use anyhow::Result;

#[test]
fn tampered_payload_is_rejected() -> Result<()> {
    let attack = with_grant(|_, grant| {
        change_envelope(grant, |envelope| {
            let text = String::from_utf8_lossy(&envelope.payload.0).replace("World", "Wurld");
            envelope.payload.0 = text.into_bytes();
        });
        Ok(())
    });
    is_refused("payload_untrusted", world()?, attack)
}
