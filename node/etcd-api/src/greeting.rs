//! A client's first words: which HTTP it speaks, and a deadline for them.
//!
//! Telling HTTP/1 from HTTP/2 takes up to 24 bytes: a client that connects and says nothing, or stops within them, would hold
//! its place for ever. Once they are there, the deadlines of its protocol take over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::http2::PREFACE;

/// Length of the HTTP/2 preface; no HTTP/1.1 request is shorter.
const GREETING_BYTES: usize = PREFACE.len();

/// A client's first bytes, as far as they tell which HTTP it speaks.
pub(crate) struct Words {
    bytes: [u8; GREETING_BYTES],
    length: usize,
}

/// Reads until it is clear which HTTP the client speaks, or until it ends.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Words> {
    let mut words = Words {
        bytes: [0; GREETING_BYTES],
        length: 0,
    };
    while words.length < GREETING_BYTES && PREFACE.starts_with(&words.bytes[..words.length]) {
        match stream.read(&mut words.bytes[words.length..]).await? {
            0 => break,
            read => words.length += read,
        }
    }
    Ok(words)
}

impl Words {
    /// HTTP/2, whose preface is taken off by this.
    pub(crate) fn is_http2(&self) -> bool {
        self.bytes == *PREFACE
    }

    /// The stream with the words before it again.
    pub(crate) fn before<S>(self, stream: S) -> Begun<S> {
        Begun {
            stream,
            words: self,
            given: 0,
        }
    }
}

/// A stream whose first bytes were read once already.
pub(crate) struct Begun<S> {
    stream: S,
    words: Words,
    /// Of the words.
    given: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let given = self.given;
        let left = &self.words.bytes[given..self.words.length];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..length]);
        self.given += length;
        Poll::Ready(Ok(()))
    }
}

/// A stream whose reads fail with [`io::ErrorKind::TimedOut`] if the greeting is not there in time.
pub(crate) struct Greeting<S> {
    stream: S,
    heard_bytes: usize,
    /// `None` once the greeting was heard.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Greeting<S> {
    /// The stream without a deadline.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    pub(crate) fn within(limit: Duration, stream: S) -> Greeting<S> {
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

macro_rules! write_through {
    ($stream:ident) => {
        impl<S: AsyncWrite + Unpin> AsyncWrite for $stream<S> {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
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
    };
}

write_through!(Greeting);
write_through!(Begun);

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
