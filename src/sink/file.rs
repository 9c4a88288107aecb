//! Events and refused lines appended to files, a whole line or none.
//!
//! Invariant: a file ends with a newline whenever nothing is being written, and it grows beyond
//! its limit only where a single line does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::run::Writer;

/// At most so much is written at once, so that little is repeated when a disk is full.
const PIECE: usize = 256 * 1024;

/// A line that a crash cut off is looked for in so many bytes at the end.
const LONGEST_TAIL: u64 = 16 * 1024 * 1024;

/// A file that only grows, by whole lines.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    file: File,
    /// Bytes up to the end of the last whole line.
    length: u64,
    /// The file is a regular one, so it has a length, can be cut and can be renamed.
    regular: bool,
    /// A write failed half way and the file could not be cut yet.
    torn: bool,
}

impl Appender {
    /// Opens or creates (mode 0640) the file; what a crash left of a last line is cut off.
    pub(super) fn open(path: &Path) -> io::Result<Appender> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        let about = file.metadata()?;
        let regular = about.is_file();
        let length = if regular {
            mend(&mut file, about.len())?
        } else {
            0
        };
        Ok(Appender {
            path: path.to_owned(),
            file,
            length,
            regular,
            torn: false,
        })
    }

    /// Bytes in the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends whole lines: all of them or, with an error, none.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        } else if self.regular {
            // Asked anew each time: someone may have emptied the file under us.
            self.length = self.file.metadata()?.len();
        }
        if let Err(error) = self.file.write_all(lines) {
            self.torn = self.regular && self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Opens the path anew; on an error the old file stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Appender::open(&self.path)?;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.regular {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }
}

/// Ends the file with a whole line and gives its length. A last line without its newline is ours
/// if it begins as our lines do (or is a hole that a power cut left), and is cut off, as its event
/// is made again; anything else is someone's, and is ended instead.
fn mend(file: &mut File, length: u64) -> io::Result<u64> {
    let from = length.saturating_sub(LONGEST_TAIL);
    file.seek(SeekFrom::Start(length.saturating_sub(1)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    if tail.is_empty() || tail == b"\n" {
        return Ok(length);
    }
    tail.clear();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let line = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
    let found = line > 0 || from == 0;
    if found && matches!(tail[line], b'{' | 0) {
        let whole = from + line as u64;
        file.set_len(whole)?;
        Ok(whole)
    } else {
        file.write_all(b"\n")?;
        Ok(length + 1)
    }
}

/// A file sink: appended to, rotated by size.
#[derive(Debug)]
pub(super) struct FileWriter {
    appender: Appender,
    rotate_size: u64,
    rotate_keep: usize,
}

impl FileWriter {
    pub(super) fn open(
        path: &Path,
        rotate_size: u64,
        rotate_keep: usize,
    ) -> io::Result<FileWriter> {
        Ok(FileWriter {
            appender: Appender::open(path)?,
            rotate_size,
            rotate_keep,
        })
    }

    /// `PATH.1` becomes `PATH.2` and so on, the oldest goes, `PATH` becomes `PATH.1`.
    fn rotate(&mut self) -> io::Result<()> {
        self.appender.sync()?;
        let path = self.appender.path.clone();
        // Gone already, if the last attempt got so far: nothing is moved twice.
        if !path.try_exists()? {
            return self.appender.reopen();
        }
        for number in (1..self.rotate_keep).rev() {
            rename_if_there(&numbered(&path, number), &numbered(&path, number + 1))?;
        }
        if self.rotate_keep > 0 {
            rename_if_there(&path, &numbered(&path, 1))?;
        } else {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.appender.reopen()
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the whole lines end that fit into `limit` bytes; the first one always fits.
fn fitting(bytes: &[u8], limit: u64) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(PIECE);
    if bytes.len() <= limit {
        return bytes.len();
    }
    memchr::memrchr(b'\n', &bytes[..limit])
        .or_else(|| memchr::memchr(b'\n', bytes))
        .map_or(bytes.len(), |at| at + 1)
}

impl Writer for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rotates = self.rotate_size > 0 && self.appender.regular;
        let limit = |appender: &Appender| {
            if rotates {
                self.rotate_size.saturating_sub(appender.length)
            } else {
                u64::MAX
            }
        };
        let mut end = fitting(bytes, limit(&self.appender));
        if rotates && self.appender.length > 0 && end as u64 > limit(&self.appender) {
            self.rotate()?;
            end = fitting(bytes, self.rotate_size);
        }
        self.appender.append(&bytes[..end])?;
        Ok(end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.appender.sync()
    }

    fn reopen(&mut self) -> io::Result<()> {
        let synced = self.appender.sync();
        self.appender.reopen()?;
        synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, bytes: &[u8]) {
        File::create(path).unwrap().write_all(bytes).unwrap();
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn write_all(writer: &mut FileWriter, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = writer.write(bytes).unwrap();
            bytes = &bytes[n..];
        }
    }

    #[test]
    fn a_line_that_a_crash_cut_off_goes_and_someone_elses_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        for (before, after) in [
            ("", "new\n"),
            ("{\"a\":1}\n", "{\"a\":1}\nnew\n"),
            ("{\"a\":1}\n{\"a\":", "{\"a\":1}\nnew\n"),
            ("{\"a\":1}\n\0\0\0", "{\"a\":1}\nnew\n"),
            ("{\"a\":", "new\n"),
            ("a\nnotes", "a\nnotes\nnew\n"),
            ("notes", "notes\nnew\n"),
        ] {
            put(&path, before.as_bytes());
            let mut writer = FileWriter::open(&path, 0, 0).unwrap();
            assert_eq!(writer.appender.length() as usize, after.len() - 4);
            write_all(&mut writer, b"new\n");
            assert_eq!(text(&path), after, "{before:?}");
        }
    }

    #[test]
    fn rotates_by_size_at_line_ends_and_keeps_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut writer = FileWriter::open(&path, 10, 2).unwrap();
        write_all(&mut writer, b"1234\n1234\n");
        assert_eq!(text(&path), "1234\n1234\n", "exactly full is not too much");
        write_all(
            &mut writer,
            b"a\nb\nthis line is longer than the limit\nc\n1234567\nd\n",
        );
        assert_eq!(text(&path), "d\n");
        assert_eq!(text(&numbered(&path, 1)), "c\n1234567\n");
        assert_eq!(
            text(&numbered(&path, 2)),
            "this line is longer than the limit\n"
        );
        assert!(!numbered(&path, 3).exists());
        drop(writer);
        let mut writer = FileWriter::open(&path, 10, 0).unwrap();
        write_all(&mut writer, b"123456789\n");
        assert_eq!(text(&path), "123456789\n");
        assert_eq!(text(&numbered(&path, 1)), "c\n1234567\n");
    }

    #[test]
    fn reopening_follows_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let moved = dir.path().join("events.old");
        let mut writer = FileWriter::open(&path, 0, 0).unwrap();
        write_all(&mut writer, b"1\n");
        std::fs::rename(&path, &moved).unwrap();
        write_all(&mut writer, b"2\n");
        writer.reopen().unwrap();
        write_all(&mut writer, b"3\n");
        assert_eq!((text(&moved), text(&path)), ("1\n2\n".into(), "3\n".into()));
    }

    #[test]
    fn a_device_is_written_to_and_never_rotated_or_cut() {
        let mut writer = FileWriter::open(Path::new("/dev/null"), 5, 3).unwrap();
        write_all(&mut writer, b"123456789\n123\n");
        writer.flush().unwrap();
        let mut full = FileWriter::open(Path::new("/dev/full"), 0, 0).unwrap();
        let error = full.write(b"1\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn pieces_end_at_line_ends() {
        let line = [b'x'; 999];
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
        }
        let end = fitting(&bytes, u64::MAX);
        assert!(end <= PIECE && end.is_multiple_of(1000) && end > PIECE - 1000);
        assert_eq!(fitting(&bytes, 0), 1000);
    }
}
