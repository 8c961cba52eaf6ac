//! The words of a station for identifiers, values and sources.

use super::verdict::Witness;
use unbox_common::identity::IdentifierKind;

/// The longest value in a message, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// Returns the name of a kind of identifier, for people.
#[must_use]
pub const fn kind_name(kind: IdentifierKind) -> &'static str {
    match kind {
        IdentifierKind::DeviceKey => "device key",
        IdentifierKind::TpmKey => "TPM key",
        IdentifierKind::CertifiedDeviceId => "certified device ID",
        IdentifierKind::SerialNumber => "serial number",
        IdentifierKind::ServiceTag => "service tag",
        IdentifierKind::BoardSerial => "board serial number",
        IdentifierKind::ChassisSerial => "chassis serial number",
        IdentifierKind::Imei => "IMEI",
        IdentifierKind::Meid => "MEID",
        IdentifierKind::MacAddress => "MAC address",
        IdentifierKind::SystemUuid => "UUID",
        IdentifierKind::Manufacturer => "manufacturer",
        IdentifierKind::Model => "model",
        IdentifierKind::Sku => "SKU",
    }
}

/// Makes an outside value safe for a terminal; a truncated one ends in three dots.
pub(super) fn make_printable(value: &str) -> String {
    let mut chars = value.chars().map(|char| if char.is_control() { ' ' } else { char });
    let shown: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() { shown + "..." } else { shown }
}

/// Formats the source for the beginning of a sentence.
pub(super) fn sentence_start(witness: &Witness) -> String {
    let text = witness.to_string();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

/// Describes the difference, if it looks like a slip.
pub(super) fn describe_difference(machine: &str, said: &str) -> &'static str {
    let (machine, said) = (machine.to_ascii_uppercase(), said.to_ascii_uppercase());
    let part_of = |part: &str, whole: &str| part.len() < whole.len() && whole.contains(part);
    let alike =
        |text: &str| text.replace('O', "0").replace(['I', 'L'], "1").replace('B', "8").replace('S', "5");
    if part_of(&said, &machine) {
        ", where characters are missing"
    } else if part_of(&machine, &said) {
        ", which has characters more"
    } else if alike(&machine) == alike(&said) {
        ", which only looks alike"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_cut_says_so_and_moves_no_cursor() {
        assert_eq!(make_printable("A\u{1b}[2J\r"), "A [2J ");
        assert_eq!(make_printable(&"A".repeat(MAX_SHOWN_CHARS)), "A".repeat(MAX_SHOWN_CHARS));
        assert_eq!(make_printable(&"A".repeat(MAX_SHOWN_CHARS + 1)), "A".repeat(MAX_SHOWN_CHARS) + "...");
    }
}
