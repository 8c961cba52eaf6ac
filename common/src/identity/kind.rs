//! The kinds of identifier: their wire names, their strength, and their sources.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The most MAC addresses of one device: those of a server with four cards of four ports.
const MAX_MAC_ADDRESSES: usize = 16;

/// The most names of one device's maker, and of its model.
const MAX_NAMES: usize = 4;

/// A kind of identifier. The wire name is the variant in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifierKind {
    /// SHA-256 of the device's public key (`SubjectPublicKeyInfo`), hexadecimal.
    DeviceKey,
    /// SHA-256 of the public half of the TPM's endorsement key (`SubjectPublicKeyInfo`), hexadecimal.
    TpmKey,
    /// An identifier that the maker certifies, such as the attested device id of a Chromebook.
    CertifiedDeviceId,
    /// Serial number of the system (SMBIOS type 1) or of the whole board (device tree, VPD).
    SerialNumber,
    /// Dell service tag: 7 characters, 5 on old machines.
    ServiceTag,
    /// Serial number of the base board (SMBIOS type 2).
    BoardSerial,
    /// Serial number of the chassis (SMBIOS type 3).
    ChassisSerial,
    /// IMEI of a modem: 15 digits.
    Imei,
    /// MEID of a modem: 14 hexadecimal digits.
    Meid,
    /// Permanent, globally administered MAC address of a physical interface.
    MacAddress,
    /// SMBIOS system UUID.
    SystemUuid,
    /// The maker of the device.
    Manufacturer,
    /// The maker's name for the model.
    Model,
    /// The maker's stock keeping unit.
    Sku,
}

/// The strength of a set of identifiers, strongest first. A stronger set wins over a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// A key that the factory registered, or a TPM.
    Key,
    /// An identifier that the maker certifies.
    CertifiedDeviceId,
    /// A serial number together with manufacturer and model.
    Serial,
    /// IMEI or MEID of a modem.
    Modem,
    /// A permanent MAC address.
    MacAddress,
    /// An SMBIOS UUID.
    Uuid,
}

/// The place where an identifier was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// SMBIOS tables or `/sys/class/dmi/id`.
    Smbios,
    /// `/proc/device-tree`.
    DeviceTree,
    /// ChromeOS vital product data below `/sys/firmware/vpd`.
    Vpd,
    /// `/proc/cpuinfo` of a small ARM board.
    Cpu,
    /// The network interfaces, over netlink.
    Network,
    /// The modems, as `ModemManager` knows them.
    Modem,
    /// The device's key.
    Key,
    /// The TPM.
    Tpm,
    /// Derived from other identifiers.
    Derived,
}

impl IdentifierKind {
    /// Every kind, strongest first.
    pub const ALL: [Self; 14] = [
        Self::DeviceKey,
        Self::TpmKey,
        Self::CertifiedDeviceId,
        Self::SerialNumber,
        Self::ServiceTag,
        Self::BoardSerial,
        Self::ChassisSerial,
        Self::Imei,
        Self::Meid,
        Self::MacAddress,
        Self::SystemUuid,
        Self::Manufacturer,
        Self::Model,
        Self::Sku,
    ];

    /// Returns the rank of this kind by itself; `None` if many devices share a value.
    #[must_use]
    pub const fn rank(self) -> Option<Rank> {
        match self {
            Self::DeviceKey | Self::TpmKey => Some(Rank::Key),
            Self::CertifiedDeviceId => Some(Rank::CertifiedDeviceId),
            Self::SerialNumber | Self::ServiceTag | Self::BoardSerial | Self::ChassisSerial => {
                Some(Rank::Serial)
            }
            Self::Imei | Self::Meid => Some(Rank::Modem),
            Self::MacAddress => Some(Rank::MacAddress),
            Self::SystemUuid => Some(Rank::Uuid),
            Self::Manufacturer | Self::Model | Self::Sku => None,
        }
    }

    /// Returns true if this kind is unique only within one maker's model, so that a claim must name both.
    #[must_use]
    pub const fn needs_maker_and_model(self) -> bool {
        matches!(self, Self::SerialNumber | Self::BoardSerial | Self::ChassisSerial)
    }

    /// Returns true if this kind names a product or its maker rather than one device.
    #[must_use]
    pub const fn is_name(self) -> bool {
        matches!(self, Self::Manufacturer | Self::Model | Self::Sku)
    }

    /// Returns the most values of this kind that one device has: some network interfaces, two modems, and one
    /// of everything else.
    #[must_use]
    pub const fn max_values(self) -> usize {
        match self {
            Self::MacAddress => MAX_MAC_ADDRESSES,
            Self::Imei | Self::Meid => 2,
            _ => 1,
        }
    }

    /// Returns the most values of this kind that one device may show: as many as it has, and a few names
    /// more, because firmware calls a machine by its type, its marketing name and the name of its board.
    #[must_use]
    pub const fn max_shown_values(self) -> usize {
        match self {
            Self::Manufacturer | Self::Model => MAX_NAMES,
            other => other.max_values(),
        }
    }

    /// Returns the wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceKey => "device_key",
            Self::TpmKey => "tpm_key",
            Self::CertifiedDeviceId => "certified_device_id",
            Self::SerialNumber => "serial_number",
            Self::ServiceTag => "service_tag",
            Self::BoardSerial => "board_serial",
            Self::ChassisSerial => "chassis_serial",
            Self::Imei => "imei",
            Self::Meid => "meid",
            Self::MacAddress => "mac_address",
            Self::SystemUuid => "system_uuid",
            Self::Manufacturer => "manufacturer",
            Self::Model => "model",
            Self::Sku => "sku",
        }
    }
}

impl fmt::Display for IdentifierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for a name that is not a kind of identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of identifier {0:?}")]
pub struct UnknownKind(pub String);

impl FromStr for IdentifierKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_and_writes_the_same_name() {
        for kind in IdentifierKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert!("serial".parse::<IdentifierKind>().is_err());
    }
}
