//! What was learned, on disk: snapshots that are whole or not there.
//!
//! Invariant: nothing but this module writes under the state directory.
