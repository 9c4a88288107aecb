//! Connections: each a stream of lines, with replies in order if they were asked for.
//!
//! Invariant: a client that does not read its replies holds up nobody but itself: its connection
//! reads on only while few of its chunks are unanswered, so there is always room for an answer.
//! Whole lines that were read are delivered, a stop or not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::chunker::{CHUNK_BYTES, Chunker};
use super::warnings::Warnings;
use super::{Answer, Kept, Reply, SourceContext, SourceError, SourceStats, TcpConfig};
use crate::base::StreamName;
use crate::net::{Denial, Guard, Input, Output, Scope};

use acknowledge::Streams;

/// The most bytes read at once from a connection.
const READ_BYTES: usize = 64 * 1024;
/// Chunks of one connection that may be unanswered.
const UNANSWERED: usize = 32;
/// A connection that sends so much without a line end is closed.
const MAX_JUNK: u64 = 64 << 20;
/// Waits between attempts to accept after a failure.
const BACK_OFF: [u64; 2] = [10, 1000];
/// Connections over the limit that are being told so at once.
const REFUSALS: usize = 32;
/// How long a client may take to read that it was refused, or its last replies at a stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// The source.
pub(super) struct TcpSource {
    listener: TcpListener,
    address: SocketAddr,
    reply: Reply,
    max_connections: usize,
    shared: Arc<Shared>,
}

/// What connections have in common.
struct Shared {
    context: SourceContext,
    guard: Guard,
    warnings: Warnings,
    next_number: AtomicU64,
    streams: Streams,
    /// Read buffers not in use: idle connections hold none.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl TcpSource {
    /// Binds the port.
    pub(super) fn open(
        config: &TcpConfig,
        context: SourceContext,
    ) -> Result<TcpSource, SourceError> {
        let bind = || {
            let socket = if config.listen.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.set_reuseaddr(true)?;
            // Accepted connections inherit it: a peer that vanished is noticed.
            socket.set_keepalive(true)?;
            socket.bind(config.listen)?;
            let listener = socket.listen(1024)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind().map_err(|error| SourceError::Bind {
            address: config.listen,
            error,
        })?;
        let guard = Guard::open(
            config.listen,
            &config.protection,
            &[],
            Arc::clone(&context.stats.guard),
        )
        .map_err(SourceError::Unusable)?;
        Ok(TcpSource {
            listener,
            address,
            reply: config.reply,
            max_connections: config.max_connections,
            shared: Arc::new(Shared {
                next_number: AtomicU64::new(context.resume.len() as u64),
                streams: Streams::new(&context.resume),
                warnings: context.warnings(),
                buffers: Mutex::new(Vec::new()),
                guard,
                context,
            }),
        })
    }

    /// Where it listens.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until stopped; connections run on until they have seen the stop.
    pub(super) async fn run(self) -> Result<(), SourceError> {
        let shared = &self.shared;
        let context = &shared.context;
        let stats = &context.stats;
        let slots = Arc::new(Semaphore::new(self.max_connections));
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let [mut wait, longest] = BACK_OFF;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = context.stop.cancelled() => return Ok(()),
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: trying at once would spin.
                    stats.accept_errors.fetch_add(1, Ordering::Relaxed);
                    shared.warnings.warn("accept", || {
                        format!("accepting a connection failed, trying again: {error}")
                    });
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                        () = context.stop.cancelled() => return Ok(()),
                    }
                    wait = (wait * 2).min(longest);
                    continue;
                }
            };
            wait = BACK_OFF[0];
            if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                stats.connections_total.fetch_add(1, Ordering::Relaxed);
                let connection = connection(Arc::clone(shared), stream, peer, self.reply, slot);
                (context.spawn)(Box::pin(connection));
            } else {
                stats.refused_connections.fetch_add(1, Ordering::Relaxed);
                let limit = self.max_connections;
                shared.warnings.warn("refused", || {
                    format!("refused {peer}: max_connections = {limit} are open")
                });
                if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                    (context.spawn)(Box::pin(refuse(stream, limit, slot)));
                }
            }
        }
    }
}

/// Says why and closes. What the client sent is read first, else the close would be a reset and
/// take the reason with it.
async fn refuse(mut stream: TcpStream, limit: usize, slot: OwnedSemaphorePermit) {
    let line = format!("{{\"error\":\"too many connections (limit {limit})\"}}\n");
    let tell = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    // Whether it worked concerns the client alone.
    let _ = tokio::time::timeout(PATIENCE, tell).await;
    drop(slot);
}

/// Counts an open connection for as long as it lives.
struct Open(Arc<SourceStats>);

impl Open {
    fn new(stats: &Arc<SourceStats>) -> Open {
        stats.connections.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(stats))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    reply: Reply,
    slot: OwnedSemaphorePermit,
) {
    let _open = Open::new(&shared.context.stats);
    // Without it a reply may wait for the acknowledgement of the one before; it is only slower.
    let _ = stream.set_nodelay(true);
    // On the heap, so that connections that are past it do not carry its room along.
    let admitted = Box::pin(shared.admit(stream, peer));
    let admitted = tokio::select! {
        admitted = admitted => admitted,
        () = shared.context.stop.cancelled() => return,
    };
    let Ok((read, write)) = admitted else {
        return;
    };
    match reply {
        Reply::None => {
            // The other direction stays open until the client closes.
            let mut lines = shared.lines_of(peer);
            shared.read(read, &mut lines, None).await;
            drop(write);
        }
        Reply::Prediction => {
            let (sender, receiver) = mpsc::channel(2 * UNANSWERED);
            let unanswered = Arc::new(Semaphore::new(UNANSWERED));
            let replies = Replies {
                to: Writer::Lines(sender),
                unanswered: Arc::clone(&unanswered),
            };
            let stop = shared.context.stop.clone();
            // When reading ends it lets go of the way to the learner, so that the learner can
            // see its end while the last replies are still being written.
            let reading = async move {
                let mut lines = shared.lines_of(peer);
                shared.read(read, &mut lines, Some(replies)).await;
            };
            let writing = async {
                write_replies(write, receiver, &unanswered, &stop).await;
                // Nobody can be answered any more: the reader waits for nothing.
                unanswered.close();
            };
            tokio::join!(reading, writing);
        }
        Reply::Ack => acknowledge::connection(shared, read, write, peer).await,
    }
    drop(slot);
}

/// The lines of one connection.
struct Lines {
    stream: Arc<StreamName>,
    chunker: Chunker,
    /// Lines of the stream that were handed over.
    count: u64,
    /// Where the last of them ends.
    end: u64,
    /// The stream outlives the connection: its end ends neither the stream nor a line.
    named: bool,
    /// Asks for an end of the connection.
    leave: CancellationToken,
}

/// The reading side's handle on the replies.
struct Replies {
    to: Writer,
    unanswered: Arc<Semaphore>,
}

/// What the writing side of a connection waits for.
enum Writer {
    Lines(mpsc::Sender<Vec<u8>>),
    Entries(mpsc::Sender<Kept>),
}

impl Replies {
    /// Where the answer to a chunk goes that ends with line `lines` of its stream.
    fn answer(&self, lines: u64) -> Answer {
        match &self.to {
            Writer::Lines(to) => Answer::Lines(to.clone()),
            Writer::Entries(to) => Answer::Entry {
                to: to.clone(),
                lines,
            },
        }
    }
}

impl Shared {
    /// The handshake and the token, where they are asked for.
    async fn admit(&self, stream: TcpStream, peer: SocketAddr) -> Result<(Input, Output), Denial> {
        let guard = &self.guard;
        let turned_away = |denial: Denial| {
            self.warnings.warn("denied", || {
                format!("turned {peer} away: {}", denial.as_str())
            });
            denial
        };
        let mut stream = guard.accept(stream).await.map_err(turned_away)?;
        let mut rest = Vec::new();
        if guard.wants_tokens() {
            let asked = guard.ask_token(&mut stream, peer, Scope::Ingest).await;
            rest = asked.map_err(turned_away)?;
        }
        let (read, write) = stream.split();
        if rest.is_empty() {
            return Ok((read, write));
        }
        Ok((Box::new(io::Cursor::new(rest).chain(read)), write))
    }

    /// A connection that is a stream of its own.
    fn lines_of(&self, peer: SocketAddr) -> Lines {
        let context = &self.context;
        Lines {
            stream: Arc::new(StreamName {
                number: self.next_number.fetch_add(1, Ordering::Relaxed),
                name: peer.to_string(),
                identity: Vec::new(),
            }),
            chunker: Chunker::new((context.framer)(), context.max_line, 0),
            count: 0,
            end: 0,
            named: false,
            leave: context.stop.child_token(),
        }
    }

    /// Reads one connection to its end, a stop, or the learner's.
    async fn read(&self, mut input: Input, lines: &mut Lines, replies: Option<Replies>) {
        let context = &self.context;
        let peer = lines.stream.name.clone();
        let Lines {
            stream,
            chunker,
            count,
            end,
            named,
            leave,
        } = lines;
        let mut junk = 0;
        let mut ended = false;
        while !ended {
            if let Some(replies) = &replies {
                // Taken here, given back by the writer when the chunk is answered.
                let permit = tokio::select! {
                    permit = replies.unanswered.acquire() => permit,
                    () = leave.cancelled() => return,
                };
                let Ok(permit) = permit else {
                    return;
                };
                permit.forget();
            }
            while !ended && !chunker.has_lines() {
                let n = tokio::select! {
                    // A reset ends the stream as a close does; whole lines before it count.
                    read = self.read_some(&mut input, chunker) => read.unwrap_or(0),
                    () = leave.cancelled() => return,
                };
                context.count_read(n, chunker);
                ended = n == 0;
                junk = if chunker.has_lines() {
                    0
                } else {
                    junk + n as u64
                };
                if junk >= MAX_JUNK {
                    context
                        .stats
                        .junk_connections
                        .fetch_add(1, Ordering::Relaxed);
                    self.warnings.warn("junk", || {
                        format!("closed {peer}: 64 MiB without a line end")
                    });
                    ended = true;
                }
            }
            if ended && *named {
                // The client sends an unfinished line again.
                if !chunker.has_lines() {
                    return;
                }
            } else if ended {
                chunker.finish();
            }
            let now = context.clock.now();
            let last = ended && !*named;
            let chunk = chunker.take(context.index, now, Arc::clone(stream), last);
            *count += chunk.lines.len() as u64;
            *end = chunk.end;
            let reply = replies.as_ref().map(|r| r.answer(*count));
            if context.deliver_unrepeatable(chunk, reply).await.is_err() {
                return;
            }
        }
    }

    /// Reads what there is, up to about a chunk (each wakes the learner and the writer of replies
    /// once), with a buffer that is borrowed only while there is something to read.
    async fn read_some(&self, input: &mut Input, chunker: &mut Chunker) -> io::Result<usize> {
        std::future::poll_fn(|context| {
            let pooled = self.buffers().pop();
            let mut buffer = pooled.unwrap_or_else(|| vec![0; READ_BYTES]);
            let result = read_available(input, context, &mut buffer, chunker);
            self.buffers().push(buffer);
            result
        })
        .await
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until there is nothing more for now, or enough for a chunk. Bytes read; 0 at the end.
fn read_available(
    input: &mut Input,
    context: &mut Context<'_>,
    buffer: &mut [u8],
    chunker: &mut Chunker,
) -> Poll<io::Result<usize>> {
    let mut total = 0;
    loop {
        let mut read = ReadBuf::new(buffer);
        match Pin::new(&mut *input).poll_read(context, &mut read) {
            Poll::Ready(Ok(())) => {
                let read = read.filled();
                chunker.push(read);
                total += read.len();
                let n = read.len();
                if n < READ_BYTES || total + READ_BYTES > CHUNK_BYTES {
                    return Poll::Ready(Ok(total));
                }
            }
            // A failure comes back at the next read, as its error or as the end.
            _ if total > 0 => return Poll::Ready(Ok(total)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Writes replies until everyone who could send one is gone, then closes.
async fn write_replies(
    mut output: Output,
    mut receiver: mpsc::Receiver<Vec<u8>>,
    unanswered: &Semaphore,
    stop: &CancellationToken,
) {
    while let Some(batch) = receiver.recv().await {
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        let write = async {
            output.write_all(&batch).await?;
            output.flush().await
        };
        let written = tokio::select! {
            written = write => written.is_ok(),
            () = stopped => false,
        };
        if !written {
            return;
        }
        if unanswered.available_permits() < UNANSWERED {
            unanswered.add_permits(1);
        }
    }
    // The client may be gone already.
    let _ = output.shutdown().await;
}

mod acknowledge;
#[cfg(test)]
mod tests;
