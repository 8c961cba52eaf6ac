//! Names inside a payload: each is checked once, here, and is then safe in a file or an argument.

use crate::text::is_invisible;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A name in a wrong form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidName {
    /// The text, cut to 64 characters.
    pub value: String,
    /// The expected form, in words.
    pub expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { value: text.chars().take(64).collect(), expected: $expected })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Returns true if `text` has 1 to `max` bytes, starts with a letter or digit, and otherwise contains only
/// letters, digits and `extra`.
fn is_made_of(text: &str, max: usize, extra: &str) -> bool {
    text.len() <= max
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || extra.contains(char))
}

const UNIT_SUFFIXES: [&str; 6] = [".service", ".socket", ".timer", ".path", ".target", ".mount"];

name!(
    /// A DPC's name: also the name of a directory, and of a Debian package.
    DpcName,
    "a DPC name: 2 to 64 of a-z, 0-9, `+`, `-` and `.`",
    is_package_name
);
name!(
    /// A Debian package's name (Debian Policy, section 5.6.7).
    PackageName,
    "a package name: 2 to 64 of a-z, 0-9, `+`, `-` and `.`",
    is_package_name
);
name!(
    /// A version, for people.
    VersionText,
    "a version: 1 to 64 of letters, digits, `.`, `+`, `-`, `~`, `:` and `_`",
    |text| is_made_of(text, 64, ".+-~:_")
);
name!(
    /// A systemd unit (systemd.unit(5)); a template only with its instance.
    UnitName,
    "a systemd unit name such as `dpc.service`",
    |text| {
        let stem = UNIT_SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix));
        stem.is_some_and(|stem| is_made_of(stem, 200, ":-_.@\\") && !stem.ends_with('@'))
    }
);
name!(
    /// A kernel parameter as sysctl(8) names it, with dots.
    SysctlKey,
    "a sysctl key such as `net.ipv4.ip_forward`",
    |text| is_made_of(text, 128, "._-/*:") && text.contains('.') && !text.contains("..") && !text.contains(['/', '*'])
);
name!(
    /// The value of a kernel parameter: one line.
    SysctlValue,
    "a sysctl value: one line of at most 256 printable characters",
    |text| !text.is_empty() && text.len() <= 256 && text.chars().all(|char| char == '\t' || !is_invisible(char))
);
name!(
    /// A host name (RFC 1123, section 2.1): labels of at most 63, in all at most 64 as Linux allows.
    Hostname,
    "a host name: at most 64 of letters, digits and `-`, in labels apart by dots",
    |text| {
        let label = |part: &str| is_made_of(part, 63, "-") && !part.ends_with('-');
        text.len() <= 64 && text.split('.').all(label)
    }
);
name!(
    /// A time zone of the tz database, such as `Europe/Zurich`.
    TimeZone,
    "a time zone such as `Europe/Zurich`",
    |text| text.len() <= 64 && text.split('/').all(|part| is_made_of(part, 32, "_-+"))
);
name!(
    /// A certificate's file name, without ending.
    CertificateName,
    "a certificate name: 1 to 64 of letters, digits, `-`, `_` and `.`",
    |text| is_made_of(text, 64, "-_.")
);
name!(
    /// A user or group (useradd(8)).
    UserName,
    "a user name: at most 32 of a-z, 0-9, `_` and `-`, not starting with a digit or `-`",
    |text| {
        let first = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        first && text.len() <= 32 && text.bytes().all(rest)
    }
);

fn is_package_name(text: &str) -> bool {
    text.len() >= 2 && is_made_of(text, 64, "+-.") && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Permission bits of a file, octal in text: `"0644"`. No set-id, no sticky bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// Returns the bits, at most `0o777`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let octal = text.strip_prefix('0').filter(|rest| rest.len() == 3);
        octal.and_then(|digits| u32::from_str_radix(digits, 8).ok()).map(Self).ok_or_else(|| InvalidName {
            value: text.chars().take(64).collect(),
            expected: "a file mode of four octal digits from 0000 to 0777",
        })
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0{:03o}", self.0)
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_do_harm_are_refused() {
        for bad in ["", "a", "A-b", "../x", "a/b", "-rf", "x y", "a\n"] {
            assert!(bad.parse::<DpcName>().is_err(), "{bad:?}");
        }
        for bad in
            ["", "x", ".service", "a/b.service", "--now.service", "getty@.service", "x.swap", "a b.service"]
        {
            assert!(bad.parse::<UnitName>().is_err(), "{bad:?}");
        }
        for bad in ["", "kernel", "net..x", "-w.x", "net.ipv4/../x", "net.*.x"] {
            assert!(bad.parse::<SysctlKey>().is_err(), "{bad:?}");
        }
        for bad in ["", "1\n2", "\0", "1\u{202e}"] {
            assert!(bad.parse::<SysctlValue>().is_err(), "{bad:?}");
        }
        for bad in ["", "-a", "a-", "a..b", "a_b", ".a", &"a".repeat(65)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?}");
        }
        for bad in ["", "../etc/passwd", "/etc/localtime", "Europe//Zurich", "Europe/"] {
            assert!(bad.parse::<TimeZone>().is_err(), "{bad:?}");
        }
        for bad in ["", "Root", "0x", "-x", "a:b", "a b"] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
        for bad in ["", "644", "0999", "4755", "00644", "+644"] {
            assert!(bad.parse::<FileMode>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        assert!("acme-dpc".parse::<DpcName>().is_ok());
        for good in ["dpc.service", "getty@tty1.service", "a-b_c.timer", "systemd-networkd.socket"] {
            assert!(good.parse::<UnitName>().is_ok(), "{good}");
        }
        assert!("net.ipv4.ip_forward".parse::<SysctlKey>().is_ok());
        assert!("Europe/Zurich".parse::<TimeZone>().is_ok());
        assert!("Etc/GMT+1".parse::<TimeZone>().is_ok());
        assert!("_apt".parse::<UserName>().is_ok());
        assert_eq!("0640".parse::<FileMode>().unwrap().bits(), 0o640);
        assert_eq!("0640".parse::<FileMode>().unwrap().to_string(), "0640");
    }
}
