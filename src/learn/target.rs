//! The quantity to be predicted, brought to a size the learner can work with as it streams.
//!
//! Weights are kept in units of the deviation at the time learning began (the reference), and the
//! learning rate is multiplied by today's deviation over the reference. That is the same as
//! standardizing the target anew at each record and rewriting every weight so that the
//! predictions stay what they were, only without touching the weights.
//!
//! Invariant: every number is finite; the unit is above 0 once there is one.

use crate::base::{Reader, StateError, Writer};
use crate::math::Moments;

/// Records before learning begins: a deviation of fewer says little, and gradients taken with a
/// wrong one stay in the accumulators.
const WARM_UP: f64 = 8.0;
/// Larger labels are refused.
pub(crate) const LARGEST: f64 = 1e30;
/// From so many records on, a label further than `FAR` deviations counts as one just so far.
const SETTLED: f64 = 100.0;
const FAR: f64 = 100.0;
/// The unit is taken anew when the deviation has changed by more than this factor.
const STALE: f64 = 1e3;

/// Mean, deviation and range of the labels, and the reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Target {
    moments: Moments,
    low: f64,
    high: f64,
    offset: f64,
    /// 0 until learning begins.
    unit: f64,
}

impl Target {
    /// Whether learning has begun.
    pub(crate) fn warm(&self) -> bool {
        self.unit > 0.0
    }

    /// The mean label, 0 before any.
    pub(crate) fn mean(&self) -> f64 {
        self.moments.mean
    }

    /// Label units in one unit of the weights; 1 before learning begins.
    pub(crate) fn unit(&self) -> f64 {
        if self.warm() { self.unit } else { 1.0 }
    }

    /// What a score of 0 stands for.
    pub(crate) fn offset(&self) -> f64 {
        self.offset
    }

    /// What learning rates are to be multiplied by.
    pub(crate) fn rate(&self) -> f64 {
        self.moments.deviation() / self.unit
    }

    /// A score as a label, held inside the range of the labels seen.
    #[inline]
    pub(crate) fn to_label(&self, score: f64) -> f64 {
        (score * self.unit + self.offset)
            .max(self.low)
            .min(self.high)
    }

    /// A label as a score.
    #[inline]
    pub(crate) fn to_score(&self, label: f64) -> f64 {
        (label - self.offset) / self.unit
    }

    /// The label to learn from in place of this one.
    pub(crate) fn tame(&self, label: f64) -> f64 {
        let far = FAR * self.moments.deviation();
        if self.moments.count >= SETTLED && far > 0.0 {
            label.clamp(self.moments.mean - far, self.moments.mean + far)
        } else {
            label
        }
    }

    /// Takes a (tamed) label in. Returns the factor by which weights in the old unit are to be
    /// multiplied, if the unit has changed.
    pub(crate) fn learn(&mut self, label: f64) -> Option<f64> {
        if self.moments.count == 0.0 {
            (self.low, self.high) = (label, label);
        }
        self.low = self.low.min(label);
        self.high = self.high.max(label);
        self.moments.add(label);
        let deviation = self.moments.deviation();
        let noise = 1e-12 * self.low.abs().max(self.high.abs());
        if deviation <= noise || self.moments.count < WARM_UP {
            return None;
        }
        if !self.warm() {
            self.offset = self.moments.mean;
            self.unit = deviation;
            return None;
        }
        let ratio = deviation / self.unit;
        if (1.0 / STALE..=STALE).contains(&ratio) {
            return None;
        }
        self.unit = deviation;
        Some(1.0 / ratio)
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        let m = &self.moments;
        out.f64s(
            "target",
            &[
                m.count,
                m.mean,
                m.squares,
                self.low,
                self.high,
                self.offset,
                self.unit,
            ],
        );
    }

    pub(crate) fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let v = from.f64s_of("target", 7)?;
        if v.iter().any(|x| !x.is_finite()) || v[0] < 0.0 || v[3] > v[4] || v[6] < 0.0 {
            return Err(from.invalid("target", "makes no sense"));
        }
        self.moments = Moments {
            count: v[0],
            mean: v[1],
            squares: v[2],
        };
        (self.low, self.high) = (v[3], v[4]);
        (self.offset, self.unit) = (v[5], v[6]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_labels_are_two_names_of_one_thing() {
        let mut t = Target::default();
        for i in 0..20 {
            t.learn(450.0 + f64::from(i));
        }
        assert!(t.warm());
        let label = t.to_label(t.to_score(455.5));
        assert!((label - 455.5).abs() < 1e-9);
        assert_eq!(t.to_label(1e9), 469.0);
    }

    #[test]
    fn a_constant_label_is_never_divided_by_its_deviation() {
        let mut t = Target::default();
        for _ in 0..1000 {
            assert_eq!(t.learn(0.1), None);
        }
        assert!(!t.warm());
        assert_eq!(t.mean(), 0.1);
    }

    #[test]
    fn a_grown_deviation_renews_the_unit() {
        let mut t = Target::default();
        for i in 0..10 {
            t.learn(f64::from(i % 2));
        }
        let old = t.unit();
        let factors: Vec<f64> = (0..50)
            .filter_map(|i| t.learn(f64::from(i % 2) * 1e9))
            .collect();
        assert!(!factors.is_empty());
        let product: f64 = factors.iter().product();
        assert!((t.unit() * product / old - 1.0).abs() < 1e-9);
    }
}
