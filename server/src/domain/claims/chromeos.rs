//! Checks the identifiers of ChromeOS devices in claims, by the rules of [`unbox_common::eligibility`],
//! which test stations share.

use unbox_common::{
    eligibility::{Part, Reason, Unit, judge},
    models::Models,
};

/// A set of identifiers that cannot be a ChromeOS device's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct InvalidChromeOs {
    /// The invalid identifier, or the day of manufacture.
    pub part: Part,
    /// The broken rule, and advice on what to do.
    pub rule: String,
}

/// Checks the identifiers of a ChromeOS device against the table of models. A claim may omit the day of
/// manufacture; if it names one, the day is checked, too.
///
/// # Errors
/// [`InvalidChromeOs`] with the first rule that is broken.
pub fn check(models: &Models, unit: &Unit<'_>) -> Result<(), InvalidChromeOs> {
    // A station may derive a certified ID from the rest; a claim has to name all three.
    for (part, value) in [
        (Part::SerialNumber, unit.serial_number),
        (Part::Model, unit.model),
        (Part::CertifiedId, unit.certified_device_id),
    ] {
        if value.trim().is_empty() {
            let rule = "A ChromeOS device is registered by serial number, model and certified device ID.";
            return Err(InvalidChromeOs { part, rule: rule.to_owned() });
        }
    }
    match judge(models, unit).reason() {
        None | Some(Reason::MadeWhen(_)) => Ok(()),
        Some(reason) => {
            Err(InvalidChromeOs { part: reason.part(), rule: format!("{reason} {}", reason.advice()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Part::{CertifiedId, Manufactured, Model, SerialNumber};
    use unbox_common::models::CertifiedId as CertifiedKind;

    #[test]
    fn each_maker_certifies_what_its_models_say() {
        const SPIN: &str = "Chromebook Acer Spin 311 (R722T)";
        for (serial, model, certified, wrong) in [
            ("NXABC", SPIN, "NXABC", None),
            ("NXABC", "chromebook  acer spin 311 (r722t)", "nxabc", None),
            ("NXABC", SPIN, "NXABD", Some(CertifiedId)),
            ("", SPIN, "NXABC", Some(SerialNumber)),
            ("NXABC", " ", "NXABC", Some(Model)),
            ("NXABC", SPIN, "", Some(CertifiedId)),
            ("NXABC", "Gateway 3", "NXABC", Some(Model)),
            ("7XK9Q13", "Chromebook Dell 3110", "7XK9Q13", None),
            ("7XK9Q13", "Chromebook Dell 3110", "7XK9Q1", Some(CertifiedId)),
            ("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "1S82W0CTO1WWPF0ABCDE", None),
            ("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "1S3680WZQPF0ABCDE", None),
            ("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "PF0ABCDE", Some(CertifiedId)),
            ("PF0ABCDE", "Chromebook Lenovo 14e 3e génération (15w)", "1S82W0CTO1WWPF0ABCDE", None),
            ("1S20UX0001USPF0ABCD", "Chromebook Lenovo ThinkPad C14", "1S20UX0001USPF0ABCD", None),
            ("PF0ABCD", "Chromebook Lenovo ThinkPad C14", "1S20UX0001USPF0ABCD", Some(SerialNumber)),
            ("PF0ABC", "Chromebox Lenovo ThinkCentre M60q", "1SC1VM00163E000001", None),
            ("PF0ABC", "Chromebox Lenovo ThinkCentre M60q", "1SC1XX00163E000001", Some(CertifiedId)),
            ("ABCDEFGHIJKLMNO", "Chromebook Samsung Galaxy", "ABCDEFGHIJKLMNO", None),
            ("ABCDEFGHIJKLMN", "Chromebook Samsung Galaxy", "ABCDEFGHIJKLMN", Some(SerialNumber)),
        ] {
            let unit =
                Unit { serial_number: serial, model, certified_device_id: certified, ..Unit::default() };
            let checked = check(Models::built_in(), &unit).map_err(|invalid| invalid.part);
            assert_eq!(checked.err(), wrong, "{serial} {model} {certified}");
        }
    }

    #[test]
    fn a_device_that_was_made_too_early_is_refused_where_the_day_is_said() {
        let model = Models::built_in()
            .iter()
            .find(|model| model.manufactured_from.is_some() && model.certified_id == CertifiedKind::Serial);
        let model = model.unwrap();
        for (made, wrong) in
            [(None, None), (Some("2001-01-01"), Some(Manufactured)), (Some("2099-01-01"), None)]
        {
            let unit = Unit {
                serial_number: "ABCDEFGHIJKLMNO",
                model: &model.name,
                certified_device_id: "ABCDEFGHIJKLMNO",
                manufactured: made.map(|day| day.parse().unwrap()),
                ..Unit::default()
            };
            let checked = check(Models::built_in(), &unit).map_err(|invalid| invalid.part);
            assert_eq!(checked.err(), wrong, "{made:?}");
        }
    }
}
