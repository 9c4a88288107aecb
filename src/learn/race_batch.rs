//! The race's step from many records at once.
//!
//! Invariant: of one record it is the online step.

use crate::base::{Label, Row, Scratch};

use super::batch::{Batch, Coordinate, Store, label_unusable, unusable};
use super::lanes::{Lanes, map, one_minus_exp, root, sigmoid};
use super::minibatch::{BatchLearner, HeldRows};
use super::race::{LARGEST_SQUARES, ROW, Race, SMALLEST_SQUARES};
use super::race_step::widen;
use super::{Learner, Update};

impl BatchLearner for Race {
    fn refuses(&self, x: &Row<'_>, y: Label, weight: f64) -> bool {
        let fits = matches!(
            (y, self.regression()),
            (Label::Number(_), true) | (Label::Binary(_), false)
        );
        !fits || unusable(x, weight) || label_unusable(y, 0)
    }

    fn learn_batch(&mut self, rows: &HeldRows, s: &mut Scratch) -> Update {
        // The mixture is judged by what each lane said while the records came.
        if !self.idle() {
            for (x, y, weight) in rows.iter() {
                self.predict_one(x, s);
                if let Some(lanes) = s.raw.last_chunk::<4>() {
                    self.judge(lanes, self.score_of(y), weight);
                }
            }
        }
        // Every record has been predicted, so its numbers may now go into the statistics.
        let mut width = 0;
        for (x, y, _) in rows.iter() {
            width = width.max(x.dense.len());
            self.remember(&x, &[], y);
        }
        self.widen_to(width);
        if self.idle() {
            return Update::Learned { norm: 0.0 };
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for (x, y, weight) in rows.iter() {
            self.predict_one(x, s);
            let lanes: Lanes<4> = map(|k| s.raw[4 + k]);
            let score: Lanes<4> = map(|k| s.raw[k]);
            let y = self.score_of(y);
            batch.push(&x, s, 1e100, true, weight);
            batch.gradients.push(self.gradients(&score, &lanes, y));
            batch.scores.push(score);
            batch.labels.push(y);
        }
        batch.direct(self);
        let m = self.count(batch.normalizer, batch.total());
        batch.stretch(m);
        let length = if self.regression() {
            self.length_squared(&batch)
        } else {
            self.length_logistic(&batch)
        };
        let length = map::<4>(|k| length[k] * m);
        batch.apply(self, &length);
        let norms = map::<4>(|k| length[k] * batch.squared[k].sqrt());
        self.batch = batch;
        Update::Learned {
            norm: self.mix_norms(&norms),
        }
    }
}

impl Race {
    /// Along a line the squared loss is a parabola: the step that gradient flow makes on it.
    fn length_squared(&self, batch: &Batch<4>) -> Lanes<4> {
        let (mut slope, mut curve) = ([0.0; 4], [0.0; 4]);
        let rows = batch.gradients.iter().zip(&batch.kappa);
        for ((g, kappa), h) in rows.zip(batch.weights()) {
            for k in 0..4 {
                slope[k] -= h * g[k] * kappa[k];
                curve[k] += 2.0 * h * kappa[k] * kappa[k];
            }
        }
        let rates = self.rates();
        let part = one_minus_exp(map::<4>(|k| {
            if slope[k] > 0.0 {
                rates[k] * curve[k] / slope[k]
            } else {
                0.0
            }
        }));
        map(|k| {
            if slope[k] > 0.0 && curve[k] > 0.0 {
                part[k] * slope[k] / curve[k]
            } else {
                0.0
            }
        })
    }

    /// The step at whose end the slope, times the rate, is as long as the step.
    fn length_logistic(&self, batch: &Batch<4>) -> Lanes<4> {
        // Value and slope of the derivative of the batch's loss along the line.
        let along = |length: &Lanes<4>| {
            let (mut value, mut slope) = ([0.0; 4], [0.0; 4]);
            let rows = batch.scores.iter().zip(&batch.labels).zip(&batch.kappa);
            for (((z, y), kappa), h) in rows.zip(batch.weights()) {
                let sign = 2.0 * y - 1.0;
                let p = sigmoid(map::<4>(|k| -sign * (z[k] + length[k] * kappa[k])));
                for k in 0..4 {
                    value[k] -= h * sign * p[k] * kappa[k];
                    slope[k] += h * p[k] * (1.0 - p[k]) * kappa[k] * kappa[k];
                }
            }
            (value, slope)
        };
        let rates = self.rates();
        let (start, _) = along(&[0.0; 4]);
        let c = map::<4>(|k| {
            if start[k] < 0.0 {
                -rates[k] / start[k]
            } else {
                0.0
            }
        });
        let high = map::<4>(|k| if start[k] < 0.0 { rates[k] } else { 0.0 });
        root(high, high, |length| {
            let (value, slope) = along(length);
            (
                map(|k| length[k] + c[k] * value[k]),
                map(|k| 1.0 + c[k] * slope[k]),
            )
        })
    }
}

impl Store<4> for Race {
    fn outputs(&self) -> usize {
        1
    }

    fn widen(&mut self, at: Coordinate, x: f64) -> f64 {
        let cell = match at {
            Coordinate::Dense(j) => &mut self.dense[j as usize],
            Coordinate::Bias => &mut self.bias,
            Coordinate::Hashed(slot) => {
                let row = self.hashed.row_mut::<ROW>(slot);
                return f64::from(widen(row, &mut self.hashed_norm, x as f32));
            }
        };
        cell.widen(x);
        cell.s
    }

    fn accumulate(&mut self, at: Coordinate, _: usize, squares: &Lanes<4>) -> Lanes<4> {
        let cell = match at {
            Coordinate::Dense(j) => &mut self.dense[j as usize],
            Coordinate::Bias => &mut self.bias,
            Coordinate::Hashed(slot) => {
                let row = self.hashed.row_mut::<ROW>(slot);
                return map(|k| {
                    row[4 + k] = (row[4 + k] + squares[k] as f32).min(LARGEST_SQUARES);
                    f64::from(row[4 + k].max(SMALLEST_SQUARES))
                });
            }
        };
        map(|k| {
            cell.g[k] += squares[k];
            cell.g[k].max(1e-300)
        })
    }

    fn add(&mut self, at: Coordinate, _: usize, step: &Lanes<4>) {
        let cell = match at {
            Coordinate::Dense(j) => &mut self.dense[j as usize],
            Coordinate::Bias => &mut self.bias,
            Coordinate::Hashed(slot) => {
                let row = self.hashed.row_mut::<ROW>(slot);
                for k in 0..4 {
                    let old = row[k];
                    row[k] += step[k] as f32;
                    self.hashed_norm[k] += f64::from(row[k] - old) * f64::from(row[k] + old);
                }
                return;
            }
        };
        for k in 0..4 {
            cell.w[k] += step[k];
        }
    }
}
