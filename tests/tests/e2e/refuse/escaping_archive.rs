//! The DPC's archive holds a name that leads out of its tree.

use super::{is_refused, world};
use anyhow::Result;
use tar::{Builder, Header};
use unbox_common::payload::Dpc;

#[test]
fn archive_that_escapes_is_rejected() -> Result<()> {
    let mut world = world()?;
    let artifact = world.add_artifact(archive_with("../../../etc/motd")?);
    world.payload.dpc = Some(serde_json::from_value::<Dpc>(serde_json::json!({
        "name": "evil-dpc", "version": "1", "kind": "tar", "artifact": artifact,
    }))?);
    is_refused("archive_refused", world, unbox_tests::world::World::honest_reply)
}

/// The `tar` crate refuses to write such a name through its safe door, so the header is made by hand.
fn archive_with(name: &str) -> Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    for (to, from) in header.as_gnu_mut().map(|gnu| &mut gnu.name).into_iter().flatten().zip(name.bytes()) {
        *to = from;
    }
    header.set_size(5);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&header, &b"owned"[..])?;
    Ok(tar.into_inner()?)
}
