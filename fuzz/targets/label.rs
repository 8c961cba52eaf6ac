//! What a bar code scanner types.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_common::{
    identity::Identifier,
    label::{code_128, parse, qr_code},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(scan) = parse(bytes) else { return };
    for reading in scan.identifiers() {
        assert!(reading.field < scan.fields().len());
        assert_ne!(reading.ways.is_empty(), reading.refused.is_none(), "it is meant in a way, or refused");
    }
    let read: Vec<Identifier> =
        scan.identifiers().iter().flat_map(|reading| &reading.ways).flatten().cloned().collect();
    for label in read.iter().filter_map(code_128).chain([qr_code(&read)]) {
        assert!(read.is_empty() || parse(label.as_bytes()).is_ok(), "our own label {label:?} is read back");
    }
});
