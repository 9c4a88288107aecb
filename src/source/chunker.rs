//! From bytes as they are read to chunks of whole lines.
//!
//! Invariant: chunks of a stream join without a gap: each starts where the one before ended.

use std::sync::Arc;

use crate::base::{Chunk, Cutter, Framer, LineSpan, Micros, StreamName};

/// The most bytes read for one chunk.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Collects the lines of one stream.
pub(super) struct Chunker {
    cutter: Cutter,
    bytes: Vec<u8>,
    lines: Vec<LineSpan>,
    /// Where the chunk being collected starts.
    start: u64,
}

impl Chunker {
    /// Begins at `offset` of the stream.
    pub(super) fn new(framer: Box<dyn Framer>, max_line: usize, offset: u64) -> Chunker {
        Chunker {
            cutter: Cutter::new(framer, max_line, offset),
            bytes: Vec::new(),
            lines: Vec::new(),
            start: offset,
        }
    }

    /// Adds bytes of the stream.
    pub(super) fn push(&mut self, input: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(input.len());
        }
        self.cutter.push(input, &mut self.bytes, &mut self.lines);
    }

    /// NUL bytes skipped since the last call.
    pub(super) fn take_skipped(&mut self) -> u64 {
        self.cutter.take_skipped()
    }

    /// The stream has ended: an unfinished line counts.
    pub(super) fn finish(&mut self) {
        self.cutter.finish(&mut self.bytes, &mut self.lines);
    }

    /// Offset after the last whole line.
    pub(super) fn end(&self) -> u64 {
        self.cutter.offset()
    }

    /// Whether an unfinished line is held.
    pub(super) fn holds_partial(&self) -> bool {
        self.cutter.holds_partial()
    }

    /// Whether there are lines to give out.
    pub(super) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Gives out what has been collected.
    pub(super) fn take(
        &mut self,
        source: u16,
        received: Micros,
        stream: Arc<StreamName>,
        last: bool,
    ) -> Chunk {
        let end = self.cutter.offset();
        let chunk = Chunk {
            source,
            received,
            stream,
            start: self.start,
            end,
            last,
            bytes: std::mem::take(&mut self.bytes),
            lines: std::mem::take(&mut self.lines),
        };
        self.start = end;
        chunk
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One line a record.
    pub(crate) struct Newlines;
    impl Framer for Newlines {
        fn record_end(&self, bytes: &[u8], scanned: usize) -> Option<usize> {
            memchr::memchr(b'\n', &bytes[scanned..]).map(|i| scanned + i + 1)
        }
    }

    /// The lines of a chunk as strings.
    pub(crate) fn texts(chunk: &Chunk) -> Vec<String> {
        let text = |&span| String::from_utf8_lossy(chunk.line(span)).into_owned();
        chunk.lines.iter().map(text).collect()
    }

    #[test]
    fn chunks_join_without_a_gap() {
        let stream = Arc::new(StreamName {
            number: 0,
            name: String::new(),
            identity: Vec::new(),
        });
        let mut chunker = Chunker::new(Box::new(Newlines), 100, 7);
        chunker.push(b"one\ntw");
        let first = chunker.take(0, Micros(0), Arc::clone(&stream), false);
        assert_eq!(
            (first.start, first.end, texts(&first)),
            (7, 11, vec!["one".into()])
        );
        chunker.push(b"o");
        assert!(chunker.holds_partial() && !chunker.has_lines());
        chunker.finish();
        let second = chunker.take(0, Micros(0), stream, true);
        assert_eq!(
            (second.start, second.end, texts(&second)),
            (11, 14, vec!["two".into()])
        );
    }
}
