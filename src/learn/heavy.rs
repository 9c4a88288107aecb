//! The heaviest weights of many.
//!
//! Invariant: at most `n` are kept; ties go by place, so the answer does not depend on the order
//! in which weights are offered.

use super::{HeavyWeight, WeightAt};

/// Keeps the `n` heaviest.
pub(super) struct Heaviest {
    limit: usize,
    kept: Vec<HeavyWeight>,
}

impl Heaviest {
    /// For `n` weights.
    pub(super) fn new(n: usize) -> Heaviest {
        Heaviest {
            limit: n,
            kept: Vec::new(),
        }
    }

    /// Offers one; zeros are not kept.
    pub(super) fn offer(&mut self, at: WeightAt, class: u32, weight: f64) {
        if weight != 0.0 {
            self.kept.push(HeavyWeight { at, class, weight });
            if self.kept.len() > 2 * self.limit + 64 {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        self.kept.sort_unstable_by(|a, b| {
            let by_weight = b.weight.abs().total_cmp(&a.weight.abs());
            by_weight.then((a.at, a.class).cmp(&(b.at, b.class)))
        });
        self.kept.truncate(self.limit);
    }

    /// The heaviest first.
    pub(super) fn finish(mut self) -> Vec<HeavyWeight> {
        self.cut();
        self.kept
    }
}
