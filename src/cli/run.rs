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
use crate::net::{Guard, GuardStats, Protection};
use crate::server::{self, Server};
use crate::source::SourceKind;
use crate::telemetry::{Metrics, ModelSeries, Series, SourceSeries};

use super::Failure;
use super::args::RunArgs;

/// Runs until the sources end or a signal comes.
pub(super) fn run(config: &Config, args: RunArgs) -> Result<ExitCode, Failure> {
    let options = RunOptions {
        reset: args.reset,
        from: args.from,
        exclude: args.exclude,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(metrics_of(config, clock.now()));
    warn_of_open_ports(config);
    let server = listen(config, &metrics)?;
    let serve = server.map(|server| -> engine::Serve {
        Box::new(move |handle| Box::pin(server::serve(server, handle)))
    });
    match engine::run(config, &options, &clock, &metrics, serve) {
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

/// Ports that others can reach because the configuration says so.
fn warn_of_open_ports(config: &Config) {
    let sources = config.sources.iter().filter_map(|s| match &s.kind {
        SourceKind::Tcp(tcp) => Some((format!("sources.{}", s.name), tcp.listen, &tcp.protection)),
        _ => None,
    });
    let server = ("server".to_owned(), config.listen, &config.protection);
    for (listener, address, protection) in std::iter::once(server).chain(sources) {
        let closed = Protection {
            allow_insecure_listen: false,
            ..protection.clone()
        };
        if closed.may_take_data(address) {
            continue;
        }
        if protection.allow_insecure_listen {
            tracing::warn!(
                listener,
                %address,
                "allow_insecure_listen: whoever reaches this port may use it, unencrypted"
            );
        } else {
            tracing::info!(
                listener,
                %address,
                "without TLS and tokens this port answers read-only paths alone"
            );
        }
    }
}

fn listen(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Server>, Failure> {
    let address: SocketAddr = config.listen;
    let stats = Arc::new(GuardStats::default());
    let guard = Guard::open(address, &config.protection, server::PROTOCOLS, stats)
        .map_err(|e| Failure::new(2, format!("server: {}\nhint: {}", e.message, e.help)))?;
    match server::bind(address) {
        Ok(listener) => {
            if let Ok(address) = listener.local_addr() {
                let scheme = if guard.speaks_tls() { "https" } else { "http" };
                tracing::info!(%address, "serving {scheme}://{address}/metrics");
            }
            Ok(Some(Server {
                listener,
                guard,
                max_connections: config.max_connections,
                metrics: Arc::clone(metrics),
            }))
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
