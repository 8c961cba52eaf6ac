//! A policy writes where it must not: into Unbox's own trust.

use super::{change_envelope, is_refused, with_grant, world};
use anyhow::Result;
use unbox_common::payload::Payload;

#[test]
fn policy_that_escapes_is_rejected() -> Result<()> {
    for path in ["/etc/../proc/sysrq-trigger", "/etc/unbox/trust/anchors.pem"] {
        let attack = with_grant(move |world, grant| {
            let payload: Payload = serde_json::from_slice(grant.payload.envelope().payload.as_ref())?;
            // No typed path can say this: the attacker, who stole the key, writes the JSON itself.
            let mut document = serde_json::to_value(&payload)?;
            let item = serde_json::json!({"type": "file", "path": path, "content": {"text": "x"}});
            document["policy"] = serde_json::json!([item]);
            let signed = world.keys.sign_text::<Payload>(&document.to_string());
            change_envelope(grant, |envelope| *envelope = signed);
            Ok(())
        });
        is_refused("payload_unreadable", world()?, attack)?;
    }
    Ok(())
}
