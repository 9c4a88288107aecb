//! The ledger at work: the learner's thread frames what cannot be read again before anyone hears of
//! what was learned from it, a thread of its own brings the frames to disk.
//!
//! Invariant: nothing counts as durable before it is synced, with all before it. Learning does not
//! wait for the disk, but for room: what waits for the disk is bounded, so a full disk holds up
//! learning, then the sources, and both go on by themselves once there is room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::base::{Chunk, Clock};
use crate::state::StoreError;
use crate::state::ledger::{Batch, Encoder, Request, SegmentWriter};
use crate::telemetry::LedgerMetrics;

/// Bytes that may wait for the disk.
const MOST_WAITING: usize = 64 << 20;
/// Between attempts while the disk is full.
const FULL_RETRY: Duration = Duration::from_secs(1);
/// Failures one after the other, other than a full disk, after which storage counts as broken.
const MOST_FAILURES: u32 = 5;
/// Between attempts after such a failure.
const FAILURE_RETRY: Duration = Duration::from_millis(200);

/// What both threads see.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something waits, or the ledger ends.
    work: Condvar,
    /// There is more room.
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    bytes: usize,
    spare: Vec<Batch>,
    /// Segments up to this frame are not needed any more.
    remove_before: u64,
    ended: bool,
    /// Why nothing becomes durable any more.
    broken: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the ledger stands, for those who wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The number of the newest frame on disk.
    pub(crate) durable: watch::Sender<u64>,
    /// Nothing more can be written at the moment.
    pub(crate) failing: Arc<AtomicBool>,
}

/// The learner's side.
pub(crate) struct Ledger {
    encoder: Encoder,
    shared: Arc<Shared>,
    durable: watch::Receiver<u64>,
    thread: JoinHandle<Result<(), StoreError>>,
}

/// Tells what is durable, and which frames nobody needs any more.
#[derive(Clone)]
pub(crate) struct LedgerControl {
    shared: Arc<Shared>,
    durable: watch::Receiver<u64>,
}

impl Ledger {
    /// Goes on behind what the writer has, on a thread of its own; `stop` is asked to stop
    /// everything if storage is broken.
    pub(crate) fn start(
        writer: SegmentWriter,
        standing: Standing,
        metrics: LedgerMetrics,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> std::io::Result<Ledger> {
        let shared = Arc::new(Shared::default());
        let encoder = Encoder::new(writer.durable() + 1);
        standing.durable.send_replace(writer.durable());
        let receiver = standing.durable.subscribe();
        let thread = LedgerThread {
            writer,
            shared: Arc::clone(&shared),
            standing,
            metrics,
            clock,
            stop,
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || thread.run())?;
        Ok(Ledger {
            encoder,
            shared,
            durable: receiver,
            thread,
        })
    }

    /// For whoever waits for frames to be durable.
    pub(crate) fn control(&self) -> LedgerControl {
        LedgerControl {
            shared: Arc::clone(&self.shared),
            durable: self.durable.clone(),
        }
    }

    /// The number of the last frame.
    pub(crate) fn last(&self) -> u64 {
        self.encoder.next() - 1
    }

    /// Takes a chunk down, and the request that stands or falls with it; gives its frame's number.
    /// Waits while too much waits for the disk.
    pub(crate) fn record(
        &mut self,
        source: &str,
        chunk: &Chunk,
        request: Option<Request<'_>>,
    ) -> u64 {
        let entry = self
            .encoder
            .data(source, chunk, request)
            .expect("a chunk is smaller than the largest frame, and no key is too long");
        let mut waiting = self.shared.lock();
        while waiting.bytes >= MOST_WAITING && !waiting.broken {
            let woken = self.shared.room.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let spare = waiting.spare.pop().unwrap_or_default();
        let batch = self.encoder.take(spare);
        waiting.bytes += batch.size();
        waiting.batches.push_back(batch);
        self.shared.work.notify_one();
        entry
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// The failure after which nothing became durable any more.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.shared.lock().ended = true;
        self.shared.work.notify_one();
        self.thread.join().unwrap_or(Ok(()))
    }
}

impl LedgerControl {
    /// Waits until a frame is durable; false if it never will be.
    pub(crate) fn wait(&self, entry: u64) -> bool {
        let mut waiting = self.shared.lock();
        while *self.durable.borrow() < entry {
            if waiting.broken {
                return false;
            }
            let woken = self.shared.room.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Two snapshots hold everything up to this frame.
    pub(crate) fn remove_before(&self, entry: u64) {
        self.shared.lock().remove_before = entry;
        self.shared.work.notify_one();
    }
}

/// The thread's side.
struct LedgerThread {
    writer: SegmentWriter,
    shared: Arc<Shared>,
    standing: Standing,
    metrics: LedgerMetrics,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

impl LedgerThread {
    fn run(mut self) -> Result<(), StoreError> {
        let mut removed = 0;
        loop {
            let mut waiting = self.shared.lock();
            while waiting.batches.is_empty() && !waiting.ended && waiting.remove_before == removed {
                let woken = self.shared.work.wait(waiting);
                waiting = woken.unwrap_or_else(PoisonError::into_inner);
            }
            for batch in waiting.batches.drain(..) {
                self.writer.push(batch);
            }
            let remove_before = waiting.remove_before;
            let ended = waiting.ended;
            drop(waiting);
            if self.writer.is_pending() {
                self.commit()?;
            }
            if remove_before != removed {
                removed = remove_before;
                if let Err(error) = self.writer.remove_before(remove_before) {
                    // Nothing is lost by it; the next snapshot tries again.
                    tracing::warn!(%error, "an old part of the ledger could not be deleted");
                }
            }
            self.metrics.bytes.set(self.writer.bytes() as i64);
            self.metrics.segments.set(self.writer.segments() as i64);
            if ended && self.shared.lock().batches.is_empty() {
                return self.writer.seal();
            }
        }
    }

    /// Brings everything to disk, however long the disk is full.
    fn commit(&mut self) -> Result<(), StoreError> {
        let mut failures = 0;
        loop {
            let began = self.clock.now();
            let error = match self.writer.commit() {
                Ok(durable) => {
                    let took = (self.clock.now().0 - began.0) as f64 / 1e6;
                    self.metrics.duration.observe(took);
                    if failures > 0 {
                        tracing::info!("the ledger is written again");
                    }
                    self.set_failing(false);
                    self.tell(durable);
                    return Ok(());
                }
                Err(error) => error,
            };
            self.metrics.failures.inc();
            self.set_failing(true);
            if failures == 0 {
                tracing::error!(%error, "the ledger cannot be written: trying again");
            }
            let full = error.is_no_space();
            failures += 1;
            if !full && failures >= MOST_FAILURES {
                self.shared.lock().broken = true;
                self.shared.room.notify_all();
                self.stop.cancel();
                return Err(error);
            }
            if full && self.shared.lock().ended {
                // A stop is not held up by a full disk; what is not durable was not acknowledged.
                self.shared.lock().broken = true;
                self.shared.room.notify_all();
                return Err(error);
            }
            std::thread::sleep(if full { FULL_RETRY } else { FAILURE_RETRY });
        }
    }

    fn set_failing(&self, failing: bool) {
        self.metrics.failing.set(i64::from(failing));
        self.standing.failing.store(failing, Ordering::Relaxed);
    }

    fn tell(&mut self, durable: u64) {
        let mut waiting = self.shared.lock();
        waiting.bytes = waiting.batches.iter().map(Batch::size).sum();
        while let Some(spare) = self.writer.spare() {
            waiting.spare.push(spare);
        }
        self.standing.durable.send_replace(durable);
        drop(waiting);
        self.shared.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::base::{Micros, StreamName};
    use crate::engine::SystemClock;
    use crate::state::ledger::{Frame, Lost, SEGMENT_BYTES, recover};
    use crate::state::{Disk, DiskFile, DiskReader, RealDisk};
    use crate::telemetry::{Metrics, Series};

    /// A disk on which no segment can be begun while it is full.
    #[derive(Debug)]
    struct Fillable {
        disk: RealDisk,
        full: AtomicBool,
    }

    impl Disk for Fillable {
        fn path(&self, name: &str) -> PathBuf {
            self.disk.path(name)
        }
        fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.disk.create_new(name)
        }
        fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskReader>>> {
            self.disk.open(name)
        }
        fn settle(&self, name: &str) -> io::Result<()> {
            self.disk.settle(name)
        }
        fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
            self.disk.truncate(name, length)
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.disk.rename(from, to)
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.disk.remove(name)
        }
        fn create_dir(&self, name: &str) -> io::Result<()> {
            self.disk.create_dir(name)
        }
        fn list(&self, dir: &str) -> io::Result<Vec<String>> {
            self.disk.list(dir)
        }
        fn sync_dir(&self, dir: &str) -> io::Result<()> {
            self.disk.sync_dir(dir)
        }
    }

    #[test]
    fn a_full_disk_is_told_of_and_what_waits_is_durable_once_there_is_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = Arc::new(Fillable {
            disk: RealDisk::new(dir.path()),
            full: AtomicBool::new(true),
        });
        let none = |_, _: Frame<'_>| Ok::<(), StoreError>(());
        let recovery = recover(&*disk, 0, Lost::Refuse, none).expect("no ledger yet");
        let writer = SegmentWriter::new(
            Arc::clone(&disk) as Arc<dyn Disk>,
            &recovery,
            SEGMENT_BYTES,
            1,
        );
        let standing = Standing {
            durable: watch::channel(0).0,
            failing: Arc::default(),
        };
        let metrics = Metrics::new(&Series {
            sources: &[],
            models: &[],
            sinks: &[],
            queues: &[],
            state: true,
            ledger: true,
            version: "",
            revision: "",
            started: Micros(0),
        });
        let metrics = metrics.ledger.clone();
        let stop = CancellationToken::new();
        let clock = Arc::new(SystemClock);
        let mut ledger = Ledger::start(writer, standing.clone(), metrics, clock, stop.clone())
            .expect("a thread");
        let chunk = Chunk {
            source: 0,
            received: Micros(1),
            stream: Arc::new(StreamName {
                number: 0,
                name: "s".into(),
                identity: Vec::new(),
            }),
            start: 0,
            end: 1,
            last: true,
            bytes: b"x".to_vec(),
            lines: Vec::new(),
        };
        let entry = ledger.record("s", &chunk, None);
        while !standing.failing.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert_eq!(*standing.durable.borrow(), 0);
        disk.full.store(false, Ordering::Relaxed);
        assert!(ledger.control().wait(entry));
        assert!(!standing.failing.load(Ordering::Relaxed));
        ledger.finish().expect("everything is on disk");
        assert!(!stop.is_cancelled());
    }
}
