//! The bytes of a connection on their way out: refusals that the HTTP library writes by itself get
//! a body like all the others, and a client that reads nothing is given up.
//!
//! Invariant: everything else passes unchanged.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may take none of an answer.
const STALLED: Duration = Duration::from_mins(1);

/// A connection.
pub(super) struct Wire<S> {
    inner: S,
    /// What stands in for a refusal of the library's, and how much of it is written.
    own: Vec<u8>,
    written: usize,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub(super) fn new(inner: S) -> Wire<S> {
        Wire {
            inner,
            own: Vec::new(),
            written: 0,
            stalled: None,
        }
    }
}

/// A whole refusal.
pub(super) fn answer(status: u16, message: &str) -> Vec<u8> {
    let reason = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let body = format!("{}\n", serde_json::json!({ "error": message }));
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What to write instead of a refusal without a body; our own routes make none.
fn with_body(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.strip_prefix(b"HTTP/1.1 ")?;
    let (status, message) = match head.first_chunk::<3>()? {
        b"400" => (400, "this is not a request as HTTP has it"),
        b"414" => (414, "the path is too long"),
        b"431" => (431, "the header has more than 64 lines or 16 KiB"),
        _ => return None,
    };
    let alone = bytes.ends_with(b"\r\n\r\n")
        && memchr::memmem::find(bytes, b"\r\ncontent-length: 0\r\n").is_some();
    alone.then(|| answer(status, message))
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes bytes, for as long as the client takes any.
    fn poll_pass(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.own.len() {
            let own = std::mem::take(&mut self.own);
            let passed = self.poll_pass(context, &own[self.written..]);
            self.own = own;
            let n = ready!(passed)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_own(context))?;
        if let Some(own) = with_body(bytes) {
            (self.own, self.written) = (own, 0);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_pass(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn through(bytes: &[u8]) -> String {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(near);
        wire.write_all(bytes).await.unwrap();
        wire.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_refusal_without_a_body_gets_one_and_nothing_else_does() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        assert!(through(bare.as_bytes()).await.ends_with("16 KiB\"}\n"));
        let ours = "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(through(ours.as_bytes()).await, ours);
        assert_eq!(through(b"data").await, "data");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (near, far) = tokio::io::duplex(16);
        let mut wire = Wire::new(near);
        let error = wire.write_all(&[b'x'; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }
}
