//! Makers' own forms: the contents of their bar codes, and oddities of their serial numbers.
//!
//! A value that breaks a published form is refused; one that breaks a merely usual form makes a
//! [`SerialDoubt`], for a station or an administrator to look at. To add a maker: a row in
//! [`SERIAL_FORMS`], and a module if its strings have to be taken apart.

pub mod dell;
pub mod lenovo;

use crate::identity::fold_manufacturer;

/// The usual serial number of one maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialForm {
    /// The maker, folded (see [`fold_manufacturer`]).
    pub maker: &'static str,
    /// The possible numbers of letters and digits.
    pub lengths: &'static [usize],
    /// The same in words.
    pub words: &'static str,
}

/// The usual serial numbers, by maker.
pub const SERIAL_FORMS: [SerialForm; 4] = [
    SerialForm { maker: "dell", lengths: &[5, 7], words: "a service tag of 7 (before 1998: 5) characters" },
    SerialForm { maker: "hp", lengths: &[10], words: "10 characters, such as 5CD1234ABC" },
    SerialForm { maker: "lenovo", lengths: &[7, 8], words: "7 or 8 characters, such as PF0ABCDE" },
    SerialForm { maker: "samsung", lengths: &[11, 15], words: "15 characters (phones and tablets: 11)" },
];

/// An oddity of a serial number, in one sentence; [`SerialDoubt::advice`] returns the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialDoubt {
    /// One character is missing.
    #[error("The serial number has 14 characters; labels of early Samsung units leave out the last of 15.")]
    CutShort,
    /// The whole string of the bar code, instead of the serial number that the firmware shows.
    #[error("The serial number is a whole 1S string; the firmware shows {serial}.")]
    WholeString {
        /// The serial number in it.
        serial: String,
    },
    /// The express service code, which is meant for telephones.
    #[error("The serial number is an express service code; the service tag is {tag}.")]
    ExpressCode {
        /// The service tag that it stands for.
        tag: String,
    },
    /// An unusual serial number for this maker.
    #[error("Serial numbers of this maker have another form: {}.", .0.words)]
    Unusual(SerialForm),
}

impl SerialDoubt {
    /// Returns true if no device can show such a serial number, as far as the maker has published.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Unusual(_))
    }

    /// Returns the remedy, in one sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::CutShort => "Take the serial number of 15 characters from the unit itself.",
            Self::WholeString { .. } => "Take the serial number out of the string.",
            Self::ExpressCode { .. } => "Take the service tag.",
            Self::Unusual(_) => "Compare it with the unit's own label.",
        }
    }
}

/// Finds the oddity of this serial number of this maker, if there is one.
#[must_use]
pub fn serial_doubt(maker: &str, serial: &str) -> Option<SerialDoubt> {
    let maker = fold_manufacturer(maker);
    let form = SERIAL_FORMS.into_iter().find(|form| form.maker == maker)?;
    let serial = serial.trim();
    let right =
        form.lengths.contains(&serial.len()) && serial.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if right {
        return None;
    }
    Some(match maker.as_str() {
        "samsung" if serial.len() == 14 => SerialDoubt::CutShort,
        "lenovo" if let Ok(string) = serial.parse::<lenovo::MachineString>() => {
            SerialDoubt::WholeString { serial: string.serial().to_owned() }
        }
        "dell" if let Some(tag) = dell::service_tag(serial) => SerialDoubt::ExpressCode { tag },
        _ => SerialDoubt::Unusual(form),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_maker_has_its_own_doubts() {
        let whole = SerialDoubt::WholeString { serial: "PF0ABCDE".to_owned() };
        let code = SerialDoubt::ExpressCode { tag: "7XK9Q13".to_owned() };
        let unusual = |maker| SerialForm {
            maker,
            ..SERIAL_FORMS.into_iter().find(|form| form.maker == maker).unwrap()
        };
        for (maker, serial, doubt) in [
            ("Dell Inc.", "7XK9Q13", None),
            ("Dell", "17266906119", Some(code)),
            ("Dell", "7XK9Q1", Some(SerialDoubt::Unusual(unusual("dell")))),
            ("LENOVO", "PF0ABCDE", None),
            ("LENOVO", "1S20QES0XX00PF0ABCDE", Some(whole)),
            ("LENOVO", "PF0ABC-DE", Some(SerialDoubt::Unusual(unusual("lenovo")))),
            ("Hewlett-Packard", "5CD1234ABC", None),
            ("HP", "5CD1234AB", Some(SerialDoubt::Unusual(unusual("hp")))),
            ("SAMSUNG ELECTRONICS CO., LTD.", "0A2D91ZN500126J", None),
            ("Samsung", "0A2D91ZN500126", Some(SerialDoubt::CutShort)),
            ("Samsung", "R58M12ABCDE", None),
            ("Acme", "1", None),
        ] {
            assert_eq!(serial_doubt(maker, serial), doubt, "{maker} {serial}");
        }
    }
}
