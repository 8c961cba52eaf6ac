//! Names that people give things: one line of text that can be displayed anywhere.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use unbox_common::text::{is_invisible, is_readable};
use unicode_security::skeleton;

/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// The name of a company, configuration, token or artifact: trimmed, one line, never empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// The text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one line of 1 to {MAX_NAME_CHARS} characters, without invisible ones")]
pub struct InvalidName;

/// The text is not one of the known words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of: {known}")]
pub struct UnknownWord {
    /// The text, cut to 64 characters.
    pub found: String,
    /// The known words, separated by commas.
    pub known: String,
}

impl UnknownWord {
    /// Names the text that was found and the words that were possible.
    pub fn new(found: &str, known: impl Iterator<Item = &'static str>) -> Self {
        Self { found: found.chars().take(64).collect(), known: known.collect::<Vec<_>>().join(", ") }
    }
}

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the same text for all names that people might confuse: look-alike letters (Unicode Technical
    /// Standard #39, section 4), case and spaces make no difference.
    #[must_use]
    pub fn skeleton(&self) -> String {
        let seen: String = self.0.chars().filter(|char| !is_invisible(*char)).collect();
        let words = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        let lower: String = skeleton(&words).flat_map(char::to_lowercase).collect();
        skeleton(&lower).collect()
    }
}

/// Returns true if `text` is one line (or several, if `lines`) of at most `max` characters that any terminal
/// and page can display, in the order in which they were written.
#[must_use]
pub fn is_plain_text(text: &str, max: usize, lines: bool) -> bool {
    text.chars().count() <= max && text.chars().all(|char| is_readable(char) || (lines && char == '\n'))
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        if text.is_empty() || !is_plain_text(text, MAX_NAME_CHARS, false) {
            return Err(InvalidName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_trimmed_line() {
        assert_eq!(" Acme AG ".parse::<Name>().unwrap().as_str(), "Acme AG");
        let long = "x".repeat(MAX_NAME_CHARS + 1);
        for bad in ["", "  ", "a\nb", "a\u{1b}[31m", "Acme \u{202e}GA", "Ac\u{200b}me", long.as_str()] {
            assert_eq!(bad.parse::<Name>(), Err(InvalidName), "{bad:?}");
        }
        assert!("\u{e9}".repeat(MAX_NAME_CHARS).parse::<Name>().is_ok());
        assert!("\u{645}\u{6cc}\u{200c}\u{631}\u{648}\u{62f}".parse::<Name>().is_ok(), "Persian");
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        let skeleton = |text: &str| text.parse::<Name>().unwrap().skeleton();
        for (one, other) in [
            ("Acme AG", "\u{410}\u{441}me AG"),
            ("Acme AG", "ACME  ag"),
            ("Paypal", "PaypaI"),
            ("Google", "G00gle"),
            ("Modern", "Modem"),
            ("Acme", "Ac\u{200d}me"),
            ("Zürich", "Zu\u{308}rich"),
            ("Scope", "\u{405}\u{441}\u{43e}\u{440}\u{435}"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in [("Acme AG", "Acme SA"), ("Bolt", "Bold"), ("Zürich", "Zurich"), ("東京", "京東")]
        {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }
}
