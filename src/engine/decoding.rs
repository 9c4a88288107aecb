//! The lines of one source into batches of records: all that happens to a line before it is learned
//! from.
//!
//! Invariant: what a batch holds depends on the lines of its stream before it and on nothing that
//! is learned, so batches may be made on one thread and learned from on another.

use std::collections::HashMap;
use std::ops::Range;

use crate::base::{Chunk, LineSpan, Reject, RejectReason};
use crate::decode::{Decoded, Decoder, FormatConfig, Limits};
use crate::feature::{FieldLimits, FieldReader, Names, NewNames, Record};

/// Most lines of a batch that is learned from on the thread that decoded it: so many records stay in
/// the nearest cache between the two.
pub(crate) const LINES_HERE: usize = 32;
/// Most lines of a batch that goes to another thread, which costs a wake-up each time.
pub(crate) const LINES_AWAY: usize = 256;
/// Lines of so many bytes are enough for a batch: with the batches that wait, they shall lie in the
/// cache beside what decoder and learner need.
const BYTES: u32 = 64 << 10;

/// Some lines of a chunk, decoded. Reused, it allocates nothing.
#[derive(Default)]
pub(crate) struct Batch {
    /// Which lines of the chunk.
    lines: Range<usize>,
    /// What became of each of them.
    outcomes: Vec<Result<Decoded, Reject>>,
    /// One for each line, and perhaps more; filled where the outcome says so.
    records: Vec<Record>,
    /// Names that occur here for the first time.
    pub(crate) names: NewNames,
    /// The header of the stream, if it was among the lines.
    pub(crate) header: Option<Vec<u8>>,
}

impl Batch {
    /// Index of the first line of the chunk that is not in it or a batch before.
    pub(crate) fn end(&self) -> usize {
        self.lines.end
    }

    /// Line by line what became of it, and the record that holds if it became one.
    pub(crate) fn lines(
        &self,
        chunk: &Chunk,
    ) -> impl Iterator<Item = (LineSpan, Result<Decoded, Reject>, &Record)> {
        let spans = chunk.lines[self.lines.clone()].iter().copied();
        let outcomes = self.outcomes.iter().copied();
        spans
            .zip(outcomes)
            .zip(&self.records)
            .map(|((span, outcome), record)| (span, outcome, record))
    }
}

/// One stream that is being read.
struct Stream {
    decoder: Decoder,
    /// The header has been handed over, or there is none to come.
    header_told: bool,
}

/// Decodes the streams of one source. Where lines mean the same in every stream and at every place,
/// several decoders may share a source: each has ids of its own for names, and its own [`Names`].
pub(crate) struct LineDecoder {
    format: FormatConfig,
    limits: Limits,
    reader: FieldReader,
    /// By number; where streams have no header, one stands for all.
    streams: HashMap<u64, Stream>,
}

impl LineDecoder {
    /// For a source of this format.
    pub(crate) fn new(format: &FormatConfig, limits: &Limits) -> LineDecoder {
        LineDecoder {
            format: format.clone(),
            limits: limits.clone(),
            reader: FieldReader::new(&FieldLimits {
                max_fields: limits.max_fields,
                duplicates_last: limits.duplicates_last,
                name_seed: super::random_seed(),
                ..FieldLimits::default()
            }),
            streams: HashMap::new(),
        }
    }

    /// The names in its records, which grow by what each batch brings.
    pub(crate) fn names(&self, source: u16) -> Names {
        self.reader.names(source)
    }

    /// Whether streams of this format begin with a header, which the lines after it depend on.
    pub(crate) fn has_headers(&self) -> bool {
        has_headers(&self.format)
    }

    /// Begins the stream of a chunk, unless it has begun: at its beginning, or in its middle with
    /// the header saved for it (empty if none was seen yet).
    pub(crate) fn begin(&mut self, chunk: &Chunk, header: &[u8]) {
        let number = self.number_of(chunk);
        let (format, limits) = (&self.format, &self.limits);
        self.streams.entry(number).or_insert_with(|| {
            let mut decoder = format.decoder(limits);
            decoder.start((chunk.start > 0).then_some(header));
            let header_told = !decoder.header().is_empty();
            Stream {
                decoder,
                header_told,
            }
        });
    }

    /// Every stream that goes on begins anew.
    pub(crate) fn forget_streams(&mut self) {
        self.streams.clear();
    }

    /// All lines of a chunk have been decoded.
    pub(crate) fn end(&mut self, chunk: &Chunk) {
        if chunk.last && self.has_headers() {
            self.streams.remove(&chunk.stream.number);
        }
    }

    fn number_of(&self, chunk: &Chunk) -> u64 {
        if self.has_headers() {
            chunk.stream.number
        } else {
            0
        }
    }

    /// Decodes at most so many lines of a chunk from the line at index `from` on; returns the index
    /// of the first that is left for the next batch.
    pub(crate) fn decode(
        &mut self,
        chunk: &Chunk,
        from: usize,
        most: usize,
        batch: &mut Batch,
    ) -> usize {
        let to = chunk.lines.len().min(from + most);
        let lines = &chunk.lines[from..to];
        let first = lines.first().map_or(0, |line| line.start);
        let to = from + lines.partition_point(|line| line.start - first < BYTES);
        let number = self.number_of(chunk);
        let stream = self
            .streams
            .get_mut(&number)
            .expect("a stream begins before its lines are decoded");
        batch.lines = from..to;
        batch.outcomes.clear();
        batch.header = None;
        if batch.records.len() < to - from {
            batch.records.resize_with(to - from, Record::new);
        }
        for (&span, record) in chunk.lines[from..to].iter().zip(&mut batch.records) {
            let line = chunk.line(span);
            batch.outcomes.push(if span.too_long {
                Err(Reject {
                    reason: RejectReason::TooLong,
                    at: line.len() as u32,
                })
            } else {
                let mut sink = self.reader.sink(record);
                stream.decoder.decode(line, &mut sink)
            });
        }
        if !stream.header_told && !stream.decoder.header().is_empty() {
            batch.header = Some(stream.decoder.header().to_vec());
            stream.header_told = true;
        }
        self.reader.hand_over(&mut batch.names);
        to
    }
}

/// Whether streams of this format begin with a header.
pub(crate) fn has_headers(format: &FormatConfig) -> bool {
    matches!(format, FormatConfig::Csv(_))
}
