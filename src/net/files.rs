//! Secret files: how they are read, and how a change is noticed.
//!
//! Invariant: a file that every user of the machine can read is refused, and so is one larger than
//! any key or list of tokens; errors tell of the file, never of what is in it.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file of keys, certificates or tokens is no larger.
const MOST_BYTES: u64 = 1 << 20;

/// A file that cannot be used, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The key of the configuration that names the file: `cert`, `key`, `client_ca` or `file`.
    pub key: &'static str,
    /// Of `tokens`: which entry.
    pub index: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Whether others may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Certificates are public.
    Anyone,
    /// Its owner and group alone.
    OwnerAndGroup,
}

/// What is wrong with a file and what to do.
pub(super) type Wrong = (String, String);

/// Reads a file whole.
pub(super) fn read(path: &Path, readers: Readers) -> Result<Vec<u8>, Wrong> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        let help = "name a file that the daemon's user can read".to_owned();
        (format!("{shown} cannot be read: {error}"), help)
    };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        let help = "name a file that the daemon's user can read".to_owned();
        return Err((format!("{shown} is not a file"), help));
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if readers == Readers::OwnerAndGroup && mode & 0o007 != 0 {
        let message = format!("{shown} is open to every user of the machine, so it is no secret");
        return Err((message, format!("chmod 0400 {shown}")));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        let message = format!("{shown} is larger than 1 MiB");
        return Err((message, "name another file".to_owned()));
    }
    Ok(bytes)
}

/// What tells one version of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([i64; 7]);

/// The fingerprint of a file as it is now; `None` where there is none.
pub(super) fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let of = |m: Metadata| {
        Fingerprint([
            m.dev() as i64,
            m.ino() as i64,
            m.size() as i64,
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
        ])
    };
    std::fs::metadata(path).ok().map(of)
}
