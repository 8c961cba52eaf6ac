//! The items of a batch of devices: read from the body one by one, and kept in a file until all of them
//! are there, so that a batch is accepted completely or not at all, and is never in memory as a whole.

use super::{
    call::Call,
    message::claim::MAX_BATCH_DEVICES,
    wire::{
        form::Form,
        items::{ItemLimits, read_items},
        message::Message,
        status::Status,
    },
};
use crate::{domain::claims::operation::Item, service::ItemSpool};
use axum::body::Body;
use tokio::task::spawn_blocking;

/// The largest item, in bytes: as much as a device's metadata can have, escaped, and as much again.
const MAX_ITEM_BYTES: usize = 256 * 1024;

/// Reads the message `T`, a list of `I`, and turns each item into its work. `work` is called on a thread
/// that may block.
pub(super) async fn collect<T: Message, I: Form>(
    call: Call,
    body: Body,
    mut work: impl FnMut(&Call, I) -> Result<Item, Status> + Send + 'static,
) -> Result<(Call, ItemSpool), Status> {
    let limits = ItemLimits { bytes: call.limit(), items: MAX_BATCH_DEVICES, item_bytes: MAX_ITEM_BYTES };
    let read = spawn_blocking(move || {
        let body = call.items_reader(body)?;
        let mut items = call.services().claims.item_spool()?;
        read_items::<T, I>(body, limits, |one| {
            let item = work(&call, one)?;
            Ok(items.push(&item)?)
        })?;
        Ok((call, items))
    });
    read.await.map_err(|_| Status::busy())?
}
