//! How surprising a positive number is by its own history: minus the logarithm of its p-value under
//! a power-law tail above the largest 5 % (Hill 1975), with the uncertainty of its estimate in it.
//!
//! Invariant: under any continuous law with such a tail, the surprise of numbers in it is nearly
//! exponential with mean 1, whatever their scale. So surprises of different columns compare: one
//! that is often far out does not drown one that never is.
//!
//! The tail's start follows by stochastic approximation (Robbins & Monro 1951): O(1), four numbers.

use crate::base::{Reader, StateError, Writer};
use crate::math::{ln, ln_1p};

/// The share of numbers that makes the tail.
const SHARE: f64 = 0.05;
/// Numbers before anything is surprising.
const FROM: f64 = 64.0;
/// The start follows the last so many numbers, the excess the last so many in the tail.
const MEMORY: f64 = 4000.0;
const TAIL_MEMORY: f64 = 100.0;
/// Smaller ones are all alike (a logarithm: a thousandth).
const SMALLEST: f64 = -6.9;
/// The least excess, and mean excess: what always is the same may yet change a little.
const NARROWEST: f64 = 0.02;
/// No excess counts as more than so many mean ones: an accident must not stretch the tail.
const FARTHEST: f64 = 8.0;

/// The tail of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Voice {
    count: f64,
    /// Logarithm of where the tail starts, and the mean excess of logarithms over it.
    start: f64,
    excess: f64,
    /// Numbers in the tail so far.
    exceeded: f64,
}

impl Default for Voice {
    fn default() -> Self {
        Voice {
            count: 0.0,
            start: SMALLEST,
            excess: 0.3,
            exceeded: 0.0,
        }
    }
}

fn logarithm(x: f64) -> f64 {
    ln(x.max(f64::MIN_POSITIVE)).max(SMALLEST)
}

impl Voice {
    /// Takes one more number in.
    pub fn add(&mut self, x: f64) {
        let x = logarithm(x);
        self.count += 1.0;
        if self.count == 1.0 {
            self.start = x;
            return;
        }
        let rate = (1.0 / self.count).max(1.0 / MEMORY);
        let y = x - self.start;
        let above = if y > 0.0 {
            self.exceeded += 1.0;
            let rate = (1.0 / (self.exceeded + 4.0)).max(1.0 / TAIL_MEMORY);
            let y = y.min(FARTHEST * self.excess);
            self.excess = (self.excess + rate * (y - self.excess)).max(NARROWEST);
            1.0
        } else {
            0.0
        };
        // The density at the start of an exponential tail is its share over its mean.
        let step = rate * self.excess / SHARE * (above - SHARE);
        self.start = (self.start + step.min(self.excess)).max(SMALLEST);
    }

    /// The surprise of a number in the tail; `None` where it is an ordinary one.
    pub fn surprise(&self, x: f64) -> Option<f64> {
        let y = logarithm(x) - self.start;
        if self.count < FROM || y <= NARROWEST {
            return None;
        }
        let k = (self.exceeded + 4.0).min(TAIL_MEMORY);
        Some(Voice::ordinary() + k * ln_1p(y / self.excess / k))
    }

    /// The surprise at which the tail begins.
    pub fn ordinary() -> f64 {
        -ln(SHARE)
    }

    /// Writes voices side by side.
    pub fn save_all<'a>(voices: impl Iterator<Item = &'a Voice>, out: &mut Writer) {
        let numbers: Vec<f64> = voices
            .flat_map(|v| [v.count, v.start, v.excess, v.exceeded])
            .collect();
        out.f64s("voices", &numbers);
    }

    /// Reads so many back.
    pub fn load_all(n: usize, from: &Reader<'_>) -> Result<Vec<Voice>, StateError> {
        let (numbers, _) = from.f64s_of("voices", 4 * n)?.as_chunks::<4>();
        let voices = numbers
            .iter()
            .map(|&[count, start, excess, exceeded]| Voice {
                count,
                start,
                excess,
                exceeded,
            });
        let voices: Vec<Voice> = voices.collect();
        let sound = |v: &Voice| {
            let positive = v.count >= 0.0 && v.exceeded >= 0.0 && v.excess > 0.0;
            let finite = v.count.is_finite() && v.exceeded.is_finite() && v.excess.is_finite();
            positive && finite && v.start.is_finite()
        };
        if voices.iter().all(sound) {
            Ok(voices)
        } else {
            Err(from.invalid("voices", "out of range"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{Random, exp};

    #[test]
    fn surprise_is_exponential_whatever_the_scale_and_tail() {
        let mut r = Random::new(1);
        for power in [0.5, 1.0, 3.0] {
            let mut next = || 1e3 * (-ln(1.0 - r.uniform())).powf(power);
            let mut v = Voice::default();
            let mut beyond = [0u32; 3];
            for i in 0..200_000 {
                let x = next();
                if i >= 1000 {
                    let s = v.surprise(x).unwrap_or(0.0);
                    for (n, level) in beyond.iter_mut().zip([3.0, 6.0, 9.0]) {
                        *n += u32::from(s > level);
                    }
                }
                v.add(x);
            }
            for (n, level) in beyond.into_iter().zip([3.0, 6.0, 9.0]) {
                let ratio = f64::from(n) / (199_000.0 * exp(-level));
                assert!(ratio < 2.5, "{power}, {level}: {ratio}");
                // A lighter tail than a power's is taken for heavier the further out.
                assert!(level > 6.0 || ratio > 0.1, "{power}, {level}: {ratio}");
            }
        }
    }

    #[test]
    fn what_was_always_the_same_is_surprising_when_it_changes() {
        let mut v = Voice::default();
        for _ in 0..500 {
            v.add(0.0);
        }
        assert_eq!(v.surprise(0.0), None);
        assert!(v.surprise(20.0).unwrap() > 10.0);
    }

    #[test]
    fn one_accident_does_not_stretch_the_tail() {
        let mut r = Random::new(1);
        let mut v = Voice::default();
        for i in 0..3000 {
            v.add(if i == 100 { 1e9 } else { r.normal().abs() });
        }
        assert!(v.surprise(12.0).unwrap() > 11.0, "{v:?}");
    }
}
