//! Identifiers that somebody without the device could have guessed, counted to stop enumeration.

use crate::domain::claims::claim::lookup_text;
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Rank, fold_manufacturer},
    matching::{Reason, lookup_keys},
};

/// One identifier in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guess {
    /// Its kind, and its maker if it is unique only within a maker's models. Guesses at a maker's serial
    /// numbers count together, in whatever order they are tried.
    pub series: String,
    /// The identifier, as `serial_number PF0ABCDE`.
    pub value: String,
}

impl Guess {
    /// Returns every identifier by which claims are found. Keys are left out, because nobody can guess
    /// them.
    pub(super) fn all(identity: &HardwareIdentity) -> Vec<Self> {
        let guessable = |one: &&Identifier| one.kind().rank() != Some(Rank::Key);
        lookup_keys(identity).filter(guessable).flat_map(|one| Self::of(identity, one)).collect()
    }

    /// Returns the identifiers by which a claim matched.
    pub(super) fn from_reason(identity: &HardwareIdentity, reason: &Reason) -> Vec<Self> {
        let decided = |one: &&Identifier| {
            one.kind().rank() == Some(reason.rank) && reason.identifiers.contains(&lookup_text(one))
        };
        let key = lookup_keys(identity).find(decided).filter(|_| reason.rank != Rank::Key);
        key.map(|one| Self::of(identity, one)).unwrap_or_default()
    }

    /// Returns a guess for each maker that the device names, so that naming an invented maker beside the
    /// right one does not avoid the right series.
    fn of(identity: &HardwareIdentity, identifier: &Identifier) -> Vec<Self> {
        let kind = identifier.kind();
        let guess = |maker: &str| Self { series: format!("{kind} {maker}"), value: lookup_text(identifier) };
        if !kind.needs_maker_and_model() {
            return vec![guess("")];
        }
        let makers = identity.of_kind(IdentifierKind::Manufacturer);
        makers.map(|maker| guess(&fold_manufacturer(maker.value()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::{
        identity::{Observed, Source},
        ids::{ClaimId, CompanyId},
    };

    #[test]
    fn every_identifier_that_is_looked_up_counts_and_its_maker_belongs_to_it() {
        use IdentifierKind::{BoardSerial, DeviceKey, MacAddress, Manufacturer, Model, SerialNumber};
        let key = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let shown = [
            (DeviceKey, key),
            (SerialNumber, "PF0ABCDE"),
            (BoardSerial, "L1HF123"),
            (MacAddress, "00:16:3e:00:00:01"),
            (MacAddress, "00:16:3e:00:00:02"),
            (Manufacturer, "LENOVO"),
            (Manufacturer, "Made Up Inc."),
            (Model, "20QES0XX00"),
        ];
        let observed = shown.map(|(kind, value)| Observed {
            identifier: Identifier::parse(kind, value).unwrap(),
            source: Source::Smbios,
        });
        let identity = HardwareIdentity::new(observed).unwrap();
        let text = |guesses: Vec<Guess>| -> Vec<String> {
            guesses.into_iter().map(|Guess { series, value }| format!("{series}: {value}")).collect()
        };
        let serial =
            ["serial_number lenovo: serial_number PF0ABCDE", "serial_number made up: serial_number PF0ABCDE"];
        let rest = [
            "board_serial lenovo: board_serial L1HF123",
            "board_serial made up: board_serial L1HF123",
            "mac_address : mac_address 00:16:3e:00:00:01",
            "mac_address : mac_address 00:16:3e:00:00:02",
        ];
        assert_eq!(text(Guess::all(&identity)), [&serial[..], &rest].concat());
        let by = |rank, identifiers: &[&str]| {
            let identifiers = identifiers.iter().map(|&text| text.to_owned()).collect();
            let (claim, owner) = (ClaimId::new(1).unwrap(), CompanyId::new(1).unwrap());
            text(Guess::from_reason(&identity, &Reason { claim, owner, rank, identifiers }))
        };
        assert_eq!(by(Rank::Serial, &["serial_number PF0ABCDE", "manufacturer Lenovo"]), serial);
        assert_eq!(by(Rank::MacAddress, &["mac_address 00:16:3e:00:00:02"]), rest[3..]);
        assert_eq!(by(Rank::Key, &[&format!("device_key {key}")]), Vec::<String>::new());
    }
}
