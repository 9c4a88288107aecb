//! One normalized-adaptive step from many records: gradients are summed for each weight, the
//! accumulators take in the sum of their squares, and the step along the resulting direction is
//! as long as the learning rate asks, but never beyond the best point of the batch on it.
//!
//! Invariant: a batch of one record gives the online step.

use crate::base::{Label, Row, Scratch};

use super::lanes::{Lanes, map};

/// Smaller dense values count as absent: their squares would vanish.
pub(crate) const SMALLEST_DENSE: f64 = 1e-100;
/// Smaller hashed values count as absent, as in Vowpal Wabbit: the square vanishes in 32 bits.
pub(crate) const SMALLEST_HASHED: f32 = 1.084_202e-19;

/// Weights with accumulators, by coordinate (dense columns, then the bias, then slots) and output.
pub(crate) trait Store<const L: usize> {
    /// Scores of one record: classes, or 1.
    fn outputs(&self) -> usize;
    /// The largest absolute value of the coordinate; a larger `x` shrinks its weights.
    fn widen(&mut self, at: Coordinate, x: f64) -> f64;
    /// Adds to the accumulators of the coordinate and returns them.
    fn accumulate(&mut self, at: Coordinate, output: usize, squares: &Lanes<L>) -> Lanes<L>;
    /// The rate of a coordinate, from its accumulator and scale.
    fn rate(&self, total: f64, scale: f64) -> f64 {
        1.0 / (total.sqrt() * scale)
    }
    /// Adds to the weights.
    fn add(&mut self, at: Coordinate, output: usize, step: &Lanes<L>);
}

/// A place for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coordinate {
    /// A dense column.
    Dense(u32),
    /// The constant.
    Bias,
    /// A slot of the hashed part.
    Hashed(u32),
}

/// One feature of one record.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Coordinate,
    row: u32,
    /// Its place among all entries of the batch as they came.
    order: u32,
    x: f64,
}

/// What a batch is made of, coordinate by coordinate, and how it moves the weights. Kept from step
/// to step for its memory alone: nothing in it means anything between two steps.
#[derive(Debug)]
pub(crate) struct Batch<const L: usize> {
    entries: Vec<Entry>,
    weights: Vec<f64>,
    /// The records' scores, and the derivatives of the loss in them: record by record, output by
    /// output.
    pub(crate) scores: Vec<Lanes<L>>,
    pub(crate) gradients: Vec<Lanes<L>>,
    /// The records' labels, as the learner wants them.
    pub(crate) labels: Vec<f64>,
    /// Their classes (multiclass).
    pub(crate) classes: Vec<usize>,
    steps: Vec<Lanes<L>>,
    /// Change of each record's score (record by record, output by output) for a step of 1.
    pub(crate) kappa: Vec<Lanes<L>>,
    /// Squared Euclidean norm of a step of 1.
    pub(crate) squared: Lanes<L>,
    /// Σ weight · x² / s².
    pub(crate) normalizer: f64,
}

impl<const L: usize> Default for Batch<L> {
    fn default() -> Self {
        Batch {
            entries: Vec::new(),
            weights: Vec::new(),
            scores: Vec::new(),
            gradients: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            steps: Vec::new(),
            kappa: Vec::new(),
            squared: [0.0; L],
            normalizer: 0.0,
        }
    }
}

impl<const L: usize> Batch<L> {
    /// Forgets the records of the step before.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.weights.clear();
        self.scores.clear();
        self.gradients.clear();
        self.labels.clear();
        self.classes.clear();
    }

    /// Adds the features of a record, of which `s` has the dense values after scaling; they are
    /// held within `bound`.
    pub(crate) fn push(&mut self, row: &Row<'_>, s: &Scratch, bound: f64, bias: bool, weight: f64) {
        let record = self.weights.len() as u32;
        let entries = &mut self.entries;
        let mut add = |at, x| {
            let order = entries.len() as u32;
            entries.push(Entry {
                at,
                row: record,
                order,
                x,
            });
        };
        for (j, x) in (0u32..).zip(&s.scaled) {
            let j = s.present.get(j as usize).copied().unwrap_or(j);
            if x.abs() >= SMALLEST_DENSE {
                add(Coordinate::Dense(j), x.clamp(-bound, bound));
            }
        }
        if bias {
            add(Coordinate::Bias, 1.0);
        }
        for (slot, x) in row.index.iter().zip(row.value) {
            if x.abs() >= SMALLEST_HASHED {
                add(Coordinate::Hashed(*slot), f64::from(*x));
            }
        }
        self.weights.push(weight);
    }

    /// Takes the gradients into the accumulators and finds the direction of steepest descent in
    /// their metric.
    pub(crate) fn direct(&mut self, store: &mut impl Store<L>) {
        // In the order of the records within a coordinate, since sums run in it.
        self.entries.sort_unstable_by_key(|e| (e.at, e.order));
        let outputs = store.outputs();
        self.steps.clear();
        self.kappa.clear();
        self.kappa.resize(self.gradients.len(), [0.0; L]);
        self.squared = [0.0; L];
        self.normalizer = 0.0;
        for run in self.entries.chunk_by(|a, b| a.at == b.at) {
            let largest = run.iter().fold(0.0f64, |m, e| m.max(e.x.abs()));
            let scale = store.widen(run[0].at, largest);
            for e in run {
                self.normalizer += self.weights[e.row as usize] * (e.x / scale) * (e.x / scale);
            }
            for output in 0..outputs {
                let (mut sum, mut squares) = ([0.0; L], [0.0; L]);
                for e in run {
                    let g = &self.gradients[e.row as usize * outputs + output];
                    let h = self.weights[e.row as usize];
                    for k in 0..L {
                        sum[k] += h * g[k] * e.x;
                        squares[k] += h * g[k] * g[k] * e.x * e.x;
                    }
                }
                let total = store.accumulate(run[0].at, output, &squares);
                let step = map::<L>(|k| -sum[k] * store.rate(total[k], scale));
                for e in run {
                    let kappa = &mut self.kappa[e.row as usize * outputs + output];
                    for k in 0..L {
                        kappa[k] += e.x * step[k];
                    }
                }
                for k in 0..L {
                    self.squared[k] += step[k] * step[k];
                }
                self.steps.push(step);
            }
        }
    }

    /// Multiplies what a step of 1 changes the scores by.
    pub(crate) fn stretch(&mut self, factor: f64) {
        for kappa in &mut self.kappa {
            *kappa = map(|k| kappa[k] * factor);
        }
    }

    /// The records' weights.
    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Their sum.
    pub(crate) fn total(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// Moves the weights along the direction.
    pub(crate) fn apply(&self, store: &mut impl Store<L>, length: &Lanes<L>) {
        let outputs = store.outputs();
        let mut steps = self.steps.iter();
        for run in self.entries.chunk_by(|a, b| a.at == b.at) {
            for (output, step) in (0..outputs).zip(&mut steps) {
                store.add(run[0].at, output, &map::<L>(|k| length[k] * step[k]));
            }
        }
    }
}

/// Whether a record cannot be learned from: a number in it is not finite or absurdly large.
pub(crate) fn unusable(x: &Row<'_>, weight: f64) -> bool {
    // All are looked at, since that is quicker than to stop at the first.
    let dense = x.dense.iter().fold(false, |any, v| any | v.is_infinite());
    // Finite squares in 32 bits leave room for the gradient.
    let hashed = x.value.iter().fold(true, |all, v| all & (v.abs() <= 1e15));
    dense || !hashed || !(weight > 0.0 && weight <= 1e15)
}

/// Whether a label is a finite number of reasonable size, yes or no, or a class below `classes`.
pub(crate) fn label_unusable(y: Label, classes: usize) -> bool {
    match y {
        Label::Number(y) => y.is_nan() || y.abs() > super::target::LARGEST,
        Label::Binary(_) => false,
        Label::Class(c) => c as usize >= classes,
    }
}
