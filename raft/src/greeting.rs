//! A deadline for a client's first words.
//!
//! The one of every port of a node: peers, KV, console. Telling HTTP/1 from HTTP/2 takes up to 24 bytes, and hyper waits for them without a limit: a client that connects and
//! says nothing, or stops within them, would hold its place for ever. Once they are there, hyper's own deadlines take over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Length of the HTTP/2 preface; no HTTP/1.1 request is shorter.
const GREETING_BYTES: usize = 24;

/// A stream whose reads fail with [`io::ErrorKind::TimedOut`] if the first 24 bytes of the client are not there in time.
/// Later silence is not its business.
pub struct Greeting<S> {
    stream: S,
    heard_bytes: usize,
    /// `None` once the greeting was heard.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Greeting<S> {
    /// Gives the client `limit` from now for its first bytes. Must be called within a tokio runtime with a timer.
    pub fn within(limit: Duration, stream: S) -> Greeting<S> {
        Greeting {
            stream,
            heard_bytes: 0,
            deadline: Some(Box::pin(tokio::time::sleep(limit))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = &mut self.deadline else {
            return read;
        };
        if read.is_pending() {
            return deadline.as_mut().poll(context).map(|()| {
                let reason = "the client did not begin a request in time";
                Err(io::Error::new(io::ErrorKind::TimedOut, reason))
            });
        }
        self.heard_bytes += buffer.filled().len() - before;
        if self.heard_bytes >= GREETING_BYTES {
            self.deadline = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn silence_times_out_and_a_greeting_lifts_the_deadline() {
        let limit = Duration::from_millis(20);
        let (_silent, server) = duplex(64);
        let error = Greeting::within(limit, server).read_u8().await.expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut client, server) = duplex(64);
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("room");
        let mut greeted = Greeting::within(limit, server);
        greeted
            .read_exact(&mut [0; GREETING_BYTES])
            .await
            .expect("the greeting");
        let silence = tokio::time::timeout(limit * 4, greeted.read_u8()).await;
        assert!(silence.is_err(), "who has spoken is not cut off by this deadline");
    }
}
