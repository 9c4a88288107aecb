//! One normalized-adaptive step from many records: gradients are summed for each weight, the
//! accumulators take in the sum of their squares, and the step along the resulting direction is
//! as long as the learning rate asks, but never beyond the best point of the batch on it.
//!
//! Invariant: a batch of one record gives the online step.

use crate::base::{Label, Row};

use super::lanes::{Lanes, map};
use super::minibatch::HeldRows;

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
struct Entry {
    at: Coordinate,
    row: u32,
    x: f64,
}

/// What a batch is made of, coordinate by coordinate.
pub(crate) struct Batch {
    entries: Vec<Entry>,
    weights: Vec<f64>,
}

/// How a batch moved the weights.
pub(crate) struct Direction<const L: usize> {
    steps: Vec<Lanes<L>>,
    /// Change of each record's score (record by record, output by output) for a step of 1.
    pub(crate) kappa: Vec<Lanes<L>>,
    /// Squared Euclidean norm of a step of 1.
    pub(crate) squared: Lanes<L>,
    /// Σ weight · x² / s².
    pub(crate) normalizer: f64,
}

impl Batch {
    /// Collects the features of the rows; `scaled` are their dense values after scaling, row by row.
    pub(crate) fn new(rows: &HeldRows, scaled: &[Vec<f64>], bias: bool) -> Batch {
        let mut entries = Vec::new();
        let mut weights = Vec::new();
        for (i, (row, _, weight)) in rows.iter().enumerate() {
            let row_number = i as u32;
            let dense = scaled[i].iter().enumerate();
            let dense = dense.filter(|(_, x)| x.abs() >= SMALLEST_DENSE);
            entries.extend(dense.map(|(j, x)| Entry {
                at: Coordinate::Dense(j as u32),
                row: row_number,
                x: *x,
            }));
            entries.extend(bias.then_some(Entry {
                at: Coordinate::Bias,
                row: row_number,
                x: 1.0,
            }));
            let hashed = row.index.iter().zip(row.value);
            let hashed = hashed.filter(|(_, x)| x.abs() >= SMALLEST_HASHED);
            entries.extend(hashed.map(|(slot, x)| Entry {
                at: Coordinate::Hashed(*slot),
                row: row_number,
                x: f64::from(*x),
            }));
            weights.push(weight);
        }
        // Stable, so that sums run in the order of the records.
        entries.sort_by_key(|e| e.at);
        Batch { entries, weights }
    }

    /// Takes the gradients (record by record, output by output) into the accumulators and gives
    /// the direction of steepest descent in their metric.
    pub(crate) fn direction<const L: usize>(
        &self,
        store: &mut impl Store<L>,
        gradients: &[Lanes<L>],
    ) -> Direction<L> {
        let outputs = store.outputs();
        let mut d = Direction {
            steps: Vec::new(),
            kappa: vec![[0.0; L]; gradients.len()],
            squared: [0.0; L],
            normalizer: 0.0,
        };
        for run in self.entries.chunk_by(|a, b| a.at == b.at) {
            let largest = run.iter().fold(0.0f64, |m, e| m.max(e.x.abs()));
            let scale = store.widen(run[0].at, largest);
            for e in run {
                d.normalizer += self.weights[e.row as usize] * (e.x / scale) * (e.x / scale);
            }
            for output in 0..outputs {
                let (mut sum, mut squares) = ([0.0; L], [0.0; L]);
                for e in run {
                    let g = &gradients[e.row as usize * outputs + output];
                    let h = self.weights[e.row as usize];
                    for k in 0..L {
                        sum[k] += h * g[k] * e.x;
                        squares[k] += h * g[k] * g[k] * e.x * e.x;
                    }
                }
                let total = store.accumulate(run[0].at, output, &squares);
                let step = map::<L>(|k| -sum[k] * store.rate(total[k], scale));
                for e in run {
                    let kappa = &mut d.kappa[e.row as usize * outputs + output];
                    for k in 0..L {
                        kappa[k] += e.x * step[k];
                    }
                }
                for k in 0..L {
                    d.squared[k] += step[k] * step[k];
                }
                d.steps.push(step);
            }
        }
        d
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
    pub(crate) fn apply<const L: usize>(
        &self,
        store: &mut impl Store<L>,
        direction: &Direction<L>,
        length: &Lanes<L>,
    ) {
        let outputs = store.outputs();
        let mut steps = direction.steps.iter();
        for run in self.entries.chunk_by(|a, b| a.at == b.at) {
            for (output, step) in (0..outputs).zip(&mut steps) {
                store.add(run[0].at, output, &map::<L>(|k| length[k] * step[k]));
            }
        }
    }
}

/// Whether a record cannot be learned from: a number in it is not finite or absurdly large.
pub(crate) fn unusable(x: &Row<'_>, weight: f64) -> bool {
    let dense = x.dense.iter().any(|v| v.is_infinite());
    // Finite squares in 32 bits leave room for the gradient.
    let hashed = x.value.iter().all(|v| v.abs() <= 1e15);
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
