//! Page tokens: the place at which a list continues, sealed, so that a client can neither make one up nor
//! use it for another list.

use super::{detail::Reason, status::Status};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use serde::{Deserialize, Serialize};
use unbox_common::digest::Sha256;

/// Bytes of the tag behind every token.
const TAG_BYTES: usize = 32;
/// The longest token that is looked at, in characters; valid ones have about 200.
const MAX_TOKEN_CHARS: usize = 512;
/// The form of the tokens made here.
const VERSION: u8 = 1;
/// The purpose that the key is bound to.
const PURPOSE: &[u8] = b"unbox page token v1";

/// Makes and opens page tokens.
pub struct PageTokens(Key);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notes {
    v: u8,
    key: i64,
    filter: Sha256,
}

impl PageTokens {
    /// Makes page tokens under a secret that all servers share.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        // A derived key, so that the same secret may serve other purposes.
        let own = sign(&Key::new(HMAC_SHA256, secret), PURPOSE);
        Self(Key::new(HMAC_SHA256, own.as_ref()))
    }

    /// Makes a token for the page after the row with this key. `filter` is everything that determines the
    /// rows of the list: the method, the caller, and the parameters.
    pub fn issue(&self, filter: &impl Serialize, after: i64) -> Result<String, Status> {
        let notes = Notes { v: VERSION, key: after, filter: digest(filter)? };
        let mut token = serde_json::to_vec(&notes).map_err(|_| Status::internal())?;
        let tag = sign(&self.0, &token);
        token.extend_from_slice(tag.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Returns the key of the row after which the page starts; `None` if the token is empty, for the first
    /// page.
    ///
    /// # Errors
    /// [`Reason::InvalidPageToken`] for a token that was not issued here for this very list.
    pub fn open(&self, filter: &impl Serialize, token: &str) -> Result<Option<i64>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let filter = digest(filter)?;
        let notes = self.open_notes(token).filter(|notes| notes.v == VERSION && notes.filter == filter);
        notes.map(|notes| Some(notes.key)).ok_or_else(|| {
            let rule = "Expected the nextPageToken of the same list. Start again without a page token.";
            Status::invalid_field("pageToken", rule).with_reason(Reason::InvalidPageToken)
        })
    }

    fn open_notes(&self, token: &str) -> Option<Notes> {
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (notes, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        verify(&self.0, notes, tag).ok()?;
        serde_json::from_slice(notes).ok()
    }
}

fn digest(filter: &impl Serialize) -> Result<Sha256, Status> {
    let json = serde_json::to_vec(filter).map_err(|_| Status::internal())?;
    Ok(Sha256::of(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: (&str, i64) = ("partners.customers.list", 7);

    #[test]
    fn a_token_opens_for_its_own_list_only() {
        let tokens = PageTokens::new(&[1; 32]);
        for key in [0, 1, -5, i64::MAX, i64::MIN] {
            let token = tokens.issue(&LIST, key).unwrap();
            assert_eq!(tokens.open(&LIST, &token), Ok(Some(key)));
            assert!(token.len() <= 200, "{}", token.len());
            assert!(tokens.open(&("partners.customers.list", 8), &token).is_err());
            assert!(tokens.open(&("partners.vendors.list", 7), &token).is_err());
            assert!(PageTokens::new(&[2; 32]).open(&LIST, &token).is_err());
        }
        assert_eq!(tokens.open(&LIST, ""), Ok(None));
    }

    #[test]
    fn a_token_that_was_changed_is_refused() {
        let tokens = PageTokens::new(&[1; 32]);
        let token = tokens.issue(&LIST, 42).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(tokens.open(&LIST, &changed).is_err(), "character {at}");
            assert!(at == 0 || tokens.open(&LIST, &token[..at]).is_err(), "cut at {at}");
        }
        for bad in ["A", "====", "1", "{\"v\":1}", &format!("{token}="), &token.repeat(4), "\u{e9}"] {
            let refused = tokens.open(&LIST, bad).unwrap_err();
            assert_eq!(refused.http(), 400);
            assert!(format!("{:?}", refused.details()).contains("InvalidPageToken"));
        }
    }
}
