//! The work of reading a scan, by the clock, which the crate itself has none of.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::{Duration, Instant};
use unbox_common::label::{MAX_SCAN_BYTES, parse};

/// The shortest of many times that reading this takes: what else the machine does only adds to it.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what this is about")]
fn shortest(scan: &str) -> Duration {
    let time = |_| {
        let begun = Instant::now();
        let _ = std::hint::black_box(parse(scan.as_bytes()));
        begun.elapsed()
    };
    (0..40).map(time).min().unwrap()
}

#[test]
fn the_work_of_reading_a_scan_grows_with_its_length() {
    const LARGE: usize = MAX_SCAN_BYTES;
    const SMALL: usize = MAX_SCAN_BYTES / 8;
    for (begin, part, end) in [
        ("", "(21)A", ""),
        ("", "(", ""),
        ("(21)A", "(2(1", ""),
        ("0109506000134352", "21A\u{1d}", ""),
        ("]d2", "21A\u{1d}", ""),
        ("https://id.gs1.org", "/21/A", ""),
        ("{\"a\":", "[", ""),
        ("{\"a\":\"b\"", ",\"sn\":\"A\"", "}"),
        ("{\"a\":\"", "\\u0041", "\"}"),
        ("", "SN:A;", ""),
        ("", "SN:A,", "|\n"),
        ("", ";,|\n", ""),
        ("SN:", "A:", ""),
        ("", "Express Service Code:1;", ""),
        ("https://a.example/?a=b", "&sn=A%20", ""),
        ("[)>\u{1e}06", "\u{1d}S1", "\u{1e}\u{4}"),
        ("[)>\u{1e}06", "\u{1d}1", ""),
        ("[)>\u{1e}12", "\u{1d}SER A", "\u{1e}\u{4}"),
        ("[)>", "\u{1e}05\u{1d}21A", "\u{1e}\u{4}"),
        ("", "1S", ""),
        ("", "0", ""),
        ("", "\u{1d}", "A"),
    ] {
        let of_length = |length: usize| {
            let times = (length - begin.len() - end.len()) / part.len();
            [begin, &part.repeat(times), end].concat()
        };
        let (mut small, mut large) = (Duration::MAX, Duration::MAX);
        // Eight times as long: work that grew with the square of the length would take 64 times as long, however
        // often it is measured. On a busy machine, it takes some tries to be left alone.
        let is_linear = (0..50).any(|_| {
            small = small.min(shortest(&of_length(SMALL)));
            large = large.min(shortest(&of_length(LARGE)));
            large <= small.max(Duration::from_micros(1)) * 30
        });
        assert!(is_linear, "{begin:?} {part:?}: {small:?} for 1 KiB, {large:?} for 8 KiB");
    }
}
