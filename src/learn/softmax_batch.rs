//! The softmax's step from many records at once.
//!
//! Invariant: of one record it is the online step.

use crate::base::{Label, Row, Scratch};

use super::batch::{Coordinate, Store, label_unusable, unusable};
use super::lanes::{Lanes, map};
use super::minibatch::{BatchLearner, HeldRows};
use super::race::{LARGEST_SQUARES, SMALLEST_SQUARES};
use super::softmax::Softmax;
use super::softmax_line::Line;
use super::{Learner, Update};

impl<const L: usize> BatchLearner for Softmax<L> {
    fn refuses(&self, x: &Row<'_>, y: Label, weight: f64) -> bool {
        !matches!(y, Label::Class(_)) || unusable(x, weight) || label_unusable(y, self.max_classes)
    }

    fn learn_batch(&mut self, rows: &HeldRows, s: &mut Scratch) -> Update {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let mut width = 0;
        for (x, y, weight) in rows.iter() {
            let Label::Class(class) = y else { continue };
            self.predict_one(x, s);
            let class = class as usize;
            if !self.discover(class, &x, s) {
                let shares = self.classes() * L;
                self.judge(&s.raw[shares..], class, weight);
            }
            batch.classes.push(class);
            width = width.max(x.dense.len());
        }
        for (x, _, _) in rows.iter() {
            self.scaler.learn(x.dense);
        }
        self.sheet.grow(self.classes(), width);
        self.penalty.grow(width);
        let outputs = self.classes();
        for (i, (x, _, weight)) in rows.iter().enumerate() {
            self.predict_one(x, s);
            batch.push(&x, s, 1e100, self.with_bias, weight);
            let (raw, _) = s.raw.as_chunks::<L>();
            batch.scores.extend_from_slice(&raw[..outputs]);
            let class = batch.classes[i];
            let shares = raw[outputs..].iter().enumerate();
            let gradients = shares.map(|(c, share)| Self::gradient(share, c == class));
            batch.gradients.extend(gradients);
        }
        batch.direct(self);
        let m = self.count(batch.normalizer, batch.total(), rows.len() as f64);
        batch.stretch(m);
        let line = Line {
            outputs,
            scores: &batch.scores,
            kappa: &batch.kappa,
            classes: &batch.classes,
            weights: batch.weights(),
        };
        let length = line.length(&self.mixture.rates);
        self.penalty.spend(length[0]);
        let length = map::<L>(|k| length[k] * m);
        batch.apply(self, &length);
        let norms = map::<L>(|k| length[k] * batch.squared[k].sqrt());
        self.batch = batch;
        Update::Learned {
            norm: self.mixture.mix(&norms),
        }
    }
}

impl<const L: usize> Store<L> for Softmax<L> {
    fn outputs(&self) -> usize {
        self.classes()
    }

    fn widen(&mut self, at: Coordinate, x: f64) -> f64 {
        match at {
            Coordinate::Dense(j) => self.widen_dense(j as usize, x),
            Coordinate::Bias => {
                self.sheet.bias.scale = 1.0;
                1.0
            }
            Coordinate::Hashed(slot) => f64::from(self.widen_hashed(slot, x as f32)),
        }
    }

    fn accumulate(&mut self, at: Coordinate, output: usize, squares: &Lanes<L>) -> Lanes<L> {
        let from = output * 2 * L + L;
        let block = match at {
            Coordinate::Dense(j) => &mut self.sheet.dense[j as usize].blocks,
            Coordinate::Bias => &mut self.sheet.bias.blocks,
            Coordinate::Hashed(slot) => {
                let block = self.sheet.hashed_one(slot, output);
                return map(|k| {
                    let total = &mut block[L + k];
                    *total = (*total + squares[k] as f32).min(LARGEST_SQUARES);
                    f64::from(total.max(SMALLEST_SQUARES))
                });
            }
        };
        map(|k| {
            block[from + k] += squares[k];
            block[from + k].max(1e-300)
        })
    }

    fn add(&mut self, at: Coordinate, output: usize, step: &Lanes<L>) {
        let from = output * 2 * L;
        let block = match at {
            Coordinate::Dense(j) => &mut self.sheet.dense[j as usize].blocks,
            Coordinate::Bias => &mut self.sheet.bias.blocks,
            Coordinate::Hashed(slot) => {
                let block = self.sheet.hashed_one(slot, output);
                for k in 0..L {
                    let old = block[k];
                    block[k] += step[k] as f32;
                    self.hashed_norm[k] += f64::from(block[k] - old) * f64::from(block[k] + old);
                }
                return;
            }
        };
        for k in 0..L {
            block[from + k] += step[k];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{self, Random};

    #[test]
    fn slope_and_curvature_along_a_line_are_finite_differences() {
        let mut random = Random::new(4);
        let mut draw = |n: usize| -> Vec<Lanes<1>> { (0..n).map(|_| [random.normal()]).collect() };
        let (scores, kappa) = (draw(6), draw(6));
        let line = Line {
            outputs: 3,
            scores: &scores,
            kappa: &kappa,
            classes: &[2, 0],
            weights: &[1.0, 2.5],
        };
        let loss = |length: f64| {
            let mut sum = 0.0;
            for (i, class) in line.classes.iter().enumerate() {
                let z: Vec<f64> = (3 * i..3 * i + 3)
                    .map(|c| scores[c][0] + length * kappa[c][0])
                    .collect();
                let total: f64 = z.iter().map(|z| math::exp(*z)).sum();
                sum += line.weights[i] * (math::ln(total) - z[*class]);
            }
            sum
        };
        for at in [0.0, 0.7, 3.0] {
            let h = 1e-4;
            let ([slope], [curve]) = line.at(&[at]);
            let first = (loss(at + h) - loss(at - h)) / (2.0 * h);
            let second = (loss(at + h) - 2.0 * loss(at) + loss(at - h)) / (h * h);
            assert!((slope - first).abs() < 1e-6, "{slope} {first}");
            assert!((curve - second).abs() < 1e-5, "{curve} {second}");
        }
    }
}
