//! The bounded queue between learning and one sink.
//!
//! Invariant: events queued or being written never exceed the capacity, events leave in the order
//! they came, and each one is either written or counted as dropped.
//!
//! The queue is one buffer of bytes that two threads exchange: whatever has gathered leaves in one
//! piece, and in the steady state nothing is allocated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::WhenFull;

/// A buffer beyond so many bytes counts as full whatever its number of events: an event may carry
/// a record of a megabyte.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A buffer larger than this is given back once it is written.
const KEEP_BYTES: usize = 4 * 1024 * 1024;

/// What a sink counts. Shared by the queue's two ends and whoever exports it.
#[derive(Debug, Default)]
pub struct SinkStats {
    /// Events written.
    pub events: AtomicU64,
    /// Events not delivered and given up.
    pub dropped: AtomicU64,
    /// Writes that failed because the reader went away.
    pub errors_broken_pipe: AtomicU64,
    /// Writes that failed because there is no space.
    pub errors_no_space: AtomicU64,
    /// Writes that failed for any other reason.
    pub errors_io: AtomicU64,
    /// Events queued or being written.
    pub depth: AtomicU64,
    /// The most events that may be.
    pub capacity: AtomicU64,
}

impl SinkStats {
    /// Failed writes by the `reason` of `learnd_sink_errors_total`.
    pub fn errors(&self) -> [(&'static str, u64); 3] {
        [
            (
                "broken_pipe",
                self.errors_broken_pipe.load(Ordering::Relaxed),
            ),
            ("no_space", self.errors_no_space.load(Ordering::Relaxed)),
            ("io", self.errors_io.load(Ordering::Relaxed)),
        ]
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines that wait.
    waiting: Vec<u8>,
    /// Events that wait or are being written.
    events: usize,
    /// No more will come.
    closed: bool,
    /// Nobody will take them any more.
    abandoned: bool,
    /// Flushes asked for, and done; reopenings asked for.
    flushes: u64,
    flushed: u64,
    reopenings: u64,
    /// The last flush that failed.
    failed_flush: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is something to take.
    work: Condvar,
    /// Signalled when there is room, or a flush is done.
    room: Condvar,
    capacity: usize,
    stats: Arc<SinkStats>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update of the state is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_depth(&self, state: &State) {
        self.stats
            .depth
            .store(state.events as u64, Ordering::Relaxed);
    }
}

/// A queue for one sink of at most `capacity` events (at least one): the end that learning fills,
/// and the end that [`super::run`] empties.
pub fn queue(
    capacity: usize,
    when_full: WhenFull,
    stats: Arc<SinkStats>,
) -> (SinkQueue, SinkReceiver) {
    let capacity = capacity.max(1);
    stats.capacity.store(capacity as u64, Ordering::Relaxed);
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        work: Condvar::new(),
        room: Condvar::new(),
        capacity,
        stats,
    });
    let queue = SinkQueue {
        shared: Arc::clone(&shared),
        when_full,
    };
    let receiver = SinkReceiver {
        shared,
        reopenings: 0,
        flushes: 0,
    };
    (queue, receiver)
}

/// The end that is filled. Dropping it closes the queue: what is in it is still written.
#[derive(Debug)]
pub struct SinkQueue {
    shared: Arc<Shared>,
    when_full: WhenFull,
}

impl SinkQueue {
    /// Queues `count` events: that many lines, each with its newline. Waits for room or drops what
    /// does not fit (the newest), as the sink is configured. `false` when the sink has ended and
    /// took not all of them; what it did not take is counted as dropped.
    pub fn push(&self, lines: &[u8], count: u32) -> bool {
        debug_assert_eq!(
            memchr::memchr_iter(b'\n', lines).count(),
            count as usize,
            "one line an event"
        );
        let (mut lines, mut count) = (lines, count as usize);
        let shared = &*self.shared;
        let mut state = shared.lock();
        while count > 0 && !state.abandoned {
            let room = shared.capacity.saturating_sub(state.events);
            if room == 0 || state.waiting.len() >= MAX_BYTES {
                if self.when_full == WhenFull::DropNewest {
                    break;
                }
                // Told before the wait: a queue that stays full is what somebody looks for.
                shared.publish_depth(&state);
                state = shared
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = room.min(count);
            let end = if now == count {
                lines.len()
            } else {
                end_of_lines(lines, now)
            };
            let (head, tail) = lines.split_at(end);
            state.waiting.extend_from_slice(head);
            state.events += now;
            (lines, count) = (tail, count - now);
            shared.work.notify_one();
        }
        shared.publish_depth(&state);
        let ended = state.abandoned;
        drop(state);
        shared
            .stats
            .dropped
            .fetch_add(count as u64, Ordering::Relaxed);
        !(ended && count > 0)
    }

    /// What others than the one who fills it may do with the queue.
    pub fn control(&self) -> SinkControl {
        SinkControl {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for SinkQueue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

/// Steers a sink from anywhere; holds nothing open.
#[derive(Clone, Debug)]
pub struct SinkControl {
    shared: Arc<Shared>,
}

impl SinkControl {
    /// Has the sink open its file anew (log rotation by others).
    pub fn reopen(&self) {
        self.shared.lock().reopenings += 1;
        self.shared.work.notify_one();
    }

    /// Waits until everything pushed before is written and, where it is a file, on disk. `false` if
    /// that did not happen in `limit`, the sink has ended, or the disk refused.
    pub fn flush(&self, limit: Duration) -> bool {
        let shared = &*self.shared;
        let mut state = shared.lock();
        state.flushes += 1;
        let mine = state.flushes;
        shared.work.notify_one();
        let (state, _) = shared
            .room
            .wait_timeout_while(state, limit, |state| {
                state.flushed < mine && !state.abandoned
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.flushed >= mine && state.failed_flush < mine
    }

    /// A deadline has passed: nobody waits for this sink any more. What is in the queue is tried
    /// once more; what comes later is dropped and counted.
    pub fn give_up(&self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.closed = true;
        self.shared.room.notify_all();
        self.shared.work.notify_all();
    }
}

/// Where the first `count` lines end.
fn end_of_lines(bytes: &[u8], count: usize) -> usize {
    memchr::memchr_iter(b'\n', bytes)
        .nth(count.saturating_sub(1))
        .map_or(bytes.len(), |at| at + 1)
}

/// What the sink's thread is to do next.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Open anew before writing.
    pub reopen: bool,
    /// Flush after writing.
    pub flush: bool,
    /// Nothing follows.
    pub closed: bool,
}

/// The end that is emptied. Dropping it ends the sink: nobody waits for it any more.
#[derive(Debug)]
pub struct SinkReceiver {
    shared: Arc<Shared>,
    reopenings: u64,
    flushes: u64,
}

impl SinkReceiver {
    /// Waits for something to do, and exchanges `buffer` (empty) for what has gathered.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>) -> Work {
        if buffer.capacity() > KEEP_BYTES {
            *buffer = Vec::new();
        }
        let mut state = self
            .shared
            .work
            .wait_while(self.shared.lock(), |state| {
                state.waiting.is_empty()
                    && !state.closed
                    && state.reopenings == self.reopenings
                    && state.flushes == self.flushes
            })
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, buffer);
        let work = Work {
            reopen: state.reopenings != self.reopenings,
            flush: state.flushes != self.flushes,
            closed: state.closed,
        };
        self.reopenings = state.reopenings;
        self.flushes = state.flushes;
        // Room of bytes, if not of events.
        self.shared.room.notify_all();
        work
    }

    /// So many events are done with.
    pub(super) fn done(&self, events: usize) {
        let mut state = self.shared.lock();
        state.events = state.events.saturating_sub(events);
        self.shared.publish_depth(&state);
        self.shared.room.notify_all();
    }

    /// The flushes that the last [`SinkReceiver::take`] asked for are done.
    pub(super) fn flushed(&self, worked: bool) {
        let mut state = self.shared.lock();
        state.flushed = self.flushes;
        if !worked {
            state.failed_flush = self.flushes;
        }
        self.shared.room.notify_all();
    }

    /// Waits so long before trying again; `true` if the queue was closed meanwhile or before.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let (state, _) = self
            .shared
            .work
            .wait_timeout_while(self.shared.lock(), length, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.closed
    }

    /// Waits so long whatever happens.
    pub(super) fn wait(&self, length: Duration) {
        let waited = self
            .shared
            .room
            .wait_timeout_while(self.shared.lock(), length, |_| true);
        drop(waited);
    }

    pub(super) fn stats(&self) -> &SinkStats {
        &self.shared.stats
    }
}

impl Drop for SinkReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        // Whatever waits or was being written reaches nobody.
        self.shared
            .stats
            .dropped
            .fetch_add(state.events as u64, Ordering::Relaxed);
        state.events = 0;
        state.waiting = Vec::new();
        self.shared.publish_depth(&state);
        self.shared.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(receiver: &mut SinkReceiver) -> String {
        let mut buffer = Vec::new();
        receiver.take(&mut buffer);
        receiver.done(memchr::memchr_iter(b'\n', &buffer).count());
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn what_gathers_leaves_in_one_piece_and_in_order() {
        let stats = Arc::new(SinkStats::default());
        let (queue, mut receiver) = queue(10, WhenFull::Block, Arc::clone(&stats));
        assert!(queue.push(b"1\n2\n", 2));
        assert!(queue.push(b"3\n", 1));
        assert_eq!(stats.depth.load(Ordering::Relaxed), 3);
        assert_eq!(taken(&mut receiver), "1\n2\n3\n");
        assert_eq!(stats.depth.load(Ordering::Relaxed), 0);
        assert_eq!(stats.capacity.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn dropping_keeps_the_oldest_and_counts_the_rest() {
        let stats = Arc::new(SinkStats::default());
        let (queue, mut receiver) = queue(3, WhenFull::DropNewest, Arc::clone(&stats));
        assert!(queue.push(b"1\n2\n", 2));
        assert!(queue.push(b"3\n4\n5\n", 3), "dropping is not ending");
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(taken(&mut receiver), "1\n2\n3\n");
        assert!(queue.push(b"6\n", 1));
        assert_eq!(taken(&mut receiver), "6\n");
    }

    #[test]
    fn blocking_waits_for_what_is_being_written_too_and_loses_nothing() {
        let stats = Arc::new(SinkStats::default());
        let (queue, mut receiver) = queue(2, WhenFull::Block, Arc::clone(&stats));
        std::thread::scope(|scope| {
            let pusher = scope.spawn(move || {
                for n in 0..50 {
                    assert!(queue.push(format!("{n}\n{n}\n{n}\n").as_bytes(), 3));
                }
            });
            let mut seen = String::new();
            while seen.lines().count() < 150 {
                let mut buffer = Vec::new();
                receiver.take(&mut buffer);
                let lines = memchr::memchr_iter(b'\n', &buffer).count();
                assert!(lines <= 2);
                seen.push_str(std::str::from_utf8(&buffer).unwrap());
                receiver.done(lines);
            }
            pusher.join().unwrap();
            let want: String = (0..150).map(|n| (n / 3).to_string() + "\n").collect();
            assert_eq!(seen, want);
        });
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_sink_that_ended_holds_nobody_up() {
        let stats = Arc::new(SinkStats::default());
        let (queue, receiver) = queue(2, WhenFull::Block, Arc::clone(&stats));
        queue.push(b"1\n2\n", 2);
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| queue.push(b"3\n", 1));
            drop(receiver);
            assert!(!pusher.join().unwrap());
        });
        assert!(!queue.push(b"4\n", 1));
        assert!(!queue.control().flush(Duration::from_mins(1)));
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 4);
        assert_eq!(stats.depth.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn closing_lets_the_rest_out_first() {
        let (queue, mut receiver) = queue(9, WhenFull::Block, Arc::default());
        queue.push(b"1\n", 1);
        drop(queue);
        let mut buffer = Vec::new();
        assert!(receiver.take(&mut buffer).closed);
        assert_eq!(buffer, b"1\n");
        assert!(receiver.pause(Duration::from_mins(1)), "at once");
    }

    #[test]
    fn giving_up_frees_whoever_waits_for_room() {
        let stats = Arc::new(SinkStats::default());
        let (queue, receiver) = queue(1, WhenFull::Block, Arc::clone(&stats));
        let control = queue.control();
        queue.push(b"1\n", 1);
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| queue.push(b"2\n", 1));
            control.give_up();
            assert!(!pusher.join().unwrap());
        });
        assert!(receiver.pause(Duration::from_mins(1)), "at once");
        drop(receiver);
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 2);
    }
}
