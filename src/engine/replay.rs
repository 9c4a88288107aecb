//! What the ledger has beyond the snapshot, learned again at the start.
//!
//! Invariant: the same chunks in the same order with the same times as the first time, so what is
//! learned is the same to the bit; events are made again under the ids they had.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Chunk, StreamName};
use crate::model::Mode;
use crate::state::ledger::{Frame, Lost, Recovery, Stream, recover};
use crate::state::{Disk, StoreError};

use super::requests::Known;
use super::worker::Worker;

/// Streams that do not go on get numbers from here on, which no source gives.
const ENDED_STREAMS: u64 = 1 << 60;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The ledger as it was found.
    pub(crate) recovery: Recovery,
    /// Lines learned again.
    pub(crate) lines: u64,
    /// Lines of sources that the configuration does not name any more.
    pub(crate) orphaned: u64,
}

impl Worker {
    /// Learns what the ledger has beyond what the pipeline was loaded with.
    pub(crate) fn replay(
        &mut self,
        disk: &dyn Disk,
        sources: &[String],
    ) -> Result<Replayed, StoreError> {
        let from = self.pipeline.entry();
        let mut streams: HashMap<u64, Arc<StreamName>> = HashMap::new();
        // A stream that went on in another run is described anew there.
        let mut known: HashMap<(usize, Vec<u8>), Arc<StreamName>> = HashMap::new();
        let (mut lines, mut orphaned) = (0, 0);
        let recovery = recover(disk, from, Lost::Refuse, |entry, frame| {
            if let Frame::Data(data) = frame {
                let count = data.lines.len() as u64;
                if let Some(source) = sources.iter().position(|s| *s == data.stream.source) {
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
                    self.pipeline.chunk(&chunk, Mode::Learn, &mut self.outbox);
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
                    lines += count;
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
