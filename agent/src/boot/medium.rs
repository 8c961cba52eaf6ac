//! A pre-provisioning token from a removable medium: a stick or a card labelled `UNBOX` with a file `unbox-token`.
//!
//! It gives a token and nothing else. An address or an anchor on it is never looked for: whoever can plug in a
//! stick must not be able to say whom this device talks to, nor whom it believes.

use super::{Origin, Token, token::NotUsed};
use serde::{Deserialize, Serialize};
use unbox_common::secret::Secret;

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
}
