//! Ridge and lasso on weights that are mostly not looked at: each weight remembers how much of the
//! penalty it has paid, and pays the rest when it is next used (Langford, Li & Zhang 2009,
//! "Sparse online learning via truncated gradient"; Tsuruoka, Tsujii & Ananiadou 2009).
//!
//! Invariant: a weight that is read has paid in full; the bias pays nothing.

use crate::base::{Reader, StateError, Writer};
use crate::math;

use super::table::Table;

/// The penalties, and who has paid.
#[derive(Clone, Debug, Default)]
pub(super) struct Penalty {
    l1: f64,
    l2: f64,
    /// Σ of the lengths of all steps.
    spent: f64,
    dense: Vec<f64>,
    /// By slot; empty where nothing is penalized.
    hashed: Vec<f64>,
}

impl Penalty {
    /// Ridge `l2` and lasso `l1` over `2^hash_bits` slots.
    pub(super) fn new(l1: f64, l2: f64, hash_bits: u32) -> Penalty {
        let any = l1 > 0.0 || l2 > 0.0;
        Penalty {
            l1,
            l2,
            spent: 0.0,
            dense: Vec::new(),
            hashed: vec![0.0; if any { 1 << hash_bits } else { 0 }],
        }
    }

    /// Whether there is any penalty.
    #[inline(always)]
    pub(super) fn active(&self) -> bool {
        !self.hashed.is_empty()
    }

    fn pay(&self, w: f64, paid: f64) -> f64 {
        let due = self.spent - paid;
        if due == 0.0 || w == 0.0 {
            return w;
        }
        let w = w * math::exp(-self.l2 * due);
        (w.abs() - self.l1 * due).max(0.0).copysign(w)
    }

    /// The weight of a dense column after it has paid.
    pub(super) fn dense(&self, column: usize, w: f64) -> f64 {
        match self.dense.get(column) {
            Some(paid) if self.active() => self.pay(w, *paid),
            _ => w,
        }
    }

    /// The weight of a slot after it has paid.
    pub(super) fn hashed(&self, slot: u32, w: f64) -> f64 {
        if self.active() {
            self.pay(w, self.hashed[slot as usize & (self.hashed.len() - 1)])
        } else {
            w
        }
    }

    /// Makes room for columns, which owe nothing yet.
    pub(super) fn grow(&mut self, columns: usize) {
        if self.active() && columns > self.dense.len() {
            self.dense.resize(columns, self.spent);
        }
    }

    /// Lets the first `weights` floats of each block twice that long pay, and notes it.
    pub(super) fn settle_dense(&mut self, column: usize, blocks: &mut [f64], weights: usize) {
        if !self.active() {
            return;
        }
        for block in blocks.chunks_exact_mut(2 * weights) {
            for w in &mut block[..weights] {
                *w = self.dense(column, *w);
            }
        }
        self.note_dense(column);
    }

    /// Notes that a column has paid.
    pub(super) fn note_dense(&mut self, column: usize) {
        if let Some(paid) = self.dense.get_mut(column) {
            *paid = self.spent;
        }
    }

    /// Notes that a slot has paid.
    pub(super) fn settle_hashed(&mut self, slot: u32) {
        if self.active() {
            let at = slot as usize & (self.hashed.len() - 1);
            self.hashed[at] = self.spent;
        }
    }

    /// A step of this length was made.
    pub(super) fn spend(&mut self, length: f64) {
        if self.active() {
            self.spent += length;
        }
    }

    /// Writes who has paid; `used` marks the slots in use.
    pub(super) fn save(&self, used: &Table, out: &mut Writer) {
        out.f64("penalty_spent", self.spent);
        out.f64s("penalty_dense", &self.dense);
        let hashed: Vec<f64> = if self.active() {
            used.used(0)
                .map(|(slot, _)| self.hashed[slot as usize])
                .collect()
        } else {
            Vec::new()
        };
        out.f64s("penalty_hashed", &hashed);
    }

    /// Reads back who of `columns` columns and the slots in use has paid.
    pub(super) fn load(
        &mut self,
        columns: usize,
        used: &Table,
        from: &Reader<'_>,
    ) -> Result<(), StateError> {
        let columns = if self.active() { columns } else { 0 };
        let slots: Vec<u32> = if self.active() {
            used.used(0).map(|(slot, _)| slot).collect()
        } else {
            Vec::new()
        };
        self.spent = from.finite("penalty_spent")?;
        self.dense = from.f64s_of("penalty_dense", columns)?.to_vec();
        let hashed = from.f64s_of("penalty_hashed", slots.len())?;
        let paid = self.dense.iter().chain(hashed);
        if self.spent < 0.0 || paid.clone().any(|p| !(0.0..=self.spent).contains(p)) {
            return Err(from.invalid("penalty_spent", "paid more than was asked"));
        }
        self.hashed.fill(0.0);
        for (slot, paid) in slots.iter().zip(hashed) {
            self.hashed[*slot as usize] = *paid;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paying_late_is_paying_the_same() {
        let mut p = Penalty::new(0.1, 0.0, 2);
        p.grow(1);
        let mut early = 1.0;
        for _ in 0..4 {
            p.spend(0.5);
            early = p.dense(0, early);
            p.note_dense(0);
        }
        assert!((early - p.hashed(1, 1.0)).abs() < 1e-12);
        assert!((p.hashed(1, 1.0) - 0.8).abs() < 1e-12);
        p.spend(100.0);
        assert_eq!(p.hashed(1, -1.0), 0.0);
    }
}
