//! One file as chunks, at disk speed and without a runtime: what `eval` reads.
//!
//! Invariant: the lines are those that a file source would have given.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SourceError;
use super::chunker::{CHUNK_BYTES, Chunker};
use super::decompress::{Compression, Decompress};
use crate::base::{Chunk, Framer, Micros, StreamName};

/// Reads a file, an archive or standard input to its end.
pub struct FileReader {
    input: Decompress<Box<dyn Read + Send>>,
    chunker: Chunker,
    source: u16,
    stream: Arc<StreamName>,
    buffer: Vec<u8>,
    read: Arc<AtomicU64>,
    size: Option<u64>,
    ended: bool,
}

/// Opens a file for reading from its start to its end: `-` is standard input, names that end in
/// `.gz` or `.zst` are decompressed. `number` tells the streams of one source apart.
pub fn eval_reader(
    path: &Path,
    framer: Box<dyn Framer>,
    max_line: usize,
    source: u16,
    number: u64,
) -> Result<FileReader, SourceError> {
    let (inner, size): (Box<dyn Read + Send>, Option<u64>) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let (file, size) = open_regular(path).map_err(|error| SourceError::File {
            path: PathBuf::from(path),
            error,
        })?;
        (Box::new(file), size)
    };
    let read = Arc::new(AtomicU64::new(0));
    Ok(FileReader {
        input: Decompress::new(inner, Compression::of(path), Arc::clone(&read)),
        chunker: Chunker::new(framer, max_line, 0),
        source,
        stream: Arc::new(StreamName {
            number,
            name: path.display().to_string(),
            identity: Vec::new(),
        }),
        buffer: vec![0; CHUNK_BYTES],
        read,
        size,
        ended: false,
    })
}

/// Opens a file and tells its size; `None` for a pipe, as `<(command)` makes it.
fn open_regular(path: &Path) -> io::Result<(File, Option<u64>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

impl FileReader {
    /// The next lines; `None` at the end. `received` is set to the epoch: a file that is judged
    /// has no time of arrival. The last chunk says so and may be empty. After an error the file
    /// cannot be read further.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let n = match self.input.read(&mut self.buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            };
            self.chunker.push(&self.buffer[..n]);
            if n == 0 {
                self.chunker.finish();
                self.ended = true;
            }
            if n == 0 || self.chunker.has_lines() {
                return Ok(Some(self.chunker.take(
                    self.source,
                    Micros::default(),
                    Arc::clone(&self.stream),
                    n == 0,
                )));
            }
        }
    }

    /// Bytes read so far, as they lie on the disk.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes in the file as it lies on the disk; `None` where that is not known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunker::tests::{Newlines, texts};
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_archives_like_the_files_they_were_made_from() {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..200_000).map(|i| format!("line {i}\n")).collect();
        let text = lines.concat() + "end";
        let plain = dir.path().join("a.txt");
        let zipped = dir.path().join("a.txt.gz");
        File::create(&plain)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let mut encoder = flate2::write::GzEncoder::new(
            File::create(&zipped).unwrap(),
            flate2::Compression::fast(),
        );
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        for path in [&plain, &zipped] {
            let mut reader = eval_reader(path, Box::new(Newlines), 1000, 0, 0).unwrap();
            let mut lines = Vec::new();
            let mut end = 0;
            while let Some(chunk) = reader.next_chunk().unwrap() {
                assert_eq!(chunk.start, end);
                end = chunk.end;
                lines.extend(texts(&chunk));
            }
            assert!(lines.iter().map(String::as_str).eq(text.lines()));
            assert_eq!(end, text.len() as u64);
            assert_eq!(Some(reader.bytes_read()), reader.size());
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let Err(error) = eval_reader(Path::new("/nowhere/x"), Box::new(Newlines), 10, 0, 0) else {
            panic!("opened a file that is not there");
        };
        assert!(error.to_string().starts_with("/nowhere/x: "));
    }
}
