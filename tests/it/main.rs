//! Every integration test, in one binary so that it links once.
//!
//! - `architecture`: the import table, the purity of the core, the shape of the files.
//! - `streams`: the learners on public streams, beside their peers.

mod architecture;
mod streams;
