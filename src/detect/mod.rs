//! Anomaly detectors: how strange is a record beside what was normal so far?
//!
//! Invariant: scoring takes `&self`; what may become normal is decided by the gate, never by a
//! budget.

mod cholesky;
mod gate;
mod gauss;
mod metric;
mod monitor;
mod pvalue;
mod series;
mod start;
mod voice;

pub use gauss::Gauss;
pub use metric::Metric;
pub use monitor::{Absorbed, Judgement, Monitor, Shift};
pub use pvalue::Calibration;

use crate::base::{Micros, Reader, Row, Scratch, StateError, Writer};

/// Which detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectorConfig {
    /// Decided once, after 64 records.
    Auto,
    /// Record-ratio with a seasonal residual, for single values.
    Metric,
    /// Online Mahalanobis distance, for several.
    Gauss,
}

/// One feature's share in a raw score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The dense column.
    pub column: u32,
    /// Its value; NaN where missing.
    pub value: f64,
    /// The value expected.
    pub expected: f64,
    /// Its share of the score, 0..1.
    pub share: f64,
}

/// What a detector says of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// How strange the record is: the detector's own scale, the more the stranger, never NaN.
    pub raw: f64,
    /// The same question on a scale that keeps its distribution while the detector learns, for
    /// p-values: near 1 for ordinary records, with a tail no heavier than a power.
    pub rank: f64,
}

/// A detector of one series.
pub trait Detector: Send {
    /// How strange the record is.
    fn score_one(&self, x: Row<'_>, time: Micros, s: &mut Scratch) -> Score;
    /// Takes the record in, as one that may (`normal`) or may not become part of what is normal.
    fn learn_one(&mut self, x: Row<'_>, time: Micros, normal: bool, s: &mut Scratch);
    /// Starts anew from rows that have become normal (oldest first); what is older counts no more.
    fn relearn(&mut self, rows: &Rows, s: &mut Scratch);
    /// The features that made the score, strongest first, at most `n`; shares sum to at most 1.
    fn explain(&self, x: Row<'_>, time: Micros, n: usize, s: &mut Scratch) -> Vec<Share>;
    /// Maps a raw score to [0, 1), strictly rising, the same for ever (so that scores of one
    /// model compare).
    fn squash(&self, score: f64) -> f64;
    /// How many records it wants before it says anything.
    fn warm_up(&self) -> u64;
    /// Writes everything that decides what it will say and learn.
    fn save(&self, out: &mut Writer);
    /// Reads it back; on an error the detector is not to be used.
    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError>;
}

/// A few dense rows with their times, kept aside: the start of a series, or its quarantine.
///
/// Rows may differ in width (columns only get more); what a row lacks is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    values: Vec<f64>,
    ends: Vec<u32>,
    times: Vec<i64>,
}

impl Rows {
    /// Adds a row at the end.
    pub fn push(&mut self, dense: &[f64], time: Micros) {
        self.values.extend_from_slice(dense);
        self.ends.push(self.values.len() as u32);
        self.times.push(time.0);
    }

    /// Drops the oldest `n` rows.
    pub fn drop_oldest(&mut self, n: usize) {
        let n = n.min(self.len());
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        self.values.drain(..start as usize);
        self.ends.drain(..n);
        self.times.drain(..n);
        for end in &mut self.ends {
            *end -= start;
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The widest row's width.
    pub fn width(&self) -> usize {
        self.iter().map(|(dense, _)| dense.len()).max().unwrap_or(0)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&[f64], Micros)> + '_ {
        self.ends.iter().enumerate().map(|(i, &end)| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            (
                &self.values[start as usize..end as usize],
                Micros(self.times[i]),
            )
        })
    }

    /// One column of all rows; NaN where missing.
    pub fn column(&self, column: usize) -> impl Iterator<Item = f64> + '_ {
        self.iter()
            .map(move |(dense, _)| dense.get(column).copied().unwrap_or(f64::NAN))
    }

    fn save(&self, out: &mut Writer) {
        out.f64s("values", &self.values);
        out.u32s("ends", &self.ends);
        let times: Vec<u64> = self.times.iter().map(|&t| t as u64).collect();
        out.u64s("times", &times);
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let values = from.f64s("values")?;
        let ends = from.u32s("ends")?;
        let times = from.u64s_of("times", ends.len())?;
        let last = ends.last().copied().unwrap_or(0) as usize;
        if last != values.len() || ends.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(from.invalid("ends", "rows do not add up to the values"));
        }
        self.values = values.to_vec();
        self.ends = ends.to_vec();
        self.times = times.iter().map(|&t| t as i64).collect();
        Ok(())
    }
}

/// A ratio in [0, 1) from one in [0, ∞), strictly rising as far as doubles can tell.
fn below_one(ratio: f64) -> f64 {
    const LARGEST: f64 = 1.0 - f64::EPSILON / 2.0;
    (ratio / (1.0 + ratio)).min(LARGEST)
}

/// Values so large that sums of squares would overflow carry no more information.
fn tame(x: f64) -> f64 {
    x.clamp(-1e100, 1e100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_width_come_back_in_order() {
        let mut rows = Rows::default();
        rows.push(&[1.0], Micros(1));
        rows.push(&[2.0, 3.0], Micros(2));
        rows.push(&[], Micros(3));
        rows.drop_oldest(1);
        let all: Vec<(Vec<f64>, i64)> = rows.iter().map(|(d, t)| (d.to_vec(), t.0)).collect();
        assert_eq!(all, [(vec![2.0, 3.0], 2), (vec![], 3)]);
        assert_eq!(rows.width(), 2);
        assert!(rows.column(1).nth(1).unwrap().is_nan());
    }

    #[test]
    fn even_an_infinite_ratio_stays_below_one() {
        assert_eq!(below_one(0.0), 0.0);
        assert!(below_one(1e12) < below_one(1e13));
        assert!(below_one(1e300) < 1.0);
    }
}
