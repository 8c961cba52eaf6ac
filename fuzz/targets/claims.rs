//! A file of claims, as a reseller uploads it and a station holds units against it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_common::claims_file::Records;

fuzz_target!(|file: &[u8]| {
    let Ok(mut records) = Records::open(file) else { return };
    let (mut offset, mut line) = (0, 1);
    while let Ok(Some(row)) = records.next_row() {
        assert!(row.line() > line, "rows come in their order");
        line = row.line();
        let width = row.header().iter().count();
        for index in 0..=width {
            let _ = row.cell(index);
        }
        let _ = row.identifiers();
        assert!(records.offset() > offset, "every row is further on");
        offset = records.offset();
    }
});
