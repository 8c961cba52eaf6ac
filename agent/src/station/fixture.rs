//! Fixtures of machines for the tests of the station.

use crate::identity::{Candidate, Survey};
use unbox_common::identity::{IdentifierKind, Source};

/// Returns the survey of a machine with these values in its firmware.
pub(super) fn survey(of: &[(IdentifierKind, &str)]) -> Survey {
    let candidate = |(kind, value): &(IdentifierKind, &str)| Candidate {
        kind: *kind,
        value: (*value).to_owned(),
        source: Source::Smbios,
        from: "dmi".to_owned(),
    };
    Survey::from_candidates(of.iter().map(candidate).collect(), Vec::new(), Vec::new())
}

/// Returns the survey of a machine of a known make with this serial number.
pub(super) fn gateway(serial: &str) -> Survey {
    use IdentifierKind::{Manufacturer, Model, SerialNumber};
    survey(&[(SerialNumber, serial), (Manufacturer, "Acme"), (Model, "G3")])
}
