//! What answers at the server's address does not speak TLS.

use super::Ordeal;
use anyhow::Result;
use std::io::Write as _;
use unbox_tests::{seed::Seed, world::BareListener};

#[test]
fn what_is_not_tls_is_named() -> Result<()> {
    let mut seed = Seed::from_environment(12);
    let plain = BareListener::start(|mut stream| {
        // It may have gone already.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        Some(stream)
    })?;
    let garbage = BareListener::start(move |mut stream| {
        // A first byte that no TLS record has.
        let _ = stream.write_all(&[&[0xff][..], &seed.bytes(4000)].concat());
        Some(stream)
    })?;
    for listener in [plain, garbage] {
        let url = format!("https://localhost:{}", listener.address.port());
        let mut ordeal = Ordeal::begin_elsewhere(url)?;
        ordeal.is_named("tls_failed")?;
        ordeal.ends_well()?;
    }
    Ok(())
}
