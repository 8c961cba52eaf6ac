//! The stream of a connection, below TLS: it holds little memory until it is given more, it ends when another
//! connection gets its place, and it closes such that the last answer arrives.

use super::connections::{self, Link, Place};
use crate::route::{Counted, Reservation};
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// The number of bytes that may arrive before a request, and as part of one, without further memory. That is
/// ample for a TLS handshake with a client certificate, and for most messages of devices.
const SMALL_BYTES: usize = 8 * 1024;
/// The most memory that the buffers of a connection take to which more arrives: a message of a TLS handshake,
/// with the head of a request.
const LARGE_BYTES: usize = 64 * 1024 + super::CONNECTION_BUFFER_BYTES;
/// The time after an answer in which the client may go on sending: a connection that is closed before all of it
/// is read is reset, and the answer may be lost (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// The stream of a connection.
pub(super) struct Stream {
    tcp: TcpStream,
    link: Arc<Link>,
    buffers: Buffers,
    lingers: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

/// The memory for the buffers of a connection.
enum Buffers {
    /// As much as every connection has.
    Small(connections::Buffers),
    Waiting(BoxFuture<'static, Option<Reservation>>),
    /// Held until the end of the connection: buffers that have grown stay as they are.
    Large {
        _memory: Reservation,
    },
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, place: &Place, counted: Counted) -> Self {
        let (link, buffers) = (place.link().clone(), Buffers::Small(place.buffers()));
        Self { tcp, link, buffers, lingers: None, _counted: counted }
    }

    /// Refuses to go on once another connection has the place: an answer that its client does not read must not
    /// stay in memory uncounted.
    fn check_place(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.link.poll_ended(cx) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "another connection has its place or its memory",
            ));
        }
        Ok(())
    }

    /// Waits for memory, if more has arrived than a small connection may hold. Returns the number of bytes that
    /// may be read now.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.buffers {
                Buffers::Small(way) => {
                    let left = SMALL_BYTES.saturating_sub(self.link.received_bytes());
                    if left > 0 {
                        return Poll::Ready(Ok(left));
                    }
                    self.buffers = Buffers::Waiting(way.clone().grow(LARGE_BYTES).boxed());
                }
                Buffers::Waiting(memory) => {
                    let Some(memory) = ready!(memory.poll_unpin(cx)) else {
                        let full = "no memory is left for its buffers";
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, full)));
                    };
                    self.buffers = Buffers::Large { _memory: memory };
                }
                Buffers::Large { .. } => return Poll::Ready(Ok(usize::MAX)),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.link.poll_ended(cx) {
            // As if the client had closed it.
            return Poll::Ready(Ok(()));
        }
        let room = ready!(this.poll_room(cx))?;
        if room >= buf.remaining() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
            this.link.receive(buf.filled().len() - before);
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
            ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut part))?;
            let received = part.filled().len();
            buf.advance(received);
            this.link.receive(received);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_place(cx)?;
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf))?;
        self.link.note_progress(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_place(cx)?;
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs))?;
        self.link.note_progress(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    /// Says that nothing more is sent, and then discards what still arrives, until the client closes or the
    /// time is over.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.tcp).poll_shutdown(cx))?;
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut rest = [0; 4096];
        loop {
            if this.link.poll_ended(cx) || lingers.poll_unpin(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut part = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut part)) {
                Ok(()) if !part.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
