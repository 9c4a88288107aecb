//! The learner's half: gives numbers, and turns chunks into the bytes of frames.
//!
//! Invariant: numbers are consecutive, and a frame that was refused took none. In the steady state
//! nothing is allocated: batches go round between this half and the writer.

use std::collections::HashMap;

use super::frame::{self, Request};
use crate::base::{Chunk, Micros};

/// A batch of so many bytes is due to be committed.
pub const GROUP_BYTES: usize = 1 << 20;
/// A batch of so many records is due to be committed.
pub const GROUP_RECORDS: u64 = 4096;

/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 256;

/// More than the fixed fields of any frame.
const FIELDS: usize = 128;
/// More than one line takes in a chunk's table.
const LINE: usize = 12;

/// Something too long to be framed; it took no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes exceed what one entry of the ledger holds ({limit} bytes)")]
pub struct FrameTooLong {
    /// Its bytes.
    pub found: usize,
    /// The bytes allowed.
    pub limit: usize,
}

/// Frames on their way to the disk: what is written and synced at once, or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    /// Room for a mark, then the frames.
    pub(super) bytes: Vec<u8>,
    /// The number of its first frame.
    pub(super) first: u64,
    /// The number after its last frame.
    pub(super) next: u64,
    /// Lines in it.
    pub(super) records: u64,
    /// What the frames' checksums are combined with at the moment.
    pub(super) mask: u32,
    /// Streams whose last frame is in it.
    pub(super) closed: Vec<u64>,
}

impl Batch {
    fn reset(&mut self, first: u64) {
        self.bytes.clear();
        self.first = first;
        self.next = first;
        self.records = 0;
        self.mask = 0;
        self.closed.clear();
        frame::put_mark(&mut self.bytes, first, 0);
    }

    /// Whether no frame is in it.
    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Lines in it, and one for each frame that has none.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The bytes that it takes on disk.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has grown enough to be committed without waiting for more.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= GROUP_BYTES || self.records >= GROUP_RECORDS
    }
}

/// The learner's half of the ledger.
#[derive(Debug)]
pub struct Encoder {
    batch: Batch,
    /// The streams that have frames and are not at their end, by source and number.
    streams: HashMap<(u16, u64), u64>,
}

impl Encoder {
    /// An encoder whose first frame gets the number `next` (see [`super::Recovery::next`]).
    pub fn new(next: u64) -> Encoder {
        let mut batch = Batch::default();
        batch.reset(next);
        Encoder {
            batch,
            streams: HashMap::new(),
        }
    }

    /// The number that the next frame will get.
    pub fn next(&self) -> u64 {
        self.batch.next
    }

    /// What has gathered since [`Encoder::take`].
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Hands over what has gathered, and goes on in `spare` (an emptied batch, or a new one).
    pub fn take(&mut self, mut spare: Batch) -> Batch {
        spare.reset(self.batch.next);
        std::mem::replace(&mut self.batch, spare)
    }

    /// A chunk with its bytes; gives the frame's number. `source` is the source's name, `request`
    /// the idempotency key that stands or falls with it.
    ///
    /// # Errors
    /// More than [`super::MAX_FRAME`] bytes, or a key longer than [`MAX_KEY`].
    pub fn data(
        &mut self,
        source: &str,
        chunk: &Chunk,
        request: Option<Request<'_>>,
    ) -> Result<u64, FrameTooLong> {
        let key = request.map_or(0, |request| request.key.len());
        limit(key, MAX_KEY)?;
        fits(chunk.bytes.len() + chunk.lines.len().saturating_mul(LINE) + key)?;
        let stream = self.stream(source, chunk)?;
        let seq = self.batch.next;
        let start = frame::begin(&mut self.batch.bytes, seq, frame::DATA);
        frame::put_data(&mut self.batch.bytes, stream, chunk, request);
        self.end(start, chunk.lines.len() as u64);
        self.close_if_last(chunk, stream);
        Ok(seq)
    }

    /// A chunk whose bytes can be read again: where they are.
    ///
    /// # Errors
    /// The description of its stream is too long.
    pub fn extent(&mut self, source: &str, chunk: &Chunk) -> Result<u64, FrameTooLong> {
        let stream = self.stream(source, chunk)?;
        let seq = self.batch.next;
        let start = frame::begin(&mut self.batch.bytes, seq, frame::EXTENT);
        frame::put_extent(&mut self.batch.bytes, stream, chunk);
        self.end(start, chunk.lines.len() as u64);
        self.close_if_last(chunk, stream);
        Ok(seq)
    }

    /// Something that is not a record.
    ///
    /// # Errors
    /// More than [`super::MAX_FRAME`] bytes.
    pub fn control(&mut self, what: u8, model: u32, bytes: &[u8]) -> Result<u64, FrameTooLong> {
        fits(bytes.len())?;
        let seq = self.batch.next;
        let start = frame::begin(&mut self.batch.bytes, seq, frame::CONTROL);
        self.batch.bytes.push(what);
        self.batch.bytes.extend_from_slice(&model.to_le_bytes());
        self.batch.bytes.extend_from_slice(bytes);
        self.end(start, 1);
        Ok(seq)
    }

    /// The time, where something depends on it.
    pub fn tick(&mut self, now: Micros) -> u64 {
        let seq = self.batch.next;
        let start = frame::begin(&mut self.batch.bytes, seq, frame::TICK);
        self.batch.bytes.extend_from_slice(&now.0.to_le_bytes());
        self.end(start, 1);
        seq
    }

    /// Forgets a stream that ended without a chunk that says so.
    pub fn close(&mut self, source: u16, number: u64) {
        if let Some(stream) = self.streams.remove(&(source, number)) {
            self.batch.closed.push(stream);
        }
    }

    fn end(&mut self, start: usize, records: u64) {
        frame::finish(&mut self.batch.bytes, start);
        self.batch.next += 1;
        self.batch.records += records.max(1);
    }

    fn close_if_last(&mut self, chunk: &Chunk, stream: u64) {
        if chunk.last {
            self.streams.remove(&(chunk.source, chunk.stream.number));
            self.batch.closed.push(stream);
        }
    }

    /// The ledger's number for a chunk's stream; one that is new is described first.
    fn stream(&mut self, source: &str, chunk: &Chunk) -> Result<u64, FrameTooLong> {
        let key = (chunk.source, chunk.stream.number);
        if let Some(stream) = self.streams.get(&key) {
            return Ok(*stream);
        }
        let name = &chunk.stream;
        fits(source.len() + name.identity.len() + name.name.len())?;
        let seq = self.batch.next;
        let start = frame::begin(&mut self.batch.bytes, seq, frame::OPEN);
        frame::put_open(&mut self.batch.bytes, seq, source, name);
        frame::finish(&mut self.batch.bytes, start);
        self.streams.insert(key, seq);
        Ok(seq)
    }
}

fn fits(bytes: usize) -> Result<(), FrameTooLong> {
    limit(bytes, frame::MAX_FRAME - FIELDS)
}

fn limit(found: usize, limit: usize) -> Result<(), FrameTooLong> {
    if found <= limit {
        Ok(())
    } else {
        Err(FrameTooLong { found, limit })
    }
}
