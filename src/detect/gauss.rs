//! Online Mahalanobis distance over the dense columns, however many there are by now.
//!
//! Columns are standardized by their running mean and deviation (Welford); the Cholesky factor of
//! I + Σ z zᵀ is kept by rank-1 updates, O(d²) a record. A column present in n_j records has z
//! weighted by √(n_j + 1), so that missing values, imputed by the mean (z = 0), shrink nothing:
//! where none are missing, d² = (n + 1) zᵀ (I + Σ z zᵀ)⁻¹ z. Scores are Wilson & Hilferty's (1931)
//! normal approximation of χ² with as many degrees of freedom as the record has values, so that
//! records with gaps compare with those without.
//!
//! For p-values (not for scores) each column and the distance itself also speak as a [`Voice`]: by
//! how far out they have been before. The strangest of them counts. Distances alone would let a flag
//! that is up in two records of a hundred, or one heavy-tailed column, hide an outlier of ten
//! deviations in a quiet one.
//!
//! Invariant: every stored number is finite, whatever came in.

use super::cholesky::Cholesky;
use super::voice::Voice;
use super::{Detector, Rows, Score, Share, below_one, start, tame};
use crate::base::{Micros, Reader, Row, Scratch, StateError, Writer};
use crate::math::{Moments, cbrt, erfc, exp, ln};

/// Values of a column before it counts in a score.
const KNOWN: f64 = 16.0;
/// From so many values on, what is learned of one is pulled in to `FAR` deviations.
const SETTLED: f64 = 64.0;
const FAR: f64 = 10.0;
/// No standardized value counts as further out than this.
const FURTHEST: f64 = 1e6;
/// At twice this many records, all that was learned counts half: older records fade.
const MEMORY: f64 = 65_536.0;
/// What a column that never moved is taken to move by: a thousandth of its size, and when it has stood
/// still for long, no more than rounding moves it. Then any other value is news.
const STILL: f64 = 1e-3;
const ROUNDING: f64 = 1e-9;
const LONG: f64 = 500.0;
/// Ranks are the exponential of surprise over this, so that a tail of surprise, which falls by e
/// with each unit, is a power law of ranks.
const SURPRISE: f64 = 8.0;
/// No surprise counts as larger.
const LARGEST: f64 = 110.0;

/// The detector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauss {
    columns: Vec<Moments>,
    factor: Cholesky,
    records: f64,
    /// Of each column, and of the distance.
    voices: Vec<Voice>,
    voice: Voice,
}

/// The deviation by which to divide, and whether the column has never moved so far.
fn deviation(m: &Moments, x: f64) -> (f64, bool) {
    let size = m.mean.abs().max(x.abs());
    let deviation = m.deviation();
    if deviation > ROUNDING * size {
        (deviation, false)
    } else {
        let least = if m.count < LONG { STILL } else { ROUNDING };
        (least * size + f64::MIN_POSITIVE, true)
    }
}

/// How many deviations a value lies from the mean. The first change after n equal values is √n of
/// them, as it will be once it is counted in; with Σ z² still 0, one is as much.
fn unit(m: &Moments, x: f64) -> f64 {
    let (scale, still) = deviation(m, x);
    let most = if still { m.count.sqrt() } else { FURTHEST };
    ((x - m.mean) / scale).clamp(-most, most)
}

/// Whether a value is the first to differ in a column that has stood still for long. No history tells
/// how rare that is, and the other columns' must not drown it; each such change is alike, so that they
/// count as often as they come.
fn stirs(m: &Moments, x: f64) -> bool {
    let (scale, still) = deviation(m, x);
    still && m.count >= LONG && (x - m.mean).abs() > scale
}

impl Gauss {
    /// Knows nothing.
    pub fn new() -> Gauss {
        Gauss::default()
    }

    /// Memory for a row of this width.
    pub fn memory_bytes(columns: usize) -> u64 {
        let each = columns * (size_of::<Moments>() + size_of::<Voice>());
        (size_of::<Gauss>() + each) as u64 + Cholesky::memory_bytes(columns)
    }

    /// The weighted, standardized row into `out`; how many of its values count.
    fn standardize(&self, dense: &[f64], out: &mut Vec<f64>) -> u32 {
        let mut known = 0;
        out.clear();
        for (j, m) in self.columns.iter().enumerate() {
            let x = dense.get(j).copied().unwrap_or(f64::NAN);
            let z = if x.is_nan() || m.count < KNOWN {
                0.0
            } else {
                known += 1;
                let z = unit(m, tame(x));
                let still = deviation(m, tame(x)).1;
                let z = if still { z.clamp(-1.0, 1.0) } else { z };
                z * (m.count + 1.0).sqrt()
            };
            out.push(z);
        }
        known
    }

    /// d² and its degrees of freedom.
    pub fn distance(&self, dense: &[f64], s: &mut Scratch) -> (f64, u32) {
        let known = self.standardize(dense, &mut s.work);
        self.factor.solve(&mut s.work);
        (s.work.iter().map(|y| y * y).sum(), known)
    }

    /// The strangest of all voices, as a rank.
    fn rank(&self, dense: &[f64], distance: f64) -> f64 {
        // An ordinary distance is as surprising as a Gaussian one, below where its list begins.
        let mut most = self
            .voice
            .surprise(above_zero(distance))
            .unwrap_or_else(|| {
                let gaussian = -ln((0.5 * erfc(distance / std::f64::consts::SQRT_2)).max(1e-300));
                gaussian.min(Voice::ordinary())
            });
        for ((&x, m), voice) in dense.iter().zip(&self.columns).zip(&self.voices) {
            if !x.is_nan() && m.count >= KNOWN {
                let surprise = if stirs(m, tame(x)) {
                    LARGEST
                } else {
                    voice.surprise(unit(m, tame(x)).abs()).unwrap_or(0.0)
                };
                most = most.max(surprise);
            }
        }
        exp(most.min(LARGEST) / SURPRISE)
    }

    fn widen(&mut self, width: usize) {
        if self.columns.len() < width {
            self.columns.resize(width, Moments::default());
            self.voices.resize(width, Voice::default());
            self.factor.widen(width);
        }
    }

    fn take(&mut self, dense: &[f64], s: &mut Scratch) {
        self.widen(dense.len());
        let (d2, freedom) = self.distance(dense, s);
        self.voice.add(above_zero(normal_score(d2, freedom)));
        s.work.clear();
        for (j, m) in self.columns.iter_mut().enumerate() {
            let x = dense.get(j).copied().unwrap_or(f64::NAN);
            if x.is_nan() {
                s.work.push(0.0);
                continue;
            }
            let mut x = tame(x);
            if m.count >= KNOWN {
                self.voices[j].add(unit(m, x).abs());
            }
            let (scale, still) = deviation(m, x);
            if m.count >= SETTLED && !still {
                x = m.mean + (x - m.mean).clamp(-FAR * scale, FAR * scale);
            }
            m.add(x);
            // By the statistics with this value in, so that a first change after n equal values is
            // √n deviations, not a thousand.
            let (scale, still) = deviation(m, x);
            let z = if still { 0.0 } else { (x - m.mean) / scale };
            s.work.push(z);
        }
        self.factor.update(&mut s.work);
        self.records += 1.0;
        if self.records >= 2.0 * MEMORY {
            self.records *= 0.5;
            self.factor.scale(0.5f64.sqrt());
            for m in &mut self.columns {
                m.count *= 0.5;
                m.squares *= 0.5;
            }
        }
    }
}

/// Wilson & Hilferty's normal score of a χ² value.
fn normal_score(d2: f64, freedom: u32) -> f64 {
    if freedom == 0 {
        return -2.0;
    }
    let d = f64::from(freedom);
    let spread = 2.0 / (9.0 * d);
    (cbrt(d2 / d) - (1.0 - spread)) / spread.sqrt()
}

/// For voices, which take numbers above 0: normal scores hardly ever lie below -4.
fn above_zero(normal: f64) -> f64 {
    normal + 4.0
}

impl Detector for Gauss {
    fn score_one(&self, x: Row<'_>, _: Micros, s: &mut Scratch) -> Score {
        let (d2, freedom) = self.distance(x.dense, s);
        let raw = normal_score(d2, freedom);
        Score {
            raw,
            rank: self.rank(x.dense, raw),
        }
    }

    fn learn_one(&mut self, x: Row<'_>, _: Micros, normal: bool, s: &mut Scratch) {
        if normal {
            self.take(x.dense, s);
        }
    }

    fn relearn(&mut self, rows: &Rows, s: &mut Scratch) {
        let width = rows.width().max(self.columns.len());
        let bounds: Vec<(f64, f64)> = (0..width).map(|j| start::bounds(rows, j)).collect();
        *self = Gauss::default();
        self.widen(width);
        for (dense, _) in rows.iter() {
            for (j, (&x, &(low, high))) in dense.iter().zip(&bounds).enumerate() {
                if !x.is_nan() {
                    self.columns[j].add(tame(x).clamp(low, high));
                }
            }
        }
        for (dense, _) in rows.iter() {
            s.work.clear();
            s.work.resize(width, 0.0);
            for (j, (&x, &(low, high))) in dense.iter().zip(&bounds).enumerate() {
                if !x.is_nan() {
                    let x = tame(x).clamp(low, high);
                    let (scale, still) = deviation(&self.columns[j], x);
                    s.work[j] = if still {
                        0.0
                    } else {
                        (x - self.columns[j].mean) / scale
                    };
                }
            }
            self.factor.update(&mut s.work);
            self.records += 1.0;
        }
        for (dense, _) in rows.iter() {
            let (d2, freedom) = self.distance(dense, s);
            self.voice.add(above_zero(normal_score(d2, freedom)));
            for (j, &x) in dense.iter().enumerate() {
                if !x.is_nan() {
                    self.voices[j].add(unit(&self.columns[j], tame(x)).abs().min(FAR));
                }
            }
        }
    }

    /// Exact: d² is the sum over columns of z_j (A⁻¹ z)_j; negative terms are shown as 0.
    fn explain(&self, x: Row<'_>, _: Micros, n: usize, s: &mut Scratch) -> Vec<Share> {
        self.standardize(x.dense, &mut s.work);
        let z = s.work.clone();
        self.factor.solve(&mut s.work);
        self.factor.solve_transposed(&mut s.work);
        let parts = || z.iter().zip(&s.work).map(|(z, u)| (z * u).max(0.0));
        let total: f64 = parts().sum();
        let mut shares: Vec<Share> = parts()
            .enumerate()
            .filter(|&(_, part)| part > 0.0)
            .map(|(j, part)| Share {
                column: j as u32,
                value: x.dense[j],
                expected: self.columns[j].mean,
                share: part / total,
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.column.cmp(&b.column)));
        shares.truncate(n);
        shares
    }

    /// A third at the middle of what is normal, two thirds at three deviations.
    fn squash(&self, score: f64) -> f64 {
        let above = if score >= 0.0 {
            1.0 + score
        } else {
            1.0 / (1.0 - score)
        };
        below_one(above / 2.0)
    }

    fn warm_up(&self) -> u64 {
        (4 * self.columns.len() as u64).max(64)
    }

    fn save(&self, out: &mut Writer) {
        out.u64("columns", self.columns.len() as u64);
        out.f64("records", self.records);
        let each = |f: fn(&Moments) -> f64| -> Vec<f64> { self.columns.iter().map(f).collect() };
        out.f64s("count", &each(|m| m.count));
        out.f64s("mean", &each(|m| m.mean));
        out.f64s("squares", &each(|m| m.squares));
        self.factor.save(out);
        let voices = self.voices.iter().chain([&self.voice]);
        Voice::save_all(voices, out);
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let count = from.f64s("count")?;
        let width = count.len();
        if from.u64("columns")? != width as u64 {
            return Err(from.invalid("columns", "not as many as there are counts"));
        }
        let mean = from.f64s_of("mean", width)?;
        let squares = from.f64s_of("squares", width)?;
        self.records = from.finite("records")?;
        let finite = |v: &[f64]| v.iter().all(|x| x.is_finite());
        let positive = |v: &[f64]| v.iter().all(|&x| x >= 0.0);
        if !finite(mean) {
            return Err(from.invalid("mean", "not finite"));
        }
        if !(finite(count) && positive(count)) {
            return Err(from.invalid("count", "out of range"));
        }
        if !(finite(squares) && positive(squares)) {
            return Err(from.invalid("squares", "out of range"));
        }
        self.columns = (0..width)
            .map(|j| Moments {
                count: count[j],
                mean: mean[j],
                squares: squares[j],
            })
            .collect();
        self.voices = Voice::load_all(width + 1, from)?;
        self.voice = self.voices.pop().unwrap_or_default();
        self.factor.load(width, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    fn row(dense: &[f64]) -> Row<'_> {
        Row {
            base: 0.0,
            dense,
            columns: &[],
            index: &[],
            value: &[],
        }
    }

    fn fed(n: u32, mut next: impl FnMut() -> Vec<f64>) -> Gauss {
        let mut g = Gauss::new();
        let mut s = Scratch::default();
        for _ in 0..n {
            g.learn_one(row(&next()), Micros(0), true, &mut s);
        }
        g
    }

    fn correlated(r: &mut Random) -> Vec<f64> {
        let a = r.normal();
        vec![a, 1e6 + 1e3 * (a + 0.1 * r.normal()), 1e-6 * r.normal()]
    }

    #[test]
    fn distances_are_those_of_plain_linear_algebra() {
        // tests/reference/mahalanobis.py
        let mut i = -1i32;
        let g = fed(60, || {
            i += 1;
            let a = f64::from(i * 7 % 17);
            let b = 100.0 + 3.0 * a + f64::from(i * 5 % 11);
            let c = 0.01 * f64::from(i * i % 23);
            vec![a, b, if i % 4 == 1 { f64::NAN } else { c }]
        });
        let mut s = Scratch::default();
        for (x, reference) in [
            ([3.0, 114.0, 0.1], 1.191_428_020_396_192_9),
            ([16.0, 100.0, 0.2], 181.652_053_698_212_8),
            ([8.0, f64::NAN, 0.5], 54.074_484_646_928_88),
        ] {
            let (d2, _) = g.distance(&x, &mut s);
            assert!((d2 / reference - 1.0).abs() < 1e-9, "{d2} {reference}");
        }
    }

    #[test]
    fn what_breaks_a_correlation_is_strange_though_each_value_is_not() {
        let mut r = Random::new(1);
        let g = fed(2000, || correlated(&mut r));
        let mut s = Scratch::default();
        let usual = g.distance(&[2.0, 1e6 + 2e3, 0.0], &mut s).0;
        let broken = g.distance(&[2.0, 1e6 - 2e3, 0.0], &mut s).0;
        assert!(usual < 6.0, "{usual}");
        assert!(broken > 1000.0, "{broken}");
    }

    #[test]
    fn distances_are_chi_square_with_a_degree_for_each_value_present() {
        let mut r = Random::new(4);
        let mut next = || -> Vec<f64> {
            (0..5)
                .map(|j| {
                    if j > 2 && r.uniform() < 0.5 {
                        f64::NAN
                    } else {
                        r.normal()
                    }
                })
                .collect()
        };
        let g = fed(5000, &mut next);
        let mut s = Scratch::default();
        let (mut sum, mut freedom) = (0.0, 0.0);
        for _ in 0..5000 {
            let (d2, known) = g.distance(&next(), &mut s);
            sum += d2;
            freedom += f64::from(known);
        }
        assert!((sum / freedom - 1.0f64).abs() < 0.03, "{}", sum / freedom);
    }

    #[test]
    fn shares_name_the_column_that_is_off_and_sum_to_one() {
        let mut r = Random::new(2);
        let g = fed(1000, || (0..20).map(|_| 5.0 + r.normal()).collect());
        let mut s = Scratch::default();
        for j in 0..20 {
            let mut x: Vec<f64> = (0..20).map(|_| 5.0 + r.normal()).collect();
            x[j] = 15.0;
            let shares = g.explain(row(&x), Micros(0), 20, &mut s);
            assert_eq!(shares[0].column as usize, j);
            assert!((shares[0].expected - 5.0).abs() < 0.2 && shares[0].value == 15.0);
            assert!(shares[0].share > 0.5);
            assert!(shares.iter().map(|s| s.share).sum::<f64>() < 1.0 + 1e-9);
        }
    }

    #[test]
    fn columns_may_appear_late_and_values_may_be_anything() {
        let mut r = Random::new(3);
        let mut g = fed(100, || vec![r.normal()]);
        let mut s = Scratch::default();
        for i in 0..300 {
            let odd = [
                f64::MAX,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -1e-300,
                f64::NAN,
            ][i % 5];
            let x = [r.normal(), r.normal() * 3.0, 7.0, odd];
            let score = g.score_one(row(&x), Micros(0), &mut s);
            assert!(score.raw.is_finite() && score.rank > 0.0, "{score:?}");
            g.learn_one(row(&x), Micros(0), true, &mut s);
        }
        assert!(
            g.score_one(row(&[0.0, 0.0, 8.0, f64::NAN]), Micros(0), &mut s)
                .raw
                > 8.0
        );
        assert!(
            g.score_one(row(&[0.0, 0.0, 7.0, f64::NAN]), Micros(0), &mut s)
                .raw
                < 3.0
        );
    }

    #[test]
    fn old_records_fade() {
        let mut r = Random::new(3);
        let mut g = fed(150_000, || vec![r.normal()]);
        let mut s = Scratch::default();
        for _ in 0..400_000 {
            g.learn_one(row(&[5.0 + r.normal()]), Micros(0), true, &mut s);
        }
        assert!((g.columns[0].mean - 5.0).abs() < 0.3, "{:?}", g.columns[0]);
    }
}
