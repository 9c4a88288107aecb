//! One model whole: plan, learner or detector, evaluation, alerts, keyed pools.
//!
//! Invariant: nothing is learned from a record that was not first predicted, and each record of
//! the model's sources ends in exactly one [`Outcome`].

mod anomaly;
mod clock;
mod label;
mod pool;
mod report;
mod shape;
mod supervised;

use crate::alert::AlertConfig;
use crate::base::{
    EventHead, EventKind, EventSink, Micros, Reader, Scratch, SkipReason, StateError, Task, Writer,
};
use crate::detect::DetectorConfig;
use crate::feature::{Names, Plan, PlanConfig, Record, RowBuffer};
use crate::learn::{LearnerConfig, UpdateMode};
use crate::math::{hash64, hash128};

use anomaly::Anomaly;
use clock::RecordClock;
use supervised::Supervised;

pub use report::{AnomalyReport, ModelReport, SupervisedReport};
pub use shape::Shape;

/// A model's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Its name.
    pub name: String,
    /// Indices of its sources.
    pub inputs: Vec<u16>,
    /// What it is for.
    pub task: Task,
    /// What it asks of the fields.
    pub plan: PlanConfig,
    /// The most distinct keys.
    pub max_keys: usize,
    /// At the limit the least recently used key goes; else new ones are refused.
    pub evict: bool,
    /// The label that means "yes" (binary), where it is not 1 or true.
    pub positive: Option<String>,
    /// The most classes (multiclass).
    pub max_classes: usize,
    /// The learner (supervised tasks).
    pub learner: LearnerConfig,
    /// When it learns.
    pub update: UpdateMode,
    /// The detector (anomaly).
    pub detector: DetectorConfig,
    /// When to alert (anomaly).
    pub alerts: AlertConfig,
}

/// What a model is asked to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Predict, score, learn.
    Learn,
    /// Predict and score, into figures of their own; learn nothing.
    Test,
    /// Predict; learn and count nothing.
    Predict,
}

/// What became of a record in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Learned from (or, in a test, scored).
    Learned,
    /// Predicted; it bears no label.
    Unlabelled,
    /// Not learned from.
    Skipped(SkipReason),
}

/// One record, and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its fields.
    pub record: &'a Record,
    /// The names of its ids.
    pub names: &'a Names,
    /// The line as received.
    pub line: &'a [u8],
    /// The line is a JSON object.
    pub is_json: bool,
    /// The source's name.
    pub source: &'a str,
    /// The source's accepted records up to this one.
    pub seq: u64,
    /// When it was received.
    pub received: Micros,
}

impl Input<'_> {
    /// The head of an event about this record.
    fn head<'a>(
        &'a self,
        config: &'a ModelConfig,
        row: &'a RowBuffer,
        kind: EventKind,
    ) -> EventHead<'a> {
        EventHead {
            event_id: self.event_id(config, kind),
            ..self.head_without_id(config, row)
        }
    }

    /// The same for those who do not read the id.
    fn head_without_id<'a>(&'a self, config: &'a ModelConfig, row: &'a RowBuffer) -> EventHead<'a> {
        EventHead {
            event_id: 0,
            time: row.time,
            model: &config.name,
            key: &row.key,
            source: self.source,
            seq: self.seq,
            id: row.has_id.then_some(row.id.as_str()),
        }
    }

    /// The same whenever the same record is processed again at the same place, different for any
    /// other: a hash of the line, its number, its source, the model and the kind of event.
    fn event_id(&self, config: &ModelConfig, kind: EventKind) -> u128 {
        let of_names = hash64(
            config.name.as_bytes(),
            hash64(self.source.as_bytes(), kind as u64 + 1),
        );
        hash128(
            self.line,
            of_names ^ self.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        )
    }
}

/// A number for a key; 0 for none.
fn key_hash(key: &[String]) -> u64 {
    key.iter()
        .fold(0, |h, part| hash64(part.as_bytes(), h.wrapping_add(1)))
}

/// What happened in a model since it was last asked, for the counters.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Records learned.
    pub learned: u64,
    /// Records without a label.
    pub unlabelled: u64,
    /// Records skipped, by [`SkipReason::ALL`].
    pub skipped: [u64; SkipReason::ALL.len()],
    /// Sum of losses, weighted.
    pub loss_sum: f64,
    /// Sum of their weights.
    pub loss_weight: f64,
    /// Records flagged.
    pub flagged: u64,
    /// Alerts: info, warning, critical.
    pub alerts: [u64; 3],
    /// Drifts noticed.
    pub drifts: u64,
    /// Keys that had to go.
    pub evictions: u64,
    /// Scores, one a record.
    pub scores: Vec<f64>,
}

/// The severities of [`Tally::alerts`].
pub const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Learned => self.learned += 1,
            Outcome::Unlabelled => self.unlabelled += 1,
            Outcome::Skipped(reason) => self.skipped[reason as usize] += 1,
        }
    }

    fn alert(&mut self, severity: &str) {
        let place = SEVERITIES.iter().position(|s| *s == severity).unwrap_or(1);
        self.alerts[place] += 1;
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        let mut scores = std::mem::take(&mut self.scores);
        scores.clear();
        *self = Tally {
            scores,
            ..Tally::default()
        };
    }
}

/// Lifetime counts of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Records of its sources.
    pub records: u64,
    /// Learned.
    pub learned: u64,
    /// Without a label.
    pub unlabelled: u64,
    /// Skipped, for any reason.
    pub skipped: u64,
}

/// What a record passes through on its way in a model, borrowed apart.
struct Parts<'a> {
    config: &'a ModelConfig,
    plan: &'a Plan,
    row: &'a RowBuffer,
    scratch: &'a mut Scratch,
    tally: &'a mut Tally,
    index: usize,
}

enum Body {
    Supervised(Box<Supervised>),
    Anomaly(Box<Anomaly>),
}

/// One model.
pub struct Model {
    config: ModelConfig,
    index: usize,
    plan: Plan,
    row: RowBuffer,
    scratch: Scratch,
    clock: RecordClock,
    counts: Counts,
    tally: Tally,
    body: Body,
}

impl Model {
    /// A model that has learned nothing; `index` is its place in the configuration.
    pub fn new(config: ModelConfig, index: usize) -> Model {
        let body = match config.task {
            Task::Anomaly => Body::Anomaly(Box::new(Anomaly::new(&config))),
            _ => Body::Supervised(Box::new(Supervised::new(&config))),
        };
        Model {
            index,
            plan: Plan::new(config.plan.clone()),
            row: RowBuffer::default(),
            scratch: Scratch::default(),
            clock: RecordClock::default(),
            counts: Counts::default(),
            tally: Tally::default(),
            body,
            config,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether it takes records of a source.
    pub fn takes(&self, source: u16) -> bool {
        self.config.inputs.contains(&source)
    }

    /// Lifetime counts.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What happened since the last [`Tally::clear`].
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// The model's clock.
    pub fn now(&self) -> Option<Micros> {
        self.clock.now()
    }

    /// Whether the record's time, as this model reads it, is a time. Learns nothing.
    pub fn time_is_readable(&mut self, record: &Record, names: &Names) -> bool {
        self.plan.time_is_readable(record, names)
    }

    /// One record of one of its sources.
    pub fn process(&mut self, input: &Input<'_>, mode: Mode, out: &mut dyn EventSink) -> Outcome {
        let learn = mode == Mode::Learn;
        self.plan
            .extract(input.record, input.names, &mut self.row, learn);
        let outcome = if !self.row.passes {
            Outcome::Skipped(SkipReason::Where)
        } else if self.row.key_missing {
            Outcome::Skipped(SkipReason::Key)
        } else {
            // A record without a time of its own comes when the one before it did; a model without
            // any time lives by the time of reception, which does not replay.
            let known = self.config.plan.time.as_ref().and(self.clock.now());
            let time = self.row.time.or(known).unwrap_or(input.received);
            let now = if learn {
                self.clock.advance(time)
            } else {
                self.clock.now().unwrap_or(time)
            };
            let mut parts = Parts {
                config: &self.config,
                plan: &self.plan,
                row: &self.row,
                scratch: &mut self.scratch,
                tally: &mut self.tally,
                index: self.index,
            };
            match &mut self.body {
                Body::Supervised(s) => s.process(&mut parts, input, mode, now, out),
                Body::Anomaly(a) => a.process(&mut parts, input, mode, now, out),
            }
        };
        if learn {
            self.tally.count(outcome);
            self.counts.records += 1;
            match outcome {
                Outcome::Learned => self.counts.learned += 1,
                Outcome::Unlabelled => self.counts.unlabelled += 1,
                Outcome::Skipped(_) => self.counts.skipped += 1,
            }
        }
        outcome
    }

    /// What state must agree on to be this model's.
    pub fn shape(&self) -> Shape {
        Shape::of(&self.config)
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        out.nested("plan", |w| self.plan.save(w));
        if self.config.plan.time.is_some() {
            self.clock.save(out);
        } else {
            // The time of reception is nothing that was learned.
            out.operations(|w| self.clock.save(w));
        }
        let Counts {
            records,
            learned,
            unlabelled,
            skipped,
        } = self.counts;
        out.u64s("counts", &[records, learned, unlabelled, skipped]);
        match &self.body {
            Body::Supervised(s) => s.save(out),
            Body::Anomaly(a) => a.save(out),
        }
    }

    /// Reads it back; on an error the model is not to be used.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        from.nested("plan", |r| self.plan.load(r))?;
        self.clock.load(from)?;
        let counts = from.counts_of("counts", 4)?;
        self.counts = Counts {
            records: counts[0],
            learned: counts[1],
            unlabelled: counts[2],
            skipped: counts[3],
        };
        match &mut self.body {
            Body::Supervised(s) => s.load(from, &self.config),
            Body::Anomaly(a) => a.load(from, &self.config),
        }
    }
}
