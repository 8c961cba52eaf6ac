//! A pre-provisioning token from a removable medium: a stick or a card labelled `UNBOX` with a file `unbox-token`.
//!
//! It gives a token and nothing else. An address or an anchor on it is never looked for: whoever can plug in a
//! stick must not be able to say whom this device talks to, nor whom it believes.

use super::{Origin, Token, parse_token};
use serde::{Deserialize, Serialize};
use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};

/// The names that the file may have, in the order in which they count; Windows adds the ending without showing it.
pub(super) const FILES: [&str; 2] = ["unbox-token", "unbox-token.txt"];

/// A token and the end of its line.
pub(super) const MAX_FILE_BYTES: u64 = MAX_TOKEN_BYTES as u64 + 2;

/// A medium that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// What the kernel calls it, such as `sdb1`; or the folder that it is mounted at.
    pub name: String,
    /// What it gave.
    pub found: Found,
}

/// What a medium gave: what its reader hands on, as a file that only the network side reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A token.
    Token(Secret),
    /// None, for this reason.
    NotUsed(String),
}

/// Why a medium gave no token, in words for whoever plugged it in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUsed {
    /// It has another file system, or none.
    #[error("its file system is not FAT; format it as FAT32")]
    NotFat,
    /// The file is not on it.
    #[error("there is no file named unbox-token in its first folder")]
    NoFile,
    /// A folder, a link or something else has that name.
    #[error("unbox-token is not a plain file")]
    NotAFile,
    /// The file is too large.
    #[error("unbox-token is larger than the {MAX_TOKEN_BYTES} bytes of a token")]
    TooLarge,
    /// What is in the file is no token.
    #[error("unbox-token does not hold a token: one line of 1 to {MAX_TOKEN_BYTES} printable characters")]
    NotAToken,
    /// It could not be read to the end.
    #[error("it could not be read: {0}")]
    Unreadable(String),
}

impl NotUsed {
    /// Reading failed, for this reason.
    #[must_use]
    pub fn unreadable(error: &std::io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The token in the bytes of a file.
///
/// # Errors
/// [`NotUsed::TooLarge`] and [`NotUsed::NotAToken`].
pub(super) fn token_in(bytes: &[u8]) -> Result<Secret, NotUsed> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(NotUsed::TooLarge);
    }
    let text = str::from_utf8(bytes).map_err(|_| NotUsed::NotAToken)?;
    parse_token(&Secret::new(text.to_owned())).ok_or(NotUsed::NotAToken)
}

impl From<Result<Secret, NotUsed>> for Found {
    fn from(read: Result<Secret, NotUsed>) -> Self {
        read.map_or_else(|why| Self::NotUsed(why.to_string()), Self::Token)
    }
}

/// The token that the media give. Of media that disagree, none is used: the reason takes the place of their tokens.
pub(super) fn token_of(media: &mut [Medium]) -> Option<Token> {
    const DISAGREE: &str = "another medium holds another token: leave only one of them in";
    let mut tokens = media.iter().filter_map(|medium| match &medium.found {
        Found::Token(token) => Some((medium, token)),
        Found::NotUsed(_) => None,
    });
    let (medium, token) = tokens.next()?;
    if tokens.all(|(_, other)| other == token) {
        return Some(Token { secret: token.clone(), origin: Origin::Medium(medium.name.clone()) });
    }
    for medium in media.iter_mut().filter(|medium| matches!(medium.found, Found::Token(_))) {
        medium.found = Found::NotUsed(DISAGREE.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(name: &str, found: Result<&str, NotUsed>) -> Medium {
        Medium { name: name.to_owned(), found: found.map(|text| Secret::new(text.to_owned())).into() }
    }

    #[test]
    fn media_that_disagree_give_nothing() {
        for (media, expected) in [
            (vec![], None),
            (vec![medium("sdb1", Err(NotUsed::NoFile))], None),
            (vec![medium("sda1", Err(NotUsed::NotFat)), medium("sdb1", Ok("ppt_1"))], Some("sdb1")),
            (vec![medium("sda1", Ok("ppt_1")), medium("sdb1", Ok("ppt_1"))], Some("sda1")),
            (vec![medium("sda1", Ok("ppt_1")), medium("sdb1", Ok("ppt_2"))], None),
        ] {
            let mut seen = media.clone();
            let token = token_of(&mut seen);
            assert_eq!(token.map(|one| one.origin), expected.map(|name| Origin::Medium(name.to_owned())));
            let tokens =
                |media: &[Medium]| media.iter().filter(|one| matches!(one.found, Found::Token(_))).count();
            assert_eq!(tokens(&seen), if expected.is_some() { tokens(&media) } else { 0 });
        }
    }

    #[test]
    fn what_a_reader_hands_on_is_read_back_and_shows_no_secret() {
        for found in [medium("a", Ok("ppt_1")), medium("b", Err(NotUsed::TooLarge))].map(|one| one.found) {
            let json = serde_json::to_string(&found).unwrap();
            assert_eq!(serde_json::from_str::<Found>(&json).unwrap(), found);
            assert!(!format!("{found:?}").contains("ppt_1"));
        }
    }

    #[test]
    fn the_end_of_a_line_belongs_to_no_token_and_costs_it_no_room() {
        let longest = "x".repeat(MAX_TOKEN_BYTES);
        assert!(token_in(format!("{longest}\r\n").as_bytes()).is_ok());
        assert_eq!(token_in(format!("{longest}\r\n\n").as_bytes()), Err(NotUsed::TooLarge));
        assert_eq!(token_in(format!("{longest}x\n").as_bytes()), Err(NotUsed::NotAToken));
    }
}
