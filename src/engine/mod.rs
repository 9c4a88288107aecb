//! The runtime: builds everything from a configuration, starts it, and stops it in order. The
//! only place that spawns.
//!
//! Invariant: one way to stop, for signals, for the end of the input and for failures: sources
//! first, then the queue runs dry, then the last snapshot, then the sinks.

mod background;
mod clock;
mod decoding;
mod error;
mod eval;
mod handle;
mod ledger;
mod lookahead;
mod outbox;
mod pipeline;
mod predict;
mod publish;
mod recover;
mod replay;
mod requests;
mod restore;
mod run;
mod snapshots;
mod worker;

pub use clock::SystemClock;
pub use error::EngineError;
pub use eval::{EvalOptions, EvalReport, Progress, TableRow, Watcher, eval};
pub use handle::{Ask, Handle};
pub use pipeline::{LineCounts, Output, Pipeline, Rejection};
pub use publish::publish_guard;
pub use replay::Exclusion;
pub use run::{Ended, RunOptions, Serve, run};

/// A seed that nobody outside can know; it decides how fast names are found, never what is learned.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
