//! The series of one source, model, sink: plain handles for whoever has the numbers.
//!
//! Invariant: every handle exists whatever the configuration; those that make no sense for it (the
//! AUC of a regression) are not part of the registry, so that writing to them shows nowhere.
//! Counters start at 0 and gauges of things not known yet at NaN.

use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};

use super::families::Families;
use super::metrics::{ModelSeries, SourceSeries};
use crate::base::{RejectReason, SkipReason, Task};

/// Gauges over the last 100, 1,000, 10,000 and all labelled records, in this order.
pub type Windows = [Gauge; 4];

const WINDOWS: [&str; 4] = ["100", "1000", "10000", "all"];
const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];
const SINK_ERRORS: [&str; 3] = ["broken_pipe", "no_space", "io"];
const SHED: &str = "overload";
const DENIALS: [&str; 9] = [
    "tls",
    "timeout",
    "protocol",
    "unauthorized",
    "forbidden",
    "throttled",
    "insecure",
    "origin",
    "limit",
];

const LABELS: &str = "the labels are those the family was made with";
const ALONE: &str = "the name is a constant";

fn integer(family: &prometheus::IntGaugeVec, labels: &[&str], applies: bool) -> IntGauge {
    if applies {
        family.get_metric_with_label_values(labels).expect(LABELS)
    } else {
        IntGauge::new("unregistered", "unregistered").expect(ALONE)
    }
}

fn unknown(family: &prometheus::GaugeVec, labels: &[&str], applies: bool) -> Gauge {
    let gauge = if applies {
        family.get_metric_with_label_values(labels).expect(LABELS)
    } else {
        Gauge::new("unregistered", "unregistered").expect(ALONE)
    };
    gauge.set(f64::NAN);
    gauge
}

fn count(family: &prometheus::IntCounterVec, labels: &[&str], applies: bool) -> IntCounter {
    if applies {
        family.get_metric_with_label_values(labels).expect(LABELS)
    } else {
        IntCounter::new("unregistered", "unregistered").expect(ALONE)
    }
}

fn float_count(family: &prometheus::CounterVec, labels: &[&str], applies: bool) -> Counter {
    if applies {
        family.get_metric_with_label_values(labels).expect(LABELS)
    } else {
        Counter::new("unregistered", "unregistered").expect(ALONE)
    }
}

fn distribution(family: &prometheus::HistogramVec, labels: &[&str], applies: bool) -> Histogram {
    if applies {
        family.get_metric_with_label_values(labels).expect(LABELS)
    } else {
        Histogram::with_opts(prometheus::HistogramOpts::new(
            "unregistered",
            "unregistered",
        ))
        .expect(ALONE)
    }
}

fn windows(family: &prometheus::GaugeVec, model: &str, applies: bool) -> Windows {
    WINDOWS.map(|window| unknown(family, &[model, window], applies))
}

/// The series of one listening port.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    /// Changed certificates taken over.
    pub tls_reloads: IntCounter,
    /// Changed certificates that were no good.
    pub tls_reload_failures: IntCounter,
    /// Changed files of tokens that were no good.
    pub token_reload_failures: IntCounter,
    denied: [IntCounter; DENIALS.len()],
}

impl ListenerMetrics {
    pub(super) fn new(families: &Families, listener: &str, applies: bool) -> ListenerMetrics {
        let counter = |family| count(family, &[listener], applies);
        ListenerMetrics {
            tls_reloads: counter(&families.tls_reloads),
            tls_reload_failures: counter(&families.tls_reload_failures),
            token_reload_failures: counter(&families.token_reload_failures),
            denied: DENIALS.map(|reason| count(&families.denied, &[listener, reason], applies)),
        }
    }

    /// Connections and requests turned away for this reason.
    pub fn denied(&self, reason: &str) -> Option<&IntCounter> {
        let index = DENIALS.iter().position(|r| *r == reason)?;
        Some(&self.denied[index])
    }
}

/// The series of one source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    /// Lines read.
    pub lines: IntCounter,
    /// Lines accepted as records.
    pub records: IntCounter,
    /// Blank lines.
    pub blank: IntCounter,
    /// Lines known to have been learned before.
    pub duplicates: IntCounter,
    /// Lines left out under overload.
    pub shed: IntCounter,
    /// Bytes read.
    pub bytes: IntCounter,
    /// Bytes not read yet (files).
    pub lag_bytes: IntGauge,
    /// Open connections (network).
    pub connections: IntGauge,
    /// Connections refused at the limit (network).
    pub connections_refused: IntCounter,
    /// Connections closed for want of line ends (network).
    pub connections_junk: IntCounter,
    /// Failures to accept a connection (network).
    pub accept_errors: IntCounter,
    /// Files found shorter than what was read of them (files).
    pub truncations: IntCounter,
    /// Files that match but are not read (files).
    pub files_ignored: IntCounter,
    /// Files gone before their end (files).
    pub files_gone: IntCounter,
    /// NUL bytes skipped at the beginning of lines.
    pub nul_bytes_skipped: IntCounter,
    /// Refused lines that the dead-letter file had no room for.
    pub dead_letters_dropped: IntCounter,
    /// Seconds from reading a line to having learned it.
    pub duration: Histogram,
    /// Of its port (network).
    pub listener: ListenerMetrics,
    rejected: [IntCounter; RejectReason::ALL.len()],
}

impl SourceMetrics {
    pub(super) fn new(families: &Families, series: &SourceSeries<'_>) -> SourceMetrics {
        let name = [series.name];
        let counter = |family| count(family, &name, true);
        SourceMetrics {
            lines: counter(&families.lines),
            records: counter(&families.records),
            blank: counter(&families.blank),
            duplicates: counter(&families.duplicates),
            shed: count(&families.shed, &[series.name, SHED], true),
            bytes: counter(&families.bytes),
            lag_bytes: integer(&families.source_lag, &name, series.files),
            connections: integer(&families.connections, &name, series.network),
            connections_refused: count(&families.connections_refused, &name, series.network),
            connections_junk: count(&families.connections_junk, &name, series.network),
            accept_errors: count(&families.accept_errors, &name, series.network),
            truncations: count(&families.truncations, &name, series.files),
            files_ignored: count(&families.files_ignored, &name, series.files),
            files_gone: count(&families.files_gone, &name, series.files),
            nul_bytes_skipped: counter(&families.nul_bytes),
            dead_letters_dropped: count(&families.dead_letters_dropped, &name, series.dead_letters),
            duration: distribution(&families.source_duration, &name, true),
            listener: ListenerMetrics::new(
                families,
                &format!("sources.{}", series.name),
                series.network,
            ),
            rejected: RejectReason::ALL
                .map(|reason| count(&families.rejected, &[series.name, reason.as_str()], true)),
        }
    }

    /// Lines refused for a reason.
    pub fn rejected(&self, reason: RejectReason) -> &IntCounter {
        &self.rejected[reason as usize]
    }
}

/// The series of one model.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    /// Records learned from.
    pub learned: IntCounter,
    /// Records without a label.
    pub unlabelled: IntCounter,
    /// Records that wait for their label.
    pub pending: IntGauge,
    /// Sum of the weighted losses.
    pub loss_sum: Counter,
    /// Sum of the weights behind it.
    pub loss_weight: Counter,
    /// Mean loss.
    pub loss: Windows,
    /// Mean loss of predicting a constant.
    pub baseline_constant: Gauge,
    /// Mean loss of predicting the last label.
    pub baseline_last: Gauge,
    /// Share of classes predicted right.
    pub accuracy: Windows,
    /// Area under the ROC curve (binary).
    pub auc: Windows,
    /// F1 (binary), or its mean over the classes (multiclass).
    pub f1: Windows,
    /// Mean absolute error (regression).
    pub mean_absolute_error: Windows,
    /// Root mean squared error (regression).
    pub root_mean_squared_error: Windows,
    /// Learning rate in effect.
    pub learning_rate: Gauge,
    /// Recent loss of each lane, in the order of [`ModelSeries::rates`].
    pub lane_loss: Vec<Gauge>,
    /// Each lane's share of the prediction, in the same order.
    pub lane_weight: Vec<Gauge>,
    /// Norm of the weights.
    pub weight_norm: Gauge,
    /// Norm of the last update.
    pub update_norm: Gauge,
    /// Times that learning was set back.
    pub divergences: IntCounter,
    /// Changes noticed, in the order of [`ModelSeries::drift_detectors`].
    pub drifts: Vec<IntCounter>,
    /// Records stranger than the level.
    pub flagged: IntCounter,
    /// Alerts held back by the budget.
    pub suppressed: IntCounter,
    /// Strangeness; `local()` gives a copy that is cheap to write to and flushed once a batch.
    pub score: Histogram,
    /// Alerts in the last 24 hours.
    pub alerts_last_day: IntGauge,
    /// Keys with a model of their own.
    pub keys: IntGauge,
    /// Keys given up.
    pub key_evictions: IntCounter,
    /// 1 once the model can be relied on.
    pub ready: IntGauge,
    /// Seconds for a batch.
    pub batch_duration: Histogram,
    skipped: [IntCounter; SkipReason::ALL.len()],
    anomalies: [IntCounter; SEVERITIES.len()],
}

impl ModelMetrics {
    pub(super) fn new(families: &Families, series: &ModelSeries<'_>) -> ModelMetrics {
        let model = series.name;
        let anomaly = series.task == Task::Anomaly;
        let regression = series.task == Task::Regression;
        let binary = series.task == Task::Binary;
        let classes = binary || series.task == Task::Multiclass;
        let number = |family, applies| unknown(family, &[model], applies);
        let counter = |family, applies| count(family, &[model], applies);
        let lanes = |family| -> Vec<Gauge> {
            series
                .rates
                .iter()
                .map(|rate| unknown(family, &[model, &rate.to_string()], true))
                .collect()
        };
        ModelMetrics {
            learned: counter(&families.learned, true),
            unlabelled: counter(&families.unlabelled, true),
            pending: integer(&families.pending, &[model], true),
            loss_sum: float_count(&families.loss_sum, &[model], !anomaly),
            loss_weight: float_count(&families.loss_weight, &[model], !anomaly),
            loss: windows(&families.loss, model, !anomaly),
            baseline_constant: unknown(&families.baseline_loss, &[model, "constant"], !anomaly),
            baseline_last: unknown(&families.baseline_loss, &[model, "last"], !anomaly),
            accuracy: windows(&families.accuracy, model, classes),
            auc: windows(&families.auc, model, binary),
            f1: windows(&families.f1, model, classes),
            mean_absolute_error: windows(&families.mean_absolute_error, model, regression),
            root_mean_squared_error: windows(&families.root_mean_squared_error, model, regression),
            learning_rate: number(&families.learning_rate, !anomaly),
            lane_loss: lanes(&families.lane_loss),
            lane_weight: lanes(&families.lane_weight),
            weight_norm: number(&families.weight_norm, !anomaly),
            update_norm: number(&families.update_norm, !anomaly),
            divergences: counter(&families.divergences, true),
            drifts: series
                .drift_detectors
                .iter()
                .map(|detector| count(&families.drifts, &[model, detector], true))
                .collect(),
            flagged: counter(&families.flagged, anomaly),
            suppressed: counter(&families.suppressed, anomaly),
            score: distribution(&families.score, &[model], anomaly),
            alerts_last_day: integer(&families.alerts_last_day, &[model], anomaly),
            keys: integer(&families.keys, &[model], true),
            key_evictions: counter(&families.key_evictions, true),
            ready: integer(&families.ready, &[model], true),
            batch_duration: distribution(&families.batch_duration, &[model], true),
            skipped: SkipReason::ALL
                .map(|reason| count(&families.skipped, &[model, reason.as_str()], true)),
            anomalies: SEVERITIES
                .map(|severity| count(&families.anomalies, &[model, severity], anomaly)),
        }
    }

    /// Records not learned from for a reason.
    pub fn skipped(&self, reason: SkipReason) -> &IntCounter {
        &self.skipped[reason as usize]
    }

    /// Alerts emitted of a severity (`info`, `warning`, `critical`); of an unknown one as `info`.
    pub fn anomalies(&self, severity: &str) -> &IntCounter {
        let index = SEVERITIES.iter().position(|name| *name == severity);
        &self.anomalies[index.unwrap_or(0)]
    }
}

/// The series of one queue.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    /// Entries in it.
    pub depth: IntGauge,
    /// The most it takes.
    pub capacity: IntGauge,
}

impl QueueMetrics {
    pub(super) fn new(families: &Families, name: &str) -> QueueMetrics {
        QueueMetrics {
            depth: integer(&families.queue_depth, &[name], true),
            capacity: integer(&families.queue_capacity, &[name], true),
        }
    }
}

/// The series of one sink.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// Events written.
    pub events: IntCounter,
    /// Events given up.
    pub dropped: IntCounter,
    /// Its queue, under the name `sink/NAME`.
    pub queue: QueueMetrics,
    errors: [IntCounter; SINK_ERRORS.len()],
}

impl SinkMetrics {
    pub(super) fn new(families: &Families, name: &str) -> SinkMetrics {
        SinkMetrics {
            events: count(&families.sink_events, &[name], true),
            dropped: count(&families.sink_dropped, &[name], true),
            queue: QueueMetrics::new(families, &format!("sink/{name}")),
            errors: SINK_ERRORS.map(|reason| count(&families.sink_errors, &[name, reason], true)),
        }
    }

    /// Failed writes for a reason (`broken_pipe`, `no_space`, `io`); for an unknown one as `io`.
    pub fn errors(&self, reason: &str) -> &IntCounter {
        let index = SINK_ERRORS.iter().position(|name| *name == reason);
        &self.errors[index.unwrap_or(SINK_ERRORS.len() - 1)]
    }
}

/// The series of the snapshots; none of them is exported where no state is kept.
#[derive(Clone, Debug)]
pub struct SnapshotMetrics {
    /// Seconds from the moment it shows to its being on disk.
    pub duration: Histogram,
    /// Size of the last.
    pub bytes: IntGauge,
    /// When the newest on disk was taken, in Unix seconds.
    pub last_success: Gauge,
    /// Those that could not be written.
    pub failures: IntCounter,
    /// Those left out because the one before was still being written.
    pub skipped: IntCounter,
    /// Damaged ones that an older one took the place of.
    pub invalid: IntCounter,
}

impl SnapshotMetrics {
    pub(super) fn new(families: &Families, kept: bool) -> SnapshotMetrics {
        SnapshotMetrics {
            duration: distribution(&families.snapshot_duration, &[], kept),
            bytes: integer(&families.snapshot_bytes, &[], kept),
            last_success: unknown(&families.snapshot_last_success, &[], kept),
            failures: count(&families.snapshot_failures, &[], kept),
            skipped: count(&families.snapshot_skipped, &[], kept),
            invalid: count(&families.snapshot_invalid, &[], kept),
        }
    }
}

/// The ledger's series.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    /// Seconds that a write with its sync takes.
    pub duration: Histogram,
    /// Bytes on disk.
    pub bytes: IntGauge,
    /// Files.
    pub segments: IntGauge,
    /// Attempts that failed.
    pub failures: IntCounter,
    /// 1 while they fail.
    pub failing: IntGauge,
    /// Lines learned again at the start.
    pub replayed: IntCounter,
    /// Bytes cut off at the start.
    pub torn: IntCounter,
}

impl LedgerMetrics {
    pub(super) fn new(families: &Families, kept: bool) -> LedgerMetrics {
        LedgerMetrics {
            duration: distribution(&families.ledger_sync, &[], kept),
            bytes: integer(&families.ledger_bytes, &[], kept),
            segments: integer(&families.ledger_segments, &[], kept),
            failures: count(&families.ledger_failures, &[], kept),
            failing: integer(&families.ledger_failing, &[], kept),
            replayed: count(&families.ledger_replayed, &[], kept),
            torn: count(&families.ledger_torn, &[], kept),
        }
    }
}

/// The series of the program itself.
#[derive(Clone, Debug)]
pub struct ProgramMetrics {
    /// 1 if the last reading of the configuration succeeded.
    pub reload_successful: IntGauge,
    /// When it last did, in Unix seconds.
    pub reload_success: Gauge,
    /// Of the HTTP port.
    pub server: ListenerMetrics,
    /// Open HTTP connections.
    pub server_connections: IntGauge,
}

impl ProgramMetrics {
    pub(super) fn new(families: &Families, started: f64) -> ProgramMetrics {
        let program = ProgramMetrics {
            reload_successful: integer(&families.reload_successful, &[], true),
            reload_success: unknown(&families.reload_success, &[], true),
            server: ListenerMetrics::new(families, "server", true),
            server_connections: integer(&families.server_connections, &[], true),
        };
        // Whoever runs has read its configuration.
        program.reload_successful.set(1);
        program.reload_success.set(started);
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_under_their_own_name() {
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, reason) in SkipReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
