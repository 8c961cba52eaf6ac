//! ChromeOS devices: which models can be registered, and which identifier the maker of each
//! certifies.
//!
//! The table is `data/chromeos-models.csv`: the models of Google's help page for zero-touch
//! enrollment of ChromeOS devices, as it names them. A note of the page stands in `footnote`:
//! 1, the serial number itself is the whole certified id; 2, labels of early units leave the last
//! character of the serial number out; 3, the certified id ends in the MAC address; 4, there is a
//! second model of the same name, followed by ` (15w)`.

use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

/// A set of identifiers that is no ChromeOS device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct InvalidChromeOs {
    /// Which of the three is wrong.
    pub part: Part,
    /// The rule that it broke.
    pub rule: &'static str,
}

/// One of what a ChromeOS device is registered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The serial number.
    SerialNumber,
    /// The model.
    Model,
    /// The identifier that the maker certifies.
    CertifiedId,
}

/// What the maker of a model certifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CertifiedId {
    Serial,
    DellServiceTag,
    #[serde(rename = "lenovo_1s_mtm_serial")]
    LenovoMtmSerial,
    #[serde(rename = "lenovo_1s_origin_mac")]
    LenovoOriginMac,
    #[serde(rename = "asus_certified_id")]
    AsusToken,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    certified_id: CertifiedId,
    footnote: Option<u8>,
}

#[derive(Deserialize)]
struct Row {
    model: String,
    certified_id: CertifiedId,
    footnote: Option<u8>,
}

/// By the model's name, folded. A test counts the rows: none is left out.
static MODELS: LazyLock<BTreeMap<String, Rules>> = LazyLock::new(|| {
    let mut table =
        csv::Reader::from_reader(include_bytes!("../../../common/data/chromeos-models.csv").as_slice());
    let mut models = BTreeMap::new();
    for Row { model, certified_id, footnote } in table.deserialize().flatten() {
        let rules = Rules { certified_id, footnote };
        if rules.footnote == Some(4) {
            models.insert(folded(&format!("{model} (15w)")), rules);
        }
        models.insert(folded(&model), rules);
    }
    models
});

/// The same model however it is spaced and capitalised.
fn folded(model: &str) -> String {
    model.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// Holds what a ChromeOS device is registered by against the table.
///
/// # Errors
/// [`InvalidChromeOs`] with the first rule that is broken.
pub fn check(serial_number: &str, model: &str, certified_id: &str) -> Result<(), InvalidChromeOs> {
    let invalid = |part, rule| Err(InvalidChromeOs { part, rule });
    let missing = "A ChromeOS device is registered by serial number, model and certified device id.";
    for (part, value) in
        [(Part::SerialNumber, serial_number), (Part::Model, model), (Part::CertifiedId, certified_id)]
    {
        if value.trim().is_empty() {
            return invalid(part, missing);
        }
    }
    let Some(rules) = MODELS.get(&folded(model)) else {
        let rule = "No ChromeOS model of this name can be registered: expected the name that Google's list \
                    of supported models has.";
        return invalid(Part::Model, rule);
    };
    let serial = serial_number.trim().to_ascii_uppercase();
    let certified = certified_id.trim().to_ascii_uppercase();
    if rules.footnote == Some(2) && serial.len() == 14 {
        let rule = "The serial number of this model has 15 characters; labels of early units leave the last one \
                    out, and such units cannot be registered.";
        return invalid(Part::SerialNumber, rule);
    }
    if rules.footnote == Some(2) && serial.len() != 15 {
        return invalid(Part::SerialNumber, "The serial number of this model has 15 characters.");
    }
    if rules.footnote == Some(1) {
        let rule = "The certified id of this model is its serial number, which begins with 1S.";
        let right = certified == serial && certified.starts_with("1S");
        return if right { Ok(()) } else { invalid(Part::CertifiedId, rule) };
    }
    match rules.certified_id.broken(&serial, &certified) {
        Some(rule) => invalid(Part::CertifiedId, rule),
        None => Ok(()),
    }
}

impl CertifiedId {
    /// The rule that an id breaks, if it does. Both texts are in capitals.
    fn broken(self, serial: &str, id: &str) -> Option<&'static str> {
        let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let (right, rule) = match self {
            Self::Serial => (id == serial, "The certified id of this model is its serial number."),
            Self::DellServiceTag => (
                id.len() == 7 && alphanumeric(id),
                "The certified id of this model is its service tag: 7 letters and digits.",
            ),
            Self::LenovoMtmSerial => {
                let machine = id.strip_prefix("1S").and_then(|rest| rest.strip_suffix(serial));
                (
                    machine.is_some_and(|machine| matches!(machine.len(), 7 | 10) && alphanumeric(machine)),
                    "The certified id of this model is 1S, its machine type and model (7 or 10 characters), and \
                     its serial number.",
                )
            }
            Self::LenovoOriginMac => {
                let rest = id.strip_prefix("1SC1KS").or_else(|| id.strip_prefix("1SC1VM"));
                (
                    rest.is_some_and(|mac| {
                        mac.len() == 12 && mac.bytes().all(|byte| byte.is_ascii_hexdigit())
                    }),
                    "The certified id of this model is 1S, C1KS or C1VM, and its MAC address of 12 digits.",
                )
            }
            Self::AsusToken => (
                id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "The certified id of this model is made of letters, digits and hyphens.",
            ),
        };
        (!right).then_some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_known() {
        let rows = include_str!("../../../common/data/chromeos-models.csv").lines().count() - 1;
        let of_two_names = MODELS.values().filter(|rules| rules.footnote == Some(4)).count() / 2;
        assert_eq!((rows, of_two_names), (187, 1));
        assert_eq!(MODELS.len(), rows + of_two_names, "no model is there twice");
    }

    #[test]
    fn each_maker_certifies_what_its_models_say() {
        const SPIN: &str = "Chromebook Acer Spin 311 (R722T)";
        for (serial, model, certified, wrong) in [
            ("NXABC", SPIN, "NXABC", None),
            ("NXABC", "chromebook  acer spin 311 (r722t)", "nxabc", None),
            ("NXABC", SPIN, "NXABD", Some(Part::CertifiedId)),
            ("", SPIN, "NXABC", Some(Part::SerialNumber)),
            ("NXABC", " ", "NXABC", Some(Part::Model)),
            ("NXABC", SPIN, "", Some(Part::CertifiedId)),
            ("NXABC", "Gateway 3", "NXABC", Some(Part::Model)),
            ("7XK9Q13", "Chromebook Dell 3110", "7XK9Q13", None),
            ("7XK9Q13", "Chromebook Dell 3110", "7XK9Q1", Some(Part::CertifiedId)),
            ("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "1S82W0CTO1WWPF0ABCDE", None),
            ("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "1S3680WZQPF0ABCDE", None),
            ("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "PF0ABCDE", Some(Part::CertifiedId)),
            ("PF0ABCDE", "Chromebook Lenovo 14e 3e génération (15w)", "1S82W0CTO1WWPF0ABCDE", None),
            ("1S20UX0001USPF0ABC", "Chromebook Lenovo ThinkPad C14", "1S20UX0001USPF0ABC", None),
            ("PF0ABC", "Chromebook Lenovo ThinkPad C14", "1S20UX0001USPF0ABC", Some(Part::CertifiedId)),
            ("PF0ABC", "Chromebox Lenovo ThinkCentre M60q", "1SC1VM00163E000001", None),
            ("PF0ABC", "Chromebox Lenovo ThinkCentre M60q", "1SC1XX00163E000001", Some(Part::CertifiedId)),
            ("ABCDEFGHIJKLMNO", "Chromebook Samsung Galaxy", "ABCDEFGHIJKLMNO", None),
            ("ABCDEFGHIJKLMN", "Chromebook Samsung Galaxy", "ABCDEFGHIJKLMN", Some(Part::SerialNumber)),
        ] {
            let checked = check(serial, model, certified).map_err(|invalid| invalid.part);
            assert_eq!(checked.err(), wrong, "{serial} {model} {certified}");
        }
    }
}
