//! The log: lines on standard error, as text or as JSON, and a brake for what repeats itself.
//!
//! Invariant: a log that cannot be written never stops or kills the program.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;

use crate::base::Micros;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log on standard error. `color` is for text only.
///
/// # Errors
/// The log was started before.
pub fn init(
    level: LevelFilter,
    format: LogFormat,
    color: bool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Errors of the log itself would be printed to the very stream that just failed, and that
    // panics.
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_ansi(color).try_init(),
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    }
}

/// Lets one message through in each period and counts the others: one for each place that warns
/// (it can be a `static`), or for each source, model or sink that can be warned of.
#[derive(Debug)]
pub struct RateLimit {
    period: i64,
    /// Not before this time again.
    next: AtomicI64,
    held_back: AtomicU64,
}

impl RateLimit {
    /// One message in each `period`.
    pub const fn new(period: Micros) -> RateLimit {
        RateLimit {
            period: period.0,
            next: AtomicI64::new(i64::MIN),
            held_back: AtomicU64::new(0),
        }
    }

    /// `Some` if the message may be written now, with the number held back since the last one.
    pub fn allow(&self, now: Micros) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        // A clock that was set back must not silence anything for longer than a period.
        let early = now.0 < next && next.saturating_sub(now.0) <= self.period;
        let mine = !early
            && self
                .next
                .compare_exchange(
                    next,
                    now.0.saturating_add(self.period),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if mine {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_a_period_with_the_number_held_back() {
        static LIMIT: RateLimit = RateLimit::new(Micros(10));
        assert_eq!(LIMIT.allow(Micros(100)), Some(0));
        assert_eq!(LIMIT.allow(Micros(101)), None);
        assert_eq!(LIMIT.allow(Micros(109)), None);
        assert_eq!(LIMIT.allow(Micros(110)), Some(2));
        assert_eq!(LIMIT.allow(Micros(119)), None);
        assert_eq!(LIMIT.allow(Micros(5)), Some(1), "the clock was set back");
        assert_eq!(LIMIT.allow(Micros(6)), None);
        assert_eq!(LIMIT.allow(Micros(i64::MAX)), Some(1));
    }

    #[test]
    fn the_log_starts_once() {
        // The only test that may: the log belongs to the process.
        assert!(init(LevelFilter::OFF, LogFormat::Json, false).is_ok());
        assert!(init(LevelFilter::OFF, LogFormat::Text, true).is_err());
    }
}
