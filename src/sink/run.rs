//! The loop that empties one sink's queue; the engine gives it a thread.
//!
//! Invariant: events are written once each and in order, a full disk is waited out, and whatever
//! ends the loop is told to whoever started it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::queue::{SinkReceiver, SinkStats};

/// Waits between attempts: doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Attempts at a write that fails for another reason than a full disk: some ten seconds.
const ATTEMPTS: u32 = 14;

/// Attempts at a write that fails while the daemon is stopping.
const LAST_ATTEMPTS: u32 = 2;

/// Where bytes go.
pub trait Writer {
    /// Writes some of `bytes` from its start and gives their number, above zero; on an error none
    /// of them count as written. `bytes` is not empty and ends with a newline.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Brings everything written to where it survives.
    fn flush(&mut self) -> io::Result<()>;
    /// Opens the file anew under its name.
    fn reopen(&mut self) -> io::Result<()>;
}

/// How a sink ended.
#[derive(Debug)]
pub enum SinkEnd {
    /// The queue was closed and everything in it is written.
    Closed,
    /// The reader of standard output went away: a clean stop.
    ReaderGone,
    /// Storage keeps failing; what was not written is counted as dropped.
    Failed(io::Error),
}

/// Writes what the queue brings until it is closed, the reader goes away or storage keeps failing.
/// Blocks; the queue's other end is [`super::SinkQueue`].
pub fn run(mut writer: Box<dyn Writer + Send>, mut receiver: SinkReceiver) -> SinkEnd {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let work = receiver.take(&mut buffer);
        if work.reopen
            && let Err(error) = writer.reopen()
        {
            // A file is open in any case, the old one or the new, so nothing is lost.
            count(receiver.stats(), &error);
            tracing::warn!(%error, "a sink's file could not be synced and opened anew");
        }
        if let Err(error) = write_all(&mut *writer, &buffer, &receiver) {
            return if error.kind() == io::ErrorKind::BrokenPipe {
                SinkEnd::ReaderGone
            } else {
                SinkEnd::Failed(error)
            };
        }
        if work.flush || work.closed {
            let flushed = writer.flush();
            if let Err(error) = &flushed {
                count(receiver.stats(), error);
                tracing::warn!(%error, "a sink could not be flushed");
            }
            receiver.flushed(flushed.is_ok());
        }
        if work.closed {
            return SinkEnd::Closed;
        }
    }
}

fn write_all(writer: &mut dyn Writer, bytes: &[u8], receiver: &SinkReceiver) -> io::Result<()> {
    let stats = receiver.stats();
    let mut rest = bytes;
    let (mut failures, mut failures_closed) = (0, 0);
    let mut pause = FIRST_PAUSE;
    while !rest.is_empty() {
        let error = match writer.write(rest) {
            Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
            Ok(n) => {
                let (written, after) = rest.split_at(n);
                let events = memchr::memchr_iter(b'\n', written).count();
                stats.events.fetch_add(events as u64, Ordering::Relaxed);
                receiver.done(events);
                rest = after;
                (failures, failures_closed, pause) = (0, 0, FIRST_PAUSE);
                continue;
            }
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::Interrupted => continue,
            io::ErrorKind::WouldBlock => {
                // Someone made the pipe non-blocking; its reader is only slow.
                receiver.wait(Duration::from_millis(1));
                continue;
            }
            _ => count(stats, &error),
        }
        let full = is_no_space(&error);
        if failures == 0 {
            tracing::warn!(%error, "a sink cannot write, trying again");
        }
        failures += 1;
        if error.kind() == io::ErrorKind::BrokenPipe || (failures >= ATTEMPTS && !full) {
            return Err(error);
        }
        if receiver.pause(pause) {
            failures_closed += 1;
            if failures_closed >= LAST_ATTEMPTS {
                return Err(error);
            }
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
    Ok(())
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn count(stats: &SinkStats, error: &io::Error) {
    let counter = match error.kind() {
        io::ErrorKind::BrokenPipe => &stats.errors_broken_pipe,
        _ if is_no_space(error) => &stats.errors_no_space,
        _ => &stats.errors_io,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::{WhenFull, queue};
    use super::*;

    /// Writes at most `piece` bytes at once, and fails as told before that.
    struct Fake {
        failures: Vec<io::ErrorKind>,
        piece: usize,
        out: Arc<Mutex<Vec<u8>>>,
    }

    impl Writer for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(kind) = self.failures.pop() {
                return Err(kind.into());
            }
            let n = bytes.len().min(self.piece);
            self.out.lock().unwrap().extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.out.lock().unwrap().extend_from_slice(b"[flush]");
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            self.out.lock().unwrap().extend_from_slice(b"[reopen]");
            Ok(())
        }
    }

    fn outcome(failures: &[io::ErrorKind]) -> (SinkEnd, String, Arc<SinkStats>) {
        let stats = Arc::new(SinkStats::default());
        let (queue, receiver) = queue(100, WhenFull::Block, Arc::clone(&stats));
        let out = Arc::new(Mutex::new(Vec::new()));
        let fake = Fake {
            failures: failures.iter().rev().copied().collect(),
            piece: 3,
            out: Arc::clone(&out),
        };
        queue.push(b"eins\nzwei\n", 2);
        queue.control().reopen();
        drop(queue);
        let end = run(Box::new(fake), receiver);
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        (end, text, stats)
    }

    #[test]
    fn everything_is_written_in_pieces_and_flushed_at_the_end() {
        let (end, text, stats) = outcome(&[
            io::ErrorKind::Interrupted,
            io::ErrorKind::WouldBlock,
            io::ErrorKind::StorageFull,
        ]);
        assert!(matches!(end, SinkEnd::Closed));
        assert_eq!(text, "[reopen]eins\nzwei\n[flush]");
        assert_eq!(stats.events.load(Ordering::Relaxed), 2);
        assert_eq!(
            stats.errors(),
            [("broken_pipe", 0), ("no_space", 1), ("io", 0)]
        );
    }

    #[test]
    fn a_reader_that_goes_away_is_a_clean_stop() {
        let (end, _, stats) = outcome(&[io::ErrorKind::BrokenPipe]);
        assert!(matches!(end, SinkEnd::ReaderGone));
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(stats.errors()[0], ("broken_pipe", 1));
    }

    #[test]
    fn a_disk_that_stays_full_while_stopping_is_given_up_and_counted() {
        let (end, _, stats) = outcome(&[io::ErrorKind::StorageFull; 9]);
        assert!(matches!(end, SinkEnd::Failed(_)));
        assert_eq!(stats.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(stats.events.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flush_returns_when_everything_before_it_is_out() {
        let stats = Arc::new(SinkStats::default());
        let (queue, receiver) = queue(1, WhenFull::Block, Arc::clone(&stats));
        let out = Arc::new(Mutex::new(Vec::new()));
        let fake = Fake {
            failures: Vec::new(),
            piece: 2,
            out: Arc::clone(&out),
        };
        std::thread::scope(|scope| {
            let sink = scope.spawn(|| run(Box::new(fake), receiver));
            for n in 1..=20u64 {
                queue.push(b"abc\ndef\n", 2);
                assert!(queue.control().flush(Duration::from_mins(1)));
                assert_eq!(stats.events.load(Ordering::Relaxed), 2 * n);
            }
            drop(queue);
            assert!(matches!(sink.join().unwrap(), SinkEnd::Closed));
        });
    }
}
