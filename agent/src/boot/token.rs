//! The rules for a pre-provisioning token, and the reasons why a file or a medium holds none.

use unbox_common::{protocol::limits::MAX_TOKEN_BYTES, secret::Secret};

/// Accepted names of the file, in order of precedence; Windows may add the extension without showing it.
pub(super) const FILES: [&str; 2] = ["unbox-token", "unbox-token.txt"];

/// The largest token file: a token and its line ending.
pub(super) const MAX_FILE_BYTES: u64 = MAX_TOKEN_BYTES as u64 + 2;

/// The reason why a medium gave no token, worded for the person who plugged it in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUsed {
    /// The medium has another file system, or none.
    #[error("its file system is not FAT; format it as FAT32")]
    NotFat,
    /// The file does not exist.
    #[error("there is no file named unbox-token in its first folder")]
    NoFile,
    /// A folder, a link or something else has the file's name.
    #[error("unbox-token is not a plain file")]
    NotAFile,
    /// The file is too large.
    #[error("unbox-token is larger than the {MAX_TOKEN_BYTES} bytes of a token")]
    TooLarge,
    /// The file's content is not a token.
    #[error("unbox-token does not hold a token: one line of 1 to {MAX_TOKEN_BYTES} printable characters")]
    NotAToken,
    /// The medium could not be read completely.
    #[error("it could not be read: {0}")]
    Unreadable(String),
}

impl NotUsed {
    /// Wraps the reason of a failed read.
    #[must_use]
    pub fn from_read_error(error: &std::io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Parses a token: one line, without its line ending.
pub(crate) fn parse_token(token: &Secret) -> Option<Secret> {
    let line = token.expose().trim();
    let fits = (1..=MAX_TOKEN_BYTES).contains(&line.len());
    (fits && line.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(line.to_owned()))
}

/// Reads the token from the bytes of a file.
///
/// # Errors
/// [`NotUsed::TooLarge`] and [`NotUsed::NotAToken`].
pub(super) fn parse_token_file(bytes: &[u8]) -> Result<Secret, NotUsed> {
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
        assert!(parse_token_file(format!("{longest}\r\n").as_bytes()).is_ok());
        assert_eq!(parse_token_file(format!("{longest}\r\n\n").as_bytes()), Err(NotUsed::TooLarge));
        assert_eq!(parse_token_file(format!("{longest}x\n").as_bytes()), Err(NotUsed::NotAToken));
    }
}
