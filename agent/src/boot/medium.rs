//! A pre-provisioning token from a removable medium: a stick or a card labelled `UNBOX`, with a file
//! `unbox-token`.
//!
//! It provides a token and nothing else. Addresses and anchors on it are ignored: a person who can plug
//! in a stick must not be able to choose the server or the trust anchors of this device.

use super::{Origin, Token, token::NotUsed};
use serde::{Deserialize, Serialize};
use unbox_common::secret::Secret;

/// A medium that is or was present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// The kernel's name for it, such as `sdb1`; or the folder where it is mounted.
    pub name: String,
    /// The result of reading it.
    pub found: Found,
}

/// The result of reading a medium, handed on in a file that only the network side reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A token.
    Token(Secret),
    /// No token, with the reason.
    NotUsed(String),
}

impl From<Result<Secret, NotUsed>> for Found {
    fn from(read: Result<Secret, NotUsed>) -> Self {
        read.map_or_else(|why| Self::NotUsed(why.to_string()), Self::Token)
    }
}

/// Returns the token of the media. If media disagree, none is used: the reason replaces their tokens.
pub(super) fn choose_token(media: &mut [Medium]) -> Option<Token> {
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
            let token = choose_token(&mut seen);
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
}
