//! Rows of a screen, handed out one by one, and the fitting of text into them.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    text::Span,
};
use unbox_agent::text::plain;

/// The mark of truncated text.
pub(super) const MORE: &str = "...";

/// A part of the screen that is handed out row by row.
pub(super) struct Rows<'b> {
    pub(super) area: Rect,
    pub(super) buffer: &'b mut Buffer,
}

impl Rows<'_> {
    pub(super) fn width(&self) -> usize {
        self.area.width.into()
    }

    /// Takes the next rows from the top, as many as are left.
    pub(super) fn take_top(&mut self, rows: u16) -> Rows<'_> {
        let height = rows.min(self.area.height);
        let area = Rect { height, ..self.area };
        self.area = Rect { y: self.area.y + height, height: self.area.height - height, ..self.area };
        Rows { area, buffer: self.buffer }
    }

    /// Takes the next rows from the bottom, as many as are left.
    pub(super) fn take_bottom(&mut self, rows: u16) -> Rows<'_> {
        let height = rows.min(self.area.height);
        self.area.height -= height;
        let area = Rect { y: self.area.y + self.area.height, height, ..self.area };
        Rows { area, buffer: self.buffer }
    }

    /// Writes the first `most` of these lines at the bottom, in at least `least` rows; if lines are left
    /// out, the last one is marked.
    pub(super) fn write_paragraph(&mut self, lines: &[String], least: usize, most: usize, style: Style) {
        let shown = lines.len().min(most);
        let mut rows = self.take_bottom(shown.max(least).try_into().unwrap_or(u16::MAX));
        for (at, line) in lines.iter().take(shown).enumerate() {
            let cut = at + 1 == shown && shown < lines.len();
            rows.take_top(1).write_line(&if cut { format!("{line} {MORE}") } else { line.clone() }, style);
        }
    }

    pub(super) fn fill(&mut self, style: Style) {
        self.buffer.set_style(self.area, style);
    }

    pub(super) fn write_line(self, text: &str, style: Style) {
        self.write_at(1, text, style);
    }

    pub(super) fn write_centred(self, text: &str, style: Style) {
        let gap = self.width().saturating_sub(width(text)) / 2;
        self.write_at(gap.try_into().unwrap_or(0), text, style);
    }

    pub(super) fn write_title(mut self, [left, right]: &[String; 2]) {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        self.fill(style);
        let end = self.width().saturating_sub(width(right) + 1).try_into().unwrap_or(0);
        let Self { area, buffer } = self;
        Rows { area, buffer: &mut *buffer }.write_line(left, style);
        Rows { area, buffer }.write_at(end, right, style);
    }

    fn write_at(self, column: u16, text: &str, style: Style) {
        if self.area.height > 0 && column < self.area.width {
            let room = usize::from(self.area.width - column);
            let (text, room) = match room.checked_sub(MORE.len()) {
                Some(less) if width(text) > room => (format!("{}{MORE}", beginning(text, less)), room),
                _ => (text.to_owned(), room),
            };
            self.buffer.set_stringn(self.area.x + column, self.area.y, text, room, style);
        }
    }
}

/// Returns the width of a text in columns.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Makes an outside name safe for a terminal; a truncated one is marked.
pub(super) fn shorten(name: &str, most_bytes: usize) -> String {
    let (whole, cut) = (plain(name, usize::MAX), plain(name, most_bytes));
    if cut.len() < whole.len() { cut + MORE } else { whole }
}

/// Returns the longest beginning of a text that fits into `columns`.
fn beginning(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    let fits = |end: &usize| width(text.get(..*end).unwrap_or_default()) <= columns;
    text.get(..ends.take_while(fits).last().unwrap_or(0)).unwrap_or_default()
}

/// Returns the longest end of a text that fits into `columns`.
pub(super) fn tail(text: &str, columns: u16) -> &str {
    let starts = text.char_indices().map(|(at, _)| text.get(at..).unwrap_or_default());
    starts.into_iter().find(|end| width(end) <= columns.into()).unwrap_or_default()
}

/// Wraps a text into lines of `columns`, between words if possible.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let line = lines.pop().unwrap_or_default();
            let gap = usize::from(!line.is_empty());
            if width(&line) + gap + width(word) <= columns {
                lines.push(if gap == 1 { format!("{line} {word}") } else { word.to_owned() });
                break;
            }
            if gap == 1 {
                lines.extend([line, String::new()]);
                continue;
            }
            // A word wider than the screen is split; if not even a letter fits, it overflows.
            let part = Some(beginning(word, columns)).filter(|part| !part.is_empty()).unwrap_or(word);
            lines.extend([part.to_owned(), String::new()]);
            word = word.get(part.len()..).unwrap_or_default();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_says_so() {
        assert_eq!((shorten("abcdef", 4), shorten("abcd", 4)), ("abcd...".to_owned(), "abcd".to_owned()));
    }

    #[test]
    fn text_is_broken_between_words_and_long_words_anywhere() {
        for (text, columns, expected) in [
            ("one two three", 7, vec!["one two", "three"]),
            ("abcdefgh i", 3, vec!["abc", "def", "gh", "i"]),
            ("東京東京", 4, vec!["東京", "東京"]),
            ("", 5, vec![""]),
            ("a b", 0, vec!["a", "b", ""]),
        ] {
            assert_eq!(wrap(text, columns), expected, "{text}");
        }
        assert_eq!((tail("abc東", 3), tail("ab", 0)), ("c東", ""));
    }
}
