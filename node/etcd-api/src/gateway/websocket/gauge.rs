//! What has arrived of a WebSocket message that is not whole yet, within the room that a port has for such.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::{Arrivals, Room};

/// Bytes of one connection since its last whole message.
#[derive(Clone)]
pub(super) struct Gauge(Arc<Shared>);

struct Shared {
    held: Mutex<Held>,
    full: AtomicBool,
}

struct Held {
    room: Room,
    bytes: usize,
}

impl Gauge {
    pub(super) fn new(arrivals: Arc<Arrivals>) -> Gauge {
        let held = Held {
            room: Room::new(arrivals),
            bytes: 0,
        };
        Gauge(Arc::new(Shared {
            held: Mutex::new(held),
            full: AtomicBool::new(false),
        }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole message was taken.
    pub(super) fn taken(&self) {
        let mut held = self.held();
        held.bytes = 0;
        // Nothing is always to be had.
        let _ = held.room.hold_message(0);
    }

    /// Whether the port had no room for a message.
    pub(super) fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) -> io::Result<()> {
        let mut held = self.held();
        held.bytes += bytes;
        let wanted = held.bytes;
        held.room.hold_message(wanted).map_err(|status| {
            self.0.full.store(true, Ordering::Relaxed);
            io::Error::other(status.message().to_owned())
        })
    }
}

/// A stream that fails once the port has no room for what it brings.
pub(super) struct Gauged<S> {
    stream: S,
    gauge: Gauge,
}

impl<S> Gauged<S> {
    pub(super) fn new(stream: S, gauge: Gauge) -> Gauged<S> {
        Gauged { stream, gauge }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gauged<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = &read {
            self.gauge.add(buffer.filled().len() - before)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gauged<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
