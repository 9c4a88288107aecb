//! Every integration test, in one binary so that it links once.
//!
//! - `architecture`: the import table, the purity of the core, the shape of the files.
//! - `config`: every bad configuration beside the words it is refused with.

mod architecture;
mod config;
