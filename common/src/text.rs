//! Text for people: the characters that it may hold, so that no screen obeys, hides or reorders any of it.

/// Returns true if a terminal would obey a character, or hide or reorder others because of it: control
/// characters, the controls of the bidirectional algorithm (UAX #9), and characters without a glyph, among
/// them the fillers of Hangul and the blank of Braille.
#[must_use]
pub fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns true if a character can stand in a text that people wrote for people. The two joiners, although
/// invisible themselves, are needed to spell Persian, Hindi and other languages.
#[must_use]
pub fn is_readable(char: char) -> bool {
    !is_invisible(char) || matches!(char, '\u{200c}' | '\u{200d}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_hides_or_reorders_is_not_readable() {
        for char in [
            '\0',
            '\n',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{e0041}',
        ] {
            assert!(is_invisible(char) && !is_readable(char), "{char:?}");
        }
        for char in "aé\u{301}Ж東\u{5d0}\u{645}🙂\u{fe0f} -'\u{200d}\u{200c}".chars() {
            assert!(is_readable(char), "{char:?}");
        }
    }
}
