//! What the state directory asks of a disk, so that the same code runs on the real one and on one
//! that forgets, tears and fails on purpose.
//!
//! Invariant: an operation that returned without an error is in effect for this machine; it is
//! durable only after the sync that belongs to it (`sync_data` or `sync_all` for what a file
//! holds, `sync_dir` for which names there are).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags};

/// A directory on a disk. Names are relative to it; an empty name is the directory itself.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The path of a name, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// A new file, mode 0600, for appending.
    ///
    /// # Errors
    /// There is something of that name, or the system refuses.
    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// A file to read; `None` for what is no regular file (a symbolic link is none). Never hangs.
    ///
    /// # Errors
    /// Not there, or the system refuses.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskReader>>>;

    /// Makes what a file holds durable, and forgets what is kept of it in memory, so that what is
    /// read afterwards is what is on the disk: after a failed sync the two may differ.
    ///
    /// # Errors
    /// What the system says; nothing is known about the file then.
    fn settle(&self, name: &str) -> io::Result<()>;

    /// Cuts a file to this length, durably.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, name: &str, length: u64) -> io::Result<()>;

    /// Gives a file another name, at once; what had that name is gone.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes a directory, mode 0700.
    ///
    /// # Errors
    /// There is something of that name, or the system refuses.
    fn create_dir(&self, name: &str) -> io::Result<()>;

    /// The names in a directory; those that are not UTF-8 are not ours.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// A deliberate fault, to prove that the tests see it: the ledger's reader believes every
    /// frame.
    #[cfg(test)]
    fn ignores_checksums(&self) -> bool {
        false
    }
}

/// A file that grows at its end.
pub trait DiskFile: fmt::Debug + Send {
    /// Appends all of the bytes.
    ///
    /// # Errors
    /// What the system says; some of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the bytes durable, and the length.
    ///
    /// # Errors
    /// What the system says. Never try again on the same file: the system may have dropped the
    /// bytes, and a second call would succeed over the loss.
    fn sync_data(&mut self) -> io::Result<()>;

    /// As [`DiskFile::sync_data`], with everything else the system knows of the file.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&mut self) -> io::Result<()>;
}

/// A file to read anywhere in.
pub trait DiskReader: fmt::Debug + Send {
    /// Its length when it was opened, in bytes.
    fn length(&self) -> u64;

    /// Reads at an offset, as many bytes as the system gives at once; 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// Fills the buffer from an offset on, as far as the file goes; gives the number of bytes.
pub(super) fn read_full(
    file: &dyn DiskReader,
    offset: u64,
    mut into: &mut [u8],
) -> io::Result<usize> {
    let wanted = into.len();
    let mut at = offset;
    while !into.is_empty() {
        match file.read_at(at, into)? {
            0 => break,
            n => {
                at += n as u64;
                into = &mut into[n..];
            }
        }
    }
    Ok(wanted - into.len())
}

/// The system's own.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// Names are relative to `root`.
    pub fn new(root: &Path) -> RealDisk {
        RealDisk {
            root: root.to_owned(),
        }
    }

    fn open_to_change(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(self.path(name))?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ))
        }
    }
}

/// Opens a file to read; `follow` says whether a symbolic link is followed.
pub(super) fn open_path(path: &Path, follow: bool) -> io::Result<Option<Box<dyn DiskReader>>> {
    // Non-blocking: opening a named pipe must not hang.
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    Ok(about.is_file().then(|| {
        let length = about.len();
        Box::new(RealReader { file, length }) as Box<dyn DiskReader>
    }))
}

impl Disk for RealDisk {
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.clone()
        } else {
            self.root.join(name)
        }
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskReader>>> {
        open_path(&self.path(name), false)
    }

    fn settle(&self, name: &str) -> io::Result<()> {
        let file = self.open_to_change(name)?;
        file.sync_all()?;
        // Advice only: a file system that keeps nothing on a disk has nothing to forget.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let file = self.open_to_change(name)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(self.path(name))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(self.path(dir))? {
            out.extend(entry?.file_name().into_string());
        }
        Ok(out)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[derive(Debug)]
struct RealReader {
    file: File,
    length: u64,
}

impl DiskReader for RealReader {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}
