//! Text for a terminal, from any author.

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
}
