//! Bodies of HTTP requests, each a stream of its own. The server has the port; this is the way from
//! there to the learner and back.
//!
//! Invariant: a body is refused before anything of it is handed over, or handed over whole; then it
//! is answered for only once it is learned and, where there is a journal, on disk. How many bytes wait
//! is bounded, and whoever holds an [`Intake`] does not hold up the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::chunker::Chunker;
use super::{Answer, Delivery, SourceContext, SourceStats};
use crate::base::{Chunk, Clock, Framer, RejectReason, StreamName};

/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 256;
/// Bytes of bodies that wait to be learned, at most: two of the largest.
const MOST_WAITING: usize = 64 << 20;
/// How long a body waits for room in the learner's queue.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// A body on its way through the learner.
#[derive(Debug)]
pub struct Request {
    /// Its idempotency key.
    pub key: Option<String>,
    /// Where the answer goes.
    pub to: oneshot::Sender<Outcome>,
    /// Its share of what may wait; given back when it is dropped.
    pub room: OwnedSemaphorePermit,
}

/// What became of a body that was handed over.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing: one with the same key waits to be learned.
    UnderWay,
    /// It was learned, now or before.
    Taken(Taken),
}

/// A body that was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Lines that became records.
    pub accepted: u64,
    /// Lines that were refused.
    pub rejected: u64,
    /// The first of those.
    pub errors: Vec<LineError>,
    /// It was learned before, under the same key.
    pub duplicate: bool,
    /// The entry of the ledger that holds it; 0 for none.
    pub entry: u64,
}

/// A refused line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Its number in the body, from 1.
    pub line: u64,
    /// Why.
    pub reason: RejectReason,
    /// Where in the line, in bytes.
    pub at: u32,
}

/// Why a body has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits; nothing was taken.
    Busy,
    /// The source has ended; nothing was taken.
    Stopped,
    /// The journal cannot be written at the moment; nothing was taken.
    StorageFailing,
    /// One with the same key waits to be learned; of this one nothing was taken.
    UnderWay,
    /// The end came before it was certain whether the body is kept.
    Unknown,
}

/// The source: it ends when it is asked to.
pub(super) struct HttpSource {
    context: SourceContext,
    intake: Intake,
}

impl HttpSource {
    pub(super) fn open(context: SourceContext) -> HttpSource {
        let shared = Shared {
            index: context.index,
            max_line: context.max_line,
            framer: Arc::clone(&context.framer),
            clock: Arc::clone(&context.clock),
            out: context.out.downgrade(),
            stop: context.stop.clone(),
            durable: context.durable.clone(),
            failing: Arc::clone(&context.failing),
            stats: Arc::clone(&context.stats),
            next_number: AtomicU64::new(context.resume.len() as u64),
            room: Arc::new(Semaphore::new(MOST_WAITING)),
        };
        HttpSource {
            context,
            intake: Intake(Arc::new(shared)),
        }
    }

    /// Where bodies go in.
    pub(super) fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Keeps the way to the learner open until the stop.
    pub(super) async fn run(self) {
        self.context.stop.cancelled().await;
    }
}

/// Where the bodies of one source go in.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    index: u16,
    max_line: usize,
    framer: Arc<dyn Fn() -> Box<dyn Framer> + Send + Sync>,
    clock: Arc<dyn Clock>,
    /// Weak, as the learner ends when nobody is left who could send.
    out: mpsc::WeakSender<Delivery>,
    stop: CancellationToken,
    durable: watch::Receiver<u64>,
    failing: Arc<AtomicBool>,
    stats: Arc<SourceStats>,
    next_number: AtomicU64,
    room: Arc<Semaphore>,
}

impl Intake {
    /// Whether a body can be taken at all at the moment.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), Refused> {
        if self.0.stop.is_cancelled() {
            Err(Refused::Stopped)
        } else if self.0.failing.load(Ordering::Relaxed) {
            Err(Refused::StorageFailing)
        } else if self.0.room.available_permits() == 0 {
            Err(Refused::Busy)
        } else {
            Ok(())
        }
    }

    /// Hands a body over and waits until it is learned and on disk. `from` is who sent it, for
    /// people.
    ///
    /// # Errors
    /// Why it was not taken, or that this is not known.
    pub async fn take(
        &self,
        from: String,
        key: Option<String>,
        body: Vec<u8>,
    ) -> Result<Taken, Refused> {
        let shared = &*self.0;
        self.ready()?;
        let bytes = body.len().clamp(1, MOST_WAITING) as u32;
        let room = Arc::clone(&shared.room).try_acquire_many_owned(bytes);
        let room = room.map_err(|_| Refused::Busy)?;
        let out = shared.out.upgrade().ok_or(Refused::Stopped)?;
        let place = tokio::select! {
            place = tokio::time::timeout(ROOM_WITHIN, out.reserve_owned()) => place,
            () = shared.stop.cancelled() => return Err(Refused::Stopped),
        };
        let place = place
            .map_err(|_| Refused::Busy)?
            .map_err(|_| Refused::Stopped)?;
        let chunk = shared.cut(from, &body);
        drop(body);
        if chunk.lines.is_empty() {
            return Ok(Taken::default());
        }
        let (to, answer) = oneshot::channel();
        let reply = Some(Answer::Outcome(Request { key, to, room }));
        drop(place.send(Delivery { chunk, reply }));
        match answer.await {
            Err(_) => Err(Refused::Unknown),
            Ok(Outcome::UnderWay) => Err(Refused::UnderWay),
            Ok(Outcome::Taken(taken)) => {
                let mut durable = shared.durable.clone();
                let kept = durable.wait_for(|newest| *newest >= taken.entry).await;
                kept.map_err(|_| Refused::Unknown)?;
                Ok(taken)
            }
        }
    }
}

impl Shared {
    fn cut(&self, from: String, body: &[u8]) -> Chunk {
        let stream = StreamName {
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            name: from,
            identity: Vec::new(),
        };
        let mut chunker = Chunker::new((self.framer)(), self.max_line, 0);
        chunker.push(body);
        chunker.finish();
        let (bytes, nul_bytes) = (body.len() as u64, chunker.take_skipped());
        self.stats.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stats.nul_bytes.fetch_add(nul_bytes, Ordering::Relaxed);
        chunker.take(self.index, self.clock.now(), Arc::new(stream), true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunker::tests::texts;
    use super::super::context::tests::Harness;
    use super::*;

    fn opened() -> (Harness, HttpSource, Intake, watch::Sender<u64>) {
        let (harness, mut context) = Harness::new(Vec::new());
        let (disk, durable) = watch::channel(0);
        context.durable = durable;
        let source = HttpSource::open(context);
        let intake = source.intake();
        (harness, source, intake, disk)
    }

    fn request(delivery: Delivery) -> Request {
        match delivery.reply {
            Some(Answer::Outcome(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_body_is_one_chunk_and_answered_once_it_is_on_disk() {
        let (mut harness, _source, intake, disk) = opened();
        let asking = intake.take("peer".into(), Some("k".into()), b"one\n\ntwo".to_vec());
        let learning = async {
            let delivery = harness.next().await.unwrap();
            assert_eq!(texts(&delivery.chunk), ["one", "", "two"]);
            assert!(delivery.chunk.last);
            let request = request(delivery);
            assert_eq!(request.key.as_deref(), Some("k"));
            let taken = Taken {
                accepted: 2,
                entry: 7,
                ..Taken::default()
            };
            request.to.send(Outcome::Taken(taken)).unwrap();
            tokio::task::yield_now().await;
            disk.send_replace(6);
        };
        let asking = async {
            let mut asking = std::pin::pin!(asking);
            tokio::select! {
                biased;
                _ = &mut asking => panic!("answered too soon"),
                () = learning => {}
            }
            assert!(futures_pending(asking.as_mut()).await);
            disk.send_replace(7);
            asking.await
        };
        assert_eq!(asking.await.unwrap().accepted, 2);
        assert_eq!(intake.0.room.available_permits(), MOST_WAITING);
    }

    async fn futures_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_refused_and_nothing_of_it_is_handed_over() {
        let (mut harness, _source, intake, _disk) = opened();
        // The harness has room for one.
        let first = intake.take("a".into(), None, b"one".to_vec());
        let second = async {
            let refused = intake.take("b".into(), None, b"two".to_vec()).await;
            assert_eq!(refused, Err(Refused::Busy));
            let delivery = harness.next().await.unwrap();
            assert_eq!(texts(&delivery.chunk), ["one"]);
            // The learner is gone.
            drop(request(delivery));
        };
        let (first, ()) = tokio::join!(first, second);
        assert_eq!(first, Err(Refused::Unknown));
        let large = vec![b'x'; MOST_WAITING];
        let waiting = intake.take("a".into(), None, large);
        let other = async {
            tokio::task::yield_now().await;
            assert_eq!(
                intake.take("b".into(), None, b"x".to_vec()).await,
                Err(Refused::Busy)
            );
            drop(harness.next().await);
        };
        tokio::join!(waiting, other).0.unwrap_err();
    }

    #[tokio::test]
    async fn nothing_is_taken_while_the_journal_fails_nor_after_the_stop() {
        let (harness, source, intake, _disk) = opened();
        intake.0.failing.store(true, Ordering::Relaxed);
        let take = || intake.take("a".into(), None, b"x".to_vec());
        assert_eq!(take().await, Err(Refused::StorageFailing));
        intake.0.failing.store(false, Ordering::Relaxed);
        harness.stop.cancel();
        source.run().await;
        assert_eq!(take().await, Err(Refused::Stopped));
        assert!(intake.0.out.upgrade().is_none(), "nothing holds up the end");
    }

    #[tokio::test]
    async fn a_body_without_a_line_is_nothing() {
        let (_harness, _source, intake, _disk) = opened();
        let taken = intake.take("a".into(), Some("k".into()), Vec::new()).await;
        assert_eq!(taken, Ok(Taken::default()));
    }
}
