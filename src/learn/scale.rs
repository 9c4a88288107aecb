//! Bringing named numbers to a common size as they stream (Welford 1962).
//!
//! Invariant: a record is scaled with the statistics from before it; a missing number (NaN)
//! becomes 0, the mean, and so takes no part. Whatever the input, the output is finite.

use crate::base::{Column, Reader, Row, Scale, Scratch, StateError, Writer};

/// No scaled number is larger.
const CLIP: f64 = 10.0;
/// Larger numbers are no measurements (they are sentinels, or overflowed elsewhere): they are
/// used, clipped, but not remembered, since one of them would drown the mean for ever.
const SANE: f64 = 1e30;
/// From so many records on, a number further than `FAR` deviations counts as one just so far. A
/// lasting change still comes through: each such record widens the deviation.
const SETTLED: f64 = 100.0;
const FAR: f64 = 100.0;
/// A deviation is never below this part of the largest absolute value, so that rounding is not
/// taken for signal.
const FLOOR: f64 = 1e-9;

/// From so many columns on, it is worth to look whether most are missing.
const WIDE: usize = 32;

/// The statistics of every dense column. Arrays of one quantity each rather than `Moments` per
/// column, so that the loops over columns vectorise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scaler {
    count: Vec<f64>,
    mean: Vec<f64>,
    squares: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
    /// 1 / deviation, or 0 before two records; follows from the others.
    inverse: Vec<f64>,
}

impl Scaler {
    /// Columns known.
    fn width(&self) -> usize {
        self.mean.len()
    }

    /// Bytes a column takes.
    pub(crate) const COLUMN_BYTES: u64 = 6 * 8;

    /// Scales a row into `out`, which gets the row's width.
    pub(crate) fn scale(&self, dense: &[f64], columns: &[Column], out: &mut Vec<f64>) {
        out.clear();
        let as_is = |c: &Column| c.scale == Scale::None && c.clip == f64::INFINITY;
        if columns
            .iter()
            .fold(columns.len() >= dense.len(), |all, c| all & as_is(c))
        {
            out.extend(dense.iter().map(|x| if x.is_nan() { 0.0 } else { *x }));
            return;
        }
        out.resize(dense.len(), 0.0);
        let known = self.width().min(dense.len());
        let (mean, inverse) = (&self.mean[..known], &self.inverse[..known]);
        for (((z, x), mean), inverse) in out.iter_mut().zip(dense).zip(mean).zip(inverse) {
            let scaled = (x - mean) * inverse;
            let clipped = scaled.clamp(-CLIP, CLIP);
            *z = if clipped.is_nan() { 0.0 } else { clipped };
        }
        for (j, column) in columns.iter().enumerate().take(dense.len()) {
            if column.scale != Scale::Standard {
                out[j] = self.otherwise(j, dense[j], column.scale);
            }
            if column.clip < f64::INFINITY {
                out[j] = out[j].clamp(-column.clip.abs(), column.clip.abs());
            }
        }
    }

    /// Scales a row, only the columns that are there where most are not: `s.present` names them.
    pub(crate) fn scale_present(&self, x: &Row<'_>, s: &mut Scratch) {
        s.present.clear();
        if x.dense.len() < WIDE || !list_present(x.dense, &mut s.present) {
            self.scale(x.dense, x.columns, &mut s.scaled);
            return;
        }
        s.scaled.clear();
        s.scaled.extend(s.present.iter().map(|j| {
            let j = *j as usize;
            let (x, column) = (x.dense[j], x.columns[j]);
            let z = match column.scale {
                Scale::Standard if j < self.width() => {
                    let z = ((x - self.mean[j]) * self.inverse[j]).clamp(-CLIP, CLIP);
                    if z.is_nan() { 0.0 } else { z }
                }
                Scale::Standard => 0.0,
                Scale::None => x,
                other => self.otherwise(j, x, other),
            };
            if column.clip < f64::INFINITY {
                z.clamp(-column.clip.abs(), column.clip.abs())
            } else {
                z
            }
        }));
    }

    /// The scales other than the standard one.
    fn otherwise(&self, j: usize, x: f64, scale: Scale) -> f64 {
        if x.is_nan() {
            return 0.0;
        }
        let (low, high) = if j < self.width() && self.count[j] > 0.0 {
            (self.low[j], self.high[j])
        } else if scale == Scale::None {
            (0.0, 0.0)
        } else {
            return 0.0;
        };
        let z = match scale {
            Scale::None => return x,
            Scale::MinMax => (x - low) / (high - low),
            Scale::MaxAbs => x / low.abs().max(high.abs()),
            Scale::Standard => (x - self.mean[j]) * self.inverse[j],
        };
        if z.is_nan() {
            0.0
        } else {
            z.clamp(-CLIP, CLIP)
        }
    }

    /// Takes a record in.
    pub(crate) fn learn(&mut self, dense: &[f64]) {
        self.learn_present(dense, &[]);
    }

    /// Takes a record in of which only the columns `present` are there; all where it is empty.
    pub(crate) fn learn_present(&mut self, dense: &[f64], present: &[u32]) {
        let width = dense.len();
        if width > self.width() {
            for array in [
                &mut self.count,
                &mut self.mean,
                &mut self.squares,
                &mut self.inverse,
            ] {
                array.resize(width, 0.0);
            }
            self.low.resize(width, f64::INFINITY);
            self.high.resize(width, f64::NEG_INFINITY);
        }
        let mut columns = Columns {
            count: &mut self.count[..width],
            mean: &mut self.mean[..width],
            squares: &mut self.squares[..width],
            low: &mut self.low[..width],
            high: &mut self.high[..width],
            inverse: &mut self.inverse[..width],
        };
        if !present.is_empty() {
            let far = present.iter().fold(false, |any, j| {
                let j = *j as usize;
                any | columns.is_far(j, dense[j])
            });
            for j in present {
                let j = *j as usize;
                let x = dense[j];
                columns.learn_one(j, if far { columns.tame(j, x) } else { x });
            }
        } else if any_far(dense, columns.mean, columns.inverse) {
            for (j, x) in dense.iter().enumerate() {
                columns.learn_one(j, columns.tame(j, *x));
            }
        } else {
            columns.learn(dense);
        }
    }
    pub(crate) fn save(&self, out: &mut Writer) {
        out.nested("scaler", |w| {
            w.f64s("count", &self.count);
            w.f64s("mean", &self.mean);
            w.f64s("squares", &self.squares);
            w.f64s("low", &self.low);
            w.f64s("high", &self.high);
        });
    }

    pub(crate) fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        from.nested("scaler", |r| {
            let count = r.f64s("count")?;
            let width = count.len();
            let mean = r.f64s_of("mean", width)?;
            let squares = r.f64s_of("squares", width)?;
            let low = r.f64s_of("low", width)?;
            let high = r.f64s_of("high", width)?;
            for j in 0..width {
                let unseen = count[j] == 0.0;
                let fine = count[j] >= 0.0
                    && count[j].is_finite()
                    && mean[j].is_finite()
                    && squares[j].is_finite()
                    && (unseen || (low[j].is_finite() && high[j].is_finite() && low[j] <= high[j]));
                if !fine {
                    return Err(r.invalid("mean", format!("column {j} makes no sense")));
                }
            }
            self.inverse = (0..width)
                .map(|j| inverse_deviation(count[j], squares[j], low[j], high[j]))
                .collect();
            self.count = count.to_vec();
            self.mean = mean.to_vec();
            self.squares = squares.to_vec();
            self.low = low.to_vec();
            self.high = high.to_vec();
            Ok(())
        })
    }
}

/// Lists the columns that are there. Says false, and lists none, where that is half of them or
/// more.
fn list_present(dense: &[f64], present: &mut Vec<u32>) -> bool {
    for (start, columns) in (0u32..).step_by(64).zip(dense.chunks(64)) {
        // Which are there cannot be foretold, so that a branch on each would cost more.
        let (eights, rest) = columns.as_chunks();
        let mut last = [f64::NAN; 8];
        last[..rest.len()].copy_from_slice(rest);
        let mut bits = there(&last) << (8 * eights.len() % 64);
        for (i, eight) in eights.iter().enumerate() {
            bits |= there(eight) << (8 * i);
        }
        while bits != 0 {
            present.push(start + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
    if 2 * present.len() >= dense.len() {
        present.clear();
        return false;
    }
    true
}

/// A bit for each column that is there. Without branches, so that it becomes vector instructions.
fn there(eight: &[f64; 8]) -> u64 {
    let mut all = 0;
    for (x, bit) in eight.iter().zip([1u64, 2, 4, 8, 16, 32, 64, 128]) {
        let number = if x.is_nan() { 0 } else { u64::MAX };
        all |= number & bit;
    }
    all
}

/// Whether any number is so far out that it must be tamed.
fn any_far(dense: &[f64], mean: &[f64], inverse: &[f64]) -> bool {
    let n = dense.len();
    let (mean, inverse) = (&mean[..n], &inverse[..n]);
    let mut any = false;
    for j in 0..n {
        any |= (dense[j] - mean[j]).abs() * inverse[j] > FAR;
    }
    any
}

/// The statistics of as many columns as a record has.
struct Columns<'a> {
    count: &'a mut [f64],
    mean: &'a mut [f64],
    squares: &'a mut [f64],
    low: &'a mut [f64],
    high: &'a mut [f64],
    inverse: &'a mut [f64],
}

impl Columns<'_> {
    /// Takes a record in.
    fn learn(self, dense: &[f64]) {
        learn_all(
            dense,
            self.count,
            self.mean,
            self.squares,
            self.low,
            self.high,
            self.inverse,
        );
    }

    #[inline(always)]
    fn is_far(&self, j: usize, x: f64) -> bool {
        (x - self.mean[j]).abs() * self.inverse[j] > FAR
    }

    /// Takes a number in; one that is missing or absurd changes nothing.
    #[inline(always)]
    fn learn_one(&mut self, j: usize, x: f64) {
        if x.abs() <= SANE {
            let n = self.count[j] + 1.0;
            let delta = x - self.mean[j];
            self.count[j] = n;
            self.mean[j] += delta / n;
            self.squares[j] += delta * (x - self.mean[j]);
            self.low[j] = if x < self.low[j] { x } else { self.low[j] };
            self.high[j] = if x > self.high[j] { x } else { self.high[j] };
            self.inverse[j] = inverse_deviation(n, self.squares[j], self.low[j], self.high[j]);
        }
    }

    /// The number to remember in place of this one.
    fn tame(&self, j: usize, x: f64) -> f64 {
        // While the deviation is at its floor every change is far: let it in whole.
        if self.count[j] < SETTLED || self.inverse[j] == 0.0 || self.squares[j] == 0.0 {
            return x;
        }
        let far = FAR / self.inverse[j];
        if x.abs() <= SANE {
            x.clamp(self.mean[j] - far, self.mean[j] + far)
        } else {
            x
        }
    }
}

/// Takes numbers in; those that are missing or absurd change nothing. A function of its own, with
/// slices that the compiler knows to be apart, and without branches, so that it becomes vector
/// instructions.
#[inline(never)]
fn learn_all(
    x: &[f64],
    count: &mut [f64],
    mean: &mut [f64],
    squares: &mut [f64],
    low: &mut [f64],
    high: &mut [f64],
    inverse: &mut [f64],
) {
    let width = x.len();
    let (count, mean, squares) = (
        &mut count[..width],
        &mut mean[..width],
        &mut squares[..width],
    );
    let (low, high, inverse) = (&mut low[..width], &mut high[..width], &mut inverse[..width]);
    for j in 0..width {
        let x = x[j];
        let seen = if x.abs() <= SANE { u64::MAX } else { 0 };
        let n = count[j] + 1.0;
        let delta = x - mean[j];
        let new_mean = mean[j] + delta / n;
        let new_squares = squares[j] + delta * (x - new_mean);
        // Numbers that are missing compare with nothing.
        let new_low = if x < low[j] { x } else { low[j] };
        let new_high = if x > high[j] { x } else { high[j] };
        let new_inverse = inverse_deviation(n, new_squares, new_low, new_high);
        count[j] = pick(seen, n, count[j]);
        mean[j] = pick(seen, new_mean, mean[j]);
        squares[j] = pick(seen, new_squares, squares[j]);
        low[j] = pick(seen, new_low, low[j]);
        high[j] = pick(seen, new_high, high[j]);
        inverse[j] = pick(seen, new_inverse, inverse[j]);
    }
}

/// `a` where the mask is all ones, `b` where it is 0.
#[inline(always)]
fn pick(mask: u64, a: f64, b: f64) -> f64 {
    f64::from_bits((a.to_bits() & mask) | (b.to_bits() & !mask))
}

/// 1 / deviation, floored; 0 where there is nothing to divide by.
#[inline(always)]
fn inverse_deviation(n: f64, squares: f64, low: f64, high: f64) -> f64 {
    let (low, high) = (low.abs(), high.abs());
    let floor = FLOOR * if low > high { low } else { high };
    let least = n * floor * floor;
    let squares = if squares > least { squares } else { least };
    let inverse = (n / squares).sqrt();
    if n >= 2.0 && inverse < f64::INFINITY {
        inverse
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn columns(n: usize, scale: Scale) -> Vec<Column> {
        let clip = f64::INFINITY;
        vec![Column { scale, clip }; n]
    }

    fn scaled(s: &Scaler, x: f64, scale: Scale) -> f64 {
        let mut out = Vec::new();
        s.scale(&[x], &columns(1, scale), &mut out);
        out[0]
    }

    #[test]
    fn scales_with_the_statistics_from_before() {
        let mut s = Scaler::default();
        assert_eq!(scaled(&s, 5.0, Scale::Standard), 0.0);
        for x in [1.0, 3.0] {
            s.learn(&[x]);
        }
        assert_eq!(scaled(&s, 4.0, Scale::Standard), 2.0);
        assert_eq!(scaled(&s, 100.0, Scale::Standard), 10.0);
        assert_eq!(scaled(&s, 2.0, Scale::MinMax), 0.5);
        assert_eq!(scaled(&s, -6.0, Scale::MaxAbs), -2.0);
        assert_eq!(scaled(&s, 77.0, Scale::None), 77.0);
        for scale in [Scale::Standard, Scale::MinMax, Scale::MaxAbs, Scale::None] {
            assert_eq!(scaled(&s, f64::NAN, scale), 0.0);
        }
    }

    #[test]
    fn a_missing_number_is_not_remembered() {
        let (mut a, mut b) = (Scaler::default(), Scaler::default());
        for x in [1.0, f64::NAN, 3.0, f64::NAN, 4.0] {
            a.learn(&[x]);
            if !x.is_nan() {
                b.learn(&[x]);
            }
        }
        assert_eq!(a, b);
    }

    #[test]
    fn one_absurd_number_changes_little_and_a_lasting_change_comes_through() {
        let mut s = Scaler::default();
        for i in 0..1000 {
            s.learn(&[f64::from(i % 7)]);
        }
        let before = scaled(&s, 6.0, Scale::Standard);
        for x in [1e308, -1e308, 1e25] {
            s.learn(&[x]);
        }
        assert!(scaled(&s, 6.0, Scale::Standard) > before / 20.0);
        for i in 0..100_000 {
            s.learn(&[1e6 + f64::from(i % 7)]);
        }
        assert!(s.mean[0] > 0.9e6);
    }

    #[test]
    fn a_constant_column_is_zero_whatever_its_size() {
        for x in [0.1, 1e9, 1e-12] {
            let mut s = Scaler::default();
            for _ in 0..1000 {
                s.learn(&[x]);
            }
            assert_eq!(scaled(&s, x, Scale::Standard), 0.0);
        }
    }

    proptest! {
        #[test]
        fn always_finite(xs in proptest::collection::vec(any::<f64>(), 1..60)) {
            let mut s = Scaler::default();
            for &x in &xs {
                for scale in [Scale::Standard, Scale::MinMax, Scale::MaxAbs] {
                    prop_assert!(scaled(&s, x, scale).abs() <= CLIP);
                }
                s.learn(&[x]);
            }
        }
    }
}
