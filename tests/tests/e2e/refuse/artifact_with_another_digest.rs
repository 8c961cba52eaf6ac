//! The server sends other bytes than the signed payload names.

use super::{is_refused, world};
use anyhow::Result;
use unbox_common::protocol::latest::ARTIFACT_PATH;
use unbox_tests::world::Reply;

#[test]
fn artifact_with_another_digest_is_rejected() -> Result<()> {
    let mut world = world()?;
    let artifact = world.add_artifact(vec![7; 64 * 1024]);
    world.payload.policy = vec![super::file_from(&artifact)?];
    is_refused("artifact_digest", world, |world, request| {
        if request.path.starts_with(ARTIFACT_PATH) {
            Reply::artifact(Some(&vec![8; 64 * 1024]), request)
        } else {
            world.honest_reply(request)
        }
    })
}
