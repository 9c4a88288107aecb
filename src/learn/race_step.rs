//! The race's online step: a pass over a record's weights that takes the gradients in, how far
//! each lane goes, and a pass that moves them.
//!
//! Invariant: sums run from the first feature to the last: dense columns, hashed part, bias.

use crate::base::{Row, Scratch};

use super::batch::{SMALLEST_DENSE, SMALLEST_HASHED};
use super::lanes::{Lanes, map, one_minus_exp, root, sigmoid};
use super::mixture::RATES;
use super::race::{Cell, LARGEST_SQUARES, ROW, Race, SCALE, SMALLEST_SQUARES};
use super::table::place;

impl Race {
    /// The online step.
    pub(super) fn step(
        &mut self,
        x: &Row<'_>,
        s: &mut Scratch,
        (scores, lanes): (&Lanes<4>, &Lanes<4>),
        y: f64,
        weight: f64,
    ) -> f64 {
        let g = self.gradients(scores, lanes, y);
        let squared = map::<4>(|k| weight * g[k] * g[k]);
        let (scaled, present) = (&s.scaled, &s.present);
        let needed = 4 * (scaled.len() + x.index.len());
        if s.work.len() < needed {
            s.work.resize(needed, 0.0);
        }
        let (room, _) = s.work[..needed].as_chunks_mut::<4>();
        let (dense_room, hashed_room) = room.split_at_mut(scaled.len());
        let mut sums = Sums::default();
        if present.is_empty() {
            for ((cell, x), room) in self.dense.iter_mut().zip(scaled).zip(&mut *dense_room) {
                *room = sums.take(cell, *x, &squared);
            }
        }
        for ((j, x), room) in present.iter().zip(scaled).zip(&mut *dense_room) {
            *room = sums.take(&mut self.dense[*j as usize], *x, &squared);
        }
        let Sums {
            mut kappa,
            mut spread,
            mut normalizer,
        } = sums;
        let rows = self.hashed.rows_mut::<ROW>();
        let count = rows.len();
        let squared32: [f32; 4] = std::array::from_fn(|k| squared[k] as f32);
        for ((slot, x), room) in x.index.iter().zip(x.value).zip(&mut *hashed_room) {
            if x.abs() < SMALLEST_HASHED {
                *room = [0.0; 4];
                continue;
            }
            let row = &mut rows[place(*slot, count)];
            let scale = widen(row, &mut self.hashed_norm, x.abs());
            let ratio = x / scale;
            normalizer += f64::from(ratio * ratio);
            for k in 0..4 {
                row[4 + k] = (row[4 + k] + squared32[k] * x * x).min(LARGEST_SQUARES);
                let rate = x / (row[4 + k].max(SMALLEST_SQUARES).sqrt() * scale);
                room[k] = f64::from(rate);
                kappa[k] += f64::from(x * rate);
                spread[k] += f64::from(rate) * f64::from(rate);
            }
        }
        let (bias_room, square) = self.bias.touch(1.0, &squared);
        normalizer += square;
        for k in 0..4 {
            kappa[k] += bias_room[k];
            spread[k] += bias_room[k] * bias_room[k];
        }
        let m = self.count(weight * normalizer, weight);
        let kappa = map::<4>(|k| kappa[k] * m);
        let u = self.move_by(scores, &g, &kappa, weight);
        let u = map::<4>(|k| u[k] * m);
        if present.is_empty() {
            for (cell, room) in self.dense.iter_mut().zip(&*dense_room) {
                cell.w = map(|k| cell.w[k] + u[k] * room[k]);
            }
        }
        for (j, room) in present.iter().zip(&*dense_room) {
            let cell = &mut self.dense[*j as usize];
            cell.w = map(|k| cell.w[k] + u[k] * room[k]);
        }
        let u32s: [f32; 4] = std::array::from_fn(|k| u[k] as f32);
        let rows = self.hashed.rows_mut::<ROW>();
        let mut norm = self.hashed_norm;
        for (slot, room) in x.index.iter().zip(&*hashed_room) {
            let row = &mut rows[place(*slot, count)];
            for k in 0..4 {
                let (old, delta) = (row[k], u32s[k] * room[k] as f32);
                row[k] = old + delta;
                norm[k] += f64::from(row[k] - old) * f64::from(row[k] + old);
            }
        }
        self.hashed_norm = norm;
        for k in 0..4 {
            self.bias.w[k] += u[k] * bias_room[k];
        }
        let norms = map::<4>(|k| u[k].abs() * spread[k].sqrt());
        self.mix_norms(&norms)
    }

    /// How far each lane goes, as the change of its score over `kappa`: the implicit step.
    #[inline(always)]
    fn move_by(&self, scores: &Lanes<4>, g: &Lanes<4>, kappa: &Lanes<4>, weight: f64) -> Lanes<4> {
        if self.regression() {
            let rates = self.rates();
            let part = one_minus_exp(map::<4>(|k| 2.0 * weight * rates[k] * kappa[k]));
            return map(|k| -0.5 * g[k] * part[k] / kappa[k]);
        }
        // The score moves by s towards the label: s = c · sigmoid(-(margin + s)).
        let c = map::<4>(|k| weight * RATES[k] * kappa[k]);
        let margin = map::<4>(|k| if g[k] < 0.0 { scores[k] } else { -scores[k] });
        let high = map::<4>(|k| c[k] * g[k].abs());
        // One Newton step from 0.
        let guess = map::<4>(|k| high[k] / (1.0 + high[k] * (1.0 - g[k].abs())));
        let s = root(high, guess, |s| {
            let p = sigmoid(map::<4>(|k| -(margin[k] + s[k])));
            (
                map(|k| s[k] - c[k] * p[k]),
                map(|k| 1.0 + c[k] * p[k] * (1.0 - p[k])),
            )
        });
        map(|k| if g[k] < 0.0 { s[k] } else { -s[k] } / kappa[k])
    }
}

/// Sums over a record's features: change of the scores for a unit step, squared norm of a unit
/// step, Σ x²/s².
#[derive(Default)]
struct Sums {
    kappa: Lanes<4>,
    spread: Lanes<4>,
    normalizer: f64,
}

impl Sums {
    /// Takes a dense column into its accumulators and the sums. Returns x times its rates.
    #[inline(always)]
    fn take(&mut self, cell: &mut Cell, x: f64, squared: &Lanes<4>) -> Lanes<4> {
        if x.abs() < SMALLEST_DENSE {
            return [0.0; 4];
        }
        let (room, square) = cell.touch(x, squared);
        self.normalizer += square;
        self.kappa = map(|k| self.kappa[k] + x * room[k]);
        self.spread = map(|k| self.spread[k] + room[k] * room[k]);
        room
    }
}

impl Cell {
    /// Takes the squared gradient in. Returns x times the coordinate's rates, and x²/s².
    #[inline(always)]
    fn touch(&mut self, x: f64, squared: &Lanes<4>) -> (Lanes<4>, f64) {
        self.widen(x.abs());
        self.g = map(|k| self.g[k] + squared[k] * x * x);
        let room = map(|k| {
            let total = if self.g[k] > 1e-300 {
                self.g[k]
            } else {
                1e-300
            };
            x / (total.sqrt() * self.s)
        });
        let ratio = x / self.s;
        (room, ratio * ratio)
    }

    #[inline(always)]
    pub(super) fn widen(&mut self, size: f64) {
        if size > self.s {
            let shrink = self.s / size;
            for k in 0..4 {
                self.w[k] *= shrink;
            }
            self.s = size;
        }
    }
}

/// As [`Cell::widen`], for a row of the hashed part; returns the scale.
#[inline(always)]
pub(super) fn widen(row: &mut [f32; ROW], norm: &mut Lanes<4>, size: f32) -> f32 {
    let scale = row[SCALE];
    if size > scale {
        let shrink = scale / size;
        for k in 0..4 {
            let old = row[k];
            row[k] *= shrink;
            norm[k] += f64::from(row[k] - old) * f64::from(row[k] + old);
        }
        row[SCALE] = size;
        return size;
    }
    scale
}
