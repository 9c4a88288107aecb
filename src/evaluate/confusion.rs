//! How often each class was said rightly, wrongly, or missed, with older records fading.
//!
//! Invariant: no more classes than the limit; every count is finite and at least 0.

use crate::base::{Reader, StateError, Writer};

/// The most classes that are told apart.
pub(super) const MAX_CLASSES: usize = 1024;
const LARGEST: f64 = 1e100;

/// Counts of `[right, said wrongly, missed]` by class. New records weigh ever more instead of old
/// ones ever less, so that a record costs two additions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Confusion {
    counts: Vec<[f64; 3]>,
    unit: f64,
    growth: f64,
}

impl Confusion {
    /// Records fade by `alpha` with each one that follows.
    pub(super) fn new(alpha: f64) -> Confusion {
        Confusion {
            counts: Vec::new(),
            unit: 1.0,
            growth: 1.0 / alpha,
        }
    }

    /// Takes a record in; a true class beyond the limit is left out, a said one is only a miss.
    pub(super) fn add(&mut self, said: usize, truth: usize, weight: f64) {
        let known = said < MAX_CLASSES;
        if truth >= MAX_CLASSES {
            return;
        }
        let classes = if known { said.max(truth) } else { truth } + 1;
        if classes > self.counts.len() {
            self.counts.resize(classes, [0.0; 3]);
        }
        let mass = self.unit * weight;
        if said == truth {
            self.counts[said][0] += mass;
        } else {
            if known {
                self.counts[said][1] += mass;
            }
            self.counts[truth][2] += mass;
        }
        self.unit *= self.growth;
        if self.unit > LARGEST {
            for count in self.counts.iter_mut().flatten() {
                *count /= self.unit;
            }
            self.unit = 1.0;
        }
    }

    /// The mean over the classes seen of 2·right / (2·right + wrong + missed).
    pub(super) fn macro_f1(&self) -> Option<f64> {
        let (mut sum, mut classes) = (0.0, 0.0);
        // What has all but faded is not seen.
        let least = 1e-9 * self.unit;
        for [right, wrong, missed] in &self.counts {
            let all = 2.0 * right + wrong + missed;
            if all > least {
                sum += 2.0 * right / all;
                classes += 1.0;
            }
        }
        (classes > 0.0).then(|| sum / classes)
    }

    pub(super) fn save(&self, name: &str, out: &mut Writer) {
        out.nested(name, |w| {
            w.f64s("counts", self.counts.as_flattened());
            w.f64("unit", self.unit);
        });
    }

    pub(super) fn load(&mut self, name: &str, from: &Reader<'_>) -> Result<(), StateError> {
        from.nested(name, |r| {
            let (counts, rest) = r.f64s("counts")?.as_chunks::<3>();
            let fine = |x: &f64| x.is_finite() && *x >= 0.0;
            if !rest.is_empty()
                || counts.len() > MAX_CLASSES
                || !counts.as_flattened().iter().all(fine)
            {
                return Err(r.invalid("counts", "not counts of classes"));
            }
            self.counts = counts.to_vec();
            self.unit = r.finite("unit")?;
            if self.unit < 1.0 {
                return Err(r.invalid("unit", "below 1"));
            }
            Ok(())
        })
    }
}
