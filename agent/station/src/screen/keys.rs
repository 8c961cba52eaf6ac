//! The input of scanner and keyboard, as keys.
//!
//! A scan is read as bytes, because labels contain control characters as separators (GS, RS, EOT) and
//! bytes that are not text. Some of a terminal's escape sequences for other keys have a meaning here, and
//! the rest are ignored; pasted text counts as typed.

/// The longest escape sequence of a terminal; anything longer is not one.
const MAX_SEQUENCE_BYTES: usize = 32;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A byte of a line.
    Byte(u8),
    /// The end of a line.
    Enter,
    /// Deletes the last character.
    Backspace,
    /// Deletes the line (Escape).
    Clear,
    /// Requests the end of the shift (Ctrl-C).
    Stop,
    /// Shows the next later unit (arrow up).
    Newer,
    /// Shows the next earlier unit (arrow down).
    Older,
    /// Scrolls back in a long text (page up).
    PageUp,
    /// Scrolls forward in a long text (page down).
    PageDown,
    /// Prints the label of the unit on display (F2).
    Print,
}

/// A decoder from bytes of a terminal to keys, read by read.
#[derive(Debug, Default)]
pub struct Keyboard(State);

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Plain,
    /// After an Escape.
    Escape,
    /// After `Escape O`: one more byte follows.
    Function,
    /// After `Escape [ [`, the prefix of function keys on Linux's console: one more byte follows.
    Console,
    /// After `Escape [`: the number of bytes so far, and the number they spell.
    Sequence(usize, Option<u16>),
}

impl Keyboard {
    /// Decodes the keys of one read. An Escape at the end of a read is the key itself.
    pub fn decode(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.decode_byte(*byte, &mut keys);
        }
        if matches!(self.0, State::Escape) {
            self.0 = State::Plain;
            keys.push(Key::Clear);
        }
        keys
    }

    fn decode_byte(&mut self, byte: u8, keys: &mut Vec<Key>) {
        let state = std::mem::take(&mut self.0);
        self.0 = match (state, byte) {
            (State::Escape, b'[') => State::Sequence(0, Some(0)),
            (State::Escape, b'O') => State::Function,
            (State::Sequence(0, _), b'[') => State::Console,
            (State::Sequence(length, number), 0x20..=0x3f) if length < MAX_SEQUENCE_BYTES => {
                State::Sequence(length + 1, number.and_then(|number| append_digit(number, byte)))
            }
            (State::Sequence(_, number), 0x40..=0x7e) => {
                keys.extend(number.and_then(|number| special_key(number, byte)));
                State::Plain
            }
            (State::Function, 0x40..=0x7e) => {
                keys.extend(function_key(byte));
                State::Plain
            }
            (State::Console, 0x40..=0x7e) => {
                keys.extend((byte == b'B').then_some(Key::Print));
                State::Plain
            }
            (State::Plain, 0x1b) => State::Escape,
            (State::Plain, _) => {
                keys.push(plain_key(byte));
                State::Plain
            }
            // No terminal sends this: the line so far is discarded, and the byte is taken literally.
            _ => {
                keys.push(Key::Clear);
                return self.decode_byte(byte, keys);
            }
        };
    }
}

const fn plain_key(byte: u8) -> Key {
    match byte {
        b'\r' | b'\n' => Key::Enter,
        0x08 | 0x7f => Key::Backspace,
        0x03 => Key::Stop,
        _ => Key::Byte(byte),
    }
}

fn append_digit(number: u16, byte: u8) -> Option<u16> {
    let digit = char::from(byte).to_digit(10)?;
    number.checked_mul(10)?.checked_add(digit.try_into().ok()?)
}

/// Decodes `Escape [ number byte`, with 0 for no number, as sent by xterm and similar terminals.
const fn special_key(number: u16, byte: u8) -> Option<Key> {
    match (number, byte) {
        (0, b'A') => Some(Key::Newer),
        (0, b'B') => Some(Key::Older),
        (5, b'~') => Some(Key::PageUp),
        (6, b'~') => Some(Key::PageDown),
        (12, b'~') => Some(Key::Print),
        _ => None,
    }
}

/// Decodes `Escape O byte`: function keys, and arrows if a program left them in that mode.
const fn function_key(byte: u8) -> Option<Key> {
    match byte {
        b'A' => Some(Key::Newer),
        b'B' => Some(Key::Older),
        b'Q' => Some(Key::Print),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Formats keys as text: `^` for Clear, `$` for Enter, `<` for Backspace, `!` for Stop, and capitals
    /// for the rest.
    fn decode_line(reads: &[&[u8]]) -> Vec<u8> {
        let mut keyboard = Keyboard::default();
        let keys = reads.iter().flat_map(|read| keyboard.decode(read));
        keys.map(|key| match key {
            Key::Byte(byte) => byte,
            Key::Enter => b'$',
            Key::Backspace => b'<',
            Key::Clear => b'^',
            Key::Stop => b'!',
            Key::Newer => b'N',
            Key::Older => b'O',
            Key::PageUp => b'U',
            Key::PageDown => b'D',
            Key::Print => b'P',
        })
        .collect()
    }

    #[test]
    fn a_scan_is_its_bytes_and_a_sequence_of_the_terminal_is_no_part_of_it() {
        for (reads, expected) in [
            (&[b"PF0A\r\n".as_slice()] as &[&[u8]], b"PF0A$$".as_slice()),
            (&[b"[)>\x1e06\x1dS1\x1e\x04\r"], b"[)>\x1e06\x1dS1\x1e\x04$"),
            (&[b"A\xff\xc3\xbc\n"], b"A\xff\xc3\xbc$"),
            (&[b"AB\x7f\x08\x03"], b"AB<<!"),
            (&[b"\x1b"], b"^"),
            (&[b"a\x1b", b"[B"], b"a^[B"),
            (&[b"\x1b[C\x1bOP\x1b[15~a"], b"a"),
            (&[b"\x1b[", b"1;5", b"A", b"b"], b"b"),
            (&[b"\x1b[A\x1b[B\x1bOA\x1bOB"], b"NONO"),
            (&[b"\x1b[5~\x1b[", b"6~"], b"UD"),
            (&[b"\x1bOQ\x1b[12~\x1b[[B"], b"PPP"),
            // The other function keys of Linux's console, and numbers without a key.
            (&[b"\x1b[[A\x1b[[Cx\x1b[99999~\x1b[0~y"], b"xy"),
            (&[b"\x1b[200~AB\rCD\x1b[201~\r"], b"AB$CD$"),
            (&[b"A\x1b]0;owned\x07\r"], b"A^]0;owned\x07$"),
            (&[b"A\x1b\rB"], b"A^$B"),
            (&[b"A\x1b[\rB"], b"A^$B"),
            (&[b"A\x1b\x1b\x1bB"], b"A^^^B"),
        ] {
            assert_eq!(decode_line(reads), expected, "{reads:?}");
        }
        let endless = [b"\x1b[".as_slice(), &[b'1'; 2 * MAX_SEQUENCE_BYTES], b"\r"].concat();
        assert!(decode_line(&[&endless]).ends_with(b"1$"), "Enter is never lost in a sequence");
    }

    proptest! {
        /// Checks that after any bytes, a line break brings the keyboard back to plain typing.
        #[test]
        fn no_bytes_leave_the_keyboard_in_a_state_that_eats_the_next_scan(bytes: Vec<u8>) {
            let mut keyboard = Keyboard::default();
            keyboard.decode(&bytes);
            keyboard.decode(b"\r");
            let keys = keyboard.decode(b"PF0ABCDE\r");
            let line: Vec<Key> = b"PF0ABCDE".iter().copied().map(Key::Byte).chain([Key::Enter]).collect();
            prop_assert_eq!(keys, line);
        }
    }
}
