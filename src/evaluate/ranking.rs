//! How well an anomaly detector's scores and flags agree with labels, where there are any.
//!
//! Scores are sorted into bins by s / (s + 2) with s = −ln(1 − score), so that fine distinctions are
//! made where scores usually lie, and some up to the largest score below 1.
//!
//! Invariant: observing changes no detector.

use crate::base::{Reader, StateError, Writer};
use crate::math;

use super::auc::Histogram;

const BINS: usize = 4096;
/// The strangeness −ln(1 − score) that lies in the middle of the bins.
const MIDDLE: f64 = 2.0;

/// Scores, flags and labels so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    scores: Histogram,
    flagged_positives: u64,
    flagged: u64,
    positives: u64,
    count: u64,
}

/// The figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RankingSummary {
    /// Area under the ROC curve of the score; `None` without both kinds of record.
    pub auc: Option<f64>,
    /// Average precision of the score; `None` without anomalies.
    pub average_precision: Option<f64>,
    /// Part of the flagged that are anomalies; `None` where nothing was flagged.
    pub precision: Option<f64>,
    /// Part of the anomalies that are flagged; `None` without anomalies.
    pub recall: Option<f64>,
}

impl Default for Ranking {
    fn default() -> Self {
        Ranking::new()
    }
}

impl Ranking {
    /// Nothing observed yet.
    pub fn new() -> Ranking {
        Ranking {
            scores: Histogram::new(BINS, 1.0),
            flagged_positives: 0,
            flagged: 0,
            positives: 0,
            count: 0,
        }
    }

    /// Takes in the score (0..1) of a labelled record, whether it is an anomaly, and whether it was
    /// flagged. A score that is not a number counts as 0.
    pub fn observe(&mut self, score: f64, positive: bool, flagged: bool) {
        let strangeness = -math::ln_1p(-score.clamp(0.0, 1.0 - f64::EPSILON / 2.0));
        let place = strangeness / (strangeness + MIDDLE) * BINS as f64;
        // A score of NaN saturates the conversion to 0.
        let bin = (place as usize).min(BINS - 1);
        self.scores.add(bin, positive, 1.0);
        self.count += 1;
        self.positives += u64::from(positive);
        self.flagged += u64::from(flagged);
        self.flagged_positives += u64::from(positive && flagged);
    }

    /// Records observed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The figures of all records.
    pub fn summary(&self) -> RankingSummary {
        let ratio = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        RankingSummary {
            auc: self.scores.auc(),
            average_precision: self.scores.average_precision(),
            precision: ratio(self.flagged_positives, self.flagged),
            recall: ratio(self.flagged_positives, self.positives),
        }
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        self.scores.save("scores", out);
        out.u64s(
            "counts",
            &[
                self.flagged_positives,
                self.flagged,
                self.positives,
                self.count,
            ],
        );
    }

    /// Reads it back.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.scores.load("scores", from)?;
        let c = from.counts_of("counts", 4)?;
        if c[0] > c[1].min(c[2]) || c[1].max(c[2]) > c[3] {
            return Err(from.invalid("counts", "do not fit together"));
        }
        self.flagged_positives = c[0];
        self.flagged = c[1];
        self.positives = c[2];
        self.count = c[3];
        Ok(())
    }
}
