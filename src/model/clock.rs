//! The models' clock: the records' own time made monotone, so that budgets and periods replay the
//! same from the same records.
//!
//! Invariant: it never runs back, and one record alone never moves it by more than an hour.

use crate::base::{Micros, Reader, StateError, Writer};

/// A jump ahead of more than this needs a second record that agrees.
const TRUSTED_JUMP: i64 = 3600 * Micros::SECOND.0;

/// The clock of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordClock {
    now: Option<Micros>,
    /// A time far ahead that one record has claimed.
    claimed: Option<Micros>,
}

impl RecordClock {
    /// Takes in a record's time and tells the clock's.
    pub(crate) fn advance(&mut self, time: Micros) -> Micros {
        let Some(now) = self.now else {
            self.now = Some(time);
            return time;
        };
        if time <= now {
            return now;
        }
        if time.0 - now.0 <= TRUSTED_JUMP {
            self.now = Some(time);
            self.claimed = None;
            return time;
        }
        // The earlier of two times that both lie far ahead is believed; the later stays a claim.
        let Some(claimed) = self.claimed.replace(time) else {
            return now;
        };
        self.now = Some(claimed.min(time));
        self.claimed = Some(claimed.max(time));
        claimed.min(time)
    }

    /// The clock as it stands; `None` before the first record.
    pub(crate) fn now(&self) -> Option<Micros> {
        self.now
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        let parts = |t: Option<Micros>| t.map_or([0, 0], |t| [1, t.0 as u64]);
        let (now, claimed) = (parts(self.now), parts(self.claimed));
        out.u64s("clock", &[now[0], now[1], claimed[0], claimed[1]]);
    }

    pub(crate) fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let v = from.u64s_of("clock", 4)?;
        let time = |there: u64, t: u64| (there != 0).then_some(Micros(t as i64));
        (self.now, self.claimed) = (time(v[0], v[1]), time(v[2], v[3]));
        let beyond = |t: &Micros| t.0.unsigned_abs() >= 1 << 62;
        if self.now.iter().chain(&self.claimed).any(beyond) {
            return Err(from.invalid("clock", "beyond all time"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = TRUSTED_JUMP;

    #[test]
    fn one_wrong_time_far_ahead_does_not_move_it() {
        let mut clock = RecordClock::default();
        assert_eq!(clock.advance(Micros(0)), Micros(0));
        assert_eq!(clock.advance(Micros(1000 * HOUR)), Micros(0));
        assert_eq!(clock.advance(Micros(5)), Micros(5));
        assert_eq!(clock.advance(Micros(3)), Micros(5));
    }

    #[test]
    fn daily_records_move_it_one_record_late() {
        let mut clock = RecordClock::default();
        let days: Vec<i64> = (0..4)
            .map(|d| clock.advance(Micros(d * 24 * HOUR)).0 / (24 * HOUR))
            .collect();
        assert_eq!(days, [0, 0, 1, 2]);
    }
}
