//! What to make of a handful of rows when nothing else is known: how far a value may lie out before
//! it is more likely an accident than part of the start.
//!
//! Invariant: medians, so that no single value moves the answer.

use super::Rows;

/// Median deviations beyond which a value of the start is pulled in.
const FAR: f64 = 10.0;

/// The bounds to which values of a column are pulled in before anything is learned from them; all
/// numbers where the rows cannot tell.
pub(super) fn bounds(rows: &Rows, column: usize) -> (f64, f64) {
    let mut values: Vec<f64> = rows.column(column).filter(|v| !v.is_nan()).collect();
    let none = (f64::NEG_INFINITY, f64::INFINITY);
    if values.len() < 16 {
        return none;
    }
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    let mut apart: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    apart.sort_by(f64::total_cmp);
    // 1.4826 and 1.645: from these quantiles to the deviation of Gaussian noise. The second serves
    // columns of which more than half is one value.
    let spread = 1.4826 * apart[apart.len() / 2];
    let spread = if spread > 0.0 {
        spread
    } else {
        apart[apart.len() * 9 / 10] / 1.645
    };
    if spread > 0.0 {
        (middle - FAR * spread, middle + FAR * spread)
    } else {
        none
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Micros;

    fn rows(of: impl Iterator<Item = Vec<f64>>) -> Rows {
        let mut rows = Rows::default();
        for dense in of {
            rows.push(&dense, Micros(0));
        }
        rows
    }

    #[test]
    fn one_value_far_out_moves_no_bound() {
        let with =
            |x: f64| rows((0..64).map(move |i| vec![if i == 5 { x } else { f64::from(i % 9) }]));
        let (low, high) = bounds(&with(1e9), 0);
        assert!(low < 0.0 && high > 8.0 && high < 100.0);
        let mostly_zero = rows((0..64).map(|i| vec![f64::from(u8::from(i % 8 == 0))]));
        assert!(bounds(&mostly_zero, 0).1 >= 1.0);
    }
}
