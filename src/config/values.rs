//! Durations, sizes and budgets as they are written in a file.
//!
//! Invariant: what is formatted parses to the same value.

use std::time::Duration;

use crate::alert::AlertConfig;

/// Units of sizes, largest first.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of a budget's period in microseconds, largest first.
const PERIODS: &[(&str, i64)] = &[
    ("week", 604_800_000_000),
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
];

/// A duration like `250ms`, `2h` or `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|_| "write a number and a unit: ms, s, m, h or d, as in \"30s\"".to_owned())
}

/// A duration as `duration` reads it.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A size like `64MiB` or `1GB`, in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let hint = || "write a number and a unit: B, KiB, MiB, GiB (or kB, MB, GB), as in \"64MiB\"";
    let (_, bytes) = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| hint().to_owned())?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(*bytes)
            .ok_or_else(|| "that is beyond 64 bits".to_owned());
    }
    let number: f64 = number.parse().map_err(|_| hint().to_owned())?;
    let exact = number * *bytes as f64;
    if exact.fract() == 0.0 && exact < 9e15 {
        Ok(exact as u64)
    } else {
        Err("that is not a whole number of bytes".to_owned())
    }
}

/// A size as `size` reads it.
pub fn format_size(bytes: u64) -> String {
    let unit = SIZES
        .iter()
        .find(|(name, unit)| name.len() != 2 && bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => "0".to_owned(),
    }
}

/// A size for people, rounded to three digits or so.
pub fn rough_size(bytes: u64) -> String {
    let (name, unit) = SIZES
        .iter()
        .find(|(name, unit)| name.len() != 2 && bytes >= *unit)
        .unwrap_or(&("B", 1));
    let value = bytes as f64 / *unit as f64;
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// A budget: `3/day`, `1/2 weeks`, `1/1000 records`.
pub fn budget(text: &str) -> Result<AlertConfig, String> {
    let hint = || "write \"3/day\", \"1/week\", \"2/hour\" or \"1/1000 records\"".to_owned();
    let (count, rest) = text.split_once('/').ok_or_else(hint)?;
    let count: f64 = count.trim().parse().map_err(|_| hint())?;
    if !count.is_finite() || count <= 0.0 {
        return Err("the number of alerts must be above 0".to_owned());
    }
    let rest = rest.trim();
    let digits = rest.len()
        - rest
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = (&rest[..digits], rest[digits..].trim());
    let number: f64 = if number.is_empty() {
        1.0
    } else {
        number.parse().map_err(|_| hint())?
    };
    if number <= 0.0 {
        return Err("the period must be above 0".to_owned());
    }
    if matches!(unit, "records" | "record") {
        if count >= number {
            return Err(
                "a budget of every record is none; the second number must be larger".into(),
            );
        }
        return Ok(AlertConfig::PerRecords {
            count,
            records: number,
        });
    }
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    let (_, micros) = PERIODS
        .iter()
        .find(|(name, _)| *name == singular)
        .ok_or_else(hint)?;
    let period = number * *micros as f64;
    // A hundred years: what is longer is a mistake, and the arithmetic stays exact.
    if !(1e6..=3.2e15).contains(&period) {
        return Err("the period must be from a second to a hundred years".to_owned());
    }
    Ok(AlertConfig::Budget {
        count,
        period_micros: period.round() as i64,
    })
}

/// A budget as `budget` reads it; `None` for a level.
pub fn format_budget(alerts: &AlertConfig) -> Option<String> {
    match alerts {
        AlertConfig::Budget {
            count,
            period_micros,
        } => {
            let (name, micros) = PERIODS
                .iter()
                .find(|(_, micros)| period_micros % micros == 0)
                .unwrap_or(&("second", 1_000_000));
            if period_micros == micros {
                Some(format!("{count}/{name}"))
            } else {
                let number = *period_micros as f64 / *micros as f64;
                Some(format!("{count}/{number} {name}s"))
            }
        }
        AlertConfig::PerRecords { count, records } => Some(format!("{count}/{records} records")),
        AlertConfig::Level(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("1d"), Ok(Duration::from_hours(24)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "5",
            "-1s",
            "1 fortnight",
            "s",
            "1e9s",
            "99999999999999999999s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_sizes() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        assert_eq!(size("1.5 KiB"), Ok(1536));
        assert_eq!(size("256B"), Ok(256));
        for wrong in [
            "",
            "64",
            "64M",
            "MiB",
            "-1B",
            "1.3B",
            "99999999TiB",
            "1..2GB",
            "٣B",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_budgets() {
        let day = AlertConfig::Budget {
            count: 3.0,
            period_micros: 86_400_000_000,
        };
        assert_eq!(budget("3/day"), Ok(day));
        assert_eq!(budget("3 / 1 days"), Ok(day));
        let records = AlertConfig::PerRecords {
            count: 1.0,
            records: 1000.0,
        };
        assert_eq!(budget("1/1000 records"), Ok(records));
        for wrong in [
            "",
            "3",
            "3/",
            "/day",
            "0/day",
            "-1/day",
            "3/fortnight",
            "5/1 records",
            "1/0 days",
        ] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_reads_the_same(bytes: u64, nanos in 0u64..1 << 55, n in 1u32..1000, k in 1u32..500) {
            prop_assert_eq!(size(&format_size(bytes)), Ok(bytes));
            let time = Duration::from_nanos(nanos);
            prop_assert_eq!(duration(&format_duration(time)), Ok(time));
            for unit in ["second", "minutes", "hour", "days", "week"] {
                let read = budget(&format!("{}/{k} {unit}", f64::from(n) / 8.0)).unwrap();
                prop_assert_eq!(budget(&format_budget(&read).unwrap()), Ok(read));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (size(&text), duration(&text), budget(&text));
        }
    }
}
