//! What a scanner and a keyboard type, as keys.
//!
//! A scan is taken as bytes, because labels carry separators below the space (GS, RS, EOT) and bytes that
//! are no text. Sequences by which a terminal tells of arrows, function keys and pastes are passed over;
//! what is pasted counts as typed.

/// The longest sequence of a terminal; what goes on longer is none.
const MAX_SEQUENCE_BYTES: usize = 32;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A byte of a line.
    Byte(u8),
    /// The end of a line.
    Enter,
    /// Takes the last character back.
    Backspace,
    /// Takes the line back (Escape).
    Clear,
    /// Asks for the end of the shift (Ctrl-C).
    Stop,
}

/// Bytes of a terminal to keys, read by read.
#[derive(Debug, Default)]
pub struct Keyboard(State);

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Plain,
    /// Behind an Escape.
    Escape,
    /// Behind `Escape O`: one byte more.
    Function,
    /// Behind `Escape [`, with as many bytes.
    Sequence(usize),
}

impl Keyboard {
    /// The keys of one read. An Escape that nothing follows in the same read is the key.
    pub fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut keys);
        }
        if matches!(self.0, State::Escape) {
            self.0 = State::Plain;
            keys.push(Key::Clear);
        }
        keys
    }

    fn take(&mut self, byte: u8, keys: &mut Vec<Key>) {
        let state = std::mem::take(&mut self.0);
        self.0 = match (state, byte) {
            (State::Escape, b'[') => State::Sequence(0),
            (State::Escape, b'O') => State::Function,
            (State::Sequence(length), 0x20..=0x3f) if length < MAX_SEQUENCE_BYTES => {
                State::Sequence(length + 1)
            }
            (State::Sequence(_) | State::Function, 0x40..=0x7e) => State::Plain,
            (State::Plain, 0x1b) => State::Escape,
            (State::Plain, _) => {
                keys.push(plain(byte));
                State::Plain
            }
            // Nothing that a terminal sends: the line so far is given up, and the byte stands for itself.
            _ => {
                keys.push(Key::Clear);
                return self.take(byte, keys);
            }
        };
    }
}

const fn plain(byte: u8) -> Key {
    match byte {
        b'\r' | b'\n' => Key::Enter,
        0x08 | 0x7f => Key::Backspace,
        0x03 => Key::Stop,
        _ => Key::Byte(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys as text: `^` for Clear, `$` for Enter, `<` for Backspace, `!` for Stop.
    fn typed(reads: &[&[u8]]) -> Vec<u8> {
        let mut keyboard = Keyboard::default();
        let keys = reads.iter().flat_map(|read| keyboard.keys(read));
        keys.map(|key| match key {
            Key::Byte(byte) => byte,
            Key::Enter => b'$',
            Key::Backspace => b'<',
            Key::Clear => b'^',
            Key::Stop => b'!',
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
            (&[b"A\x1b", b"[B"], b"A^[B"),
            (&[b"\x1b[A\x1bOP\x1b[15~A"], b"A"),
            (&[b"\x1b[", b"1;5", b"A", b"B"], b"B"),
            (&[b"\x1b[200~AB\rCD\x1b[201~\r"], b"AB$CD$"),
            (&[b"A\x1b]0;owned\x07\r"], b"A^]0;owned\x07$"),
            (&[b"A\x1b\rB"], b"A^$B"),
            (&[b"A\x1b[\rB"], b"A^$B"),
            (&[b"A\x1b\x1b\x1bB"], b"A^^^B"),
        ] {
            assert_eq!(typed(reads), expected, "{reads:?}");
        }
        let endless = [b"\x1b[".as_slice(), &[b'1'; 2 * MAX_SEQUENCE_BYTES], b"\r"].concat();
        assert!(typed(&[&endless]).ends_with(b"1$"), "Enter is never lost in a sequence");
    }

    proptest! {
        /// Whatever came before, a line break or two bring the keyboard back to plain typing.
        #[test]
        fn no_bytes_leave_the_keyboard_in_a_state_that_eats_the_next_scan(bytes: Vec<u8>) {
            let mut keyboard = Keyboard::default();
            keyboard.keys(&bytes);
            keyboard.keys(b"\r");
            let keys = keyboard.keys(b"PF0ABCDE\r");
            let line: Vec<Key> = b"PF0ABCDE".iter().copied().map(Key::Byte).chain([Key::Enter]).collect();
            prop_assert_eq!(keys, line);
        }
    }
}
