//! A disk in memory that loses what was not synced, as a real one may: for tests.
//!
//! Each file has what is on the disk, the writes that are not, and what the processes of the
//! machine see. A power cut keeps what is on the disk, and of each write that was not synced all,
//! nothing, a prefix, or any of its sectors; of the names changed since the directory was synced,
//! any subset of the changes, in their order. All drawn from a seed.
//!
//! Invariant: whatever a real disk under POSIX could leave, this one may; what was synced stays,
//! unless a deliberate fault is switched on to see that the tests notice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, DiskReader};
use crate::math::Random;

const SECTOR: usize = 512;

/// Deliberate faults of a program or a disk, one of which a test must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Syncing a file does nothing.
    FileSyncSkipped,
    /// Syncing a directory does nothing.
    DirectorySyncSkipped,
    /// The ledger's reader believes every frame.
    ChecksumIgnored,
}

/// One change to what a file holds.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    on_disk: Vec<u8>,
    pending: Vec<Change>,
    seen: Vec<u8>,
}

/// One change to the names.
#[derive(Clone, Debug)]
enum Entry {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

impl Entry {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Entry::Link(name, file) => {
                names.insert(name.clone(), *file);
            }
            Entry::Unlink(name) => {
                names.remove(name);
            }
            Entry::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

#[derive(Debug)]
struct Inner {
    files: Vec<File>,
    names_on_disk: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    entries: Vec<Entry>,
    random: Random,
    /// Operations so far, reading not counted.
    operations: u64,
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    syncs: u64,
    fail_sync_at: Option<u64>,
    /// Bytes that all files together may have.
    space: Option<usize>,
    /// Raised by a power cut: files opened before are dead.
    boot: u64,
    off: bool,
    fault: Option<Fault>,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk(Arc<Mutex<Inner>>);

fn error(kind: io::ErrorKind, text: &'static str) -> io::Error {
    io::Error::new(kind, text)
}

fn eio() -> io::Error {
    error(io::ErrorKind::Other, "input/output error (simulated)")
}

impl Inner {
    /// Counts an operation that changes something; tells whether the power fails during it.
    fn operate(&mut self, boot: u64) -> io::Result<bool> {
        if self.off || boot != self.boot {
            return Err(error(io::ErrorKind::Other, "the power is off (simulated)"));
        }
        self.operations += 1;
        if self.fail_at == Some(self.operations) {
            return Err(eio());
        }
        Ok(self.crash_at == Some(self.operations))
    }

    /// Ends an operation: with the power cut, if it is to be.
    fn done<T>(&mut self, cut: bool, value: T) -> io::Result<T> {
        if cut {
            self.cut_power();
            return Err(error(io::ErrorKind::Other, "the power failed (simulated)"));
        }
        Ok(value)
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| error(io::ErrorKind::NotFound, "not found (simulated)"))
    }

    fn entry(&mut self, entry: Entry) {
        entry.apply(&mut self.names);
        self.entries.push(entry);
    }

    fn change(&mut self, file: usize, change: Change) {
        let file = &mut self.files[file];
        apply(&mut file.seen, &change);
        file.pending.push(change);
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_sync_at == Some(self.syncs) {
            // The pages count as clean now, whatever of them reached the disk.
            self.keep_some(file);
            return Err(eio());
        }
        if self.fault != Some(Fault::FileSyncSkipped) {
            let file = &mut self.files[file];
            for change in file.pending.drain(..) {
                apply(&mut file.on_disk, &change);
            }
        }
        Ok(())
    }

    /// Lets any part of what is pending reach the disk, and forgets the rest.
    fn keep_some(&mut self, file: usize) {
        let File {
            on_disk, pending, ..
        } = &mut self.files[file];
        for change in pending.drain(..) {
            match (self.random.below(4), change) {
                (0, _) => {}
                (2, Change::Write(at, mut bytes)) => {
                    bytes.truncate(self.random.below(bytes.len() as u64 + 1) as usize);
                    apply(on_disk, &Change::Write(at, bytes));
                }
                (3, Change::Write(at, bytes)) => {
                    // Sectors are those of the file, so the first of a write may be a short one.
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                        if self.random.below(2) == 0 {
                            apply(on_disk, &Change::Write(at + from, bytes[from..to].to_vec()));
                        }
                        from = to;
                    }
                }
                (_, change) => apply(on_disk, &change),
            }
        }
    }

    fn cut_power(&mut self) {
        for file in 0..self.files.len() {
            self.keep_some(file);
            self.files[file].seen = self.files[file].on_disk.clone();
        }
        for entry in std::mem::take(&mut self.entries) {
            if self.random.below(2) == 0 {
                entry.apply(&mut self.names_on_disk);
            }
        }
        self.names = self.names_on_disk.clone();
        self.off = true;
        self.boot += 1;
        self.crash_at = None;
    }

    fn used(&self) -> usize {
        self.names.values().map(|f| self.files[*f].seen.len()).sum()
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            if new.is_empty() {
                return;
            }
            let end = at + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(new);
        }
        Change::Cut(length) => bytes.truncate(*length),
    }
}

impl SimulatedDisk {
    pub(super) fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(Inner {
            files: Vec::new(),
            names_on_disk: BTreeMap::new(),
            names: BTreeMap::new(),
            entries: Vec::new(),
            random: Random::new(seed),
            operations: 0,
            crash_at: None,
            fail_at: None,
            syncs: 0,
            fail_sync_at: None,
            space: None,
            boot: 0,
            off: false,
            fault: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test goes on after a panic")
    }

    /// Switches a deliberate fault on.
    pub(super) fn set_fault(&self, fault: Fault) {
        self.inner().fault = Some(fault);
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// The power fails during the operation that comes so many after this moment (1: the next).
    pub(super) fn crash_after(&self, operations: u64) {
        let mut inner = self.inner();
        inner.crash_at = Some(inner.operations + operations);
    }

    /// The operation that comes so many after this moment fails, without an effect.
    pub(super) fn fail_after(&self, operations: u64) {
        let mut inner = self.inner();
        inner.fail_at = Some(inner.operations + operations);
    }

    /// The sync of a file that comes so many after this moment fails.
    pub(super) fn fail_sync_after(&self, syncs: u64) {
        let mut inner = self.inner();
        inner.fail_sync_at = Some(inner.syncs + syncs);
    }

    /// No failure is planned any more.
    pub(super) fn heal(&self) {
        let mut inner = self.inner();
        inner.fail_at = None;
        inner.fail_sync_at = None;
        inner.crash_at = None;
        inner.space = None;
    }

    /// There are only so many bytes left.
    pub(super) fn set_space_left(&self, bytes: usize) {
        let mut inner = self.inner();
        inner.space = Some(inner.used() + bytes);
    }

    /// The power fails now, unless it has already; it is on again afterwards.
    pub(super) fn reboot(&self) {
        let mut inner = self.inner();
        if !inner.off {
            inner.cut_power();
        }
        inner.off = false;
    }

    /// Whether the power has failed.
    pub(super) fn is_off(&self) -> bool {
        self.inner().off
    }

    /// Puts bytes in the place of a file, durably.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.inner();
        let file = inner.files.len();
        inner.files.push(File {
            on_disk: bytes.to_vec(),
            pending: Vec::new(),
            seen: bytes.to_vec(),
        });
        inner.names.insert(name.to_owned(), file);
        inner.names_on_disk.insert(name.to_owned(), file);
    }

    /// What a file holds, as processes see it.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let inner = self.inner();
        inner.files[inner.names[name]].seen.clone()
    }
}

impl Disk for SimulatedDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("/simulated").join(name)
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        let boot = inner.boot;
        let cut = inner.operate(boot)?;
        if inner.names.contains_key(name) {
            return Err(error(io::ErrorKind::AlreadyExists, "exists (simulated)"));
        }
        let file = inner.files.len();
        inner.files.push(File::default());
        inner.entry(Entry::Link(name.to_owned(), file));
        inner.done(cut, ())?;
        Ok(Box::new(Handle {
            disk: self.clone(),
            file,
            boot,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskReader>>> {
        let inner = self.inner();
        if inner.off {
            return Err(error(io::ErrorKind::Other, "the power is off (simulated)"));
        }
        let file = inner.find(name)?;
        Ok(Some(Box::new(Bytes(inner.files[file].seen.clone()))))
    }

    fn settle(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let boot = inner.boot;
        let cut = inner.operate(boot)?;
        let file = inner.find(name)?;
        inner.done(cut, ())?;
        inner.sync(file)?;
        let lies = inner.fault == Some(Fault::FileSyncSkipped);
        let file = &mut inner.files[file];
        if !lies {
            file.seen = file.on_disk.clone();
        }
        Ok(())
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let mut inner = self.inner();
        let boot = inner.boot;
        let cut = inner.operate(boot)?;
        let file = inner.find(name)?;
        inner.change(file, Change::Cut(length as usize));
        inner.done(cut, ())?;
        inner.sync(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let boot = inner.boot;
        let cut = inner.operate(boot)?;
        let file = inner.find(from)?;
        inner.entry(Entry::Rename(from.to_owned(), to.to_owned(), file));
        inner.done(cut, ())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let boot = inner.boot;
        let cut = inner.operate(boot)?;
        inner.find(name)?;
        inner.entry(Entry::Unlink(name.to_owned()));
        inner.done(cut, ())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        Err(error(io::ErrorKind::Unsupported, "one directory only"))
    }

    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        let inner = self.inner();
        if inner.off {
            return Err(error(io::ErrorKind::Other, "the power is off (simulated)"));
        }
        Ok(inner.names.keys().cloned().collect())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let boot = inner.boot;
        let cut = inner.operate(boot)?;
        inner.done(cut, ())?;
        if inner.fault != Some(Fault::DirectorySyncSkipped) {
            let inner = &mut *inner;
            for entry in inner.entries.drain(..) {
                entry.apply(&mut inner.names_on_disk);
            }
        }
        Ok(())
    }

    fn ignores_checksums(&self) -> bool {
        self.inner().fault == Some(Fault::ChecksumIgnored)
    }
}

#[derive(Debug)]
struct Handle {
    disk: SimulatedDisk,
    file: usize,
    boot: u64,
}

impl DiskFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let cut = inner.operate(self.boot)?;
        let left = inner.space.map(|space| space.saturating_sub(inner.used()));
        let fits = left.unwrap_or(usize::MAX).min(bytes.len());
        let at = inner.files[self.file].seen.len();
        inner.change(self.file, Change::Write(at, bytes[..fits].to_vec()));
        inner.done(cut, ())?;
        if fits < bytes.len() {
            return Err(error(io::ErrorKind::StorageFull, "no space (simulated)"));
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let cut = inner.operate(self.boot)?;
        inner.done(cut, ())?;
        inner.sync(self.file)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl DiskReader for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or(&[]);
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file of 2,000 bytes, written in two halves and synced after the first, looks like
    /// after power cuts with many seeds; `None` where its name is gone.
    fn outcomes(sync_dir: bool) -> Vec<Option<Vec<u8>>> {
        (0..200)
            .map(|seed| {
                let disk = SimulatedDisk::new(seed);
                let mut file = disk.create_new("a").unwrap();
                file.append(&[1; 1000]).unwrap();
                file.sync_data().unwrap();
                file.append(&[2; 1000]).unwrap();
                if sync_dir {
                    disk.sync_dir("").unwrap();
                }
                disk.reboot();
                assert!(file.append(&[3]).is_err(), "the process is gone");
                disk.open("a").ok().map(|_| disk.bytes("a"))
            })
            .collect()
    }

    #[test]
    fn what_was_synced_stays_and_of_the_rest_anything_may() {
        let found: Vec<Vec<u8>> = outcomes(true).into_iter().map(Option::unwrap).collect();
        assert!(
            found
                .iter()
                .all(|f| f.len() >= 1000 && f[..1000] == [1; 1000])
        );
        let some = |what: &dyn Fn(&[u8]) -> bool| found.iter().any(|f| what(&f[1000..]));
        assert!(some(&|rest| rest.is_empty()), "nothing");
        assert!(some(&|rest| rest == [2; 1000]), "all");
        assert!(
            some(&|rest| (1..1000).contains(&rest.len()) && !rest.contains(&0)),
            "a prefix"
        );
        assert!(
            some(&|rest| rest.contains(&0) && rest.contains(&2)),
            "a hole"
        );
    }

    #[test]
    fn names_that_were_not_synced_may_be_lost() {
        let found = outcomes(false);
        assert!(found.iter().any(Option::is_none) && found.iter().any(Option::is_some));
    }

    #[test]
    fn a_failed_sync_leaves_pages_that_only_seem_to_be_on_disk() {
        let mut lost = 0;
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            let mut file = disk.create_new("a").unwrap();
            disk.sync_dir("").unwrap();
            file.append(&[1; 600]).unwrap();
            disk.fail_sync_after(1);
            assert!(file.sync_data().is_err());
            assert!(file.sync_data().is_ok(), "a second try seems to succeed");
            assert_eq!(disk.bytes("a"), [1; 600]);
            disk.settle("a").unwrap();
            lost += usize::from(disk.bytes("a") != [1; 600]);
        }
        assert!(lost > 10);
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let disk = SimulatedDisk::new(1);
        let mut file = disk.create_new("a").unwrap();
        disk.set_space_left(10);
        let full = file.append(&[1; 11]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes("a").len(), 10);
        disk.heal();
        file.append(&[2]).unwrap();
        assert_eq!(disk.bytes("a").len(), 11);
    }
}
