//! A segment's name and header.
//!
//! Header: magic (8 bytes), format version u32, engine version u32, segment id u64, first number
//! u64, crc32c u32 of all that, little-endian. A segment gets its name only after its header is on
//! the disk, so a file of that name without a header is damaged.

use super::super::ENGINE;

/// A segment that has grown to this many bytes is followed by a new one.
pub const SEGMENT_BYTES: u64 = 64 << 20;

pub(super) const HEADER: usize = 36;
const MAGIC: &[u8; 8] = b"learndLG";
const FORMAT: u32 = 1;
const PREFIX: &str = "ledger-";
const SUFFIX: &str = ".log";
const DIGITS: usize = 20;

/// A segment's file name.
pub(super) fn name(first: u64) -> String {
    format!("{PREFIX}{first:0DIGITS$}{SUFFIX}")
}

/// The first number in a segment of this name; `None` for what is no segment.
pub(super) fn first_in(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// Whether this is a segment that never got its name.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(super::super::durable::UNFINISHED)
        .is_some_and(|name| first_in(name).is_some())
}

/// What a header says that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The engine version that wrote the segment.
    pub(super) engine: u32,
    /// Drawn for each segment.
    pub(super) id: u64,
    /// The number of its first frame.
    pub(super) first: u64,
}

impl Header {
    pub(super) fn new(id: u64, first: u64) -> Header {
        Header {
            engine: ENGINE,
            id,
            first,
        }
    }

    /// What the checksums of the segment's frames are combined with.
    pub(super) fn mask(&self) -> u32 {
        crc32c::crc32c(&self.id.to_le_bytes())
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..16].copy_from_slice(&self.engine.to_le_bytes());
        out[16..24].copy_from_slice(&self.id.to_le_bytes());
        out[24..32].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32c::crc32c(&out[..32]);
        out[32..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(bytes: &[u8; HEADER]) -> Result<Header, &'static str> {
        if bytes[..8] != *MAGIC {
            return Err("not a segment of the ledger");
        }
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u32_at(32) != crc32c::crc32c(&bytes[..32]) {
            return Err("the header's checksum does not match");
        }
        if u32_at(8) != FORMAT {
            return Err("written in a format that this program does not know");
        }
        Ok(Header {
            engine: u32_at(12),
            id: u64_at(16),
            first: u64_at(24),
        })
    }
}
