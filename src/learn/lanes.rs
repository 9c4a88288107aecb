//! Arithmetic on a few lanes at once: plain arrays in plain loops, which the compiler turns into
//! vector instructions.
//!
//! Invariant: one fixed order of operations, no fused multiply-add, no system libm, so that the
//! same input gives the same bits everywhere.

/// A number for each lane.
pub(crate) type Lanes<const L: usize> = [f64; L];

/// Applies a function lane by lane.
#[inline(always)]
pub(crate) fn map<const L: usize>(mut f: impl FnMut(usize) -> f64) -> Lanes<L> {
    let mut out = [0.0; L];
    for k in 0..L {
        out[k] = f(k);
    }
    out
}

/// The sum of the lanes, from the first to the last.
#[inline(always)]
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
#[inline(always)]
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
#[inline(always)]
pub(crate) fn sigmoid<const L: usize>(z: Lanes<L>) -> Lanes<L> {
    let e = exp(map::<L>(|k| -z[k].abs()));
    map(|k| (if z[k] >= 0.0 { 1.0 } else { e[k] }) / (1.0 + e[k]))
}

/// 1 - e^-t for t >= 0, exact near zero.
#[inline(always)]
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

/// ln x for each lane, to within a few units in the last place, for normal x above 0.
#[inline(always)]
pub(crate) fn ln<const L: usize>(x: Lanes<L>) -> Lanes<L> {
    /// The bits of √½: taking them off puts the mantissa into √½..√2.
    const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    /// 2^52, whose low bits hold an integer below it.
    const HOLDER: u64 = 0x4330_0000_0000_0000;
    map(|k| {
        let bits = x[k].to_bits().wrapping_sub(ROOT_HALF);
        let exponent = (bits >> 52) ^ 0x800;
        let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(ROOT_HALF));
        // The exponent as a number: it was made positive by flipping its sign bit.
        let n = f64::from_bits(HOLDER | exponent) - f64::from_bits(HOLDER | 0x800);
        // ln m = 2 artanh((m − 1) / (m + 1))
        let t = (mantissa - 1.0) / (mantissa + 1.0);
        let t2 = t * t;
        let t4 = t2 * t2;
        let a = (2.0 / 3.0 + t2 * (2.0 / 5.0)) + t4 * (2.0 / 7.0 + t2 * (2.0 / 9.0));
        let b = (2.0 / 11.0 + t2 * (2.0 / 13.0)) + t4 * (2.0 / 15.0 + t2 * (2.0 / 17.0));
        let c = 2.0 / 19.0 + t2 * (2.0 / 21.0);
        let t8 = t4 * t4;
        let series = t2 * t * (a + t8 * (b + t8 * c));
        n * LN_2_HIGH + (2.0 * t + (series + n * LN_2_LOW))
    })
}

/// The root of an increasing function on `0..=high` for each lane, by Newton's method kept
/// inside a bracket that shrinks, from a first guess on; `f` gives value and slope (above 0) of
/// every lane. The function must be at most 0 at 0 and at least 0 at `high`.
#[inline(always)]
pub(crate) fn root<const L: usize>(
    high: Lanes<L>,
    guess: Lanes<L>,
    mut f: impl FnMut(&Lanes<L>) -> (Lanes<L>, Lanes<L>),
) -> Lanes<L> {
    let mut a: Lanes<L> = [0.0; L];
    let mut b = high;
    let mut x = guess;
    let mut last = [f64::INFINITY; L];
    let mut done = [false; L];
    // Bisection alone would need 50 steps for all digits; Newton usually needs three.
    for _ in 0..60 {
        let (value, slope) = f(&x);
        for k in 0..L {
            let above = value[k] > 0.0;
            b[k] = if above { x[k] } else { b[k] };
            a[k] = if above { a[k] } else { x[k] };
            let newton = x[k] - value[k] / slope[k];
            let step = (newton - x[k]).abs();
            // Halve where Newton's steps do not shrink: they may go back and forth for ever.
            let good = newton >= a[k] && newton <= b[k] && step <= 0.5 * last[k];
            let next = if good { newton } else { 0.5 * (a[k] + b[k]) };
            // Newton's steps square the error: after one so small nothing is left of it.
            let near = if good { 1e-8 } else { 1e-15 };
            last[k] = (next - x[k]).abs();
            x[k] = if done[k] { x[k] } else { next };
            done[k] |= last[k] <= near * next;
        }
        if done.iter().all(|done| *done) {
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
        fn ln_agrees_with_the_library(x in -700f64..700.0) {
            let x = crate::math::exp(x);
            let (got, want) = (ln([x])[0], crate::math::ln(x));
            prop_assert!((got - want).abs() <= 1e-14 * (1e-2 + want.abs()), "{got} {want}");
            let near = 1.0 + x.min(1.0) * 1e-3;
            let (got, want) = (ln([near])[0], crate::math::ln(near));
            prop_assert!((got - want).abs() <= 4e-16 * (1e-3 + want.abs()) + 1e-15 * want.abs());
        }

        #[test]
        fn one_minus_exp_keeps_its_digits(t in -12f64..2.0) {
            let t = crate::math::exp(t * 2.0);
            let want = -crate::math::exp_m1(-t);
            let got = one_minus_exp([t])[0];
            prop_assert!((got - want).abs() <= 1e-11 * want);
        }

        #[test]
        fn root_solves_the_implicit_logistic_step(a in -60f64..60.0, log_c in -10f64..10.0, part in 0f64..1.0) {
            let c = crate::math::exp(log_c);
            let g = crate::math::sigmoid(-a);
            let high = c * g;
            let newton = high / (1.0 + high * (1.0 - g));
            // Lanes that are long done must stay where they are while others still move.
            let guess = [high, newton, part * high, 0.0];
            let s = root([high; 4], guess, |s| {
                let g = sigmoid(map::<4>(|k| -(a + s[k])));
                (map(|k| s[k] - c * g[k]), map(|k| 1.0 + c * g[k] * (1.0 - g[k])))
            });
            for s in s {
                let residual = s - c * crate::math::sigmoid(-(a + s));
                prop_assert!(residual.abs() <= 1e-12 * (high + s), "{s} {residual}");
            }
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
