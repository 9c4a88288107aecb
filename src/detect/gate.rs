//! The gate: anomalies do not become normal, unless they persist.
//!
//! Invariant: what passes depends on p-values at a constant level (or on `healthy`), never on a
//! budget. Gated rows wait in a bounded quarantine; when more than half of the last 64 records
//! were gated, the stream has changed, and the quarantine becomes what is normal. What comes back
//! again and again, though each time alone, passes as well: once in a hundred records is not rare.

use super::Rows;
use crate::base::{Micros, Reader, StateError, Writer};

/// A record is learned as normal if its p-value lies above this.
const LEVEL: f64 = 1e-3;
/// Of the last 64 records, more than so many gated make a change.
const MOST: u32 = 32;
/// What is too strange for the level in more than this share of records, ten times what the level
/// promises, counted over about so many, recurs.
const RECURRING: f64 = 0.01;
const COUNTED: f64 = 512.0;
/// A strange record within so many after another is of the same episode, and not counted.
const EPISODE: u32 = 8;
/// Values in quarantine at most.
const VALUES: usize = 8192;

/// Which of the last 64 records were gated, and what they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gate {
    /// Bit 0: the last record.
    recent: u64,
    rows: Rows,
    scores: Vec<f64>,
    /// Share of records that began an episode, and records since the last strange one.
    recurring: f64,
    ordinary_for: u32,
}

impl Gate {
    /// Bytes at most, with rows of this width.
    pub fn memory_bytes(columns: usize) -> u64 {
        let rows = (VALUES / columns.max(1)).min(64);
        (size_of::<Gate>() + rows * (columns * 8 + 20)) as u64
    }

    /// Whether a record with this p-value may be learned as normal.
    pub fn admits(&mut self, p_value: f64) -> bool {
        let strange = p_value <= LEVEL;
        let begins = strange && self.ordinary_for >= EPISODE;
        self.recurring += (f64::from(u8::from(begins)) - self.recurring) / COUNTED;
        self.ordinary_for = if strange {
            0
        } else {
            self.ordinary_for.saturating_add(1)
        };
        !strange || self.recurring > RECURRING
    }

    /// A record passed.
    pub fn passed(&mut self) {
        self.shift(0);
    }

    /// A record was kept out; true if the stream has changed.
    pub fn kept_out(&mut self, dense: &[f64], time: Micros, score: f64) -> bool {
        self.rows.push(dense, time);
        self.scores.push(score);
        self.shift(1);
        let too_wide = self.rows.len().saturating_sub(1) * dense.len() > VALUES;
        if too_wide {
            self.drop_oldest(1);
        }
        self.recent.count_ones() > MOST
    }

    fn shift(&mut self, gated: u64) {
        self.recent = self.recent << 1 | gated;
        let waiting = self.recent.count_ones() as usize;
        if self.rows.len() > waiting {
            self.drop_oldest(self.rows.len() - waiting);
        }
    }

    fn drop_oldest(&mut self, n: usize) {
        self.rows.drop_oldest(n);
        self.scores.drain(..n.min(self.scores.len()));
    }

    /// Empties the quarantine: its rows and their mean score.
    pub fn release(&mut self) -> (Rows, f64) {
        let mean = self.scores.iter().sum::<f64>() / self.scores.len().max(1) as f64;
        self.recent = 0;
        self.recurring = 0.0;
        self.ordinary_for = 0;
        self.scores.clear();
        (std::mem::take(&mut self.rows), mean)
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        out.u64s("recent", &[self.recent, u64::from(self.ordinary_for)]);
        out.f64("recurring", self.recurring);
        out.f64s("scores", &self.scores);
        out.nested("rows", |w| self.rows.save(w));
    }

    /// Reads it back.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let recent = from.u64s_of("recent", 2)?;
        self.recent = recent[0];
        self.ordinary_for =
            u32::try_from(recent[1]).map_err(|_| from.invalid("recent", "beyond counting"))?;
        self.recurring = from.finite("recurring")?;
        let rows = &mut self.rows;
        from.nested("rows", |r| rows.load(r))?;
        if self.rows.len() > self.recent.count_ones() as usize {
            return Err(from.invalid("recent", "fewer gated records than rows in quarantine"));
        }
        let scores = from.f64s_of("scores", self.rows.len())?;
        if scores.iter().any(|s| !(0.0..1.0).contains(s)) {
            return Err(from.invalid("scores", "not in [0, 1)"));
        }
        self.scores = scores.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_when_more_than_half_of_the_last_64_were_kept_out() {
        let mut gate = Gate::default();
        for i in 0..63 {
            if i % 2 == 0 {
                assert!(!gate.kept_out(&[1.0], Micros(i), 0.9), "{i}");
            } else {
                gate.passed();
            }
        }
        assert!(gate.kept_out(&[1.0], Micros(63), 0.8));
        let (rows, mean) = gate.release();
        assert_eq!(rows.len(), 33);
        assert!((mean - (32.0 * 0.9 + 0.8) / 33.0).abs() < 1e-12);
    }

    #[test]
    fn what_recurs_is_let_in_and_a_burst_or_a_rarity_is_not() {
        let until = |every: i32, length: i32| {
            let mut gate = Gate::default();
            (0..5000).find(|i| {
                let strange = i % every < length;
                gate.admits(if strange { 1e-9 } else { 0.5 }) && strange
            })
        };
        assert!(until(40, 1).is_some_and(|n| n < 500));
        assert_eq!(until(300, 1), None);
        assert_eq!(until(300, 30), None);
    }

    #[test]
    fn forgets_what_lies_64_records_back_and_stays_bounded() {
        let mut gate = Gate::default();
        for i in 0..10_000 {
            gate.kept_out(&[0.0; 1000], Micros(i), 0.5);
            assert!(gate.rows.len() <= 10);
        }
        for _ in 0..64 {
            gate.passed();
        }
        assert!(gate.rows.is_empty() && gate.scores.is_empty());
    }
}
