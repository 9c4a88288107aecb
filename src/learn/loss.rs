//! Loss functions of one score, and how far an importance-invariant step goes on each
//! (Karampatziakis & Langford 2011, table 1; Vowpal Wabbit's `loss_functions.cc`).
//!
//! Invariant: losses are at least 0; a step never passes the label.

use crate::math;

use super::Loss;

/// e^−|p| for the logistic loss, from which everything else about a score follows; else 0.
pub(super) fn decay(loss: Loss, p: f64) -> f64 {
    match loss {
        Loss::Logistic | Loss::Softmax => math::exp(-p.abs()),
        _ => 0.0,
    }
}

/// The probability that a score with this [`decay`] stands for.
pub(super) fn probability(p: f64, decay: f64) -> f64 {
    (if p >= 0.0 { 1.0 } else { decay }) / (1.0 + decay)
}

/// e^z for z = ±p.
fn exp_of(z: f64, decay: f64) -> f64 {
    if z > 0.0 { math::exp(z) } else { decay }
}

/// The loss of a score `p`; for the logistic and the hinge loss `y` is −1 or 1.
pub(super) fn value(loss: Loss, p: f64, y: f64) -> f64 {
    value_of(loss, p, y, decay(loss, p))
}

/// [`value`] of a score whose [`decay`] is known.
pub(super) fn value_of(loss: Loss, p: f64, y: f64, decay: f64) -> f64 {
    match loss {
        Loss::Squared => (p - y) * (p - y),
        // As `math::ln_1p_exp`, with the exponentials that are known.
        Loss::Logistic | Loss::Softmax => match -y * p {
            z if z > 18.0 => z + decay,
            z if z < -37.0 => decay,
            z => math::ln_1p(exp_of(z, decay)),
        },
        Loss::Hinge => (1.0 - y * p).max(0.0),
        Loss::Quantile { tau } if y > p => tau * (y - p),
        Loss::Quantile { tau } => (1.0 - tau) * (p - y),
    }
}

/// Whether there is nothing to learn: the loss is 0 in single precision, in which Vowpal Wabbit
/// looks at it.
pub(super) fn is_nothing(loss: Loss, p: f64, y: f64, decay: f64) -> bool {
    match loss {
        Loss::Logistic | Loss::Softmax => y * p > 0.0 && 1.0 + decay as f32 == 1.0,
        _ => value(loss, p, y) <= 0.0,
    }
}

/// Its derivative in `p`.
pub(super) fn derivative(loss: Loss, p: f64, y: f64) -> f64 {
    derivative_of(loss, p, y, decay(loss, p))
}

/// [`derivative`] for a score whose [`decay`] is known.
pub(super) fn derivative_of(loss: Loss, p: f64, y: f64, decay: f64) -> f64 {
    match loss {
        Loss::Squared => 2.0 * (p - y),
        Loss::Logistic | Loss::Softmax => -y * probability(-y * p, decay),
        Loss::Hinge if y * p >= 1.0 => 0.0,
        Loss::Hinge => -y,
        Loss::Quantile { tau } if y > p => -tau,
        Loss::Quantile { tau } if y < p => 1.0 - tau,
        Loss::Quantile { .. } => 0.0,
    }
}

/// The invariant step: the change of the score over `kappa`, for a rate `h` (learning rate times
/// weight), as Vowpal Wabbit computes it; `decay` is the score's [`decay`].
pub(super) fn invariant_step(loss: Loss, p: f64, y: f64, h: f64, kappa: f64, decay: f64) -> f64 {
    match loss {
        Loss::Squared => {
            if h * kappa < 1e-6 {
                2.0 * (y - p) * h
            } else {
                (y - p) * -math::exp_m1(-2.0 * h * kappa) / kappa
            }
        }
        Loss::Logistic | Loss::Softmax => {
            let d = exp_of(y * p, decay);
            if h * kappa < 1e-6 {
                y * h / (1.0 + d)
            } else {
                let x = h * kappa + y * p + d;
                -(y * w_exp_minus_x(x) + p) / kappa
            }
        }
        Loss::Hinge if y * p >= 1.0 => 0.0,
        Loss::Hinge => y * h.min((1.0 - y * p) / kappa),
        Loss::Quantile { tau } if y > p => (tau * h).min((y - p) / kappa),
        Loss::Quantile { tau } => ((tau - 1.0) * h).max((y - p) / kappa),
    }
}

/// W(e^x) − x for Lambert's W, in Vowpal Wabbit's approximation (absolute error below 9e-5). An
/// exact W gives other predictions than the original in the fifth digit.
fn w_exp_minus_x(x: f64) -> f64 {
    let w = if x >= 1.0 {
        0.86 * x + 0.01
    } else {
        math::exp(0.8 * x - 0.65)
    };
    let r = if x >= 1.0 {
        x - math::ln(w) - w
    } else {
        0.2 * x + 0.65 - w
    };
    let t = 1.0 + w;
    let u = 2.0 * t * (t + 2.0 * r / 3.0);
    w * (1.0 + r / t * (u - r) / (u - 2.0 * r)) - x
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(loss: Loss, p: f64, y: f64, h: f64, kappa: f64) -> f64 {
        invariant_step(loss, p, y, h, kappa, decay(loss, p))
    }

    proptest! {
        #[test]
        fn derivatives_are_finite_differences(p in -20f64..20.0, y in prop_oneof![Just(-1.0), Just(1.0)]) {
            for loss in [Loss::Squared, Loss::Logistic, Loss::Hinge, Loss::Quantile { tau: 0.3 }] {
                let h = 1e-5;
                // There the loss has a corner.
                prop_assume!((p - y).abs() > h);
                let want = (value(loss, p + h, y) - value(loss, p - h, y)) / (2.0 * h);
                prop_assert!((derivative(loss, p, y) - want).abs() < 1e-7 * (1.0 + want.abs()));
            }
        }

        #[test]
        fn a_step_goes_towards_the_label_and_small_steps_are_gradient_steps(
            p in -10f64..10.0, y in prop_oneof![Just(-1.0), Just(1.0)], log_h in -8f64..4.0, kappa in 0.01f64..100.0,
        ) {
            let h = math::exp(log_h);
            let u = step(Loss::Squared, p, y, h, kappa);
            let moved = p + u * kappa;
            prop_assert!((moved - y).abs() <= (p - y).abs() + 1e-12);
            prop_assert!((moved - y) * (p - y) >= -1e-12);
            for loss in [Loss::Hinge, Loss::Quantile { tau: 0.3 }] {
                let moved = p + step(loss, p, y, h, kappa) * kappa;
                prop_assert!(value(loss, moved, y) <= value(loss, p, y) + 1e-12);
                let small = step(loss, p, y, 1e-9, kappa);
                let near = value(loss, p, y) < 1e-6;
                prop_assert!(near || (small + 1e-9 * derivative(loss, p, y)).abs() <= 1e-12);
            }
            let small = step(Loss::Logistic, p, y, 1e-9, kappa);
            let g = derivative(Loss::Logistic, p, y);
            prop_assert!((small + 1e-9 * g).abs() <= 1e-12);
        }

        #[test]
        fn the_approximation_is_as_good_as_it_is_said_to_be(w in 1e-3f64..200.0) {
            // W(e^x) = w exactly for x = w + ln w.
            let x = w + math::ln(w);
            prop_assert!((w_exp_minus_x(x) - (w - x)).abs() < 1e-4);
        }
    }

    #[test]
    fn one_exponential_gives_the_same_bits_as_many() {
        for i in -600..=600 {
            let p = f64::from(i) / 10.0;
            for y in [-1.0, 1.0] {
                let loss = Loss::Logistic;
                assert_eq!(value(loss, p, y), math::ln_1p_exp(-y * p));
                assert_eq!(derivative(loss, p, y), -y * math::sigmoid(-y * p));
                assert_eq!(probability(p, decay(loss, p)), math::sigmoid(p));
                let nothing = 1.0 + math::exp(-y * p) as f32 == 1.0;
                assert_eq!(is_nothing(loss, p, y, decay(loss, p)), nothing);
            }
        }
    }
}
