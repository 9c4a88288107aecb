//! Files by pattern: found, read oldest first, followed through rotation, found again after a kill.
//!
//! Invariant: a file discovered later is not begun before those already open were read to the size
//! they had after the discovery. Whoever writes one log in order is therefore read in order.
//!
//! Reads are plain calls of at most 256 KiB: logs lie in the page cache, where a hand-over to
//! another thread costs more than the copy.

mod archive;
mod discover;
mod identity;
mod known;
mod scan;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::identity::Identity as FileIdentity;
use self::known::KnownStreams;
use self::tail::{Health, Tail};
use super::chunker::{CHUNK_BYTES, Chunker};
use super::context::Stopped;
use super::warnings::Warnings;
use super::{FileConfig, SourceContext, SourceError};
use crate::base::{Chunk, StreamName};

/// Files kept open at once; beyond, those that have been quiet longest are closed.
const MAX_OPEN: usize = 256;
/// How long a file that was rotated away or deleted is still listened to.
const LINGER: Duration = Duration::from_secs(5);
/// While there is plenty to read, files are looked for this often.
const LOOK_WHILE_BUSY: Duration = Duration::from_secs(1);
/// Paths remembered as already warned about.
const MAX_WARNED: usize = 10_000;

/// The source.
pub(super) struct FileSource {
    config: FileConfig,
    patterns: Vec<glob::Pattern>,
    context: SourceContext,
    warnings: Warnings,
    known: KnownStreams,
    /// Open files, in the order in which they are read.
    tails: Vec<Tail>,
    /// Files with nothing to read as long as size and time of change stay these.
    settled: BTreeMap<(u64, u64), (u64, i64)>,
    /// Archives seen once, which are read when they have not changed by the next look.
    ripening: BTreeMap<(u64, u64), (u64, i64)>,
    /// Streams that ended and whose end is not delivered yet, with the look at that time.
    endings: Vec<(usize, PathBuf, u64)>,
    warned: BTreeSet<PathBuf>,
    /// The source has never run before.
    first_start: bool,
    looks: u64,
    last_look: Option<Instant>,
    buffer: Vec<u8>,
}

impl FileSource {
    /// Checks the patterns.
    pub(super) fn open(
        config: FileConfig,
        context: SourceContext,
    ) -> Result<FileSource, SourceError> {
        let parse = |pattern: &String| {
            glob::Pattern::new(pattern).map_err(|error| SourceError::Pattern {
                pattern: pattern.clone(),
                error,
            })
        };
        let patterns = config.paths.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(FileSource {
            patterns,
            known: KnownStreams::new(&context.resume),
            first_start: context.resume.is_empty(),
            warnings: context.warnings(),
            config,
            context,
            tails: Vec::new(),
            settled: BTreeMap::new(),
            ripening: BTreeMap::new(),
            endings: Vec::new(),
            warned: BTreeSet::new(),
            looks: 0,
            last_look: None,
            buffer: vec![0; CHUNK_BYTES],
        })
    }

    /// Reads until told to stop; without `follow`, until everything has been read.
    pub(super) async fn run(mut self) -> Result<(), SourceError> {
        // Stopping is the only way in which reading fails as a whole.
        let _: Result<(), Stopped> = self.read_all().await;
        Ok(())
    }

    async fn read_all(&mut self) -> Result<(), Stopped> {
        loop {
            self.scan(true).await?;
            let idle = self.tails.is_empty();
            let read = self.round().await?;
            if !self.config.follow {
                if idle && self.looks > 1 {
                    return Ok(());
                }
            } else if !read {
                let poll = Duration::from_millis(self.config.poll_interval_ms.max(1));
                tokio::select! {
                    () = tokio::time::sleep(poll) => {}
                    () = self.context.stop.cancelled() => return Err(Stopped),
                }
            }
            if self.context.stop.is_cancelled() {
                return Err(Stopped);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads every open file up to its present size; whether there was anything.
    async fn round(&mut self) -> Result<bool, Stopped> {
        let mut any = self.refresh();
        let count = self.tails.len();
        for i in 0..count {
            while self.tails[i].is_behind() {
                let tail = &mut self.tails[i];
                match tail.read(&mut self.buffer) {
                    Ok(0) => {
                        if matches!(tail.body, tail::Body::Archive(_)) {
                            self.finish(i).await?;
                        }
                        break;
                    }
                    Ok(n) => {
                        any = true;
                        tail.idle_since = Instant::now();
                        self.context.count_read(n, &mut tail.chunker);
                        if tail.chunker.has_lines() {
                            self.deliver(i, false).await?;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.fail(i, &error).await?;
                        break;
                    }
                }
                if self.context.stop.is_cancelled() {
                    return Err(Stopped);
                }
                // Files that come while much is read are opened at once: they may be gone later.
                if self
                    .last_look
                    .is_some_and(|at| at.elapsed() > LOOK_WHILE_BUSY)
                {
                    self.scan(false).await?;
                }
            }
            let tail = &mut self.tails[i];
            if !self.config.follow {
                if self.known.get_mut(tail.number).active && !tail.is_behind() {
                    self.finish(i).await?;
                }
            } else if tail.complete && tail.chunker.holds_partial() {
                tail.chunker.finish();
                self.deliver(i, false).await?;
            }
        }
        self.deliver_endings().await?;
        self.close_ended().await?;
        self.publish();
        Ok(any)
    }

    /// Looks at the open files before a round. Those that were cut off are closed, to be found
    /// anew; whether there were any.
    fn refresh(&mut self) -> bool {
        let mut any = false;
        let mut i = 0;
        while i < self.tails.len() {
            match self.tails[i].refresh() {
                Ok(Health::Same) => i += 1,
                Ok(Health::Overwritten) => {
                    any = true;
                    let tail = self.tails.remove(i);
                    self.known.get_mut(tail.number).active = false;
                    self.truncated(tail.number, &tail.path);
                }
                Err(error) => {
                    self.warnings.warn("read", || {
                        format!("{}: {error}", self.tails[i].path.display())
                    });
                    i += 1;
                }
            }
        }
        any
    }

    /// A file's content is not what was read of it.
    fn truncated(&mut self, number: usize, path: &Path) {
        self.context
            .stats
            .truncations
            .fetch_add(1, Ordering::Relaxed);
        self.warnings.warn("truncated", || {
            format!(
                "{} was cut off in place; lines written just before are lost unless a copy is found",
                path.display()
            )
        });
        // A copy that was waiting for this has to be looked at again.
        self.settled.clear();
        self.known.get_mut(number).displaced = true;
        self.end_stream(number, path);
    }

    /// Nothing more is expected of a stream that is not open. The snapshot hears of it only when
    /// the files written since were read: after a kill before that they are found by this stream.
    fn end_stream(&mut self, number: usize, path: &Path) {
        self.known.get_mut(number).finished = true;
        self.endings.push((number, path.to_path_buf(), self.looks));
    }

    /// Delivers the ends of streams that ended before the last look.
    async fn deliver_endings(&mut self) -> Result<(), Stopped> {
        while let Some(i) = self.endings.iter().position(|e| e.2 < self.looks) {
            let (number, path, _) = self.endings.remove(i);
            // A copy may have been found since, and read on.
            if self.known.get_mut(number).finished {
                self.deliver_ending(number, &path).await?;
            }
        }
        Ok(())
    }

    async fn deliver_ending(&mut self, number: usize, path: &Path) -> Result<(), Stopped> {
        let known = self.known.get_mut(number);
        let stream = Arc::new(StreamName {
            number: number as u64,
            name: path.display().to_string(),
            identity: known
                .identity
                .as_ref()
                .map_or_else(Vec::new, identity::Identity::encode),
        });
        let offset = known.offset;
        self.deliver_empty(stream, offset, true).await
    }

    async fn deliver_empty(
        &self,
        stream: Arc<StreamName>,
        offset: u64,
        last: bool,
    ) -> Result<(), Stopped> {
        let chunk = Chunk {
            source: self.context.index,
            received: self.context.clock.now(),
            stream,
            start: offset,
            end: offset,
            last,
            bytes: Vec::new(),
            lines: Vec::new(),
        };
        self.context.deliver(chunk, None).await
    }

    /// Sends what was collected of one open file.
    async fn deliver(&mut self, i: usize, last: bool) -> Result<(), Stopped> {
        let tail = &mut self.tails[i];
        let chunk = tail.take(self.context.index, self.context.clock.now(), last);
        let known = self.known.get_mut(tail.number);
        known.offset = chunk.end;
        known.identity = Some(tail.identity.clone());
        known.finished = last;
        self.context.deliver(chunk, None).await?;
        self.publish_lag();
        Ok(())
    }

    /// Ends one open file: an unfinished line counts. It stays in the list until the round ends.
    async fn finish(&mut self, i: usize) -> Result<(), Stopped> {
        self.tails[i].chunker.finish();
        self.deliver(i, true).await?;
        let tail = &self.tails[i];
        self.known.get_mut(tail.number).active = false;
        if let Ok(metadata) = tail.file.metadata() {
            self.settled.insert(
                discover::place(&metadata),
                (metadata.len(), discover::modified(&metadata)),
            );
        }
        Ok(())
    }

    /// Reading one file failed. A damaged archive is not tried again until it changes.
    async fn fail(&mut self, i: usize, error: &io::Error) -> Result<(), Stopped> {
        let tail = &self.tails[i];
        let path = tail.path.clone();
        self.skip(&path, "read", &error.to_string());
        let archive = matches!(self.tails[i].body, tail::Body::Archive(_));
        if archive && error.kind() == io::ErrorKind::UnexpectedEof && self.config.follow {
            // Perhaps still being written: what follows is read when it is there.
            let tail = &self.tails[i];
            self.known.get_mut(tail.number).active = false;
            if let Ok(metadata) = tail.file.metadata() {
                self.settled.insert(
                    discover::place(&metadata),
                    (metadata.len(), discover::modified(&metadata)),
                );
            }
        } else if archive {
            self.finish(i).await?;
        } else {
            let tail = &mut self.tails[i];
            tail.goal = 0;
        }
        Ok(())
    }

    /// Closes files that are read to their end and were rotated away or deleted for some time.
    async fn close_ended(&mut self) -> Result<(), Stopped> {
        for i in 0..self.tails.len() {
            let tail = &self.tails[i];
            let ended = tail.complete || tail.unlinked;
            if self.known.get_mut(tail.number).active
                && ended
                && !tail.is_behind()
                && tail.idle_since.elapsed() >= LINGER
            {
                self.finish(i).await?;
            }
        }
        let known = &mut self.known;
        self.tails.retain(|tail| known.get_mut(tail.number).active);
        Ok(())
    }

    /// Counts a file that is left alone and warns about it once.
    fn skip(&mut self, path: &Path, kind: &'static str, reason: &str) {
        if self.warned.len() < MAX_WARNED && self.warned.insert(path.to_path_buf()) {
            self.context
                .stats
                .skipped_files
                .fetch_add(1, Ordering::Relaxed);
            self.warnings.warn(kind, || {
                format!("{} is left alone: {reason}", path.display())
            });
        }
    }

    fn publish_lag(&self) {
        let lag = self.tails.iter().map(Tail::lag).sum();
        self.context.stats.lag_bytes.store(lag, Ordering::Relaxed);
    }

    fn publish(&self) {
        self.publish_lag();
        let open = self.tails.len() as u64;
        self.context.stats.files.store(open, Ordering::Relaxed);
    }

    fn chunker(&self, offset: u64) -> Chunker {
        Chunker::new((self.context.framer)(), self.context.max_line, offset)
    }
}
