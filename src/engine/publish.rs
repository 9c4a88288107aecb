//! Figures on their way to `/metrics`.
//!
//! Invariant: counters move by what happened since they last moved, so they start at 0 with the
//! process; nothing here is read back by the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::mpsc::WeakSender;
use tokio_util::sync::CancellationToken;

use crate::base::{Chunk, Micros, RejectReason, SkipReason};
use crate::config::Config;
use crate::model::{ModelReport, SEVERITIES};
use crate::net::{Denial, GuardStats};
use crate::sink::SinkStats;
use crate::source::{Delivery, SourceStats};
use crate::telemetry::{ListenerMetrics, Metrics, ModelMetrics, RateLimit};

use super::outbox::Outbox;
use super::pipeline::{LineCounts, Pipeline};

/// A warning about refused lines is logged at most so often per source.
const WARN_EVERY: Micros = Micros(10 * Micros::SECOND.0);

/// Figures of the edges are published so often.
const EDGES_EVERY: Duration = Duration::from_millis(250);

/// Moves figures of sources, sinks and queues to the metrics. A task of its own: these matter most
/// when the learner waits for a sink.
pub(crate) struct EdgePublisher {
    metrics: Arc<Metrics>,
    sources: Vec<Arc<SourceStats>>,
    sinks: Vec<Arc<SinkStats>>,
    /// Weak, as the learner ends when nobody is left who could send.
    inbox: WeakSender<Delivery>,
}

impl EdgePublisher {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        sources: Vec<Arc<SourceStats>>,
        sinks: Vec<Arc<SinkStats>>,
        inbox: WeakSender<Delivery>,
    ) -> EdgePublisher {
        EdgePublisher {
            metrics,
            sources,
            sinks,
            inbox,
        }
    }

    /// Publishes until the engine has ended.
    pub(crate) async fn run(self, ended: CancellationToken) {
        loop {
            self.publish();
            tokio::select! {
                () = tokio::time::sleep(EDGES_EVERY) => {}
                () = ended.cancelled() => return,
            }
        }
    }

    fn publish(&self) {
        for (metrics, stats) in self.metrics.sources.iter().zip(&self.sources) {
            catch_up(&metrics.bytes, &stats.bytes);
            catch_up(&metrics.connections_refused, &stats.refused_connections);
            catch_up(&metrics.connections_junk, &stats.junk_connections);
            catch_up(&metrics.accept_errors, &stats.accept_errors);
            catch_up(&metrics.truncations, &stats.truncations);
            catch_up(&metrics.files_ignored, &stats.skipped_files);
            catch_up(&metrics.files_gone, &stats.gone);
            catch_up(&metrics.nul_bytes_skipped, &stats.nul_bytes);
            publish_guard(&metrics.listener, &stats.guard);
            metrics
                .lag_bytes
                .set(stats.lag_bytes.load(Ordering::Relaxed) as i64);
            metrics
                .connections
                .set(stats.connections.load(Ordering::Relaxed));
        }
        for (metrics, stats) in self.metrics.sinks.iter().zip(&self.sinks) {
            catch_up(&metrics.events, &stats.events);
            catch_up(&metrics.dropped, &stats.dropped);
            for (reason, errors) in stats.errors() {
                let counter = metrics.errors(reason);
                counter.inc_by(errors.saturating_sub(counter.get()));
            }
            metrics
                .queue
                .depth
                .set(stats.depth.load(Ordering::Relaxed) as i64);
            metrics
                .queue
                .capacity
                .set(stats.capacity.load(Ordering::Relaxed) as i64);
        }
        if let Some(inbox) = self.inbox.upgrade() {
            for queue in &self.metrics.queues {
                let most = inbox.max_capacity();
                queue.capacity.set(most as i64);
                queue.depth.set((most - inbox.capacity()) as i64);
            }
        }
    }
}

/// Moves figures from the pipeline to the metrics.
pub(crate) struct Publisher {
    metrics: Arc<Metrics>,
    counted: Vec<LineCounts>,
    suppressed: Vec<u64>,
    /// Models whose detector the log has told of.
    told: Vec<bool>,
    refusals: Vec<RateLimit>,
    names: Vec<String>,
}

impl Publisher {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Publisher {
        Publisher {
            metrics,
            counted: vec![LineCounts::default(); config.sources.len()],
            suppressed: vec![0; config.models.len()],
            told: vec![false; config.models.len()],
            refusals: config
                .sources
                .iter()
                .map(|_| RateLimit::new(WARN_EVERY))
                .collect(),
            names: config.sources.iter().map(|s| s.name.clone()).collect(),
        }
    }

    /// Alerts suppressed in earlier runs do not count for this process.
    pub(crate) fn start_from(&mut self, pipeline: &Pipeline) {
        for (before, model) in self.suppressed.iter_mut().zip(pipeline.models()) {
            *before = model.report().anomaly.map_or(0, |a| a.suppressed);
        }
    }

    /// Counters, after each chunk.
    pub(crate) fn after_chunk(
        &mut self,
        pipeline: &mut Pipeline,
        outbox: &mut Outbox,
        chunk: &Chunk,
        now: Micros,
    ) {
        let i = chunk.source as usize;
        self.count_lines(pipeline, i);
        let source = &self.metrics.sources[i];
        let seconds = Micros((now.0 - chunk.received.0).max(0)).as_seconds();
        if !chunk.lines.is_empty() {
            source.duration.observe(seconds);
        }
        if let Some(first) = outbox.first_rejection[i].take()
            && let Some(suppressed) = self.refusals[i].allow(now)
        {
            let refused = pipeline.counts(i).rejected_total();
            tracing::warn!(source = %self.names[i], first, refused, suppressed, "lines are refused");
        }
        for (metrics, model) in self.metrics.models.iter().zip(pipeline.models_mut()) {
            if model.takes(chunk.source) {
                metrics.batch_duration.observe(seconds);
                count_tally(metrics, model.tally());
            }
        }
    }

    /// Lines of a source by what became of them.
    pub(crate) fn count_lines(&mut self, pipeline: &Pipeline, source: usize) {
        let counts = *pipeline.counts(source);
        let new = counts.since(&self.counted[source]);
        self.counted[source] = counts;
        let metrics = &self.metrics.sources[source];
        metrics.lines.inc_by(new.lines);
        metrics.blank.inc_by(new.blank);
        metrics.records.inc_by(new.records);
        metrics.duplicates.inc_by(new.duplicates);
        for (reason, count) in RejectReason::ALL.into_iter().zip(new.rejected) {
            metrics.rejected(reason).inc_by(count);
        }
    }

    /// Gauges, a few times a second.
    pub(crate) fn publish(&mut self, pipeline: &mut Pipeline) {
        for (i, model) in pipeline.models().iter().enumerate() {
            let report = model.report();
            let metrics = &self.metrics.models[i];
            publish_model(metrics, &report);
            if let Some(anomaly) = &report.anomaly {
                metrics
                    .suppressed
                    .inc_by(anomaly.suppressed - self.suppressed[i]);
                self.suppressed[i] = anomaly.suppressed;
                if let Some(detector) = anomaly.detector
                    && !std::mem::replace(&mut self.told[i], true)
                {
                    let model = &model.config().name;
                    tracing::info!(%model, detector, "this model's detector is decided");
                }
            }
        }
    }

    /// Refused lines that found no room in the dead-letter file.
    pub(crate) fn dead_letters_dropped(&self, source: usize, dropped: u64) {
        let counter = &self.metrics.sources[source].dead_letters_dropped;
        counter.inc_by(dropped.saturating_sub(counter.get()));
    }
}

/// Figures of a listening port.
pub fn publish_guard(metrics: &ListenerMetrics, stats: &GuardStats) {
    catch_up(&metrics.tls_reloads, &stats.tls_reloads);
    catch_up(&metrics.tls_reload_failures, &stats.tls_reload_failures);
    catch_up(&metrics.token_reload_failures, &stats.token_reload_failures);
    for denial in Denial::ALL {
        if let Some(counter) = metrics.denied(denial.as_str()) {
            counter.inc_by(stats.denied(denial).saturating_sub(counter.get()));
        }
    }
}

fn catch_up(counter: &IntCounter, total: &AtomicU64) {
    counter.inc_by(total.load(Ordering::Relaxed).saturating_sub(counter.get()));
}

fn count_tally(metrics: &ModelMetrics, tally: &mut crate::model::Tally) {
    metrics.learned.inc_by(tally.learned);
    metrics.unlabelled.inc_by(tally.unlabelled);
    for (reason, count) in SkipReason::ALL.into_iter().zip(tally.skipped) {
        metrics.skipped(reason).inc_by(count);
    }
    metrics.loss_sum.inc_by(tally.loss_sum);
    metrics.loss_weight.inc_by(tally.loss_weight);
    metrics.flagged.inc_by(tally.flagged);
    for (severity, count) in SEVERITIES.into_iter().zip(tally.alerts) {
        metrics.anomalies(severity).inc_by(count);
    }
    for drifts in &metrics.drifts {
        drifts.inc_by(tally.drifts);
    }
    metrics.key_evictions.inc_by(tally.evictions);
    if !tally.scores.is_empty() {
        let score = metrics.score.local();
        tally.scores.iter().for_each(|s| score.observe(*s));
        score.flush();
    }
    tally.clear();
}

fn publish_model(metrics: &ModelMetrics, report: &ModelReport) {
    metrics.ready.set(i64::from(report.ready));
    metrics.keys.set(report.keys as i64);
    if let Some(anomaly) = &report.anomaly {
        metrics.alerts_last_day.set(anomaly.alerts_last_day as i64);
    }
    let Some(supervised) = &report.supervised else {
        return;
    };
    let known = |x: Option<f64>| x.unwrap_or(f64::NAN);
    for (i, (_, summary)) in supervised.windows.iter().enumerate() {
        metrics.loss[i].set(known(summary.loss));
        metrics.accuracy[i].set(known(summary.accuracy));
        metrics.auc[i].set(known(summary.auc));
        metrics.f1[i].set(known(summary.f1.or(summary.macro_f1)));
        metrics.mean_absolute_error[i].set(known(summary.mae));
        metrics.root_mean_squared_error[i].set(known(summary.rmse));
    }
    if let Some((_, all)) = supervised.windows.last() {
        metrics
            .baseline_constant
            .set(known(all.baseline_constant_loss));
        metrics.baseline_last.set(known(all.baseline_last_loss));
    }
    metrics.learning_rate.set(supervised.learner.learning_rate);
    metrics.weight_norm.set(supervised.learner.weight_norm);
    metrics.update_norm.set(supervised.update_norm);
    for (i, lane) in supervised.learner.lanes.iter().enumerate() {
        if let (Some(loss), Some(weight)) = (metrics.lane_loss.get(i), metrics.lane_weight.get(i)) {
            loss.set(lane.loss);
            weight.set(lane.weight);
        }
    }
}
