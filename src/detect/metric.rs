//! The detector of single values: a record-ratio [`Series`] for each column.
//!
//! Invariant: the score of a row is that of its most surprising column; missing values
//! neither score nor teach.

use super::series::{Reading, Series};
use super::{Detector, Rows, Score, Share, below_one};
use crate::base::{Micros, Reader, Row, Scratch, StateError, Writer};

/// Record-ratio over every column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// By column.
    series: Vec<Series>,
}

impl Metric {
    /// Knows nothing.
    pub fn new() -> Metric {
        Metric::default()
    }

    fn value(dense: &[f64], index: usize) -> Option<f64> {
        let value = dense.get(index).copied()?;
        (!value.is_nan()).then_some(value)
    }

    fn readings<'a>(
        &'a self,
        dense: &'a [f64],
        time: Micros,
    ) -> impl Iterator<Item = (usize, f64, Reading)> + 'a {
        self.series.iter().enumerate().filter_map(move |(i, s)| {
            let value = Self::value(dense, i)?;
            Some((i, value, s.read(value, time)))
        })
    }

    /// Memory for a row of this width.
    pub fn memory_bytes(columns: usize) -> u64 {
        (size_of::<Metric>() + columns * size_of::<Series>()) as u64
    }
}

impl Detector for Metric {
    fn score_one(&self, x: Row<'_>, time: Micros, _: &mut Scratch) -> Score {
        let mut best = Score::default();
        for (_, _, r) in self.readings(x.dense, time) {
            best.raw = best.raw.max(r.raw);
            best.rank = best.rank.max(r.rank);
        }
        best
    }

    fn learn_one(&mut self, x: Row<'_>, time: Micros, normal: bool, _: &mut Scratch) {
        if self.series.len() < x.dense.len() {
            // A vector that grows by itself makes room for four, and there are many keys.
            let more = x.dense.len() - self.series.len();
            self.series.reserve_exact(more);
            self.series.resize_with(x.dense.len(), Series::default);
        }
        for i in 0..self.series.len() {
            if let Some(value) = Self::value(x.dense, i) {
                let reading = self.series[i].read(value, time);
                self.series[i].learn(&reading, normal);
            }
        }
    }

    fn relearn(&mut self, rows: &Rows, _: &mut Scratch) {
        for (column, series) in self.series.iter_mut().enumerate() {
            let values: Vec<(f64, Micros)> = rows
                .iter()
                .filter_map(|(dense, time)| Some((*dense.get(column)?, time)))
                .filter(|(value, _)| !value.is_nan())
                .collect();
            series.relearn(&values);
        }
    }

    fn explain(&self, x: Row<'_>, time: Micros, n: usize, _: &mut Scratch) -> Vec<Share> {
        let total: f64 = self.readings(x.dense, time).map(|(_, _, r)| r.rank).sum();
        let mut shares: Vec<Share> = self
            .readings(x.dense, time)
            .map(|(column, value, r)| Share {
                column: column as u32,
                value,
                expected: r.expected,
                share: if total > 0.0 && total.is_finite() {
                    r.rank / total
                } else {
                    0.0
                },
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.column.cmp(&b.column)));
        shares.truncate(n);
        shares
    }

    /// r / (1 + r): a half where a record is met.
    fn squash(&self, score: f64) -> f64 {
        below_one(score.max(0.0))
    }

    fn warm_up(&self) -> u64 {
        64
    }

    fn save(&self, out: &mut Writer) {
        out.u64("columns", self.series.len() as u64);
        for (i, series) in self.series.iter().enumerate() {
            out.nested(&i.to_string(), |w| series.save(w));
        }
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let columns = from.u64("columns")?;
        if columns > 1 << 20 {
            return Err(from.invalid("columns", "more than there can be"));
        }
        self.series.clear();
        self.series.reserve_exact(columns.min(64) as usize);
        for i in 0..columns {
            let mut series = Series::default();
            from.nested(&i.to_string(), |r| series.load(r))?;
            self.series.push(series);
        }
        Ok(())
    }
}
