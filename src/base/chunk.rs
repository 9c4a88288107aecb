//! A chunk: bytes of one stream, already cut into lines, with the place they came from.
//!
//! Invariant: a chunk ends where a record ends, so `end` is always a place to resume from.

use std::sync::Arc;

use super::Micros;

/// One stream of a source: a file, a connection, standard input.
#[derive(Debug)]
pub struct StreamName {
    /// Unique within the process and the source.
    pub number: u64,
    /// For people: a path, a peer's address, `stdin`.
    pub name: String,
    /// What finds the stream again after a restart (see `source::file`); empty for streams that
    /// cannot be replayed.
    pub identity: Vec<u8>,
}

/// Where one line lies in a chunk's bytes, its line end left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineSpan {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// The line was longer than the limit: only its first bytes are here, and it is refused.
    pub too_long: bool,
}

/// Lines of one stream, in order.
#[derive(Debug)]
pub struct Chunk {
    /// Index of the source in the configuration.
    pub source: u16,
    /// When the bytes were received.
    pub received: Micros,
    /// Which stream of the source.
    pub stream: Arc<StreamName>,
    /// Offset in the (decompressed) stream of the first byte that this chunk accounts for.
    pub start: u64,
    /// Offset after the last line: resume here.
    pub end: u64,
    /// Nothing of this stream follows.
    pub last: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The lines within them.
    pub lines: Vec<LineSpan>,
}

impl Chunk {
    /// The bytes of one line.
    pub fn line(&self, span: LineSpan) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }
}
