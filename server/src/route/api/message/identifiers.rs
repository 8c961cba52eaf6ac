//! The identifiers of a message, turned into identifiers that passed their rules, and back.

use super::common::{DeviceIdentifier, DeviceType};
use crate::route::api::wire::{
    detail::{FieldViolation, Reason},
    status::Status,
};
use unbox_common::identity::{Identifier, IdentifierKind as Kind};

/// The field of a message that holds an identifier.
type Place = fn(&mut DeviceIdentifier) -> &mut String;

/// JSON name, kind and place of each field.
const FIELDS: [(&str, Kind, Place); 15] = [
    ("imei", Kind::Imei, |message| &mut message.imei),
    ("imei2", Kind::Imei, |message| &mut message.imei2),
    ("meid", Kind::Meid, |message| &mut message.meid),
    ("meid2", Kind::Meid, |message| &mut message.meid2),
    ("serialNumber", Kind::SerialNumber, |message| &mut message.serial_number),
    ("manufacturer", Kind::Manufacturer, |message| &mut message.manufacturer),
    ("model", Kind::Model, |message| &mut message.model),
    ("chromeOsAttestedDeviceId", Kind::CertifiedDeviceId, |message| {
        &mut message.chrome_os_attested_device_id
    }),
    ("serviceTag", Kind::ServiceTag, |message| &mut message.service_tag),
    ("macAddress", Kind::MacAddress, |message| &mut message.mac_address),
    ("systemUuid", Kind::SystemUuid, |message| &mut message.system_uuid),
    ("tpmKeyDigest", Kind::TpmKey, |message| &mut message.tpm_key_digest),
    ("deviceKeyDigest", Kind::DeviceKey, |message| &mut message.device_key_digest),
    ("boardSerial", Kind::BoardSerial, |message| &mut message.board_serial),
    ("chassisSerial", Kind::ChassisSerial, |message| &mut message.chassis_serial),
];

impl DeviceIdentifier {
    /// Parses every identifier, and checks it against the rules of its kind.
    ///
    /// # Errors
    /// All fields that broke a rule, below the path `within`, and the reason for the first.
    pub fn identifiers(&self, within: &str) -> Result<Vec<Identifier>, Status> {
        let (mut identifiers, mut violations, mut reason) = (Vec::new(), Vec::new(), None);
        let mut message = self.clone();
        for (field, kind, place) in FIELDS {
            let value = place(&mut message);
            if value.is_empty() {
                continue;
            }
            match Identifier::parse(kind, value) {
                Ok(identifier) => identifiers.push(identifier),
                Err(invalid) => {
                    let mut violation = FieldViolation::new(field, format!("The value {}.", invalid.rule));
                    violation.nest(within);
                    violations.push(violation);
                    reason.get_or_insert(invalid_reason(kind));
                }
            }
        }
        match reason {
            None => Ok(identifiers),
            Some(reason) => Err(Status::invalid(violations).with_reason(reason)),
        }
    }

    /// Returns true if this is a ChromeOS device: because it says so, or because nothing else has such an id.
    #[must_use]
    pub fn is_chrome_os(&self) -> bool {
        match self.device_type {
            DeviceType::ChromeOs => true,
            DeviceType::Unspecified => !self.chrome_os_attested_device_id.is_empty(),
            DeviceType::Android => false,
        }
    }

    /// Makes a message of these identifiers. A device with more of a kind than a message has
    /// fields for shows the first ones; a SKU has no field.
    #[must_use]
    pub fn of<'a>(identifiers: impl IntoIterator<Item = &'a Identifier>) -> Self {
        let mut message = Self::default();
        for identifier in identifiers {
            for (_, _, place) in FIELDS.into_iter().filter(|(_, kind, _)| *kind == identifier.kind()) {
                let value = place(&mut message);
                if value.is_empty() {
                    identifier.value().clone_into(value);
                    break;
                }
            }
        }
        message
    }
}

/// Returns the reason for an identifier that broke a rule. Kinds that this API does not know have none of
/// their own.
const fn invalid_reason(kind: Kind) -> Reason {
    match kind {
        Kind::Imei => Reason::InvalidImei,
        Kind::Meid => Reason::InvalidMeid,
        Kind::SerialNumber => Reason::InvalidSerial,
        Kind::Manufacturer => Reason::InvalidManufacturer,
        Kind::Model => Reason::InvalidModel,
        _ => Reason::InvalidParameter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> DeviceIdentifier {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_field_becomes_an_identifier_and_comes_back() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let json = format!(
            r#"{{"imei":"123456789012347","imei2":"490154203237518","meid":"A1000000123456","meid2":"A1000000123457",
                "serialNumber":"PF0ABCDE","manufacturer":"LENOVO","model":"20QES0XX00",
                "chromeOsAttestedDeviceId":"C1","serviceTag":"7XK9Q13","macAddress":"00:16:3e:00:00:01",
                "systemUuid":"4c4c4544-0058-4b10-8039-b7c04f513133","tpmKeyDigest":"{digest}",
                "deviceKeyDigest":"{digest}","boardSerial":"L1HF123","chassisSerial":"C9"}}"#
        );
        let whole = message(&json);
        let identifiers = whole.identifiers("deviceIdentifier").unwrap();
        assert_eq!(identifiers.len(), 15);
        assert_eq!(DeviceIdentifier::of(&identifiers), whole);
        assert_eq!(message("{}").identifiers("").unwrap(), []);
    }

    #[test]
    fn values_come_back_in_their_one_form() {
        let spelt = message(r#"{"imei":"49-015420-323751","macAddress":"00-16-3E-00-00-01"}"#);
        let canonical = DeviceIdentifier::of(&spelt.identifiers("").unwrap());
        assert_eq!(
            (canonical.imei.as_str(), canonical.mac_address.as_str()),
            ("490154203237518", "00:16:3e:00:00:01")
        );
        let three: Vec<_> =
            (1..=3).map(|n| Identifier::parse(Kind::Imei, &format!("4901542032375{n}")).unwrap()).collect();
        assert_eq!(DeviceIdentifier::of(&three).imei2, three[1].value());
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        let refused = message(
            r#"{"serialNumber":"Default string","imei2":"123456789012340","model":"ok","deviceKeyDigest":"x"}"#,
        )
        .identifiers("claims[3].deviceIdentifier")
        .unwrap_err();
        assert_eq!(refused.reason(), Reason::InvalidImei);
        assert_eq!(
            refused.message(),
            "claims[3].deviceIdentifier.imei2: The value is not in its form: expected an IMEI whose last digit is \
             its check digit. claims[3].deviceIdentifier.serialNumber: The value is a placeholder that the maker \
             never replaced. claims[3].deviceIdentifier.deviceKeyDigest: The value is not in its form: expected \
             the SHA-256 of a public key, 64 hexadecimal digits."
        );
    }
}
