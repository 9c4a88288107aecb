//! Plain stochastic gradient descent on squared, logistic or softmax loss (Bottou 2010), with the
//! rate `learning_rate · t^−power_t`. It diverges where the rate is too high, as in the books.
//!
//! Invariant: every weight is finite: a step that would take one beyond a bound is refused whole.

use crate::base::{Label, Prediction, Reader, Row, Scratch, StateError, Task, Writer};
use crate::math;

use super::batch::{label_unusable, unusable};
use super::classes;
use super::heavy::Heaviest;
use super::loss;
use super::minibatch::{BatchLearner, HeldRows};
use super::penalty::Penalty;
use super::scale::Scaler;
use super::sheet::Sheet;
use super::{
    HeavyWeight, Learner, LearnerContext, LinearConfig, Link, Loss, Report, Update, WeightAt,
};

/// No weight is larger; a step that needs more has diverged.
const LARGEST: f64 = 1e30;
/// Scores are cut here, so that their squares are finite.
const LARGEST_SCORE: f64 = 1e100;

/// The learner.
pub(super) struct Sgd {
    config: LinearConfig,
    task: Task,
    max_classes: usize,
    scaler: Scaler,
    sheet: Sheet,
    hashed_norm: f64,
    penalty: Penalty,
    t: f64,
    records: f64,
    /// Working memory of steps from many records: the steps of all of them, then their scaled
    /// values, record after record.
    held_steps: Vec<f64>,
    held_scaled: Vec<f64>,
}

impl Sgd {
    /// A learner that has seen nothing.
    pub(super) fn new(config: LinearConfig, context: &LearnerContext) -> Sgd {
        let mut sheet = Sheet::new(context.hash_bits, 1);
        if context.task != Task::Multiclass {
            sheet.grow(1, 0);
        }
        Sgd {
            task: context.task,
            max_classes: context.max_classes,
            scaler: Scaler::default(),
            sheet,
            hashed_norm: 0.0,
            penalty: Penalty::new(config.l1, config.l2, context.hash_bits),
            t: config.initial_t,
            records: 0.0,
            held_steps: Vec::new(),
            held_scaled: Vec::new(),
            config,
        }
    }

    fn multiclass(&self) -> bool {
        self.task == Task::Multiclass
    }

    /// The label of a single score: a number, or −1 or 1 for yes or no (0 or 1 where a squared loss
    /// is to give a probability).
    fn target(&self, y: Label) -> f64 {
        match y {
            Label::Number(y) => y,
            Label::Binary(true) => 1.0,
            Label::Binary(false) if self.probability_of_square() => 0.0,
            Label::Binary(false) | Label::Class(_) => -1.0,
        }
    }

    fn probability_of_square(&self) -> bool {
        self.config.loss == Loss::Squared && self.config.link == Link::Logistic
    }

    /// The rate of the next step.
    fn rate(&self) -> f64 {
        let t = self.t.max(1.0);
        self.config.learning_rate * math::pow(t, -self.config.power_t)
    }

    fn scores(&self, x: &Row<'_>, scaled: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.resize(self.sheet.outputs(), x.base);
        for (j, (strip, x)) in self.sheet.dense.iter().zip(scaled).enumerate() {
            for (score, w) in out.iter_mut().zip(&strip.blocks) {
                *score += self.penalty.dense(j, *w) * x;
            }
        }
        for (slot, x) in x.index.iter().zip(x.value) {
            self.sheet.hashed(*slot, |output, block| {
                out[output] += self.penalty.hashed(*slot, f64::from(block[0])) * f64::from(*x);
            });
        }
        for (score, w) in out.iter_mut().zip(&self.sheet.bias.blocks) {
            let p = *score + w;
            *score = if p.is_nan() {
                0.0
            } else {
                p.clamp(-LARGEST_SCORE, LARGEST_SCORE)
            };
        }
    }

    /// Turns scores into the derivatives of the loss.
    fn gradients(&self, scores: &mut [f64], y: Label) {
        if let (true, Label::Class(class)) = (self.multiclass(), y) {
            softmax(scores);
            scores[class as usize] -= 1.0;
        } else {
            scores[0] = loss::derivative(self.config.loss, scores[0], self.target(y));
        }
    }

    /// Makes room for a class not seen before, as likely as one record of all those so far.
    fn discover(&mut self, y: Label, x: &Row<'_>, s: &mut Scratch) {
        let Label::Class(class) = y else { return };
        let known = self.sheet.outputs();
        if (class as usize) < known {
            return;
        }
        let most = s.raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = s.raw.iter().map(|z| math::exp(z - most)).sum();
        let start = if known == 0 {
            0.0
        } else {
            most + math::ln(sum) - math::ln(self.records + 1.0)
        };
        self.sheet.grow(class as usize + 1, x.dense.len());
        if self.config.bias {
            self.sheet.bias.blocks[known..].fill(start.clamp(-LARGEST, LARGEST));
        }
        self.scores(x, &s.scaled, &mut s.raw);
    }

    /// Adds `step · g` to the weights; `true` if none would leave the bound. Changes only on
    /// `commit`.
    fn walk(&mut self, x: &Row<'_>, scaled: &[f64], steps: &[f64], commit: bool) -> bool {
        let mut fine = true;
        let mut norm = 0.0;
        let columns = self.sheet.dense.iter_mut().zip(scaled).enumerate();
        for (j, (strip, x)) in columns.filter(|(_, (_, x))| **x != 0.0) {
            for (w, step) in strip.blocks.iter_mut().zip(steps) {
                let new = self.penalty.dense(j, *w) + step * x;
                fine &= new.abs() <= LARGEST;
                *w = if commit { new } else { *w };
            }
            if commit {
                self.penalty.note_dense(j);
            }
        }
        for (slot, x) in x.index.iter().zip(x.value) {
            let penalty = &self.penalty;
            self.sheet.hashed_mut(*slot, |output, block| {
                let old = f64::from(block[0]);
                let new = penalty.hashed(*slot, old) + steps[output] * f64::from(*x);
                fine &= new.abs() <= LARGEST;
                if commit {
                    block[0] = new as f32;
                    let new = f64::from(block[0]);
                    norm += (new - old) * (new + old);
                }
            });
            if commit {
                self.sheet.scales.row_mut::<1>(*slot)[0] = 1.0;
                self.penalty.settle_hashed(*slot);
            }
        }
        if self.config.bias {
            for (w, step) in self.sheet.bias.blocks.iter_mut().zip(steps) {
                let new = *w + step;
                fine &= new.abs() <= LARGEST;
                *w = if commit { new } else { *w };
            }
        }
        self.hashed_norm += norm;
        fine
    }
}

/// The softmax in place.
fn softmax(scores: &mut [f64]) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for z in &mut *scores {
        *z = math::exp(*z - most);
        total += *z;
    }
    for z in scores {
        *z /= total;
    }
}

/// Squared Euclidean norm of a row's features, the bias's 1 among them.
fn squared_norm(x: &Row<'_>, scaled: &[f64], bias: bool) -> f64 {
    let dense: f64 = scaled.iter().map(|z| z * z).sum();
    let hashed = x.value.iter().map(|v| f64::from(*v) * f64::from(*v));
    dense + hashed.sum::<f64>() + f64::from(u8::from(bias))
}

impl Learner for Sgd {
    fn predict_one(&self, x: Row<'_>, s: &mut Scratch) -> Prediction {
        self.scaler.scale(x.dense, x.columns, &mut s.scaled);
        self.scores(&x, &s.scaled, &mut s.raw);
        if self.multiclass() {
            s.probabilities.clone_from(&s.raw);
            softmax(&mut s.probabilities);
            let least = classes::least(s.probabilities.len());
            let certain = 1.0 - s.probabilities.len() as f64 * least;
            for p in &mut s.probabilities {
                *p = certain * *p + least;
            }
            return classes::prediction(&s.probabilities);
        }
        let score = s.raw[0];
        let value = match (self.task, self.config.link) {
            (Task::Binary, Link::Logistic) if self.probability_of_square() => score.clamp(0.0, 1.0),
            (Task::Binary, Link::Logistic) => math::sigmoid(score),
            _ => score,
        };
        Prediction { value, class: 0 }
    }

    fn loss(&self, _: &Prediction, y: Label, s: &Scratch) -> f64 {
        if self.multiclass() {
            return classes::loss(y, s);
        }
        let score = s.raw.first().copied().unwrap_or_default();
        let score = if self.task == Task::Binary && self.probability_of_square() {
            score.clamp(0.0, 1.0)
        } else {
            score
        };
        loss::value(self.config.loss, score, self.target(y))
    }

    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update {
        if self.refuses(&x, y, weight) {
            return Update::NonFinite;
        }
        let discovers = matches!(y, Label::Class(c) if c as usize >= self.sheet.outputs());
        self.sheet.grow(self.sheet.outputs(), x.dense.len());
        self.penalty.grow(x.dense.len());
        if discovers {
            self.discover(y, &x, s);
        }
        s.work.clone_from(&s.raw);
        self.gradients(&mut s.work, y);
        let rate = self.rate();
        for g in &mut s.work {
            *g *= -rate * weight;
        }
        if !self.walk(&x, &s.scaled, &s.work, false) {
            return Update::NonFinite;
        }
        self.walk(&x, &s.scaled, &s.work, true);
        self.penalty.spend(rate * weight);
        self.t += weight;
        self.records += 1.0;
        let steps: f64 = s.work.iter().map(|g| g * g).sum();
        let norm = (steps * squared_norm(&x, &s.scaled, self.config.bias)).sqrt();
        self.scaler.learn(x.dense);
        Update::Learned { norm }
    }

    fn report(&self) -> Report {
        let dense = self.sheet.dense.iter().enumerate();
        let dense =
            dense.flat_map(|(j, s)| s.blocks.iter().map(move |w| self.penalty.dense(j, *w)));
        let all = dense.chain(self.sheet.bias.blocks.iter().copied());
        let squares: f64 = all.map(|w| w * w).sum();
        Report {
            learning_rate: self.rate(),
            lanes: Vec::new(),
            weight_norm: (squares + self.hashed_norm.max(0.0)).sqrt(),
        }
    }

    fn heaviest(&self, n: usize) -> Vec<HeavyWeight> {
        let mut heavy = Heaviest::new(n);
        for (j, strip) in self.sheet.dense.iter().enumerate() {
            for (class, w) in strip.blocks.iter().enumerate() {
                let at = WeightAt::Dense(j as u32);
                heavy.offer(at, class as u32, self.penalty.dense(j, *w));
            }
        }
        for (class, w) in self.sheet.bias.blocks.iter().enumerate() {
            heavy.offer(WeightAt::Bias, class as u32, *w);
        }
        for (slot, _) in self.sheet.scales.used(0) {
            self.sheet.hashed(slot, |class, block| {
                let w = self.penalty.hashed(slot, f64::from(block[0]));
                heavy.offer(WeightAt::Hashed(slot), class as u32, w);
            });
        }
        heavy.finish()
    }

    fn save(&self, out: &mut Writer) {
        self.scaler.save(out);
        self.sheet.save(out);
        self.penalty.save(&self.sheet.scales, out);
        out.f64s("totals", &[self.t, self.records, self.hashed_norm]);
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.scaler.load(from)?;
        let most = if self.multiclass() {
            self.max_classes
        } else {
            1
        };
        self.sheet.load(most, from)?;
        if !self.multiclass() && self.sheet.outputs() != 1 {
            return Err(from.invalid("outputs", "not one"));
        }
        self.penalty
            .load(self.sheet.dense.len(), &self.sheet.scales, from)?;
        let t = from.f64s_of("totals", 3)?;
        if t.iter().any(|x| !x.is_finite()) || t[0] < 0.0 || t[1] < 0.0 {
            return Err(from.invalid("totals", "makes no sense"));
        }
        (self.t, self.records, self.hashed_norm) = (t[0], t[1], t[2]);
        Ok(())
    }
}

impl BatchLearner for Sgd {
    fn refuses(&self, x: &Row<'_>, y: Label, weight: f64) -> bool {
        let fits = matches!(
            (y, self.task),
            (Label::Number(_), Task::Regression)
                | (Label::Binary(_), Task::Binary)
                | (Label::Class(_), Task::Multiclass)
        );
        !fits || unusable(x, weight) || label_unusable(y, self.max_classes)
    }

    /// One step along the mean gradient.
    fn learn_batch(&mut self, rows: &HeldRows, s: &mut Scratch) -> Update {
        let n = rows.len() as f64;
        let mut width = 0;
        for (x, y, _) in rows.iter() {
            width = width.max(x.dense.len());
            self.predict_one(x, s);
            self.discover(y, &x, s);
            self.records += 1.0;
        }
        for (x, _, _) in rows.iter() {
            self.scaler.learn(x.dense);
        }
        self.sheet.grow(self.sheet.outputs(), width);
        self.penalty.grow(width);
        let rate = self.rate();
        let outputs = self.sheet.outputs();
        // All gradients are taken before the first weight moves.
        let mut steps = std::mem::take(&mut self.held_steps);
        let mut scaled = std::mem::take(&mut self.held_scaled);
        steps.clear();
        scaled.clear();
        let mut squares = 0.0;
        let mut fine = true;
        for (x, y, weight) in rows.iter() {
            self.predict_one(x, s);
            let from = steps.len();
            steps.extend_from_slice(&s.raw);
            let step = &mut steps[from..];
            self.gradients(step, y);
            for g in &mut *step {
                *g *= -rate * weight / n;
            }
            let size: f64 = step.iter().map(|g| g * g).sum();
            squares += size * squared_norm(&x, &s.scaled, self.config.bias);
            // The whole step is bounded if each record's part, n times over, is.
            s.work.clear();
            s.work.extend(step.iter().map(|g| g * n));
            fine = fine && self.walk(&x, &s.scaled, &s.work, false);
            scaled.extend_from_slice(&s.scaled);
        }
        let mut scaled_left = scaled.as_slice();
        for ((x, _, _), step) in rows.iter().zip(steps.chunks_exact(outputs)) {
            let (own, left) = scaled_left.split_at(x.dense.len());
            scaled_left = left;
            if fine {
                self.walk(&x, own, step, true);
            }
        }
        self.held_steps = steps;
        self.held_scaled = scaled;
        if !fine {
            return Update::NonFinite;
        }
        let weight: f64 = rows.iter().map(|(_, _, weight)| weight).sum();
        self.penalty.spend(rate);
        self.t += weight / n;
        Update::Learned {
            norm: squares.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Column, Scale};
    use crate::learn::Optimizer;
    use crate::math::Random;

    #[test]
    fn a_step_is_the_rate_times_the_finite_difference_of_the_loss() {
        let mut random = Random::new(2);
        for (task, loss, y) in [
            (Task::Regression, Loss::Squared, Label::Number(1.5)),
            (Task::Binary, Loss::Logistic, Label::Binary(true)),
            (Task::Binary, Loss::Logistic, Label::Binary(false)),
            (Task::Multiclass, Loss::Softmax, Label::Class(1)),
        ] {
            let config = LinearConfig {
                optimizer: Optimizer::Sgd,
                loss,
                link: Link::Logistic,
                learning_rate: 0.1,
                power_t: 0.0,
                initial_t: 1.0,
                l2: 0.0,
                l1: 0.0,
                bias: true,
                label_range: None,
            };
            let context = LearnerContext {
                task,
                hash_bits: 4,
                max_classes: 3,
            };
            let mut sgd = Sgd::new(config, &context);
            let outputs = if task == Task::Multiclass { 3 } else { 1 };
            sgd.sheet.grow(outputs, 3);
            for strip in &mut sgd.sheet.dense {
                for w in &mut strip.blocks {
                    *w = random.normal();
                }
            }
            let clip = f64::INFINITY;
            let scale = Scale::None;
            let x = Row {
                base: 0.0,
                dense: &[0.5, -2.0, 1.0],
                columns: &[Column { scale, clip }; 3],
                index: &[],
                value: &[],
            };
            let mut s = Scratch::default();
            let h = 1e-5;
            let mut want = Vec::new();
            for j in 0..3 {
                for c in 0..outputs {
                    let mut loss = |delta: f64| {
                        sgd.sheet.dense[j].blocks[c] += delta;
                        let p = sgd.predict_one(x, &mut s);
                        sgd.loss(&p, y, &s)
                    };
                    let (up, down) = (loss(h), loss(-2.0 * h));
                    loss(h);
                    want.push(-0.1 * (up - down) / (2.0 * h));
                }
            }
            let flat = |sgd: &Sgd| -> Vec<f64> {
                let strips = sgd.sheet.dense.iter();
                strips.flat_map(|s| s.blocks.clone()).collect()
            };
            let before = flat(&sgd);
            sgd.predict_one(x, &mut s);
            sgd.learn_one(x, y, 1.0, &mut s);
            for ((after, before), want) in flat(&sgd).iter().zip(&before).zip(&want) {
                // The least probability of the classes bends the loss by one part in 10,000.
                assert!((after - before - want).abs() < 1e-3 * want.abs().max(0.01));
            }
        }
    }
}
