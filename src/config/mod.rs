//! The configuration: loaded, checked completely, every problem shown with its place.
//!
//! Invariant: what `load` returns can be run; nothing is checked later that could be checked here.

mod types;

pub use types::{Config, SinkConfig, SourceConfig, StateConfig};
