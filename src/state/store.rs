//! The state directory: a lock, and the last few generations of snapshots.
//!
//! Invariant: at any moment, whatever has crashed, the newest snapshot that was reported written
//! is there, whole, or a later one is. Damage is put aside and named, never deleted, and never
//! answered by silently starting anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, FlockOperation, OFlags};

use super::disk::{self, Disk, DiskReader, RealDisk};
use super::durable::{self, ReadError};
use super::{Snapshot, SnapshotError, StoreError, format};

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".safetensors";
const BAD: &str = ".bad";
const ARCHIVE: &str = "archive";
const LOCK: &str = "lock";

/// A state directory that this process holds.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keep: usize,
    next: u64,
    invalid: u64,
    /// Held for as long as the store lives; the system lets go of it with the process.
    _lock: Option<File>,
}

impl Store {
    /// Takes the directory for this process, and keeps `keep` generations (at least one) in it.
    /// Files that an earlier process left unfinished are removed.
    ///
    /// # Errors
    /// Missing, not a directory, not writable, writable by others, or held by another process.
    pub fn open(dir: &Path, keep: usize) -> Result<Store, StoreError> {
        let about = match std::fs::metadata(dir) {
            Ok(about) => about,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(dir.to_owned()));
            }
            Err(source) if source.kind() == io::ErrorKind::NotADirectory => {
                return Err(StoreError::NotADirectory(dir.to_owned()));
            }
            Err(source) => return Err(not_writable(dir, source)),
        };
        if !about.is_dir() {
            return Err(StoreError::NotADirectory(dir.to_owned()));
        }
        if about.mode() & 0o002 != 0 {
            return Err(StoreError::WritableByOthers {
                dir: dir.to_owned(),
                mode: about.mode() & 0o7777,
            });
        }
        rustix::fs::access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| not_writable(dir, error.into()))?;
        let lock = lock(dir)?;
        Store::on(Arc::new(RealDisk::new(dir)), keep, Some(lock))
    }

    /// The store on a disk that this process holds.
    pub(super) fn on(
        disk: Arc<dyn Disk>,
        keep: usize,
        lock: Option<File>,
    ) -> Result<Store, StoreError> {
        let mut store = Store {
            dir: disk.path(""),
            disk,
            keep: keep.max(1),
            next: 1,
            invalid: 0,
            _lock: lock,
        };
        store.clean()?;
        Ok(store)
    }

    /// The directory as a disk, for the ledger that lies in it: use it only while the store, and
    /// with it the lock, lives.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Snapshots found damaged and put aside by this process.
    pub fn invalid(&self) -> u64 {
        self.invalid
    }

    /// The newest generation that is sound, with its path; `None` where there is no generation at
    /// all. Damaged newer ones are renamed to `.bad`, counted and warned of.
    ///
    /// # Errors
    /// There are generations, but none is sound (they are left as they are, so that the next start
    /// ends the same way), or one newer than the newest sound one is of another engine version, or
    /// the system fails to read one.
    pub fn newest(&mut self) -> Result<Option<(Snapshot, PathBuf)>, StoreError> {
        let (found, damaged) = newest_of(&*self.disk)?;
        if found.is_some() {
            for (path, reason) in damaged {
                let aside = with_ending(&path, BAD);
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                self.disk
                    .rename(&name, &format!("{name}{BAD}"))
                    .map_err(|source| StoreError::io("rename", &path, source))?;
                self.invalid += 1;
                tracing::warn!(
                    file = %path.display(),
                    moved_to = %aside.display(),
                    %reason,
                    "snapshot rejected, an older one takes its place"
                );
            }
            durable::sync_dir(&*self.disk, "")?;
        }
        Ok(found)
    }

    /// Writes a new generation and deletes those beyond the number kept. When this returns a path,
    /// the snapshot is on disk and was read back.
    ///
    /// # Errors
    /// The bytes are no snapshot, or the system failed; the generations before are untouched then.
    pub fn write(&mut self, encoded: &[u8]) -> Result<PathBuf, StoreError> {
        let name = format!("{PREFIX}{:020}{SUFFIX}", self.next);
        format::verify(encoded).map_err(|reason| StoreError::Unverified {
            path: self.dir.join(&name),
            reason,
        })?;
        let path = durable::write(&*self.disk, "", &name, encoded)?;
        self.next = self.next.saturating_add(1);
        if let Err(error) = self.prune() {
            // The snapshot is safe; what is left over is tried again with the next one.
            tracing::warn!(%error, "an old snapshot could not be deleted");
        }
        Ok(path)
    }

    /// Copies a generation to `archive/`, where nothing ever deletes it, before `model` is started
    /// anew; gives the copy's path.
    ///
    /// # Errors
    /// The generation cannot be read, or the copy not be written.
    pub fn archive(&self, snapshot: &Path, model: &str) -> Result<PathBuf, StoreError> {
        let opened = disk::open_path(snapshot, false).map_err(ReadError::Io);
        let bytes = opened
            .and_then(durable::read)
            .map_err(|error| match error {
                ReadError::Io(source) => StoreError::io("read", snapshot, source),
                ReadError::Bad(reason) => StoreError::Unreadable {
                    files: vec![(snapshot.to_owned(), reason)],
                },
            })?;
        match self.disk.create_dir(ARCHIVE) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                let archive = self.disk.path(ARCHIVE);
                return Err(StoreError::io("create", &archive, source));
            }
            _ => durable::sync_dir(&*self.disk, "")?,
        }
        // The name is from the configuration; only plain characters become part of a path.
        let model: String = model
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let generation = generation(snapshot).unwrap_or(0);
        let name = format!("{PREFIX}reset-{model}-{generation:020}{SUFFIX}");
        durable::write(&*self.disk, ARCHIVE, &name, &bytes)
    }

    /// Removes what was left unfinished, and finds the next generation's number: one that no file
    /// here ever had, a damaged one included.
    fn clean(&mut self) -> Result<(), StoreError> {
        for name in names(&*self.disk)? {
            if name.starts_with(PREFIX) && name.ends_with(durable::UNFINISHED) {
                self.remove(&name)?;
            } else if let Some(generation) = number_in(name.strip_suffix(BAD).unwrap_or(&name)) {
                self.next = self.next.max(generation.saturating_add(1));
            }
        }
        Ok(())
    }

    fn prune(&self) -> Result<(), StoreError> {
        for (_, name) in generations(&*self.disk)?.into_iter().skip(self.keep) {
            self.remove(&name)?;
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.disk
            .remove(name)
            .map_err(|source| StoreError::io("remove", &self.disk.path(name), source))
    }
}

/// Reads a snapshot without taking or changing anything: a file, or a state directory's newest
/// sound one. Gives the path read.
///
/// # Errors
/// Nothing there, or nothing sound.
pub fn load_path(path: &Path) -> Result<(Snapshot, PathBuf), StoreError> {
    let none = |reason: String| StoreError::NoSnapshot {
        path: path.to_owned(),
        reason,
    };
    let about = std::fs::metadata(path).map_err(|error| none(error.to_string()))?;
    if about.is_dir() {
        let (found, damaged) = newest_of(&RealDisk::new(path))?;
        for (path, reason) in damaged {
            tracing::warn!(file = %path.display(), %reason, "snapshot skipped");
        }
        return found.ok_or_else(|| none("there is no snapshot in this directory".to_owned()));
    }
    match read(disk::open_path(path, true)) {
        Ok(snapshot) => Ok((snapshot, path.to_owned())),
        Err(ReadError::Io(source)) => Err(StoreError::io("read", path, source)),
        Err(ReadError::Bad(reason)) => Err(StoreError::Unreadable {
            files: vec![(path.to_owned(), reason)],
        }),
    }
}

type Damaged = Vec<(PathBuf, SnapshotError)>;

/// The newest sound generation, and the damaged ones that are newer.
fn newest_of(disk: &dyn Disk) -> Result<(Option<(Snapshot, PathBuf)>, Damaged), StoreError> {
    let mut damaged = Vec::new();
    for (_, name) in generations(disk)? {
        let path = disk.path(&name);
        match read(disk.open(&name)) {
            Ok(snapshot) => return Ok((Some((snapshot, path)), damaged)),
            // One that may be sound must not be passed over for an older one.
            Err(ReadError::Io(source)) => return Err(StoreError::io("read", &path, source)),
            Err(ReadError::Bad(reason)) => {
                let stop = reason.is_version() || matches!(reason, SnapshotError::Memory(_));
                damaged.push((path, reason));
                if stop {
                    return Err(StoreError::Unreadable { files: damaged });
                }
            }
        }
    }
    if damaged.is_empty() {
        Ok((None, damaged))
    } else {
        Err(StoreError::Unreadable { files: damaged })
    }
}

pub(super) fn read(opened: io::Result<Option<Box<dyn DiskReader>>>) -> Result<Snapshot, ReadError> {
    let bytes = durable::read(opened.map_err(ReadError::Io)?)?;
    Snapshot::decode(&bytes).map_err(ReadError::Bad)
}

/// The generations in a directory with their names, newest first.
pub(super) fn generations(disk: &dyn Disk) -> Result<Vec<(u64, String)>, StoreError> {
    let mut out: Vec<(u64, String)> = names(disk)?
        .into_iter()
        .filter_map(|name| Some((number_in(&name)?, name)))
        .collect();
    out.sort_by(|a, b| b.cmp(a));
    Ok(out)
}

fn names(disk: &dyn Disk) -> Result<Vec<String>, StoreError> {
    disk.list("")
        .map_err(|source| StoreError::io("list", &disk.path(""), source))
}

fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

fn generation(path: &Path) -> Option<u64> {
    number_in(path.file_name()?.to_str()?)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn not_writable(dir: &Path, source: io::Error) -> StoreError {
    StoreError::NotWritable {
        dir: dir.to_owned(),
        source,
    }
}

/// Takes the lock file, and leaves the process id in it for people.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                not_writable(dir, source)
            }
            _ => StoreError::io("open", &path, source),
        })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Whatever cannot be read or parsed only makes the message shorter.
            let _ = (&mut file).take(32).read_to_string(&mut text);
            return Err(StoreError::Locked {
                dir: dir.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(error) => return Err(StoreError::io("lock", &path, error.into())),
    }
    // For people only, and a full disk must not keep the daemon from starting.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Writes a snapshot under a name of the caller's choice: whole, or not there.
///
/// # Errors
/// The first operation that failed; whatever had the name before still has it then.
pub fn write_file(path: &Path, encoded: &[u8]) -> Result<(), StoreError> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    durable::write(&RealDisk::new(dir), "", &name, encoded).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::sample;
    use super::*;

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o700);
        dir
    }

    fn chmod(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn snapshot(order: u64) -> Snapshot {
        let mut snapshot = sample();
        snapshot.order = order;
        snapshot
    }

    fn put(path: &Path, bytes: &[u8]) {
        File::create(path).unwrap().write_all(bytes).unwrap();
    }

    fn flip(path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        put(path, &bytes);
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut names = names(&RealDisk::new(dir)).unwrap();
        names.retain(|name| name != LOCK);
        names.sort();
        names
    }

    #[test]
    fn continues_from_the_newest_and_keeps_so_many_generations() {
        let dir = directory();
        {
            let mut store = Store::open(dir.path(), 2).unwrap();
            assert!(store.newest().unwrap().is_none());
            for order in 1..=3 {
                store.write(&snapshot(order).encode()).unwrap();
            }
        }
        assert_eq!(
            files(dir.path()),
            [
                "snapshot-00000000000000000002.safetensors",
                "snapshot-00000000000000000003.safetensors"
            ]
        );
        let mut store = Store::open(dir.path(), 2).unwrap();
        let (newest, path) = store.newest().unwrap().unwrap();
        assert_eq!(newest.order, 3);
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        let path = store.write(&snapshot(4).encode()).unwrap();
        assert!(path.ends_with("snapshot-00000000000000000004.safetensors"));
    }

    #[test]
    fn a_damaged_newest_gives_way_to_the_one_before_and_is_kept() {
        let dir = directory();
        let mut store = Store::open(dir.path(), 3).unwrap();
        store.write(&snapshot(1).encode()).unwrap();
        let second = store.write(&snapshot(2).encode()).unwrap();
        flip(&second);
        assert_eq!(load_path(dir.path()).unwrap().0.order, 1);
        assert!(second.exists(), "looking changes nothing");
        let (newest, _) = store.newest().unwrap().unwrap();
        assert_eq!(newest.order, 1);
        assert_eq!(store.invalid(), 1);
        assert!(with_ending(&second, BAD).exists());
        drop(store);
        let mut store = Store::open(dir.path(), 3).unwrap();
        let third = store.write(&snapshot(3).encode()).unwrap();
        assert_eq!(generation(&third), Some(3), "no number is used twice");
    }

    #[test]
    fn damage_everywhere_is_an_error_at_every_start_and_nothing_is_moved() {
        let dir = directory();
        let mut store = Store::open(dir.path(), 3).unwrap();
        let first = store.write(&snapshot(1).encode()).unwrap();
        let second = store.write(&snapshot(2).encode()).unwrap();
        flip(&first);
        put(&second, b"");
        for _ in 0..2 {
            let error = store.newest().unwrap_err();
            assert_eq!(error.exit_code(), 3);
            let text = error.to_string();
            for part in [
                first.to_str().unwrap(),
                second.to_str().unwrap(),
                "checksum",
                "not a learnd snapshot",
                "move them away",
            ] {
                assert!(text.contains(part), "{text}");
            }
        }
        assert_eq!(load_path(dir.path()).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn a_later_versions_snapshot_is_never_passed_over_for_an_older_one() {
        let dir = directory();
        let mut store = Store::open(dir.path(), 3).unwrap();
        store.write(&snapshot(1).encode()).unwrap();
        let mut later = snapshot(2);
        later.engine = super::super::ENGINE + 1;
        let later = store.write(&later.encode()).unwrap();
        let error = store.newest().unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("engine version 2"), "{error}");
        assert!(later.exists());
    }

    #[test]
    fn strange_files_in_the_place_of_snapshots_are_refused_without_being_read() {
        let dir = directory();
        let mut store = Store::open(dir.path(), 9).unwrap();
        let good = store.write(&snapshot(1).encode()).unwrap();
        let place = |n: u32| dir.path().join(format!("{PREFIX}{n:020}{SUFFIX}"));
        std::os::unix::fs::symlink(&good, place(2)).unwrap();
        std::fs::create_dir(place(3)).unwrap();
        let huge = File::create(place(4)).unwrap();
        huge.set_len(10 << 40).unwrap();
        let (newest, path) = store.newest().unwrap().unwrap();
        assert_eq!((newest.order, path), (1, good));
        assert_eq!(store.invalid(), 3);
    }

    #[test]
    fn a_second_instance_is_refused_by_name_and_let_in_afterwards() {
        let dir = directory();
        let store = Store::open(dir.path(), 3).unwrap();
        let error = Store::open(dir.path(), 3).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        let want = format!("(process {})", std::process::id());
        assert!(error.to_string().contains(&want), "{error}");
        drop(store);
        assert!(Store::open(dir.path(), 3).is_ok());
    }

    #[test]
    fn unusable_directories_are_usage_errors() {
        let dir = directory();
        let missing = Store::open(&dir.path().join("none"), 3).unwrap_err();
        assert!(matches!(missing, StoreError::Missing(_)));
        let file = dir.path().join("file");
        put(&file, b"");
        let not_a_directory = Store::open(&file, 3).unwrap_err();
        assert!(matches!(not_a_directory, StoreError::NotADirectory(_)));
        assert_eq!(missing.exit_code(), 2);
        for mode in [0o702, 0o777] {
            chmod(dir.path(), mode);
            let error = Store::open(dir.path(), 3).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(matches!(error, StoreError::WritableByOthers { .. }));
        }
        chmod(dir.path(), 0o500);
        let outcome = Store::open(dir.path(), 3);
        chmod(dir.path(), 0o700);
        // Modes do not bind the superuser.
        if !rustix::process::geteuid().is_root() {
            assert!(matches!(outcome, Err(StoreError::NotWritable { .. })));
        }
    }

    #[test]
    fn left_overs_go_and_a_failed_write_leaves_none_and_harms_nothing() {
        let dir = directory();
        put(&dir.path().join("snapshot-1.tmp"), b"half");
        put(&dir.path().join("notes.tmp"), b"not ours");
        let mut store = Store::open(dir.path(), 1).unwrap();
        assert_eq!(files(dir.path()), ["notes.tmp"]);
        let first = store.write(&snapshot(1).encode()).unwrap();

        // A directory in the place of the next generation: writing works, renaming fails.
        let place = dir.path().join("snapshot-00000000000000000002.safetensors");
        std::fs::create_dir(&place).unwrap();
        let error = store.write(&snapshot(2).encode()).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(!error.is_no_space());
        assert!(error.to_string().starts_with("cannot rename"), "{error}");
        // Something that cannot be removed in the place of the temporary file.
        let unfinished = with_ending(&place, durable::UNFINISHED);
        std::fs::create_dir(&unfinished).unwrap();
        assert!(store.write(&snapshot(2).encode()).is_err());
        std::fs::remove_dir(&unfinished).unwrap();
        std::fs::remove_dir(&place).unwrap();

        assert!(matches!(
            store.write(b"no snapshot"),
            Err(StoreError::Unverified { .. })
        ));
        assert_eq!(store.newest().unwrap().unwrap().1, first);
        let second = store.write(&snapshot(2).encode()).unwrap();
        assert!(!first.exists() && second.exists());
        assert_eq!(files(dir.path()).len(), 2, "{:?}", files(dir.path()));
    }

    #[test]
    fn what_is_archived_before_a_reset_stays() {
        let dir = directory();
        let mut store = Store::open(dir.path(), 1).unwrap();
        let first = store.write(&snapshot(1).encode()).unwrap();
        let copy = store.archive(&first, "../ch urn").unwrap();
        assert_eq!(copy.parent(), Some(dir.path().join(ARCHIVE).as_path()));
        for order in 2..4 {
            store.write(&snapshot(order).encode()).unwrap();
        }
        assert!(!first.exists());
        assert_eq!(load_path(&copy).unwrap().0.order, 1);
        assert!(store.archive(&first, "churn").is_err());
    }
}
