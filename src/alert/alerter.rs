//! The alerter of one model, over all its keys: from p-values to flags, from flags to alerts.
//!
//! Invariant: flagged records ≥ alerts; an alert that the ceiling holds back is counted, and told
//! with the next one.
//!
//! Severity: `critical` where the p-value is a hundred times below the level, else `warning`.

use super::AlertConfig;
use super::budget::{Budget, RARE};
use super::incident::{CALM, Incidents};
use crate::base::{Micros, Reader, StateError, Writer};

/// So many records in a row more than a day behind the clock mean that the clock was wrong.
const BEHIND: u32 = 1000;

/// What is to be done about one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its p-value passed the level.
    pub flagged: bool,
    /// Somebody is to be told.
    pub alert: Option<Alert>,
}

/// What somebody is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `warning` or `critical`.
    pub severity: &'static str,
    /// `open`: an incident began.
    pub state: &'static str,
    /// The `event_id` of the record that opened it.
    pub incident: u128,
    /// Flagged records in it so far.
    pub records: u64,
    /// Incidents held back by the ceiling since the last alert.
    pub suppressed: u64,
}

/// Decides what is flagged and who is woken.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerter {
    budget: Budget,
    incidents: Incidents,
    /// The latest time of any record so far.
    clock: Micros,
    started: bool,
    /// Records in a row far behind the clock, and the latest time among them.
    behind: u32,
    behind_latest: i64,
    suppressed: u64,
    suppressed_total: u64,
}

impl Alerter {
    /// Nothing seen yet.
    pub fn new(config: AlertConfig) -> Alerter {
        Alerter {
            budget: Budget::new(config),
            incidents: Incidents::default(),
            clock: Micros(0),
            started: false,
            behind: 0,
            behind_latest: i64::MIN,
            suppressed: 0,
            suppressed_total: 0,
        }
    }

    /// Looks at one judged record. `key` is a hash of its key (0 without keys); `now` is its time,
    /// which only moves the clock forward. Not `ready` is never flagged.
    pub fn observe(
        &mut self,
        now: Micros,
        key: u64,
        p_value: f64,
        ready: bool,
        event_id: u128,
    ) -> Verdict {
        self.advance(now);
        let now = self.clock;
        self.budget.observe(now);
        let level = self.budget.level(now);
        let flagged = ready && p_value < level;
        let rare = p_value * RARE < level;
        let calm = !flagged && (!ready || p_value > CALM * level);
        let known = self.incidents.observe(now, key, flagged, calm);
        if !flagged {
            return Verdict {
                flagged,
                alert: None,
            };
        }
        // Part of what somebody was told already, unless this is far stranger, and what they were
        // told of is over or was not.
        let told = known.as_ref().is_some_and(|i| {
            let news = rare && (i.over || !(i.rare || i.consecutive));
            i.alerted && !news
        });
        let alert = if told {
            None
        } else {
            // One held back goes on being the same incident.
            let held_back = known.filter(|i| !i.alerted && !i.over);
            let allowed = self.budget.allows(now, rare);
            let (incident, records) = if let Some(held) = held_back {
                held.alerted = allowed;
                held.rare |= rare;
                if allowed {
                    self.suppressed = self.suppressed.saturating_sub(1);
                }
                (held.id, held.flagged)
            } else {
                self.incidents.open(now, key, event_id, allowed, rare);
                if !allowed {
                    self.suppressed += 1;
                    self.suppressed_total += 1;
                }
                (event_id, 1)
            };
            allowed.then(|| {
                self.budget.spend(now);
                Alert {
                    severity: if rare { "critical" } else { "warning" },
                    state: "open",
                    incident,
                    records,
                    suppressed: std::mem::take(&mut self.suppressed),
                }
            })
        };
        Verdict { flagged, alert }
    }

    /// Moves the clock to a record's time. One record with a time far ahead must not stop it for
    /// good: when a thousand in a row lie more than a day behind, they are right.
    fn advance(&mut self, now: Micros) {
        if !self.started || now >= self.clock {
            self.started = true;
            self.clock = now;
            self.behind = 0;
            self.behind_latest = i64::MIN;
        } else if self.clock.0.saturating_sub(now.0) > Micros::DAY.0 {
            self.behind += 1;
            self.behind_latest = self.behind_latest.max(now.0);
            if self.behind >= BEHIND {
                self.clock = Micros(self.behind_latest);
                self.budget.set_back(self.clock);
                self.incidents.set_back(self.clock);
                self.behind = 0;
                self.behind_latest = i64::MIN;
            }
        } else {
            self.behind = 0;
            self.behind_latest = i64::MIN;
        }
    }

    /// The p-value below which a record is flagged now.
    pub fn level(&self) -> f64 {
        self.budget.level(self.clock)
    }

    /// Alerts in the last 24 hours of the records' time.
    pub fn alerts_last_day(&self) -> u64 {
        self.budget.last_day(self.clock)
    }

    /// Incidents that the ceiling held back, ever.
    pub fn suppressed_total(&self) -> u64 {
        self.suppressed_total
    }

    /// Writes everything that decides what it will say.
    pub fn save(&self, out: &mut Writer) {
        out.u64s(
            "clock",
            &[
                u64::from(self.started),
                self.clock.0 as u64,
                u64::from(self.behind),
                self.behind_latest as u64,
                self.budget.period() as u64,
            ],
        );
        out.u64s("suppressed", &[self.suppressed, self.suppressed_total]);
        out.nested("budget", |w| self.budget.save(w));
        out.nested("incidents", |w| self.incidents.save(w));
    }

    /// Reads it back; a budget changed in the meantime takes over from here.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let clock = from.u64s_of("clock", 5)?;
        let suppressed = from.u64s_of("suppressed", 2)?;
        self.started = clock[0] != 0;
        self.clock = Micros(clock[1] as i64);
        self.behind =
            u32::try_from(clock[2]).map_err(|_| from.invalid("clock", "beyond counting"))?;
        self.behind_latest = clock[3] as i64;
        [self.suppressed, self.suppressed_total] = [suppressed[0], suppressed[1]];
        let same_period = clock[4] as i64 == self.budget.period();
        let (budget, incidents) = (&mut self.budget, &mut self.incidents);
        from.nested("budget", |r| budget.load(same_period, r))?;
        from.nested("incidents", |r| incidents.load(r))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = Micros::SECOND.0;

    fn daily(count: f64) -> Alerter {
        Alerter::new(AlertConfig::Budget {
            count,
            period_micros: Micros::DAY.0,
        })
    }

    fn calm(a: &mut Alerter, n: i64, from: i64) {
        for i in 0..n {
            a.observe(Micros((from + i) * SECOND), 0, 0.5, true, 0);
        }
    }

    #[test]
    fn consecutive_flagged_records_make_one_alert() {
        let mut a = daily(3.0);
        calm(&mut a, 2000, 0);
        let verdicts: Vec<Verdict> = (0..20)
            .map(|i| a.observe(Micros((2000 + i) * SECOND), 0, 1e-9, true, 77 + i as u128))
            .collect();
        assert!(verdicts.iter().all(|v| v.flagged));
        let alerts: Vec<&Alert> = verdicts.iter().filter_map(|v| v.alert.as_ref()).collect();
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].incident, alerts[0].state), (77, "open"));
        assert_eq!(a.alerts_last_day(), 1);
    }

    #[test]
    fn something_rare_soon_after_something_mild_is_news() {
        let mut a = daily(3.0);
        calm(&mut a, 2000, 0);
        let mild = a.level() * 0.9;
        let mut at = |n: i64, p: f64| {
            let v = a.observe(Micros((2000 + n) * SECOND), 0, p, true, n as u128);
            v.alert.is_some()
        };
        assert!(at(0, mild));
        assert!(!at(1, 0.5) && !at(2, mild));
        // Consecutive ones are one thing.
        assert!(!at(3, 1e-12));
        assert!(!at(4, 0.5));
        assert!(at(5, 1e-12));
        assert!(!at(6, 0.5) && !at(7, 1e-12));
    }

    #[test]
    fn what_is_not_ready_is_not_flagged() {
        let mut a = daily(3.0);
        calm(&mut a, 2000, 0);
        assert!(!a.observe(Micros(2000 * SECOND), 0, 1e-9, false, 1).flagged);
    }

    #[test]
    fn noise_in_the_morning_does_not_hide_an_outage_in_the_evening() {
        let mut a = daily(3.0);
        calm(&mut a, 86_400, 0);
        let level = a.level();
        let mut alerts = 0;
        let mut at = 86_400;
        for i in 0..10 {
            let p = level * 0.9;
            let v = a.observe(Micros(at * SECOND), 0, p, true, i);
            alerts += u64::from(v.alert.is_some());
            calm(&mut a, 600, at + 1);
            at += 601;
        }
        assert_eq!(alerts, 2);
        assert_eq!(a.suppressed_total(), 8);
        let outage = a.observe(Micros(at * SECOND), 0, level / 1e4, true, 99);
        let outage = outage.alert.expect("the place kept for it");
        assert_eq!((outage.severity, outage.suppressed), ("critical", 8));
        calm(&mut a, 600, at + 1);
        let more = a.observe(Micros((at + 601) * SECOND), 0, level / 1e4, true, 100);
        assert!(more.flagged && more.alert.is_none());
    }

    #[test]
    fn keys_share_the_budget_and_have_their_own_incidents() {
        let mut a = daily(3.0);
        calm(&mut a, 5000, 0);
        let alerts = (1..=10)
            .filter(|&key| {
                let v = a.observe(Micros(5000 * SECOND), key, 1e-12, true, u128::from(key));
                v.alert.is_some()
            })
            .count();
        assert_eq!(alerts, 3);
        assert_eq!(a.suppressed_total(), 7);
    }

    #[test]
    fn one_time_from_the_far_future_does_not_stop_the_clock_for_good() {
        let mut a = daily(1.0);
        calm(&mut a, 100, 0);
        a.observe(Micros(1000 * Micros::DAY.0), 0, 0.5, true, 0);
        calm(&mut a, 1001, 100);
        assert_eq!(a.clock, Micros(1100 * SECOND));
        assert!(a.level() > 0.0);
    }

    #[test]
    fn resumes_where_it_was() {
        let mut a = daily(3.0);
        calm(&mut a, 3000, 0);
        for key in 0..6 {
            a.observe(
                Micros(3000 * SECOND),
                key,
                1e-9,
                true,
                u128::MAX - u128::from(key),
            );
        }
        let mut w = Writer::new();
        a.save(&mut w);
        let map = w
            .into_sections()
            .into_iter()
            .map(|s| (s.name, s.data))
            .collect();
        let mut b = daily(3.0);
        b.load(&Reader::new(&map)).unwrap();
        assert_eq!(a, b);
        let mut other = Alerter::new(AlertConfig::Level(1e-4));
        other.load(&Reader::new(&map)).unwrap();
        assert_eq!(other.level(), 1e-4);
    }
}
