//! Snapshots on their way to disk, on a thread of their own.
//!
//! Invariant: at most one is in flight; one that comes due meanwhile is left out and counted, so
//! learning never waits for the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::{Clock, Micros};
use crate::sink::SinkControl;
use crate::state::{Snapshot, Store};
use crate::telemetry::SnapshotMetrics;

use super::ledger::LedgerControl;

/// How long a snapshot waits for a sink that does not take its events.
const SINK_PATIENCE: Duration = Duration::from_secs(2);

/// Whoever waits for a snapshot to be on disk: its digest, or why there is none.
pub(crate) struct Written(pub(crate) oneshot::Sender<Result<String, String>>);

struct Job {
    snapshot: Snapshot,
    written: Option<Written>,
}

/// The learner's side.
pub(crate) struct Snapshots {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
    in_flight: Arc<AtomicBool>,
    /// The `order` of the newest snapshot on disk, plus one; 0 for none.
    on_disk: Arc<AtomicU64>,
    every: i64,
    next: Micros,
    metrics: SnapshotMetrics,
}

impl Snapshots {
    /// Starts the thread. `newest` is the `order` and time of the snapshot the run began with,
    /// `ledger` the ledger with its last entry that is in that snapshot; `sinks` must not lose events.
    pub(crate) fn start(
        store: Store,
        every: Duration,
        newest: Option<(u64, Micros)>,
        ledger: Option<(LedgerControl, u64)>,
        sinks: Vec<SinkControl>,
        metrics: SnapshotMetrics,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Snapshots> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let in_flight = Arc::new(AtomicBool::new(false));
        let on_disk = Arc::new(AtomicU64::new(newest.map_or(0, |(order, _)| order + 1)));
        if let Some((_, taken)) = newest {
            metrics.last_success.set(taken.as_seconds());
        }
        metrics.invalid.inc_by(store.invalid());
        let every = every.as_micros() as i64;
        let next = Micros(clock.now().0 + every);
        let writer = WriterThread {
            store,
            ledger,
            sinks,
            metrics: metrics.clone(),
            clock,
            in_flight: Arc::clone(&in_flight),
            on_disk: Arc::clone(&on_disk),
        };
        let thread = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || writer.run(&queue))?;
        Ok(Snapshots {
            jobs,
            thread,
            in_flight,
            on_disk,
            every,
            next,
            metrics,
        })
    }

    /// Whether one is due: the time has come and something was learned since the last.
    pub(crate) fn due(&mut self, now: Micros, order: u64) -> bool {
        if now < self.next {
            return false;
        }
        self.next = Micros(now.0 + self.every);
        self.on_disk.load(Ordering::Acquire) != order + 1
    }

    /// Hands one over, unless one is still on its way.
    pub(crate) fn take(&mut self, snapshot: Snapshot, written: Option<Written>) {
        if self.in_flight.swap(true, Ordering::AcqRel) {
            self.metrics.skipped.inc();
            if let Some(Written(reply)) = written {
                drop(reply.send(Err("another snapshot is being written".to_owned())));
            }
            return;
        }
        match self.jobs.try_send(Job { snapshot, written }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.in_flight.store(false, Ordering::Release);
                self.metrics.failures.inc();
            }
        }
    }

    /// The last one: waits until it is on disk. False if it could not be written.
    pub(crate) fn finish(self, snapshot: Snapshot) -> bool {
        let order = snapshot.order;
        let sent = self
            .jobs
            .send(Job {
                snapshot,
                written: None,
            })
            .is_ok();
        drop(self.jobs);
        let ended = self.thread.join().is_ok();
        sent && ended && self.on_disk.load(Ordering::Acquire) == order + 1
    }
}

/// The thread's side.
struct WriterThread {
    store: Store,
    /// With the last entry that the snapshot before has.
    ledger: Option<(LedgerControl, u64)>,
    sinks: Vec<SinkControl>,
    metrics: SnapshotMetrics,
    clock: Arc<dyn Clock>,
    in_flight: Arc<AtomicBool>,
    on_disk: Arc<AtomicU64>,
}

impl WriterThread {
    /// Writes a snapshot once the ledger is on disk up to it. What two snapshots have, the ledger
    /// need not keep.
    fn write(&mut self, snapshot: &Snapshot, bytes: &[u8]) -> Result<PathBuf, String> {
        if let Some((ledger, _)) = &self.ledger
            && !ledger.wait(snapshot.ledger_seq)
        {
            return Err("the ledger before it cannot be written".to_owned());
        }
        // Of records that a snapshot has, no event is made again: those that wait for a sink go first.
        if !self.sinks.iter().all(|sink| sink.flush(SINK_PATIENCE)) {
            tracing::warn!(
                "a sink does not take its events: those that wait would be lost in a crash now"
            );
        }
        let path = self.store.write(bytes).map_err(|error| error.to_string())?;
        if let Some((ledger, before)) = &mut self.ledger {
            ledger.remove_before(*before);
            *before = snapshot.ledger_seq;
        }
        Ok(path)
    }

    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            let began = self.clock.now();
            let bytes = job.snapshot.encode();
            let outcome = self.write(&job.snapshot, &bytes);
            let took = (self.clock.now().0 - began.0) as f64 / 1e6;
            let answer = match outcome {
                Ok(path) => {
                    self.metrics.duration.observe(took);
                    self.metrics.bytes.set(bytes.len() as i64);
                    self.metrics.last_success.set(self.clock.now().as_seconds());
                    self.on_disk
                        .store(job.snapshot.order + 1, Ordering::Release);
                    tracing::debug!(path = %path.display(), bytes = bytes.len(), "snapshot written");
                    Ok(job.snapshot.digest())
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    tracing::error!(%error, "snapshot failed; the one before it stays");
                    Err(error)
                }
            };
            self.in_flight.store(false, Ordering::Release);
            if let Some(Written(reply)) = job.written {
                drop(reply.send(answer));
            }
        }
    }
}
