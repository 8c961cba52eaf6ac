//! A stick that somebody plugs in: a FAT volume, of which a token is read and which is not written to.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use unbox_common::protocol::limits::MAX_TOKEN_BYTES;
use unbox_fuzz::boot::fat::read_token;

fuzz_target!(|volume: &[u8]| {
    match read_token(Cursor::new(volume)) {
        Ok(token) => {
            let token = token.expose();
            assert!((1..=MAX_TOKEN_BYTES).contains(&token.len()), "a token is not as long as a file");
            assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "it is one line that can be sent");
        }
        Err(why) => assert!(why.to_string().len() < 1000, "the reason is short"),
    }
});
