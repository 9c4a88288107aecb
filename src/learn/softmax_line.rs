//! What softmax does along one feature: every class of it, lane by lane.
//!
//! Invariant: the order of classes and of features is fixed, so sums come out the same for ever.

use super::lanes::{Lanes, exp, map, root};

/// The softmax of each lane over the classes.
pub(super) fn softmax<const L: usize>(scores: &[Lanes<L>], shares: &mut [Lanes<L>]) {
    let mut most = [f64::NEG_INFINITY; L];
    for score in scores {
        most = map(|k| most[k].max(score[k]));
    }
    let mut total = [0.0; L];
    for (score, share) in scores.iter().zip(&mut *shares) {
        *share = exp(map::<L>(|k| score[k] - most[k]));
        total = map(|k| total[k] + share[k]);
    }
    for share in shares {
        *share = map(|k| share[k] / total[k]);
    }
}

/// Takes the squared gradients into the accumulators of a dense feature; `room` gets x times the
/// coordinate's rate.
pub(super) fn touch_dense<const L: usize>(
    blocks: &mut [f64],
    x: f64,
    scale: f64,
    weight: f64,
    gradients: &[Lanes<L>],
    room: &mut [Lanes<L>],
) {
    let blocks = blocks.chunks_exact_mut(2 * L);
    for ((block, g), room) in blocks.zip(gradients).zip(room) {
        for k in 0..L {
            block[L + k] += weight * g[k] * g[k] * x * x;
            room[k] = x / (block[L + k].max(1e-300).sqrt() * scale);
        }
    }
}

pub(super) fn gather<const L: usize>(x: f64, room: &[Lanes<L>], kappa: &mut [Lanes<L>]) {
    for (kappa, room) in kappa.iter_mut().zip(room) {
        for k in 0..L {
            kappa[k] += x * room[k];
        }
    }
}

/// Records whose scores move along a line: `scores + length · kappa`.
pub(super) struct Line<'a, const L: usize> {
    /// Scores a record.
    pub(super) outputs: usize,
    /// Record by record, class by class.
    pub(super) scores: &'a [Lanes<L>],
    /// In the same order.
    pub(super) kappa: &'a [Lanes<L>],
    /// The true classes.
    pub(super) classes: &'a [usize],
    /// The records' weights.
    pub(super) weights: &'a [f64],
}

impl<const L: usize> Line<'_, L> {
    /// Slope and curvature of the loss at a length.
    pub(super) fn at(&self, length: &Lanes<L>) -> (Lanes<L>, Lanes<L>) {
        let (mut slope, mut curve) = ([0.0; L], [0.0; L]);
        for (i, (class, h)) in self.classes.iter().zip(self.weights).enumerate() {
            let from = i * self.outputs;
            let scores = &self.scores[from..from + self.outputs];
            let kappa = &self.kappa[from..from + self.outputs];
            let at = |c: usize| map::<L>(|k| scores[c][k] + length[k] * kappa[c][k]);
            let mut most = at(0);
            for c in 1..self.outputs {
                let z = at(c);
                most = map(|k| most[k].max(z[k]));
            }
            let (mut total, mut first, mut second) = ([0.0; L], [0.0; L], [0.0; L]);
            for (c, kappa) in kappa.iter().enumerate() {
                let z = at(c);
                let e = exp(map::<L>(|k| z[k] - most[k]));
                for k in 0..L {
                    total[k] += e[k];
                    first[k] += e[k] * kappa[k];
                    second[k] += e[k] * kappa[k] * kappa[k];
                }
            }
            for k in 0..L {
                let mean = first[k] / total[k];
                slope[k] += h * (mean - kappa[*class][k]);
                curve[k] += h * (second[k] / total[k] - mean * mean).max(0.0);
            }
        }
        (slope, curve)
    }

    /// The length at whose end the slope, over that at the start and times the rate, is the length.
    pub(super) fn length(&self, rates: &Lanes<L>) -> Lanes<L> {
        let (start, curve) = self.at(&[0.0; L]);
        let falls = |k: usize| start[k] < 0.0 && (rates[k] / start[k]).is_finite();
        let c = map::<L>(|k| if falls(k) { -rates[k] / start[k] } else { 0.0 });
        let high = map::<L>(|k| if falls(k) { rates[k] } else { 0.0 });
        // One Newton step from 0, at which the function is −rate.
        let guess = map::<L>(|k| high[k] / (1.0 + c[k] * curve[k]));
        root(high, guess, |length| {
            let (slope, curve) = self.at(length);
            (
                map(|k| length[k] + c[k] * slope[k]),
                map(|k| 1.0 + c[k] * curve[k]),
            )
        })
    }
}
