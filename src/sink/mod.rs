//! Events to the outside, each sink with its own bounded queue.
//!
//! Invariant: a sink never holds learning up unless its `when_full` says so, and every event that
//! is not delivered is counted.

mod dead_letters;
mod file;
mod queue;
mod run;
mod stdout;

use std::path::PathBuf;

pub use dead_letters::{DeadLetter, DeadLetters};
pub use queue::{SinkControl, SinkQueue, SinkReceiver, SinkStats, queue};
pub use run::{SinkEnd, Writer, run};

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

/// Why a sink cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {source}", path.display())]
pub struct SinkError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// Opens where a sink's events go.
///
/// # Errors
/// The file cannot be opened or created.
pub fn open(kind: &SinkKind) -> Result<Box<dyn Writer + Send>, SinkError> {
    match kind {
        SinkKind::Stdout => Ok(Box::new(stdout::PipeWriter(std::io::stdout()))),
        SinkKind::File {
            path,
            rotate_size,
            rotate_keep,
        } => match file::FileWriter::open(path, *rotate_size, *rotate_keep) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(source) => Err(SinkError {
                path: path.clone(),
                source,
            }),
        },
    }
}
