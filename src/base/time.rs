//! Points in time as microseconds since the Unix epoch, UTC.
//!
//! Invariant: time is always an argument; nothing in this file (or in any pure module) reads a
//! clock. Calendar arithmetic is the proleptic Gregorian calendar (Hinnant, "chrono-compatible
//! low-level date algorithms").

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
const DAY: i64 = 86_400 * SECOND;

impl Micros {
    /// One second.
    pub const SECOND: Micros = Micros(SECOND);
    /// One day.
    pub const DAY: Micros = Micros(DAY);

    /// The whole years a record's time may lie in: year 1 to 9999.
    const MIN: i64 = -62_135_596_800 * SECOND;
    const MAX: i64 = 253_402_300_799 * SECOND + 999_999;

    /// From Unix seconds, whole or not; `None` outside the years 1 to 9999.
    pub fn from_unix_seconds(seconds: f64) -> Option<Micros> {
        Micros::from_scaled(seconds, SECOND as f64)
    }

    /// From a number in units of `micros_per_unit` microseconds since the epoch.
    pub fn from_scaled(value: f64, micros_per_unit: f64) -> Option<Micros> {
        let micros = value * micros_per_unit;
        (micros >= Micros::MIN as f64 && micros <= Micros::MAX as f64)
            .then(|| Micros(micros.round() as i64))
    }

    /// Parses RFC 3339; a space may stand for `T`, the zone may be missing (then UTC), seconds
    /// may be missing, and a leap second counts as the second after.
    pub fn parse(text: &str) -> Option<Micros> {
        let b = text.trim().as_bytes();
        let digits = |from: usize, to: usize| -> Option<i64> {
            let part = b.get(from..to)?;
            part.iter().try_fold(0i64, |n, c| {
                c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0'))
            })
        };
        let at = |i: usize| b.get(i).copied();
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        if at(4)? != b'-' || at(7)? != b'-' || !(1..=12).contains(&month) || day < 1 {
            return None;
        }
        if year < 1 || day > days_in_month(year, month) {
            return None;
        }
        let midnight = days_from_civil(year, month, day) * DAY;
        if b.len() == 10 {
            return Some(Micros(midnight));
        }
        if !matches!(at(10)?, b'T' | b't' | b' ') || at(13)? != b':' {
            return None;
        }
        let (hour, minute) = (digits(11, 13)?, digits(14, 16)?);
        let mut i = 16;
        let mut second = 0;
        if at(i) == Some(b':') {
            second = digits(17, 19)?;
            i = 19;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut fraction = 0i64;
        if i == 19 && matches!(at(i), Some(b'.' | b',')) {
            let mut scale = 100_000;
            let start = i + 1;
            i = start;
            while let Some(c) = at(i).filter(u8::is_ascii_digit) {
                fraction += i64::from(c - b'0') * scale;
                scale /= 10;
                i += 1;
            }
            if i == start {
                return None;
            }
        }
        let zone_minutes = match at(i) {
            None => 0,
            Some(b'Z' | b'z') if i + 1 == b.len() => 0,
            Some(sign @ (b'+' | b'-')) => {
                let (h, rest) = (digits(i + 1, i + 3)?, i + 3);
                let m = match (b.len() - rest, at(rest)) {
                    (0, _) => 0,
                    (3, Some(b':')) => digits(rest + 1, rest + 3)?,
                    (2, _) => digits(rest, rest + 2)?,
                    _ => return None,
                };
                if h > 23 || m > 59 {
                    return None;
                }
                if sign == b'+' {
                    h * 60 + m
                } else {
                    -(h * 60 + m)
                }
            }
            Some(_) => return None,
        };
        let seconds = hour * 3600 + minute * 60 + second - zone_minutes * 60;
        Some(Micros(midnight + seconds * SECOND + fraction))
    }

    /// Microseconds since the start of the UTC day, in `0..86_400_000_000`.
    pub fn of_day(self) -> i64 {
        self.0.rem_euclid(DAY)
    }

    /// Days since the epoch, rounded down.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// What `Display` gives and its length, without the formatting machinery: events of every
    /// record bear a time. `None` outside of years of four digits.
    pub(super) fn rfc3339(self) -> Option<([u8; 27], usize)> {
        let (year, month, day) = civil_from_days(self.day());
        if !(0..=9999).contains(&year) {
            return None;
        }
        let of_day = self.of_day();
        let (seconds, micros) = (of_day / SECOND, of_day % SECOND);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, two_digits: i64| {
            text[at] += (two_digits / 10) as u8;
            text[at + 1] += (two_digits % 10) as u8;
        };
        put(0, year / 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, seconds / 3600);
        put(14, seconds / 60 % 60);
        put(17, seconds % 60);
        put(20, micros / 10_000);
        put(22, micros / 100 % 100);
        put(24, micros % 100);
        if micros % 1000 == 0 {
            text[23] = b'Z';
            Some((text, 24))
        } else {
            Some((text, 27))
        }
    }

    /// Seconds since the epoch as a float, for metrics.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / SECOND as f64
    }
}

/// Tells the time to the edges of the program; the engine owns the real one.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Micros;
}

impl fmt::Display for Micros {
    /// RFC 3339 in UTC with milliseconds, or microseconds where they are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.day());
        let of_day = self.of_day();
        let (seconds, micros) = (of_day / SECOND, of_day % SECOND);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        if micros % 1000 == 0 {
            write!(f, ".{:03}Z", micros / 1000)
        } else {
            write!(f, ".{micros:06}Z")
        }
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * m + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_forms_the_contract_names() {
        let want = Some(Micros(1_795_428_902_113_000));
        for text in [
            "2026-11-23T10:15:02.113Z",
            "2026-11-23 10:15:02.113",
            "2026-11-23t12:15:02.113+02:00",
            "2026-11-23T05:15:02.113-0500",
        ] {
            assert_eq!(Micros::parse(text), want, "{text}");
        }
        assert_eq!(Micros::parse("1970-01-01"), Some(Micros(0)));
        assert_eq!(Micros::parse("1970-01-01 00:01"), Some(Micros(60 * SECOND)));
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "0000-01-01",
            "2026-11-23T25:00:00Z",
            "2026-11-23T10:15:02.",
            "2026-11-23T10:15:02Zjunk",
            "2026-11-23X10:15:02",
        ] {
            assert_eq!(Micros::parse(text), None, "{text}");
        }
        assert_eq!(Micros::from_unix_seconds(f64::NAN), None);
        assert_eq!(Micros::from_unix_seconds(1e300), None);
    }

    #[test]
    fn prints_what_it_parses() {
        for text in [
            "2026-11-23T10:15:02.113Z",
            "0001-01-01T00:00:00.000Z",
            "2024-02-29T23:59:59.999999Z",
        ] {
            assert_eq!(
                Micros::parse(text).map(|t| t.to_string()).as_deref(),
                Some(text)
            );
        }
    }
}
