//! The ledger thread's half: batches onto the disk, segments begun and removed.
//!
//! Invariant: a batch stays here until it is durable. After a failed write or sync its segment is
//! never touched again: the next attempt begins a new one, with the first frame that is not
//! durable.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile};
use super::super::durable::{self, UNFINISHED};
use super::super::error::StoreError;
use super::encoder::Batch;
use super::frame;
use super::recover::Recovery;
use super::segment::{self, HEADER, Header};
use crate::math;

/// A segment on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first frame.
    pub(super) first: u64,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

/// The segment being written.
#[derive(Debug)]
struct Current {
    file: Box<dyn DiskFile>,
    name: String,
    mask: u32,
    /// Streams that are described in it.
    described: HashSet<u64>,
}

/// The ledger thread's half.
#[derive(Debug)]
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    limit: u64,
    seed: u64,
    /// All segments, oldest first; the last is `current`, where there is one.
    segments: Vec<Segment>,
    current: Option<Current>,
    pending: VecDeque<Batch>,
    spare: Vec<Batch>,
    durable: u64,
    /// The number that the next batch must begin with.
    next: u64,
    /// The payloads of the descriptions of the streams that are not at their end.
    open: HashMap<u64, Box<[u8]>>,
    /// Descriptions that go before a batch.
    before: Vec<u8>,
    /// Segments left because of a failure.
    abandoned: u64,
}

/// Emptied batches kept for the encoder.
const SPARE: usize = 8;

impl SegmentWriter {
    /// Continues a recovered ledger, always in a new segment, once there is something to write.
    /// Segments end at `limit` bytes ([`super::SEGMENT_BYTES`]). From `seed` (the time, say) the
    /// segments' ids are drawn: it must not be the same in two runs.
    pub fn new(disk: Arc<dyn Disk>, recovery: &Recovery, limit: u64, seed: u64) -> SegmentWriter {
        SegmentWriter {
            disk,
            limit,
            seed,
            segments: recovery.segments.clone(),
            current: None,
            pending: VecDeque::new(),
            spare: Vec::new(),
            durable: recovery.next - 1,
            next: recovery.next,
            open: HashMap::new(),
            before: Vec::new(),
            abandoned: 0,
        }
    }

    /// The highest number that is durable, with all before it.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Segments on disk.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Streams whose descriptions are kept, to be written at the start of a segment.
    pub fn streams(&self) -> usize {
        self.open.len()
    }

    /// Segments that were left because of a failure.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Whether there are batches that are not durable.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// An emptied batch for the encoder to go on in.
    pub fn spare(&mut self) -> Option<Batch> {
        self.spare.pop()
    }

    /// Takes a batch over; it goes to disk with the next [`SegmentWriter::commit`].
    ///
    /// # Panics
    /// If it does not follow the one before: such a ledger could not be read again.
    pub fn push(&mut self, mut batch: Batch) {
        assert_eq!(batch.first, self.next, "batches come in order");
        self.next = batch.next;
        if batch.is_empty() {
            // What is pending may have to be written again, with its streams' descriptions.
            match self.pending.back_mut() {
                Some(before) => before.closed.append(&mut batch.closed),
                None => self.forget(&batch.closed),
            }
            self.keep(batch);
        } else {
            self.pending.push_back(batch);
        }
    }

    /// Writes and syncs everything taken over; gives the highest durable number.
    ///
    /// # Errors
    /// The first operation that failed. What is not durable is kept and the next call writes it
    /// again, elsewhere. Where [`StoreError::is_no_space`], that is worth trying every second; after
    /// any other error, once.
    pub fn commit(&mut self) -> Result<u64, StoreError> {
        let outcome = self.write_pending();
        if outcome.is_err() && self.current.take().is_some() {
            self.abandoned += 1;
        }
        outcome?;
        Ok(self.durable)
    }

    /// Marks the end as durable, so that damage to the last batch is told from a torn tail. For a
    /// clean stop, after a [`SegmentWriter::commit`] without error.
    ///
    /// # Errors
    /// The operation that failed; nothing durable is lost by it.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        let mut mark = Vec::new();
        frame::put_mark(&mut mark, self.durable + 1, self.durable);
        remask(&mut mark, current.mask);
        let path = self.disk.path(&current.name);
        current
            .file
            .append(&mark)
            .map_err(|source| StoreError::io("write", &path, source))?;
        current
            .file
            .sync_data()
            .map_err(|source| StoreError::io("sync", &path, source))
    }

    /// Removes the segments that hold nothing after `seq`; gives their number. To be called when
    /// two verified snapshots are past it. The newest segment always stays.
    ///
    /// # Errors
    /// The operation that failed; what is left is tried again with the next call.
    pub fn remove_before(&mut self, seq: u64) -> Result<u64, StoreError> {
        let mut removed = 0;
        while let [_, second, ..] = self.segments[..]
            && second.first <= seq.saturating_add(1)
        {
            let name = segment::name(self.segments[0].first);
            durable::remove_if_there(&*self.disk, &name)?;
            // One by one: if a crash undid the removal of a later one only, there would be a gap.
            durable::sync_dir(&*self.disk, "")?;
            self.segments.remove(0);
            removed += 1;
        }
        Ok(removed)
    }

    fn write_pending(&mut self) -> Result<(), StoreError> {
        let mut written = 0;
        while written < self.pending.len() {
            let size = self.pending[written].bytes.len() as u64;
            let full = self
                .segments
                .last()
                .is_some_and(|s| s.bytes > HEADER as u64 && s.bytes + size > self.limit);
            if self.current.is_some() && full {
                self.sync(written)?;
                written = 0;
                self.current = None;
            }
            if self.current.is_none() {
                self.begin(self.pending[written].first)?;
            }
            self.write(written)?;
            written += 1;
        }
        self.sync(written)
    }

    /// Begins a segment: its header is on disk before it has its name, and its name before it has
    /// a frame. One of the same name never had a frame that was durable, and is replaced.
    fn begin(&mut self, first: u64) -> Result<(), StoreError> {
        self.seed = self.seed.wrapping_add(1);
        let id = math::hash64(&first.to_le_bytes(), self.seed);
        let header = Header::new(id, first);
        let name = segment::name(first);
        let unfinished = format!("{name}{UNFINISHED}");
        durable::remove_if_there(&*self.disk, &unfinished)?;
        let failed = |action| {
            let path = self.disk.path(&unfinished);
            move |source| StoreError::io(action, &path, source)
        };
        let mut file = self
            .disk
            .create_new(&unfinished)
            .map_err(failed("create"))?;
        file.append(&header.encode()).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        self.disk
            .rename(&unfinished, &name)
            .map_err(failed("rename"))?;
        durable::sync_dir(&*self.disk, "")?;
        self.segments.retain(|segment| segment.first < first);
        self.segments.push(Segment {
            first,
            bytes: HEADER as u64,
        });
        self.current = Some(Current {
            file,
            name,
            mask: header.mask(),
            described: HashSet::new(),
        });
        Ok(())
    }

    /// Writes one pending batch to the current segment, after the descriptions of those of its
    /// streams that the segment does not have yet.
    fn write(&mut self, index: usize) -> Result<(), StoreError> {
        let batch = &mut self.pending[index];
        let current = self.current.as_mut().expect("a segment was begun");
        // The mark is rewritten whole: what is durable may have grown since the last attempt.
        let mut mark = Vec::with_capacity(frame::MARK_SIZE);
        frame::put_mark(&mut mark, batch.first, self.durable);
        remask(&mut mark, batch.mask);
        batch.bytes[..frame::MARK_SIZE].copy_from_slice(&mark);

        self.before.clear();
        let change = batch.mask ^ current.mask;
        let mut known = None;
        let mut at = 0;
        while let Some(head) = batch.bytes.get_mut(at..) {
            let Some(size) = remask_first(head, change) else {
                break;
            };
            let (kind, payload) = (head[frame::HEAD - 1], &head[frame::HEAD..size]);
            at += size;
            let Some(stream) = frame::stream_of(kind, payload) else {
                continue;
            };
            if kind == frame::OPEN {
                current.described.insert(stream);
                self.open.insert(stream, payload.into());
            } else if known != Some(stream) && current.described.insert(stream) {
                let description = self
                    .open
                    .get(&stream)
                    .expect("a stream is described in the batch of its first frame");
                let start = frame::begin(&mut self.before, batch.first, frame::OPEN);
                self.before.extend_from_slice(description);
                frame::finish(&mut self.before, start);
            }
            known = Some(stream);
        }
        batch.mask = current.mask;
        let mut at = 0;
        while let Some(size) = remask_first(&mut self.before[at..], current.mask) {
            at += size;
        }
        let last = self.segments.last_mut().expect("a segment was begun");
        let path = || self.disk.path(&current.name);
        for bytes in [&self.before, &batch.bytes] {
            if !bytes.is_empty() {
                current
                    .file
                    .append(bytes)
                    .map_err(|source| StoreError::io("write", &path(), source))?;
                last.bytes += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Makes the first `count` pending batches durable, which are written.
    fn sync(&mut self, count: usize) -> Result<(), StoreError> {
        let Some(current) = self.current.as_mut().filter(|_| count > 0) else {
            return Ok(());
        };
        current
            .file
            .sync_data()
            .map_err(|source| StoreError::io("sync", &self.disk.path(&current.name), source))?;
        for _ in 0..count {
            let batch = self.pending.pop_front().expect("so many were written");
            self.durable = batch.next - 1;
            self.forget(&batch.closed);
            self.keep(batch);
        }
        Ok(())
    }

    fn forget(&mut self, closed: &[u64]) {
        for stream in closed {
            self.open.remove(stream);
            if let Some(current) = &mut self.current {
                current.described.remove(stream);
            }
        }
    }

    fn keep(&mut self, batch: Batch) {
        if self.spare.len() < SPARE {
            self.spare.push(batch);
        }
    }
}

/// Combines the checksum of the frame that the bytes begin with with a change of mask; gives the
/// frame's size, `None` where there is none.
fn remask_first(bytes: &mut [u8], change: u32) -> Option<usize> {
    let head = bytes.first_chunk_mut::<{ frame::UNCOUNTED }>()?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let crc = u32::from_le_bytes([c0, c1, c2, c3]) ^ change;
    head[4..].copy_from_slice(&crc.to_le_bytes());
    Some(u32::from_le_bytes([l0, l1, l2, l3]) as usize + frame::UNCOUNTED)
}

fn remask(frame: &mut [u8], mask: u32) {
    remask_first(frame, mask);
}
