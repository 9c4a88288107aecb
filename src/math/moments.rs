//! Running mean and variance of one number (Welford 1962), exact and stable.

/// Count, mean and sum of squared deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Weight seen so far.
    pub count: f64,
    /// Mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub squares: f64,
}

impl Moments {
    /// Takes one more value in.
    pub fn add(&mut self, x: f64) {
        self.add_weighted(x, 1.0);
    }

    /// Takes one more value in, with a weight above 0.
    pub fn add_weighted(&mut self, x: f64, weight: f64) {
        self.count += weight;
        let delta = x - self.mean;
        self.mean += delta * weight / self.count;
        self.squares += weight * delta * (x - self.mean);
    }

    /// The variance over the count; 0 before two values.
    pub fn variance(&self) -> f64 {
        if self.count > 0.0 {
            (self.squares / self.count).max(0.0)
        } else {
            0.0
        }
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        self.variance().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_two_pass_formula(xs in proptest::collection::vec(-1e3f64..1e3, 1..50)) {
            let mut m = Moments::default();
            for &x in &xs {
                m.add(x);
            }
            let n = xs.len() as f64;
            let mean = xs.iter().sum::<f64>() / n;
            let variance = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            prop_assert!((m.mean - mean).abs() < 1e-9);
            prop_assert!((m.variance() - variance).abs() < 1e-7);
        }
    }
}
