//! Looking for files, and deciding for each that is not open yet whether and from where it is read.
//!
//! Invariant: files are begun oldest first, and a look that may have met a rotation in the middle
//! is taken again until two agree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::super::context::Stopped;
use super::super::decompress::Compression;
use super::archive::Archive;
use super::discover::{self, Entry};
use super::identity::{CONFIDENT, Identity, Print, archive_key};
use super::known::place_archive;
use super::tail::{self, Body, Tail};
use super::{FileSource, MAX_OPEN};
use crate::base::StreamName;

/// A look is taken at most this often to get two that agree.
const LOOKS: usize = 5;
/// An archive that has not changed for this long is complete, in nanoseconds.
const RIPE: i64 = 10_000_000_000;

impl FileSource {
    /// Finds files and opens those with something to read. Without `settle`, nothing that is open
    /// is closed (a round is going on).
    pub(super) async fn scan(&mut self, settle: bool) -> Result<(), Stopped> {
        let mut entries = self.look();
        if self.has_news(&entries) {
            for _ in 1..LOOKS {
                let again = self.look();
                let same = again
                    .iter()
                    .map(|e| (&e.path, e.place))
                    .eq(entries.iter().map(|e| (&e.path, e.place)));
                entries = again;
                if same {
                    break;
                }
            }
            if self.end_overwritten(&entries) {
                entries = self.look();
            }
        }
        self.looks += 1;
        self.last_look = Some(Instant::now());
        let begin_at_end = !self.config.from_start && self.first_start && self.looks == 1;
        if begin_at_end {
            self.remember_start().await?;
        }
        let mut fresh: Vec<&Entry> = entries.iter().filter(|e| self.is_fresh(e)).collect();
        fresh.sort_by(|a, b| a.order(b));
        let mut complete = true;
        for entry in fresh {
            if self.tails.len() >= MAX_OPEN && !(settle && self.park()) {
                complete = false;
                break;
            }
            match self.admit(entry, &entries, begin_at_end).await? {
                Ok(()) => {}
                Err(error) => self.skip(&entry.path, "open", &error.to_string()),
            }
            tokio::task::yield_now().await;
        }
        self.follow_names(&entries);
        self.known.settle_displaced();
        if complete && settle {
            self.give_up_missing(&entries);
        }
        if entries.is_empty() && self.looks == 1 {
            let patterns = self.config.paths.join(", ");
            self.warnings
                .warn("none", || format!("no file matches {patterns} yet"));
        }
        Ok(())
    }

    /// What is there: matches of the globs, then rotated files beside them.
    fn look(&mut self) -> Vec<Entry> {
        let mut skipped = Vec::new();
        let follow_symlinks = self.config.follow_symlinks;
        let mut entries = discover::matches(&self.config.paths, follow_symlinks, |path, reason| {
            skipped.push((path.to_path_buf(), reason.to_owned()));
        });
        for (path, reason) in skipped {
            self.skip(&path, "skipped", &reason);
        }
        let mut homes = self.known.homes_to_search(&entries, self.looks == 0);
        // Not beside files that the configuration does not name any more.
        homes.retain(|home, _| {
            follow_symlinks || self.patterns.iter().any(|p| p.matches_path(home))
        });
        for sibling in discover::siblings(&homes) {
            if entries.iter().all(|e| e.place != sibling.place) {
                entries.push(sibling);
            }
        }
        entries
    }

    fn is_fresh(&self, entry: &Entry) -> bool {
        entry.size > 0
            && self.settled.get(&entry.place) != Some(&(entry.size, entry.modified))
            && self.tails.iter().all(|t| t.identity.place != entry.place)
    }

    fn has_news(&self, entries: &[Entry]) -> bool {
        entries.iter().any(|e| self.is_fresh(e)) || !self.known.missing(entries).is_empty()
    }

    /// Ends streams whose files hold something else now; whether there were any.
    fn end_overwritten(&mut self, entries: &[Entry]) -> bool {
        let mut any = false;
        for entry in entries {
            if !self.known.expects(entry) {
                continue;
            }
            let Ok(Some((file, _))) = discover::open(entry, self.config.follow_symlinks) else {
                continue;
            };
            if let Some(number) = self.known.overwritten(entry, &file) {
                any = true;
                let known = self.known.get_mut(number);
                let home = known.identity.as_ref().map(|i| i.home.clone());
                if home.as_ref() == Some(&entry.home) {
                    self.truncated(number, &entry.path);
                } else {
                    // The inode was given to another file; a copy may still be found.
                    known.displaced = true;
                    self.gone(number);
                }
            }
        }
        any
    }

    /// Follows renames of open files and notices which were replaced.
    fn follow_names(&mut self, entries: &[Entry]) {
        let by_home: BTreeMap<&PathBuf, &Entry> = entries
            .iter()
            .filter(|e| e.size > 0)
            .map(|e| (&e.path, e))
            .collect();
        for tail in &mut self.tails {
            if let Some(entry) = entries.iter().find(|e| e.place == tail.identity.place) {
                tail.path.clone_from(&entry.path);
            }
            let moved = by_home
                .get(&tail.identity.home)
                .is_some_and(|e| e.place != tail.identity.place);
            // A file that had a rotated name when it was found first.
            let newer = discover::rotated_from(&tail.path)
                .and_then(|base| by_home.get(&base).copied())
                .is_some_and(|base| base.modified >= tail.identity.modified);
            tail.replaced = moved || newer;
        }
    }

    /// Closes the open file that was quiet longest and is read to its end; it is opened again
    /// when it changes.
    fn park(&mut self) -> bool {
        let quiet = (0..self.tails.len())
            .filter(|&i| !self.tails[i].is_behind())
            .min_by_key(|&i| self.tails[i].idle_since);
        let Some(i) = quiet else {
            return false;
        };
        let tail = self.tails.remove(i);
        self.known.get_mut(tail.number).active = false;
        let state = (tail.goal, tail.identity.modified);
        self.settled.insert(tail.identity.place, state);
        true
    }

    /// Opens one file and decides from where it is read.
    async fn admit(
        &mut self,
        entry: &Entry,
        entries: &[Entry],
        begin_at_end: bool,
    ) -> Result<io::Result<()>, Stopped> {
        let (file, metadata) = match discover::open(entry, self.config.follow_symlinks) {
            Ok(Some(opened)) => opened,
            // It has changed since the look: the next look will tell.
            Ok(None) => return Ok(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let entry = Entry {
            size: metadata.len(),
            modified: discover::modified(&metadata),
            ..entry.clone()
        };
        let admitted = if entry.compression() == Compression::None {
            self.admit_plain(&entry, file, entries, begin_at_end)
        } else {
            self.admit_archive(&entry, file, begin_at_end)
        };
        let number = match admitted {
            Ok(Some(number)) => number,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        if begin_at_end {
            // Remembered, so that a restart does not take it for a new file.
            if let Some(i) = self.tails.iter().position(|t| t.number == number) {
                self.deliver(i, false).await?;
            } else {
                self.known.get_mut(number).finished = true;
                self.deliver_ending(number, &entry.path).await?;
            }
        }
        Ok(Ok(()))
    }

    fn admit_plain(
        &mut self,
        entry: &Entry,
        file: File,
        entries: &[Entry],
        begin_at_end: bool,
    ) -> io::Result<Option<usize>> {
        let found = self.known.find(entry, &file, entry.size, entries)?;
        let (number, offset, home) = if let Some(number) = found {
            let known = self.known.get_mut(number);
            if known.finished && known.offset == entry.size {
                self.settle(entry);
                return Ok(None);
            }
            known.active = true;
            known.finished = false;
            let home = known.identity.as_ref().map(|i| i.home.clone());
            (number, known.offset, home)
        } else if self.config.follow && self.copies_open_file(&file, entry.size)? {
            self.settle(entry);
            self.skip(&entry.path, "copy", "a copy of a file that is being read");
            return Ok(None);
        } else {
            let offset = if begin_at_end {
                tail::line_start(&file, entry.size, self.context.max_line as u64)?
            } else {
                let hole = tail::after_hole(&file, entry.size, &mut self.buffer)?;
                self.context
                    .stats
                    .nul_bytes
                    .fetch_add(hole, Ordering::Relaxed);
                hole
            };
            (self.known.add(None, offset), offset, None)
        };
        let home = home.unwrap_or_else(|| entry.home.clone());
        let print = Print::of_file(&file, offset)?;
        self.push_tail(
            entry,
            file,
            number,
            offset,
            home,
            print,
            0,
            Body::Plain { position: offset },
        );
        Ok(Some(number))
    }

    fn admit_archive(
        &mut self,
        entry: &Entry,
        file: File,
        begin_at_end: bool,
    ) -> io::Result<Option<usize>> {
        // It may still be being written: it is read when two looks agree.
        let state = (entry.size, entry.modified);
        let now = self.context.clock.now().0.saturating_mul(1000);
        if self.config.follow
            && now.saturating_sub(entry.modified) < RIPE
            && self.ripening.insert(entry.place, state) != Some(state)
        {
            return Ok(None);
        }
        self.ripening.remove(&entry.place);
        let key = archive_key(&file, entry.size)?;
        if self.known.finished_archive(key) {
            self.settle(entry);
            return Ok(None);
        }
        if begin_at_end {
            let number = self.known.add(Some(archive_identity(entry, key)), 0);
            self.known.get_mut(number).active = false;
            self.settle(entry);
            return Ok(Some(number));
        }
        let compression = entry.compression();
        let open = || Archive::open(&file, compression);
        let mut probe = open()?;
        let candidates = match self.known.archived(probe.head()?) {
            Ok(candidates) => candidates,
            // The file it is made from is still open; when that ends, this one is looked at again.
            Err(_) if self.config.follow => return Ok(None),
            Err(_) => Vec::new(),
        };
        let (found, mut archive) = place_archive(&candidates, open)?;
        let (number, offset) = match found {
            Some((number, offset)) => {
                let known = self.known.get_mut(number);
                known.active = true;
                known.finished = false;
                (number, offset)
            }
            None => (self.known.add(None, 0), 0),
        };
        let print = archive.print(offset);
        let body = Body::Archive(Box::new(archive));
        self.push_tail(
            entry,
            file,
            number,
            offset,
            entry.home.clone(),
            print,
            key,
            body,
        );
        Ok(Some(number))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one struct")]
    fn push_tail(
        &mut self,
        entry: &Entry,
        file: File,
        number: usize,
        offset: u64,
        home: PathBuf,
        print: Print,
        archive: u128,
        body: Body,
    ) {
        let identity = Identity {
            place: entry.place,
            modified: entry.modified,
            print,
            archive,
            home,
        };
        self.known.get_mut(number).identity = Some(identity.clone());
        self.tails.push(Tail {
            number,
            file,
            path: entry.path.clone(),
            identity,
            body,
            chunker: self.chunker(offset),
            goal: entry.size,
            replaced: false,
            complete: false,
            unlinked: false,
            idle_since: Instant::now(),
            admitted: self.looks,
        });
    }

    /// Whether the file holds the same as one that was open before it appeared: a copy that is
    /// made before the file is cut off. It is looked at again when either changes.
    fn copies_open_file(&self, file: &File, size: u64) -> io::Result<bool> {
        for tail in &self.tails {
            if tail.admitted == self.looks || !matches!(tail.body, Body::Plain { .. }) {
                continue;
            }
            let both = size.min(tail.file.metadata()?.len());
            if both >= CONFIDENT && Print::of_file(file, both)? == Print::of_file(&tail.file, both)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn settle(&mut self, entry: &Entry) {
        self.settled
            .insert(entry.place, (entry.size, entry.modified));
    }

    /// Ends streams whose files are nowhere.
    fn give_up_missing(&mut self, entries: &[Entry]) {
        for number in self.known.missing(entries) {
            self.gone(number);
        }
    }

    fn gone(&mut self, number: usize) {
        let known = self.known.get_mut(number);
        let home = known
            .identity
            .as_ref()
            .map(|i| i.home.clone())
            .unwrap_or_default();
        let offset = known.offset;
        self.context.stats.gone.fetch_add(1, Ordering::Relaxed);
        self.warnings.warn("gone", || {
            format!(
                "the file last read as {} up to byte {offset} is gone; what followed is lost",
                home.display()
            )
        });
        self.end_stream(number, &home);
    }

    /// Remembers that the source has run, though it may not have found a file yet: files that
    /// come later are read from their start.
    async fn remember_start(&mut self) -> Result<(), Stopped> {
        let number = self.known.add(None, 0);
        let stream = Arc::new(StreamName {
            number: number as u64,
            name: "start".into(),
            identity: vec![0],
        });
        self.deliver_empty(stream, 0, false).await
    }
}

fn archive_identity(entry: &Entry, key: u128) -> Identity {
    Identity {
        place: entry.place,
        modified: entry.modified,
        print: Print::default(),
        archive: key,
        home: entry.home.clone(),
    }
}
