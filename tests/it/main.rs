//! Every integration test, in one binary so that it links once.
//!
//! - `alerting`: monitor and alerter on simulated streams.
//! - `architecture`: the import table, the purity of the core, the shape of the files.
//! - `nab`: the single-value detector on a published benchmark.

mod alerting;
mod architecture;
mod nab;
