//! The body of an answer that is written while it is sent.

use axum::body::{Body, Bytes};
use futures_util::stream;
use std::{io, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Where the parts of a body go.
pub(super) struct Outgoing {
    parts: mpsc::Sender<Part>,
    pause: Duration,
}

enum Part {
    Bytes(Bytes),
    End,
}

/// The client is gone, or takes nothing any more.
#[derive(Debug)]
pub(super) struct Gone;

/// A body and where to write it. The client may pause for so long before it takes the next part.
pub(super) fn outgoing(pause: Duration) -> (Outgoing, Body) {
    let (parts, receiver) = mpsc::channel(1);
    let next = async |mut receiver: mpsc::Receiver<Part>| match receiver.recv().await {
        Some(Part::Bytes(bytes)) => Some((Ok(bytes), receiver)),
        Some(Part::End) => None,
        // So that nobody takes a part for the whole.
        None => Some((Err(io::Error::other("the answer could not be finished")), receiver)),
    };
    (Outgoing { parts, pause }, Body::from_stream(stream::unfold(receiver, next)))
}

impl Outgoing {
    /// Sends a part; until `unhurried` is over, the client may take any time.
    pub(super) async fn send(&self, bytes: Bytes, unhurried: impl Future<Output = ()>) -> Result<(), Gone> {
        let place = tokio::select! {
            place = self.parts.reserve() => place,
            () = unhurried => timeout(self.pause, self.parts.reserve()).await.map_err(|_| Gone)?,
        };
        place.map_err(|_| Gone)?.send(Part::Bytes(bytes));
        Ok(())
    }

    /// Says that this was all. A body that is dropped without it is an error on the client's side.
    pub(super) async fn end(self) {
        // If the client is gone, nobody is left to tell.
        let _ = timeout(self.pause, self.parts.send(Part::End)).await;
    }
}
