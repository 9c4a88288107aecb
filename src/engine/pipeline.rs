//! The one loop that everything shares: chunks in, lines decoded, models asked and taught, in
//! order. `run`, `eval` and the predict API differ only in where chunks come from and where the
//! outcome goes.
//!
//! Invariant: lines = blank + rejected + records, and every record ends in exactly one outcome in
//! each model that takes its source. What is learned depends on the lines alone, not on how they
//! were cut into chunks.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Chunk, EventSink, Micros, Reject, RejectReason, StreamName};
use crate::config::{Config, SourceConfig};
use crate::decode::{Decoded, Decoder, FormatConfig};
use crate::feature::{FieldLimits, Record};
use crate::model::{Input, Mode, Model};
use crate::state::{SourceState, StreamState};

/// Finished streams remembered per source, so that a rotated file is not read twice.
const REMEMBERED_STREAMS: usize = 10_000;

/// A refused line and its place.
#[derive(Clone, Copy, Debug)]
pub struct Rejection<'a> {
    /// Index of the source.
    pub source: usize,
    /// Name of the source.
    pub source_name: &'a str,
    /// Path or peer.
    pub stream: &'a str,
    /// Number of the line in its stream, from 1.
    pub line_number: u64,
    /// Why and where.
    pub reject: Reject,
    /// The line, or the beginning of one that is too long.
    pub line: &'a [u8],
    /// When it was received.
    pub received: Micros,
}

/// Takes what a pipeline has to say.
pub trait Output: EventSink {
    /// A line was refused.
    fn rejected(&mut self, rejection: &Rejection<'_>);
    /// Every model has had the record that was just processed.
    fn record_done(&mut self, models: &[Model]);
}

/// Lines of a source by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// All but CSV headers.
    pub lines: u64,
    /// Empty ones.
    pub blank: u64,
    /// Accepted ones.
    pub records: u64,
    /// Refused ones, by [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
}

impl LineCounts {
    /// Refused ones.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &LineCounts) -> LineCounts {
        let mut rejected = [0; RejectReason::ALL.len()];
        for (out, (now, then)) in rejected
            .iter_mut()
            .zip(self.rejected.iter().zip(before.rejected))
        {
            *out = now - then;
        }
        LineCounts {
            lines: self.lines - before.lines,
            blank: self.blank - before.blank,
            records: self.records - before.records,
            rejected,
        }
    }
}

/// A stream that is being read.
struct StreamLane {
    decoder: Decoder,
    name: Arc<StreamName>,
    offset: u64,
    lines: u64,
}

/// A source's place in the pipeline.
struct SourceLane {
    name: String,
    format: FormatConfig,
    limits: crate::decode::Limits,
    record: Record,
    live: HashMap<u64, StreamLane>,
    /// Streams of earlier runs by the number that the source knows them under, until they go on.
    resumable: Vec<Option<StreamState>>,
    /// Streams finished in this run with their numbers, oldest first. One may go on after all.
    finished: Vec<(u64, StreamState)>,
    seq: u64,
    /// Records scored in a test; they are numbered on from `seq`, which they leave as it is.
    tested: u64,
    counts: LineCounts,
    models: Vec<usize>,
}

/// Sources and models.
pub struct Pipeline {
    sources: Vec<SourceLane>,
    models: Vec<Model>,
    /// Records processed.
    order: u64,
}

impl Pipeline {
    /// Sources and models of a configuration, nothing learned.
    pub fn new(config: &Config) -> Pipeline {
        let models: Vec<Model> = config
            .models
            .iter()
            .enumerate()
            .map(|(i, model)| Model::new(model.clone(), i))
            .collect();
        let name_seed = super::random_seed();
        let lane = |(i, source): (usize, &SourceConfig)| SourceLane {
            name: source.name.clone(),
            format: source.format.clone(),
            limits: source.limits.clone(),
            record: Record::new(
                i as u16,
                &FieldLimits {
                    max_fields: source.limits.max_fields,
                    duplicates_last: source.limits.duplicates_last,
                    name_seed,
                    ..FieldLimits::default()
                },
            ),
            live: HashMap::new(),
            resumable: Vec::new(),
            finished: Vec::new(),
            seq: 0,
            tested: 0,
            counts: LineCounts::default(),
            models: (0..models.len())
                .filter(|m| models[*m].takes(i as u16))
                .collect(),
        };
        let sources = config.sources.iter().enumerate().map(lane).collect();
        Pipeline {
            sources,
            models,
            order: 0,
        }
    }

    /// The models.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The models, to be loaded or asked for their tallies.
    pub fn models_mut(&mut self) -> &mut [Model] {
        &mut self.models
    }

    /// Records processed since the first run.
    pub fn order(&self) -> u64 {
        self.order
    }

    /// Lines of a source by what became of them, since the process began.
    pub fn counts(&self, source: usize) -> &LineCounts {
        &self.sources[source].counts
    }

    /// Accepted records of a source since the first run.
    pub fn seq(&self, source: usize) -> u64 {
        self.sources[source].seq
    }

    /// The first model that takes a source, the one that answers its clients; and whether it
    /// answers as Vowpal Wabbit does.
    pub fn answering(&self, source: usize) -> (Option<usize>, bool) {
        let lane = &self.sources[source];
        let plain = matches!(lane.format, FormatConfig::Vw(_));
        (lane.models.first().copied(), plain)
    }

    /// One chunk.
    pub fn chunk(&mut self, chunk: &Chunk, mode: Mode, out: &mut dyn Output) {
        let source = chunk.source as usize;
        let lane = &mut self.sources[source];
        let stream = lane.live.entry(chunk.stream.number).or_insert_with(|| {
            let known = take_known(&mut lane.resumable, &mut lane.finished, chunk.stream.number);
            begin_stream(&lane.format, &lane.limits, known, chunk)
        });
        if !Arc::ptr_eq(&stream.name, &chunk.stream) {
            stream.name = Arc::clone(&chunk.stream);
        }
        let is_json = lane.format == FormatConfig::Json;
        for &span in &chunk.lines {
            let line = chunk.line(span);
            stream.lines += 1;
            lane.record.begin();
            let decoded = if span.too_long {
                Err(Reject {
                    reason: RejectReason::TooLong,
                    at: line.len() as u32,
                })
            } else {
                stream.decoder.decode(line, &mut lane.record)
            };
            let readable = |record: &Record| {
                lane.models
                    .iter()
                    .all(|m| self.models[*m].time_is_readable(record))
            };
            let decoded = match decoded {
                Ok(Decoded::Record) if !readable(&lane.record) => Err(Reject {
                    reason: RejectReason::Time,
                    at: 0,
                }),
                other => other,
            };
            match decoded {
                Ok(Decoded::Header) => continue,
                Ok(Decoded::Blank) => lane.counts.blank += 1,
                Ok(Decoded::Record) => {
                    lane.counts.records += 1;
                    lane.seq += u64::from(mode == Mode::Learn);
                    lane.tested += u64::from(mode == Mode::Test);
                    self.order += u64::from(mode == Mode::Learn);
                    let input = Input {
                        record: &lane.record,
                        line,
                        is_json,
                        source: &lane.name,
                        seq: lane.seq + lane.tested,
                        received: chunk.received,
                    };
                    for &m in &lane.models {
                        self.models[m].process(&input, mode, out);
                    }
                    out.record_done(&self.models);
                }
                Err(reject) => {
                    lane.counts.rejected[reject.reason as usize] += 1;
                    out.rejected(&Rejection {
                        source,
                        source_name: &lane.name,
                        stream: &chunk.stream.name,
                        line_number: stream.lines,
                        reject,
                        line,
                        received: chunk.received,
                    });
                }
            }
            lane.counts.lines += 1;
        }
        stream.offset = chunk.end;
        debug_assert_eq!(
            lane.counts.lines,
            lane.counts.blank + lane.counts.records + lane.counts.rejected_total(),
            "no line disappears uncounted"
        );
        if chunk.last
            && let Some(stream) = lane.live.remove(&chunk.stream.number)
        {
            lane.remember(&stream);
        }
    }

    /// Where every source stands: positions of its streams, oldest first.
    pub fn positions(&self) -> (Vec<SourceState>, Vec<StreamState>) {
        let (mut sources, mut streams) = (Vec::new(), Vec::new());
        for lane in &self.sources {
            sources.push(SourceState {
                name: lane.name.clone(),
                seq: lane.seq,
                lines: lane.counts.lines,
                counts: Vec::new(),
            });
            // In the order of their numbers, which is that of their first appearance.
            let early = lane.resumable.iter().enumerate();
            let mut all: Vec<(u64, StreamState)> = early
                .filter_map(|(n, s)| Some((n as u64, s.clone()?)))
                .collect();
            all.extend(lane.finished.iter().cloned());
            let live = lane.live.values().filter(|s| !s.name.identity.is_empty());
            all.extend(live.map(|s| (s.name.number, lane.state_of(s, false))));
            all.sort_by_key(|(number, _)| *number);
            streams.extend(all.into_iter().map(|(_, state)| state));
        }
        (sources, streams)
    }

    /// Takes up the positions of an earlier run.
    pub fn resume(&mut self, order: u64, sources: &[SourceState], streams: &[StreamState]) {
        self.order = order;
        for lane in &mut self.sources {
            if let Some(state) = sources.iter().find(|s| s.name == lane.name) {
                lane.seq = state.seq;
            }
            lane.resumable = streams
                .iter()
                .filter(|s| s.source == lane.name)
                .cloned()
                .map(Some)
                .collect();
        }
    }

    /// The streams of an earlier run, for the source to find again; their places in this list are
    /// the numbers it gives them.
    pub fn resumable(&self, source: usize) -> impl Iterator<Item = &StreamState> {
        self.sources[source].resumable.iter().flatten()
    }
}

impl SourceLane {
    fn state_of(&self, stream: &StreamLane, finished: bool) -> StreamState {
        StreamState {
            source: self.name.clone(),
            identity: stream.name.identity.clone(),
            name: stream.name.name.clone(),
            offset: stream.offset,
            lines: stream.lines,
            header: stream.decoder.header().to_vec(),
            finished,
        }
    }

    fn remember(&mut self, stream: &StreamLane) {
        if stream.name.identity.is_empty() {
            return;
        }
        let state = self.state_of(stream, true);
        self.finished.push((stream.name.number, state));
        if self.finished.len() + self.resumable.len() > REMEMBERED_STREAMS {
            // The oldest goes; places in `resumable` are numbers, so they stay.
            let oldest = self
                .resumable
                .iter()
                .position(|s| s.as_ref().is_some_and(|s| s.finished));
            match oldest {
                Some(place) => self.resumable[place] = None,
                None => drop(self.finished.remove(0)),
            }
        }
    }
}

/// What is known of a stream from before: an earlier run, or earlier in this one.
fn take_known(
    resumable: &mut [Option<StreamState>],
    finished: &mut Vec<(u64, StreamState)>,
    number: u64,
) -> Option<StreamState> {
    if let Some(known) = resumable.get_mut(number as usize).and_then(Option::take) {
        return Some(known);
    }
    let place = finished.iter().position(|(n, _)| *n == number)?;
    Some(finished.remove(place).1)
}

/// A stream's first chunk: taken up where an earlier run left it, or begun.
fn begin_stream(
    format: &FormatConfig,
    limits: &crate::decode::Limits,
    known: Option<StreamState>,
    chunk: &Chunk,
) -> StreamLane {
    let mut decoder = format.decoder(limits);
    let header = known
        .as_ref()
        .filter(|_| chunk.start > 0)
        .map(|state| state.header.as_slice());
    decoder.start(header);
    let lines = known.map_or(0, |state| state.lines);
    StreamLane {
        decoder,
        name: Arc::clone(&chunk.stream),
        offset: chunk.start,
        lines,
    }
}
