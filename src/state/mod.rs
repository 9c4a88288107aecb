//! What was learned, on disk: snapshots that are whole or not there, and the ledger of what came
//! in since.
//!
//! Invariant: nothing but this module writes under the state directory, and what it reads back is
//! bit for bit what was written, or an error that says why not.

mod disk;
mod durable;
mod error;
mod format;
mod generations;
pub mod ledger;
#[cfg(test)]
mod simulated;
mod snapshot;
mod store;

pub use disk::{Disk, DiskFile, DiskReader, RealDisk};
pub use error::{SnapshotError, StoreError};
pub use generations::{Generation, list};
pub use snapshot::{
    ENGINE, MAX_REQUESTS, ModelEntry, OLDEST_ENGINE, RequestState, Snapshot, SourceState,
    StreamState,
};
pub use store::{Store, load_path, write_file};
