//! Events to standard output.
//!
//! Invariant: one system call for whatever has gathered; nothing is buffered here, so nothing is
//! lost here.

use std::io;
use std::os::fd::AsFd;

use super::run::Writer;

/// Writes straight to an open descriptor. Not through the standard library's buffer: it would hide
/// how much was written when a write fails, and look for line ends once more.
#[derive(Debug)]
pub(super) struct PipeWriter<F>(pub(super) F);

impl<F: AsFd> Writer for PipeWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::super::{SinkEnd, SinkStats, WhenFull, queue, run};
    use super::*;

    #[test]
    fn a_slow_reader_gets_everything_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let stats = Arc::new(SinkStats::default());
        let (queue, receiver) = queue(64, WhenFull::Block, Arc::clone(&stats));
        let line = "x".repeat(9_999) + "\n";
        let mut got = String::new();
        std::thread::scope(|scope| {
            scope.spawn(|| run(Box::new(PipeWriter(writer)), receiver));
            scope.spawn(|| {
                let queue = queue;
                for _ in 0..200 {
                    assert!(queue.push(line.as_bytes(), 1));
                }
            });
            reader.read_to_string(&mut got).unwrap();
        });
        assert_eq!(got, line.repeat(200));
        assert_eq!(stats.events.load(Ordering::Relaxed), 200);
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_sink_and_frees_learning() {
        let (mut reader, writer) = io::pipe().unwrap();
        let stats = Arc::new(SinkStats::default());
        let (queue, receiver) = queue(4, WhenFull::Block, Arc::clone(&stats));
        std::thread::scope(|scope| {
            let sink = scope.spawn(|| run(Box::new(PipeWriter(writer)), receiver));
            let pusher = scope.spawn(move || {
                let mut pushed = 0;
                while queue.push(b"0123456789\n", 1) {
                    pushed += 1;
                }
                pushed + 1
            });
            reader.read_exact(&mut [0; 1000]).unwrap();
            drop(reader);
            assert!(matches!(sink.join().unwrap(), SinkEnd::ReaderGone));
            let pushed: u64 = pusher.join().unwrap();
            let events = stats.events.load(Ordering::Relaxed);
            assert_eq!(events + stats.dropped.load(Ordering::Relaxed), pushed);
        });
        assert_eq!(stats.errors()[0], ("broken_pipe", 1));
    }
}
