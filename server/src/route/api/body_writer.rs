//! The body of an answer that is written while it is sent.

use axum::body::{Body, Bytes};
use futures_util::stream;
use std::{io, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// The sender of a body's parts.
pub(super) struct BodyWriter {
    parts: mpsc::Sender<Part>,
    pause: Duration,
}

enum Part {
    Bytes(Bytes),
    End,
}

/// The error if the client is gone, or takes nothing any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Makes a body and its sender. The client may pause for this long before it takes the next part.
pub(super) fn body_writer(pause: Duration) -> (BodyWriter, Body) {
    let (parts, receiver) = mpsc::channel(1);
    let next = async |mut receiver: mpsc::Receiver<Part>| match receiver.recv().await {
        Some(Part::Bytes(bytes)) => Some((Ok(bytes), receiver)),
        Some(Part::End) => None,
        // Otherwise a part could be taken for the whole.
        None => Some((Err(io::Error::other("the answer could not be finished")), receiver)),
    };
    (BodyWriter { parts, pause }, Body::from_stream(stream::unfold(receiver, next)))
}

impl BodyWriter {
    /// Sends a part; until `unhurried` is over, the client may take any time.
    pub(super) async fn send(&self, bytes: Bytes, unhurried: impl Future<Output = ()>) -> Result<(), Gone> {
        let place = tokio::select! {
            place = self.parts.reserve() => place,
            () = unhurried => timeout(self.pause, self.parts.reserve()).await.map_err(|_| Gone)?,
        };
        place.map_err(|_| Gone)?.send(Part::Bytes(bytes));
        Ok(())
    }

    /// Marks the end of the body. A body that is dropped without it is an error on the client's side.
    pub(super) async fn end(self) {
        // If the client is gone, there is nobody left to tell.
        let _ = timeout(self.pause, self.parts.send(Part::End)).await;
    }
}
