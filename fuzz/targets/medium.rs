//! A stick that somebody plugs in: a FAT volume, of which a token is read and which is not written to.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use unbox_fuzz::boot::{fat::token_on, token::parse_token};

fuzz_target!(|volume: &[u8]| {
    if let Ok(token) = token_on(Cursor::new(volume)) {
        assert_eq!(parse_token(&token), Some(token), "what was read is a token");
    }
});
