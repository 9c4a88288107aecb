//! A connection, encrypted or not, and its two directions.
//!
//! Invariant: a client that begins to speak TLS on a plain port is heard no further: its bytes are
//! nobody's data.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::stats::{Denial, GuardStats};

/// What comes in.
pub type Input = Box<dyn AsyncRead + Send + Unpin>;
/// What goes out.
pub type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// How a TLS connection begins: a handshake record of version 3.
const TLS_BEGINS: &[u8] = &[0x16, 0x03];

/// A connection that may speak.
pub enum Stream {
    /// As it is.
    Plain(Plain<TcpStream>),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A reader that listens for TLS in the first bytes.
pub struct Plain<S> {
    inner: S,
    stats: Arc<GuardStats>,
    fresh: bool,
}

impl<S> Plain<S> {
    pub(super) fn new(inner: S, stats: Arc<GuardStats>) -> Plain<S> {
        Plain {
            inner,
            stats,
            fresh: true,
        }
    }
}

impl Stream {
    /// Its two directions.
    pub fn split(self) -> (Input, Output) {
        match self {
            Stream::Plain(plain) => {
                let (read, write) = plain.inner.into_split();
                let read = Plain {
                    inner: read,
                    stats: plain.stats,
                    fresh: plain.fresh,
                };
                (Box::new(read), Box::new(write))
            }
            Stream::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (Box::new(read), Box::new(write))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Plain<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if self.fresh && buffer.filled().len() > before {
            self.fresh = false;
            if buffer.filled()[before..].starts_with(TLS_BEGINS) {
                buffer.set_filled(before);
                self.stats.count(Denial::Tls);
                let error = "this port does not speak TLS";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(&mut stream.inner).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(&mut stream.inner).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(&mut stream.inner).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
