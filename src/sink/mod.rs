//! Events to the outside, each sink with its own bounded queue.
//!
//! Invariant: a sink never holds learning up unless its `when_full` says so, and every event that
//! is not delivered is counted.

use std::path::PathBuf;

/// Where a sink's events go.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Rotated to `PATH.1`, `PATH.2`… when it would grow beyond this; 0 for never.
        rotate_size: u64,
        /// Rotated files that are kept.
        rotate_keep: usize,
    },
}

/// What happens when a sink's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Learning waits.
    Block,
    /// The newest event is dropped and counted.
    DropNewest,
}
