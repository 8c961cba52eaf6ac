//! A partition of vital product data in flash: version 2.0 of the format, as parsed by coreboot and Linux
//! (`drivers/firmware/google/vpd_decode.c`).
//!
//! An entry is a type, a key and a value; a length is encoded in groups of seven bits, highest first, and
//! the top bit of a byte means that another one follows.

/// The largest partition that is read, in bytes; those of Chromebooks have 8 to 64 KiB.
pub const MAX_PARTITION_BYTES: u64 = 256 * 1024;

/// The most entries in one partition.
const MAX_ENTRIES: usize = 4096;

const TERMINATOR: u8 = 0x00;
const STRING: u8 = 0x01;
/// Type of the entry about the partition itself; its key and value are ignored.
const INFO: u8 = 0xfe;
/// Erased flash that was never written.
const ERASED: u8 = 0xff;

/// The entries of a partition, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition<'a> {
    entries: Vec<(&'a [u8], &'a [u8])>,
}

/// The reason why bytes are not a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPartition {
    /// An entry is longer than the remaining bytes.
    #[error("the entry at byte {0} is cut short")]
    CutShort(usize),
    /// An entry has an unknown type.
    #[error("the entry at byte {at} is of the unknown type {kind:#04x}")]
    UnknownType {
        /// Offset of the entry.
        at: usize,
        /// Its type.
        kind: u8,
    },
    /// The partition has more entries than any machine has.
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooMany,
}

impl<'a> Partition<'a> {
    /// Parses a partition completely.
    ///
    /// # Errors
    /// [`InvalidPartition`], with the offset of the offending entry.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidPartition> {
        let mut entries = Vec::new();
        let mut rest = bytes;
        loop {
            let at = bytes.len() - rest.len();
            let kind = match rest.split_first() {
                None | Some((&(TERMINATOR | ERASED), _)) => return Ok(Self { entries }),
                Some((&kind @ (STRING | INFO), after)) => {
                    rest = after;
                    kind
                }
                Some((&kind, _)) => return Err(InvalidPartition::UnknownType { at, kind }),
            };
            let mut part = || take_part(&mut rest).ok_or(InvalidPartition::CutShort(at));
            let (key, value) = (part()?, part()?);
            if kind == STRING {
                entries.push((key, value));
            }
            if entries.len() > MAX_ENTRIES {
                return Err(InvalidPartition::TooMany);
            }
        }
    }

    /// Returns the value of a key; of duplicate keys, the first counts, as in Linux.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.entries.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| *value)
    }

    /// Encodes a partition with only these keys, for a capture: other keys may be secrets.
    #[must_use]
    pub fn encode_only(&self, keys: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.entries {
            if keys.iter().any(|wanted| wanted.as_bytes() == *key) {
                bytes.push(STRING);
                for part in [key, value] {
                    push_length(&mut bytes, part.len());
                    bytes.extend_from_slice(part);
                }
            }
        }
        bytes.push(TERMINATOR);
        bytes
    }
}

/// Takes a length and that many bytes.
fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length: usize = 0;
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        length = length.checked_mul(128)? + usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let groups = (0..usize::BITS.div_ceil(7)).rev().map(|group| (length >> (7 * group)) & 0x7f);
    let mut groups: Vec<u8> =
        groups.skip_while(|group| *group == 0).filter_map(|one| one.try_into().ok()).collect();
    let last = groups.pop().unwrap_or_default();
    bytes.extend(groups.into_iter().map(|group| group | 0x80));
    bytes.push(last);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Encodes a partition with these entries.
    pub(crate) fn partition(entries: &[(&str, &str)]) -> Vec<u8> {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        let keys: Vec<_> = entries.iter().map(|(key, _)| std::str::from_utf8(key).unwrap()).collect();
        Partition { entries: entries.clone() }.encode_only(&keys)
    }

    #[test]
    fn entries_are_read_up_to_the_end_mark() {
        let mut bytes = b"\xfe\x09\x01gVpdInfo\x04\x00\x10\x00\x00".to_vec();
        bytes.extend(partition(&[("serial_number", "5CD1234ABC"), ("region", "us")]));
        bytes.extend(b"\x7fwhat was there before");
        let read = Partition::parse(&bytes).unwrap();
        assert_eq!(read.value("serial_number"), Some(&b"5CD1234ABC"[..]));
        assert_eq!(read.value("region"), Some(&b"us"[..]));
        assert_eq!(read.value("\u{1}gVpdInfo"), None);
        assert_eq!(Partition::parse(&[ERASED; 32]), Ok(Partition::default()));
        assert_eq!(Partition::parse(b""), Ok(Partition::default()));
    }

    #[test]
    fn a_long_value_has_a_length_of_several_bytes() {
        let long = "x".repeat(20_000);
        let bytes = partition(&[("long", &long), ("short", "")]);
        assert_eq!(&bytes[..9], b"\x01\x04long\x81\x9c\x20");
        let read = Partition::parse(&bytes).unwrap();
        assert_eq!(read.value("long"), Some(long.as_bytes()));
        assert_eq!(read.value("short"), Some(&b""[..]));
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_place() {
        for (bytes, expected) in [
            (&b"\x01\x03abc"[..], InvalidPartition::CutShort(0)),
            (b"\x01\x03abc\x02x", InvalidPartition::CutShort(0)),
            (b"\x01\x01a\x01b\x01\x7fabc", InvalidPartition::CutShort(5)),
            (b"\x01\x01a\x01b\x02", InvalidPartition::UnknownType { at: 5, kind: 2 }),
            (b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", InvalidPartition::CutShort(0)),
        ] {
            assert_eq!(Partition::parse(bytes), Err(expected), "{bytes:?}");
        }
        let flood = b"\x01\x00\x00".repeat(MAX_ENTRIES + 1);
        assert_eq!(Partition::parse(&flood), Err(InvalidPartition::TooMany));
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let bytes = partition(&[("serial_number", "5CD1"), ("stable_device_secret_DO_NOT_SHARE", "sesame")]);
        let kept = Partition::parse(&bytes).unwrap().encode_only(&["serial_number"]);
        assert_eq!(kept, partition(&[("serial_number", "5CD1")]));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Partition::parse(&bytes);
        }
    }
}
