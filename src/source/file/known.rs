//! The streams that have been seen, from the snapshot and since, and how a file is found among them.
//!
//! Invariant: a stream's number is its place here and never changes; a file is taken for a known
//! one only if the content up to the offset agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::super::Resume;
use super::archive::Archive;
use super::discover::{self, Entry};
use super::identity::{CONFIDENT, Identity, Print, prefix_length};

/// One stream.
#[derive(Debug)]
pub(super) struct Known {
    /// As last delivered; `None` for a stream of the snapshot that is not one of a file.
    pub identity: Option<Identity>,
    /// Delivered up to here.
    pub offset: u64,
    /// Nothing more is expected of it.
    pub finished: bool,
    /// Open and being read.
    pub active: bool,
    /// Its file was cut off: what it held may have been copied elsewhere.
    pub displaced: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct KnownStreams {
    streams: Vec<Known>,
}

impl KnownStreams {
    /// As the snapshot remembers them.
    pub(super) fn new(resume: &[Resume]) -> KnownStreams {
        let streams = resume
            .iter()
            .map(|resume| Known {
                identity: Identity::decode(&resume.identity),
                offset: resume.offset,
                finished: resume.finished,
                active: false,
                displaced: false,
            })
            .collect();
        KnownStreams { streams }
    }

    /// A new stream; gives its number.
    pub(super) fn add(&mut self, identity: Option<Identity>, offset: u64) -> usize {
        self.streams.push(Known {
            identity,
            offset,
            finished: false,
            active: true,
            displaced: false,
        });
        self.streams.len() - 1
    }

    /// One of them.
    pub(super) fn get_mut(&mut self, number: usize) -> &mut Known {
        &mut self.streams[number]
    }

    fn files(&self) -> impl Iterator<Item = (usize, &Known, &Identity)> {
        let file = |(number, known)| Some((number, known, Known::identity(known)?));
        self.streams.iter().enumerate().filter_map(file)
    }

    /// Homes whose log was rotated while its stream was not finished (at the first look also the
    /// latest finished one), with the time from which on files beside them matter.
    pub(super) fn homes_to_search(&self, entries: &[Entry], first: bool) -> BTreeMap<PathBuf, i64> {
        let places: BTreeMap<_, _> = entries.iter().map(|e| (e.place, e.size)).collect();
        let at_home: BTreeMap<&Path, _> = entries.iter().map(|e| (e.home.as_path(), e)).collect();
        // The latest stream of each home: files written after it have not been seen.
        let mut latest: BTreeMap<&Path, usize> = BTreeMap::new();
        for (number, _, identity) in self.files().filter(|(_, _, i)| i.archive == 0) {
            latest.insert(&identity.home, number);
        }
        let mut homes: BTreeMap<PathBuf, i64> = BTreeMap::new();
        for (number, known, identity) in self.files().filter(|(_, _, i)| i.archive == 0) {
            let present = places.get(&identity.place);
            let lost =
                !known.finished && !known.active && present.is_none_or(|&s| s < known.offset);
            let succeeded = latest.get(identity.home.as_path()) == Some(&number)
                && (first || known.active)
                && at_home.get(identity.home.as_path()).is_none_or(|entry| {
                    // At the first look the inode may be there and belong to another file.
                    entry.place != identity.place || first && !still_holds(entry, known, identity)
                });
            if lost || succeeded || known.displaced {
                let oldest = homes.entry(identity.home.clone()).or_insert(i64::MAX);
                *oldest = (*oldest).min(identity.modified);
            }
        }
        homes
    }

    /// Unfinished streams that are not being read and whose files are not among `entries`.
    pub(super) fn missing(&self, entries: &[Entry]) -> Vec<usize> {
        let places: BTreeSet<_> = entries.iter().map(|e| e.place).collect();
        self.files()
            .filter(|(_, known, identity)| {
                !known.finished && !known.active && !places.contains(&identity.place)
            })
            .map(|(number, _, _)| number)
            .collect()
    }

    /// The unfinished stream that lay where `entry` lies and is not in it any more.
    pub(super) fn overwritten(&self, entry: &Entry, file: &File) -> Option<usize> {
        self.files()
            .filter(|(_, k, i)| i.place == entry.place && !k.finished && !k.active)
            .find(|(_, k, i)| Print::of_file(file, k.offset).ok() != Some(i.print))
            .map(|(number, _, _)| number)
    }

    /// Whether an unfinished stream lay where `entry` lies.
    pub(super) fn expects(&self, entry: &Entry) -> bool {
        self.files()
            .any(|(_, k, i)| i.place == entry.place && i.archive == 0 && !k.finished && !k.active)
    }

    /// The stream that a plain file continues.
    pub(super) fn find(
        &self,
        entry: &Entry,
        file: &File,
        size: u64,
        entries: &[Entry],
    ) -> io::Result<Option<usize>> {
        let places: BTreeMap<_, _> = entries.iter().map(|e| (e.place, e.size)).collect();
        let mut best: Option<(bool, u64, usize)> = None;
        for (number, known, identity) in self.files() {
            if known.active || known.offset > size {
                continue;
            }
            let same_place = identity.place == entry.place;
            if !same_place {
                // A copy is believed only if the file it was made from is not there.
                let there = places
                    .get(&identity.place)
                    .is_some_and(|&s| s >= known.offset)
                    && !known.displaced;
                let enough = known.offset >= CONFIDENT || known.offset == size;
                if there || !enough || known.offset == 0 {
                    continue;
                }
            }
            let rank = (same_place, known.offset, number);
            if best.is_none_or(|best| rank > best)
                && Print::of_file(file, known.offset)? == identity.print
            {
                best = Some(rank);
            }
        }
        Ok(best.map(|(_, _, number)| number))
    }

    /// The archive with these compressed bytes that was read to its end.
    pub(super) fn finished_archive(&self, key: u128) -> bool {
        self.files().any(|(_, k, i)| i.archive == key && k.finished)
    }

    /// Streams that the content of an archive may continue, the furthest first; `Err` holds one
    /// that is still being read.
    pub(super) fn archived(&self, head: &[u8]) -> Result<Vec<(usize, u64, Print)>, usize> {
        let mut candidates = Vec::new();
        for (number, known, identity) in self.files() {
            let length = prefix_length(known.offset);
            if known.offset == 0 || head.len() < length {
                continue;
            }
            if Print::of(&head[..length], &[]).prefix == identity.print.prefix {
                if known.active {
                    if known.offset >= CONFIDENT {
                        return Err(number);
                    }
                    continue;
                }
                candidates.push((number, known.offset, identity.print));
            }
        }
        candidates.sort_by_key(|&(number, offset, _)| std::cmp::Reverse((offset, number)));
        Ok(candidates)
    }

    /// Forgets that files were cut off: whoever holds a copy has been looked at.
    pub(super) fn settle_displaced(&mut self) {
        for known in &mut self.streams {
            known.displaced = false;
        }
    }
}

/// Whether the file's content up to the offset is what was read.
fn still_holds(entry: &Entry, known: &Known, identity: &Identity) -> bool {
    // Links were followed when the entry was made, if that was asked for.
    let opened = discover::open(entry, true);
    let Ok(Some((file, _))) = opened else {
        return false;
    };
    Print::of_file(&file, known.offset).ok() == Some(identity.print)
}

impl Known {
    fn identity(known: &Known) -> Option<&Identity> {
        known.identity.as_ref()
    }
}

/// What an archive continues: a stream and its reader placed there, or nothing known.
pub(super) fn place_archive(
    candidates: &[(usize, u64, Print)],
    mut open: impl FnMut() -> io::Result<Archive>,
) -> io::Result<(Option<(usize, u64)>, Archive)> {
    for &(number, offset, print) in candidates {
        let mut archive = open()?;
        match archive.skip_to(offset) {
            Ok(Some(found)) if found == print => {
                // Few bytes prove nothing, unless they are all there is.
                if offset >= CONFIDENT || archive.is_at_end()? {
                    return Ok((Some((number, offset)), archive));
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok((None, open()?))
}
