//! Identifiers that a device is unlikely to show, although each passed the rules of its kind: found when
//! they are registered, before the devices ship.

use crate::{
    date::Date,
    eligibility::{Eligibility, Reason, Unit, judge},
    identity::{Identifier, IdentifierKind, fold_manufacturer},
    maker::{SerialDoubt, serial_doubt},
    matching::IdentifierSet,
    models::{Model, Models},
};

/// An oddity of a set of identifiers, in one sentence; [`Doubt::advice`] returns the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A serial number in an unusual form for its maker.
    #[error(transparent)]
    Serial(SerialDoubt),
    /// A Dell with different serial number and service tag.
    #[error("The serial number is not the service tag, and on a Dell the two are one.")]
    TwoTags,
    /// A unit that cannot be registered by its certified device ID.
    #[error(transparent)]
    NotEligible(Reason),
    /// A unit whose maker's certified ID is not known.
    #[error(transparent)]
    NotKnown(Reason),
}

impl Doubt {
    /// Returns the name of the check that found it, for counting.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Serial(SerialDoubt::CutShort) | Self::NotEligible(Reason::ShortLabel) => {
                "claim_serial_cut_short"
            }
            Self::Serial(SerialDoubt::WholeString { .. }) => "claim_serial_is_1s_string",
            Self::Serial(SerialDoubt::ExpressCode { .. }) => "claim_serial_is_express_code",
            Self::Serial(SerialDoubt::Unusual(_)) => "claim_serial_unusual",
            Self::TwoTags => "claim_serial_is_not_service_tag",
            Self::NotEligible(Reason::MadeTooEarly { .. }) => "claim_made_too_early",
            Self::NotEligible(_) => "claim_certified_id_wrong",
            Self::NotKnown(Reason::MadeWhen(_)) => "claim_made_when",
            Self::NotKnown(_) => "claim_certified_id_unknown",
        }
    }

    /// Returns true if no device can show the set, as far as its maker has published.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        match self {
            Self::Serial(doubt) => doubt.is_certain(),
            Self::TwoTags | Self::NotEligible(_) => true,
            Self::NotKnown(_) => false,
        }
    }

    /// Returns the remedy, in one sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Serial(doubt) => doubt.advice(),
            Self::TwoTags => "Take the service tag off the unit itself.",
            Self::NotKnown(Reason::MadeWhen(_)) => {
                "Read the day of manufacture off the label, and write it beside the claim as manufacture_date."
            }
            Self::NotEligible(reason) | Self::NotKnown(reason) => reason.advice(),
        }
    }
}

/// Finds everything that is odd about a set, given what makers certify, and the day of manufacture if it is
/// known.
#[must_use]
pub fn find_doubts(set: &IdentifierSet, models: &Models, manufactured: Option<Date>) -> Vec<Doubt> {
    let of = |kind| {
        let first = set.members().iter().find(|one| one.kind() == kind);
        first.map(Identifier::value).unwrap_or_default()
    };
    let (maker, serial) = (of(IdentifierKind::Manufacturer), of(IdentifierKind::SerialNumber));
    if let Some(unit) = Unit::of(set.members()) {
        return match judge(models, &Unit { manufactured, ..unit }) {
            Eligibility::NotEligible { reason, .. } => vec![Doubt::NotEligible(reason)],
            Eligibility::Unknown {
                reason: reason @ (Reason::UnknownModel | Reason::MadeWhen(_)), ..
            } => {
                vec![Doubt::NotKnown(reason)]
            }
            Eligibility::Eligible { .. } | Eligibility::Unknown { .. } => Vec::new(),
        };
    }
    if serial.is_empty() {
        return Vec::new();
    }
    let is_whole = || models.find(of(IdentifierKind::Model)).is_some_and(Model::has_whole_string_serial);
    let tag = of(IdentifierKind::ServiceTag);
    let two_tags = !tag.is_empty() && tag != serial && fold_manufacturer(maker) == "dell";
    let doubt = serial_doubt(maker, serial).filter(|_| !is_whole()).map(Doubt::Serial);
    doubt.into_iter().chain(two_tags.then_some(Doubt::TwoTags)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::CertifiedId;
    use IdentifierKind::{CertifiedDeviceId, MacAddress, Manufacturer, Model, SerialNumber, ServiceTag};

    fn checks(of: &[(IdentifierKind, &str)]) -> Vec<(&'static str, bool)> {
        checks_made(of, None)
    }

    fn checks_made(of: &[(IdentifierKind, &str)], made: Option<&str>) -> Vec<(&'static str, bool)> {
        let made = made.map(|day| day.parse().unwrap());
        let members = of.iter().map(|(kind, value)| Identifier::parse(*kind, value).unwrap());
        let found = find_doubts(&IdentifierSet::new(members).unwrap(), Models::built_in(), made);
        for doubt in &found {
            assert!(doubt.to_string().ends_with('.') && doubt.advice().ends_with('.'), "{doubt}");
        }
        found.iter().map(|doubt| (doubt.check(), doubt.is_certain())).collect()
    }

    fn of_maker(maker: &str, model: &str, serial: &str) -> Vec<(&'static str, bool)> {
        checks(&[(Manufacturer, maker), (Model, model), (SerialNumber, serial)])
    }

    fn of_chrome_os(serial: &str, model: &str, certified: &str) -> Vec<(&'static str, bool)> {
        checks(&[(SerialNumber, serial), (Model, model), (CertifiedDeviceId, certified)])
    }

    #[test]
    fn what_a_device_shows_raises_no_doubt() {
        for (maker, model, serial) in [
            ("LENOVO", "20QES0XX00", "PF0ABCDE"),
            ("LENOVO", "Chromebook Lenovo ThinkPad C14", "1S20UX0001USPF0ABCDE"),
            ("Dell Inc.", "Latitude 7450", "7XK9Q13"),
            ("Samsung", "960XFG", "0A2D91ZN500126J"),
            ("Acme", "Gateway 3", "G3-1"),
        ] {
            assert_eq!(of_maker(maker, model, serial), [], "{maker} {serial}");
        }
        assert_eq!(
            of_chrome_os("PF0ABCDE", "Chromebook Lenovo 100e 4e génération", "1S82W0CTO1WWPF0ABCDE"),
            []
        );
        assert_eq!(checks(&[(MacAddress, "00:16:3e:00:00:01")]), []);
        assert_eq!(checks(&[(CertifiedDeviceId, "QX-7Y3K9M2W")]), []);
        let dell = [(Manufacturer, "Dell"), (Model, "L"), (SerialNumber, "7XK9Q13"), (ServiceTag, "7XK9Q13")];
        assert_eq!(checks(&dell), []);
    }

    #[test]
    fn what_no_device_shows_is_named_by_its_rule() {
        assert_eq!(
            of_maker("LENOVO", "20QES0XX00", "1S20QES0XX00PF0ABCDE"),
            [("claim_serial_is_1s_string", true)]
        );
        assert_eq!(of_maker("Samsung", "960XFG", "0A2D91ZN500126"), [("claim_serial_cut_short", true)]);
        assert_eq!(
            of_maker("Dell", "Latitude 7450", "17266906119"),
            [("claim_serial_is_express_code", true)]
        );
        assert_eq!(of_maker("HP", "EliteBook", "5CD1234AB"), [("claim_serial_unusual", false)]);
        let dell = [(Manufacturer, "Dell"), (Model, "L"), (SerialNumber, "7XK9Q13"), (ServiceTag, "7XK9Q14")];
        assert_eq!(checks(&dell), [("claim_serial_is_not_service_tag", true)]);
        for (serial, model, certified, rule) in [
            (
                "PF0ABCDE",
                "Chromebook Lenovo 100e 4e génération",
                "PF0ABCDE",
                ("claim_certified_id_wrong", true),
            ),
            ("7XK9Q13", "Chromebook Dell 3110", "7XK9Q14", ("claim_certified_id_wrong", true)),
            (
                "0A2D91ZN500126",
                "Chromebook Samsung Galaxy",
                "0A2D91ZN500126",
                ("claim_serial_cut_short", true),
            ),
            ("PF0ABCDE", "Chromebook Acme 1", "PF0ABCDE", ("claim_certified_id_unknown", false)),
        ] {
            assert_eq!(of_chrome_os(serial, model, certified), [rule], "{model} {certified}");
        }
    }

    #[test]
    fn a_day_of_manufacture_decides_where_the_model_asks_for_one() {
        let model = Models::built_in()
            .iter()
            .find(|model| model.manufactured_from.is_some() && model.certified_id == CertifiedId::Serial);
        let model = model.unwrap();
        let first = model.manufactured_from.unwrap().to_string();
        let serial = "ABCDEFGHIJKLMNO";
        let of = [(SerialNumber, serial), (Model, model.name.as_str()), (CertifiedDeviceId, serial)];
        assert_eq!(checks_made(&of, None), [("claim_made_when", false)]);
        assert_eq!(checks_made(&of, Some("2001-01-01")), [("claim_made_too_early", true)]);
        assert_eq!(checks_made(&of, Some(&first)), []);
    }
}
