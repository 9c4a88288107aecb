//! `learnd run`: the daemon.
//!
//! Invariant: the address of `/metrics` is bound before anything starts, so a port in use is a
//! plain error; only the default address may be taken by somebody else.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use crate::base::{Clock, Micros, Task};
use crate::config::Config;
use crate::engine::{self, Ended, EngineError, RunOptions, SystemClock};
use crate::server;
use crate::source::SourceKind;
use crate::telemetry::{Metrics, ModelSeries, Series, SourceSeries};

use super::Failure;

/// Runs until the sources end or a signal comes.
pub(super) fn run(config: &Config, reset: Vec<String>) -> Result<ExitCode, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(metrics_of(config, clock.now()));
    let listener = listen(config)?;
    let serve = listener.map(|listener| -> engine::Serve {
        Box::new(move |handle| Box::pin(server::serve(listener, handle)))
    });
    match engine::run(config, &RunOptions { reset }, &clock, &metrics, serve) {
        Ok(Ended::Clean) => Ok(ExitCode::SUCCESS),
        Ok(Ended::AtOnce(code)) => Ok(ExitCode::from(code)),
        Err(error) => Err(engine_failure(&error)),
    }
}

fn metrics_of(config: &Config, started: Micros) -> Metrics {
    let sources: Vec<SourceSeries<'_>> = config
        .sources
        .iter()
        .map(|s| SourceSeries {
            name: &s.name,
            files: matches!(s.kind, SourceKind::File(_)),
            network: matches!(s.kind, SourceKind::Tcp(_)),
            dead_letters: s.dead_letters.is_some(),
        })
        .collect();
    let models: Vec<ModelSeries<'_>> = config
        .models
        .iter()
        .map(|m| ModelSeries {
            name: &m.name,
            task: m.task,
            rates: if m.task == Task::Anomaly {
                &[]
            } else {
                m.learner.lane_rates()
            },
            drift_detectors: if m.task == Task::Anomaly {
                &["gate"]
            } else {
                &[]
            },
        })
        .collect();
    let sinks: Vec<&str> = config.sinks.iter().map(|s| s.name.as_str()).collect();
    Metrics::new(&Series {
        sources: &sources,
        models: &models,
        sinks: &sinks,
        queues: &["learn"],
        state: config.state.is_some(),
        ledger: config.sources.iter().any(|s| s.journal),
        version: env!("CARGO_PKG_VERSION"),
        revision: super::args::REVISION,
        started,
    })
}

fn listen(config: &Config) -> Result<Option<std::net::TcpListener>, Failure> {
    let address: SocketAddr = config.listen;
    match server::bind(address) {
        Ok(listener) => {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "serving http://{address}/metrics");
            }
            Ok(Some(listener))
        }
        Err(error) if config.listen_is_default && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(%address, "the default address is in use: no metrics are served");
            Ok(None)
        }
        Err(error) => Err(Failure::new(1, format!("server.listen {address}: {error}"))),
    }
}

/// An engine's error with its exit code.
pub(super) fn engine_failure(error: &EngineError) -> Failure {
    Failure::new(error.exit_code(), error.to_string())
}
