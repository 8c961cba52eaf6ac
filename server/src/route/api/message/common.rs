//! The messages that several families share: the device that is meant, and the purpose of a claim.

use crate::route::api::wire::{detail::FieldViolation, enums::wire_enum, message::message};
use std::collections::BTreeMap;
use unbox_common::ids::ClaimId;

wire_enum! {
    /// The section that a device is claimed for.
    pub enum SectionType {
        /// Not specified.
        Unspecified = 0 "SECTION_TYPE_UNSPECIFIED",
        /// To be locked to a network.
        SimLock = 1 "SECTION_TYPE_SIM_LOCK",
        /// To enroll by itself.
        ZeroTouch = 2 "SECTION_TYPE_ZERO_TOUCH",
    }
}

wire_enum! {
    /// The family of systems that a device runs.
    pub enum DeviceType {
        /// Not specified.
        Unspecified = 0 "DEVICE_TYPE_UNSPECIFIED",
        /// Android.
        Android = 1 "DEVICE_TYPE_ANDROID",
        /// ChromeOS.
        ChromeOs = 2 "DEVICE_TYPE_CHROME_OS",
    }
}

message! {
    /// The names that its maker gave a device. A claim needs enough of them to tell one device from all
    /// others.
    pub struct DeviceIdentifier {
        /// IMEI of the first modem.
        imei: String = "imei";
        /// IMEI of the second modem.
        imei2: String = "imei2";
        /// MEID of the first modem.
        meid: String = "meid";
        /// MEID of the second modem.
        meid2: String = "meid2";
        /// Serial number; only together with manufacturer and model.
        serial_number: String = "serialNumber";
        /// The maker, as the device itself says.
        manufacturer: String = "manufacturer";
        /// The model, as the device itself says.
        model: String = "model";
        /// The identifier of a ChromeOS device that its maker certifies.
        chrome_os_attested_device_id: String = "chromeOsAttestedDeviceId";
        /// The family of systems.
        device_type: DeviceType = "deviceType";
        /// Unbox's own: Dell service tag.
        service_tag: String = "serviceTag";
        /// Unbox's own: permanent MAC address of a physical interface.
        mac_address: String = "macAddress";
        /// Unbox's own: SMBIOS system UUID.
        system_uuid: String = "systemUuid";
        /// Unbox's own: SHA-256 of the TPM's endorsement key, hexadecimal.
        tpm_key_digest: String = "tpmKeyDigest";
        /// Unbox's own: SHA-256 of the public key that the factory registered, hexadecimal.
        device_key_digest: String = "deviceKeyDigest";
        /// Unbox's own: serial number of the base board.
        board_serial: String = "boardSerial";
        /// Unbox's own: serial number of the chassis.
        chassis_serial: String = "chassisSerial";
    }
}

message! {
    /// The reseller's notes about a device, such as its order number.
    pub struct DeviceMetadata {
        /// Free texts by their names. An empty text deletes the entry.
        entries: BTreeMap<String, String> = "entries";
    }
}

message! {
    /// One device: by its id, or by its identifier.
    pub struct DeviceReference {
        /// The id.
        device_id: Option<ClaimId> = "deviceId";
        /// The identifier.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
    }
}

message! {
    /// Nothing.
    pub struct Empty {}
}

/// The device that a request means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target<'a> {
    /// The device with this id.
    Id(ClaimId),
    /// The device with these identifiers.
    Identifier(&'a DeviceIdentifier),
}

impl<'a> Target<'a> {
    /// Takes the id or the identifier of a message.
    ///
    /// # Errors
    /// If neither is there, or both: they might mean two devices.
    pub fn of(id: Option<ClaimId>, identifier: Option<&'a DeviceIdentifier>) -> Result<Self, FieldViolation> {
        match (id, identifier) {
            (Some(id), None) => Ok(Self::Id(id)),
            (None, Some(identifier)) => Ok(Self::Identifier(identifier)),
            (None, None) => Err(FieldViolation::new("deviceId", "Expected deviceId or deviceIdentifier.")),
            (Some(_), Some(_)) => {
                let rule =
                    "Expected deviceId or deviceIdentifier, and not both: they might mean two devices.";
                Err(FieldViolation::new("deviceId", rule))
            }
        }
    }
}

/// Implements `target` for messages that name a device by its id or its identifier.
macro_rules! names_a_device {
    ($($message:ty),+) => {
        $(impl $message {
            /// Returns the device that is meant.
            ///
            /// # Errors
            /// If neither id nor identifier is there, or both.
            pub fn target(
                &self,
            ) -> Result<$crate::route::api::message::common::Target<'_>, $crate::route::api::wire::detail::FieldViolation> {
                $crate::route::api::message::common::Target::of(self.device_id, self.device_identifier.as_ref())
            }
        })+
    };
}

pub(super) use names_a_device;

names_a_device!(DeviceReference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_in_exactly_one_way() {
        let id = ClaimId::new(7).unwrap();
        let identifier =
            DeviceIdentifier { imei: "123456789012347".to_owned(), ..DeviceIdentifier::default() };
        assert_eq!(Target::of(Some(id), None), Ok(Target::Id(id)));
        assert_eq!(Target::of(None, Some(&identifier)), Ok(Target::Identifier(&identifier)));
        for (id, identifier) in [(None, None), (Some(id), Some(&identifier))] {
            assert_eq!(Target::of(id, identifier).unwrap_err().field, "deviceId");
        }
    }
}
