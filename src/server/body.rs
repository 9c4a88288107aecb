//! The body of a request: lines, as they are or compressed with gzip.
//!
//! Invariant: at most 8 MiB are read and 32 MiB unpacked, and a client that sends slowly is told so
//! within the minute: nothing is allocated because a header announces it.

use std::io::Read as _;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::error;
use super::serve::Caller;
use crate::net::Denial;

/// Bytes of a body as it comes.
const MOST_BYTES: usize = 8 << 20;
/// Bytes of a body unpacked.
const MOST_UNPACKED: u64 = 32 << 20;
/// How long a body may take in all.
const WITHIN: Duration = Duration::from_mins(1);
/// How long before the rate counts.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes that come in each second after that, at least.
const BYTES_PER_SECOND: u64 = 1024;

/// The lines of a body.
pub(super) struct Lines(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Lines {
    type Rejection = Response;

    async fn from_request(request: Request, _state: &S) -> Result<Lines, Response> {
        let headers = request.headers();
        let Some(packed) = packed(headers) else {
            let message = "Content-Encoding is gzip, once, or nothing";
            return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        };
        if !is_text(headers) {
            let message = "the body is lines of text: Content-Type: application/x-ndjson";
            return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let caller = request.extensions().get::<Caller>().cloned();
        let read = read(request.into_body()).await;
        if let (Err(Broken::Slow), Some(caller)) = (&read, caller) {
            caller.guard.stats().count(Denial::Timeout);
        }
        let bytes = read.map_err(Broken::answer)?;
        if !packed {
            return Ok(Lines(bytes));
        }
        // Unpacking takes its time; other requests go on meanwhile.
        let unpacked = tokio::task::block_in_place(|| unpack(&bytes));
        unpacked.map(Lines).map_err(Broken::answer)
    }
}

/// What can go wrong with a body.
#[derive(Debug, PartialEq)]
enum Broken {
    TooLong,
    Slow,
    CutOff,
    Damaged,
}

impl Broken {
    fn answer(self) -> Response {
        let (status, message) = match self {
            Broken::TooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than 8 MiB, or 32 MiB unpacked; send it in parts",
            ),
            Broken::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time: a minute in all, 1 KiB a second at least",
            ),
            Broken::CutOff => (StatusCode::BAD_REQUEST, "the body was cut off"),
            Broken::Damaged => (StatusCode::BAD_REQUEST, "the body is not whole gzip"),
        };
        let mut response = error(status, message);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        response
    }
}

/// Whether the body is packed with gzip; `None` if in some other way.
fn packed(headers: &HeaderMap) -> Option<bool> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map(|e| e.as_bytes().trim_ascii());
    match (encoding, encodings.next()) {
        (None, _) => Some(false),
        (Some(e), None) if e.eq_ignore_ascii_case(b"identity") => Some(false),
        (Some(e), None) if e.eq_ignore_ascii_case(b"gzip") => Some(true),
        _ => None,
    }
}

/// Whether the body can be lines. What `curl -d` says by default passes.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let kind = kind.as_bytes().split(|b| *b == b';').next().unwrap_or(b"");
    let kind = kind.trim_ascii().to_ascii_lowercase();
    kind.starts_with(b"text/")
        || matches!(
            kind.as_slice(),
            b"application/json"
                | b"application/x-ndjson"
                | b"application/ndjson"
                | b"application/jsonl"
                | b"application/octet-stream"
                | b"application/x-www-form-urlencoded"
        )
}

async fn read<B>(mut body: B) -> Result<Vec<u8>, Broken>
where
    B: hyper::body::Body<Data = hyper::body::Bytes> + Unpin,
{
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(Broken::TooLong);
    }
    let start = Instant::now();
    let mut bytes = Vec::new();
    loop {
        let earned = Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
        let deadline = start + (GRACE + earned).min(WITHIN);
        let frame = tokio::time::timeout_at(deadline, body.frame()).await;
        match frame.map_err(|_| Broken::Slow)? {
            None => return Ok(bytes),
            Some(Err(_)) => return Err(Broken::CutOff),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if bytes.len() + data.len() > MOST_BYTES {
                        return Err(Broken::TooLong);
                    }
                    bytes.extend_from_slice(&data);
                }
            }
        }
    }
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(MOST_UNPACKED + 1)
        .read_to_end(&mut out)
        .map_err(|_| Broken::Damaged)?;
    if out.len() as u64 > MOST_UNPACKED {
        return Err(Broken::TooLong);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use hyper::body::{Bytes, Frame};
    use std::io::Write as _;
    use tokio_stream::StreamExt as _;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_whole_or_refused() {
        let one = gzip(b"{}\n");
        assert_eq!(unpack(&one).unwrap(), b"{}\n");
        assert_eq!(
            unpack(&[one.clone(), one.clone()].concat()).unwrap(),
            b"{}\n{}\n"
        );
        for cut in 0..one.len() {
            assert_eq!(unpack(&one[..cut]), Err(Broken::Damaged), "{cut}");
        }
        assert_eq!(unpack(&[&one[..], b"junk"].concat()), Err(Broken::Damaged));
        let mut wrong_sum = one.clone();
        let at = wrong_sum.len() - 6;
        wrong_sum[at] ^= 1;
        assert_eq!(unpack(&wrong_sum), Err(Broken::Damaged));
    }

    #[test]
    fn a_bomb_is_given_up_at_the_limit() {
        let bomb = gzip(&vec![b' '; MOST_UNPACKED as usize + 1]);
        assert!(bomb.len() < 1 << 16);
        assert_eq!(unpack(&bomb), Err(Broken::TooLong));
    }

    /// A client that sends so many bytes every second, for ever.
    fn trickle(bytes: usize) -> axum::body::Body {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        drop(tokio::runtime::Handle::current().spawn(async move {
            while sender.send(vec![b'x'; bytes].into()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }));
        let frames = tokio_stream::wrappers::ReceiverStream::new(receiver)
            .map(|bytes| Ok::<_, std::convert::Infallible>(Frame::data(bytes)));
        axum::body::Body::new(http_body_util::StreamBody::new(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_cut_off_by_its_rate_and_any_within_a_minute() {
        for (rate, seconds) in [(1, 10), (200, 12), (2048, 60)] {
            let start = Instant::now();
            assert_eq!(read(trickle(rate)).await, Err(Broken::Slow));
            assert_eq!(start.elapsed().as_secs(), seconds, "{rate}");
        }
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_beyond_is_not() {
        let at = axum::body::Body::from(vec![b'x'; MOST_BYTES]);
        assert_eq!(read(at).await.unwrap().len(), MOST_BYTES);
        let beyond = axum::body::Body::from(vec![b'x'; MOST_BYTES + 1]);
        assert_eq!(read(beyond).await, Err(Broken::TooLong));
    }
}
