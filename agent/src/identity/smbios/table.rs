//! The SMBIOS tables themselves (DMTF DSP0134 3.7, sections 5.2, 6 and 7.1 to 7.12).
//!
//! They are parsed here and not by a library, because firmware is untrusted input: the library that
//! parses them reads past the end of a short structure.

/// The largest table that is read, in bytes; SMBIOS 2 cannot express more than 64 KiB.
pub const MAX_TABLE_BYTES: u64 = 1024 * 1024;

/// The most OEM strings that are shown.
const MAX_OEM_STRINGS: usize = 64;

/// Type of the structure that ends a table.
pub(super) const END_OF_TABLE: u8 = 127;

/// Type of the structure of free strings.
pub(super) const OEM_STRINGS: u8 = 11;

/// The content of the tables for this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Fields, named like the kernel's copy in `/sys/class/dmi/id`, each with the type of its structure.
    pub fields: Vec<Field>,
    /// The free strings of type 11, without those that may be secrets.
    pub oem_strings: Vec<String>,
    /// True if a structure does not end where it should; everything after it is lost.
    pub is_cut_short: bool,
}

/// One field of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The type of the structure.
    pub structure: u8,
    /// Its value.
    pub value: String,
}

impl Tables {
    /// Parses the tables; `None` if the entry point is not that of SMBIOS.
    #[must_use]
    pub fn parse(entry_point: &[u8], table: &[u8]) -> Option<Self> {
        let version = Version::parse(entry_point)?;
        let mut tables = Self::default();
        let mut seen = [false; 4];
        let mut structures = Structures::new(table);
        for structure in &mut structures {
            if structure.kind == OEM_STRINGS {
                tables.add_strings(&structure);
            }
            // Blade servers describe more than one board; the first is the one that we run on.
            match seen.get_mut(usize::from(structure.kind)) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            tables.add_fields(&structure, version);
        }
        tables.is_cut_short = structures.is_cut_short();
        Some(tables)
    }

    fn add_fields(&mut self, structure: &Structure<'_>, version: Version) {
        let named: &[(&'static str, usize)] = match structure.kind {
            1 => &[
                ("sys_vendor", 0x04),
                ("product_name", 0x05),
                ("product_version", 0x06),
                ("product_serial", 0x07),
                ("product_sku", 0x19),
            ],
            2 => &[("board_vendor", 0x04), ("board_name", 0x05), ("board_serial", 0x07)],
            3 => &[("chassis_serial", 0x07)],
            _ => &[],
        };
        let text = named.iter().filter_map(|(name, at)| Some((*name, structure.string_at(*at)?)));
        let uuid = (structure.kind == 1).then(|| structure.uuid_at(0x08, version)).flatten();
        let fields = text.chain(uuid.map(|uuid| ("product_uuid", uuid)));
        self.fields.extend(fields.map(|(name, value)| Field { name, structure: structure.kind, value }));
    }

    fn add_strings(&mut self, structure: &Structure<'_>) {
        let free = structure.strings().filter(|text| !is_secret(text));
        let room = MAX_OEM_STRINGS.saturating_sub(self.oem_strings.len());
        self.oem_strings.extend(free.take(room).map(|text| String::from_utf8_lossy(text).into_owned()));
    }
}

/// Returns true if a free string is for systemd, which reads credentials from here, or looks like some
/// other secret.
pub(super) fn is_secret(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    text.starts_with("io.systemd.")
        || ["credential", "key=", "passphrase", "passw", "psk", "secret", "token"]
            .iter()
            .any(|word| text.contains(word))
}

/// Version of the specification that the tables follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u8, u8);

impl Version {
    /// Reads the version from the entry point: `_SM_` (32 bit) or `_SM3_` (64 bit).
    fn parse(entry_point: &[u8]) -> Option<Self> {
        let at = |offset: usize| entry_point.get(offset).copied();
        if entry_point.starts_with(b"_SM3_") {
            Some(Self(at(7)?, at(8)?))
        } else if entry_point.starts_with(b"_SM_") {
            Some(Self(at(6)?, at(7)?))
        } else {
            None
        }
    }
}

/// An iterator over the structures, up to the end of the table or its end marker.
pub(super) struct Structures<'a> {
    /// The remaining bytes; after the walk, the end marker, or the unparsable rest.
    pub(super) rest: &'a [u8],
}

/// One structure: its type, its formatted part, its strings.
pub(super) struct Structure<'a> {
    pub(super) kind: u8,
    pub(super) formatted: &'a [u8],
    /// The strings, with the two zeros that end them.
    pub(super) string_set: &'a [u8],
}

impl<'a> Structures<'a> {
    pub(super) const fn new(table: &'a [u8]) -> Self {
        Self { rest: table }
    }

    /// Returns true if, after the walk, the table ended without an end marker.
    pub(super) fn is_cut_short(&self) -> bool {
        self.rest.first() != Some(&END_OF_TABLE) && self.rest.iter().any(|byte| *byte != 0)
    }
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        let (kind, length) = (*self.rest.first()?, usize::from(*self.rest.get(1)?));
        if kind == END_OF_TABLE || length < 4 {
            return None;
        }
        let (formatted, after) = self.rest.split_at_checked(length)?;
        let end = after.windows(2).position(|pair| pair == [0, 0])?;
        let (string_set, after) = after.split_at_checked(end + 2)?;
        self.rest = after;
        Some(Structure { kind, formatted, string_set })
    }
}

impl<'a> Structure<'a> {
    /// Returns the strings, in order.
    pub(super) fn strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.string_set.split(|byte| *byte == 0).take_while(|text| !text.is_empty())
    }

    /// Returns the string whose number is at `offset`; `None` if the number is 0 or out of range.
    fn string_at(&self, offset: usize) -> Option<String> {
        let number = usize::from(*self.formatted.get(offset)?).checked_sub(1)?;
        self.strings().nth(number).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// Returns the UUID at `offset`: from version 2.6 on, its first three fields are little-endian.
    fn uuid_at(&self, offset: usize, version: Version) -> Option<String> {
        let mut uuid: [u8; 16] = self.formatted.get(offset..offset + 16)?.try_into().ok()?;
        if version >= Version(2, 6) {
            let (fields, _) = uuid.split_at_mut(8);
            let (first, others) = fields.split_at_mut(4);
            first.reverse();
            others.chunks_mut(2).for_each(<[u8]>::reverse);
        }
        let groups = [0..4, 4..6, 6..8, 8..10, 10..16];
        Some(groups.map(|range| hex::encode(uuid.get(range).unwrap_or_default())).join("-"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Encodes the strings after a structure.
    pub(crate) fn strings(texts: &[&str]) -> Vec<u8> {
        let mut bytes: Vec<u8> = texts.iter().flat_map(|text| text.bytes().chain([0])).collect();
        bytes.push(0);
        if texts.is_empty() {
            bytes.push(0);
        }
        bytes
    }

    /// Makes a realistic table: the strings of types 1, 2, 3 and 11, and the end marker.
    pub(crate) fn table(system: [&str; 4], board: &str, chassis: &str, free: &[&str]) -> Vec<u8> {
        let [maker, model, serial, sku] = system;
        let mut table = vec![1, 27, 0, 1, 1, 2, 0, 3];
        table.extend(UUID);
        table.extend([6, 4, 0]);
        table.extend(strings(&[maker, model, serial, sku]));
        table.extend([2, 8, 0, 2, 0, 0, 0, 1]);
        table.extend(strings(&[board]));
        table.extend([3, 9, 0, 3, 0, 1, 0, 1, 0]);
        table.extend(strings(&[chassis]));
        if !free.is_empty() {
            table.extend([11, 5, 0, 4, u8::try_from(free.len()).unwrap()]);
            table.extend(strings(free));
        }
        table.extend([127, 4, 0, 127, 0, 0]);
        table
    }

    pub(crate) const ENTRY: &[u8] = b"_SM3_\0\x18\x03\x04\0\x01\0";
    const UUID: [u8; 16] =
        [0x4c, 0x4c, 0x45, 0x44, 0x00, 0x58, 0x4b, 0x10, 0x80, 0x39, 0xb7, 0xc0, 0x4f, 0x51, 0x31, 0x33];

    pub(crate) fn dell() -> Vec<u8> {
        table(
            ["Dell Inc.", "PowerEdge R650", "7XK9Q13", "SKU-1"],
            ".7XK9Q13.CN.",
            "7XK9Q13",
            &["Dell System", "io.systemd.credential:unbox.token=sesame", "1[0A52]"],
        )
    }

    fn values(tables: &Tables) -> Vec<(&str, &str)> {
        tables.fields.iter().map(|one| (one.name, one.value.as_str())).collect()
    }

    #[test]
    fn tables_say_what_the_firmware_wrote() {
        let found = Tables::parse(ENTRY, &dell()).unwrap();
        assert_eq!(
            values(&found),
            [
                ("sys_vendor", "Dell Inc."),
                ("product_name", "PowerEdge R650"),
                ("product_serial", "7XK9Q13"),
                ("product_sku", "SKU-1"),
                ("product_uuid", "44454c4c-5800-104b-8039-b7c04f513133"),
                ("board_serial", ".7XK9Q13.CN."),
                ("chassis_serial", "7XK9Q13"),
            ]
        );
        assert_eq!(found.oem_strings, ["Dell System", "1[0A52]"], "what may be a secret is not among them");
        assert!(!found.is_cut_short);
    }

    #[test]
    fn before_version_2_6_a_uuid_is_big_endian() {
        let old = b"_SM_\0\x1f\x02\x05";
        let found = Tables::parse(old, &dell()).unwrap();
        assert!(values(&found).contains(&("product_uuid", "4c4c4544-0058-4b10-8039-b7c04f513133")));
    }

    #[test]
    fn what_is_no_table_is_none() {
        assert!(Tables::parse(b"", &dell()).is_none());
        assert!(Tables::parse(b"_SM3_", &dell()).is_none());
        assert_eq!(Tables::parse(ENTRY, b""), Some(Tables::default()));
        assert_eq!(Tables::parse(ENTRY, &[0; 64]), Some(Tables::default()));
    }

    #[test]
    fn a_table_that_is_cut_short_says_so_and_keeps_what_stands_before() {
        let whole = dell();
        let mut walk = Structures::new(&whole);
        let mut ends: Vec<usize> = Vec::new();
        while walk.next().is_some() {
            ends.push(whole.len() - walk.rest.len());
        }
        for cut in 1..*ends.last().unwrap() {
            let tables = Tables::parse(ENTRY, &whole[..cut]).unwrap();
            assert_eq!(tables.is_cut_short, !ends.contains(&cut), "{cut}");
            assert_eq!(tables.fields.is_empty(), cut < ends[0], "{cut}");
        }
        assert!(Tables::parse(ENTRY, &[1, 3, 0, 0, 0, 0]).unwrap().is_cut_short);
    }

    proptest! {
        #[test]
        fn no_table_breaks_the_reader(
            changes in proptest::collection::vec((0usize..250, any::<u8>()), 0..24),
            cut in 0usize..250,
        ) {
            let mut table = dell();
            for (at, byte) in changes {
                if let Some(one) = table.get_mut(at) {
                    *one = byte;
                }
            }
            table.truncate(cut);
            let tables = Tables::parse(ENTRY, &table).unwrap();
            prop_assert!(tables.fields.len() <= 10);
        }
    }
}
