//! The record-ratio detector of one series of numbers: is any of its components larger than it
//! has ever been?
//!
//! Invariant: the score of a value uses only what came before it. Records (the largest component
//! so far) and the last few values take everything in, whatever it is: a record ratchets. Means,
//! the time-of-day baseline and the scales learn only from what may become normal.
//!
//! State is of fixed size, under 1 KiB; a value costs O(1) and allocates nothing.

use super::tame;
use crate::base::{Micros, Reader, StateError, Writer};

/// Half hours of the UTC day.
const SEASONS: usize = 48;
const HALF_HOUR: i64 = 1_800 * Micros::SECOND.0;
/// The rate at which the baseline of a half hour follows, once it is settled.
const SEASON_RATE: f64 = 0.1;
/// Values of a half hour before ranks go by its baseline. The first one alone is the whole baseline:
/// if it lies far out, all that follow lie far from it, are kept out, and so never put it right.
const SETTLED: u8 = 10;
/// A baseline has followed a change if it lies nearer than this share of it.
const FOLLOWED: f64 = 0.1;
/// Residuals in the smoothed residual, values in the short mean.
const SMOOTH: usize = 20;
const SHORT: usize = 5;
/// The slow mean and the scales follow at no less than this rate.
const SLOW_RATE: f64 = 0.001;
/// Values before each component can set a record worth saying.
const RANGE_FROM: u64 = 20;
const LIFT_FROM: u64 = 50;
const SMOOTH_FROM: u64 = 400;
/// In smoothed components, one value counts as no more than so many typical ones.
const MOST_OF_ONE: f64 = 6.0;
/// No rank is larger. Where hardly anything moves, typical sizes shrink from one change to the next, and
/// each would be stranger than all before it; so they are alike, and count as often as they come.
const FARTHEST: f64 = 1000.0;
/// What a series that never moved is taken to move by: a thousandth of its size, and when it has stood
/// still for long, no more than rounding moves it. Then any other value is news.
const STILL: f64 = 1e-3;
const ROUNDING: f64 = 1e-9;
const LONG: u64 = 500;

/// The components: |value - slow mean|, |value - baseline of its half hour|, |mean of the last 20
/// such residuals|, and how far the mean of the last 5 values lies above the slow mean.
const DEVIATION: usize = 0;
const RESIDUAL: usize = 1;
const DRIFT: usize = 2;
const LIFT: usize = 3;

/// What is known of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    count: u64,
    low: f64,
    high: f64,
    /// Slow exponentially weighted mean, and the values it has taken in since it was last set.
    mean: f64,
    learned: u64,
    /// Baseline of each half hour of the day, and its values (up to `SETTLED`).
    season: [f64; SEASONS],
    season_count: [u8; SEASONS],
    /// The last residuals and values, at `count % SMOOTH` and `count % SHORT`.
    residuals: [f64; SMOOTH],
    recent: [f64; SHORT],
    /// Bit i: the residual at i is of a baseline too young for ranks.
    unsettled: u32,
    /// Records: the largest smoothed residual and short-mean lift so far.
    most_drift: f64,
    most_lift: f64,
    /// Mean size of each component over normal values, and the values in it.
    sizes: [f64; 4],
    sized: [u64; 4],
}

/// What one value amounts to beside the series so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The value, tamed.
    value: f64,
    season: usize,
    residual: f64,
    /// Whether the baseline of this half hour stands on enough values for ranks to go by it.
    settled: bool,
    components: [f64; 4],
    /// The last two components as records of them are kept.
    records: [f64; 2],
    /// The largest ratio of a component to its record: above 1, a new record.
    pub raw: f64,
    /// The largest ratio of a component to its mean size.
    pub rank: f64,
    /// What was expected at this time of day.
    pub expected: f64,
}

impl Default for Series {
    fn default() -> Self {
        Series {
            count: 0,
            low: 0.0,
            high: 0.0,
            mean: 0.0,
            learned: 0,
            season: [0.0; SEASONS],
            season_count: [0; SEASONS],
            residuals: [0.0; SMOOTH],
            recent: [0.0; SHORT],
            unsettled: 0,
            most_drift: 0.0,
            most_lift: 0.0,
            sizes: [0.0; 4],
            sized: [0; 4],
        }
    }
}

impl Series {
    /// Reads a value against what came before it.
    pub fn read(&self, value: f64, time: Micros) -> Reading {
        let value = tame(value);
        let season = season_of(time);
        if self.count == 0 {
            return Reading {
                value,
                season,
                residual: 0.0,
                settled: false,
                components: [0.0; 4],
                records: [0.0; 2],
                raw: 0.0,
                rank: 0.0,
                expected: value,
            };
        }
        let i = self.count;
        let seasonal = self.season_count[season] > 0;
        let settled = self.season_count[season] >= SETTLED;
        let baseline = if seasonal {
            self.season[season]
        } else {
            self.mean
        };
        let residual = if seasonal { value - baseline } else { 0.0 };
        let magnitude = self.mean.abs().max(value.abs());
        let rounding = ROUNDING * magnitude + f64::MIN_POSITIVE;
        let still = STILL * magnitude + f64::MIN_POSITIVE;
        let least = if self.learned >= LONG && self.sizes[DEVIATION] <= rounding {
            rounding
        } else {
            still
        };
        // For records, the plain means of the last values. For ranks, one value counts in them as
        // no more than a few typical ones: it is strange itself, the nineteen after it are not.
        let at = (i % SMOOTH as u64) as usize;
        let most = self.most_of_one(RESIDUAL, rounding);
        let (drift, even_drift) = sums(&self.residuals, at, residual, 0.0, most, self.unsettled);
        let at = (i % SHORT as u64) as usize;
        let most = self.most_of_one(DEVIATION, rounding);
        let (short, even_short) = sums(&self.recent, at, value, self.mean, most, 0);
        let lift = short / (i + 1).min(SHORT as u64) as f64 - self.mean;
        let components = [
            (value - self.mean).abs(),
            residual.abs(),
            (even_drift / SMOOTH as f64).abs(),
            (even_short / SHORT as f64).max(0.0),
        ];
        let records = [(drift / SMOOTH as f64).abs(), lift.max(0.0)];
        let mut rank = 0.0f64;
        for (which, component) in components.iter().enumerate() {
            let (size, count) = (self.typical(which), self.sized[which]);
            let size = if size > rounding { size } else { least };
            let of_baseline = which == RESIDUAL || which == DRIFT;
            if count >= RANGE_FROM && (settled || !of_baseline) {
                rank = rank.max((component / size).min(FARTHEST));
            }
        }
        Reading {
            value,
            season,
            residual,
            settled,
            components,
            records,
            raw: self.ratio(value, records, still),
            rank,
            expected: baseline,
        }
    }

    /// The typical size of a component. That of a mean of several is no less than if they were
    /// independent: where hardly anything ever moves, it is known from next to nothing.
    fn typical(&self, component: usize) -> f64 {
        let size = self.sizes[component];
        match component {
            DRIFT => size.max(self.sizes[RESIDUAL] / (SMOOTH as f64).sqrt()),
            LIFT => size.max(self.sizes[DEVIATION] / (SHORT as f64).sqrt()),
            _ => size,
        }
    }

    /// What one value counts in a smoothed component at most. In a series that never moved a
    /// first change is as large as any; what follows it is not strange for that.
    fn most_of_one(&self, component: usize, rounding: f64) -> f64 {
        if self.sized[component] >= RANGE_FROM {
            MOST_OF_ONE * self.sizes[component].max(rounding)
        } else {
            f64::INFINITY
        }
    }

    /// The largest ratio of a component to its record so far.
    fn ratio(&self, value: f64, [drift, lift]: [f64; 2], still: f64) -> f64 {
        let mut best = 0.0f64;
        if self.count >= RANGE_FROM {
            let range = self.high - self.low;
            let beyond = (value - self.high).max(self.low - value);
            best = if beyond > 0.0 {
                1.0 + beyond / if range > 0.0 { range } else { still }
            } else if range > 0.0 {
                // How near it comes to either end: 1 at the ends, continuous with the above.
                (2.0 * (value - self.low) / range - 1.0).abs()
            } else {
                0.0
            };
        }
        if self.count >= SMOOTH_FROM && self.most_drift > 0.0 {
            best = best.max(drift / self.most_drift);
        }
        if self.count >= LIFT_FROM && self.most_lift > 0.0 {
            best = best.max(lift / self.most_lift);
        }
        best
    }

    /// Takes a value in, as it was just read.
    pub fn learn(&mut self, r: &Reading, normal: bool) {
        let i = self.count;
        if i == 0 {
            (self.low, self.high) = (r.value, r.value);
            self.mean = r.value;
        }
        self.low = self.low.min(r.value);
        self.high = self.high.max(r.value);
        self.most_drift = self.most_drift.max(r.records[0]);
        self.most_lift = self.most_lift.max(r.records[1]);
        let at = (i % SMOOTH as u64) as usize;
        self.residuals[at] = r.residual;
        self.unsettled = self.unsettled & !(1 << at) | u32::from(!r.settled) << at;
        self.recent[(i % SHORT as u64) as usize] = r.value;
        self.count += 1;
        if !normal {
            return;
        }
        self.learned += 1;
        self.mean += slow_rate(self.learned) * (r.value - self.mean);
        let count = &mut self.season_count[r.season];
        let first = *count == 0;
        *count = (*count + 1).min(SETTLED);
        let season_rate = (1.0 / f64::from(*count)).max(SEASON_RATE);
        for (which, &component) in r.components.iter().enumerate() {
            // A lift is zero half of the time; its typical size is that of the other half.
            let of_baseline = which == RESIDUAL || which == DRIFT;
            if (r.settled || !of_baseline) && (which != LIFT || component > 0.0) {
                self.sized[which] += 1;
                let rate = slow_rate(self.sized[which]);
                self.sizes[which] += rate * (component - self.sizes[which]);
            }
        }
        // One value moves a baseline by no more than some typical ones, and a lone spike that is let in
        // by nothing: what follows, where it always was, must not be strange for it.
        if first {
            self.season[r.season] = self.mean;
        }
        let typical = if r.settled { RESIDUAL } else { DEVIATION };
        let apart = r.value - self.season[r.season];
        self.season[r.season] += season_rate * within(apart, self.most_of_one(typical, 0.0));
    }

    /// The level has moved for good: means and baselines move along, the shape of the day stays,
    /// records stay.
    pub fn relearn(&mut self, values: &[(f64, Micros)]) {
        let n = values.len() as f64;
        if values.is_empty() {
            return;
        }
        let mean = values.iter().map(|&(v, _)| tame(v)).sum::<f64>() / n;
        // Baselines are as old as their half hour's last visit, the mean is not: they move by how
        // far these values lie from them, or a trend would be a change anew each half hour.
        let (mut moved, mut of) = (0.0, 0.0);
        for &(value, time) in values {
            let season = season_of(time);
            if self.season_count[season] > 0 {
                moved += tame(value) - self.season[season];
                of += 1.0;
            }
        }
        let moved = if of > 0.0 {
            moved / of
        } else {
            mean - self.mean
        };
        self.mean = mean;
        // Half hours just before that have followed already stay, or they were a change in a day.
        let first = season_of(values[0].1);
        let back = (1..SEASONS).map(|i| (first + SEASONS - i) % SEASONS);
        let followed = back
            .take_while(|&s| {
                self.season_count[s] > 0 && (self.season[s] - mean).abs() < FOLLOWED * moved.abs()
            })
            .count();
        for i in 0..SEASONS - followed {
            let season = (first + i) % SEASONS;
            if self.season_count[season] > 0 {
                self.season[season] += moved;
            }
        }
        self.residuals = [0.0; SMOOTH];
        self.unsettled = 0;
        self.recent = [mean; SHORT];
        let size = values
            .iter()
            .map(|&(v, _)| (tame(v) - mean).abs())
            .sum::<f64>()
            / n;
        let before = self.sizes[DEVIATION];
        let change = if before > 0.0 { size / before } else { 1.0 };
        for (which, value) in self.sizes.iter_mut().enumerate() {
            *value = if which == DEVIATION {
                size
            } else {
                *value * change
            };
        }
        let few = values.len() as u64;
        self.learned = few;
        self.sized = self.sized.map(|n| n.min(few));
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        out.u64s("counts", &[self.count, self.learned]);
        out.f64s(
            "level",
            &[
                self.low,
                self.high,
                self.mean,
                self.most_drift,
                self.most_lift,
            ],
        );
        out.f64s("season", &self.season);
        out.bytes("season_count", &self.season_count);
        out.f64s("residuals", &self.residuals);
        out.u64("unsettled", u64::from(self.unsettled));
        out.f64s("recent", &self.recent);
        out.f64s("sizes", &self.sizes);
        out.u64s("sized", &self.sized);
    }

    /// Reads it back.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let counts = from.counts_of("counts", 2)?;
        let level = finite(from, "level", 5)?;
        let season_count = from.bytes_of("season_count", SEASONS)?;
        if season_count.iter().any(|&c| c > SETTLED) {
            return Err(from.invalid("season_count", "more than is counted"));
        }
        if level[0] > level[1] || level[3] < 0.0 || level[4] < 0.0 {
            return Err(from.invalid("level", "out of range"));
        }
        [self.count, self.learned] = [counts[0], counts[1]];
        [self.low, self.high, self.mean] = [level[0], level[1], level[2]];
        [self.most_drift, self.most_lift] = [level[3], level[4]];
        self.season_count.copy_from_slice(season_count);
        self.season
            .copy_from_slice(finite(from, "season", SEASONS)?);
        self.residuals
            .copy_from_slice(finite(from, "residuals", SMOOTH)?);
        self.recent.copy_from_slice(finite(from, "recent", SHORT)?);
        self.unsettled = u32::try_from(from.u64("unsettled")?)
            .ok()
            .filter(|&bits| bits < 1 << SMOOTH)
            .ok_or_else(|| from.invalid("unsettled", "more bits than residuals"))?;
        self.sizes.copy_from_slice(finite(from, "sizes", 4)?);
        self.sized.copy_from_slice(from.counts_of("sized", 4)?);
        if self.sizes.iter().any(|&s| s < 0.0) {
            return Err(from.invalid("sizes", "negative"));
        }
        Ok(())
    }
}

/// The sum of a window's values with `value` in place of the one at `at`, and the sum of their
/// distances from `middle`, each no more than `most`, and nothing beyond twice that: such a value is
/// strange by itself, and twenty of them must not make the twenty after them strange. Values whose bit
/// in `without` is set do not count in the second sum.
fn sums(window: &[f64], at: usize, value: f64, middle: f64, most: f64, without: u32) -> (f64, f64) {
    let even_of = |x: f64| within(x - middle, most);
    let mut plain = value;
    let mut even = even_of(value);
    for (i, &x) in window.iter().enumerate() {
        if i != at {
            plain += x;
            if without >> i & 1 == 0 {
                even += even_of(x);
            }
        }
    }
    (plain, even)
}

/// A distance, no more than `most`, and nothing beyond twice that.
fn within(apart: f64, most: f64) -> f64 {
    if apart.abs() > 2.0 * most {
        0.0
    } else {
        apart.clamp(-most, most)
    }
}

fn season_of(time: Micros) -> usize {
    (time.of_day() / HALF_HOUR) as usize
}

fn slow_rate(n: u64) -> f64 {
    (1.0 / n as f64).max(SLOW_RATE)
}

fn finite<'a>(from: &Reader<'a>, name: &str, length: usize) -> Result<&'a [f64], StateError> {
    let values = from.f64s_of(name, length)?;
    if values.iter().all(|v| v.is_finite()) {
        Ok(values)
    } else {
        Err(from.invalid(name, "not finite"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_one_change_of_a_still_series_is_not_strange() {
        for level in [0.0, 5.0] {
            let mut s = Series::default();
            let mut step = |value: f64, normal: bool| {
                let reading = s.read(value, Micros(0));
                s.learn(&reading, normal);
                reading.rank
            };
            for _ in 0..1000 {
                step(level, true);
            }
            assert!(step(level + 1.0, false) > 100.0);
            for _ in 0..30 {
                assert!(step(level, true) < 3.0);
            }
        }
    }

    #[test]
    fn what_follows_a_lone_spike_that_is_let_in_is_not_strange() {
        let mut s = fed(std::iter::repeat_n(200.0, 3000));
        let mut step = |value: f64| {
            let reading = s.read(value, Micros(0));
            s.learn(&reading, true);
            reading.rank
        };
        for _ in 0..100 {
            step(200.0);
        }
        assert!(step(500.0) > 100.0);
        for i in 0..30 {
            let rank = step(200.0);
            assert!(rank < 3.0, "{i}: {rank}");
        }
    }

    fn fed(values: impl IntoIterator<Item = f64>) -> Series {
        let mut s = Series::default();
        for (i, v) in values.into_iter().enumerate() {
            let r = s.read(v, Micros(i as i64 * 300 * Micros::SECOND.0));
            s.learn(&r, true);
        }
        s
    }

    #[test]
    fn state_is_below_a_kibibyte() {
        assert!(size_of::<Series>() < 1024, "{}", size_of::<Series>());
    }

    #[test]
    fn a_value_outside_the_range_is_a_record_by_as_much_as_it_is_outside() {
        let s = fed((0..40).map(|i| f64::from(i % 11)));
        assert_eq!(s.read(15.0, Micros(0)).raw, 1.5);
        assert_eq!(s.read(-10.0, Micros(0)).raw, 2.0);
        assert_eq!(s.read(10.0, Micros(0)).raw, 1.0);
        assert!(s.read(7.0, Micros(0)).raw < 1.0);
    }

    #[test]
    fn the_first_change_of_a_constant_series_is_strange_and_nothing_is_not() {
        let s = fed([5.0; 100]);
        let same = s.read(5.0, Micros(0));
        assert_eq!((same.raw, same.rank), (0.0, 0.0));
        let other = s.read(6.0, Micros(0));
        assert!(other.raw > 100.0 && other.rank > 100.0, "{other:?}");
        assert!(fed([0.0; 100]).read(1.0, Micros(0)).rank > 100.0);
    }

    #[test]
    fn numbers_beyond_measure_stay_numbers() {
        let mut s = fed((0..500).map(|i| if i % 50 == 7 { f64::MAX } else { f64::from(i) }));
        for v in [f64::MAX, f64::MIN, f64::INFINITY, 1e-300] {
            let r = s.read(v, Micros(0));
            assert!(!r.raw.is_nan() && !r.rank.is_nan(), "{r:?}");
            s.learn(&r, true);
        }
    }

    #[test]
    fn the_shape_of_the_day_moves_along_with_the_level() {
        let mut s = fed((0..2000).map(|i| f64::from(i % 288 / 144)));
        let day = Micros::DAY.0;
        let night = s.read(0.0, Micros(day)).expected;
        let ring: Vec<(f64, Micros)> = (0..40).map(|i| (10.0, Micros(i))).collect();
        s.relearn(&ring);
        let moved = s.read(0.0, Micros(day)).expected - night;
        assert!((moved - (10.0 - night)).abs() < 1e-9);
    }
}
