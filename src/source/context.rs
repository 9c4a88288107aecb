//! What the engine gives a source and what it gets back: the one door between them.
//!
//! Invariant: a delivery is sent once and in order; a source that could not send it has not moved
//! its position.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::SourceKind;
use super::chunker::Chunker;
use super::http::{Intake, Request};
use super::warnings::Warnings;
use crate::base::{Chunk, Clock, Framer};
use crate::net::{GuardStats, Unusable};

/// A future that a task is made of.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts a task that the engine keeps track of; sources never spawn themselves.
pub type Spawner = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// One chunk on its way to the learner.
#[derive(Debug)]
pub struct Delivery {
    /// The lines.
    pub chunk: Chunk,
    /// Who waits for an answer.
    pub reply: Option<Answer>,
}

/// Where the answer to a chunk goes: the connection's writer. It is sent one for each delivery,
/// an empty one if there is nothing to say: that is what lets the connection read on. There is
/// always room for it, so `try_send` is enough.
#[derive(Debug)]
pub enum Answer {
    /// Lines, one for each that is not blank.
    Lines(mpsc::Sender<Vec<u8>>),
    /// Where the chunk is in the ledger.
    Entry {
        /// The connection's writer.
        to: mpsc::Sender<Kept>,
        /// Lines of the stream with this chunk.
        lines: u64,
    },
    /// What became of a body.
    Outcome(Request),
}

/// Lines that can be acknowledged once an entry of the ledger is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number of the entry.
    pub entry: u64,
    /// Lines of the stream up to its end.
    pub lines: u64,
}

/// A stream that the snapshot remembers. Its place in the list is its [`StreamName::number`]
/// for as long as the process runs; streams not seen before are numbered after the list.
///
/// [`StreamName::number`]: crate::base::StreamName::number
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// As the stream's last chunk had it.
    pub identity: Vec<u8>,
    /// The last chunk's `end`.
    pub offset: u64,
    /// Lines up to there.
    pub lines: u64,
    /// The last chunk was the stream's last.
    pub finished: bool,
}

/// Counters of one source, read by telemetry.
#[derive(Debug, Default)]
pub struct SourceStats {
    /// Bytes read (decompressed).
    pub bytes: AtomicU64,
    /// Open connections.
    pub connections: AtomicI64,
    /// Connections accepted since the start.
    pub connections_total: AtomicU64,
    /// Connections refused because of the limit.
    pub refused_connections: AtomicU64,
    /// Connections closed because they sent 64 MiB without a line end.
    pub junk_connections: AtomicU64,
    /// Times accepting a connection failed.
    pub accept_errors: AtomicU64,
    /// Files that were cut off in place; what was written just before is lost.
    pub truncations: AtomicU64,
    /// Files that were deleted before they had been read to their end.
    pub gone: AtomicU64,
    /// Files left alone: not regular, unreadable, damaged, or a copy of another.
    pub skipped_files: AtomicU64,
    /// NUL bytes skipped at the beginning of lines.
    pub nul_bytes: AtomicU64,
    /// Bytes of known files not yet delivered.
    pub lag_bytes: AtomicU64,
    /// Files open.
    pub files: AtomicU64,
    /// Who was turned away before a line was read.
    pub guard: Arc<GuardStats>,
}

/// Everything that a source works with.
pub struct SourceContext {
    /// Index of the source in the configuration.
    pub index: u16,
    /// Its name, for warnings.
    pub name: String,
    /// Longest line, in bytes.
    pub max_line: usize,
    /// Makes the framer of a stream.
    pub framer: Arc<dyn Fn() -> Box<dyn Framer> + Send + Sync>,
    /// Tells when bytes were received.
    pub clock: Arc<dyn Clock>,
    /// Asks the source to end.
    pub stop: CancellationToken,
    /// Where chunks go; waiting for room is the backpressure.
    pub out: mpsc::Sender<Delivery>,
    /// The streams known before the start, in the order first seen.
    pub resume: Vec<Resume>,
    /// The number of the newest entry of the ledger that is on disk.
    pub durable: watch::Receiver<u64>,
    /// The ledger cannot be written at the moment, where the source is kept in it.
    pub failing: Arc<AtomicBool>,
    /// Counters.
    pub stats: Arc<SourceStats>,
    /// Starts the tasks of connections.
    pub spawn: Spawner,
}

/// The receiver of chunks is gone or the source was asked to stop.
#[derive(Debug)]
pub(super) struct Stopped;

impl SourceContext {
    /// Sends one chunk, waiting for room.
    pub(super) async fn deliver(&self, chunk: Chunk, reply: Option<Answer>) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            sent = self.out.send(Delivery { chunk, reply }) => sent.map_err(|_| Stopped),
            () = self.stop.cancelled() => Err(Stopped),
        }
    }

    /// Counts bytes that were read and pushed into the chunker.
    pub(super) fn count_read(&self, bytes: usize, chunker: &mut Chunker) {
        let stats = &self.stats;
        stats.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        stats
            .nul_bytes
            .fetch_add(chunker.take_skipped(), Ordering::Relaxed);
    }

    /// Sends one chunk of what cannot be read again, waiting for room even after the source was
    /// asked to stop: how long that may take is the engine's to say.
    pub(super) async fn deliver_unrepeatable(
        &self,
        chunk: Chunk,
        reply: Option<Answer>,
    ) -> Result<(), Stopped> {
        let delivery = Delivery { chunk, reply };
        self.out.send(delivery).await.map_err(|_| Stopped)
    }

    /// A place for this source's warnings.
    pub(super) fn warnings(&self) -> Warnings {
        Warnings::new(self.name.clone())
    }
}

/// Why a source could not be opened or had to end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A glob that cannot be understood.
    #[error("`{pattern}` is not a file pattern: {error}")]
    Pattern {
        /// The glob.
        pattern: String,
        /// Why.
        error: glob::PatternError,
    },
    /// A file that cannot be opened or read.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A certificate or a file of tokens cannot be used.
    #[error("{}\nhint: {}", .0.message, .0.help)]
    Unusable(Unusable),
    /// Standard input cannot be read.
    #[error("standard input: {0}")]
    Stdin(std::io::Error),
}

/// A source that is open and has not yet begun.
pub struct Opened {
    kind: OpenedKind,
}

enum OpenedKind {
    Stdin(Box<super::stdin::StdinSource>),
    File(Box<super::file::FileSource>),
    Tcp(Box<super::tcp::TcpSource>),
    Http(Box<super::http::HttpSource>),
    Demo(Box<super::demo::DemoSource>),
}

/// Opens a source: binds its port, checks its patterns.
pub fn open(kind: &SourceKind, context: SourceContext) -> Result<Opened, SourceError> {
    let kind = match kind {
        SourceKind::Stdin => OpenedKind::Stdin(Box::new(super::stdin::StdinSource::open(context))),
        SourceKind::File(config) => OpenedKind::File(Box::new(super::file::FileSource::open(
            config.clone(),
            context,
        )?)),
        SourceKind::Tcp(config) => {
            OpenedKind::Tcp(Box::new(super::tcp::TcpSource::open(config, context)?))
        }
        SourceKind::Http => OpenedKind::Http(Box::new(super::http::HttpSource::open(context))),
        SourceKind::Demo(config) => OpenedKind::Demo(Box::new(super::demo::DemoSource::open(
            config.clone(),
            context,
        )?)),
    };
    Ok(Opened { kind })
}

impl Opened {
    /// Where a listening source listens: the port that the system chose if 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            OpenedKind::Tcp(tcp) => Some(tcp.local_addr()),
            _ => None,
        }
    }

    /// Where bodies of requests go in, where the source takes them.
    pub fn intake(&self) -> Option<Intake> {
        match &self.kind {
            OpenedKind::Http(http) => Some(http.intake()),
            _ => None,
        }
    }

    /// Runs until the source has ended, was asked to stop, or nobody receives its chunks.
    pub async fn run(self) -> Result<(), SourceError> {
        match self.kind {
            OpenedKind::Stdin(source) => source.run().await,
            OpenedKind::File(source) => source.run().await,
            OpenedKind::Tcp(source) => source.run().await,
            OpenedKind::Http(source) => {
                source.run().await;
                Ok(())
            }
            OpenedKind::Demo(source) => source.run().await,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::chunker::tests::{Newlines, texts};
    use super::*;
    use crate::base::Micros;

    /// Long after anything was written.
    struct Later;
    impl Clock for Later {
        fn now(&self) -> Micros {
            Micros(4_102_444_800_000_000)
        }
    }

    /// Stands in for the engine: receives, and remembers positions as the snapshot would.
    pub(crate) struct Harness {
        receiver: mpsc::Receiver<Delivery>,
        pub(crate) stop: CancellationToken,
        pub(crate) stats: Arc<SourceStats>,
        positions: Vec<Resume>,
    }

    impl Harness {
        /// An engine that knows these streams, and what it gives the source.
        pub(crate) fn new(resume: Vec<Resume>) -> (Harness, SourceContext) {
            let (out, receiver) = mpsc::channel(1);
            let stop = CancellationToken::new();
            let stats = Arc::new(SourceStats::default());
            let context = SourceContext {
                index: 0,
                name: "test".into(),
                max_line: 1 << 20,
                framer: Arc::new(|| Box::new(Newlines)),
                clock: Arc::new(Later),
                stop: stop.clone(),
                out,
                resume: resume.clone(),
                durable: watch::channel(0).1,
                failing: Arc::default(),
                stats: Arc::clone(&stats),
                spawn: Arc::new(|task| {
                    tokio::runtime::Handle::current().spawn(task);
                }),
            };
            let harness = Harness {
                receiver,
                stop,
                stats,
                positions: resume,
            };
            (harness, context)
        }

        /// The next delivery; `None` when the source has ended.
        pub(crate) async fn next(&mut self) -> Option<Delivery> {
            let delivery = self.receiver.recv().await?;
            let stream = &delivery.chunk.stream;
            let position = Resume {
                identity: stream.identity.clone(),
                offset: delivery.chunk.end,
                lines: 0,
                finished: delivery.chunk.last,
            };
            let number = stream.number as usize;
            if let Some(known) = self.positions.get_mut(number) {
                assert!(
                    known.finished || position.offset >= known.offset,
                    "went back"
                );
                *known = position;
            } else {
                assert_eq!(
                    number,
                    self.positions.len(),
                    "streams are numbered in order"
                );
                self.positions.push(position);
            }
            Some(delivery)
        }

        /// The lines of the next delivery that has any; none when the source has ended.
        pub(crate) async fn lines(&mut self) -> Vec<String> {
            while let Some(delivery) = self.next().await {
                if !delivery.chunk.lines.is_empty() {
                    return texts(&delivery.chunk);
                }
            }
            Vec::new()
        }

        /// What the snapshot would hold.
        pub(crate) fn resume(&self) -> Vec<Resume> {
            self.positions.clone()
        }
    }
}
