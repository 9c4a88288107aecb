//! The commands: one file each.
//!
//! Invariant: data goes to stdout, logs and problems to stderr, never mixed.

pub mod args;
pub mod check;
pub mod completions;
pub mod man;
pub mod reference;
