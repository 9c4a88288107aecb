//! Arithmetic on a few lanes at once: plain arrays in plain loops, which the compiler turns into
//! vector instructions.
//!
//! Invariant: one fixed order of operations, no fused multiply-add, no system libm, so that the
//! same input gives the same bits everywhere.

/// A number for each lane.
pub(crate) type Lanes<const L: usize> = [f64; L];

/// Applies a function lane by lane.
#[inline]
pub(crate) fn map<const L: usize>(f: impl FnMut(usize) -> f64) -> Lanes<L> {
    std::array::from_fn(f)
}

/// The sum of the lanes, from the first to the last.
#[inline]
pub(crate) fn sum<const L: usize>(x: &Lanes<L>) -> f64 {
    x.iter().fold(0.0, |a, b| a + b)
}

/// Coefficients 1/n! of the series of e^r, from r^0 on.
const SERIES: [f64; 14] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];
/// ln 2 in two parts, the first with so few digits that a small multiple of it is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Adding it rounds a number below 2^51 to an integer, which then stands in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// e^x for each lane, to within a few units in the last place. Below -708 it is e^-708, above
/// 709 it is e^709, so the result is always finite and above 0.
#[inline]
pub(crate) fn exp<const L: usize>(x: Lanes<L>) -> Lanes<L> {
    map(|k| {
        let x = x[k].clamp(-708.0, 709.0);
        let shifted = x * std::f64::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        // Estrin's scheme: independent products instead of one long chain.
        let c = &SERIES;
        let r2 = r * r;
        let r4 = r2 * r2;
        let a = (c[0] + c[1] * r) + (c[2] + c[3] * r) * r2;
        let b = (c[4] + c[5] * r) + (c[6] + c[7] * r) * r2;
        let d = (c[8] + c[9] * r) + (c[10] + c[11] * r) * r2;
        let e = c[12] + c[13] * r;
        let series = a + (b + (d + e * r4) * r4) * r4;
        let exponent = shifted.to_bits().wrapping_add(1023) << 52;
        series * f64::from_bits(exponent)
    })
}

/// 1 / (1 + e^-z) for each lane.
#[inline]
pub(crate) fn sigmoid<const L: usize>(z: Lanes<L>) -> Lanes<L> {
    let e = exp(map::<L>(|k| -z[k].abs()));
    map(|k| (if z[k] >= 0.0 { 1.0 } else { e[k] }) / (1.0 + e[k]))
}

/// 1 - e^-t for t >= 0, exact near zero.
#[inline]
pub(crate) fn one_minus_exp<const L: usize>(t: Lanes<L>) -> Lanes<L> {
    let e = exp(map::<L>(|k| -t[k]));
    map(|k| {
        let t = t[k];
        if t < 1e-4 {
            t - t * t * (0.5 - t / 6.0)
        } else {
            1.0 - e[k]
        }
    })
}

/// The root of an increasing function on `0..=high` for each lane, by Newton's method kept
/// inside a bracket that shrinks; `f` gives value and slope (above 0) of every lane. The function
/// must be at most 0 at 0 and at least 0 at `high`.
#[inline]
pub(crate) fn root<const L: usize>(
    high: Lanes<L>,
    mut f: impl FnMut(&Lanes<L>) -> (Lanes<L>, Lanes<L>),
) -> Lanes<L> {
    let mut a: Lanes<L> = [0.0; L];
    let mut b = high;
    let mut x = high;
    // Bisection alone would need 50 steps for all digits; Newton usually needs four.
    for _ in 0..50 {
        let (value, slope) = f(&x);
        let mut moved = false;
        for k in 0..L {
            if value[k] > 0.0 {
                b[k] = x[k];
            } else {
                a[k] = x[k];
            }
            let newton = x[k] - value[k] / slope[k];
            let inside = newton > a[k] && newton < b[k];
            // From far right a Newton step falls far left and back again: halve instead.
            let next = if inside && newton >= 0.1 * x[k] {
                newton
            } else {
                0.5 * (a[k] + b[k])
            };
            let done = value[k] == 0.0 || (next - x[k]).abs() <= 1e-13 * high[k];
            if !done {
                moved = true;
            }
            x[k] = if value[k] == 0.0 { x[k] } else { next };
        }
        if !moved {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_agrees_with_the_library(x in -700f64..700.0) {
            let got = exp([x, 0.0])[0];
            let want = crate::math::exp(x);
            prop_assert!((got - want).abs() <= 1e-14 * want, "{got} {want}");
        }

        #[test]
        fn one_minus_exp_keeps_its_digits(t in -12f64..2.0) {
            let t = crate::math::exp(t * 2.0);
            let want = -crate::math::exp_m1(-t);
            let got = one_minus_exp([t])[0];
            prop_assert!((got - want).abs() <= 1e-11 * want);
        }

        #[test]
        fn root_solves_the_implicit_logistic_step(a in -60f64..60.0, log_c in -10f64..10.0) {
            let c = crate::math::exp(log_c);
            let high = c * crate::math::sigmoid(-a);
            let s = root([high], |s| {
                let g = sigmoid([-(a + s[0])])[0];
                ([s[0] - c * g], [1.0 + c * g * (1.0 - g)])
            })[0];
            let residual = s - c * crate::math::sigmoid(-(a + s));
            prop_assert!(residual.abs() <= 1e-10 * (1.0 + high), "{s} {residual}");
        }
    }

    #[test]
    fn the_ends_stay_finite() {
        for x in [f64::MAX, -f64::MAX, 1e300, -1e300] {
            let e = exp([x])[0];
            assert!(e.is_finite() && e > 0.0);
            assert!((0.0..=1.0).contains(&sigmoid([x])[0]));
        }
    }
}
