//! Incidents: consecutive flagged records of one key are one thing that happened.
//!
//! Invariant: at most 4,096 are held; the one that has been quiet longest makes room.

use std::collections::BTreeMap;

use crate::base::{Micros, Reader, StateError, Writer};

/// The most incidents held.
const MOST: usize = 4096;
/// So many calm records of the key in a row end an incident ...
const CALM_RECORDS: u32 = 10;
/// ... or calm for so long ...
const CALM_TIME: i64 = 300 * Micros::SECOND.0;
/// ... where calm is a p-value this many times the level.
pub(super) const CALM: f64 = 10.0;
/// After its end, flagged records of the key belong to it for so many records since it began ...
const QUIET_RECORDS: u32 = 120;
/// ... or for a day.
const QUIET_TIME: i64 = Micros::DAY.0;

/// Something that happened to one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Incident {
    /// Of the record that opened it.
    pub id: u128,
    /// Whether an alert went out for it.
    pub alerted: bool,
    /// Flagged records in it.
    pub flagged: u64,
    /// Over, and only kept so that what follows soon is not a new one.
    pub over: bool,
    /// Whether what opened it was rare.
    pub rare: bool,
    /// The last record of the key was flagged, and the one before it as well.
    last_flagged: bool,
    pub consecutive: bool,
    /// Records of the key since it began.
    age: u32,
    /// Calm records in a row, and when they began.
    calm: u32,
    calm_since: i64,
    /// The last record of the key.
    last: i64,
}

/// Those open, or over for a short while, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Incidents {
    by_key: BTreeMap<u64, Incident>,
}

impl Incidents {
    /// The incident of a key, after one more of its records: calm, flagged or neither.
    pub fn observe(
        &mut self,
        now: Micros,
        key: u64,
        flagged: bool,
        calm: bool,
    ) -> Option<&mut Incident> {
        if self.by_key.is_empty() {
            return None;
        }
        let incident = self.by_key.get_mut(&key)?;
        incident.last = now.0;
        incident.age = incident.age.saturating_add(1);
        incident.consecutive = flagged && incident.last_flagged;
        incident.last_flagged = flagged;
        if flagged {
            incident.calm = 0;
            incident.flagged += 1;
        } else if calm && !incident.over {
            if incident.calm == 0 {
                incident.calm_since = now.0;
            }
            incident.calm += 1;
            incident.over =
                incident.calm >= CALM_RECORDS || now.0 - incident.calm_since >= CALM_TIME;
        } else if !incident.over {
            incident.calm = 0;
        }
        let old = incident.age > QUIET_RECORDS || now.0 - incident.calm_since > QUIET_TIME;
        if incident.over && old {
            self.by_key.remove(&key);
            return None;
        }
        self.by_key.get_mut(&key)
    }

    /// A new one, in place of what the key had.
    pub fn open(&mut self, now: Micros, key: u64, id: u128, alerted: bool, rare: bool) {
        if self.by_key.len() >= MOST && !self.by_key.contains_key(&key) {
            let quietest = self.by_key.iter().min_by_key(|(_, i)| (!i.over, i.last));
            if let Some(quietest) = quietest.map(|(&key, _)| key) {
                self.by_key.remove(&quietest);
            }
        }
        let incident = Incident {
            id,
            alerted,
            flagged: 1,
            over: false,
            rare,
            last_flagged: true,
            consecutive: false,
            age: 0,
            calm: 0,
            calm_since: now.0,
            last: now.0,
        };
        self.by_key.insert(key, incident);
    }

    /// The clock was set back: nothing stored lies in the future.
    pub fn set_back(&mut self, now: Micros) {
        for incident in self.by_key.values_mut() {
            incident.calm_since = incident.calm_since.min(now.0);
            incident.last = incident.last.min(now.0);
        }
    }

    /// Writes everything, by key.
    pub fn save(&self, out: &mut Writer) {
        let each = |f: fn(&Incident) -> u64| -> Vec<u64> { self.by_key.values().map(f).collect() };
        let keys: Vec<u64> = self.by_key.keys().copied().collect();
        out.u64s("keys", &keys);
        out.u64s("id_high", &each(|i| (i.id >> 64) as u64));
        out.u64s("id_low", &each(|i| i.id as u64));
        out.u64s("flagged", &each(|i| i.flagged));
        out.u64s(
            "flags",
            &each(|i| {
                let bits = [i.alerted, i.over, i.rare, i.last_flagged, i.consecutive];
                (0..5).map(|bit| u64::from(bits[bit]) << bit).sum()
            }),
        );
        out.u64s("age", &each(|i| u64::from(i.age)));
        out.u64s("calm", &each(|i| u64::from(i.calm)));
        out.u64s("calm_since", &each(|i| i.calm_since as u64));
        out.u64s("last", &each(|i| i.last as u64));
    }

    /// Reads it back.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let keys = from.u64s("keys")?;
        let n = keys.len();
        if n > MOST || !keys.is_sorted_by(|a, b| a < b) {
            return Err(from.invalid("keys", "too many, or out of order"));
        }
        let column = |name: &str| from.u64s_of(name, n);
        let (high, low) = (column("id_high")?, column("id_low")?);
        let (flagged, flags) = (column("flagged")?, column("flags")?);
        let (age, calm) = (column("age")?, column("calm")?);
        let (calm_since, last) = (column("calm_since")?, column("last")?);
        if flags.iter().any(|&f| f > 31) {
            return Err(from.invalid("flags", "unknown"));
        }
        let small = |name: &str, n: u64| {
            u32::try_from(n).map_err(|_| from.invalid(name, "beyond counting"))
        };
        self.by_key.clear();
        for i in 0..n {
            let incident = Incident {
                id: u128::from(high[i]) << 64 | u128::from(low[i]),
                alerted: flags[i] & 1 != 0,
                flagged: flagged[i],
                over: flags[i] & 2 != 0,
                rare: flags[i] & 4 != 0,
                last_flagged: flags[i] & 8 != 0,
                consecutive: flags[i] & 16 != 0,
                age: small("age", age[i])?,
                calm: small("calm", calm[i])?,
                calm_since: calm_since[i] as i64,
                last: last[i] as i64,
            };
            self.by_key.insert(keys[i], incident);
        }
        Ok(())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_calm_records_end_an_incident_and_120_records_forget_it() {
        let mut all = Incidents::default();
        all.open(Micros(0), 7, 1, true, false);
        for i in 1..=9 {
            assert!(!all.observe(Micros(i), 7, false, true).unwrap().over);
        }
        assert!(!all.observe(Micros(10), 7, true, false).unwrap().over);
        for i in 11..=20 {
            let over = all.observe(Micros(i), 7, false, true).unwrap().over;
            assert_eq!(over, i == 20);
        }
        for i in 21..=120 {
            assert!(all.observe(Micros(i), 7, false, true).is_some(), "{i}");
        }
        assert!(all.observe(Micros(121), 7, true, false).is_none());
    }

    #[test]
    fn an_incident_lasts_as_long_as_it_is_not_calm() {
        let mut all = Incidents::default();
        all.open(Micros(0), 7, 1, true, false);
        for i in 1..1000 {
            let flagged = i % 8 == 0;
            let incident = all.observe(Micros(i), 7, flagged, !flagged).unwrap();
            assert!(!incident.over && incident.id == 1);
        }
    }

    #[test]
    fn a_storm_of_keys_is_bounded() {
        let mut all = Incidents::default();
        for key in 0..10_000 {
            all.open(Micros(key as i64), key, u128::from(key), true, false);
        }
        assert_eq!(all.len(), MOST);
        assert!(all.observe(Micros(10_000), 9_999, true, false).is_some());
        assert!(all.observe(Micros(10_000), 0, true, false).is_none());
    }
}
