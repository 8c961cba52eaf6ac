//! The server sends more bytes than the signed payload declares.

use super::{is_refused, world};
use anyhow::Result;
use unbox_common::protocol::latest::ARTIFACT_PATH;
use unbox_tests::world::Reply;

#[test]
fn artifact_larger_than_declared_is_rejected() -> Result<()> {
    let mut world = world()?;
    let artifact = world.add_artifact(vec![7; 64 * 1024]);
    world.payload.policy = vec![super::file_from(&artifact)?];
    is_refused("artifact_size", world, |world, request| {
        if request.path.starts_with(ARTIFACT_PATH) {
            Reply::Endless(vec![7; 64 * 1024])
        } else {
            world.honest_reply(request)
        }
    })
}
