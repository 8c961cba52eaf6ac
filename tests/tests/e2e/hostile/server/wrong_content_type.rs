//! The right answer, but it says that it is something else.

use super::Ordeal;
use anyhow::Result;
use unbox_tests::world::Reply;

#[test]
fn an_answer_of_another_type_is_not_read() -> Result<()> {
    let mut ordeal = Ordeal::begin(|world, request| match world.honest_reply(request) {
        Reply::Whole { status, headers, body, .. } => {
            Reply::Whole { status, content_type: "text/html", headers, body }
        }
        other => other,
    })?;
    ordeal.is_named_at_each_message("wrong_content_type")?;
    ordeal.ends_well()
}
