//! What the ledger has beyond the snapshot, learned again at the start.
//!
//! Invariant: the same chunks in the same order with the same times as the first time, so what is
//! learned is the same to the bit; events are made again under the ids they had.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Chunk, Micros, StreamName};
use crate::model::Mode;
use crate::state::ledger::{Frame, Lost, Recovery, Stream, recover};
use crate::state::{Disk, StoreError};

use super::requests::Known;
use super::worker::Worker;
use super::{EngineError, RunOptions};

/// Streams that do not go on get numbers from here on, which no source gives.
const ENDED_STREAMS: u64 = 1 << 60;

/// Lines of one source, by when they were received, that are not to be learned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The source's name.
    pub source: String,
    /// From this time on.
    pub from: Micros,
    /// Up to, and without, this time.
    pub to: Micros,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The ledger as it was found.
    pub(crate) recovery: Recovery,
    /// Lines learned again.
    pub(crate) lines: u64,
    /// Lines of sources that the configuration does not name any more.
    pub(crate) orphaned: u64,
    /// Lines left out because that was asked for.
    pub(crate) excluded: u64,
}

impl Worker {
    /// Learns what the ledger has beyond what the pipeline was loaded with.
    pub(crate) fn replay(
        &mut self,
        disk: &dyn Disk,
        options: &RunOptions,
    ) -> Result<Replayed, EngineError> {
        let all = self.sources.iter().zip(&self.journaled);
        let kept: Vec<&str> = all.filter(|(_, j)| **j).map(|(s, _)| s.as_str()).collect();
        let mut named = options.exclude.iter().map(|e| e.source.as_str());
        if let Some(wrong) = named.find(|source| !kept.contains(source)) {
            return Err(EngineError::NotInJournal {
                name: wrong.to_owned(),
                known: kept.join(", "),
            });
        }
        let from = self.pipeline.entry();
        let replayed = self.replay_after(from, disk, options);
        match replayed {
            Err(StoreError::LedgerGap { first, .. }) if options.from.is_some() => {
                tracing::warn!(
                    first,
                    "the journal does not reach back to this generation: what came between is not learned again"
                );
                Ok(self.replay_after(first - 1, disk, options)?)
            }
            replayed => Ok(replayed?),
        }
    }

    fn replay_after(
        &mut self,
        from: u64,
        disk: &dyn Disk,
        options: &RunOptions,
    ) -> Result<Replayed, StoreError> {
        let lost = match options.from {
            Some(_) => Lost::Accept,
            None => Lost::Refuse,
        };
        let mut excluded = 0;
        let mut streams: HashMap<u64, Arc<StreamName>> = HashMap::new();
        // A stream that went on in another run is described anew there.
        let mut known: HashMap<(usize, Vec<u8>), Arc<StreamName>> = HashMap::new();
        let (mut lines, mut orphaned) = (0, 0);
        let recovery = recover(disk, from, lost, |entry, frame| {
            if let Frame::Data(data) = frame {
                let count = data.lines.len() as u64;
                let mut sources = self.sources.iter();
                if let Some(source) = sources.position(|s| *s == data.stream.source) {
                    let ledger = data.stream.ledger;
                    let name = streams.entry(ledger).or_insert_with(|| {
                        let identity = data.stream.name.identity.clone();
                        if identity.is_empty() {
                            return self.stream_of(source, data.stream);
                        }
                        let new = || self.stream_of(source, data.stream);
                        let same = known.entry((source, identity)).or_insert_with(new);
                        Arc::clone(same)
                    });
                    let chunk = Chunk {
                        stream: Arc::clone(name),
                        ..data.to_chunk(source as u16)
                    };
                    let left_out = options.exclude.iter().any(|e| {
                        e.source == data.stream.source && (e.from..e.to).contains(&data.received)
                    });
                    if left_out {
                        self.pipeline.pass_over(&chunk);
                        excluded += count;
                    } else {
                        self.pipeline.chunk(&chunk, Mode::Learn, &mut self.outbox);
                        lines += count;
                    }
                    if let Some(request) = data.request {
                        let known = Known {
                            accepted: request.accepted,
                            rejected: request.rejected,
                            entry: 0,
                            received: data.received,
                        };
                        let requests = self.pipeline.requests_mut();
                        requests.learned(&data.stream.source, request.key, known);
                    }
                    self.flush_sinks();
                } else {
                    orphaned += count;
                }
            }
            self.pipeline.learned_entry(entry);
            Ok::<(), StoreError>(())
        })?;
        if recovery.frames > 0 {
            self.pipeline.suspend_streams();
        }
        Ok(Replayed {
            recovery,
            lines,
            orphaned,
            excluded,
        })
    }

    /// The stream as this run knows it: one that the source can find again by its place among
    /// those, any other under a number of its own.
    fn stream_of(&self, source: usize, stream: &Stream) -> Arc<StreamName> {
        let identity = &stream.name.identity;
        let known = self
            .pipeline
            .resumable(source)
            .position(|known| !identity.is_empty() && known.identity == *identity);
        let number = known.map_or(ENDED_STREAMS + stream.ledger, |place| place as u64);
        Arc::new(StreamName {
            number,
            name: stream.name.name.clone(),
            identity: identity.clone(),
        })
    }
}
