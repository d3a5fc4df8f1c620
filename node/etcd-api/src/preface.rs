//! A client's first words: which HTTP it speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::http2::PREFACE;

/// A client's first bytes, as far as they tell which HTTP it speaks.
pub(crate) struct Words {
    bytes: [u8; PREFACE.len()],
    length: usize,
}

/// Reads until it is clear which HTTP the client speaks, or until it ends. Whoever calls this sets a limit.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Words> {
    let mut words = Words {
        bytes: [0; PREFACE.len()],
        length: 0,
    };
    while words.length < PREFACE.len() && PREFACE.starts_with(&words.bytes[..words.length]) {
        match stream.read(&mut words.bytes[words.length..]).await? {
            0 => break,
            read => words.length += read,
        }
    }
    Ok(words)
}

impl Words {
    /// HTTP/2, whose preface was taken off by reading it.
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
        let left = &self.words.bytes[self.given..self.words.length];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..length]);
        self.given += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
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
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn both_versions_are_told_apart_however_the_words_come_and_nothing_is_lost() {
        for (words, http2) in [
            (&PREFACE[..], true),
            (b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", false),
            (b"PRI /health HTTP/1.1\r\nhost: x\r\n\r\n", false),
            (b"PRI", false),
            (b"", false),
        ] {
            let (mut client, mut server) = duplex(1);
            let talking = async {
                client.write_all(words).await.expect("room");
                drop(client);
            };
            let listening = async {
                let heard = read(&mut server).await.expect("words");
                assert_eq!(heard.is_http2(), http2);
                let mut all = Vec::new();
                heard.before(server).read_to_end(&mut all).await.expect("the rest");
                assert_eq!(all, words);
            };
            tokio::join!(talking, listening);
        }
    }
}
