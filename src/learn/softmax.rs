//! Normalized-adaptive updates for several classes: a score for each class, turned into
//! probabilities by the softmax, at one learning rate or at several that race.
//!
//! The scale of a feature is shared by the classes, weights and accumulators are not. The step is
//! implicit along the direction of steepest descent in the metric of the accumulators: its length
//! is the rate times the ratio of the slope at its end to the slope at its start, so it never
//! passes the best point on the line.
//!
//! Classes are discovered as they come; a new one starts with the bias that makes it as likely
//! as one record of all those so far.
//!
//! Invariant: every weight is finite; scores differ by their logarithms, so no exponential overflows.

use crate::base::{Label, Prediction, Reader, Row, Scratch, StateError, Writer};
use crate::math;

use super::batch::{Batch, SMALLEST_DENSE, SMALLEST_HASHED, label_unusable};
use super::classes;
use super::heavy::Heaviest;
use super::lanes::{Lanes, exp, ln, map};
use super::minibatch::BatchLearner;
use super::mixture::Mixture;
use super::penalty::Penalty;
use super::race::{LARGEST_SQUARES, SMALLEST_GRADIENT, SMALLEST_SQUARES};
use super::scale::Scaler;
use super::sheet::Sheet;
use super::softmax_line::{Line, gather, softmax, touch_dense};
use super::{HeavyWeight, Learner, Report, Update, WeightAt};

/// A softmax model with `L` learning rates.
pub(super) struct Softmax<const L: usize> {
    pub(super) max_classes: usize,
    pub(super) with_bias: bool,
    pub(super) scaler: Scaler,
    pub(super) sheet: Sheet,
    pub(super) hashed_norm: Lanes<L>,
    normalizer: f64,
    total: f64,
    records: f64,
    pub(super) mixture: Mixture<L>,
    pub(super) penalty: Penalty,
    /// Working memory of steps from many records.
    pub(super) batch: Batch<L>,
}

/// The first lanes of a block of 32-bit floats: the weights.
#[inline(always)]
fn weights_of<const L: usize>(block: &[f32]) -> &[f32; L] {
    block.first_chunk().expect("a block holds 2 L floats")
}

/// The weights of a block and its accumulators, to be changed.
#[inline(always)]
fn parts_of<const L: usize>(block: &mut [f32]) -> (&mut [f32; L], &mut [f32; L]) {
    let (weights, rest) = block
        .split_first_chunk_mut()
        .expect("a block holds 2 L floats");
    let totals = rest.first_chunk_mut().expect("a block holds 2 L floats");
    (weights, totals)
}

/// Copies lanes out of a block of 64-bit floats.
#[inline(always)]
pub(super) fn lanes_of<const L: usize>(block: &[f64]) -> Lanes<L> {
    map(|k| block[k])
}

impl<const L: usize> Softmax<L> {
    /// A model that has seen nothing.
    pub(super) fn new(
        rates: Lanes<L>,
        hash_bits: u32,
        max_classes: usize,
        with_bias: bool,
        penalty: Penalty,
    ) -> Self {
        Softmax {
            max_classes,
            with_bias,
            scaler: Scaler::default(),
            sheet: Sheet::new(hash_bits, 2 * L),
            hashed_norm: [0.0; L],
            normalizer: 0.0,
            total: 0.0,
            records: 0.0,
            mixture: Mixture::new(rates),
            penalty,
            batch: Batch::default(),
        }
    }

    /// Classes known.
    pub(super) fn classes(&self) -> usize {
        self.sheet.outputs()
    }

    /// Appends the scores of the classes.
    fn scores(&self, x: &Row<'_>, scaled: &[f64], out: &mut Vec<f64>) {
        let k = self.classes();
        out.clear();
        out.resize(2 * k * L, 0.0);
        let (scores, _) = out.as_chunks_mut::<L>();
        let penalized = self.penalty.active();
        for (j, (strip, x)) in self.sheet.dense.iter().zip(scaled).enumerate() {
            if *x == 0.0 {
                continue;
            }
            for (score, block) in scores.iter_mut().zip(strip.blocks.chunks_exact(2 * L)) {
                for lane in 0..L {
                    let w = block[lane];
                    let w = if penalized {
                        self.penalty.dense(j, w)
                    } else {
                        w
                    };
                    score[lane] += w * x;
                }
            }
        }
        self.sheet.fetch(x.index);
        for (slot, x) in x.index.iter().zip(x.value) {
            let x = f64::from(*x);
            if penalized {
                self.sheet.hashed(*slot, |output, block| {
                    let (score, w) = (&mut scores[output], weights_of::<L>(block));
                    for lane in 0..L {
                        score[lane] += self.penalty.hashed(*slot, f64::from(w[lane])) * x;
                    }
                });
            } else {
                self.sheet.hashed(*slot, |output, block| {
                    let (score, w) = (&mut scores[output], weights_of::<L>(block));
                    for lane in 0..L {
                        score[lane] += f64::from(w[lane]) * x;
                    }
                });
            }
        }
        let bias = self.sheet.bias.blocks.chunks_exact(2 * L);
        for (score, block) in scores.iter_mut().zip(bias) {
            for lane in 0..L {
                let p = score[lane] + block[lane];
                // Only a row that will be refused can make a score that is not a number.
                score[lane] = if p.is_nan() {
                    0.0
                } else {
                    p.clamp(-1e100, 1e100)
                };
            }
        }
        let (scores, shares) = scores.split_at_mut(k);
        softmax(scores, shares);
    }

    /// Makes room for a class not seen before.
    pub(super) fn discover(&mut self, class: usize, x: &Row<'_>, s: &mut Scratch) -> bool {
        if class < self.classes() {
            return false;
        }
        while self.classes() <= class {
            self.scores(x, &s.scaled, &mut s.raw);
            let known = self.classes();
            let (scores, _) = s.raw.as_chunks::<L>();
            let start = map::<L>(|k| {
                let known = scores[..known].iter().map(|score| score[k]);
                let most = known.clone().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = known.map(|z| math::exp(z - most)).sum();
                if sum > 0.0 {
                    most + math::ln(sum) - math::ln(self.records + 1.0)
                } else {
                    0.0
                }
            });
            self.sheet.grow(known + 1, x.dense.len());
            if self.with_bias {
                self.sheet.bias.blocks[known * 2 * L..known * 2 * L + L].copy_from_slice(&start);
            }
        }
        self.scores(x, &s.scaled, &mut s.raw);
        true
    }

    /// Judges the lanes by the probability each gave the true class.
    pub(super) fn judge(&mut self, shares: &[f64], class: usize, weight: f64) {
        let least = classes::least(self.classes());
        let share = lanes_of::<L>(&shares[class * L..]);
        let certain = 1.0 - self.classes() as f64 * least;
        let likelihood = map::<L>(|k| certain * share[k] + least);
        let losses = ln(likelihood);
        let losses = map::<L>(|k| -losses[k]);
        let powered = exp(map::<L>(|k| -(weight * losses[k]).min(50.0)));
        self.mixture.observe(&powered, &losses);
    }

    /// The derivative of the loss in the score of a class.
    pub(super) fn gradient(share: &Lanes<L>, is_true: bool) -> Lanes<L> {
        map(|k| {
            let g = share[k] - f64::from(u8::from(is_true));
            if g.abs() < SMALLEST_GRADIENT { 0.0 } else { g }
        })
    }

    /// Counts a step; returns what normalized steps are to be multiplied by.
    pub(super) fn count(&mut self, normalizer: f64, weight: f64, records: f64) -> f64 {
        self.normalizer += normalizer;
        self.total += weight;
        self.records += records;
        if self.normalizer > 0.0 {
            (self.total / self.normalizer).sqrt()
        } else {
            1.0
        }
    }

    /// Takes the feature's value into its scale, shrinking weights if it grew.
    pub(super) fn widen_dense(&mut self, j: usize, size: f64) -> f64 {
        self.penalty
            .settle_dense(j, &mut self.sheet.dense[j].blocks, L);
        let strip = &mut self.sheet.dense[j];
        if size > strip.scale {
            let shrink = strip.scale / size;
            for block in strip.blocks.chunks_exact_mut(2 * L) {
                block[..L].iter_mut().for_each(|w| *w *= shrink);
            }
            strip.scale = size;
        }
        strip.scale
    }

    /// As above, for a slot.
    pub(super) fn widen_hashed(&mut self, slot: u32, size: f32) -> f32 {
        let scale = self.sheet.scale(slot);
        let shrink = if size > scale { scale / size } else { 1.0 };
        if shrink == 1.0 && !self.penalty.active() {
            return scale;
        }
        let (penalty, norm) = (&self.penalty, &mut self.hashed_norm);
        self.sheet.hashed_mut(slot, |_, block| {
            for k in 0..L {
                let old = block[k];
                let w = f64::from(old) * f64::from(shrink);
                block[k] = penalty.hashed(slot, w) as f32;
                norm[k] += f64::from(block[k] - old) * f64::from(block[k] + old);
            }
        });
        self.penalty.settle_hashed(slot);
        let scale = scale.max(size);
        self.sheet.scales.row_mut::<1>(slot)[0] = scale;
        scale
    }

    /// The online step; `s.raw` holds scores and shares.
    fn step(&mut self, x: &Row<'_>, class: usize, weight: f64, s: &mut Scratch) -> f64 {
        let outputs = self.classes();
        let (raw, _) = s.raw.as_chunks::<L>();
        let (scores, shares) = raw.split_at(outputs);
        let features = s.scaled.len() + x.index.len() + 1;
        s.work.clear();
        s.work.resize((features + 2) * outputs * L, 0.0);
        let (work, _) = s.work.as_chunks_mut::<L>();
        let (gradients, work) = work.split_at_mut(outputs);
        let (kappa, rooms) = work.split_at_mut(outputs);
        for (output, g) in gradients.iter_mut().enumerate() {
            *g = Self::gradient(&shares[output], output == class);
        }
        let mut normalizer = 0.0;
        let mut rooms_left = rooms.chunks_exact_mut(outputs);
        for (j, x) in s.scaled.iter().enumerate() {
            let room = rooms_left.next().unwrap_or_default();
            if x.abs() < SMALLEST_DENSE {
                continue;
            }
            let scale = self.widen_dense(j, x.abs());
            normalizer += (x / scale) * (x / scale);
            let blocks = &mut self.sheet.dense[j].blocks;
            touch_dense(blocks, *x, scale, weight, gradients, room);
            gather(*x, room, kappa);
        }
        self.sheet.fetch_scales(x.index);
        for (slot, x) in x.index.iter().zip(x.value) {
            let room = rooms_left.next().unwrap_or_default();
            if x.abs() < SMALLEST_HASHED {
                continue;
            }
            let scale = self.widen_hashed(*slot, x.abs());
            let ratio = f64::from(x / scale);
            normalizer += ratio * ratio;
            self.sheet.hashed_mut(*slot, |output, block| {
                let (g, room) = (&gradients[output], &mut room[output]);
                let (_, totals) = parts_of::<L>(block);
                for k in 0..L {
                    let squared = (weight * g[k] * g[k]) as f32 * x * x;
                    totals[k] = (totals[k] + squared).min(LARGEST_SQUARES);
                    let rate = x / (totals[k].max(SMALLEST_SQUARES).sqrt() * scale);
                    room[k] = f64::from(rate);
                }
            });
            gather(f64::from(*x), room, kappa);
        }
        if self.with_bias {
            let room = rooms_left.next().unwrap_or_default();
            self.sheet.bias.scale = 1.0;
            normalizer += 1.0;
            let blocks = &mut self.sheet.bias.blocks;
            touch_dense(blocks, 1.0, 1.0, weight, gradients, room);
            gather(1.0, room, kappa);
        }
        let m = self.count(weight * normalizer, weight, 1.0);
        for (kappa, g) in kappa.iter_mut().zip(&*gradients) {
            for k in 0..L {
                kappa[k] *= -weight * g[k] * m;
            }
        }
        let line = Line {
            outputs,
            scores,
            kappa: &*kappa,
            classes: &[class],
            weights: &[weight],
        };
        let length = line.length(&self.mixture.rates);
        for g in gradients.iter_mut() {
            for k in 0..L {
                g[k] *= -weight * m * length[k];
            }
        }
        let spread = self.walk(x, s.scaled.len(), gradients, rooms);
        self.penalty.spend(length[0]);
        let spread = map::<L>(|k| spread[k].sqrt());
        self.mixture.mix(&spread)
    }

    /// Adds `steps[output] · room` to the weights; returns the squared norms of the change.
    fn walk(
        &mut self,
        x: &Row<'_>,
        columns: usize,
        steps: &[Lanes<L>],
        rooms: &[Lanes<L>],
    ) -> Lanes<L> {
        let mut spread = [0.0; L];
        let mut rooms = rooms.chunks_exact(steps.len());
        let mut apply = |room: &[Lanes<L>], output: usize| {
            let delta = map::<L>(|k| steps[output][k] * room[output][k]);
            for k in 0..L {
                spread[k] += delta[k] * delta[k];
            }
            delta
        };
        for strip in &mut self.sheet.dense[..columns] {
            let room = rooms.next().unwrap_or_default();
            for (output, block) in strip.blocks.chunks_exact_mut(2 * L).enumerate() {
                let delta = apply(room, output);
                for k in 0..L {
                    block[k] += delta[k];
                }
            }
        }
        let norm = &mut self.hashed_norm;
        for slot in x.index {
            let room = rooms.next().unwrap_or_default();
            self.sheet.hashed_mut(*slot, |output, block| {
                let delta = apply(room, output);
                let (w, _) = parts_of::<L>(block);
                for k in 0..L {
                    let old = w[k];
                    w[k] += delta[k] as f32;
                    norm[k] += f64::from(w[k] - old) * f64::from(w[k] + old);
                }
            });
        }
        if self.with_bias {
            let room = rooms.next().unwrap_or_default();
            for (output, block) in self.sheet.bias.blocks.chunks_exact_mut(2 * L).enumerate() {
                let delta = apply(room, output);
                for k in 0..L {
                    block[k] += delta[k];
                }
            }
        }
        spread
    }
}

impl<const L: usize> Learner for Softmax<L> {
    fn predict_one(&self, x: Row<'_>, s: &mut Scratch) -> Prediction {
        self.scaler.scale(x.dense, x.columns, &mut s.scaled);
        self.scores(&x, &s.scaled, &mut s.raw);
        let (raw, _) = s.raw.as_chunks::<L>();
        let least = classes::least(self.classes());
        let certain = 1.0 - self.classes() as f64 * least;
        s.probabilities.clear();
        let shares = raw[self.classes()..].iter();
        s.probabilities
            .extend(shares.map(|share| certain * self.mixture.mix(share) + least));
        classes::prediction(&s.probabilities)
    }

    fn loss(&self, _: &Prediction, y: Label, s: &Scratch) -> f64 {
        classes::loss(y, s)
    }

    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update {
        let refused = self.refuses(&x, y, weight) || label_unusable(y, self.max_classes);
        let Label::Class(class) = y else {
            return Update::NonFinite;
        };
        if refused || s.scaled.iter().any(|z| z.abs() > 1e100) {
            return Update::NonFinite;
        }
        let class = class as usize;
        if !self.discover(class, &x, s) {
            let shares = self.classes() * L;
            self.judge(&s.raw[shares..], class, weight);
        }
        self.sheet.grow(self.classes(), x.dense.len());
        self.penalty.grow(x.dense.len());
        let norm = self.step(&x, class, weight, s);
        self.scaler.learn(x.dense);
        Update::Learned { norm }
    }

    fn report(&self) -> Report {
        let mut norm = self.hashed_norm;
        for strip in self.sheet.dense.iter().chain([&self.sheet.bias]) {
            for block in strip.blocks.chunks_exact(2 * L) {
                for k in 0..L {
                    norm[k] += block[k] * block[k];
                }
            }
        }
        let norm = map::<L>(|k| norm[k].max(0.0).sqrt());
        Report {
            learning_rate: self.mixture.rate(),
            lanes: if L > 1 {
                self.mixture.report(1.0)
            } else {
                Vec::new()
            },
            weight_norm: self.mixture.mix(&norm),
        }
    }

    fn heaviest(&self, n: usize) -> Vec<HeavyWeight> {
        let mut heavy = Heaviest::new(n);
        let mut strip = |at: WeightAt, blocks: &[f64], shrink: &dyn Fn(f64) -> f64| {
            for (class, block) in blocks.chunks_exact(2 * L).enumerate() {
                let w = self.mixture.mix(&lanes_of(block));
                heavy.offer(at, class as u32, shrink(w));
            }
        };
        for (j, column) in self.sheet.dense.iter().enumerate() {
            let shrink = |w| self.penalty.dense(j, w);
            strip(WeightAt::Dense(j as u32), &column.blocks, &shrink);
        }
        strip(WeightAt::Bias, &self.sheet.bias.blocks, &|w| w);
        for (slot, _) in self.sheet.scales.used(0) {
            self.sheet.hashed(slot, |class, block| {
                let w = self.mixture.mix(&map(|k| f64::from(block[k])));
                let w = self.penalty.hashed(slot, w);
                heavy.offer(WeightAt::Hashed(slot), class as u32, w);
            });
        }
        heavy.finish()
    }

    fn save(&self, out: &mut Writer) {
        self.scaler.save(out);
        self.sheet.save(out);
        self.mixture.save(out);
        self.penalty.save(&self.sheet.scales, out);
        out.f64s("hashed_norm", &self.hashed_norm);
        out.f64s("totals", &[self.normalizer, self.total, self.records]);
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.scaler.load(from)?;
        self.sheet.load(self.max_classes, from)?;
        self.mixture.load(from)?;
        self.penalty
            .load(self.sheet.dense.len(), &self.sheet.scales, from)?;
        let norm = from.f64s_of("hashed_norm", L)?;
        let totals = from.f64s_of("totals", 3)?;
        if norm.iter().any(|x| !x.is_finite()) {
            return Err(from.invalid("hashed_norm", "not finite"));
        }
        if totals.iter().any(|x| !(x.is_finite() && *x >= 0.0)) {
            return Err(from.invalid("totals", "not sums of squares"));
        }
        self.hashed_norm.copy_from_slice(norm);
        (self.normalizer, self.total, self.records) = (totals[0], totals[1], totals[2]);
        Ok(())
    }
}
