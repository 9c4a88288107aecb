//! The default learner for quantities and for yes or no: normalized-adaptive updates (Ross,
//! Mineiro & Langford 2013, "Normalized online learning", algorithm NAG) at four learning rates
//! side by side, mixed by how well each predicts.
//!
//! Steps are implicit: the gradient is taken at the prediction after the step, so that no lane
//! ever overshoots a label (Karampatziakis & Langford 2011; Kulis & Bartlett 2010).
//!
//! Invariant: every weight is finite. A record is checked before anything is changed; for checked
//! records no step can overflow, since it moves a score at most to its label.

use crate::base::{Label, Prediction, Reader, Row, Scratch, StateError, Task, Writer};

use super::batch::Batch;
use super::heavy::Heaviest;
use super::lanes::{Lanes, exp, ln, map, sigmoid};
use super::minibatch::BatchLearner;
use super::mixture::{Mixture, RATES};
use super::scale::Scaler;
use super::table::{Table, place};
use super::target::Target;
use super::{HeavyWeight, Learner, Report, Update, WeightAt};

/// No lane claims more certainty than this, so that the mixture can always recover.
const CERTAIN: f64 = 1.0 - 1e-4;
/// A lane with a smaller gradient does not move: its square would underflow.
pub(super) const SMALLEST_GRADIENT: f64 = 1e-15;
/// Accumulators stop here; 32-bit floats end at 3e38.
pub(super) const LARGEST_SQUARES: f32 = 1e37;
/// Accumulators count as at least this much when they are divided by.
pub(super) const SMALLEST_SQUARES: f32 = 1.2e-38;
/// The residuals' variance fades over about this many records.
const FADE: f64 = 1e-3;

/// Entries of a row of the hashed part: four weights, four accumulators, the scale.
pub(super) const ROW: usize = 16;
pub(super) const SCALE: usize = 8;

/// A dense weight: lanes, accumulators (Σ g²x²), scale (max |x|).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) w: Lanes<4>,
    pub(super) g: Lanes<4>,
    pub(super) s: f64,
}

/// The race for one score.
pub(super) struct Race {
    task: Task,
    scaler: Scaler,
    pub(super) dense: Vec<Cell>,
    pub(super) bias: Cell,
    pub(super) hashed: Table,
    /// Squared norms of the hashed part, lane by lane.
    pub(super) hashed_norm: Lanes<4>,
    /// Σ weight · x²/s², and Σ weight, over records learned.
    normalizer: f64,
    total: f64,
    mixture: Mixture<4>,
    target: Target,
    /// Variance of the mixture's residuals, in squared units of the weights.
    variance: f64,
    judged: f64,
    /// Working memory of steps from many records.
    pub(super) batch: Batch<4>,
}

impl Race {
    /// A race that has seen nothing.
    pub(super) fn new(task: Task, hash_bits: u32) -> Race {
        Race {
            task,
            scaler: Scaler::default(),
            dense: Vec::new(),
            bias: Cell::default(),
            hashed: Table::new(hash_bits, ROW),
            hashed_norm: [0.0; 4],
            normalizer: 0.0,
            total: 0.0,
            mixture: Mixture::new(RATES),
            target: Target::default(),
            variance: 1.0,
            judged: 0.0,
            batch: Batch::default(),
        }
    }

    /// Bytes that a race may come to take.
    pub(super) fn bytes(hash_bits: u32, columns: u64) -> u64 {
        Table::bytes(hash_bits, ROW)
            + columns * (size_of::<Cell>() as u64 + Scaler::COLUMN_BYTES)
            + size_of::<Race>() as u64
    }

    pub(super) fn regression(&self) -> bool {
        self.task == Task::Regression
    }

    /// The lanes' scores: dense columns first, then the hashed part, then the bias.
    #[inline(always)]
    fn scores(&self, x: &Row<'_>, s: &Scratch) -> Lanes<4> {
        let unit = if self.regression() {
            self.target.unit()
        } else {
            1.0
        };
        let mut p = [x.base / unit; 4];
        if s.present.is_empty() {
            for (cell, x) in self.dense.iter().zip(&s.scaled) {
                for k in 0..4 {
                    p[k] += cell.w[k] * x;
                }
            }
        }
        for (j, x) in s.present.iter().zip(&s.scaled) {
            // A column that is new has no weight yet.
            if let Some(cell) = self.dense.get(*j as usize) {
                for k in 0..4 {
                    p[k] += cell.w[k] * x;
                }
            }
        }
        let rows = self.hashed.rows::<ROW>();
        let count = rows.len();
        for (slot, x) in x.index.iter().zip(x.value) {
            let row = &rows[place(*slot, count)];
            for k in 0..4 {
                p[k] += f64::from(row[k] * x);
            }
        }
        for k in 0..4 {
            p[k] += self.bias.w[k];
            // Only a row that will be refused can make a score that is not a number.
            p[k] = if p[k].is_nan() { 0.0 } else { p[k] };
        }
        p
    }

    /// What the lanes predict: clamped probabilities, or scores inside the range of the labels.
    #[inline(always)]
    fn lanes(&self, scores: &Lanes<4>) -> Lanes<4> {
        if self.regression() {
            let t = &self.target;
            map(|k| t.to_score(t.to_label(scores[k])))
        } else {
            let p = sigmoid(*scores);
            map(|k| p[k].clamp(1.0 - CERTAIN, CERTAIN))
        }
    }

    /// Judges the lanes: mixing weights, their losses, the variance. `y` is a score or 0/1.
    #[inline(always)]
    pub(super) fn judge(&mut self, lanes: &Lanes<4>, y: f64, weight: f64) {
        if self.regression() {
            let squares = map::<4>(|k| (lanes[k] - y) * (lanes[k] - y));
            let least = squares.iter().fold(f64::INFINITY, |a, b| a.min(*b));
            let spread = 2.0 * self.variance + 1e-12;
            let likelihood = exp(map::<4>(|k| {
                -(weight * (squares[k] - least) / spread).min(50.0)
            }));
            let residual = self.mixture.mix(lanes) - y;
            self.mixture.observe(&likelihood, &squares);
            self.judged += 1.0;
            let a = (1.0 / self.judged).max(FADE);
            self.variance += a * (residual * residual - self.variance);
        } else {
            let likelihood = map::<4>(|k| if y > 0.5 { lanes[k] } else { 1.0 - lanes[k] });
            let losses = ln(likelihood);
            let losses = map::<4>(|k| -losses[k]);
            let powered = if weight == 1.0 {
                likelihood
            } else {
                exp(map::<4>(|k| -(weight * losses[k]).min(50.0)))
            };
            self.mixture.observe(&powered, &losses);
        }
    }

    /// The derivative of each lane's loss in its score; 0 where it is too small to be used.
    #[inline(always)]
    pub(super) fn gradients(&self, scores: &Lanes<4>, lanes: &Lanes<4>, y: f64) -> Lanes<4> {
        let g: Lanes<4> = if self.regression() {
            map(|k| 2.0 * (lanes[k] - y))
        } else {
            let sign = 2.0 * y - 1.0;
            let p = sigmoid(map::<4>(|k| -sign * scores[k]));
            map(|k| -sign * p[k])
        };
        map(|k| {
            if g[k].abs() < SMALLEST_GRADIENT {
                0.0
            } else {
                g[k]
            }
        })
    }

    /// Counts a step; returns what normalized steps are to be multiplied by.
    pub(super) fn count(&mut self, normalizer: f64, weight: f64) -> f64 {
        self.normalizer += normalizer;
        self.total += weight;
        (self.total / self.normalizer).sqrt()
    }

    /// The mean of the lanes' norms, in units of the label.
    pub(super) fn mix_norms(&self, norms: &Lanes<4>) -> f64 {
        self.mixture.mix(norms) * self.target.unit()
    }

    /// The lanes' learning rates, as the size of the target asks.
    pub(super) fn rates(&self) -> Lanes<4> {
        let factor = if self.regression() {
            self.target.rate()
        } else {
            1.0
        };
        map(|k| factor * RATES[k])
    }

    /// Multiplies every weight by a factor, and the accumulators by its square.
    fn rescale(&mut self, factor: f64) {
        let dense = self.dense.iter_mut();
        for cell in dense.chain(std::iter::once(&mut self.bias)) {
            for k in 0..4 {
                cell.w[k] *= factor;
                cell.g[k] *= factor * factor;
            }
        }
        let (f, f2) = (factor as f32, (factor * factor) as f32);
        let mut norm = [0.0; 4];
        self.hashed.for_each_used(SCALE, |row| {
            for k in 0..4 {
                row[k] *= f;
                row[4 + k] = (row[4 + k] * f2).min(LARGEST_SQUARES);
                norm[k] += f64::from(row[k]) * f64::from(row[k]);
            }
        });
        self.hashed_norm = norm;
        self.variance *= factor * factor;
        self.mixture.rescale(factor * factor);
    }

    /// The label as a score (regression) or as 0 or 1.
    pub(super) fn score_of(&self, y: Label) -> f64 {
        match y {
            Label::Number(y) => self.target.to_score(self.target.tame(y)),
            Label::Binary(y) => f64::from(u8::from(y)),
            Label::Class(_) => 0.0,
        }
    }

    /// Takes the label and the dense values into the statistics.
    pub(super) fn remember(&mut self, x: &Row<'_>, present: &[u32], y: Label) {
        if let Label::Number(y) = y
            && let Some(factor) = self.target.learn(self.target.tame(y))
        {
            self.rescale(factor);
        }
        self.scaler.learn_present(x.dense, present);
    }

    pub(super) fn widen_to(&mut self, width: usize) {
        if self.dense.len() < width {
            self.dense.resize(width, Cell::default());
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.regression() && !self.target.warm()
    }
}

impl Learner for Race {
    fn predict_one(&self, x: Row<'_>, s: &mut Scratch) -> Prediction {
        self.scaler.scale_present(&x, s);
        let scores = self.scores(&x, s);
        let lanes = self.lanes(&scores);
        s.raw.clear();
        s.raw.extend_from_slice(&scores);
        s.raw.extend_from_slice(&lanes);
        let mixed = self.mixture.mix(&lanes);
        let value = if self.idle() {
            self.target.mean()
        } else if self.regression() {
            mixed * self.target.unit() + self.target.offset()
        } else {
            mixed
        };
        Prediction { value, class: 0 }
    }

    fn loss(&self, prediction: &Prediction, y: Label, _: &Scratch) -> f64 {
        match y {
            Label::Number(y) => (prediction.value - y) * (prediction.value - y),
            Label::Binary(true) => -crate::math::ln(prediction.value),
            Label::Binary(false) => -crate::math::ln_1p(-prediction.value),
            Label::Class(_) => 0.0,
        }
    }

    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update {
        let too_large = s
            .scaled
            .iter()
            .fold(false, |any, z| any | (z.abs() > 1e100));
        if too_large || self.refuses(&x, y, weight) {
            return Update::NonFinite;
        }
        let (Some(scores), Some(lanes)) = (s.raw.first_chunk(), s.raw.last_chunk()) else {
            return Update::NonFinite;
        };
        let (scores, lanes) = (*scores, *lanes);
        let mut norm = 0.0;
        if !self.idle() {
            self.widen_to(x.dense.len());
            let target = self.score_of(y);
            self.judge(&lanes, target, weight);
            norm = self.step(&x, s, (&scores, &lanes), target, weight);
        }
        self.remember(&x, &s.present, y);
        Update::Learned { norm }
    }

    fn report(&self) -> Report {
        let mut norm = self.hashed_norm;
        for cell in self.dense.iter().chain([&self.bias]) {
            for k in 0..4 {
                norm[k] += cell.w[k] * cell.w[k];
            }
        }
        let unit = self.target.unit();
        let norm = map::<4>(|k| norm[k].max(0.0).sqrt());
        Report {
            learning_rate: self.mixture.rate(),
            lanes: self.mixture.report(unit * unit),
            weight_norm: self.mixture.mix(&norm) * unit,
        }
    }

    fn heaviest(&self, n: usize) -> Vec<HeavyWeight> {
        let mut heavy = Heaviest::new(n);
        let unit = self.target.unit();
        for (j, cell) in self.dense.iter().enumerate() {
            heavy.offer(
                WeightAt::Dense(j as u32),
                0,
                self.mixture.mix(&cell.w) * unit,
            );
        }
        for (slot, row) in self.hashed.used(SCALE) {
            let w = map::<4>(|k| f64::from(row[k]));
            heavy.offer(WeightAt::Hashed(slot), 0, self.mixture.mix(&w) * unit);
        }
        let bias = self.mixture.mix(&self.bias.w) * unit + self.target.offset();
        heavy.offer(WeightAt::Bias, 0, bias);
        heavy.finish()
    }

    fn save(&self, out: &mut Writer) {
        self.scaler.save(out);
        let cells = self.dense.iter().chain([&self.bias]);
        let flat: Vec<f64> = cells
            .flat_map(|c| c.w.into_iter().chain(c.g).chain([c.s]))
            .collect();
        out.f64s("dense", &flat);
        self.hashed.save("hashed", SCALE, out);
        out.f64s("hashed_norm", &self.hashed_norm);
        out.f64s(
            "totals",
            &[self.normalizer, self.total, self.variance, self.judged],
        );
        self.mixture.save(out);
        self.target.save(out);
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.scaler.load(from)?;
        let flat = from.f64s("dense")?;
        let (cells, rest) = flat.as_chunks::<9>();
        if !rest.is_empty() || cells.is_empty() || flat.iter().any(|x| !x.is_finite()) {
            return Err(from.invalid("dense", "not whole finite weights"));
        }
        let mut cells: Vec<Cell> = cells
            .iter()
            .map(|c| Cell {
                w: [c[0], c[1], c[2], c[3]],
                g: [c[4], c[5], c[6], c[7]],
                s: c[8],
            })
            .collect();
        if cells
            .iter()
            .any(|c| c.s < 0.0 || c.g.iter().any(|g| *g < 0.0))
        {
            return Err(from.invalid("dense", "a negative scale or accumulator"));
        }
        self.bias = cells.pop().unwrap_or_default();
        self.dense = cells;
        self.hashed.load("hashed", SCALE, from)?;
        if self
            .hashed
            .used(SCALE)
            .any(|(_, row)| row[4..8].iter().any(|g| *g < 0.0))
        {
            return Err(from.invalid("hashed", "a negative accumulator"));
        }
        let norm = from.f64s_of("hashed_norm", 4)?;
        let totals = from.f64s_of("totals", 4)?;
        if totals.iter().any(|x| !(x.is_finite() && *x >= 0.0)) {
            return Err(from.invalid("totals", "not sums of squares"));
        }
        if norm.iter().any(|x| !x.is_finite()) {
            return Err(from.invalid("hashed_norm", "not finite"));
        }
        self.hashed_norm.copy_from_slice(norm);
        self.normalizer = totals[0];
        self.total = totals[1];
        self.variance = totals[2];
        self.judged = totals[3];
        self.mixture.load(from)?;
        self.target.load(from)
    }
}
