//! Identifiers out of a device tree: what boards without SMBIOS carry (Devicetree
//! Specification 0.4, section 2.3).

use super::Candidate;
use unbox_common::identity::{IdentifierKind, Source};

/// The properties of the root node that are read.
pub(super) const PROPERTIES: &[&str] = &["serial-number", "model", "compatible"];

/// What one property of the root node says.
pub(super) fn candidate(property: &str, bytes: &[u8], from: String) -> Option<Candidate> {
    // Property strings end with NUL; a list holds several.
    let first = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(first);
    let (kind, value) = match property {
        "serial-number" => (IdentifierKind::SerialNumber, text.into_owned()),
        "model" => (IdentifierKind::Model, text.into_owned()),
        // The only maker that a device tree names: the prefix of its most specific name.
        "compatible" => {
            let (maker, _) = text.split_once(',')?;
            (IdentifierKind::Manufacturer, maker.to_owned())
        }
        _ => return None,
    };
    Some(Candidate { kind, value, source: Source::DeviceTree, from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_node_names_serial_model_and_maker() {
        for (property, bytes, expected) in [
            ("serial-number", &b"10000000abcd1234\0"[..], Some("10000000abcd1234")),
            ("model", b"Raspberry Pi 4 Model B Rev 1.4\0", Some("Raspberry Pi 4 Model B Rev 1.4")),
            ("compatible", b"raspberrypi,4-model-b\0brcm,bcm2711\0", Some("raspberrypi")),
            ("compatible", b"bcm2711\0", None),
            ("serial-number", b"", Some("")),
            ("chassis-type", b"embedded\0", None),
        ] {
            let found = candidate(property, bytes, String::new());
            assert_eq!(found.as_ref().map(|one| one.value.as_str()), expected, "{property}");
        }
    }
}
