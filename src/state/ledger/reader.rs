//! The frames of one segment, one after the other.
//!
//! Invariant: memory is bounded by the longest sound frame; a length is compared with the bytes
//! that the file still has before anything is taken for it.

use std::io;

use super::super::disk::{DiskReader, read_full};
use super::frame::{self, MARK_SIZE, Raw};
use super::segment::{HEADER, Header};

/// Bytes read at once.
const READ: usize = 1 << 20;

/// What comes next in a segment.
pub(super) enum Next<'a> {
    /// A frame, its checksum right.
    Frame(Raw<'a>),
    /// Nothing: the file ends here.
    End,
    /// Bytes that are no frame, and why.
    Invalid(&'static str),
}

pub(super) struct FrameReader {
    file: Box<dyn DiskReader>,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not given yet.
    start: usize,
    filled: usize,
    /// The place in the file of `start`.
    offset: u64,
    mask: u32,
    check: bool,
}

impl FrameReader {
    /// Reads the header; `Ok(Err(…))` says what is wrong with it.
    pub(super) fn open(
        file: Box<dyn DiskReader>,
        check: bool,
    ) -> io::Result<Result<(Header, FrameReader), &'static str>> {
        let mut bytes = [0; HEADER];
        if read_full(&*file, 0, &mut bytes)? < HEADER {
            return Ok(Err("shorter than a header"));
        }
        Ok(Header::decode(&bytes).map(|header| {
            let reader = FrameReader {
                file,
                buffer: Vec::new(),
                start: 0,
                filled: 0,
                offset: HEADER as u64,
                mask: header.mask(),
                check,
            };
            (header, reader)
        }))
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes from there to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.file.length().saturating_sub(self.offset)
    }

    /// The next frame. After anything else than a frame, the same is given again.
    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        let left = self.left();
        if left == 0 {
            return Ok(Next::End);
        }
        if left < frame::HEAD as u64 || !self.fill(frame::HEAD)? {
            return Ok(Next::Invalid("it ends within a frame"));
        }
        let head = self.buffer[self.start..]
            .first_chunk()
            .expect("so much was read");
        let Some(size) = frame::size(*head) else {
            return Ok(Next::Invalid("no frame has this length"));
        };
        if size > left || !self.fill(size as usize)? {
            return Ok(Next::Invalid("it ends within a frame"));
        }
        let bytes = &self.buffer[self.start..self.start + size as usize];
        let Some(raw) = frame::open(bytes, self.mask, self.check) else {
            return Ok(Next::Invalid("the checksum does not match"));
        };
        self.start += size as usize;
        self.offset += size;
        Ok(Next::Frame(raw))
    }

    /// Has so many bytes in the buffer; false if the file ends before. They are no more than the
    /// file had when it was opened.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.filled - self.start >= wanted {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        let size = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let size = wanted.max(size.min(READ));
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        let at = self.offset + self.filled as u64;
        self.filled += read_full(&*self.file, at, &mut self.buffer[self.filled..])?;
        Ok(self.filled >= wanted)
    }

    /// The highest number that any mark from here on says was durable; 0 where there is none.
    pub(super) fn marked(&mut self) -> io::Result<u64> {
        let pattern = ((MARK_SIZE - frame::UNCOUNTED) as u32).to_le_bytes();
        let mut highest = 0;
        let mut at = self.offset;
        let mut buffer = vec![0; READ];
        loop {
            let filled = read_full(&*self.file, at, &mut buffer)?;
            for found in memchr::memmem::find_iter(&buffer[..filled], &pattern) {
                let frame = buffer[..filled].get(found..found + MARK_SIZE);
                if let Some(raw) = frame.and_then(|frame| frame::open(frame, self.mask, true))
                    && raw.kind == frame::MARK
                {
                    highest = highest.max(frame::mark(raw.payload).unwrap_or(0));
                }
            }
            if filled < buffer.len() {
                return Ok(highest);
            }
            // A mark may lie across the two pieces.
            at += (filled - MARK_SIZE + 1) as u64;
        }
    }
}
