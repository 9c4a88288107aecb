//! What is kept, back in memory: a snapshot, then what the ledger has beyond it.
//!
//! Invariant: state that cannot be used stops the start; after going back to an older generation
//! nothing of what was undone can return by a crash.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::base::{Clock, Micros};
use crate::config::Config;
use crate::state::Store;
use crate::state::ledger::{SEGMENT_BYTES, SegmentWriter};
use crate::telemetry::Metrics;

use super::ledger::{Ledger, Standing};
use super::pipeline::Pipeline;
use super::recover::{self, KeptAside};
use super::worker::Worker;
use super::{EngineError, RunOptions};

/// A store, and the `order` and time of its newest snapshot.
pub(super) type Recovered = Option<(Store, Option<(u64, Micros)>)>;

/// Loads what is kept: the newest generation, or the one to go back to.
pub(super) fn restore(
    config: &Config,
    options: &RunOptions,
    pipeline: &mut Pipeline,
) -> Result<(Recovered, KeptAside), EngineError> {
    let names: Vec<String> = config.models.iter().map(|m| m.name.clone()).collect();
    if let Some(name) = options.reset.iter().find(|name| !names.contains(name)) {
        return Err(EngineError::NoSuchModel {
            name: name.clone(),
            known: names.join(", "),
        });
    }
    let Some(state) = &config.state else {
        if options.from.is_some() {
            return Err(EngineError::NothingToGoBackTo);
        }
        tracing::warn!("no [state] is configured: what is learned goes with the process");
        return Ok((None, KeptAside::default()));
    };
    let mut store = Store::open(&state.dir, state.keep)?;
    let found = match options.from {
        Some(generation) => Some(store.generation(generation)?),
        None => store.newest()?,
    };
    let Some((snapshot, path)) = found else {
        tracing::info!(dir = %state.dir.display(), "no state yet: starting with nothing learned");
        return Ok((Some((store, None)), KeptAside::default()));
    };
    for name in &options.reset {
        let archived = store.archive(&path, name)?;
        tracing::warn!(model = %name, archived = %archived.display(), "model starts anew");
    }
    let (order, taken) = (snapshot.order, snapshot.taken);
    let sources: Vec<String> = config.sources.iter().map(|s| s.name.clone()).collect();
    let from = path.display().to_string();
    let aside = recover::load(pipeline, snapshot, &from, &options.reset, &sources)?;
    for model in aside.model_names() {
        tracing::warn!(
            model,
            "the configuration no longer names this model: its state is kept"
        );
    }
    tracing::info!(snapshot = %from, records = order, "state recovered");
    Ok((Some((store, Some((order, taken)))), aside))
}

/// Learns what the ledger has beyond the snapshot, and goes on with it where a source asks for it.
pub(super) fn open_ledger(
    store: &mut Store,
    standing: &Standing,
    options: &RunOptions,
    worker: &mut Worker,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Option<Ledger>, EngineError> {
    let began = clock.now();
    let replayed = worker.replay(&*store.disk(), options)?;
    let recovery = &replayed.recovery;
    if recovery.frames > 0 || recovery.torn_bytes > 0 {
        let seconds = (clock.now().0 - began.0) as f64 / 1e6;
        tracing::info!(
            lines = replayed.lines,
            seconds,
            torn_bytes = recovery.torn_bytes,
            "learned again from the ledger"
        );
    }
    if replayed.orphaned > 0 {
        tracing::warn!(
            lines = replayed.orphaned,
            "the ledger holds lines of sources that the configuration no longer names: left out"
        );
    }
    if options.from.is_some() {
        // Else a crash before the next snapshot would bring back what was to be undone.
        let snapshot = recover::save(
            &worker.pipeline,
            &worker.aside,
            worker.pipeline.entry(),
            began,
        );
        let path = store.write(&snapshot.encode())?;
        tracing::warn!(
            snapshot = %path.display(),
            left_out = replayed.excluded,
            "went back; the generations before this one stay until newer ones take their place"
        );
    }
    metrics.ledger.replayed.inc_by(replayed.lines);
    metrics.ledger.torn.inc_by(recovery.torn_bytes);
    if !worker.journaled.contains(&true) {
        return Ok(None);
    }
    let seed = clock.now().0 as u64;
    let writer = SegmentWriter::new(store.disk(), recovery, SEGMENT_BYTES, seed);
    Ledger::start(
        writer,
        standing.clone(),
        metrics.ledger.clone(),
        Arc::clone(clock),
        stop.clone(),
    )
    .map(Some)
    .map_err(EngineError::Thread)
}
