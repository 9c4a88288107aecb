//! Probabilities of classes from scores.
//!
//! Invariant: the probabilities are above 0 and add up to 1.

use crate::base::{Label, Prediction, Scratch};
use crate::math;

/// No class is thought less likely, nor is one never seen, so that the loss stays bounded.
const LEAST: f64 = 1e-4;

/// The least probability of one of `classes`.
pub(super) fn least(classes: usize) -> f64 {
    LEAST.min(0.01 / classes as f64)
}

/// The most probable class, the first among equals, and its probability; where no class is known
/// yet, [`Prediction::NO_CLASS`].
pub(super) fn prediction(probabilities: &[f64]) -> Prediction {
    let mut best = Prediction {
        value: 0.0,
        class: Prediction::NO_CLASS,
    };
    for (class, p) in probabilities.iter().enumerate() {
        if *p > best.value {
            best = Prediction {
                value: *p,
                class: class as u32,
            };
        }
    }
    best
}

/// −ln of the probability of the true class.
pub(super) fn loss(y: Label, s: &Scratch) -> f64 {
    let Label::Class(class) = y else {
        return 0.0;
    };
    let p = s.probabilities.get(class as usize);
    (-math::ln(p.copied().unwrap_or(LEAST))).max(0.0)
}
