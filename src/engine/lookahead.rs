//! Chunks on their way to the learner, decoded on other threads while those before them are learned
//! from.
//!
//! Invariant: chunks are learned from in the order in which they came, each from its first line to
//! its last. Of those that wait, the ones given to a thread are the first ones, so the learner's
//! thread decodes a chunk itself only when no thread has one of a later place.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::Chunk;
use crate::model::Mode;

use super::decoding::{Batch, LINES_AWAY, LineDecoder};
use super::pipeline::{Output, Pipeline};

/// Batches of one thread that wait to be learned from at most.
const BATCHES: usize = 4;
/// With fewer lines than these waiting, waking a thread costs more than it saves.
const LINES_WORTH: usize = 128;

/// Decoders of a source at most: one thread of learning keeps up with no more.
const MOST_DECODERS: usize = 3;

/// How many decoders each source should have on this machine.
pub(crate) fn decoders() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.saturating_sub(1).clamp(1, MOST_DECODERS)
}

/// What a thread is to decode.
struct Job {
    chunk: Arc<Chunk>,
    decoder: Arc<Mutex<LineDecoder>>,
    header: Vec<u8>,
}

/// A thread that decodes.
struct DecodingThread {
    jobs: Sender<Job>,
    decoded: Receiver<Box<Batch>>,
    /// Batches that have been learned from, to be filled again.
    spent: Sender<Box<Batch>>,
}

/// A chunk that waits, with what belongs to it.
struct Waiting<T> {
    chunk: Arc<Chunk>,
    rest: T,
    /// Index of the thread that decodes it.
    thread: Option<usize>,
}

/// The chunks that wait.
pub(crate) struct Lookahead<T> {
    waiting: VecDeque<Waiting<T>>,
    threads: Vec<DecodingThread>,
    turn: usize,
}

impl<T> Lookahead<T> {
    /// Starts as many threads as the pipeline has decoders for a source.
    pub(crate) fn start(pipeline: &Pipeline) -> std::io::Result<Lookahead<T>> {
        Ok(Lookahead {
            waiting: VecDeque::new(),
            threads: (0..pipeline.decoders())
                .map(start_thread)
                .collect::<Result<_, _>>()?,
            turn: 0,
        })
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether another chunk may wait: enough to keep every thread at work, no more.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < 1 + 2 * self.threads.len()
    }

    /// Another chunk, behind those that wait.
    pub(crate) fn push(&mut self, chunk: Chunk, rest: T) {
        self.waiting.push_back(Waiting {
            chunk: Arc::new(chunk),
            rest,
            thread: None,
        });
    }

    /// The first that waits, and what belongs to it.
    pub(crate) fn first(&self) -> Option<(&Chunk, &T)> {
        self.waiting.front().map(|w| (&*w.chunk, &w.rest))
    }

    /// Learns from the first chunk that waits, while threads decode those behind it.
    pub(crate) fn process(
        &mut self,
        pipeline: &mut Pipeline,
        mode: Mode,
        out: &mut dyn Output,
    ) -> Option<(Arc<Chunk>, T)> {
        self.look_ahead(pipeline);
        let first = self.waiting.pop_front()?;
        let chunk = &first.chunk;
        let Some(index) = first.thread else {
            pipeline.chunk(chunk, mode, out);
            return Some((first.chunk, first.rest));
        };
        pipeline.begin(chunk);
        let mut learned = 0;
        while learned < chunk.lines.len() {
            let thread = &self.threads[index];
            let batch = thread.decoded.recv();
            let mut batch = batch.expect("it decodes what it was given unless it panics");
            pipeline.learn(chunk, &mut batch, index, mode, out);
            learned = batch.end();
            // Only a thread that panicked takes none back, and then the next batch tells.
            drop(thread.spent.send(batch));
        }
        pipeline.end(chunk);
        Some((first.chunk, first.rest))
    }

    /// Gives threads what waits, if that is worth it.
    fn look_ahead(&mut self, pipeline: &Pipeline) {
        if self.threads.is_empty() || self.waiting.len() < 2 {
            return;
        }
        let given = self.waiting.iter().take_while(|w| w.thread.is_some());
        let given = given.count();
        let lines = self.waiting.iter().skip(given).map(|w| w.chunk.lines.len());
        if lines.sum::<usize>() < LINES_WORTH {
            return;
        }
        for at in given..self.waiting.len() {
            let chunk = Arc::clone(&self.waiting[at].chunk);
            let source = chunk.source;
            let ends_before = self.waiting.iter().take(at).any(|w| {
                w.chunk.last
                    && w.chunk.source == source
                    && w.chunk.stream.number == chunk.stream.number
            });
            if ends_before {
                // A stream that goes on after its end: where it stands is known only then.
                return;
            }
            let index = if pipeline.has_headers(source) {
                0
            } else {
                self.turn = (self.turn + 1) % self.threads.len();
                self.turn
            };
            let job = Job {
                decoder: pipeline.decoder(index, source),
                header: pipeline.header_of(&chunk),
                chunk,
            };
            if self.threads[index].jobs.send(job).is_err() {
                // It has panicked; the learner does it all.
                return;
            }
            self.waiting[at].thread = Some(index);
        }
    }
}

fn start_thread(number: usize) -> std::io::Result<DecodingThread> {
    let (jobs, todo) = channel::<Job>();
    let (done, decoded) = sync_channel(BATCHES);
    let (spent, reusable) = channel();
    std::thread::Builder::new()
        .name(format!("decode {number}"))
        .spawn(move || {
            for job in todo {
                if decode(&job, &done, &reusable).is_none() {
                    // Nobody learns any more.
                    return;
                }
            }
        })?;
    Ok(DecodingThread {
        jobs,
        decoded,
        spent,
    })
}

fn decode(job: &Job, done: &SyncSender<Box<Batch>>, reusable: &Receiver<Box<Batch>>) -> Option<()> {
    let mut decoder = job.decoder.lock().unwrap_or_else(PoisonError::into_inner);
    decoder.begin(&job.chunk, &job.header);
    let mut from = 0;
    while from < job.chunk.lines.len() {
        let mut batch = reusable.try_recv().unwrap_or_default();
        from = decoder.decode(&job.chunk, from, LINES_AWAY, &mut batch);
        done.send(batch).ok()?;
    }
    decoder.end(&job.chunk);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Cutter, Event, EventKinds, EventSink, Micros, StreamName};
    use crate::config::{Config, Overrides, parse};
    use crate::engine::pipeline::Rejection;
    use crate::engine::recover::{self, KeptAside};
    use crate::model::Model;

    const CONFIG: &str = r#"
        [sources.json]
        type = "stdin"
        format = "json"
        [sources.csv]
        type = "file"
        paths = ["*.csv"]
        format = "csv"
        [models.y]
        task = "regression"
        label = "y"
        [models.strange]
        task = "anomaly"
        inputs = ["json"]
    "#;

    /// Counts refused lines.
    #[derive(Default)]
    struct Nothing(u64);

    impl EventSink for Nothing {
        fn wants(&self, _model: usize) -> EventKinds {
            EventKinds::default()
        }
        fn emit(&mut self, _model: usize, _event: &Event<'_>) {}
    }

    impl Output for Nothing {
        fn rejected(&mut self, _rejection: &Rejection<'_>) {
            self.0 += 1;
        }
        fn record_done(&mut self, _models: &[Model]) {}
    }

    fn config() -> Config {
        parse("test.toml", CONFIG, &Overrides::default()).expect("the configuration is right")
    }

    /// Lines of both sources, which take turns; every third JSON line has another set of fields,
    /// some are refused, and the CSV stream ends and goes on.
    fn chunks(config: &Config, size: usize) -> Vec<Chunk> {
        let mut random = crate::math::Random::new(5);
        let mut texts = [String::new(), "y,a,b\n".to_owned()];
        for i in 0..3000 {
            let (a, b) = (random.normal(), random.normal());
            let extra = match i % 7 {
                0 => ",\"c\":1",
                3 => ",\"late\":2,\"later\":\"x\"",
                5 => ",",
                _ => "",
            };
            let name = i % 900;
            texts[0].push_str(&format!("{{\"y\":{a},\"a\":{a},\"n{name}\":{b}{extra}}}\n"));
            texts[1].push_str(&format!("{b},{a},{b}\n"));
        }
        let mut out: Vec<Vec<Chunk>> = vec![Vec::new(), Vec::new()];
        for (source, text) in texts.iter().enumerate() {
            let stream = Arc::new(StreamName {
                number: 0,
                name: "s".into(),
                identity: vec![source as u8],
            });
            let framer = config.sources[source].format.framer();
            let mut cutter = Cutter::new(framer, 1 << 20, 0);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            for (i, piece) in pieces.iter().enumerate() {
                let (mut bytes, mut lines) = (Vec::new(), Vec::new());
                let start = cutter.offset();
                cutter.push(piece, &mut bytes, &mut lines);
                out[source].push(Chunk {
                    source: source as u16,
                    received: Micros(0),
                    stream: Arc::clone(&stream),
                    start,
                    end: cutter.offset(),
                    last: i + 1 == pieces.len() || i == pieces.len() / 2,
                    bytes,
                    lines,
                });
            }
        }
        let (mut json, mut csv) = (out.remove(0).into_iter(), out.remove(0).into_iter());
        let mut mixed = Vec::new();
        loop {
            let next = [json.next(), csv.next()];
            if next.iter().all(Option::is_none) {
                return mixed;
            }
            mixed.extend(next.into_iter().flatten());
        }
    }

    /// Digest, records and refused lines after these chunks.
    fn learned(decoders: usize, chunks: Vec<Chunk>) -> (String, u64, u64) {
        let mut pipeline = Pipeline::with_decoders(&config(), decoders);
        let mut lookahead = Lookahead::start(&pipeline).expect("threads start");
        let mut out = Nothing::default();
        let mut waiting = chunks.into_iter();
        loop {
            while lookahead.has_room()
                && let Some(chunk) = waiting.next()
            {
                lookahead.push(chunk, ());
            }
            if lookahead
                .process(&mut pipeline, Mode::Learn, &mut out)
                .is_none()
            {
                return figures(&pipeline, &out);
            }
        }
    }

    fn figures(pipeline: &Pipeline, out: &Nothing) -> (String, u64, u64) {
        let saved = recover::save(pipeline, &KeptAside::default(), 0, Micros(0));
        (saved.digest(), pipeline.order(), out.0)
    }

    #[test]
    fn what_is_learned_depends_on_no_number_of_threads() {
        let alone = {
            let config = config();
            let mut pipeline = Pipeline::new(&config);
            let mut out = Nothing::default();
            for chunk in chunks(&config, 5000) {
                pipeline.chunk(&chunk, Mode::Learn, &mut out);
            }
            figures(&pipeline, &out)
        };
        assert!(alone.2 > 300 && alone.1 > 4000, "{alone:?}");
        for decoders in 1..=3 {
            let chunks = chunks(&config(), 5000);
            assert_eq!(learned(decoders, chunks), alone, "{decoders}");
        }
    }

    #[test]
    fn what_is_learned_of_one_source_depends_on_no_size_of_chunks() {
        // Two sources would take turns elsewhere, so the chunks of one go first.
        let digest = |size: usize, decoders: usize| {
            let mut all = chunks(&config(), size);
            all.sort_by_key(|chunk| chunk.source);
            learned(decoders, all).0
        };
        let whole = digest(1 << 20, 1);
        for (size, decoders) in [(700, 1), (20_000, 2), (20_001, 3)] {
            assert_eq!(digest(size, decoders), whole, "{size} {decoders}");
        }
    }
}
