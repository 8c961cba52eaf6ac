//! The server answers with bytes that mean nothing.

use super::Ordeal;
use anyhow::Result;
use std::sync::Mutex;
use unbox_tests::{seed::Seed, world::Reply};

#[test]
fn garbage_is_named_and_changes_nothing() -> Result<()> {
    let seed = Mutex::new(Seed::from_environment(11));
    let mut ordeal = Ordeal::begin(move |_, _| {
        let garbage = seed.lock().map(|mut seed| {
            let length = seed.draw_below(20_000);
            seed.bytes(length)
        });
        Reply::Whole {
            status: 200,
            content_type: "application/json",
            headers: Vec::new(),
            body: garbage.unwrap_or_default(),
        }
    })?;
    ordeal.is_named_at_each_message("answer_unreadable")?;
    ordeal.ends_well()
}
