//! The normalized-adaptive learner's step from many records at once.
//!
//! The length of the step follows from the rate and the slopes at its two ends (as in
//! `race_batch`), since the closed forms of the online step know one record only.
//!
//! Invariant: a step never passes the best point on its line.

use crate::base::{Label, Row, Scratch};

use super::batch::{Batch, Coordinate, Store};
use super::lanes::{Lanes, root};
use super::linear::Linear;
use super::linear_step::widen;
use super::loss;
use super::minibatch::{BatchLearner, HeldRows};
use super::{Learner, Loss, Optimizer, Update};

impl BatchLearner for Linear {
    fn refuses(&self, x: &Row<'_>, y: Label, weight: f64) -> bool {
        self.unusable(x, y, weight)
    }

    fn learn_batch(&mut self, rows: &HeldRows, s: &mut Scratch) -> Update {
        if self.config.optimizer == Optimizer::SgdInRange {
            return self.plain_batch(rows, s);
        }
        let mut width = 0;
        for (x, y, _) in rows.iter() {
            width = width.max(x.dense.len());
            self.scaler.learn(x.dense);
            if let Some(y) = self.target(y) {
                self.see(y);
            }
        }
        self.widen_to(width);
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for (x, y, weight) in rows.iter() {
            self.predict_one(x, s);
            batch.push(&x, s, 1e15, self.config.bias, weight);
            let y = self.target(y).unwrap_or_default();
            let p = self.held_in(s.raw[0], None);
            let gradient = loss::derivative(self.config.loss, p, y);
            batch.gradients.push([gradient]);
            batch.scores.push([p]);
            batch.labels.push(y);
        }
        batch.direct(self);
        let norm = self.descend(&batch);
        self.batch = batch;
        Update::Learned { norm }
    }
}

impl Linear {
    /// Moves along the direction of a batch; returns the norm of the change.
    fn descend(&mut self, batch: &Batch<1>) -> f64 {
        if batch.normalizer <= 0.0 {
            return 0.0;
        }
        let m = self.count(batch.normalizer, batch.total());
        let line = |length: f64| {
            let (mut slope, mut curve) = (0.0, 0.0);
            let rows = batch.scores.iter().zip(&batch.labels).zip(&batch.kappa);
            for ((([p], y), kappa), h) in rows.zip(batch.weights()) {
                let kappa = kappa[0] * m;
                let g = loss::derivative(self.config.loss, p + length * kappa, *y);
                slope += h * g * kappa;
                curve += h * curvature(self.config.loss, g) * kappa * kappa;
            }
            (slope, curve)
        };
        let rate = self.config.learning_rate;
        let (start, _) = line(0.0);
        let falls = start < 0.0 && (rate / start).is_finite();
        let (c, high) = if falls {
            (-rate / start, rate)
        } else {
            (0.0, 0.0)
        };
        let [length] = root([high], [high], |length| {
            let (slope, curve) = line(length[0]);
            ([length[0] + c * slope], [1.0 + c * curve])
        });
        self.penalize(length);
        batch.apply(self, &[length * m]);
        self.settle();
        length * m * batch.squared[0].sqrt()
    }
}

/// The second derivative of a loss where its first is `g`.
fn curvature(loss: Loss, g: f64) -> f64 {
    match loss {
        Loss::Squared => 2.0,
        Loss::Logistic | Loss::Softmax => g.abs() * (1.0 - g.abs()),
        Loss::Hinge | Loss::Quantile { .. } => 0.0,
    }
}

impl Store<1> for Linear {
    fn outputs(&self) -> usize {
        1
    }

    fn widen(&mut self, at: Coordinate, x: f64) -> f64 {
        let power = self.config.power_t;
        let w = self.place(at);
        let shrunk = widen(power, w, x as f32);
        let (new, scale) = (w[0], w[2]);
        if let (Some(old), Coordinate::Hashed(_)) = (shrunk, at) {
            self.hashed_norm += f64::from(new - old) * f64::from(new + old);
        }
        f64::from(scale)
    }

    fn accumulate(&mut self, at: Coordinate, _: usize, squares: &Lanes<1>) -> Lanes<1> {
        let w = self.place(at);
        [f64::from(Linear::accumulate_at(w, squares[0]))]
    }

    fn rate(&self, total: f64, scale: f64) -> f64 {
        f64::from(Linear::rate(self, total as f32, scale as f32))
    }

    fn add(&mut self, at: Coordinate, _: usize, step: &Lanes<1>) {
        let contraction = match at {
            Coordinate::Bias => 1.0,
            _ => self.contraction,
        };
        let w = self.place(at);
        let old = w[0];
        w[0] += (step[0] / contraction) as f32;
        let new = w[0];
        if let Coordinate::Hashed(_) = at {
            self.hashed_norm += f64::from(new - old) * f64::from(new + old);
        }
    }
}
