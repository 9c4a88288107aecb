//! Mixing the lanes of the race: Bayesian weights with a fixed share (Vovk 1990; Herbster &
//! Warmuth 1998, "Tracking the best expert").
//!
//! Invariant: the weights are above 0 and add up to 1.

use crate::base::{Reader, StateError, Writer};

use super::Lane;
use super::lanes::{Lanes, sum};

/// The learning rates that race: factors of four around Vowpal Wabbit's 0.5, upwards, since no
/// one of them is right for every stream.
pub(crate) const RATES: Lanes<4> = [0.5, 2.0, 8.0, 32.0];

/// The part of the weight that is dealt out anew at each record, so that a lane that was bad can
/// come back within a few hundred records.
const SHARE: f64 = 1e-3;

/// The lanes' mean losses fade over about this many records.
const FADE: f64 = 1e-3;

/// The weights of the lanes and how they have done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixture<const L: usize> {
    /// The learning rates.
    pub(crate) rates: Lanes<L>,
    weights: Lanes<L>,
    losses: Lanes<L>,
    records: f64,
}

impl<const L: usize> Mixture<L> {
    /// Lanes of equal weight.
    pub(crate) fn new(rates: Lanes<L>) -> Self {
        Mixture {
            rates,
            weights: [1.0 / L as f64; L],
            losses: [0.0; L],
            records: 0.0,
        }
    }

    /// The mean of the lanes.
    #[inline(always)]
    pub(crate) fn mix(&self, x: &Lanes<L>) -> f64 {
        let mut mean = self.weights[0] * x[0];
        for k in 1..L {
            mean += self.weights[k] * x[k];
        }
        mean
    }

    /// The learning rate, lanes mixed.
    pub(crate) fn rate(&self) -> f64 {
        self.mix(&self.rates)
    }

    /// Takes in how likely each lane thought what came true (up to a common factor), and its loss.
    #[inline(always)]
    pub(crate) fn observe(&mut self, likelihood: &Lanes<L>, losses: &Lanes<L>) {
        let mut w: Lanes<L> = std::array::from_fn(|k| self.weights[k] * likelihood[k]);
        let total = sum(&w);
        // Likelihoods are bounded below, so only a product of tiny ones could vanish.
        if total > 0.0 {
            for x in &mut w {
                *x = (1.0 - SHARE) * *x / total + SHARE / L as f64;
            }
            self.weights = w;
        }
        self.records += 1.0;
        let a = (1.0 / self.records).max(FADE);
        for (mean, loss) in self.losses.iter_mut().zip(losses) {
            *mean += a * (loss - *mean);
        }
    }

    /// The lanes for people; losses are multiplied by `unit`.
    pub(crate) fn report(&self, unit: f64) -> Vec<Lane> {
        (0..L)
            .map(|k| Lane {
                rate: self.rates[k],
                loss: self.losses[k] * unit,
                weight: self.weights[k],
            })
            .collect()
    }

    /// The lanes' losses in another unit.
    pub(crate) fn rescale(&mut self, factor: f64) {
        for loss in &mut self.losses {
            *loss *= factor;
        }
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        out.f64s("mixture", &self.weights);
        out.f64s("lane_losses", &self.losses);
        out.f64("lane_records", self.records);
    }

    pub(crate) fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.weights.copy_from_slice(from.f64s_of("mixture", L)?);
        self.losses.copy_from_slice(from.f64s_of("lane_losses", L)?);
        self.records = from.finite("lane_records")?;
        if self.weights.iter().any(|w| !(*w > 0.0 && *w <= 1.0)) {
            return Err(from.invalid("mixture", "a weight outside 0..1"));
        }
        if self.losses.iter().any(|l| !l.is_finite()) || self.records < 0.0 {
            return Err(from.invalid("lane_losses", "not finite"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_lane_wins_and_a_forgotten_one_comes_back() {
        let mut m = Mixture::new(RATES);
        for _ in 0..500 {
            m.observe(&[0.5, 0.9, 0.5, 0.1], &[0.7, 0.1, 0.7, 2.3]);
        }
        assert!(m.weights[1] > 0.99);
        for _ in 0..30 {
            m.observe(&[0.5, 0.1, 0.5, 0.9], &[0.7, 2.3, 0.7, 0.1]);
        }
        assert!(m.weights[3] > 0.9);
        assert!((sum(&m.weights) - 1.0).abs() < 1e-12);
    }
}
