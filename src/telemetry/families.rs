//! Every metric of the program: name, type, labels, help.
//!
//! Invariant: prefix `learnd_`, base units, `_total` on counters and on nothing else; a name is
//! written here and nowhere else (`tests/golden/metrics.txt` is the contract's copy).

use prometheus::core::Collector;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// Seconds from reading a line to having learned it.
const LATENCY: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
/// Seconds that one batch takes a model.
const BATCH: &[f64] = &[
    1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0,
];
/// Seconds that one write and sync of the ledger take.
const SYNC: &[f64] = &[
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0,
];
/// Seconds that one snapshot takes.
const SNAPSHOT: &[f64] = &[
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0,
];
/// Scores, fine near 1, where the anomalies are.
const SCORE: &[f64] = &[
    0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 0.99999, 0.999_999,
];

/// Makes a family of one type and registers it.
struct Make<'a>(&'a Registry);

const UNIQUE: &str = "names and labels are constants, each used once, as a test shows";

impl Make<'_> {
    fn register<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect(UNIQUE);
        self.0.register(Box::new(family.clone())).expect(UNIQUE);
        family
    }

    fn counter(&self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.register(IntCounterVec::new(options(name, help), labels))
    }

    fn float_counter(&self, name: &str, labels: &[&str], help: &str) -> CounterVec {
        self.register(CounterVec::new(options(name, help), labels))
    }

    fn gauge(&self, name: &str, labels: &[&str], help: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(options(name, help), labels))
    }

    fn float_gauge(&self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        self.register(GaugeVec::new(options(name, help), labels))
    }

    fn histogram(&self, name: &str, labels: &[&str], buckets: &[f64], help: &str) -> HistogramVec {
        let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("learnd")
}

macro_rules! families {
    ($($field:ident: $type:ty = $make:ident($name:literal, $labels:expr $(, $buckets:ident)?; $help:literal);)*) => {
        /// The families, before their label values are known.
        pub(super) struct Families {
            $(pub(super) $field: $type,)*
        }

        impl Families {
            /// Makes and registers every family.
            pub(super) fn new(registry: &Registry) -> Families {
                let make = Make(registry);
                Families {
                    $($field: make.$make($name, &$labels, $($buckets,)? $help),)*
                }
            }
        }
    };
}

families! {
    lines: IntCounterVec = counter("lines_total", ["source"];
        "Lines read: blank, rejected, duplicate, shed or a record.");
    records: IntCounterVec = counter("records_total", ["source"];
        "Lines accepted as records.");
    rejected: IntCounterVec = counter("rejected_total", ["source", "reason"];
        "Lines refused, by reason.");
    blank: IntCounterVec = counter("blank_total", ["source"];
        "Lines with nothing but white space.");
    duplicates: IntCounterVec = counter("duplicates_total", ["source"];
        "Lines known to have been learned before, and left out.");
    shed: IntCounterVec = counter("shed_total", ["source", "reason"];
        "Lines left out under overload.");
    bytes: IntCounterVec = counter("bytes_total", ["source"];
        "Bytes read, after decompression.");
    source_lag: IntGaugeVec = gauge("source_lag_bytes", ["source"];
        "Bytes in the source's files that are not read yet.");
    connections: IntGaugeVec = gauge("connections", ["source"];
        "Open connections.");
    connections_refused: IntCounterVec = counter("connections_refused_total", ["source"];
        "Connections refused because max_connections were open.");
    connections_junk: IntCounterVec = counter("connections_junk_total", ["source"];
        "Connections closed because they sent 64 MiB without a line end.");
    accept_errors: IntCounterVec = counter("accept_errors_total", ["source"];
        "Times that accepting a connection failed.");
    truncations: IntCounterVec = counter("file_truncations_total", ["source"];
        "Files found shorter than what was read of them; lines may be lost.");
    files_ignored: IntCounterVec = counter("files_ignored_total", ["source"];
        "Files that match but are not read: not regular, a symbolic link, or unreadable.");
    files_gone: IntCounterVec = counter("files_gone_total", ["source"];
        "Files that were gone before they were read to their end; what followed is lost.");
    nul_bytes: IntCounterVec = counter("nul_bytes_skipped_total", ["source"];
        "NUL bytes skipped at the start of a line (holes in a file).");
    dead_letters_dropped: IntCounterVec = counter("dead_letters_dropped_total", ["source"];
        "Refused lines that the dead-letter file had no room for.");
    source_duration: HistogramVec = histogram("source_duration_seconds", ["source"], LATENCY;
        "Time from reading a line to having learned it.");

    learned: IntCounterVec = counter("learned_total", ["model"];
        "Records learned from.");
    unlabelled: IntCounterVec = counter("unlabelled_total", ["model"];
        "Records without a label: predicted only.");
    skipped: IntCounterVec = counter("skipped_total", ["model", "reason"];
        "Records not learned from, by reason.");
    pending: IntGaugeVec = gauge("pending", ["model"];
        "Records that wait for their label.");
    loss_sum: CounterVec = float_counter("loss_sum_total", ["model"];
        "Sum of the weighted progressive losses; its rate over that of loss_weight_total is the loss of any window.");
    loss_weight: CounterVec = float_counter("loss_weight_total", ["model"];
        "Sum of the weights behind loss_sum_total.");
    loss: GaugeVec = float_gauge("loss", ["model", "window"];
        "Mean progressive loss over the last labelled records; NaN before the first.");
    baseline_loss: GaugeVec = float_gauge("baseline_loss", ["model", "baseline"];
        "Mean loss of predicting a constant, or the last label.");
    accuracy: GaugeVec = float_gauge("accuracy_ratio", ["model", "window"];
        "Share of the last labelled records whose class was predicted.");
    auc: GaugeVec = float_gauge("auc_ratio", ["model", "window"];
        "Area under the ROC curve over the last labelled records.");
    f1: GaugeVec = float_gauge("f1_ratio", ["model", "window"];
        "F1 over the last labelled records; the mean over the classes for multiclass.");
    mean_absolute_error: GaugeVec = float_gauge("mean_absolute_error", ["model", "window"];
        "Mean absolute error over the last labelled records, in the label's unit.");
    root_mean_squared_error: GaugeVec = float_gauge("root_mean_squared_error", ["model", "window"];
        "Root mean squared error over the last labelled records, in the label's unit.");
    learning_rate: GaugeVec = float_gauge("learning_rate", ["model"];
        "Learning rate in effect.");
    lane_loss: GaugeVec = float_gauge("lane_loss", ["model", "rate"];
        "Recent loss of the race's lane with this learning rate.");
    lane_weight: GaugeVec = float_gauge("lane_weight", ["model", "rate"];
        "Share of the race's prediction that comes from this lane.");
    weight_norm: GaugeVec = float_gauge("weight_norm", ["model"];
        "Euclidean norm of the weights.");
    update_norm: GaugeVec = float_gauge("update_norm", ["model"];
        "Euclidean norm of the last update of the weights.");
    divergences: IntCounterVec = counter("divergences_total", ["model"];
        "Times that learning went out of bounds and was set back.");
    drifts: IntCounterVec = counter("drifts_total", ["model", "detector"];
        "Changes of the stream that were noticed.");
    flagged: IntCounterVec = counter("flagged_total", ["model"];
        "Records stranger than the level.");
    anomalies: IntCounterVec = counter("anomalies_total", ["model", "severity"];
        "Alerts emitted.");
    suppressed: IntCounterVec = counter("alerts_suppressed_total", ["model"];
        "Alerts held back by the budget.");
    score: HistogramVec = histogram("anomaly_score", ["model"], SCORE;
        "Strangeness of the records, from 0 to 1.");
    alerts_last_day: IntGaugeVec = gauge("alerts_last_day", ["model"];
        "Alerts emitted in the last 24 hours of the records' time.");
    keys: IntGaugeVec = gauge("keys", ["model"];
        "Keys that have a model of their own.");
    key_evictions: IntCounterVec = counter("key_evictions_total", ["model"];
        "Keys whose model was given up for another's.");
    ready: IntGaugeVec = gauge("model_ready", ["model"];
        "1 once the model has seen enough to be relied on.");
    batch_duration: HistogramVec = histogram("batch_duration_seconds", ["model"], BATCH;
        "Time that the model took for a batch.");

    queue_depth: IntGaugeVec = gauge("queue_depth", ["queue"];
        "Entries in the queue.");
    queue_capacity: IntGaugeVec = gauge("queue_capacity", ["queue"];
        "The most entries the queue takes.");
    sink_events: IntCounterVec = counter("sink_events_total", ["sink"];
        "Events written.");
    sink_errors: IntCounterVec = counter("sink_errors_total", ["sink", "reason"];
        "Writes that failed, by reason.");
    sink_dropped: IntCounterVec = counter("sink_dropped_total", ["sink"];
        "Events given up.");

    snapshot_duration: HistogramVec = histogram("snapshot_duration_seconds", [], SNAPSHOT;
        "Time from the moment a snapshot shows to its being on disk.");
    snapshot_bytes: IntGaugeVec = gauge("snapshot_bytes", [];
        "Size of the last snapshot.");
    snapshot_last_success: GaugeVec = float_gauge("snapshot_last_success_timestamp_seconds", [];
        "When the newest snapshot on disk was taken; NaN without one.");
    snapshot_failures: IntCounterVec = counter("snapshot_failures_total", [];
        "Snapshots that could not be written.");
    snapshot_skipped: IntCounterVec = counter("snapshot_skipped_total", [];
        "Snapshots left out because the one before was still being written.");
    snapshot_invalid: IntCounterVec = counter("snapshot_invalid_total", [];
        "Damaged snapshots that an older one took the place of.");
    ledger_sync: HistogramVec = histogram("ledger_sync_duration_seconds", [], SYNC;
        "Time from a batch's being handed to the system to its being on disk.");
    ledger_bytes: IntGaugeVec = gauge("ledger_bytes", [];
        "Size of the ledger on disk.");
    ledger_segments: IntGaugeVec = gauge("ledger_segments", [];
        "Files of the ledger.");
    ledger_failures: IntCounterVec = counter("ledger_failures_total", [];
        "Attempts to write or sync the ledger that failed.");
    ledger_failing: IntGaugeVec = gauge("ledger_failing", [];
        "1 while the ledger cannot be written and intake waits for it.");
    ledger_replayed: IntCounterVec = counter("ledger_replayed_lines_total", [];
        "Lines learned again from the ledger at the start.");
    ledger_torn: IntCounterVec = counter("ledger_torn_bytes_total", [];
        "Bytes cut off the end of the ledger at the start: they were on their way in a crash.");

    denied: IntCounterVec = counter("denied_total", ["listener", "reason"];
        "Connections and requests turned away, by reason.");
    tls_reloads: IntCounterVec = counter("tls_reloads_total", ["listener"];
        "Times that changed certificates were taken over.");
    tls_reload_failures: IntCounterVec = counter("tls_reload_failures_total", ["listener"];
        "Times that changed certificates were no good, so that those before stayed.");
    token_reload_failures: IntCounterVec = counter("token_reload_failures_total", ["listener"];
        "Times that a changed file of tokens was no good, so that those before stayed.");
    server_connections: IntGaugeVec = gauge("server_connections", [];
        "Open HTTP connections.");

    reload_successful: IntGaugeVec = gauge("config_last_reload_successful", [];
        "1 if the last reading of the configuration succeeded.");
    reload_success: GaugeVec = float_gauge("config_last_reload_success_timestamp_seconds", [];
        "When the configuration was last read with success.");
    build_info: IntGaugeVec = gauge("build_info", ["version", "revision"];
        "Always 1; what is running.");
}
