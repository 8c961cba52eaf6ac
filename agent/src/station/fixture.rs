//! A machine as a test says it, for the tests of the station.

use crate::identity::{Candidate, Survey};
use unbox_common::identity::{IdentifierKind, Source};

/// What a machine with these values in its firmware shows.
pub(super) fn survey(of: &[(IdentifierKind, &str)]) -> Survey {
    let candidate = |(kind, value): &(IdentifierKind, &str)| Candidate {
        kind: *kind,
        value: (*value).to_owned(),
        source: Source::Smbios,
        from: "dmi".to_owned(),
    };
    Survey::of(of.iter().map(candidate).collect(), Vec::new(), Vec::new())
}

/// A machine of some maker's with this serial number.
pub(super) fn gateway(serial: &str) -> Survey {
    use IdentifierKind::{Manufacturer, Model, SerialNumber};
    survey(&[(SerialNumber, serial), (Manufacturer, "Acme"), (Model, "G3")])
}
