//! Connections: accepted up to a limit, each served one request after the other.
//!
//! Invariant: no client holds a connection by being slow: handshake, header, body and the reading of
//! answers each have their time, and whoever is turned away is counted and told why where it can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_service::Service as _;

use super::Server;
use super::wire::{self, Wire};
use crate::engine::Handle;
use crate::net::{Denial, Guard, Stream};
use crate::telemetry::Metrics;

/// How long a header may take: the first counted from accept, the next from the answer before, so
/// that a connection is idle no longer either.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a header, and of its lines in number.
const HEADER_BYTES: usize = 16 * 1024;
const HEADER_LINES: usize = 64;
/// Bytes that a connection buffers.
const BUFFER: usize = 64 * 1024;
/// How long what a client still sends is read after the last answer, so that the answer arrives.
const LINGER: Duration = Duration::from_secs(2);
/// Connections over the limit that are being told so at once.
const REFUSALS: usize = 32;
/// Waits between attempts to accept after a failure.
const BACK_OFF: [u64; 2] = [10, 1000];

/// Who asks, for the routes.
#[derive(Clone)]
pub(super) struct Caller {
    /// From where.
    pub peer: SocketAddr,
    /// Through which port.
    pub guard: Arc<Guard>,
}

/// What connections have in common.
struct Shared {
    routes: Router,
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
    handle: Handle,
}

/// Accepts until the engine has ended.
pub(super) async fn run(server: Server, handle: Handle) -> std::io::Result<()> {
    let guard = Arc::new(server.guard);
    let (for_routes, metrics) = (Arc::clone(&guard), Arc::clone(&server.metrics));
    let routes = super::routes(handle.clone(), for_routes, metrics);
    let listener = TcpListener::from_std(server.listener)?;
    let mut stopped = Box::pin(handle.stopped());
    let slots = Arc::new(Semaphore::new(server.max_connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let shared = Arc::new(Shared {
        routes,
        guard,
        metrics: server.metrics,
        handle,
    });
    let [mut wait, longest] = BACK_OFF;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying at once would spin.
                tracing::warn!(%error, "accepting an HTTP connection failed, trying again");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                    () = &mut stopped => return Ok(()),
                }
                wait = (wait * 2).min(longest);
                continue;
            }
        };
        wait = BACK_OFF[0];
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            Arc::clone(&shared).handle.spawn(Box::pin(async move {
                let open = Open::new(&shared.metrics);
                connection(&shared, stream, peer).await;
                drop((slot, open));
            }));
        } else {
            shared.guard.stats().count(Denial::Limit);
            // Whom a handshake would be needed for is not told.
            if !shared.guard.speaks_tls()
                && let Ok(slot) = Arc::clone(&refusals).try_acquire_owned()
            {
                shared.handle.spawn(Box::pin(async move {
                    let answer = wire::answer(503, "too many connections");
                    tell_and_close(stream, &answer).await;
                    drop(slot);
                }));
            }
        }
    }
}

/// Counts an open connection for as long as it lives.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Open {
        metrics.program.server_connections.inc();
        Open(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.program.server_connections.dec();
    }
}

async fn connection(shared: &Shared, stream: TcpStream, peer: SocketAddr) {
    let deadline = Instant::now() + HEADER_WITHIN;
    // Without it an answer may wait for the acknowledgement of the one before; it is only slower.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = shared.guard.accept(stream).await else {
        return;
    };
    let begun = Arc::new(AtomicBool::new(false));
    let caller = Caller {
        peer,
        guard: Arc::clone(&shared.guard),
    };
    let service = service_fn({
        let (begun, routes) = (Arc::clone(&begun), shared.routes.clone());
        move |mut request: Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(caller.clone());
            // A router is always ready.
            routes.clone().call(request.map(Body::new))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_headers(HEADER_LINES)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(BUFFER)
        .half_close(true);
    let mut serving = http.serve_connection(TokioIo::new(Wire::new(stream)), service);
    let mut stopped = Box::pin(shared.handle.stopped());
    let mut stopping = false;
    let mut first = true;
    let timed_out = loop {
        tokio::select! {
            // First, since the library's own timer may end a silent connection in the same moment,
            // without an error.
            biased;
            () = tokio::time::sleep_until(deadline), if first => {
                first = false;
                if !begun.load(Ordering::Relaxed) {
                    break true;
                }
            }
            ended = &mut serving => match ended {
                Ok(()) => break false,
                Err(error) if error.is_timeout() => break true,
                Err(error) => {
                    if error.is_parse() {
                        shared.guard.stats().count(Denial::Protocol);
                    }
                    tracing::debug!(%error, %peer, "an HTTP connection ended");
                    break false;
                }
            },
            () = &mut stopped, if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut serving).graceful_shutdown();
            }
        }
    };
    let parts = serving.into_parts();
    let mut wire: Wire<Stream> = parts.io.into_inner();
    let mut answer = Vec::new();
    // A connection that was idle is closed without a word: a client that asks just then would take
    // it for the answer.
    if timed_out && (!parts.read_buf.is_empty() || !begun.load(Ordering::Relaxed)) {
        shared.guard.stats().count(Denial::Timeout);
        answer = wire::answer(408, "the request's header did not come in time");
    }
    tell_and_close(&mut wire, &answer).await;
}

/// Writes what is left to say and closes. What the client still sends is read for a while, else the
/// close would be a reset and take the answer with it.
async fn tell_and_close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) {
    let close = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // Whether it worked concerns the client alone.
    let _ = tokio::time::timeout(LINGER, close).await;
}
