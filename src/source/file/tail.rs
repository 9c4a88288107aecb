//! One open file, read piece by piece.
//!
//! Invariant: what was delivered of it ends where a line ends, and its print belongs to that place.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::chunker::{CHUNK_BYTES, Chunker};
use super::archive::Archive;
use super::discover::modified;
use super::identity::{Identity, Print};
use crate::base::{Chunk, Micros, StreamName};

/// How the bytes are got at.
pub(super) enum Body {
    /// Read at an offset.
    Plain {
        /// Up to which was read.
        position: u64,
    },
    /// Read through its decoder.
    Archive(Box<Archive>),
}

/// An open file.
pub(super) struct Tail {
    /// Of the stream.
    pub number: usize,
    /// The file.
    pub file: File,
    /// Where it lies, for people.
    pub path: PathBuf,
    /// As last delivered.
    pub identity: Identity,
    /// How it is read.
    pub body: Body,
    /// Its lines.
    pub chunker: Chunker,
    /// Read up to here in this round.
    pub goal: u64,
    /// At the last look for files another one was written in its place.
    pub replaced: bool,
    /// It was replaced before the goal was set: what lies before the goal is all.
    pub complete: bool,
    /// It has no name any more.
    pub unlinked: bool,
    /// When bytes were last read.
    pub idle_since: Instant,
    /// The look in which it was found.
    pub admitted: u64,
}

/// What a look at the open file showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It goes on where it was.
    Same,
    /// Its content is not what was read.
    Overwritten,
}

impl Tail {
    /// Looks at the file's size and sets the goal of a round.
    pub(super) fn refresh(&mut self) -> io::Result<Health> {
        let metadata = self.file.metadata()?;
        self.unlinked = metadata.nlink() == 0;
        self.complete = self.replaced;
        let Body::Plain { position } = self.body else {
            return Ok(Health::Same);
        };
        let size = metadata.len();
        let changed = modified(&metadata) != self.identity.modified || size != self.goal;
        self.identity.modified = modified(&metadata);
        self.goal = size;
        if size < position {
            return Ok(Health::Overwritten);
        }
        if changed && self.print_now(self.chunker.end())? != self.identity.print {
            return Ok(Health::Overwritten);
        }
        Ok(Health::Same)
    }

    fn print_now(&self, end: u64) -> io::Result<Print> {
        match Print::of_file(&self.file, end) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Print::default()),
            other => other,
        }
    }

    /// Whether there is more to read in this round.
    pub(super) fn is_behind(&self) -> bool {
        match &self.body {
            Body::Plain { position } => *position < self.goal,
            Body::Archive(_) => true,
        }
    }

    /// Bytes known of and not delivered; 0 for archives, whose content has no known length.
    pub(super) fn lag(&self) -> u64 {
        match &self.body {
            Body::Plain { .. } => self.goal.saturating_sub(self.chunker.end()),
            Body::Archive(_) => 0,
        }
    }

    /// Reads once and adds to the lines; how many bytes there were, 0 at the end of the file.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.body {
            Body::Plain { position } => {
                let room = buffer.len().min(CHUNK_BYTES);
                let n = self.file.read_at(&mut buffer[..room], *position)?;
                *position += n as u64;
                if n == 0 {
                    // It was cut off since the look; the next look will say so.
                    self.goal = *position;
                }
                n
            }
            Body::Archive(archive) => archive.read(buffer)?,
        };
        self.chunker.push(&buffer[..n]);
        Ok(n)
    }

    /// Gives out the lines collected.
    pub(super) fn take(&mut self, source: u16, received: Micros, last: bool) -> Chunk {
        let end = self.chunker.end();
        self.identity.print = match &mut self.body {
            Body::Plain { .. } => Print::of_file(&self.file, end).unwrap_or_default(),
            Body::Archive(archive) => archive.print(end),
        };
        let stream = Arc::new(StreamName {
            number: self.number as u64,
            name: self.path.display().to_string(),
            identity: self.identity.encode(),
        });
        self.chunker.take(source, received, stream, last)
    }
}

/// The offset after the last newline at or before `end`, looking back `limit` bytes at most:
/// where to begin at the end of a file without cutting a line in two.
pub(super) fn line_start(file: &File, end: u64, limit: u64) -> io::Result<u64> {
    let mut at = end;
    let stop = end.saturating_sub(limit);
    let mut block = [0; 4096];
    while at > stop {
        let length = (at - stop).min(block.len() as u64);
        let piece = &mut block[..length as usize];
        file.read_exact_at(piece, at - length)?;
        if let Some(i) = memchr::memrchr(b'\n', piece) {
            return Ok(at - length + i as u64 + 1);
        }
        at -= length;
    }
    Ok(if stop == 0 { 0 } else { end })
}

/// The offset of the first byte that is not NUL, if the file starts with any: a writer that kept
/// its offset over a truncation leaves a hole there. Holes are jumped over, not read.
pub(super) fn after_hole(file: &File, size: u64, buffer: &mut [u8]) -> io::Result<u64> {
    let mut at = 0;
    while at < size {
        let n = file.read_at(buffer, at)?;
        if n == 0 {
            break;
        }
        if let Some(i) = buffer[..n].iter().position(|&b| b != 0) {
            return Ok(at + i as u64);
        }
        at += n as u64;
        at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => size,
            Err(_) => at,
        };
    }
    // Nothing but NUL: wait for more.
    Ok(0)
}
