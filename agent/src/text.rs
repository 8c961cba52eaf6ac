//! Text for a terminal, from any author.

use std::fmt::Write as _;
use unbox_common::text::is_invisible;

/// Formats an error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Makes text safe for a terminal: no control characters, no characters that reorder or hide others,
/// single spaces, at most `limit` bytes.
#[must_use]
pub fn plain(text: &str, limit: usize) -> String {
    let spaced = text.replace(is_invisible, " ");
    let mut shown = String::new();
    for word in spaced.split_whitespace() {
        let gap = usize::from(!shown.is_empty());
        let room = limit.saturating_sub(shown.len() + gap);
        let end = word.floor_char_boundary(room);
        if end == 0 {
            break;
        }
        shown.push_str(if gap == 1 { " " } else { "" });
        shown.push_str(word.get(..end).unwrap_or_default());
        if end < word.len() {
            break;
        }
    }
    shown
}

/// Escapes what [`plain`] takes out, in a JSON text: such characters stand only within strings (RFC 8259,
/// section 7), apart from line ends between values.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        if char != '\n' && is_invisible(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(char);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_text_can_move_a_cursor_or_hide_a_word() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a\u{1b}[2J\u{1b}[31mb", "a [2J [31mb"),
            ("a\r\nb\tc\0d\u{9b}e", "a b c d e"),
            ("user\u{202e}txt.exe", "user txt.exe"),
            ("zero\u{200b}width \u{feff}", "zero width"),
            ("Zürich 東京 🙂", "Zürich 東京 🙂"),
            ("  ", ""),
        ] {
            assert_eq!(plain(text, 100), expected);
        }
        assert_eq!(plain("one two three", 7), "one two");
        assert_eq!(plain("äää", 3), "ä");
        assert_eq!(plain("aaaa bbbb", 6), "aaaa b");
    }

    #[test]
    fn json_reads_the_same_and_holds_nothing_that_a_terminal_obeys() {
        for text in ["a\u{202e}fdp\u{7f}\u{9b}", "\u{e0041} 🙂 é\n\t\"\\", "\u{feff}"] {
            let json = serde_json::to_string_pretty(&[text]).unwrap();
            let escaped = escape_json(&json);
            assert!(!escaped.chars().any(|char| char != '\n' && is_invisible(char)), "{escaped:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap(), [text]);
        }
    }
}
