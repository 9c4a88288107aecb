//! Cutting a stream of bytes into records, whatever the sizes in which the bytes arrive.
//!
//! Invariant: the lines (and which of them are too long) depend on the bytes alone, never on how
//! they were split into reads; memory stays within one record's limit plus one read.

use super::LineSpan;

/// Knows where a record of one format ends.
pub trait Framer: Send + Sync {
    /// The index after the end of the first record in `bytes` (its newline included), or `None`
    /// if it does not end here. The first `scanned` bytes were seen before and end no record.
    fn record_end(&self, bytes: &[u8], scanned: usize) -> Option<usize>;
}

/// Collects bytes and gives them back as whole records.
pub struct Cutter {
    framer: Box<dyn Framer>,
    limit: usize,
    /// Bytes not yet given out; `buffer[..start]` is spent.
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    /// In the middle of a line that is too long: its beginning; the rest goes until its end.
    discarding: Option<Vec<u8>>,
    at_beginning: bool,
    offset: u64,
    /// Bytes of the line being discarded that are gone already.
    held: u64,
    /// NUL bytes skipped since last asked.
    skipped: u64,
}

/// How many bytes of a line that is too long are kept to show in the error.
const SHOWN_OF_TOO_LONG: usize = 128;

impl Cutter {
    /// A cutter for records of at most `limit` bytes, at `offset` of its stream.
    pub fn new(framer: Box<dyn Framer>, limit: usize, offset: u64) -> Cutter {
        Cutter {
            framer,
            limit,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            discarding: None,
            at_beginning: offset == 0,
            offset,
            held: 0,
            skipped: 0,
        }
    }

    /// How many NUL bytes at the beginning of lines were skipped since the last call. A writer
    /// that keeps its offset over a truncation leaves such a hole, and so does a power cut.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Offset in the stream up to which lines have been given out.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether bytes of an unfinished record are held.
    pub fn holds_partial(&self) -> bool {
        self.discarding.is_some() || self.start < self.buffer.len()
    }

    /// Adds bytes and appends every record that they complete to `bytes` and `lines`.
    pub fn push(&mut self, mut input: &[u8], bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
        // A record ends with a line: once the one that was held is whole, the others can be given
        // out without a stay in the buffer. Tried with one line only, since each attempt may look
        // at all that is held.
        if (self.holds_partial() || self.at_beginning)
            && let Some(end) = memchr::memchr(b'\n', input)
        {
            let (line, rest) = input.split_at(end + 1);
            self.hold(line, bytes, lines);
            input = rest;
        }
        if !self.holds_partial() && !self.at_beginning {
            input = self.give_whole(input, bytes, lines);
        }
        if !input.is_empty() {
            self.hold(input, bytes, lines);
        }
    }

    /// Gives out the records that lie wholly in the input; returns what is left.
    fn give_whole<'a>(
        &mut self,
        mut input: &'a [u8],
        bytes: &mut Vec<u8>,
        lines: &mut Vec<LineSpan>,
    ) -> &'a [u8] {
        while input.first() != Some(&0)
            && let Some(end) = self.framer.record_end(input, 0)
            && end <= self.limit + 2
        {
            push_record(&input[..end], self.limit, bytes, lines);
            self.offset += end as u64;
            input = &input[end..];
        }
        input
    }

    fn hold(&mut self, input: &[u8], bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
        self.buffer.extend_from_slice(input);
        self.drain(bytes, lines);
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// The stream has ended: what is left is a record too, though no newline ends it.
    pub fn finish(&mut self, bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
        if let Some(beginning) = self.discarding.take() {
            push_line(&beginning, true, bytes, lines);
            self.offset += self.held + (self.buffer.len() - self.start) as u64;
            self.held = 0;
        } else if self.start < self.buffer.len() {
            let end = self.buffer.len();
            self.give(end, bytes, lines);
        }
        self.buffer.clear();
        self.start = 0;
        self.scanned = 0;
    }

    fn drain(&mut self, bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
        if self.at_beginning && !self.strip_byte_order_mark() {
            return;
        }
        loop {
            let pending = &self.buffer[self.start..];
            if self.discarding.is_some() {
                let end = memchr::memchr(b'\n', pending).map(|i| i + 1);
                let spent = end.unwrap_or(pending.len());
                self.start += spent;
                self.held += spent as u64;
                if end.is_none() {
                    return;
                }
                // Only now is the line given out, so that `offset` always lies between two lines.
                if let Some(beginning) = self.discarding.take() {
                    push_line(&beginning, true, bytes, lines);
                }
                self.offset += std::mem::take(&mut self.held);
                continue;
            }
            if self.scanned == 0 && pending.first() == Some(&0) {
                let hole = pending.iter().position(|&b| b != 0);
                let hole = hole.unwrap_or(pending.len());
                self.start += hole;
                self.offset += hole as u64;
                self.skipped += hole as u64;
                continue;
            }
            match self.framer.record_end(pending, self.scanned) {
                // Judged by the limit alone, so that a record found whole and one seen piece by
                // piece are refused alike.
                Some(end) if end <= self.limit + 2 => {
                    let end = self.start + end;
                    self.give(end, bytes, lines);
                }
                _ if pending.len() > self.limit + 2 => {
                    // In a quoted record a newline may lie inside: the damage ends at the first
                    // one, so that one stray quote costs one line and not the rest of the stream.
                    self.discarding = Some(pending[..SHOWN_OF_TOO_LONG.min(self.limit)].to_vec());
                    self.scanned = 0;
                }
                _ => {
                    self.scanned = pending.len();
                    return;
                }
            }
        }
    }

    /// Strips a byte order mark at the very start; false while it cannot be told yet.
    fn strip_byte_order_mark(&mut self) -> bool {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        let seen = &self.buffer[self.start..];
        if seen.len() < MARK.len() && MARK.starts_with(seen) {
            return false;
        }
        self.at_beginning = false;
        if seen.starts_with(MARK) {
            self.start += MARK.len();
            self.offset += MARK.len() as u64;
        }
        true
    }

    /// Gives out `buffer[start..end]`, its line end removed.
    fn give(&mut self, end: usize, bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
        let record = &self.buffer[self.start..end];
        push_record(record, self.limit, bytes, lines);
        self.offset += record.len() as u64;
        self.start = end;
        self.scanned = 0;
    }
}

/// Appends a record, its line end removed; the beginning of one that is too long.
fn push_record(record: &[u8], limit: usize, bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
    let mut length = record.len();
    if record.last() == Some(&b'\n') {
        length -= 1;
        if length > 0 && record[length - 1] == b'\r' {
            length -= 1;
        }
    }
    let too_long = length > limit;
    let kept = if too_long {
        SHOWN_OF_TOO_LONG.min(limit)
    } else {
        length
    };
    push_line(&record[..kept], too_long, bytes, lines);
}

fn push_line(line: &[u8], too_long: bool, bytes: &mut Vec<u8>, lines: &mut Vec<LineSpan>) {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(line);
    lines.push(LineSpan {
        start,
        end: bytes.len() as u32,
        too_long,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Newlines;
    impl Framer for Newlines {
        fn record_end(&self, bytes: &[u8], scanned: usize) -> Option<usize> {
            memchr::memchr(b'\n', &bytes[scanned..]).map(|i| scanned + i + 1)
        }
    }

    fn cut(input: &[u8], sizes: &[usize], limit: usize) -> (Vec<(Vec<u8>, bool)>, u64) {
        let mut cutter = Cutter::new(Box::new(Newlines), limit, 0);
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        let mut rest = input;
        let mut i = 0;
        while !rest.is_empty() {
            let n = sizes[i % sizes.len()].clamp(1, rest.len());
            cutter.push(&rest[..n], &mut bytes, &mut lines);
            rest = &rest[n..];
            i += 1;
        }
        cutter.finish(&mut bytes, &mut lines);
        let lines = lines
            .iter()
            .map(|l| (bytes[l.start as usize..l.end as usize].to_vec(), l.too_long))
            .collect();
        (lines, cutter.offset())
    }

    #[test]
    fn cuts_lines_and_strips_line_ends_and_one_byte_order_mark() {
        let (lines, end) = cut(b"\xEF\xBB\xBFa\r\n\nb", &[2], 100);
        let texts: Vec<&[u8]> = lines.iter().map(|l| l.0.as_slice()).collect();
        assert_eq!(texts, [b"a".as_slice(), b"", b"b"]);
        assert_eq!(end, 8);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_once_and_the_next_is_read() {
        let input = [vec![b'x'; 5000], b"\nok\n".to_vec()].concat();
        let (lines, end) = cut(&input, &[7], 100);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].1 && lines[0].0.len() <= 128);
        assert_eq!(lines[1], (b"ok".to_vec(), false));
        assert_eq!(end, input.len() as u64);
    }

    #[test]
    fn holes_at_the_beginning_of_a_line_are_skipped_and_counted() {
        let mut cutter = Cutter::new(Box::new(Newlines), 10, 0);
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        cutter.push(&[0; 500], &mut bytes, &mut lines);
        assert!(!cutter.holds_partial());
        assert_eq!((cutter.offset(), cutter.take_skipped()), (500, 500));
        cutter.push(b"\0a\n\0\0b\0c\n", &mut bytes, &mut lines);
        assert_eq!((cutter.offset(), cutter.take_skipped()), (509, 3));
        assert_eq!(bytes, b"ab\0c");
    }

    #[test]
    fn the_offset_never_lies_within_a_line() {
        let mut cutter = Cutter::new(Box::new(Newlines), 10, 0);
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        cutter.push(&[b'x'; 50], &mut bytes, &mut lines);
        assert_eq!((cutter.offset(), lines.len()), (0, 0));
        cutter.push(b"xx\nok\n", &mut bytes, &mut lines);
        assert_eq!((cutter.offset(), lines.len()), (56, 2));
    }

    #[test]
    fn a_record_of_many_lines_is_not_looked_at_once_a_line() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        /// A quoted record whose end has not come yet.
        struct Open(Arc<AtomicUsize>);
        impl Framer for Open {
            fn record_end(&self, _: &[u8], _: usize) -> Option<usize> {
                self.0.fetch_add(1, Ordering::Relaxed);
                None
            }
        }

        let looks = Arc::new(AtomicUsize::new(0));
        let mut cutter = Cutter::new(Box::new(Open(Arc::clone(&looks))), 1 << 20, 0);
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            cutter.push(&[b'\n'; 10_000], &mut bytes, &mut lines);
        }
        assert!(looks.load(Ordering::Relaxed) <= 9);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(0), any::<u8>()], 0..400),
            sizes in proptest::collection::vec(1usize..50, 1..5),
        ) {
            prop_assert_eq!(cut(&input, &sizes, 20), cut(&input, &[100_000], 20));
        }
    }
}
