//! Writing a file so that after a crash or a power cut it is whole or not there.
//!
//! Invariant: a name never points to bytes that were not on disk before the name was.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{SnapshotError, StoreError, format};

/// Ending of files that were never finished.
pub(super) const UNFINISHED: &str = ".tmp";

/// Writes `name` in `dir`: a temporary file (mode 0600) in the same directory, written, synced,
/// read back and compared, renamed, the directory synced.
///
/// # Errors
/// The first operation that failed; the temporary file is gone then, as far as the system lets it
/// go, and whatever had the name before still has it.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    let path = dir.join(name);
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    let written = write_unfinished(&unfinished, bytes).and_then(|()| {
        std::fs::rename(&unfinished, &path)
            .map_err(|source| StoreError::io("rename", &unfinished, source))
    });
    if let Err(error) = written {
        // The error that counts is the first; a left-over is removed at the next start.
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_dir(dir)?;
    Ok(path)
}

fn write_unfinished(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", path, source));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| StoreError::io("create", path, source))?;
    file.write_all(bytes)
        .map_err(|source| StoreError::io("write", path, source))?;
    // A failed sync is never repeated: the system may have dropped the pages, and a second call
    // would succeed over lost bytes. The next snapshot is a new file.
    file.sync_all()
        .map_err(|source| StoreError::io("sync", path, source))?;
    drop(file);
    let same = File::open(path)
        .and_then(|file| holds(file, bytes))
        .map_err(|source| StoreError::io("read back", path, source))?;
    if same {
        Ok(())
    } else {
        Err(StoreError::Unverified {
            path: path.to_owned(),
            reason: SnapshotError::Checksum,
        })
    }
}

/// Whether a file holds exactly these bytes.
fn holds(mut file: File, mut bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes.is_empty()),
            Ok(n) => match bytes.split_at_checked(n) {
                Some((head, tail)) if head == &buffer[..n] => bytes = tail,
                _ => return Ok(false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the directory's entries durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StoreError::io("sync", dir, source))
}

/// Why a file could not be read: the system failed, or the file is none that can be used.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The system failed; the file may be fine.
    Io(io::Error),
    /// The file is not fine.
    Bad(SnapshotError),
}

/// The bytes of a snapshot file, its length checked against what its head says before any memory
/// is taken. `follow` says whether a symbolic link is followed.
pub(super) fn read(path: &Path, follow: bool) -> Result<Vec<u8>, ReadError> {
    use rustix::fs::OFlags;

    // Non-blocking: opening a named pipe must not hang.
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(ReadError::Bad(SnapshotError::NotAFile));
        }
        Err(error) => return Err(ReadError::Io(error)),
    };
    let about = file.metadata().map_err(ReadError::Io)?;
    if !about.is_file() {
        return Err(ReadError::Bad(SnapshotError::NotAFile));
    }
    let length = about.len();
    let mut bytes = Vec::new();
    take(&mut file, format::HEAD as u64, &mut bytes)?;
    format::check_head(&bytes, length).map_err(ReadError::Bad)?;
    let no_memory = ReadError::Bad(SnapshotError::Memory(length));
    let Ok(rest) = usize::try_from(length).map(|length| length - bytes.len()) else {
        return Err(no_memory);
    };
    if bytes.try_reserve_exact(rest).is_err() {
        return Err(no_memory);
    }
    take(&mut file, rest as u64, &mut bytes)?;
    Ok(bytes)
}

fn take(file: &mut File, limit: u64, into: &mut Vec<u8>) -> Result<(), ReadError> {
    file.take(limit)
        .read_to_end(into)
        .map(|_| ())
        .map_err(ReadError::Io)
}
