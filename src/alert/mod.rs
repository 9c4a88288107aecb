//! From flagged records to alerts a person can bear.
//!
//! Invariant: nothing here feeds back into what is learned; time is an argument.

mod alerter;
mod budget;
mod incident;

pub use alerter::{Alert, Alerter, Verdict};

/// When a record is flagged, and how often that may wake somebody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AlertConfig {
    /// At most `count` alerts in any `period_micros` of the records' time, over all keys.
    Budget {
        /// Alerts.
        count: f64,
        /// In microseconds.
        period_micros: i64,
    },
    /// At most about `count` alerts in `records` records.
    PerRecords {
        /// Alerts.
        count: f64,
        /// Records.
        records: f64,
    },
    /// Flag what has a p-value below this; no ceiling.
    Level(f64),
}
