//! learnd: the daemon that learns from a stream while it runs.
//!
//! Bytes become lines, lines become fields, fields become rows, models predict, are scored, then
//! learn; what they say goes to sinks; what they know is snapshotted together with the exact place
//! in the input up to which they know it. The modules below stand in reading order, which is also
//! the order in which they may import each other (ARCHITECTURE.md has the table,
//! `tests/it/architecture.rs` enforces it).

pub mod base;
pub mod math;

pub mod alert;
pub mod decode;
pub mod detect;
pub mod evaluate;
pub mod feature;
pub mod learn;

pub mod model;

pub mod net;
pub mod sink;
pub mod source;
pub mod state;
pub mod telemetry;

pub mod config;

pub mod engine;

pub mod server;

pub mod cli;
