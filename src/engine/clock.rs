//! The real clock.
//!
//! Invariant: the only place that asks the operating system for the time.

use std::time::SystemTime;

use crate::base::{Clock, Micros};

/// UTC as the operating system tells it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the engine's clock")]
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Micros(since.map_or(0, |d| d.as_micros() as i64))
    }
}
