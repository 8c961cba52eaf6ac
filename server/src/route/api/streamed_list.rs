//! An answer with a possibly long list: read and sent part by part, so that only one part is in memory,
//! however slowly a client reads.

use super::{
    body_writer::{BodyWriter, Gone, body_writer},
    call::{Answer, Call, Reply},
    wire::{answer, long_list::LongList, status::Status},
};
use crate::route::{App, budget::Holders};
use serde::Serialize;
use serde_json::Value;
use std::{future::ready, sync::Arc};

/// The memory for a part: rows, messages and text.
const PART_BYTES: usize = 512 * 1024;

/// A list and the answer around it.
pub(super) trait StreamedList: Send + 'static {
    /// An item in its written form.
    type Item: Serialize + Send + Sync;
    /// The path of the list within the answer.
    const PATH: &'static [&'static str];
    /// True if the rest of the answer is known only once every item was read.
    const READ_FOR_REST: bool;

    /// Reads the next items; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Self::Item>, Status>> + Send;

    /// Returns the answer without its list. The part before the list, in the order of names, never changes.
    fn rest(&self) -> Result<Value, Status>;
}

/// Answers with a list in parts. An error in the first part can still be an answer of its own.
pub(super) async fn answer<L: StreamedList>(call: Call, mut list: L) -> Answer {
    let whole = |rest: &Value| answer::respond(rest, call.standard()).map(Reply::Whole);
    let Some(form) = LongList::find(L::PATH, call.standard()) else {
        while L::READ_FOR_REST && !list.next().await?.is_empty() {}
        return whole(&list.rest()?);
    };
    let patience = call.app.memory_patience();
    let memory = call.app.memory.wait(call.holders, PART_BYTES, patience).await?;
    let first = list.next().await?;
    if first.is_empty() {
        return whole(&list.rest()?);
    }
    let (outgoing, body) = body_writer(call.app.request_timeout);
    let mut part = form.text_before(list.rest()?)?;
    let mut sending = Sending { app: Arc::clone(&call.app), holders: call.holders, form, outgoing };
    sending.form_items(&first, &mut part)?;
    let part = memory.with_bytes(part);
    tokio::spawn(async move {
        if sending.outgoing.send(part, ready(())).await.is_ok() {
            // There is nobody left to tell; the body ends as one that was cut off.
            let _ = sending.send_rest(list).await;
        }
    });
    Ok(Reply::Parts(body))
}

struct Sending {
    app: Arc<App>,
    holders: Holders,
    form: LongList,
    outgoing: BodyWriter,
}

impl Sending {
    fn form_items(&mut self, items: &[impl Serialize], to: &mut Vec<u8>) -> Result<(), Status> {
        items.iter().try_for_each(|item| self.form.write(item, to))
    }

    async fn send_rest<L: StreamedList>(mut self, mut list: L) -> Result<(), Gone> {
        loop {
            let memory = self.app.memory.wait(self.holders, PART_BYTES, self.app.request_timeout).await;
            let memory = memory.map_err(|_| Gone)?;
            let mut part = Vec::new();
            let items = list.next().await.map_err(|status| cut_off_list(&status))?;
            let is_end = items.is_empty();
            self.form_items(&items, &mut part).map_err(|status| cut_off_list(&status))?;
            if is_end {
                let after = list.rest().and_then(|rest| self.form.text_after(rest));
                part = after.map_err(|status| cut_off_list(&status))?;
            }
            drop(items);
            self.outgoing.send(memory.with_bytes(part), ready(())).await?;
            if is_end {
                self.outgoing.end().await;
                return Ok(());
            }
        }
    }
}

fn cut_off_list(status: &Status) -> Gone {
    tracing::warn!(status = status.message(), "a list was cut off");
    Gone
}
