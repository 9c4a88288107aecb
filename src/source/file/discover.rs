//! Which files there are: what the globs match, and rotated files that lie beside them.
//!
//! Invariant: only regular files are ever opened, and never through a symbolic link unless that
//! was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::decompress::Compression;

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it lies now.
    pub path: PathBuf,
    /// Where its log is written.
    pub home: PathBuf,
    /// Device and inode.
    pub place: (u64, u64),
    /// In bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub modified: i64,
}

impl Entry {
    fn new(path: PathBuf, home: PathBuf, metadata: &Metadata) -> Entry {
        Entry {
            path,
            home,
            place: place(metadata),
            size: metadata.len(),
            modified: modified(metadata),
        }
    }

    /// How the file is compressed.
    pub(super) fn compression(&self) -> Compression {
        Compression::of(&self.path)
    }

    /// Oldest first; of files written in the same moment the one rotated more often, and the one
    /// still written last.
    pub(super) fn order(&self, other: &Entry) -> std::cmp::Ordering {
        let key = |entry: &Entry| {
            let suffix = rotation_suffix(&entry.path);
            // `.3` is older than `.2`; of dates the smaller is older; the bare name is newest.
            let (bare, number) = match suffix.as_deref() {
                None => (true, 0),
                Some(digits) if digits.len() < 6 => {
                    (false, -digits.parse::<i64>().unwrap_or_default())
                }
                Some(digits) => (
                    false,
                    digits.get(..18).unwrap_or(digits).parse().unwrap_or(0),
                ),
            };
            (entry.modified, bare, number)
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.path.cmp(&other.path))
    }
}

/// Device and inode.
pub(super) fn place(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Nanoseconds since the epoch of the last write.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}

/// Opens a file for reading if it is still the one that was found.
pub(super) fn open(entry: &Entry, follow_symlinks: bool) -> io::Result<Option<(File, Metadata)>> {
    // Not blocking: between the look and the open a pipe may have taken the file's place.
    let mut flags = rustix::fs::OFlags::NONBLOCK;
    if !follow_symlinks {
        flags |= rustix::fs::OFlags::NOFOLLOW;
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(&entry.path)?;
    let metadata = file.metadata()?;
    let same = metadata.is_file() && place(&metadata) == entry.place;
    Ok(same.then_some((file, metadata)))
}

/// Looks at what the patterns match. `skip` hears of what is no regular file or cannot be seen.
pub(super) fn matches(
    patterns: &[String],
    follow_symlinks: bool,
    mut skip: impl FnMut(&Path, &str),
) -> Vec<Entry> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        // The pattern was checked when the source was opened.
        let Ok(paths) = glob::glob(pattern) else {
            continue;
        };
        for path in paths {
            let path = match path {
                Ok(path) => path,
                Err(error) => {
                    skip(error.path(), &error.error().to_string());
                    continue;
                }
            };
            match look(&path, follow_symlinks) {
                Ok(entry) => {
                    // Two names of one file are one file.
                    found.entry(entry.place).or_insert(entry);
                }
                Err(Skipped::Vanished) => {}
                Err(Skipped::Because(reason)) => skip(&path, &reason),
            }
        }
    }
    found.into_values().collect()
}

enum Skipped {
    Vanished,
    Because(String),
}

fn look(path: &Path, follow_symlinks: bool) -> Result<Entry, Skipped> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Skipped::Vanished,
        _ => Skipped::Because(error.to_string()),
    };
    let mut metadata = path.symlink_metadata().map_err(failed)?;
    let mut home = path.to_path_buf();
    if metadata.is_symlink() {
        if !follow_symlinks {
            return Err(Skipped::Because(
                "a symbolic link (follow_symlinks = false)".into(),
            ));
        }
        // Rotated files lie beside what the link points to.
        home = path.canonicalize().map_err(failed)?;
        metadata = path.metadata().map_err(failed)?;
    }
    if !metadata.is_file() {
        return Err(Skipped::Because("not a regular file".into()));
    }
    Ok(Entry::new(path.to_path_buf(), home, &metadata))
}

/// Files beside a `home` that carry its name with something added and were written no earlier
/// than given for it: what a log was rotated to.
pub(super) fn siblings(homes: &BTreeMap<PathBuf, i64>) -> Vec<Entry> {
    let directories: BTreeSet<&Path> = homes.keys().filter_map(|home| home.parent()).collect();
    let mut found = Vec::new();
    for directory in directories {
        let here = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let Ok(list) = std::fs::read_dir(here) else {
            continue;
        };
        for item in list.flatten() {
            let name = item.file_name();
            let bytes = name.as_bytes();
            let home = (1..bytes.len())
                .rev()
                .filter(|&i| matches!(bytes[i], b'.' | b'-' | b'_'))
                .map(|i| directory.join(std::ffi::OsStr::from_bytes(&bytes[..i])))
                .find_map(|home| homes.get_key_value(&home));
            let Some((home, &oldest)) = home else {
                continue;
            };
            let path = directory.join(&name);
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            if metadata.is_file() && modified(&metadata) >= oldest {
                found.push(Entry::new(path, home.clone(), &metadata));
            }
        }
    }
    found
}

/// The digits of a rotated file's last name part: `3` of `app.log.3`, `20260102` of
/// `app.log-2026-01-02.gz`; `None` if there are none.
fn rotation_suffix(path: &Path) -> Option<String> {
    let base = rotated_from(path)?;
    let name = path.file_name()?.as_bytes();
    let suffix = &name[base.file_name()?.len()..];
    Some(
        suffix
            .iter()
            .filter(|c| c.is_ascii_digit())
            .map(|&c| char::from(c))
            .collect(),
    )
}

/// The path from which a file with this name was rotated: `app.log` for `app.log.1`,
/// `app.log-20260102` and `app.log.1.gz`; `None` if the name has no number at its end.
pub(super) fn rotated_from(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    let name = name
        .strip_suffix(b".gz")
        .or_else(|| name.strip_suffix(b".zst"))
        .unwrap_or(name);
    let suffix = name
        .iter()
        .rposition(|c| !(c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_' | b':')))?
        + 1;
    let separated = matches!(name.get(suffix), Some(b'.' | b'-' | b'_'));
    let numbered = name[suffix..].iter().any(u8::is_ascii_digit);
    (separated && numbered)
        .then(|| path.with_file_name(std::ffi::OsStr::from_bytes(&name[..suffix])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_rotated_names() {
        let base = |name: &str| rotated_from(Path::new(name)).map(|p| p.display().to_string());
        for name in [
            "d/a.log.1",
            "d/a.log-20260102",
            "d/a.log.2026-01-02.gz",
            "d/a.log.12.zst",
        ] {
            assert_eq!(base(name).as_deref(), Some("d/a.log"), "{name}");
        }
        for name in ["a.log", "access2.log", "a.log.gz", "app2", "42"] {
            assert_eq!(base(name), None, "{name}");
        }
    }

    #[test]
    fn orders_files_of_one_moment_by_rotation() {
        let mut entries: Vec<Entry> = ["a.log", "a.log.1", "a.log.10.gz", "a.log.2"]
            .iter()
            .map(|name| Entry {
                path: name.into(),
                home: name.into(),
                place: (0, 0),
                size: 1,
                modified: 5,
            })
            .collect();
        entries.sort_by(Entry::order);
        let names: Vec<_> = entries.iter().map(|e| e.path.to_str().unwrap()).collect();
        assert_eq!(names, ["a.log.10.gz", "a.log.2", "a.log.1", "a.log"]);
    }

    #[test]
    fn finds_only_regular_files_and_says_what_it_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        File::create(&file).unwrap();
        std::fs::create_dir(dir.path().join("b.log")).unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("c.log")).unwrap();
        let pattern = [dir.path().join("*.log").display().to_string()];
        let mut skipped = Vec::new();
        let found = matches(&pattern, false, |path, _| {
            skipped.push(path.file_name().unwrap().to_owned());
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, file);
        assert_eq!(skipped, ["b.log", "c.log"]);
        // Through the link it is the same file, found once.
        assert_eq!(matches(&pattern, true, |_, _| ()).len(), 1);
    }
}
