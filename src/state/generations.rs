//! The generations of snapshots that a state directory keeps, for people and for going back to one.
//!
//! Invariant: reads only.

use std::path::{Path, PathBuf};

use super::disk::{Disk, RealDisk};
use super::durable::ReadError;
use super::store::{generations, read};
use super::{Snapshot, SnapshotError, Store, StoreError};

/// One generation in a state directory.
#[derive(Debug)]
pub struct Generation {
    /// Its number; a later one is higher.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// The file's length in bytes.
    pub bytes: u64,
    /// What is in it, or why it cannot be used.
    pub snapshot: Result<Snapshot, SnapshotError>,
}

/// Every generation in a state directory, the newest first; takes no lock.
///
/// # Errors
/// It is no directory, or the system fails to read it.
pub fn list(dir: &Path) -> Result<Vec<Generation>, StoreError> {
    if !dir.is_dir() {
        return Err(StoreError::NoSnapshot {
            path: dir.to_owned(),
            reason: "this is no state directory".to_owned(),
        });
    }
    let disk = RealDisk::new(dir);
    let named = generations(&disk)?.into_iter();
    named
        .map(|(number, name)| generation(&disk, number, &name))
        .collect()
}

fn generation(disk: &dyn Disk, number: u64, name: &str) -> Result<Generation, StoreError> {
    let path = disk.path(name);
    let opened = disk
        .open(name)
        .map_err(|source| StoreError::io("read", &path, source))?;
    let bytes = opened.as_ref().map_or(0, |file| file.length());
    let snapshot = match read(Ok(opened)) {
        Ok(snapshot) => Ok(snapshot),
        Err(ReadError::Bad(reason)) => Err(reason),
        Err(ReadError::Io(source)) => return Err(StoreError::io("read", &path, source)),
    };
    Ok(Generation {
        number,
        path,
        bytes,
        snapshot,
    })
}

impl Store {
    /// The generation of this number, with its path.
    ///
    /// # Errors
    /// There is none (the message names those there are), or it is not sound.
    pub fn generation(&self, number: u64) -> Result<(Snapshot, PathBuf), StoreError> {
        let all = list(self.dir())?;
        let known: Vec<String> = all.iter().map(|g| g.number.to_string()).collect();
        let Some(found) = all.into_iter().find(|g| g.number == number) else {
            return Err(StoreError::NoSnapshot {
                path: self.dir().to_owned(),
                reason: format!("no generation {number}; there are: {}", known.join(", ")),
            });
        };
        match found.snapshot {
            Ok(snapshot) => Ok((snapshot, found.path)),
            Err(reason) => Err(StoreError::Unreadable {
                files: vec![(found.path, reason)],
            }),
        }
    }
}
