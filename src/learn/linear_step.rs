//! The online step of the normalized-adaptive learner: a pass over a record's weights that takes
//! the gradient in and finds out how far a step goes, and a second one that makes it.
//!
//! Invariant: sums run from the first feature to the last: dense columns, hashed part, bias.

use crate::base::{Row, Scratch};
use crate::math;

use super::linear::{G, LARGEST_SQUARES, Linear, N, R, SMALLEST, W, Weight};
use super::loss;
use super::table::place;

impl Linear {
    /// The online step. Returns the norm of the change.
    pub(super) fn step(&mut self, x: &Row<'_>, s: &Scratch, p: f64, y: f64, weight: f64) -> f64 {
        let config = &self.config;
        let decay = s
            .raw
            .get(1)
            .copied()
            .unwrap_or_else(|| loss::decay(config.loss, p));
        let derivative = loss::derivative_of(config.loss, p, y, decay);
        let squared = (weight * derivative * derivative).min(LARGEST_SQUARES) as f32;
        if loss::is_nothing(config.loss, p, y, decay) || squared == 0.0 {
            return 0.0;
        }
        let rule = Rule {
            power: config.power_t,
            start: config.initial_t as f32,
            squared,
        };
        let sums = if rule.power == 0.5 {
            self.gather::<true>(&rule, x, s)
        } else {
            self.gather::<false>(&rule, x, s)
        };
        if sums.kappa <= 0.0 {
            return 0.0;
        }
        let m = self.count(weight * sums.normalizer, weight);
        let h = self.config.learning_rate * weight;
        let u = loss::invariant_step(self.config.loss, p, y, h, sums.kappa * m, decay);
        if u.abs() > 1e-8 && derivative.abs() > 1e-8 {
            self.penalize(-u / derivative);
        }
        self.move_by(x, s, u * m / self.contraction, u * m);
        self.settle();
        (u * m).abs() * sums.spread.sqrt()
    }

    /// Takes the features into the accumulators.
    #[inline(always)]
    fn gather<const ROOT: bool>(&mut self, rule: &Rule, x: &Row<'_>, s: &Scratch) -> Sums {
        let mut sums = Sums::default();
        if s.present.is_empty() {
            for (w, x) in self.dense.iter_mut().zip(&s.scaled) {
                rule.gather::<ROOT>(w, *x as f32, &mut sums);
            }
        }
        for (j, x) in s.present.iter().zip(&s.scaled) {
            rule.gather::<ROOT>(&mut self.dense[*j as usize], *x as f32, &mut sums);
        }
        sums.shrunk = 0.0;
        let rows = self.hashed.rows_mut::<4>();
        let count = rows.len();
        for (slot, x) in x.index.iter().zip(x.value) {
            rule.gather::<ROOT>(&mut rows[place(*slot, count)], *x, &mut sums);
        }
        self.hashed_norm += sums.shrunk;
        if self.config.bias {
            rule.gather::<ROOT>(&mut self.bias, 1.0, &mut sums);
        }
        sums
    }

    /// Moves the weights by `u` times their rates, the bias by `free` times its.
    #[inline(always)]
    fn move_by(&mut self, x: &Row<'_>, s: &Scratch, u: f64, free: f64) {
        if s.present.is_empty() {
            for (w, x) in self.dense.iter_mut().zip(&s.scaled) {
                add(w, *x as f32, u);
            }
        }
        for (j, x) in s.present.iter().zip(&s.scaled) {
            add(&mut self.dense[*j as usize], *x as f32, u);
        }
        let rows = self.hashed.rows_mut::<4>();
        let count = rows.len();
        let mut norm = self.hashed_norm;
        for (slot, x) in x.index.iter().zip(x.value) {
            let row = &mut rows[place(*slot, count)];
            let old = row[W];
            add(row, *x, u);
            norm += f64::from(row[W] - old) * f64::from(row[W] + old);
        }
        self.hashed_norm = norm;
        if self.config.bias {
            add(&mut self.bias, 1.0, free);
        }
    }
}

/// Moves a weight by `u` times its rate, which is 0 where the feature was absent.
#[inline(always)]
fn add(w: &mut Weight, x: f32, u: f64) {
    w[W] += (u * f64::from(x * w[R])) as f32;
}

/// What a step takes from a record's loss.
struct Rule {
    power: f64,
    start: f32,
    squared: f32,
}

/// Sums over a record's features: change of the score for a unit step, Σ x²/N², squared norm of a
/// unit step, change of the squared norm of the weights as scales grew.
#[derive(Default)]
struct Sums {
    kappa: f64,
    normalizer: f64,
    spread: f64,
    shrunk: f64,
}

impl Rule {
    /// Takes a feature into its weight's accumulators and the sums. `ROOT`: the exponent is one
    /// half.
    #[inline(always)]
    fn gather<const ROOT: bool>(&self, w: &mut Weight, x: f32, sums: &mut Sums) {
        if x.abs() < SMALLEST {
            w[R] = 0.0;
            return;
        }
        let square = x * x;
        let total = w[G] + self.squared * square;
        let largest = LARGEST_SQUARES as f32;
        w[G] = if total < largest { total } else { largest };
        if let Some(old) = widen(self.power, w, x.abs()) {
            sums.shrunk += f64::from(w[W] - old) * f64::from(w[W] + old);
        }
        w[R] = if ROOT {
            rate_of(self.start + w[G], w[N])
        } else {
            rate(self.power, self.start + w[G], w[N])
        };
        let step = f64::from(x * w[R]);
        sums.kappa += f64::from(square * w[R]);
        sums.spread += step * step;
        sums.normalizer += f64::from(square / (w[N] * w[N]));
    }
}

/// A weight's rate, for an exponent of the adaptive part.
#[inline(always)]
pub(super) fn rate(power: f64, total: f32, scale: f32) -> f32 {
    if power == 0.5 {
        rate_of(total, scale)
    } else {
        powered_rate(power, total.max(f32::MIN_POSITIVE), scale)
    }
}

/// The rate for the usual exponent of one half.
#[inline(always)]
fn rate_of(total: f32, scale: f32) -> f32 {
    let least = f32::MIN_POSITIVE;
    let total = if total > least { total } else { least };
    1.0 / (total.sqrt() * scale)
}

#[inline(never)]
fn powered_rate(power: f64, total: f32, scale: f32) -> f32 {
    let scale = f64::from(scale);
    let rate = math::pow(f64::from(total), -power) * math::pow(scale * scale, power - 1.0);
    rate.min(1e37) as f32
}

/// Takes a value's size into a weight's scale. Returns the weight before, if it has shrunk.
#[inline(always)]
pub(super) fn widen(power: f64, w: &mut Weight, size: f32) -> Option<f32> {
    if size <= w[N] {
        return None;
    }
    Some(grow(power, w, size))
}

#[inline(never)]
fn grow(power: f64, w: &mut Weight, size: f32) -> f32 {
    let (scale, old) = (w[N], w[W]);
    w[N] = size;
    if scale > 0.0 {
        w[W] *= if power == 0.5 {
            scale / size
        } else {
            let ratio = f64::from(size) / f64::from(scale);
            math::pow(ratio * ratio, power - 1.0) as f32
        };
    }
    old
}
