//! The area under the ROC curve of a stream, from a histogram of the scores for each class.
//!
//! Older records fade by letting new ones weigh more: a record costs one addition, whatever the
//! number of bins. Scores in one bin count as equal, so the error is at most half the chance that a
//! positive and a negative share a bin.
//!
//! Invariant: every mass is finite and at least 0.

use crate::base::{Reader, StateError, Writer};

/// Masses by score, of the negatives and of the positives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    bins: [Vec<f64>; 2],
    /// What a new record of weight 1 weighs.
    unit: f64,
    /// How much more the next one weighs.
    growth: f64,
}

/// When the unit is larger, all masses are divided by it.
const LARGEST: f64 = 1e100;

impl Histogram {
    /// Records fade by `alpha` with each one that follows.
    pub(super) fn new(bins: usize, alpha: f64) -> Histogram {
        Histogram {
            bins: [vec![0.0; bins], vec![0.0; bins]],
            unit: 1.0,
            growth: 1.0 / alpha,
        }
    }

    /// Takes a record in.
    pub(super) fn add(&mut self, bin: usize, positive: bool, weight: f64) {
        self.bins[usize::from(positive)][bin] += self.unit * weight;
        self.unit *= self.growth;
        if self.unit > LARGEST {
            for mass in self.bins.iter_mut().flatten() {
                *mass /= self.unit;
            }
            self.unit = 1.0;
        }
    }

    /// The chance that a positive has a higher score than a negative, ties half; `None` without
    /// both.
    pub(super) fn auc(&self) -> Option<f64> {
        let [negatives, positives] = &self.bins;
        let (mut below, mut area) = (0.0, 0.0);
        for (n, p) in negatives.iter().zip(positives) {
            area += p * (below + 0.5 * n);
            below += n;
        }
        let pairs = below * positives.iter().sum::<f64>();
        (pairs > 0.0).then(|| area / pairs)
    }

    /// Σ over falling thresholds of precision · gain of recall; `None` without positives.
    pub(super) fn average_precision(&self) -> Option<f64> {
        let [negatives, positives] = &self.bins;
        let total: f64 = positives.iter().sum();
        let (mut seen, mut hits, mut sum) = (0.0, 0.0, 0.0);
        for (n, p) in negatives.iter().zip(positives).rev() {
            seen += n + p;
            hits += p;
            if *p > 0.0 {
                sum += p * hits / seen;
            }
        }
        (total > 0.0).then(|| sum / total)
    }

    pub(super) fn save(&self, name: &str, out: &mut Writer) {
        out.nested(name, |w| {
            w.f64s("negative", &self.bins[0]);
            w.f64s("positive", &self.bins[1]);
            w.f64("unit", self.unit);
        });
    }

    pub(super) fn load(&mut self, name: &str, from: &Reader<'_>) -> Result<(), StateError> {
        from.nested(name, |r| {
            for (bins, name) in self.bins.iter_mut().zip(["negative", "positive"]) {
                let masses = r.f64s_of(name, bins.len())?;
                if masses.iter().any(|m| !(m.is_finite() && *m >= 0.0)) {
                    return Err(r.invalid(name, "not masses"));
                }
                bins.copy_from_slice(masses);
            }
            self.unit = r.finite("unit")?;
            if self.unit < 1.0 {
                return Err(r.invalid("unit", "below 1"));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_records_fade_and_the_unit_stays_bounded() {
        let mut h = Histogram::new(4, 0.99);
        for _ in 0..1000 {
            h.add(0, true, 1.0);
            h.add(3, false, 1.0);
        }
        assert_eq!(h.auc(), Some(0.0));
        for _ in 0..30_000 {
            h.add(3, true, 1.0);
            h.add(0, false, 1.0);
        }
        assert!(h.auc().unwrap() > 0.999_999);
        assert!(h.unit <= LARGEST);
    }

    #[test]
    fn ties_count_half() {
        let mut h = Histogram::new(2, 1.0);
        h.add(1, true, 1.0);
        assert_eq!(h.auc(), None);
        h.add(1, false, 1.0);
        assert_eq!(h.auc(), Some(0.5));
        assert_eq!(h.average_precision(), Some(0.5));
    }
}
