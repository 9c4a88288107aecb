//! How a frame lies in a segment, and what it says.
//!
//! Frame: `length u32 | crc32c u32 | seq u64 | kind u8 | payload`, all little-endian. The length
//! counts what follows the checksum; the checksum is over the length and all that follows it, and
//! is combined (exclusive or) with the segment's mask.
//!
//! Invariant: whatever the bytes, decoding returns, and it takes no memory by a length that it has
//! not compared with the bytes there.

use std::sync::Arc;

use crate::base::{Chunk, LineSpan, Micros, StreamName};

/// Bytes before the payload.
pub(super) const HEAD: usize = 17;
/// Bytes of a frame that its length does not count: the length and the checksum.
pub(super) const UNCOUNTED: usize = 8;
/// What the length counts besides the payload: number and kind.
const COUNTED: usize = HEAD - UNCOUNTED;

/// Longest frame, in bytes of number, kind and payload.
pub const MAX_FRAME: usize = i32::MAX as usize;

/// Says how far the ledger was durable when the batch that it opens was written. Has the number of
/// the frame after it.
pub(super) const MARK: u8 = 1;
/// Describes a stream. Has the number of the frame after it.
pub(super) const OPEN: u8 = 2;
/// Bytes of a stream, as lines.
pub(super) const DATA: u8 = 3;
/// A part of a stream that can be read again.
pub(super) const EXTENT: u8 = 4;
/// Something that is not a record.
pub(super) const CONTROL: u8 = 5;
/// The time, where something depends on it.
pub(super) const TICK: u8 = 6;

/// Bytes of a whole mark.
pub(super) const MARK_SIZE: usize = HEAD + 8;

const LAST: u8 = 1;
const REQUEST: u8 = 2;

/// A stream that frames are of.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The number of the first frame that the ledger has of it: never given to another stream.
    pub ledger: u64,
    /// The name of its source.
    pub source: String,
    /// As it was when the frames were written; its `number` is that run's.
    pub name: Arc<StreamName>,
}

/// An idempotency key whose records are in the same frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The key.
    pub key: &'a str,
    /// Records accepted.
    pub accepted: u32,
    /// Lines rejected.
    pub rejected: u32,
}

/// Lines of a stream with their bytes.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Which stream.
    pub stream: &'a Stream,
    /// When the bytes were received.
    pub received: Micros,
    /// Offset of the first byte accounted for.
    pub start: u64,
    /// Offset after the last line.
    pub end: u64,
    /// Nothing of this stream follows.
    pub last: bool,
    /// The request that brought them, where it had a key.
    pub request: Option<Request<'a>>,
    /// Where the lines lie in the bytes.
    pub lines: &'a [LineSpan],
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Data<'_> {
    /// The chunk that was written; `source` is the source's index in the configuration.
    pub fn to_chunk(&self, source: u16) -> Chunk {
        Chunk {
            source,
            received: self.received,
            stream: Arc::clone(&self.stream.name),
            start: self.start,
            end: self.end,
            last: self.last,
            bytes: self.bytes.to_vec(),
            lines: self.lines.to_vec(),
        }
    }
}

/// A part of a stream that can be read again.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// Which stream.
    pub stream: &'a Stream,
    /// When it was read.
    pub received: Micros,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset after its last line.
    pub end: u64,
    /// Its lines.
    pub lines: u32,
    /// Nothing of this stream follows.
    pub last: bool,
}

/// Something that is not a record: a label, feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// What it is; the engine's to define.
    pub what: u8,
    /// Which model it is for.
    pub model: u32,
    /// The rest.
    pub bytes: &'a [u8],
}

/// What one number of the ledger stands for.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// Lines with their bytes.
    Data(Data<'a>),
    /// Lines that can be read again.
    Extent(Extent<'a>),
    /// A label, feedback.
    Control(Control<'a>),
    /// The time.
    Tick(Micros),
}

/// A frame as it lies in a segment, its checksum found right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) seq: u64,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

/// Begins a frame at the end of the buffer; gives its place, for [`finish`].
pub(super) fn begin(out: &mut Vec<u8>, seq: u64, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; UNCOUNTED]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.push(kind);
    start
}

/// Ends the frame that began at `start`: its length and its checksum, without a mask.
pub(super) fn finish(out: &mut [u8], start: usize) {
    let length = (out.len() - start - UNCOUNTED) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&out[start..]);
    out[start + 4..start + UNCOUNTED].copy_from_slice(&crc.to_le_bytes());
}

/// The checksum that belongs to a whole frame, without a mask.
pub(super) fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[UNCOUNTED..])
}

/// The length that a frame's first bytes give for the whole of it; `None` for one that no frame
/// has.
pub(super) fn size(head: [u8; 4]) -> Option<u64> {
    let counted = u32::from_le_bytes(head) as usize;
    (COUNTED..=MAX_FRAME)
        .contains(&counted)
        .then_some((counted + UNCOUNTED) as u64)
}

/// A whole frame taken apart; `None` if its checksum is another.
pub(super) fn open(frame: &[u8], mask: u32, check: bool) -> Option<Raw<'_>> {
    let (head, payload) = frame.split_first_chunk::<HEAD>()?;
    let [_, _, _, _, c0, c1, c2, c3, seq @ .., kind] = *head;
    if check && u32::from_le_bytes([c0, c1, c2, c3]) != checksum(frame) ^ mask {
        return None;
    }
    Some(Raw {
        seq: u64::from_le_bytes(seq),
        kind,
        payload,
    })
}

/// Appends a whole mark.
pub(super) fn put_mark(out: &mut Vec<u8>, seq: u64, durable: u64) {
    let start = begin(out, seq, MARK);
    out.extend_from_slice(&durable.to_le_bytes());
    finish(out, start);
}

/// What a mark says.
pub(super) fn mark(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.try_into().ok()?))
}

/// The stream that a frame is of, where its kind has one.
pub(super) fn stream_of(kind: u8, payload: &[u8]) -> Option<u64> {
    matches!(kind, OPEN | DATA | EXTENT)
        .then(|| payload.first_chunk().copied().map(u64::from_le_bytes))?
}

/// The payload of a stream's description.
pub(super) fn put_open(out: &mut Vec<u8>, ledger: u64, source: &str, name: &StreamName) {
    out.extend_from_slice(&ledger.to_le_bytes());
    out.extend_from_slice(&name.number.to_le_bytes());
    for text in [source.as_bytes(), &name.identity, name.name.as_bytes()] {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
}

/// A stream from its description.
pub(super) fn open_stream(payload: &[u8]) -> Option<Stream> {
    let mut rest = Rest(payload);
    let ledger = rest.u64()?;
    let number = rest.u64()?;
    let source = rest.text()?;
    let identity = rest.sized()?.to_vec();
    let name = rest.text()?;
    rest.is_empty().then(|| Stream {
        ledger,
        source: source.to_owned(),
        name: Arc::new(StreamName {
            number,
            name: name.to_owned(),
            identity,
        }),
    })
}

/// The payload of a chunk: one copy of its bytes.
pub(super) fn put_data(
    out: &mut Vec<u8>,
    ledger: u64,
    chunk: &Chunk,
    request: Option<Request<'_>>,
) {
    put_place(out, ledger, chunk.received, chunk.start, chunk.end);
    out.push(u8::from(chunk.last) * LAST + u8::from(request.is_some()) * REQUEST);
    if let Some(request) = request {
        out.extend_from_slice(&request.accepted.to_le_bytes());
        out.extend_from_slice(&request.rejected.to_le_bytes());
        out.extend_from_slice(&(request.key.len() as u32).to_le_bytes());
        out.extend_from_slice(request.key.as_bytes());
    }
    out.extend_from_slice(&(chunk.lines.len() as u32).to_le_bytes());
    let table = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut before = 0u32;
    for line in &chunk.lines {
        // Lines lie one after the other, an ending of one or two bytes between them, so the gap
        // mostly fits in two bits. Wrapping, so that any spans come back as they were.
        let gap = line.start.wrapping_sub(before);
        let length = line.end.wrapping_sub(line.start);
        let near = gap < 3;
        let gap_bits = if near { u64::from(gap) } else { 3 };
        put_varint(
            out,
            u64::from(length) << 3 | u64::from(line.too_long) << 2 | gap_bits,
        );
        if !near {
            put_varint(out, u64::from(gap));
        }
        before = line.end;
    }
    let length = (out.len() - table - 4) as u32;
    out[table..table + 4].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&chunk.bytes);
}

/// The payload of an extent.
pub(super) fn put_extent(out: &mut Vec<u8>, ledger: u64, chunk: &Chunk) {
    put_place(out, ledger, chunk.received, chunk.start, chunk.end);
    out.push(u8::from(chunk.last) * LAST);
    out.extend_from_slice(&(chunk.lines.len() as u32).to_le_bytes());
}

fn put_place(out: &mut Vec<u8>, ledger: u64, received: Micros, start: u64, end: u64) {
    out.extend_from_slice(&ledger.to_le_bytes());
    out.extend_from_slice(&received.0.to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&end.to_le_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A frame's meaning; `None` for what no encoder writes. `stream` is the one that
/// [`stream_of`] names, and `lines` is where those of a chunk go.
pub(super) fn decode<'a>(
    raw: Raw<'a>,
    stream: Option<&'a Stream>,
    lines: &'a mut Vec<LineSpan>,
) -> Option<Frame<'a>> {
    let mut rest = Rest(raw.payload);
    let frame = match raw.kind {
        DATA | EXTENT => {
            let stream = stream?;
            let _ = rest.u64()?;
            let received = Micros(rest.u64()? as i64);
            let (start, end) = (rest.u64()?, rest.u64()?);
            let flags = rest.u8()?;
            let last = flags & LAST != 0;
            if raw.kind == EXTENT {
                if flags > LAST {
                    return None;
                }
                let lines = rest.u32()?;
                Frame::Extent(Extent {
                    stream,
                    received,
                    start,
                    end,
                    lines,
                    last,
                })
            } else {
                if flags > LAST + REQUEST {
                    return None;
                }
                let request = if flags & REQUEST == 0 {
                    None
                } else {
                    let (accepted, rejected) = (rest.u32()?, rest.u32()?);
                    Some(Request {
                        key: rest.text()?,
                        accepted,
                        rejected,
                    })
                };
                let count = rest.u32()?;
                let table = rest.sized()?;
                let bytes = std::mem::take(&mut rest.0);
                decode_lines(count, table, bytes.len(), lines)?;
                Frame::Data(Data {
                    stream,
                    received,
                    start,
                    end,
                    last,
                    request,
                    lines,
                    bytes,
                })
            }
        }
        CONTROL => Frame::Control(Control {
            what: rest.u8()?,
            model: rest.u32()?,
            bytes: std::mem::take(&mut rest.0),
        }),
        TICK => Frame::Tick(Micros(rest.u64()? as i64)),
        _ => return None,
    };
    rest.is_empty().then_some(frame)
}

fn decode_lines(count: u32, table: &[u8], bytes: usize, out: &mut Vec<LineSpan>) -> Option<()> {
    out.clear();
    // Each line takes at least one byte of the table.
    if count as usize > table.len() {
        return None;
    }
    out.reserve(count as usize);
    let mut rest = Rest(table);
    let mut before = 0u32;
    for _ in 0..count {
        let word = rest.varint()?;
        let gap = match word & 3 {
            3 => u32::try_from(rest.varint()?).ok()?,
            near => near as u32,
        };
        let length = u32::try_from(word >> 3).ok()?;
        let start = before.wrapping_add(gap);
        let end = start.checked_add(length)?;
        if end as usize > bytes {
            return None;
        }
        out.push(LineSpan {
            start,
            end,
            too_long: word & 4 != 0,
        });
        before = end;
    }
    rest.is_empty().then_some(())
}

/// What is left of a payload.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn u8(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }

    /// Bytes after their length.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    /// Seven bits a byte, the lowest first (LEB128).
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
