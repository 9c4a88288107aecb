//! Plain gradient descent in the frame of the normalized-adaptive learner, as Vowpal Wabbit's
//! `--sgd`: the rate is `learning_rate · (initial_t / t)^power_t`, where t counts the record itself.
//!
//! Invariant: a step that would take a weight beyond a bound changes no weight.

use crate::base::{Row, Scratch};
use crate::math;

use super::linear::{Linear, N, SMALLEST, W};
use super::loss;
use super::minibatch::HeldRows;
use super::{Learner, Optimizer, Update};

/// No weight is larger; a step that needs more has diverged.
const LARGEST: f64 = 1e30;

impl Linear {
    /// The rate of a step whose count is `t`.
    fn rate_at(&self, t: f64) -> f64 {
        let config = &self.config;
        if config.power_t == 0.0 {
            return config.learning_rate;
        }
        config.learning_rate * math::pow(config.initial_t / t, config.power_t)
    }

    /// The learning rate as it is now.
    pub(super) fn rate_now(&self) -> f64 {
        if self.config.optimizer == Optimizer::SgdInRange {
            self.rate_at(self.total.max(1.0))
        } else {
            self.config.learning_rate
        }
    }

    /// The online step. Returns the norm of the change, or `None` where it was refused.
    pub(super) fn plain_step(
        &mut self,
        x: &Row<'_>,
        scaled: &[f64],
        p: f64,
        y: f64,
        weight: f64,
    ) -> Option<f64> {
        self.total += weight;
        if loss::is_nothing(self.config.loss, p, y, loss::decay(self.config.loss, p)) {
            return Some(0.0);
        }
        let rate = self.rate_at(self.total) * weight;
        let derivative = loss::derivative(self.config.loss, p, y);
        self.plain_move(x, scaled, derivative, rate)
    }

    /// Goes down a slope of the score.
    fn plain_move(
        &mut self,
        x: &Row<'_>,
        scaled: &[f64],
        derivative: f64,
        rate: f64,
    ) -> Option<f64> {
        let u = -derivative * rate;
        let (l2, contraction) = (self.config.l2, self.contraction);
        let penalized = u.abs() > 1e-8 && derivative.abs() > 1e-8;
        let after = if penalized && l2 > 0.0 {
            contraction * (1.0 - l2 * rate).max(1e-3)
        } else {
            contraction
        };
        let stored = u / after;
        let fits = |w: f32, x: f64| (f64::from(w) + stored * x).abs() <= LARGEST;
        let hashed = || x.index.iter().zip(x.value);
        let dense = || self.dense.iter().zip(scaled);
        if !dense().all(|(w, x)| fits(w[W], *x))
            || !hashed().all(|(slot, x)| fits(self.hashed.row::<4>(*slot)[W], f64::from(*x)))
            || !fits(self.bias[W], 1.0)
        {
            return None;
        }
        if penalized {
            self.penalize(rate);
        }
        let mut squares = 0.0;
        for (w, x) in self.dense.iter_mut().zip(scaled) {
            let x = *x as f32;
            if x.abs() >= SMALLEST {
                w[W] += (stored * f64::from(x)) as f32;
                w[N] = 1.0;
                squares += f64::from(x) * f64::from(x);
            }
        }
        for (slot, x) in x.index.iter().zip(x.value) {
            let row = self.hashed.row_mut::<4>(*slot);
            let old = row[W];
            row[W] += (stored * f64::from(*x)) as f32;
            row[N] = 1.0;
            self.hashed_norm += f64::from(row[W] - old) * f64::from(row[W] + old);
            squares += f64::from(*x) * f64::from(*x);
        }
        if self.config.bias {
            self.bias[W] += u as f32;
            self.bias[N] = 1.0;
            squares += 1.0;
        }
        self.settle();
        Some(u.abs() * squares.sqrt())
    }

    /// One step from many records: the sum of their steps, each from the scores before.
    pub(super) fn plain_batch(&mut self, rows: &HeldRows, s: &mut Scratch) -> Update {
        let mut slopes = Vec::with_capacity(rows.len());
        for (x, y, weight) in rows.iter() {
            self.scaler.learn(x.dense);
            self.widen_to(x.dense.len());
            let Some(y) = self.target(y) else { continue };
            self.see(y);
            self.predict_one(x, s);
            let p = self.held_in(s.raw[0], None);
            slopes.push((loss::derivative(self.config.loss, p, y), weight));
        }
        self.total += slopes.iter().map(|(_, weight)| weight).sum::<f64>();
        let rate = self.rate_at(self.total);
        let mut norm = 0.0;
        for ((x, _, _), (derivative, weight)) in rows.iter().zip(&slopes) {
            self.scaler.scale(x.dense, x.columns, &mut s.scaled);
            if *derivative != 0.0 {
                match self.plain_move(&x, &s.scaled, *derivative, rate * weight) {
                    Some(moved) => norm += moved,
                    None => return Update::NonFinite,
                }
            }
        }
        Update::Learned { norm }
    }
}
