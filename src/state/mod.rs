//! What was learned, on disk: snapshots that are whole or not there.
//!
//! Invariant: nothing but this module writes under the state directory, and what it reads back is
//! bit for bit what was written, or an error that says why not.

mod durable;
mod error;
mod format;
mod snapshot;
mod store;

pub use error::{SnapshotError, StoreError};
pub use snapshot::{ENGINE, ModelEntry, OLDEST_ENGINE, Snapshot, SourceState, StreamState};
pub use store::{Store, load_path, write_file};
