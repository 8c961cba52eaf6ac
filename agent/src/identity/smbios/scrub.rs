//! The SMBIOS tables for a capture, without the secrets that firmware passes to systemd.

use super::table::{END_OF_TABLE, OEM_STRINGS, Structures, is_secret};

/// Returns entry point and table without OEM strings that may be secrets, with corrected lengths and
/// checksums. A truncated table stays truncated.
#[must_use]
pub fn without_secrets(entry_point: &[u8], table: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut kept = Vec::with_capacity(table.len());
    let mut structures = Structures::new(table);
    for structure in &mut structures {
        if structure.kind != OEM_STRINGS {
            kept.extend_from_slice(structure.formatted);
            kept.extend_from_slice(structure.string_set);
            continue;
        }
        let strings: Vec<&[u8]> = structure.strings().filter(|text| !is_secret(text)).collect();
        let mut formatted = structure.formatted.to_vec();
        if let Some(count) = formatted.get_mut(4) {
            *count = u8::try_from(strings.len()).unwrap_or(u8::MAX);
        }
        kept.extend(formatted);
        for text in &strings {
            kept.extend_from_slice(text);
            kept.push(0);
        }
        kept.push(0);
        if strings.is_empty() {
            kept.push(0);
        }
    }
    // Bytes after the end, or after an unterminated structure, may be anything.
    if structures.is_cut_short() {
        kept.extend([0, 4]);
    } else if structures.rest.first() == Some(&END_OF_TABLE) {
        kept.extend(structures.rest.iter().take(6));
    }
    let entry_point = if kept.len() == table.len() {
        entry_point.to_vec()
    } else {
        resize_entry_point(entry_point, kept.len())
    };
    (entry_point, kept)
}

/// Returns the entry point of a table with this length (DSP0134, 5.2.1 and 5.2.2).
fn resize_entry_point(entry_point: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = entry_point.to_vec();
    if bytes.starts_with(b"_SM3_") {
        put(&mut bytes, 0x0c, &u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        let own = usize::from(bytes.get(6).copied().unwrap_or_default());
        set_checksum(&mut bytes, 0..own, 5);
    } else {
        put(&mut bytes, 0x16, &u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        set_checksum(&mut bytes, 0x10..0x1f, 0x15);
        let own = usize::from(bytes.get(5).copied().unwrap_or_default());
        set_checksum(&mut bytes, 0..own, 4);
    }
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Sets the checksum so that the bytes of the range add up to zero.
fn set_checksum(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize) {
    put(bytes, at, &[0]);
    let sum = bytes.get(range).unwrap_or_default().iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    put(bytes, at, &[sum.wrapping_neg()]);
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{
            Tables,
            tests::{dell, table},
        },
        *,
    };

    const NEW: &[u8] = b"_SM3_\0\x18\x03\x04\0\x01\0\xff\x01\0\0\0\0\0\0\0\0\0\0";
    const OLD: &[u8] = b"_SM_\0\x1f\x02\x08\xff\0\0\0\0\0\0\0_DMI_\0\xff\x01\0\0\0\0\x04\0\x28";

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn a_secret_is_gone_and_the_rest_says_the_same() {
        for (entry_point, length_at) in [(NEW, 0x0c), (OLD, 0x16)] {
            let (entry, scrubbed) = without_secrets(entry_point, &dell());
            assert!(!scrubbed.windows(6).any(|window| window == b"sesame"));
            assert!(!scrubbed.windows(10).any(|window| window == b"credential"));
            assert_eq!(Tables::parse(&entry, &scrubbed), Tables::parse(entry_point, &dell()));
            assert_eq!(entry[length_at..length_at + 2], u16::try_from(scrubbed.len()).unwrap().to_le_bytes());
            assert_eq!(sum(&entry), 0, "the checksum of the entry point");
            let count = scrubbed.iter().rposition(|byte| *byte == 127).unwrap();
            assert!(count > 0);
        }
        let (entry, _) = without_secrets(OLD, &dell());
        assert_eq!(sum(&entry[0x10..]), 0, "the checksum of its second half");
    }

    #[test]
    fn a_table_without_secrets_stays_as_it_is() {
        let plain = table(["Acme", "One", "AB12", "S"], "B", "C", &["Dell System"]);
        assert_eq!(without_secrets(NEW, &plain), (NEW.to_vec(), plain));
    }

    #[test]
    fn nothing_is_kept_from_behind_the_end() {
        let mut long = dell();
        long.extend(b"io.systemd.credential:hidden=x\0\0");
        let (_, scrubbed) = without_secrets(NEW, &long);
        assert!(!scrubbed.windows(6).any(|window| window == b"hidden"));
        let cut = &dell()[..150];
        let (entry, scrubbed) = without_secrets(NEW, cut);
        assert_eq!(Tables::parse(&entry, &scrubbed), Tables::parse(NEW, cut));
    }

    #[test]
    fn only_secrets_leave_an_empty_structure() {
        let secret = table(["Acme", "One", "AB12", "S"], "B", "C", &["io.systemd.credential:a=b"]);
        let (entry, scrubbed) = without_secrets(NEW, &secret);
        let found = Tables::parse(&entry, &scrubbed).unwrap();
        assert_eq!((found.oem_strings.len(), found.is_cut_short), (0, false));
        assert_eq!(found.fields.len(), 7);
    }
}
