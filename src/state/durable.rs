//! Writing a file so that after a crash or a power cut it is whole or not there.
//!
//! Invariant: a name never points to bytes that were not on disk before the name was.

use std::io;
use std::path::PathBuf;

use super::disk::{Disk, DiskReader, read_full};
use super::{SnapshotError, StoreError, format};

/// Ending of files that were never finished.
pub(super) const UNFINISHED: &str = ".tmp";

/// Writes `name` in `dir` (empty for the disk's own directory): a temporary file (mode 0600) in the
/// same directory, written, synced, read back and compared, renamed, the directory synced.
///
/// # Errors
/// The first operation that failed; the temporary file is gone then, as far as the system lets it
/// go, and whatever had the name before still has it.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &str,
    name: &str,
    bytes: &[u8],
) -> Result<PathBuf, StoreError> {
    let name = if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    };
    let unfinished = format!("{name}{UNFINISHED}");
    let written = write_unfinished(disk, &unfinished, bytes).and_then(|()| {
        disk.rename(&unfinished, &name)
            .map_err(|source| StoreError::io("rename", &disk.path(&unfinished), source))
    });
    if let Err(error) = written {
        // The error that counts is the first; a left-over is removed at the next start.
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    sync_dir(disk, dir)?;
    Ok(disk.path(&name))
}

fn write_unfinished(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    remove_if_there(disk, name)?;
    let failed = |action| move |source| StoreError::io(action, &disk.path(name), source);
    let mut file = disk.create_new(name).map_err(failed("create"))?;
    file.append(bytes).map_err(failed("write"))?;
    // A failed sync is never repeated: the system may have dropped the pages, and a second call
    // would succeed over lost bytes. The next snapshot is a new file.
    file.sync_all().map_err(failed("sync"))?;
    drop(file);
    let same = match disk.open(name).map_err(failed("read back"))? {
        Some(file) => holds(&*file, bytes).map_err(failed("read back"))?,
        None => false,
    };
    if same {
        Ok(())
    } else {
        Err(StoreError::Unverified {
            path: disk.path(name),
            reason: SnapshotError::Checksum,
        })
    }
}

/// Removes a file; one that is not there is none to remove.
pub(super) fn remove_if_there(disk: &dyn Disk, name: &str) -> Result<(), StoreError> {
    match disk.remove(name) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", &disk.path(name), source))
        }
        _ => Ok(()),
    }
}

/// Whether a file holds exactly these bytes.
fn holds(file: &dyn DiskReader, bytes: &[u8]) -> io::Result<bool> {
    if file.length() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    for want in bytes.chunks(buffer.len()) {
        let found = &mut buffer[..want.len()];
        if read_full(file, at, found)? != want.len() || found != want {
            return Ok(false);
        }
        at += want.len() as u64;
    }
    Ok(true)
}

/// Makes a directory's entries durable.
pub(super) fn sync_dir(disk: &dyn Disk, dir: &str) -> Result<(), StoreError> {
    disk.sync_dir(dir)
        .map_err(|source| StoreError::io("sync", &disk.path(dir), source))
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
/// is taken. `None` is what is no regular file.
pub(super) fn read(file: Option<Box<dyn DiskReader>>) -> Result<Vec<u8>, ReadError> {
    let Some(file) = file else {
        return Err(ReadError::Bad(SnapshotError::NotAFile));
    };
    let length = file.length();
    let mut head = [0; format::HEAD];
    let there = read_full(&*file, 0, &mut head).map_err(ReadError::Io)?;
    format::check_head(&head[..there], length).map_err(ReadError::Bad)?;
    let no_memory = ReadError::Bad(SnapshotError::Memory(length));
    let Ok(size) = usize::try_from(length) else {
        return Err(no_memory);
    };
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(size).is_err() {
        return Err(no_memory);
    }
    bytes.resize(size, 0);
    let there = read_full(&*file, 0, &mut bytes).map_err(ReadError::Io)?;
    bytes.truncate(there);
    Ok(bytes)
}
