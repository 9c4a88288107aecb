//! Reading a compressed file from a place in its decompressed content.
//!
//! Invariant: the print of what was read is the same as that of the plain file, so a log that is
//! compressed after it was read is known again.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;

use super::super::chunker::CHUNK_BYTES;
use super::super::decompress::{Compression, Decompress};
use super::identity::{PREFIX, Print, TAIL, prefix_length};

/// A compressed file being read.
pub(super) struct Archive {
    input: Decompress<File>,
    /// The first bytes of the content.
    head: Vec<u8>,
    /// The last bytes read, from at least [`TAIL`] before the last offset asked about.
    window: Vec<u8>,
    /// Offset in the content up to which was read.
    position: u64,
}

impl Archive {
    /// From the start of `file`.
    pub(super) fn open(file: &File, compression: Compression) -> io::Result<Archive> {
        let mut file = file.try_clone()?;
        file.rewind()?;
        Ok(Archive {
            input: Decompress::new(file, compression, Arc::default()),
            head: Vec::new(),
            window: Vec::new(),
            position: 0,
        })
    }

    /// Reads into `buffer`; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let missing = PREFIX - self.head.len();
        self.head.extend_from_slice(&buffer[..n.min(missing)]);
        self.window.extend_from_slice(&buffer[..n]);
        self.position += n as u64;
        Ok(n)
    }

    /// The print up to `end`, which lies within what was read last; forgets what lies further
    /// back.
    pub(super) fn print(&mut self, end: u64) -> Print {
        let ahead = (self.position - end) as usize;
        let cut = self.window.len().saturating_sub(ahead);
        let print = Print::of(&self.head[..prefix_length(end)], &self.window[..cut]);
        self.window.drain(..cut.saturating_sub(TAIL));
        print
    }

    /// The first bytes of the content.
    pub(super) fn head(&mut self) -> io::Result<&[u8]> {
        let mut buffer = [0; PREFIX];
        while self.head.len() < PREFIX {
            let missing = PREFIX - self.head.len();
            if self.read(&mut buffer[..missing])? == 0 {
                break;
            }
        }
        Ok(&self.head)
    }

    /// Whether nothing follows; what is read to find out is lost to the reader.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.read(&mut [0])? == 0)
    }

    /// Reads on to `offset` and gives the print there; `None` if the content ends before.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<Option<Print>> {
        let mut buffer = vec![0; CHUNK_BYTES];
        while self.position < offset {
            let missing = (offset - self.position).min(CHUNK_BYTES as u64) as usize;
            if self.read(&mut buffer[..missing])? == 0 {
                return Ok(None);
            }
            let keep = self.window.len().saturating_sub(TAIL);
            self.window.drain(..keep);
        }
        Ok(Some(self.print(offset)))
    }
}
