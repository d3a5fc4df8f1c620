//! A connection on its socket: one task that reads, works and writes in turn, asks a silent client whether it is there, and
//! drains when the port closes.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::frame::Violation;
use super::protocol::Protocol;

/// Bytes that are read at a time. They lie on the stack, so that an idle connection has no buffer.
const READ_BYTES: usize = 32 * 1024;

/// A client that does not take what it is sent is not read from beyond this many bytes.
const MAX_BACKLOG_BYTES: usize = 256 * 1024;

/// A buffer that grew beyond this in a busy moment is not kept.
const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// A silent client is asked after the first and given up after the second: five seconds together (sdk-contract 4).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("the client was silent for {} s", (KEEP_ALIVE_INTERVAL + KEEP_ALIVE_TIMEOUT).as_secs())]
    Silent,
}

/// Serves a connection that has begun with HTTP/2's preface, until it ends or `drain` is cancelled and everything that was
/// begun is answered.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    protocol: Protocol,
    drain: &CancellationToken,
) -> Result<(), ConnectionError> {
    let now = Instant::now();
    let mut connection = Connection {
        stream,
        protocol,
        rest: Vec::new(),
        written: 0,
        heard: now,
        asked: false,
        timer: Box::pin(tokio::time::sleep(KEEP_ALIVE_INTERVAL)),
        timer_at: now + KEEP_ALIVE_INTERVAL,
        flushed: true,
    };
    tokio::select! {
        biased;
        ended = std::future::poll_fn(|context| connection.poll(context)) => return ended,
        () = drain.cancelled() => {}
    }
    connection.protocol.drain();
    std::future::poll_fn(|context| connection.poll(context)).await
}

struct Connection<S> {
    stream: S,
    protocol: Protocol,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// Of the protocol's `out`.
    written: usize,
    /// When the client last sent something.
    heard: Instant,
    /// The client was asked whether it is there, and has said nothing since.
    asked: bool,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
    /// What was written was flushed too, which matters to TLS.
    flushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.protocol.register(context);
        loop {
            let mut again = false;
            if self.protocol.out.len() - self.written < MAX_BACKLOG_BYTES {
                match self.poll_read(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => again = true,
                    Poll::Ready(Err(ConnectionError::Violation(broken))) => {
                        self.protocol.give_up(&broken);
                        // As far as the socket takes it: the client may not be reading.
                        let _ = self.poll_write(context);
                        return Poll::Ready(Err(broken.into()));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            self.poll_timer(context)?;
            self.protocol.work();
            let written = self.poll_write(context)?;
            if self.protocol.is_finished() && written.is_ready() {
                ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
                return Poll::Ready(Ok(()));
            }
            again |= written.is_ready() && self.protocol.can_send();
            if !again {
                return Poll::Pending;
            }
        }
    }

    /// Reads once and takes in what was read; 0 at the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, ConnectionError>> {
        let mut storage = [const { MaybeUninit::<u8>::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut storage);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(0));
        }
        (self.heard, self.asked) = (Instant::now(), false);
        if self.rest.is_empty() {
            let taken = self.protocol.receive(read, self.heard)?;
            self.rest.extend_from_slice(&read[taken..]);
        } else {
            self.rest.extend_from_slice(read);
            let taken = self.protocol.receive(&self.rest, self.heard)?;
            self.rest.drain(..taken);
            if self.rest.is_empty() {
                self.rest = Vec::new();
            }
        }
        Poll::Ready(Ok(read.len()))
    }

    /// Writes everything there is; pending while the socket takes no more.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.protocol.out.len() {
            let stream = Pin::new(&mut self.stream);
            match ready!(stream.poll_write(context, &self.protocol.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
            self.flushed = false;
        }
        self.written = 0;
        if self.protocol.out.capacity() > KEPT_BUFFER_BYTES {
            self.protocol.out = Vec::new();
        } else {
            self.protocol.out.clear();
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Keep-alive and deadlines.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionError> {
        if let Some(next) = self.protocol.next_deadline
            && next < self.timer_at
        {
            self.timer_at = next;
            self.timer.as_mut().reset(next.into());
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            self.protocol.expire(now);
            self.protocol.shrink();
            let silence = now.saturating_duration_since(self.heard);
            if self.asked && silence >= KEEP_ALIVE_INTERVAL + KEEP_ALIVE_TIMEOUT {
                return Err(ConnectionError::Silent);
            }
            if !self.asked && silence >= KEEP_ALIVE_INTERVAL {
                self.asked = true;
                self.protocol.ping_client();
            }
            let patience = match self.asked {
                true => KEEP_ALIVE_INTERVAL + KEEP_ALIVE_TIMEOUT,
                false => KEEP_ALIVE_INTERVAL,
            };
            let next = self.heard + patience;
            self.timer_at = self.protocol.next_deadline.map_or(next, |deadline| deadline.min(next));
            self.timer.as_mut().reset(self.timer_at.into());
        }
        Ok(())
    }
}
