//! The one loop that everything shares: chunks in, lines decoded, models asked and taught, in
//! order. `run`, `eval` and the predict API differ only in where chunks come from and where the
//! outcome goes.
//!
//! Invariant: lines = blank + rejected + duplicates + records, and every record ends in exactly one outcome in
//! each model that takes its source. What is learned depends on the lines alone, not on how they
//! were cut into chunks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Chunk, EventSink, Micros, Reject, RejectReason, StreamName};
use crate::config::{Config, SourceConfig};
use crate::decode::{Decoded, FormatConfig};
use crate::feature::{Names, Record};
use crate::model::{Input, Mode, Model};
use crate::state::{SourceState, StreamState};

use super::decoding::{Batch, LINES_HERE, LineDecoder, has_headers};
use super::requests::Requests;

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
    /// Those of requests that were learned before.
    pub duplicates: u64,
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
            duplicates: self.duplicates - before.duplicates,
            rejected,
        }
    }
}

/// A stream that is being read.
struct StreamLane {
    name: Arc<StreamName>,
    offset: u64,
    lines: u64,
    /// Its header line; empty where there is none or it was not seen yet.
    header: Vec<u8>,
}

/// A source's place in the pipeline.
struct SourceLane {
    name: String,
    format: FormatConfig,
    /// The names in this source's records, by decoder.
    names: Vec<Names>,
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
    /// By decoder and source.
    decoders: Vec<Vec<Arc<Mutex<LineDecoder>>>>,
    batch: Batch,
    models: Vec<Model>,
    /// Records processed.
    order: u64,
    /// The last entry of the ledger that was learned before the start.
    entry: u64,
    /// The requests that were learned under a key.
    requests: Requests,
}

impl Pipeline {
    /// Sources and models of a configuration, nothing learned; lines are decoded where they are
    /// learned from, or on one thread beside.
    pub fn new(config: &Config) -> Pipeline {
        Pipeline::with_decoders(config, 1)
    }

    /// As above, with so many decoders for each source (at least one). Nothing that is learned
    /// depends on how many there are.
    pub fn with_decoders(config: &Config, decoders: usize) -> Pipeline {
        let models: Vec<Model> = config
            .models
            .iter()
            .enumerate()
            .map(|(i, model)| Model::new(model.clone(), i))
            .collect();
        let of_source = |source: &SourceConfig| LineDecoder::new(&source.format, &source.limits);
        let decoders: Vec<Vec<LineDecoder>> = (0..decoders.max(1))
            .map(|_| config.sources.iter().map(of_source).collect())
            .collect();
        let lane = |(i, source): (usize, &SourceConfig)| SourceLane {
            name: source.name.clone(),
            format: source.format.clone(),
            names: (0..)
                .zip(&decoders)
                .map(|(d, of_sources)| {
                    of_sources[i].names(d * config.sources.len() as u16 + i as u16)
                })
                .collect(),
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
        let shared = |of_sources: Vec<LineDecoder>| {
            let shared = of_sources.into_iter().map(|d| Arc::new(Mutex::new(d)));
            shared.collect()
        };
        Pipeline {
            sources,
            decoders: decoders.into_iter().map(shared).collect(),
            batch: Batch::default(),
            models,
            order: 0,
            entry: 0,
            requests: Requests::default(),
        }
    }

    /// The requests that were learned under a key.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// As above, for one that comes in or was learned.
    pub(crate) fn requests_mut(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// The last entry of the ledger that was learned before the start.
    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    /// An entry of the ledger was learned.
    pub(crate) fn learned_entry(&mut self, entry: u64) {
        self.entry = entry;
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

    /// How many decoders a source has.
    pub(crate) fn decoders(&self) -> usize {
        self.decoders.len()
    }

    /// A decoder of a source.
    pub(crate) fn decoder(&self, decoder: usize, source: u16) -> Arc<Mutex<LineDecoder>> {
        Arc::clone(&self.decoders[decoder][source as usize])
    }

    /// Whether a source's streams begin with headers: then one decoder has all its lines.
    pub(crate) fn has_headers(&self, source: u16) -> bool {
        has_headers(&self.sources[source as usize].format)
    }

    /// One chunk, decoded here.
    pub fn chunk(&mut self, chunk: &Chunk, mode: Mode, out: &mut dyn Output) {
        self.in_batches(chunk, |pipeline, batch| {
            pipeline.learn(chunk, batch, 0, mode, out);
        });
    }

    /// A chunk that is not learned from: its stream goes on after it, and its records keep their
    /// numbers, so that those after it keep their ids.
    pub(crate) fn pass_over(&mut self, chunk: &Chunk) {
        self.in_batches(chunk, |pipeline, batch| {
            let lane = &mut pipeline.sources[chunk.source as usize];
            let (stream, names) = open_batch(&mut lane.live, &mut lane.names[0], chunk, batch);
            for (_, outcome, record) in batch.lines(chunk) {
                stream.lines += 1;
                let outcome = judged(outcome, record, names, &lane.models, &mut pipeline.models);
                let numbered = u64::from(outcome == Ok(Decoded::Record));
                lane.seq += numbered;
                pipeline.order += numbered;
            }
        });
    }

    /// Decodes a chunk here and has each batch of it taken.
    fn in_batches(&mut self, chunk: &Chunk, mut take: impl FnMut(&mut Pipeline, &mut Batch)) {
        let decoder = self.decoder(0, chunk.source);
        let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
        decoder.begin(chunk, &self.header_of(chunk));
        self.begin(chunk);
        let mut batch = std::mem::take(&mut self.batch);
        let mut from = 0;
        while from < chunk.lines.len() {
            from = decoder.decode(chunk, from, LINES_HERE, &mut batch);
            take(self, &mut batch);
        }
        self.batch = batch;
        decoder.end(chunk);
        self.end(chunk);
    }

    /// The header that was saved for a chunk's stream; empty where there is none.
    pub(crate) fn header_of(&self, chunk: &Chunk) -> Vec<u8> {
        let lane = &self.sources[chunk.source as usize];
        let number = chunk.stream.number;
        if let Some(live) = lane.live.get(&number) {
            return live.header.clone();
        }
        let early = lane.resumable.get(number as usize).and_then(Option::as_ref);
        let finished = || lane.finished.iter().find(|(n, _)| *n == number);
        early
            .or_else(|| finished().map(|(_, state)| state))
            .map(|state| state.header.clone())
            .unwrap_or_default()
    }

    /// Takes up the chunk's stream where an earlier run left it, or begins it.
    pub(crate) fn begin(&mut self, chunk: &Chunk) {
        let lane = &mut self.sources[chunk.source as usize];
        let number = chunk.stream.number;
        let (resumable, finished) = (&mut lane.resumable, &mut lane.finished);
        let stream = lane.live.entry(number).or_insert_with(|| {
            let known = take_known(resumable, finished, number);
            begin_stream(known, chunk)
        });
        if !Arc::ptr_eq(&stream.name, &chunk.stream) {
            stream.name = Arc::clone(&chunk.stream);
        }
    }

    /// Processes the lines of a batch in order; they are of a chunk whose stream has begun, made by
    /// the decoder with this index.
    pub(crate) fn learn(
        &mut self,
        chunk: &Chunk,
        batch: &mut Batch,
        decoder: usize,
        mode: Mode,
        out: &mut dyn Output,
    ) {
        let source = chunk.source as usize;
        let lane = &mut self.sources[source];
        let (stream, names) = open_batch(&mut lane.live, &mut lane.names[decoder], chunk, batch);
        let is_json = lane.format == FormatConfig::Json;
        for (span, outcome, record) in batch.lines(chunk) {
            let line = chunk.line(span);
            stream.lines += 1;
            match judged(outcome, record, names, &lane.models, &mut self.models) {
                Ok(Decoded::Header) => continue,
                Ok(Decoded::Blank) => lane.counts.blank += 1,
                Ok(Decoded::Record) => {
                    lane.counts.records += 1;
                    lane.seq += u64::from(mode == Mode::Learn);
                    lane.tested += u64::from(mode == Mode::Test);
                    self.order += u64::from(mode == Mode::Learn);
                    let input = Input {
                        record,
                        names,
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
    }

    /// All lines of a chunk have been processed.
    pub(crate) fn end(&mut self, chunk: &Chunk) {
        let lane = &mut self.sources[chunk.source as usize];
        let number = chunk.stream.number;
        if let Some(stream) = lane.live.get_mut(&number) {
            stream.offset = chunk.end;
        }
        debug_assert_eq!(
            lane.counts.lines,
            lane.counts.blank
                + lane.counts.records
                + lane.counts.rejected_total()
                + lane.counts.duplicates,
            "no line disappears uncounted"
        );
        if chunk.last
            && let Some(stream) = lane.live.remove(&number)
        {
            lane.remember(&stream);
        }
    }

    /// Counts a whole stream that was learned before.
    pub(crate) fn duplicate(&mut self, chunk: &Chunk) {
        let lane = &mut self.sources[chunk.source as usize];
        let header = matches!(&lane.format, FormatConfig::Csv(csv) if csv.header);
        let lines = (chunk.lines.len() as u64).saturating_sub(u64::from(header));
        lane.counts.lines += lines;
        lane.counts.duplicates += lines;
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

    /// What was read so far is all there is of the streams for now: those that can go on do so
    /// where they stand, as after a start; the others have ended.
    pub(crate) fn suspend_streams(&mut self) {
        let (sources, streams) = self.positions();
        for lane in &mut self.sources {
            lane.live.clear();
            lane.finished.clear();
        }
        for decoder in self.decoders.iter().flatten() {
            let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
            decoder.forget_streams();
        }
        self.resume(self.order, &sources, &streams);
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
            header: stream.header.clone(),
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

/// Takes in what a batch brings beside its lines; gives its stream, and the names in its records.
fn open_batch<'a>(
    live: &'a mut HashMap<u64, StreamLane>,
    names: &'a mut Names,
    chunk: &Chunk,
    batch: &mut Batch,
) -> (&'a mut StreamLane, &'a Names) {
    let stream = live
        .get_mut(&chunk.stream.number)
        .expect("the stream has begun");
    names.append(&batch.names);
    if let Some(header) = batch.header.take() {
        stream.header = header;
    }
    (stream, names)
}

/// What a line became, with what only the models that take it can tell.
fn judged(
    outcome: Result<Decoded, Reject>,
    record: &Record,
    names: &Names,
    takers: &[usize],
    models: &mut [Model],
) -> Result<Decoded, Reject> {
    let mut readable = || {
        let mut takers = takers.iter();
        takers.all(|m| models[*m].time_is_readable(record, names))
    };
    match outcome {
        Ok(Decoded::Record) if !readable() => Err(Reject {
            reason: RejectReason::Time,
            at: 0,
        }),
        other => other,
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
fn begin_stream(known: Option<StreamState>, chunk: &Chunk) -> StreamLane {
    let lines = known.as_ref().map_or(0, |state| state.lines);
    let header = known.map(|state| state.header).unwrap_or_default();
    StreamLane {
        name: Arc::clone(&chunk.stream),
        offset: chunk.start,
        lines,
        header: if chunk.start > 0 { header } else { Vec::new() },
    }
}
