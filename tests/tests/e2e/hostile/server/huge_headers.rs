//! The right answer, below a mountain of headers.

use super::Ordeal;
use anyhow::Result;
use unbox_tests::world::Reply;

#[test]
fn headers_without_measure_are_not_read() -> Result<()> {
    let mut ordeal = Ordeal::begin(|world, request| match world.honest_reply(request) {
        Reply::Whole { status, content_type, body, .. } => {
            let headers = (0..64).map(|_| ("x-padding", "x".repeat(1024 * 1024))).collect();
            Reply::Whole { status, content_type, headers, body }
        }
        other => other,
    })?;
    ordeal.is_named_at_each_message("connection_cut")?;
    ordeal.ends_well()
}
