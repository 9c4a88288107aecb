//! The Cholesky factor L of a growing positive definite matrix A = L Lᵀ, under rank-1 updates.
//!
//! Invariant: L's diagonal is positive, so A stays positive definite whatever is added.
//!
//! The update is the classic one by Givens rotations (Golub & Van Loan, Matrix Computations, 4th
//! ed., §6.5.4; LINPACK `dchud`): 2 d² operations and no subtraction of squares.

use crate::base::{Reader, StateError, Writer};

/// Lower triangle, packed column by column: column k holds rows k..d.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cholesky {
    width: usize,
    packed: Vec<f64>,
}

impl Cholesky {
    /// Bytes at a width.
    pub fn memory_bytes(width: usize) -> u64 {
        (width * (width + 1) / 2 * size_of::<f64>()) as u64
    }

    /// Grows by rows and columns of the identity.
    pub fn widen(&mut self, width: usize) {
        if width <= self.width {
            return;
        }
        let mut packed = Vec::with_capacity(width * (width + 1) / 2);
        let mut start = 0;
        for k in 0..width {
            if k < self.width {
                let end = start + self.width - k;
                packed.extend_from_slice(&self.packed[start..end]);
                start = end;
                packed.resize(packed.len() + width - self.width, 0.0);
            } else {
                packed.push(1.0);
                packed.resize(packed.len() + width - k - 1, 0.0);
            }
        }
        self.width = width;
        self.packed = packed;
    }

    /// A becomes A + v vᵀ; `v` is used up.
    pub fn update(&mut self, v: &mut [f64]) {
        let mut start = 0;
        for k in 0..self.width {
            let length = self.width - k;
            let column = &mut self.packed[start..start + length];
            start += length;
            if v[k] == 0.0 {
                continue;
            }
            let r = (column[0] * column[0] + v[k] * v[k]).sqrt();
            let (c, s) = (column[0] / r, v[k] / r);
            column[0] = r;
            for (l, w) in column[1..].iter_mut().zip(&mut v[k + 1..]) {
                let before = *l;
                *l = c * before + s * *w;
                *w = c * *w - s * before;
            }
        }
    }

    /// A becomes f² A.
    pub fn scale(&mut self, f: f64) {
        for l in &mut self.packed {
            *l *= f;
        }
    }

    /// v becomes L⁻¹ v.
    pub fn solve(&self, v: &mut [f64]) {
        let mut start = 0;
        for k in 0..self.width {
            let length = self.width - k;
            let column = &self.packed[start..start + length];
            start += length;
            let y = v[k] / column[0];
            v[k] = y;
            if y != 0.0 {
                for (w, l) in v[k + 1..].iter_mut().zip(&column[1..]) {
                    *w -= l * y;
                }
            }
        }
    }

    /// v becomes L⁻ᵀ v; after [`Cholesky::solve`], A⁻¹ v.
    pub fn solve_transposed(&self, v: &mut [f64]) {
        let mut start = self.packed.len();
        for k in (0..self.width).rev() {
            let length = self.width - k;
            start -= length;
            let column = &self.packed[start..start + length];
            let mut sum = v[k];
            for (l, w) in column[1..].iter().zip(&v[k + 1..]) {
                sum -= l * w;
            }
            v[k] = sum / column[0];
        }
    }

    /// Writes it.
    pub fn save(&self, out: &mut Writer) {
        out.f64s("factor", &self.packed);
    }

    /// Reads it back at a width.
    pub fn load(&mut self, width: usize, from: &Reader<'_>) -> Result<(), StateError> {
        let packed = from.f64s_of("factor", width * (width + 1) / 2)?;
        let mut start = 0;
        for k in 0..width {
            if packed[start] <= 0.0 {
                return Err(from.invalid("factor", "not positive definite"));
            }
            start += width - k;
        }
        if packed.iter().any(|l| !l.is_finite()) {
            return Err(from.invalid("factor", "not finite"));
        }
        self.width = width;
        self.packed = packed.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn solves_the_matrix_that_was_added_up(
            rows in proptest::collection::vec(proptest::collection::vec(-5f64..5.0, 4), 1..30),
            b in proptest::collection::vec(-5f64..5.0, 4),
        ) {
            let mut l = Cholesky::default();
            let mut a = [[0.0; 4]; 4];
            for (i, row) in a.iter_mut().enumerate() {
                row[i] = 1.0;
            }
            for (n, row) in rows.iter().enumerate() {
                // The first rows know only two columns.
                let width = if n < 3 { 2 } else { 4 };
                l.widen(width);
                let mut v = row[..width].to_vec();
                for i in 0..width {
                    for j in 0..width {
                        a[i][j] += v[i] * v[j];
                    }
                }
                l.update(&mut v);
            }
            l.widen(4);
            let mut x = b.clone();
            l.solve(&mut x);
            l.solve_transposed(&mut x);
            for i in 0..4 {
                let back: f64 = (0..4).map(|j| a[i][j] * x[j]).sum();
                prop_assert!((back - b[i]).abs() < 1e-8 * (1.0 + b[i].abs()), "{back} {}", b[i]);
            }
        }
    }
}
