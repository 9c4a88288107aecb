//! Reading files as they are or decompressed, with a count of the bytes taken from the disk.
//!
//! Invariant: memory is bounded whatever a header declares: gzip has a window of 32 KiB, and
//! zstd frames that ask for a window over 100 MiB are refused by the decoder.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not.
    None,
    /// gzip, of any number of members.
    Gzip,
    /// Zstandard, of any number of frames.
    Zstd,
}

impl Compression {
    /// As the file's name says.
    pub(super) fn of(path: &Path) -> Compression {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Counts what is read, and notes the end.
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
    ended: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.ended |= n == 0 && !buffer.is_empty();
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

type Source<R> = BufReader<Counted<R>>;

/// A reader of the decompressed bytes.
pub(super) enum Decompress<R: Read> {
    /// Not compressed.
    Plain(Counted<R>),
    /// gzip.
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    /// Zstandard.
    Zstd(Box<ZstdReader<R>>),
}

impl<R: Read> Decompress<R> {
    /// Reads `inner`, counting into `count`.
    pub(super) fn new(inner: R, compression: Compression, count: Arc<AtomicU64>) -> Decompress<R> {
        let counted = Counted {
            inner,
            count,
            ended: false,
        };
        let buffered = |counted| BufReader::with_capacity(64 * 1024, counted);
        match compression {
            Compression::None => Decompress::Plain(counted),
            Compression::Gzip => Decompress::Gzip(Box::new(MultiGzDecoder::new(buffered(counted)))),
            Compression::Zstd => Decompress::Zstd(Box::new(ZstdReader::new(buffered(counted)))),
        }
    }

    /// Whether the end of the compressed bytes was met.
    fn source_ended(&self) -> bool {
        match self {
            Decompress::Plain(counted) => counted.ended,
            Decompress::Gzip(decoder) => decoder.get_ref().get_ref().ended,
            Decompress::Zstd(reader) => reader.source.get_ref().ended,
        }
    }
}

impl<R: Read> Read for Decompress<R> {
    /// As `Read::read`; an archive that is cut off gives `UnexpectedEof`, whichever its format.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match self {
            Decompress::Plain(counted) => return counted.read(buffer),
            Decompress::Gzip(decoder) => decoder.read(buffer),
            Decompress::Zstd(reader) => reader.read(buffer),
        };
        result.map_err(|error| {
            if error.kind() != ErrorKind::UnexpectedEof && self.source_ended() {
                io::Error::new(ErrorKind::UnexpectedEof, error)
            } else {
                error
            }
        })
    }
}

/// The header of an empty frame. A decoder that has seen one frame checks the next one's window
/// before it reserves memory; for its first frame it does not.
const EMPTY_FRAME: &[u8] = b"\x28\xB5\x2F\xFD\x20\x00";

/// Reads frames one after another; the decoder itself knows only one.
pub(super) struct ZstdReader<R: Read> {
    source: Source<R>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: Read> ZstdReader<R> {
    fn new(source: Source<R>) -> ZstdReader<R> {
        let mut decoder = FrameDecoder::new();
        decoder
            .init(EMPTY_FRAME)
            .expect("the header of an empty frame is valid");
        ZstdReader {
            source,
            decoder,
            in_frame: false,
        }
    }

    /// Goes to the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < length.into() {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.in_frame {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(
                            &mut self.source,
                            BlockDecodingStrategy::UptoBytes(buffer.len()),
                        )
                        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                }
                let n = self.decoder.read(buffer)?;
                if n > 0 {
                    return Ok(n);
                }
                self.in_frame = false;
            }
            if !self.next_frame()? {
                return Ok(0);
            }
            self.in_frame = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decompress::new(bytes, compression, Arc::default()).read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::default());
        let mut out = Vec::new();
        encoder.read_to_end(&mut out).unwrap();
        out
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn archives_of_several_members_are_read_whole() {
        let long: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let want = [&long[..], b"tail"].concat();
        let gz = [gzip(&long), gzip(b"tail")].concat();
        assert!(read_all(&gz, Compression::Gzip).unwrap() == want);
        let skippable = b"\x50\x2A\x4D\x18\x03\x00\x00\x00abc".to_vec();
        let zst = [zstd(&long), skippable, zstd(b"tail")].concat();
        assert!(read_all(&zst, Compression::Zstd).unwrap() == want);
    }

    #[test]
    fn an_archive_that_is_cut_off_says_so() {
        for (compression, whole) in [
            (Compression::Gzip, gzip(&[7; 5000])),
            (Compression::Zstd, zstd(&[7; 5000])),
        ] {
            for cut in [2, whole.len() / 2, whole.len() - 1] {
                let error = read_all(&whole[..cut], compression).unwrap_err();
                assert_eq!(
                    error.kind(),
                    ErrorKind::UnexpectedEof,
                    "{compression:?} {cut}"
                );
            }
        }
    }

    #[test]
    fn a_frame_that_asks_for_a_huge_window_is_refused() {
        // Window descriptor 0xA8 asks for 2 GiB.
        let frame = b"\x28\xB5\x2F\xFD\x00\xA8\x01\x00\x00";
        let error = read_all(frame, Compression::Zstd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
