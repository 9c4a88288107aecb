//! Why a snapshot cannot be read, and why the state directory cannot be used.
//!
//! Invariant: every error names the file or directory, the reason and, where there is one, the way
//! out; the exit code follows from its kind alone.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Why the bytes of a file are not a snapshot that can be continued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a regular file (a symbolic link in the state directory counts as none).
    #[error("not a regular file")]
    NotAFile,
    /// The bytes do not begin as a snapshot does.
    #[error("not a learnd snapshot")]
    NotASnapshot,
    /// The end is missing.
    #[error("truncated: {found} of {declared} bytes")]
    Truncated {
        /// Bytes there.
        found: u64,
        /// Bytes that were written.
        declared: u64,
    },
    /// Something follows the end.
    #[error("{found} bytes where {declared} were written")]
    Overlong {
        /// Bytes there.
        found: u64,
        /// Bytes that were written.
        declared: u64,
    },
    /// Bits have changed since it was written.
    #[error("checksum does not match: the file is damaged")]
    Checksum,
    /// Written by a later engine.
    #[error(
        "written by engine version {found}, this program has {ours}: run the version that wrote it, or a later one"
    )]
    Newer {
        /// The file's engine version.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// Written by an engine too old to be continued.
    #[error(
        "written by engine version {found}, this program reads {oldest} and later: run the version that wrote it"
    )]
    Older {
        /// The file's engine version.
        found: u32,
        /// The oldest that can be read.
        oldest: u32,
    },
    /// Whole, but not as this program writes it.
    #[error("malformed: {0}")]
    Malformed(String),
    /// There is no memory for it.
    #[error("no memory for its {0} bytes")]
    Memory(u64),
}

impl SnapshotError {
    /// The file is sound, but of another version: an older generation must not take its place, as
    /// that would silently lose what was learned since.
    pub fn is_version(&self) -> bool {
        matches!(
            self,
            SnapshotError::Newer { .. } | SnapshotError::Older { .. }
        )
    }
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("state directory {} does not exist: create it, owned by the user that runs learnd, with mode 0700", .0.display())]
    Missing(PathBuf),
    /// There is no snapshot to read here.
    #[error("{}: {reason}", path.display())]
    NoSnapshot {
        /// What was asked for.
        path: PathBuf,
        /// Not there, or empty.
        reason: String,
    },
    /// It is something else.
    #[error("state directory {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Files cannot be made in it.
    #[error("state directory {} is not writable: {source}", dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could put state under the daemon.
    #[error(
        "state directory {} is writable by others (mode {mode:04o}): chmod o-w {}", dir.display(), dir.display()
    )]
    WritableByOthers {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another instance uses it.
    #[error("state directory {} is in use by another instance{}", dir.display(), holder(*pid))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other's process id, where it can be read.
        pid: Option<u32>,
    },
    /// There are snapshots, but none can be continued.
    #[error("{}", unreadable(files))]
    Unreadable {
        /// Each file and what is wrong with it, newest first.
        files: Vec<(PathBuf, SnapshotError)>,
    },
    /// What was to be written is no snapshot, or did not read back as it was written.
    #[error("snapshot {} did not verify: {reason}", path.display())]
    Unverified {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: SnapshotError,
    },
    /// Something of the ledger that was durable is not there any more, or not as it was written.
    #[error(
        "{}: the ledger is damaged at byte {offset}, where frame {seq} should be: {reason}\n\
         restore the file from a backup; or, to give up what no snapshot has from there on, move it \
         and the ledger files after it away (where they hold frames that the snapshot has, start \
         once with --from as well)", path.display()
    )]
    LedgerDamaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// The number of the frame that should be there.
        seq: u64,
        /// What is there.
        reason: String,
    },
    /// The ledger does not reach back to the snapshot.
    #[error(
        "{}: the ledger begins with frame {first}, but the snapshot has only those up to {snapshot}: \
         restore the ledger files before this one, or a later snapshot, from a backup", path.display()
    )]
    LedgerGap {
        /// The oldest segment.
        path: PathBuf,
        /// Its first frame.
        first: u64,
        /// The last frame that the snapshot has.
        snapshot: u64,
    },
    /// The ledger does not reach up to the snapshot: someone has taken it, or its end, away.
    #[error("{}", behind(dir, *end, *snapshot))]
    LedgerBehind {
        /// The state directory.
        dir: PathBuf,
        /// The last frame there; `None` where there is no ledger at all.
        end: Option<u64>,
        /// The last frame that the snapshot has.
        snapshot: u64,
    },
    /// The ledger holds frames that another engine took.
    #[error(
        "{}: written by engine version {found}, this program has {ours}: run the version that wrote \
         it and stop it cleanly, so that a snapshot has everything", path.display()
    )]
    LedgerVersion {
        /// The segment.
        path: PathBuf,
        /// Its engine version.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The program's exit code where this error ends it (INTERFACE §1).
    pub fn exit_code(&self) -> u8 {
        match self {
            StoreError::Missing(_)
            | StoreError::NoSnapshot { .. }
            | StoreError::NotADirectory(_)
            | StoreError::NotWritable { .. }
            | StoreError::WritableByOthers { .. } => 2,
            StoreError::Unreadable { .. }
            | StoreError::LedgerDamaged { .. }
            | StoreError::LedgerGap { .. }
            | StoreError::LedgerBehind { .. }
            | StoreError::LedgerVersion { .. } => 3,
            StoreError::Unverified { .. } | StoreError::Io { .. } => 4,
            StoreError::Locked { .. } => 5,
        }
    }

    /// The disk or the quota is full: this heals, so the daemon waits instead of ending.
    pub fn is_no_space(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }
}

fn behind(dir: &Path, end: Option<u64>, snapshot: u64) -> String {
    let there = end.map_or("is not there".to_owned(), |end| {
        format!("ends with frame {end}")
    });
    format!(
        "{}: the snapshot has the ledger's frames up to {snapshot}, but the ledger {there}: what was \
         taken after the snapshot may be lost\nput the ledger files back; or, to go on without them, \
         start once with --from",
        dir.display()
    )
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}

fn unreadable(files: &[(PathBuf, SnapshotError)]) -> String {
    let mut text = String::from("no snapshot can be read:");
    for (path, reason) in files {
        write!(text, "\n  {}: {reason}", path.display()).expect("writing to memory cannot fail");
    }
    text.push_str(
        "\nrestore one of them from a backup, or, to start with nothing learned, move them away",
    );
    text
}
