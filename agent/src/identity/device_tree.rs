//! Identifiers from a device tree, found on boards without SMBIOS (Devicetree Specification 0.4, section
//! 2.3).

use unbox_common::identity::IdentifierKind;

/// Folders of the root node. The second is a link to the first, but a captured machine may hold only the
/// second.
pub(super) const ROOTS: &[&str] = &["/sys/firmware/devicetree/base", "/proc/device-tree"];

/// The properties of the root node that are read.
pub const PROPERTIES: &[&str] = &["serial-number", "model", "compatible"];

/// Reads one property of the root node as an identifier that no rule has been applied to yet.
#[must_use]
pub fn value(property: &str, bytes: &[u8]) -> Option<(IdentifierKind, String)> {
    // Property strings end with NUL; a list holds several.
    let first = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(first);
    match property {
        "serial-number" => Some((IdentifierKind::SerialNumber, text.into_owned())),
        "model" => Some((IdentifierKind::Model, text.into_owned())),
        // The only manufacturer in a device tree: the prefix of its most specific name.
        "compatible" => {
            let (maker, _) = text.split_once(',')?;
            Some((IdentifierKind::Manufacturer, maker.to_owned()))
        }
        _ => None,
    }
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
            let found = value(property, bytes);
            assert_eq!(found.as_ref().map(|(_, text)| text.as_str()), expected, "{property}");
        }
    }
}
