//! The server's answer never ends.

use super::Ordeal;
use anyhow::Result;
use unbox_tests::world::Reply;

#[test]
fn an_endless_answer_is_cut_off_and_named() -> Result<()> {
    let mut ordeal = Ordeal::begin(|_, _| Reply::Endless(vec![b'['; 64 * 1024]))?;
    ordeal.is_named_at_each_message("answer_too_large")?;
    ordeal.ends_well()
}
