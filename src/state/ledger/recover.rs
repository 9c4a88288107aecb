//! From segments back to frames, after whatever happened.
//!
//! Invariant: frames come in order and without a gap, each as it was written; on an error nothing
//! on disk has changed.
//!
//! What may be there after crashes and failures, and what is made of it:
//! * The last segment ends in bytes that are no frame: they were on their way when everything
//!   stopped. They are cut off and counted, unless a mark behind them, or a later segment's name,
//!   says that the frame that should be there was durable: that is damage.
//! * A segment that is not the last ends in anything after the frame before the next segment's
//!   first: it was abandoned after a failure, and the frames were written again there. Passed over
//!   and counted.
//! * The last segment was never synced since its last frames were written. So it is settled before
//!   it is read: what recovery has seen stays.
//! * The snapshot is ahead of the ledger, or the ledger is not there: a snapshot is written only
//!   after the ledger is durable up to it, so someone took it away. [`Lost`] says what then.

use std::collections::HashMap;

use super::super::ENGINE;
use super::super::disk::Disk;
use super::super::durable;
use super::super::error::StoreError;
use super::frame::{self, Frame, Stream};
use super::reader::{FrameReader, Next};
use super::segment::{self, HEADER};
use super::writer::Segment;
use crate::base::LineSpan;

/// What to do where the ledger ends before the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Stop: what was taken after the snapshot may be lost.
    Refuse,
    /// Go on after the snapshot: someone has said that it is so.
    Accept,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The number that the next frame gets.
    pub next: u64,
    /// Frames given.
    pub frames: u64,
    /// Bytes that were cut off the end.
    pub torn_bytes: u64,
    /// Bytes passed over in segments that were abandoned after a failure.
    pub abandoned_bytes: u64,
    /// The ledger ended before the snapshot, and that was accepted.
    pub lost: bool,
    /// The segments, oldest first.
    pub(super) segments: Vec<Segment>,
}

/// Reads the ledger and gives each frame after number `from` (the snapshot's `ledger_seq`, 0 where
/// there is no snapshot) to `each`, with its number. The disk must be this process's alone.
///
/// # Errors
/// Damage, a ledger that is not there or ends before `from` (unless `lost` accepts that), another
/// engine's frames after `from`, a failure of the system; whatever `each` returns.
pub fn recover<E: From<StoreError>>(
    disk: &dyn Disk,
    from: u64,
    lost: Lost,
    mut each: impl FnMut(u64, Frame<'_>) -> Result<(), E>,
) -> Result<Recovery, E> {
    let (firsts, unfinished) = list(disk)?;
    let mut recovery = Recovery::default();
    let mut end = 0;
    let mut cut = None;
    if let Some(newest) = firsts.last() {
        if firsts[0] > from.saturating_add(1) {
            return Err(StoreError::LedgerGap {
                path: disk.path(&segment::name(firsts[0])),
                first: firsts[0],
                snapshot: from,
            }
            .into());
        }
        let name = segment::name(*newest);
        let settled = durable::sync_dir(disk, "").and_then(|()| {
            disk.settle(&name)
                .map_err(|source| StoreError::io("sync", &disk.path(&name), source))
        });
        settled?;
        let begin = firsts.partition_point(|first| *first <= from.saturating_add(1)) - 1;
        let mut streams = HashMap::new();
        for (index, &first) in firsts.iter().enumerate().skip(begin) {
            let mut scan = Scan::open(disk, first, firsts.get(index + 1).copied())?;
            scan.run(from, &mut streams, &mut recovery, &mut each)?;
            end = scan.expected - 1;
            let tail = scan.tail(&mut recovery)?;
            cut = tail.map(|length| (scan.name, length));
        }
    }
    recovery.next = end.max(from).saturating_add(1);
    if end < from {
        if lost == Lost::Refuse {
            return Err(StoreError::LedgerBehind {
                dir: disk.path(""),
                end: (!firsts.is_empty()).then_some(end),
                snapshot: from,
            }
            .into());
        }
        recovery.lost = true;
    }
    if let Some((name, length)) = cut {
        disk.truncate(&name, length)
            .map_err(|source| StoreError::io("cut", &disk.path(&name), source))?;
    }
    for name in unfinished {
        durable::remove_if_there(disk, &name)?;
    }
    for first in firsts {
        let name = segment::name(first);
        let bytes = match disk.open(&name) {
            Ok(file) => file.map_or(0, |file| file.length()),
            Err(source) => return Err(StoreError::io("read", &disk.path(&name), source).into()),
        };
        recovery.segments.push(Segment { first, bytes });
    }
    Ok(recovery)
}

/// The first numbers of the segments, in order, and the names of those that were never finished.
fn list(disk: &dyn Disk) -> Result<(Vec<u64>, Vec<String>), StoreError> {
    let names = disk
        .list("")
        .map_err(|source| StoreError::io("list", &disk.path(""), source))?;
    let mut firsts: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::first_in(name))
        .collect();
    firsts.sort_unstable();
    let unfinished = names
        .into_iter()
        .filter(|name| segment::is_unfinished(name))
        .collect();
    Ok((firsts, unfinished))
}

/// A stream, and the segment that described it last.
type Streams = HashMap<u64, (Stream, u64)>;

/// One segment while it is read.
struct Scan<'a> {
    disk: &'a dyn Disk,
    name: String,
    first: u64,
    engine: u32,
    /// The first number of the segment after this one.
    following: Option<u64>,
    reader: FrameReader,
    /// The number of the next frame.
    expected: u64,
    /// Why reading stopped before the end.
    invalid: Option<&'static str>,
}

impl<'a> Scan<'a> {
    fn open(
        disk: &'a dyn Disk,
        first: u64,
        following: Option<u64>,
    ) -> Result<Scan<'a>, StoreError> {
        let name = segment::name(first);
        let path = || disk.path(&name);
        let damaged = |reason: &str| StoreError::LedgerDamaged {
            path: path(),
            offset: 0,
            seq: first,
            reason: reason.to_owned(),
        };
        let failed = |source| StoreError::io("read", &path(), source);
        let file = disk.open(&name).map_err(failed)?;
        let file = file.ok_or_else(|| damaged("not a regular file"))?;
        #[cfg(test)]
        let check = !disk.ignores_checksums();
        #[cfg(not(test))]
        let check = true;
        let opened = FrameReader::open(file, check).map_err(failed)?;
        let (header, reader) = opened.map_err(damaged)?;
        if header.first != first {
            return Err(damaged("its header has another number than its name"));
        }
        Ok(Scan {
            disk,
            first,
            engine: header.engine,
            following,
            reader,
            expected: first,
            invalid: None,
            name,
        })
    }

    fn damaged(&self, offset: u64, reason: impl Into<String>) -> StoreError {
        StoreError::LedgerDamaged {
            path: self.disk.path(&self.name),
            offset,
            seq: self.expected,
            reason: reason.into(),
        }
    }

    /// Reads up to the next segment's first frame, or as far as there are frames.
    fn run<E: From<StoreError>>(
        &mut self,
        from: u64,
        streams: &mut Streams,
        recovery: &mut Recovery,
        each: &mut impl FnMut(u64, Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut lines: Vec<LineSpan> = Vec::new();
        while self.following.is_none_or(|first| self.expected < first) {
            let offset = self.reader.offset();
            let seq = self.expected;
            let malformed = |reason: String| StoreError::LedgerDamaged {
                path: self.disk.path(&self.name),
                offset,
                seq,
                reason,
            };
            let raw = match self.reader.next() {
                Ok(Next::Frame(raw)) => raw,
                Ok(Next::End) => break,
                Ok(Next::Invalid(reason)) => {
                    self.invalid = Some(reason);
                    break;
                }
                Err(source) => {
                    return Err(StoreError::io("read", &self.disk.path(&self.name), source).into());
                }
            };
            if raw.seq != seq {
                return Err(malformed(format!("the frame there has number {}", raw.seq)).into());
            }
            if raw.kind == frame::MARK {
                continue;
            }
            if raw.kind == frame::OPEN {
                let stream = frame::open_stream(raw.payload)
                    .ok_or_else(|| malformed("a stream's description is malformed".to_owned()))?;
                self.describe(stream, streams);
                continue;
            }
            let number = frame::stream_of(raw.kind, raw.payload);
            let stream = number
                .and_then(|number| streams.get(&number))
                .filter(|(_, segment)| *segment == self.first)
                .map(|(stream, _)| stream);
            let decoded = frame::decode(raw, stream, &mut lines)
                .ok_or_else(|| malformed("the frame is malformed".to_owned()))?;
            let last = matches!(
                decoded,
                Frame::Data(frame::Data { last: true, .. })
                    | Frame::Extent(frame::Extent { last: true, .. })
            );
            if seq > from {
                if self.engine != ENGINE {
                    return Err(StoreError::LedgerVersion {
                        path: self.disk.path(&self.name),
                        found: self.engine,
                        ours: ENGINE,
                    }
                    .into());
                }
                each(seq, decoded)?;
                recovery.frames += 1;
            }
            if last && let Some(number) = number {
                streams.remove(&number);
            }
            self.expected += 1;
        }
        // A stream that goes on is described again in the next segment.
        streams.retain(|_, (_, segment)| *segment == self.first);
        Ok(())
    }

    /// A stream that goes on keeps its identity, so that whoever follows it sees one stream.
    fn describe(&self, stream: Stream, streams: &mut Streams) {
        streams
            .entry(stream.ledger)
            .and_modify(|(_, segment)| *segment = self.first)
            .or_insert((stream, self.first));
    }

    /// Judges what follows the last frame; gives the length to cut the segment to.
    fn tail(&mut self, recovery: &mut Recovery) -> Result<Option<u64>, StoreError> {
        let failed = |source| StoreError::io("read", &self.disk.path(&self.name), source);
        let mut left = self.reader.left();
        // A segment that was sealed ends in a mark.
        while let Next::Frame(raw) = self.reader.next().map_err(failed)?
            && raw.kind == frame::MARK
        {
            left = self.reader.left();
        }
        let offset = self.reader.offset();
        let reason = self.invalid.unwrap_or("it ends here");
        if let Some(following) = self.following {
            if self.expected < following {
                let reason = format!("{reason}, and the next segment begins with {following}");
                return Err(self.damaged(offset, reason));
            }
            recovery.abandoned_bytes += left;
            return Ok(None);
        }
        if left == 0 {
            return Ok(None);
        }
        let marked = self.reader.marked().map_err(failed)?;
        if marked >= self.expected {
            let reason = format!("{reason}, and a later mark says that {marked} was durable");
            return Err(self.damaged(offset, reason));
        }
        recovery.torn_bytes += left;
        debug_assert!(offset >= HEADER as u64);
        Ok(Some(offset))
    }
}

impl Recovery {
    /// The number of the oldest frame that is there; `None` where no segment is.
    pub fn oldest(&self) -> Option<u64> {
        self.segments.first().map(|segment| segment.first)
    }
}
