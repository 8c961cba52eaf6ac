//! What may be a pre-provisioning token, and why a file or a medium holds none.

use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};

/// The names that the file may have, in the order in which they count; Windows adds the ending without showing it.
pub(super) const FILES: [&str; 2] = ["unbox-token", "unbox-token.txt"];

/// A token and the end of its line.
pub(super) const MAX_FILE_BYTES: u64 = MAX_TOKEN_BYTES as u64 + 2;

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

/// Reads a token. It is one line; the line's end is not part of it.
pub(crate) fn parse_token(token: &Secret) -> Option<Secret> {
    let line = token.expose().trim();
    let fits = (1..=MAX_TOKEN_BYTES).contains(&line.len());
    (fits && line.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(line.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_token_is_one_printable_line() {
        assert_eq!(parse_token(&secret(" ppt_1 \n")), Some(secret("ppt_1")));
        for bad in ["", "\n", "a b", "a\nb", "\u{7}", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert_eq!(parse_token(&secret(bad)), None, "{bad:?}");
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
