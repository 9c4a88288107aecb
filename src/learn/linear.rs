//! Vowpal Wabbit's default learner: normalized, adaptive, importance-invariant updates, operation
//! by operation as in its `gd.cc`, so that the same lines give the same predictions.
//!
//! A weight is `[w, G, N, r]`: the weight, Σ g²x², the largest |x|, and the rate of the last step.
//! `initial_t` counts as so many records before the first, of norm 1 and squared gradient 1.
//!
//! Invariant: every number of the model is finite; a record is checked before anything is changed.

use crate::base::{Label, Prediction, Reader, Row, Scratch, StateError, Task, Writer};
use crate::math;

use super::batch::{Batch, unusable};
use super::heavy::Heaviest;
use super::linear_step::rate;
use super::loss;
use super::minibatch::BatchLearner;
use super::scale::Scaler;
use super::table::{Table, place};
use super::{HeavyWeight, Learner, LinearConfig, Link, Loss, Optimizer, Report, Update, WeightAt};

/// Smaller values of |x| have squares that 32-bit floats cannot hold.
pub(super) const SMALLEST: f32 = 1.084_202e-19;
/// Accumulators stop here; 32-bit floats end at 3e38.
pub(super) const LARGEST_SQUARES: f64 = 1e37;
/// Larger labels are refused: their squares would leave the accumulators.
const LARGEST_LABEL: f64 = 1e18;

pub(super) const W: usize = 0;
pub(super) const G: usize = 1;
pub(super) const N: usize = 2;
pub(super) const R: usize = 3;

/// A weight with its accumulators.
pub(super) type Weight = [f32; 4];

/// The learner.
pub(super) struct Linear {
    pub(super) config: LinearConfig,
    task: Task,
    pub(super) scaler: Scaler,
    pub(super) dense: Vec<Weight>,
    pub(super) bias: Weight,
    pub(super) hashed: Table,
    /// Squared norm of the stored weights of the hashed part.
    pub(super) hashed_norm: f64,
    /// Σ weight · x²/N², and Σ weight.
    normalizer: f64,
    pub(super) total: f64,
    /// Range of the labels, in which predictions are held.
    low: f64,
    high: f64,
    /// Penalized weights are `truncate(w, gravity) · contraction`.
    gravity: f64,
    pub(super) contraction: f64,
    /// Working memory of steps from many records.
    pub(super) batch: Batch<1>,
}

impl Linear {
    /// A learner that has seen nothing.
    pub(super) fn new(config: LinearConfig, task: Task, hash_bits: u32) -> Linear {
        let (low, high) = match (config.label_range, config.loss) {
            (Some(range), _) => range,
            (None, Loss::Logistic | Loss::Softmax) => (-50.0, 50.0),
            (None, Loss::Squared | Loss::Hinge | Loss::Quantile { .. }) => (0.0, 0.0),
        };
        Linear {
            task,
            scaler: Scaler::default(),
            dense: Vec::new(),
            bias: [0.0; 4],
            hashed: Table::new(hash_bits, 4),
            hashed_norm: 0.0,
            normalizer: config.initial_t,
            total: config.initial_t,
            low,
            high,
            gravity: 0.0,
            contraction: 1.0,
            batch: Batch::default(),
            config,
        }
    }

    /// Bytes that a learner may come to take.
    pub(super) fn bytes(hash_bits: u32, columns: u64) -> u64 {
        Table::bytes(hash_bits, 4) + columns * (16 + Scaler::COLUMN_BYTES)
    }

    /// The label as the loss function sees it.
    pub(super) fn target(&self, y: Label) -> Option<f64> {
        let unit = self.config.loss == Loss::Squared && self.config.link == Link::Logistic;
        match (y, self.task) {
            (Label::Number(y), Task::Regression) => {
                let fits = y.abs() <= LARGEST_LABEL;
                fits.then_some(match self.config.loss {
                    Loss::Squared | Loss::Quantile { .. } => y,
                    _ if y > 0.0 => 1.0,
                    _ => -1.0,
                })
            }
            (Label::Binary(y), Task::Binary) => Some(match (y, unit) {
                (true, _) => 1.0,
                (false, true) => 0.0,
                (false, false) => -1.0,
            }),
            _ => None,
        }
    }

    fn penalized(&self) -> bool {
        self.config.l1 > 0.0 || self.config.l2 > 0.0
    }

    /// A penalized weight as it counts.
    fn effective(&self, w: f32) -> f64 {
        let w = f64::from(w);
        if self.penalized() {
            (w.abs() - self.gravity).max(0.0).copysign(w) * self.contraction
        } else {
            w
        }
    }

    fn score(&self, x: &Row<'_>, s: &Scratch) -> f64 {
        let mut p = x.base * self.contraction;
        if s.present.is_empty() {
            for (weight, x) in self.dense.iter().zip(&s.scaled) {
                p += self.effective(weight[W]) * f64::from(*x as f32);
            }
        }
        for (j, x) in s.present.iter().zip(&s.scaled) {
            // A column that is new has no weight yet.
            if let Some(weight) = self.dense.get(*j as usize) {
                p += self.effective(weight[W]) * f64::from(*x as f32);
            }
        }
        let rows = self.hashed.rows::<4>();
        let count = rows.len();
        if self.penalized() {
            for (slot, x) in x.index.iter().zip(x.value) {
                p += self.effective(rows[place(*slot, count)][W]) * f64::from(*x);
            }
        } else {
            for (slot, x) in x.index.iter().zip(x.value) {
                p += f64::from(rows[place(*slot, count)][W] * x);
            }
        }
        p += f64::from(self.bias[W]);
        if p.is_nan() { 0.0 } else { p }
    }

    /// A score held in the range of the labels, `y` among them.
    pub(super) fn held_in(&self, score: f64, y: Option<f64>) -> f64 {
        let (low, high) = match y {
            Some(y) if self.range_widens() => (self.low.min(y), self.high.max(y)),
            _ => (self.low, self.high),
        };
        score.max(low).min(high)
    }

    fn prediction(&self, score: f64, decay: f64) -> Prediction {
        let value = match (self.config.link, self.config.loss) {
            (Link::Identity, _) | (Link::Logistic, Loss::Squared) => score,
            (Link::Logistic, Loss::Logistic | Loss::Softmax) => loss::probability(score, decay),
            (Link::Logistic, _) => math::sigmoid(score),
        };
        Prediction { value, class: 0 }
    }

    /// Whether labels widen the range of the predictions.
    fn range_widens(&self) -> bool {
        let bounded = matches!(self.config.loss, Loss::Logistic | Loss::Softmax);
        self.config.label_range.is_none() && !bounded
    }

    /// Widens the range of the labels.
    pub(super) fn see(&mut self, y: f64) {
        if self.range_widens() {
            self.low = self.low.min(y);
            self.high = self.high.max(y);
        }
    }

    pub(super) fn widen_to(&mut self, width: usize) {
        if self.dense.len() < width {
            self.dense.resize(width, [0.0; 4]);
        }
    }

    /// Counts a step; returns what normalized steps are to be multiplied by.
    pub(super) fn count(&mut self, normalizer: f64, weight: f64) -> f64 {
        self.normalizer += normalizer;
        self.total += weight;
        if self.config.power_t == 0.5 {
            (self.total / self.normalizer).sqrt()
        } else {
            math::pow(self.normalizer / self.total, self.config.power_t - 1.0)
        }
    }

    /// A weight's rate: 1/(√G·N), or G^−p·N^(2p−2).
    pub(super) fn rate(&self, total: f32, scale: f32) -> f32 {
        rate(
            self.config.power_t,
            total + self.config.initial_t as f32,
            scale,
        )
    }

    /// Notes what the penalties took during a step of this length, in units of the gradient.
    pub(super) fn penalize(&mut self, length: f64) {
        if !self.penalized() {
            return;
        }
        // One step never takes all: the weights would lose their sign.
        self.contraction *= (1.0 - self.config.l2 * length).max(1e-3);
        self.gravity += self.config.l1 * length;
    }

    /// Writes the penalties into the weights before their bookkeeping loses digits.
    pub(super) fn settle(&mut self) {
        if self.contraction >= 1e-9 && self.gravity <= 1e3 {
            return;
        }
        let (gravity, contraction) = (self.gravity, self.contraction);
        let pay = |w: f32| {
            let w = f64::from(w);
            ((w.abs() - gravity).max(0.0).copysign(w) * contraction) as f32
        };
        for weight in &mut self.dense {
            weight[W] = pay(weight[W]);
        }
        let mut norm = 0.0;
        self.hashed.for_each_used(N, |row| {
            row[W] = pay(row[W]);
            norm += f64::from(row[W]) * f64::from(row[W]);
        });
        self.hashed_norm = norm;
        self.gravity = 0.0;
        self.contraction = 1.0;
    }
}

impl Learner for Linear {
    fn predict_one(&self, x: Row<'_>, s: &mut Scratch) -> Prediction {
        if self.config.optimizer == Optimizer::SgdInRange {
            self.scaler.scale(x.dense, x.columns, &mut s.scaled);
        } else {
            self.scaler.scale_present(&x, s);
        }
        let score = self.score(&x, s);
        s.raw.clear();
        let held = self.held_in(score, None);
        // The exponential of the score is needed for its loss and the step, too.
        let decay = loss::decay(self.config.loss, held);
        s.raw.extend_from_slice(&[score, decay]);
        self.prediction(held, decay)
    }

    fn labelled(&self, prediction: Prediction, y: Label, s: &Scratch) -> Prediction {
        if !self.range_widens() {
            return prediction;
        }
        match (self.target(y), s.raw.first()) {
            // Where the range widens, no loss has a decay.
            (Some(y), Some(score)) => self.prediction(self.held_in(*score, Some(y)), 0.0),
            _ => prediction,
        }
    }

    fn loss(&self, prediction: &Prediction, y: Label, s: &Scratch) -> f64 {
        let Some(y) = self.target(y) else {
            return 0.0;
        };
        let score = match (self.config.link, self.config.loss) {
            (Link::Logistic, Loss::Logistic) => {
                self.held_in(s.raw.first().copied().unwrap_or_default(), None)
            }
            _ => prediction.value,
        };
        match s.raw.get(1) {
            Some(decay) => loss::value_of(self.config.loss, score, y, *decay),
            None => loss::value(self.config.loss, score, y),
        }
    }

    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update {
        let too_large = s.scaled.iter().fold(false, |any, z| any | (z.abs() > 1e15));
        let (Some(target), Some(score)) = (self.target(y), s.raw.first().copied()) else {
            return Update::NonFinite;
        };
        if too_large || self.refuses(&x, y, weight) {
            return Update::NonFinite;
        }
        self.widen_to(x.dense.len());
        self.see(target);
        let p = self.held_in(score, None);
        let norm = if self.config.optimizer == Optimizer::SgdInRange {
            self.plain_step(&x, &s.scaled, p, target, weight)
        } else {
            Some(self.step(&x, s, p, target, weight))
        };
        self.scaler.learn_present(x.dense, &s.present);
        norm.map_or(Update::NonFinite, |norm| Update::Learned { norm })
    }

    fn report(&self) -> Report {
        let dense = self.dense.iter().map(|w| self.effective(w[W]));
        let squares: f64 = dense.map(|w| w * w).sum();
        let hashed = self.hashed_norm.max(0.0) * self.contraction * self.contraction;
        let bias = f64::from(self.bias[W]);
        Report {
            learning_rate: self.rate_now(),
            lanes: Vec::new(),
            weight_norm: (squares + hashed + bias * bias).sqrt(),
        }
    }

    fn heaviest(&self, n: usize) -> Vec<HeavyWeight> {
        let mut heavy = Heaviest::new(n);
        for (j, w) in self.dense.iter().enumerate() {
            heavy.offer(WeightAt::Dense(j as u32), 0, self.effective(w[W]));
        }
        for (slot, row) in self.hashed.used(N) {
            heavy.offer(WeightAt::Hashed(slot), 0, self.effective(row[W]));
        }
        heavy.offer(WeightAt::Bias, 0, f64::from(self.bias[W]));
        heavy.finish()
    }

    fn save(&self, out: &mut Writer) {
        self.scaler.save(out);
        let cells = self.dense.iter().chain([&self.bias]);
        let flat: Vec<f32> = cells.flat_map(|w| w[..R].iter().copied()).collect();
        out.f32s("dense", &flat);
        self.hashed.save("hashed", N, out);
        out.f64s(
            "totals",
            &[
                self.normalizer,
                self.total,
                self.low,
                self.high,
                self.gravity,
                self.contraction,
                self.hashed_norm,
            ],
        );
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.scaler.load(from)?;
        let flat = from.f32s("dense")?;
        let (cells, rest) = flat.as_chunks::<3>();
        let sane = |c: &[f32]| c.iter().all(|x| x.is_finite()) && c[G] >= 0.0 && c[N] >= 0.0;
        if !rest.is_empty() || cells.is_empty() || !cells.iter().all(|c| sane(c)) {
            return Err(from.invalid("dense", "not whole finite weights"));
        }
        let mut cells: Vec<Weight> = cells.iter().map(|c| [c[W], c[G], c[N], 0.0]).collect();
        self.bias = cells.pop().unwrap_or_default();
        self.dense = cells;
        self.hashed.load("hashed", N, from)?;
        if !self.hashed.used(N).all(|(_, row)| sane(row)) {
            return Err(from.invalid("hashed", "a negative accumulator"));
        }
        let t = from.f64s_of("totals", 7)?;
        let positive = t[0] >= 0.0 && t[1] >= 0.0 && t[4] >= 0.0 && t[5] > 0.0;
        if t.iter().any(|x| !x.is_finite()) || !positive || t[2] > t[3] {
            return Err(from.invalid("totals", "makes no sense"));
        }
        (self.normalizer, self.total, self.low, self.high) = (t[0], t[1], t[2], t[3]);
        (self.gravity, self.contraction, self.hashed_norm) = (t[4], t[5], t[6]);
        Ok(())
    }
}

impl Linear {
    pub(super) fn unusable(&self, x: &Row<'_>, y: Label, weight: f64) -> bool {
        self.target(y).is_none() || unusable(x, weight)
    }

    /// The place of a weight by coordinate, for steps from many records.
    pub(super) fn place(&mut self, at: super::batch::Coordinate) -> &mut Weight {
        use super::batch::Coordinate;
        match at {
            Coordinate::Dense(j) => &mut self.dense[j as usize],
            Coordinate::Bias => &mut self.bias,
            Coordinate::Hashed(slot) => self.hashed.row_mut(slot),
        }
    }

    /// Adds squared gradients to a weight's accumulator; returns the accumulator.
    pub(super) fn accumulate_at(w: &mut Weight, squares: f64) -> f32 {
        w[G] = (f64::from(w[G]) + squares).min(LARGEST_SQUARES) as f32;
        w[G]
    }
}
