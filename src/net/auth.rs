//! The first line of a plain stream where tokens are asked for: `AUTH TOKEN`.
//!
//! Invariant: not a byte after that line is lost, not one before it is data, and nobody holds a
//! connection by saying nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stats::Denial;
use super::stream::Stream;
use super::{Guard, Scope, tokens};

/// How long a client may take to say who it is, and to hear that it may not.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest first line.
const MOST_BYTES: usize = "AUTH \r\n".len() + tokens::MOST_BYTES;

impl Guard {
    /// Asks for the token of a connection that will do what takes this scope; what came after its
    /// line is returned. Whoever has none is told so and counted; the connection is to be closed.
    pub async fn ask_token(
        &self,
        stream: &mut Stream,
        peer: SocketAddr,
        scope: Scope,
    ) -> Result<Vec<u8>, Denial> {
        let mut bytes = Vec::new();
        let line = tokio::time::timeout(WITHIN, first_line(stream, &mut bytes)).await;
        let Ok(line) = line else {
            self.stats().count(Denial::Timeout);
            refuse(stream, "ERR no AUTH line in time\n").await;
            return Err(Denial::Timeout);
        };
        let token = line.and_then(|end| {
            let line = bytes[..end].strip_suffix(b"\n")?;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.strip_prefix(b"AUTH ")
        });
        let allowed = self.allow(peer.ip(), token, scope);
        if let Err(denial) = allowed {
            let answer = match denial {
                Denial::Throttled => "ERR too many wrong tokens, try again in a minute\n",
                Denial::Forbidden => "ERR forbidden\n",
                _ => "ERR unauthorized\n",
            };
            bytes.clear();
            refuse(stream, answer).await;
            return Err(denial);
        }
        // A client that is gone already is noticed by who reads on.
        drop(stream.write_all(b"OK\n").await);
        drop(stream.flush().await);
        Ok(bytes.split_off(line.unwrap_or(0)))
    }
}

/// Reads until the first line has ended: where it ends; `None` if it does not.
async fn first_line(stream: &mut Stream, bytes: &mut Vec<u8>) -> Option<usize> {
    let mut buffer = [0; MOST_BYTES];
    loop {
        if let Some(end) = memchr::memchr(b'\n', bytes) {
            return Some(end + 1);
        }
        if bytes.len() >= MOST_BYTES {
            return None;
        }
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
    }
}

/// Says why and closes; what the client still sends is read, else the close would be a reset and
/// take the reason with it.
async fn refuse(stream: &mut Stream, answer: &str) {
    let tell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // Whether it worked concerns the client alone.
    let _ = tokio::time::timeout(WITHIN, tell).await;
}
