//! Supervised learners: predict, then learn, one record at a time.
//!
//! Invariant: predicting takes `&self` and changes nothing; an update that would not be finite
//! changes nothing either and says so.

#![allow(
    clippy::needless_range_loop,
    reason = "lanes are walked by number through several arrays at once"
)]
#![allow(
    clippy::inline_always,
    reason = "lanes only become vector instructions inside the loop that uses them"
)]

mod batch;
mod classes;
#[cfg(test)]
mod conformance;
mod heavy;
mod lanes;
mod linear;
mod linear_batch;
mod linear_sgd;
mod linear_step;
mod loss;
mod minibatch;
mod mixture;
mod penalty;
mod race;
mod race_batch;
mod race_step;
mod scale;
mod sgd;
mod sheet;
mod softmax;
mod softmax_batch;
mod softmax_line;
mod table;
mod target;
#[cfg(test)]
mod wide;
#[cfg(test)]
mod witness;

use crate::base::{
    Label, Micros, Prediction, Reader, Row, Scale, Scratch, StateError, Task, Writer,
};

use linear::Linear;
use minibatch::{BatchLearner, Minibatch};
use mixture::RATES;
use penalty::Penalty;
use race::Race;
use scale::Scaler;
use sgd::Sgd;
use sheet::Sheet;
use softmax::Softmax;

/// What a learner did with a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// It learned; the Euclidean norm of the change of the weights (of the mixed lanes' mean in
    /// the race), as far as it is cheap to know.
    Learned {
        /// The norm.
        norm: f64,
    },
    /// The update would not have been finite: nothing has changed.
    NonFinite,
}

/// One lane of the race, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lane {
    /// Its learning rate.
    pub rate: f64,
    /// Its own mean progressive loss, faded over about 1,000 records.
    pub loss: f64,
    /// Its weight in the mixture.
    pub weight: f64,
}

/// Where a weight belongs, for naming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WeightAt {
    /// The dense column with this number.
    Dense(u32),
    /// The slot of the hashed part.
    Hashed(u32),
    /// The constant.
    Bias,
}

/// What a learner says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The rate at which it learns now.
    pub learning_rate: f64,
    /// The lanes of the race; empty for other learners.
    pub lanes: Vec<Lane>,
    /// Euclidean norm of the weights.
    pub weight_norm: f64,
}

/// A heavy weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeavyWeight {
    /// Where.
    pub at: WeightAt,
    /// Of which class; 0 where there are none.
    pub class: u32,
    /// The weight on the scaled feature, lanes mixed.
    pub weight: f64,
}

/// A supervised learner.
///
/// The protocol for a labelled record is `predict_one`, `loss`, `learn_one`, all with the same
/// row and scratch. A row's width may grow at any time.
pub trait Learner: Send {
    /// What it says of a record. Changes nothing but the scratch.
    fn predict_one(&self, x: Row<'_>, s: &mut Scratch) -> Prediction;
    /// What it reports as its prediction once the label is known, before it learns. The same,
    /// except where the original that a learner reproduces looks at the label first (Vowpal
    /// Wabbit widens the range of its predictions by it).
    fn labelled(&self, prediction: Prediction, _y: Label, _s: &Scratch) -> Prediction {
        prediction
    }
    /// The loss (≥ 0) of what was just predicted, in the learner's own loss function. The scratch
    /// is as `predict_one` left it.
    fn loss(&self, prediction: &Prediction, y: Label, s: &Scratch) -> f64;
    /// Learns from a record with a weight above 0; the scratch is as `predict_one` left it.
    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update;
    /// Tells it the time of the models' clock, before each record and while none come. Returns
    /// what it learned from held records, if their time was up.
    fn tick(&mut self, _now: Micros, _s: &mut Scratch) -> Option<Update> {
        None
    }
    /// Records it holds and has not learned from yet.
    fn held(&self) -> usize {
        0
    }
    /// How it stands.
    fn report(&self) -> Report;
    /// Its `n` heaviest weights by absolute value, heaviest first; ties by place.
    fn heaviest(&self, n: usize) -> Vec<HeavyWeight>;
    /// Writes everything that decides what it will say and learn.
    fn save(&self, out: &mut Writer);
    /// Reads it back; on an error the learner is not to be used.
    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError>;
}

/// The loss function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// (p − y)².
    Squared,
    /// ln(1 + e^(−yz)), in nats.
    Logistic,
    /// −ln of the probability of the true class, in nats.
    Softmax,
    /// max(0, 1 − yz).
    Hinge,
    /// τ(y − p) where the prediction is too low, (1 − τ)(p − y) where it is too high: the
    /// prediction becomes the τ-quantile (Koenker & Bassett 1978).
    Quantile {
        /// τ, between 0 and 1.
        tau: f64,
    },
}

/// What a raw score is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A probability (binary).
    Logistic,
    /// The raw score itself.
    Identity,
}

/// The update rule of a linear learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Vowpal Wabbit's default: normalized, adaptive, importance-invariant (algorithms: Ross,
    /// Mineiro & Langford 2013; Karampatziakis & Langford 2011).
    NormalizedAdaptive,
    /// Plain gradient descent.
    Sgd,
    /// Plain gradient descent with Vowpal Wabbit's customs, for lines in its format: predictions
    /// are held in the range of the labels, a record counts before its step, and penalties are
    /// as with [`Optimizer::NormalizedAdaptive`].
    SgdInRange,
}

/// A learner's configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum LearnerConfig {
    /// Four learning rates side by side, mixed by how well each predicts.
    Race,
    /// One linear model.
    Linear(LinearConfig),
}

/// The settings of a linear learner.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearConfig {
    /// The update rule.
    pub optimizer: Optimizer,
    /// The loss function.
    pub loss: Loss,
    /// The link.
    pub link: Link,
    /// The learning rate.
    pub learning_rate: f64,
    /// How the rate falls: rate · t^−power_t for sgd; the exponent of the adaptive part for
    /// normalized_adaptive (0.5).
    pub power_t: f64,
    /// The t that the first record has.
    pub initial_t: f64,
    /// Ridge penalty, never on the bias.
    pub l2: f64,
    /// Lasso penalty (truncated gradient), never on the bias.
    pub l1: f64,
    /// With a constant of the learner's own.
    pub bias: bool,
    /// Predictions are held in this range instead of that of the labels seen.
    pub label_range: Option<(f64, f64)>,
}

/// When a learner learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateMode {
    /// From each record at once.
    Online,
    /// From many records in one step, whichever comes first.
    Minibatch {
        /// After so many records.
        records: usize,
        /// After so long, in microseconds of the models' clock; 0 for never.
        every_micros: i64,
    },
}

/// What a learner is built for.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerContext {
    /// The task.
    pub task: Task,
    /// The hashed part has 2^this slots.
    pub hash_bits: u32,
    /// The most classes (multiclass).
    pub max_classes: usize,
}

/// The most dense columns that a model is reckoned with; further names go to the hashed part.
const COLUMNS: u64 = 256;

/// Builds a learner.
pub fn build(
    config: &LearnerConfig,
    update: UpdateMode,
    context: &LearnerContext,
) -> Box<dyn Learner> {
    let (task, bits) = (context.task, context.hash_bits);
    match config {
        LearnerConfig::Race if task == Task::Multiclass => {
            let penalty = Penalty::default();
            let classes = context.max_classes;
            in_mode(Softmax::new(RATES, bits, classes, true, penalty), update)
        }
        LearnerConfig::Race => in_mode(Race::new(task, bits), update),
        LearnerConfig::Linear(linear) => match linear.optimizer {
            Optimizer::Sgd => in_mode(Sgd::new(linear.clone(), context), update),
            Optimizer::SgdInRange if task == Task::Multiclass => {
                in_mode(Sgd::new(linear.clone(), context), update)
            }
            Optimizer::NormalizedAdaptive if task == Task::Multiclass => {
                let penalty = Penalty::new(linear.l1, linear.l2, bits);
                let (rates, classes) = ([linear.learning_rate], context.max_classes);
                in_mode(
                    Softmax::new(rates, bits, classes, linear.bias, penalty),
                    update,
                )
            }
            Optimizer::NormalizedAdaptive | Optimizer::SgdInRange => {
                in_mode(Linear::new(linear.clone(), task, bits), update)
            }
        },
    }
}

fn in_mode<T: BatchLearner + 'static>(inner: T, update: UpdateMode) -> Box<dyn Learner> {
    match update {
        UpdateMode::Online => Box::new(inner),
        UpdateMode::Minibatch {
            records,
            every_micros,
        } => Box::new(Minibatch::new(inner, records, every_micros)),
    }
}

impl LearnerConfig {
    /// The rates of the race's lanes; none for other learners.
    pub fn lane_rates(&self) -> &'static [f64] {
        match self {
            LearnerConfig::Race => &RATES,
            LearnerConfig::Linear(_) => &[],
        }
    }

    /// How numbers are scaled where the configuration does not say.
    pub fn default_scale(&self) -> Scale {
        match self {
            LearnerConfig::Linear(linear) if linear.optimizer == Optimizer::NormalizedAdaptive => {
                Scale::None
            }
            LearnerConfig::Race | LearnerConfig::Linear(_) => Scale::Standard,
        }
    }

    /// The most bytes that the learner itself may come to take (rows held for a mini-batch come on
    /// top). Most of it is not taken before it is used.
    pub fn memory_bytes(&self, context: &LearnerContext) -> u64 {
        let (bits, classes) = (context.hash_bits, context.max_classes);
        let multiclass = context.task == Task::Multiclass;
        let columns = COLUMNS * Scaler::COLUMN_BYTES;
        match self {
            LearnerConfig::Race if multiclass => {
                Sheet::bytes(bits, 2 * RATES.len(), classes, COLUMNS) + columns
            }
            LearnerConfig::Race => Race::bytes(bits, COLUMNS),
            LearnerConfig::Linear(linear) => {
                let penalized = linear.l1 > 0.0 || linear.l2 > 0.0;
                let lazily = if penalized { 8 << bits } else { 0 };
                let own = match linear.optimizer {
                    Optimizer::Sgd | Optimizer::SgdInRange if multiclass => {
                        Sheet::bytes(bits, 1, classes, COLUMNS)
                    }
                    Optimizer::Sgd => Sheet::bytes(bits, 1, 1, COLUMNS),
                    Optimizer::NormalizedAdaptive if multiclass => {
                        Sheet::bytes(bits, 2, classes, COLUMNS)
                    }
                    Optimizer::NormalizedAdaptive | Optimizer::SgdInRange => {
                        return Linear::bytes(bits, COLUMNS);
                    }
                };
                own + lazily + columns
            }
        }
    }
}
