//! The connection ends in the middle of an answer.

use super::Ordeal;
use anyhow::Result;
use unbox_tests::world::Reply;

#[test]
fn half_an_answer_is_no_answer() -> Result<()> {
    let mut ordeal = Ordeal::begin(|world, request| match world.honest_reply(request) {
        Reply::Whole { body, .. } => Reply::Broken(body.get(..body.len() / 2).unwrap_or_default().to_vec()),
        other => other,
    })?;
    ordeal.is_named_at_each_message("connection_cut")?;
    ordeal.ends_well()
}
