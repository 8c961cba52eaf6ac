//! SMBIOS tables: read, and cleared of secrets for a capture.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_fuzz::smbios::{scrub::without_secrets, table::Tables};

/// The entry points of both generations.
const ENTRY_POINTS: [&[u8]; 2] = [
    b"_SM3_\0\x18\x03\x04\0\x01\0\xff\xff\0\0\0\0\0\0\0\0\0\0",
    b"_SM_\0\x1f\x02\x05\xff\0\0\0\0\0\0\0_DMI_\0\xff\xff\0\0\0\0\x04\0\x25",
];

fuzz_target!(|table: &[u8]| {
    for entry_point in ENTRY_POINTS {
        let read = Tables::parse(entry_point, table).unwrap();
        let (entry, scrubbed) = without_secrets(entry_point, table);
        assert_eq!(Tables::parse(&entry, &scrubbed).unwrap(), read, "without secrets it says the same");
        assert_eq!(without_secrets(&entry, &scrubbed), (entry, scrubbed), "and has none left");
    }
    let _ = Tables::parse(table, table);
});
