//! What the operator sees: every metric by name, and the log.
//!
//! Invariant: metrics are handles made from a registry and passed in; there is no global one, and
//! no label value ever comes from a record.

mod families;
mod handles;
mod logs;
mod metrics;
mod process;

pub use handles::{
    LedgerMetrics, ListenerMetrics, ModelMetrics, ProgramMetrics, QueueMetrics, SinkMetrics,
    SnapshotMetrics, SourceMetrics, Windows,
};
pub use logs::{LogFormat, RateLimit, init};
pub use metrics::{CONTENT_TYPE, Metrics, ModelSeries, Series, SourceSeries};
