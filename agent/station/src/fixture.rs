//! Fixtures of machines and signing roots for the tests of the station.

use unbox_agent::identity::{Candidate, Survey};
use unbox_common::{
    identity::{IdentifierKind, Source},
    trust::{KeySet, Signed, SigningKey, SigningRoot, sign},
};

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

/// Makes a root of `version`, signed by itself and by the one before it, with keys made from seeds.
pub(super) fn signed_root(version: u8) -> Signed<SigningRoot> {
    let key = |seed| SigningKey::from_seed(&[seed; 32]);
    let (before, own) = (key(100 + version - 1), key(100 + version));
    let root = SigningRoot {
        version: version.into(),
        payload_keys: KeySet::new(1, [key(version).public()]).unwrap(),
        root_keys: KeySet::new(1, [own.public()]).unwrap(),
        tls_anchors: None,
    };
    sign(&root, &[&before, &own]).unwrap()
}
