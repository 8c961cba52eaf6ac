//! Lenovo's strings, as its bar codes hold them: `1S` and the rest.
//!
//! `1S` is the data identifier of a supplier's serial number (ANSI MH10.8.2), printed as a part of the
//! value. It is followed by machine type and model (MTM) and the serial number; or, on one model, by the
//! place of manufacture and the MAC address.

use crate::identity::{Identifier, IdentifierKind};
use std::{fmt, str::FromStr};

const PREFIX: &str = "1S";

/// `1S`, MTM and serial number: `1S20QES0XX00PF0ABCDE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MachineString {
    mtm: String,
    serial: String,
}

/// `1S`, the place of manufacture, and the MAC address: `1SC1KS00163E000001`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginString {
    origin: Origin,
    mac: Identifier,
}

/// The place of manufacture, as an [`OriginString`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `C1KS`
    China,
    /// `C1VM`
    Vietnam,
}

/// The error for a text that is not such a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct NotLenovo(&'static str);

const MACHINE: NotLenovo =
    NotLenovo("1S, machine type and model (7 or 10 characters), and serial number (7 or 8)");
const ORIGIN: NotLenovo = NotLenovo("1SC1KS or 1SC1VM, and a MAC address of 12 hexadecimal digits");

impl MachineString {
    /// Builds the string of a machine, in capitals.
    ///
    /// # Errors
    /// If MTM or serial number are not letters and digits of the right number.
    pub fn new(mtm: &str, serial: &str) -> Result<Self, NotLenovo> {
        let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let right = matches!(mtm.len(), 7 | 10) && matches!(serial.len(), 7 | 8);
        if right && alphanumeric(mtm) && alphanumeric(serial) {
            Ok(Self { mtm: mtm.to_ascii_uppercase(), serial: serial.to_ascii_uppercase() })
        } else {
            Err(MACHINE)
        }
    }

    /// Returns machine type and model.
    #[must_use]
    pub fn mtm(&self) -> &str {
        &self.mtm
    }

    /// Returns the four characters that name the machine; the rest of the MTM says how it was ordered.
    #[must_use]
    pub fn machine_type(&self) -> &str {
        self.mtm.get(..4).unwrap_or_default()
    }

    /// Returns the serial number that the firmware shows.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

impl FromStr for MachineString {
    type Err = NotLenovo;

    fn from_str(text: &str) -> Result<Self, NotLenovo> {
        let rest = strip_1s(text).ok_or(MACHINE)?;
        // No two of the four sums are equal, so the length alone says where the serial number begins.
        let mtm = match rest.len() {
            14 | 15 => 7,
            17 | 18 => 10,
            _ => return Err(MACHINE),
        };
        let (mtm, serial) = rest.split_at_checked(mtm).ok_or(MACHINE)?;
        Self::new(mtm, serial)
    }
}

impl fmt::Display for MachineString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}{}", self.mtm, self.serial)
    }
}

impl Origin {
    const ALL: [Self; 2] = [Self::China, Self::Vietnam];

    /// Returns the code of the place.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::China => "C1KS",
            Self::Vietnam => "C1VM",
        }
    }
}

impl OriginString {
    /// Builds the string of a machine with this MAC address.
    ///
    /// # Errors
    /// If `mac` is not a MAC address that a maker assigns.
    pub fn new(origin: Origin, mac: &str) -> Result<Self, NotLenovo> {
        let mac = Identifier::parse(IdentifierKind::MacAddress, mac).map_err(|_| ORIGIN)?;
        Ok(Self { origin, mac })
    }

    /// Returns the place of manufacture.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns its MAC address.
    #[must_use]
    pub const fn mac(&self) -> &Identifier {
        &self.mac
    }
}

impl FromStr for OriginString {
    type Err = NotLenovo;

    fn from_str(text: &str) -> Result<Self, NotLenovo> {
        let rest = strip_1s(text).ok_or(ORIGIN)?;
        let (code, mac) = rest.split_at_checked(4).ok_or(ORIGIN)?;
        let origin = Origin::ALL.into_iter().find(|origin| origin.code().eq_ignore_ascii_case(code));
        // The string has no separators, even where a MAC address may have them.
        if mac.len() == 12 { Self::new(origin.ok_or(ORIGIN)?, mac) } else { Err(ORIGIN) }
    }
}

impl fmt::Display for OriginString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = self.mac.value().replace(':', "").to_ascii_uppercase();
        write!(f, "{PREFIX}{}{mac}", self.origin.code())
    }
}

fn strip_1s(text: &str) -> Option<&str> {
    let (prefix, rest) = text.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_machine_string_comes_apart_where_its_length_says() {
        for (text, parts) in [
            ("1S20QES0XX00PF0ABCDE", Some(("20QES0XX00", "20QE", "PF0ABCDE"))),
            ("1s20qes0xx00pf0abcd", Some(("20QES0XX00", "20QE", "PF0ABCD"))),
            ("1S3680WZQPF0ABCDE", Some(("3680WZQ", "3680", "PF0ABCDE"))),
            ("1S3680WZQPF0ABCD", Some(("3680WZQ", "3680", "PF0ABCD"))),
            ("1S20QES0XX00PF0ABCDEF", None),
            ("1S20QES0XX00PF0-BCDE", None),
            ("1SC1KS00163E000001", None),
            ("20QES0XX00PF0ABCDE", None),
            ("1S", None),
            ("", None),
            ("1é20QES0XX00PF0ABCD", None),
        ] {
            let read = text.parse::<MachineString>().ok();
            let read = read.as_ref().map(|read| (read.mtm(), read.machine_type(), read.serial()));
            assert_eq!(read, parts, "{text}");
        }
    }

    #[test]
    fn an_origin_string_holds_a_real_mac_address() {
        let read: OriginString = "1Sc1vm00163e000001".parse().unwrap();
        assert_eq!((read.origin(), read.mac().value()), (Origin::Vietnam, "00:16:3e:00:00:01"));
        assert_eq!(read.to_string(), "1SC1VM00163E000001");
        for text in [
            "1SC1XX00163E000001",
            "1SC1KS00163E00001",
            "1SC1KS00163E0000011",
            "1SC1KS00163E00000G",
            "1SC1KS02163E000001",
            "1SC1KSFFFFFFFFFFFF",
            "C1KS00163E000001",
        ] {
            assert_eq!(text.parse::<OriginString>(), Err(ORIGIN), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_machine_string_reads_back(
            mtm in "[0-9A-Z]{7}|[0-9A-Z]{10}",
            serial in "[0-9A-Z]{7,8}",
        ) {
            let string = MachineString::new(&mtm, &serial).unwrap();
            prop_assert_eq!(string.to_string().parse(), Ok(string));
        }

        #[test]
        fn an_origin_string_reads_back(china: bool, mac: [u8; 6]) {
            let origin = if china { Origin::China } else { Origin::Vietnam };
            if let Ok(string) = OriginString::new(origin, &hex::encode(mac)) {
                prop_assert_eq!(string.to_string().parse(), Ok(string));
            }
        }

        #[test]
        fn no_text_is_both_and_none_breaks_the_readers(text in "(1S)?(C1KS|C1VM)?\\PC{0,20}") {
            prop_assert!(text.parse::<MachineString>().is_err() || text.parse::<OriginString>().is_err());
        }
    }
}
