//! A partition of vital product data: read, and what a capture keeps of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_fuzz::partition::Partition;

const KEYS: &[&str] = &["serial_number", "attested_device_id", "mfg_date", ""];

fuzz_target!(|bytes: &[u8]| {
    let Ok(partition) = Partition::parse(bytes) else { return };
    let kept = partition.encode_only(KEYS);
    let again = Partition::parse(&kept).unwrap();
    for key in KEYS {
        assert_eq!(again.value(key), partition.value(key), "{key}");
    }
});
