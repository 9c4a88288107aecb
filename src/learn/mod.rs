//! Supervised learners: predict, then learn, one record at a time.
//!
//! Invariant: predicting takes `&self` and changes nothing; an update that would not be finite
//! changes nothing either and says so.

use crate::base::{Label, Prediction, Reader, Row, Scratch, StateError, Task, Writer};

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
    /// The loss (≥ 0) of what was just predicted, in the learner's own loss function. The scratch
    /// is as `predict_one` left it.
    fn loss(&self, prediction: &Prediction, y: Label, s: &Scratch) -> f64;
    /// Learns from a record with a weight above 0; the scratch is as `predict_one` left it.
    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// (p − y)².
    Squared,
    /// ln(1 + e^(−yz)), in nats.
    Logistic,
    /// −ln of the probability of the true class, in nats.
    Softmax,
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
    /// With a constant feature.
    pub bias: bool,
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
