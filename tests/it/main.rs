//! Every integration test, in one binary so that it links once.
//!
//! - `architecture`: the import table, the purity of the core, the shape of the files.
//! - `nab`: the single-value detector on a published benchmark.

mod architecture;
mod nab;
