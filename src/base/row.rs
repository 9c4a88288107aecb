//! One record as a model sees it, what is to be predicted, and what was.
//!
//! Invariant: values are raw. A missing number is NaN, never 0; scaling belongs to the learner,
//! which does it in order with the statistics from before the record.

/// How a named number is brought to a common size before it is learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Minus the mean, divided by the standard deviation, both from the records before.
    Standard,
    /// To 0..1 by the smallest and largest value before.
    MinMax,
    /// Divided by the largest absolute value before.
    MaxAbs,
    /// As it is.
    None,
}

/// What is known of one dense column beside its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// How it is scaled.
    pub scale: Scale,
    /// Largest absolute value after scaling; infinite for none.
    pub clip: f64,
}

/// The features of one record.
///
/// `dense` and `columns` have one entry for each named number seen so far (in order of their
/// first appearance, so the width only grows); `index` and `value` are the hashed part, in the
/// order of the fields, indices below `2^hash_bits`, the same index possibly more than once.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Named numbers, raw; NaN = missing.
    pub dense: &'a [f64],
    /// How each of them is scaled.
    pub columns: &'a [Column],
    /// Slots of the hashed features.
    pub index: &'a [u32],
    /// Their values.
    pub value: &'a [f32],
    /// What the raw score starts from, mostly 0.
    pub base: f64,
}

/// What a record says is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// A quantity (regression).
    Number(f64),
    /// Yes or no (binary).
    Binary(bool),
    /// The number of a class, in order of first appearance (multiclass).
    Class(u32),
}

/// What a model says before it sees the label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Regression: the quantity. Binary: the probability of "yes" (or the raw score, with the
    /// identity link). Multiclass: the probability of `class`.
    pub value: f64,
    /// Multiclass: the most probable class. The others' probabilities are in the scratch.
    pub class: u32,
}

impl Prediction {
    /// Instead of a class before any was seen: right about none.
    pub const NO_CLASS: u32 = u32::MAX;
}

/// Working memory of one prediction, kept from `predict_one` to `learn_one` of the same record
/// and reused for the next, so that the steady state allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Dense features after scaling.
    pub scaled: Vec<f64>,
    /// The columns that these are of, in order, where most columns of the row are missing and left
    /// out; empty where `scaled` has every column.
    pub present: Vec<u32>,
    /// Probabilities of the classes (multiclass).
    pub probabilities: Vec<f64>,
    /// Raw scores: of the lanes (race) or the classes (multiclass).
    pub raw: Vec<f64>,
    /// Room for whatever else a component needs; its contents mean nothing between calls.
    pub work: Vec<f64>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Predict a quantity.
    Regression,
    /// Predict yes or no.
    Binary,
    /// Predict one of several classes.
    Multiclass,
    /// Tell the strange from the normal.
    Anomaly,
}

impl Task {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Regression => "regression",
            Task::Binary => "binary",
            Task::Multiclass => "multiclass",
            Task::Anomaly => "anomaly",
        }
    }
}

/// Why a model did not learn from a record it was given; the `reason` of `learnd_skipped_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// An anomaly: it does not become normal.
    Gate,
    /// Of the validation or test part.
    Holdout,
    /// The model's `where` does not hold.
    Where,
    /// The model's `healthy` does not hold.
    Unhealthy,
    /// A key is missing, or the pool of keys is full.
    Key,
    /// The weight is zero, negative or unreadable.
    Weight,
    /// The label cannot be read.
    Label,
    /// The update would not have been finite.
    NonFinite,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 8] = [
        SkipReason::Gate,
        SkipReason::Holdout,
        SkipReason::Where,
        SkipReason::Unhealthy,
        SkipReason::Key,
        SkipReason::Weight,
        SkipReason::Label,
        SkipReason::NonFinite,
    ];

    /// The label value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::Gate => "gate",
            SkipReason::Holdout => "holdout",
            SkipReason::Where => "where",
            SkipReason::Unhealthy => "unhealthy",
            SkipReason::Key => "key",
            SkipReason::Weight => "weight",
            SkipReason::Label => "label",
            SkipReason::NonFinite => "nonfinite",
        }
    }
}
