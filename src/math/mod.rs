//! Arithmetic that state depends on: the same bits on every machine and in every build of one
//! engine version.
//!
//! Invariant: no fused multiply-add, no CPU dispatch, no system libm; sums run in a fixed order.
//! Transcendental functions come from the `libm` crate, whose version the lock file pins.

mod hash;
mod moments;
mod random;

pub use hash::{NameHash, hash64, hash128, murmur3_32, murmur3_32_of_word};
pub use moments::Moments;
pub use random::Random;

/// e to the x.
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// The natural logarithm.
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// ln(1 + x), exact near zero.
pub fn ln_1p(x: f64) -> f64 {
    libm::log1p(x)
}

/// e to the x, minus one, exact near zero.
pub fn exp_m1(x: f64) -> f64 {
    libm::expm1(x)
}

/// x to the y.
pub fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

/// The cube root.
pub fn cbrt(x: f64) -> f64 {
    libm::cbrt(x)
}

/// The complementary error function.
pub fn erfc(x: f64) -> f64 {
    libm::erfc(x)
}

/// 1 / (1 + e^-z), without overflow for any z.
pub fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + exp(-z))
    } else {
        let e = exp(z);
        e / (1.0 + e)
    }
}

/// ln(1 + e^z), without overflow for any z (Mächler 2012, "Accurately computing log(1 − exp(−|a|))").
pub fn ln_1p_exp(z: f64) -> f64 {
    if z > 18.0 {
        z + exp(-z)
    } else if z < -37.0 {
        exp(z)
    } else {
        ln_1p(exp(z))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_and_softplus_hold_at_the_ends() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(1000.0), 1.0);
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(ln_1p_exp(1000.0), 1000.0);
        assert_eq!(ln_1p_exp(-1000.0), 0.0);
        assert!((ln_1p_exp(0.0) - std::f64::consts::LN_2).abs() < 1e-15);
    }
}
