//! A budget as a level and as a ceiling.
//!
//! Invariant: the ceiling is exact. Of any stretch as long as the budget's period (a time, or a
//! number of records; both ends included), no more alerts come than the budget says, whatever the
//! level let through.

use std::collections::VecDeque;

use super::AlertConfig;
use crate::base::{Micros, Reader, StateError, Writer};

/// What is not among the strangest percent is no anomaly, however generous the budget.
const HIGHEST_LEVEL: f64 = 0.01;
/// Parts of the period in which records are counted.
const SLICES: usize = 48;
/// A short watch is extended to the whole period by no more than this factor, so that neither a
/// pipe of a second nor the first minutes of a live stream mislead it.
const EXTENDED: f64 = 100.0;
/// The most alerts remembered, and so the most that a ceiling counts.
const REMEMBERED: usize = 65_536;
/// One place is kept for what is this many times rarer than the level.
pub(super) const RARE: f64 = 100.0;

/// Records seen in the last period, in slices of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    period: i64,
    first: Option<i64>,
    /// The number of the slice that `slices[number % SLICES]` is counting now.
    slice: i64,
    slices: [u64; SLICES],
    /// What was to be expected before the last silence of a whole period: after it, a few records
    /// say nothing yet.
    before: f64,
}

impl Rate {
    fn new(period: i64) -> Rate {
        Rate {
            period,
            first: None,
            slice: 0,
            slices: [0; SLICES],
            before: 0.0,
        }
    }

    fn slice_length(&self) -> i64 {
        (self.period / SLICES as i64).max(1)
    }

    fn observe(&mut self, now: Micros) {
        let slice = now.0.div_euclid(self.slice_length());
        if self.first.is_none() {
            self.first = Some(now.0);
            self.slice = slice;
        }
        let passed = slice.saturating_sub(self.slice);
        if passed >= SLICES as i64 {
            let then = (self.slice + 1).saturating_mul(self.slice_length());
            self.before = self.expected(Micros(then));
            self.first = Some(now.0);
        }
        for i in 1..=passed.min(SLICES as i64) {
            let gone = (self.slice + i).rem_euclid(SLICES as i64);
            self.slices[gone as usize] = 0;
        }
        if passed > 0 {
            self.slice = slice;
        }
        self.slices[self.slice.rem_euclid(SLICES as i64) as usize] += 1;
    }

    /// Records to be expected in a whole period.
    fn expected(&self, now: Micros) -> f64 {
        let seen: u64 = self.slices.iter().sum();
        let watched = self.first.map_or(0, |first| now.0.saturating_sub(first));
        // The slices reach back to the start of the oldest one.
        let reach = (self.slice - SLICES as i64 + 1).saturating_mul(self.slice_length());
        let counted = watched.min(now.0.saturating_sub(reach)).max(0) as f64;
        let factor = if counted > 0.0 {
            (self.period as f64 / counted).min(EXTENDED)
        } else {
            EXTENDED
        };
        let expected = seen as f64 * factor.max(1.0);
        if watched < self.period {
            expected.max(self.before)
        } else {
            expected
        }
    }
}

/// What the ceiling counts by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Window {
    Time(i64),
    Records(u64),
    None,
}

/// The level and the ceiling of one model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Budget {
    count: f64,
    /// Alerts in a window at most.
    ceiling: usize,
    window: Window,
    rate: Rate,
    /// Where neither time nor rate matters.
    fixed: Option<f64>,
    records: u64,
    /// When alerts came, and at which record; as far back as the ceiling or a day asks.
    alerts: VecDeque<(i64, u64)>,
}

impl Budget {
    /// From the configuration. Less than one alert in a period is one in a longer period.
    pub fn new(config: AlertConfig) -> Budget {
        let (count, window, fixed) = match config {
            AlertConfig::Budget {
                count,
                period_micros,
            } => {
                let longer = (1.0 / count).max(1.0);
                let period = (period_micros.max(1) as f64 * longer) as i64;
                (count * longer, Window::Time(period), None)
            }
            AlertConfig::PerRecords { count, records } => {
                let longer = (1.0 / count).max(1.0);
                let records = records * longer;
                let level = (count * longer / records).min(HIGHEST_LEVEL);
                (count * longer, Window::Records(records as u64), Some(level))
            }
            AlertConfig::Level(level) => (f64::INFINITY, Window::None, Some(level)),
        };
        let period = match window {
            Window::Time(period) => period,
            _ => Micros::DAY.0,
        };
        Budget {
            count,
            ceiling: (count as usize).clamp(1, REMEMBERED),
            window,
            rate: Rate::new(period),
            fixed,
            records: 0,
            alerts: VecDeque::new(),
        }
    }

    /// One more record, at a time that never goes back.
    pub fn observe(&mut self, now: Micros) {
        self.records += 1;
        if self.fixed.is_none() {
            self.rate.observe(now);
        }
    }

    /// The p-value below which a record is flagged.
    pub fn level(&self, now: Micros) -> f64 {
        self.fixed
            .unwrap_or_else(|| (self.count / self.rate.expected(now).max(1.0)).min(HIGHEST_LEVEL))
    }

    /// Whether an alert may come now; of two or more places, one is kept for the `rare`.
    pub fn allows(&self, now: Micros, rare: bool) -> bool {
        let spent = |inside: &dyn Fn(i64, u64) -> bool| {
            self.alerts
                .iter()
                .rev()
                .take_while(|&&(time, record)| inside(time, record))
                .count()
        };
        let spent = match self.window {
            Window::Time(period) => spent(&|time, _| now.0 - time <= period),
            Window::Records(records) => spent(&|_, record| self.records - record <= records),
            Window::None => return true,
        };
        let kept = usize::from(self.ceiling >= 2 && !rare);
        spent + kept < self.ceiling
    }

    /// An alert came.
    pub fn spend(&mut self, now: Micros) {
        let (time, records) = match self.window {
            Window::Time(period) => (period.max(Micros::DAY.0), 0),
            Window::Records(records) => (Micros::DAY.0, records),
            Window::None => (Micros::DAY.0, 0),
        };
        while self.alerts.front().is_some_and(|&(t, r)| {
            self.alerts.len() >= REMEMBERED || (now.0 - t > time && self.records - r > records)
        }) {
            self.alerts.pop_front();
        }
        self.alerts.push_back((now.0, self.records));
    }

    /// Alerts in the day before now.
    pub fn last_day(&self, now: Micros) -> u64 {
        let recent = |&&(time, _): &&(i64, u64)| now.0 - time <= Micros::DAY.0;
        self.alerts.iter().rev().take_while(recent).count() as u64
    }

    /// The clock was set back by so much: nothing stored lies in the future.
    pub fn set_back(&mut self, now: Micros) {
        for (time, _) in &mut self.alerts {
            *time = (*time).min(now.0);
        }
        self.rate = Rate::new(self.rate.period);
    }

    /// Writes what the records have made of it.
    pub fn save(&self, out: &mut Writer) {
        out.u64("records", self.records);
        out.u64s(
            "rate",
            &[
                u64::from(self.rate.first.is_some()),
                self.rate.first.unwrap_or(0) as u64,
                self.rate.slice as u64,
                self.rate.before.to_bits(),
            ],
        );
        out.u64s("slices", &self.rate.slices);
        let times: Vec<u64> = self.alerts.iter().map(|&(t, _)| t as u64).collect();
        let records: Vec<u64> = self.alerts.iter().map(|&(_, r)| r).collect();
        out.u64s("alert_times", &times);
        out.u64s("alert_records", &records);
    }

    /// Reads it back into a budget of the same period; another period counts its records anew.
    pub fn load(&mut self, same_period: bool, from: &Reader<'_>) -> Result<(), StateError> {
        self.records = from.count("records")?;
        let rate = from.u64s_of("rate", 4)?;
        let slices = from.counts_of("slices", SLICES)?;
        let times = from.u64s("alert_times")?;
        let records = from.u64s_of("alert_records", times.len())?;
        let pairs = times.iter().map(|&t| t as i64).zip(records.iter().copied());
        self.alerts = pairs.collect();
        let ordered = |a: &&(i64, u64), b: &&(i64, u64)| a.0 <= b.0 && a.1 <= b.1;
        if times.len() > REMEMBERED || !self.alerts.iter().is_sorted_by(ordered) {
            return Err(from.invalid("alert_times", "too many, or out of order"));
        }
        if records.last().is_some_and(|&last| last > self.records) {
            return Err(from.invalid("alert_records", "beyond the last record"));
        }
        if slices.iter().map(|&n| u128::from(n)).sum::<u128>() >= 1 << 62 {
            return Err(from.invalid("slices", "beyond counting"));
        }
        if (rate[2] as i64).unsigned_abs() >= 1 << 62 {
            return Err(from.invalid("rate", "beyond all time"));
        }
        let before = f64::from_bits(rate[3]);
        if !(before.is_finite() && before >= 0.0) {
            return Err(from.invalid("rate", "out of range"));
        }
        if same_period {
            self.rate.before = before;
            self.rate.first = (rate[0] != 0).then_some(rate[1] as i64);
            self.rate.slice = rate[2] as i64;
            self.rate.slices.copy_from_slice(slices);
        }
        Ok(())
    }

    /// What the rate counts over, to tell whether saved counts still fit.
    pub fn period(&self) -> i64 {
        self.rate.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * Micros::SECOND.0;

    fn daily(count: f64) -> Budget {
        Budget::new(AlertConfig::Budget {
            count,
            period_micros: Micros::DAY.0,
        })
    }

    #[test]
    fn a_pipe_of_a_second_counts_a_hundredfold() {
        let mut b = daily(3.0);
        for i in 0..5000 {
            b.observe(Micros(i * 100));
        }
        assert!((b.level(Micros(500_000)) - 3.0 / 500_000.0).abs() < 1e-12);
    }

    #[test]
    fn after_a_day_the_level_is_the_budget_over_the_day_before() {
        let mut b = daily(3.0);
        let minute = HOUR / 60;
        for i in 0..60 * 72 {
            b.observe(Micros(i * minute));
        }
        let level = b.level(Micros(60 * 72 * minute));
        assert!((level / (3.0 / 1440.0) - 1.0).abs() < 0.03, "{level}");
        // After half an hour, that half hour stands for the day.
        let mut b = daily(3.0);
        for i in 0..1800 {
            b.observe(Micros(i * Micros::SECOND.0));
        }
        let level = b.level(Micros(1800 * Micros::SECOND.0));
        assert!((level / (3.0 / 86_400.0) - 1.0).abs() < 0.03, "{level}");
    }

    #[test]
    fn a_silent_period_leaves_nothing_to_expect() {
        let mut b = daily(3.0);
        for i in 0..1000 {
            b.observe(Micros(i));
        }
        b.observe(Micros(100 * Micros::DAY.0));
        assert_eq!(b.rate.slices.iter().sum::<u64>(), 1);
    }

    #[test]
    fn after_a_silence_the_level_is_no_looser_than_before() {
        let mut b = daily(3.0);
        let minute = HOUR / 60;
        for i in 0..60 * 72 {
            b.observe(Micros(i * minute));
        }
        let back = 30 * Micros::DAY.0;
        for i in 0..60 * 72 {
            b.observe(Micros(back + i * minute));
            let level = b.level(Micros(back + i * minute));
            assert!(level < 1.05 * 3.0 / 1440.0, "{i}: {level}");
        }
    }

    #[test]
    fn one_of_three_places_is_kept_for_the_rare_and_no_fourth_is_given() {
        let mut b = daily(3.0);
        let mut at = |hours: i64, rare: bool| {
            let now = Micros(hours * HOUR);
            let may = b.allows(now, rare);
            if may {
                b.spend(now);
            }
            may
        };
        assert!(at(0, false) && at(1, false));
        assert!(!at(2, false));
        assert!(at(3, true));
        assert!(!at(4, true));
        // Exactly a day later the first one still counts.
        assert!(!at(24, true));
        assert!(!at(25, false));
        assert!(at(26, false));
    }

    #[test]
    fn half_an_alert_a_day_is_one_in_two() {
        let mut b = daily(0.5);
        assert!(b.allows(Micros(0), false));
        b.spend(Micros(0));
        assert!(!b.allows(Micros(40 * HOUR), true));
        assert!(b.allows(Micros(49 * HOUR), false));
    }

    #[test]
    fn budgets_by_records_need_no_time() {
        let mut b = Budget::new(AlertConfig::PerRecords {
            count: 1.0,
            records: 1000.0,
        });
        assert_eq!(b.level(Micros(0)), 1e-3);
        b.observe(Micros(0));
        assert!(b.allows(Micros(0), false));
        b.spend(Micros(0));
        for _ in 0..1000 {
            b.observe(Micros(0));
            assert!(!b.allows(Micros(0), true));
        }
        b.observe(Micros(0));
        assert!(b.allows(Micros(0), false));
    }
}
