//! Every integration test, in one binary so that it links once.
//!
//! - `alerting`: monitor and alerter on simulated streams.
//! - `architecture`: the import table, the purity of the core, the shape of the files.
//! - `cli`: commands as scripts see them.
//! - `config`: every bad configuration beside the words it is refused with.
//! - `daemon`: stops, exit codes, files moved away.
//! - `deploy`: what is shipped beside the binary agrees with it.
//! - `eval`: figures of files.
//! - `forged`: state that somebody made up.
//! - `hostile`: bad input and bad clients.
//! - `http`: requests of every bad kind.
//! - `ingest`: bodies sent to the http source.
//! - `nab`: the single-value detector on a published benchmark.
//! - `network`: what tests of ports share.
//! - `pipeline`: lines in, events, answers and figures out.
//! - `recovery`: stops, kills, changed configurations.
//! - `security`: TLS, tokens, scopes, no secret anywhere.
//! - `streams`: the learners on public streams, beside their peers.
//! - `support`: what they share.
//! - `vw`: lines and predictions of Vowpal Wabbit.

mod alerting;
mod architecture;
mod cli;
mod config;
mod daemon;
mod deploy;
mod eval;
mod expectation;
mod forged;
mod hostile;
mod http;
mod ingest;
mod journal;
mod nab;
mod network;
mod pipeline;
mod recovery;
mod security;
mod streams;
mod support;
mod vw;
