//! Every integration test, in one binary so that it links once.
//!
//! - `alerting`: monitor and alerter on simulated streams.
//! - `architecture`: the import table, the purity of the core, the shape of the files.
//! - `cli`: commands as scripts see them.
//! - `config`: every bad configuration beside the words it is refused with.
//! - `deploy`: what is shipped beside the binary agrees with it.
//! - `eval`: figures of files.
//! - `nab`: the single-value detector on a published benchmark.
//! - `pipeline`: lines in, events, answers and figures out.
//! - `recovery`: stops, kills, changed configurations.
//! - `streams`: the learners on public streams, beside their peers.
//! - `support`: what they share.

mod alerting;
mod architecture;
mod cli;
mod config;
mod deploy;
mod eval;
mod nab;
mod pipeline;
mod recovery;
mod streams;
mod support;
