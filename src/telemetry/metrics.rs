//! The metrics of one running program: a registry of its own and the handles into it.
//!
//! Invariant: every series exists from the start, so that the rate of a counter never misses its
//! first step, and the number of series depends on the configuration alone.

use prometheus::{Encoder as _, Registry, TextEncoder};

use super::families::Families;
use super::handles::{
    LedgerMetrics, ModelMetrics, ProgramMetrics, QueueMetrics, SinkMetrics, SnapshotMetrics,
    SourceMetrics,
};
use super::process::ProcessCollector;
use crate::base::{Micros, Task};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a source's series depend on.
#[derive(Clone, Copy, Debug)]
pub struct SourceSeries<'a> {
    /// Its name.
    pub name: &'a str,
    /// It reads files.
    pub files: bool,
    /// It takes connections.
    pub network: bool,
    /// It keeps refused lines.
    pub dead_letters: bool,
}

/// What a model's series depend on.
#[derive(Clone, Copy, Debug)]
pub struct ModelSeries<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub task: Task,
    /// Learning rates of the race's lanes; empty for other learners.
    pub rates: &'a [f64],
    /// Names of the drift detectors that watch it.
    pub drift_detectors: &'a [&'a str],
}

/// What all the series depend on.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The sources.
    pub sources: &'a [SourceSeries<'a>],
    /// The models.
    pub models: &'a [ModelSeries<'a>],
    /// Names of the sinks.
    pub sinks: &'a [&'a str],
    /// Names of the queues beside the sinks' own.
    pub queues: &'a [&'a str],
    /// State is kept.
    pub state: bool,
    /// There is a ledger.
    pub ledger: bool,
    /// The program's version.
    pub version: &'a str,
    /// The revision it was built from.
    pub revision: &'a str,
    /// When the process started.
    pub started: Micros,
}

/// The metrics of one running program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By index of the source.
    pub sources: Vec<SourceMetrics>,
    /// By index of the model.
    pub models: Vec<ModelMetrics>,
    /// By index of the sink.
    pub sinks: Vec<SinkMetrics>,
    /// By index of the queue.
    pub queues: Vec<QueueMetrics>,
    /// The snapshots'.
    pub snapshot: SnapshotMetrics,
    /// The ledger's.
    pub ledger: LedgerMetrics,
    /// The program's.
    pub program: ProgramMetrics,
}

impl Metrics {
    /// Makes every series. Names within each list are distinct.
    pub fn new(series: &Series<'_>) -> Metrics {
        let registry = Registry::new();
        let families = Families::new(&registry);
        let process = ProcessCollector::new(series.started.as_seconds());
        registry
            .register(Box::new(process))
            .expect("its names are its own");
        families
            .build_info
            .with_label_values(&[series.version, series.revision])
            .set(1);
        Metrics {
            sources: series
                .sources
                .iter()
                .map(|source| SourceMetrics::new(&families, source))
                .collect(),
            models: series
                .models
                .iter()
                .map(|model| ModelMetrics::new(&families, model))
                .collect(),
            sinks: series
                .sinks
                .iter()
                .map(|name| SinkMetrics::new(&families, name))
                .collect(),
            queues: series
                .queues
                .iter()
                .map(|name| QueueMetrics::new(&families, name))
                .collect(),
            snapshot: SnapshotMetrics::new(&families, series.state),
            ledger: LedgerMetrics::new(&families, series.ledger),
            program: ProgramMetrics::new(&families, series.started.as_seconds()),
            registry,
        }
    }

    /// Everything in Prometheus' text format ([`CONTENT_TYPE`]).
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut out)
            .expect("every family has a name and a series, and writing to memory cannot fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn source(name: &str) -> SourceSeries<'_> {
        SourceSeries {
            name,
            files: name == "access",
            network: name == "orders",
            dead_letters: name == "orders",
        }
    }

    fn model(name: &str, task: Task) -> ModelSeries<'_> {
        ModelSeries {
            name,
            task,
            rates: if task == Task::Anomaly {
                &[]
            } else {
                &[0.5, 2.0, 8.0, 32.0]
            },
            drift_detectors: &["adwin"],
        }
    }

    /// Every kind of source, model and sink.
    fn everything() -> Metrics {
        Metrics::new(&Series {
            sources: &[source("access"), source("orders")],
            models: &[
                model("latency", Task::Anomaly),
                model("price", Task::Regression),
                model("churn", Task::Binary),
                model("kind", Task::Multiclass),
            ],
            sinks: &["alerts"],
            queues: &["learn"],
            state: true,
            ledger: true,
            version: "0.1.0",
            revision: "abc",
            started: Micros(1_795_428_902_500_000),
        })
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    /// One line a metric: name, type, labels.
    fn contract(metrics: &Metrics) -> String {
        let mut out = String::new();
        for family in metrics.registry.gather() {
            let labels: BTreeSet<&str> = family
                .get_metric()
                .iter()
                .flat_map(prometheus::proto::Metric::get_label)
                .map(prometheus::proto::LabelPair::name)
                .collect();
            let labels: Vec<&str> = labels.into_iter().collect();
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let line = format!("{} {kind} {}", family.name(), labels.join(","));
            writeln!(out, "{}", line.trim_end()).unwrap();
        }
        out
    }

    #[test]
    fn names_types_and_labels_are_those_of_the_contract() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
        let now = contract(&everything());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::File::create(path)
                .and_then(|mut file| file.write_all(now.as_bytes()))
                .unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert_eq!(now, kept, "UPDATE_GOLDEN=1 after a change that is meant");
    }

    #[test]
    fn series_are_there_from_the_start_and_only_where_they_make_sense() {
        let metrics = everything();
        let text = text(&metrics);
        for line in [
            "learnd_rejected_total{reason=\"dup_key\",source=\"orders\"} 0",
            "learnd_skipped_total{model=\"churn\",reason=\"nonfinite\"} 0",
            "learnd_anomalies_total{model=\"latency\",severity=\"critical\"} 0",
            "learnd_loss{model=\"churn\",window=\"10000\"} NaN",
            "learnd_lane_weight{model=\"price\",rate=\"0.5\"} NaN",
            "learnd_anomaly_score_bucket{model=\"latency\",le=\"0.9999\"} 0",
            "learnd_queue_depth{queue=\"sink/alerts\"} 0",
            "learnd_config_last_reload_successful 1",
            "learnd_config_last_reload_success_timestamp_seconds 1795428902.5",
            "learnd_build_info{revision=\"abc\",version=\"0.1.0\"} 1",
            "process_start_time_seconds 1795428902.5",
            "learnd_connections{source=\"orders\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        for absent in [
            "learnd_auc_ratio{model=\"price\"",
            "learnd_flagged_total{model=\"churn\"",
            "learnd_lane_loss{model=\"latency\"",
            "learnd_connections{source=\"access\"",
            "unregistered",
        ] {
            assert!(!text.contains(absent), "{absent}");
        }
    }

    #[test]
    fn handles_write_to_their_own_series() {
        use crate::base::{RejectReason, SkipReason};

        let metrics = everything();
        metrics.sources[1].rejected(RejectReason::Time).inc_by(3);
        metrics.models[2].skipped(SkipReason::Label).inc();
        metrics.models[0].anomalies("warning").inc();
        metrics.models[1].auc[0].set(0.5);
        metrics.models[1].loss[3].set(0.25);
        metrics.sinks[0].errors("no_space").inc();
        let score = metrics.models[0].score.local();
        score.observe(0.99995);
        score.flush();
        let text = text(&metrics);
        for line in [
            "learnd_rejected_total{reason=\"time\",source=\"orders\"} 3",
            "learnd_skipped_total{model=\"churn\",reason=\"label\"} 1",
            "learnd_anomalies_total{model=\"latency\",severity=\"warning\"} 1",
            "learnd_loss{model=\"price\",window=\"all\"} 0.25",
            "learnd_sink_errors_total{reason=\"no_space\",sink=\"alerts\"} 1",
            "learnd_anomaly_score_bucket{model=\"latency\",le=\"0.9999\"} 0",
            "learnd_anomaly_score_bucket{model=\"latency\",le=\"0.99999\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_small_daemon_has_few_series() {
        let metrics = Metrics::new(&Series {
            sources: &[source("stdin")],
            models: &[model("anomalies", Task::Anomaly)],
            sinks: &["stdout"],
            queues: &["learn"],
            state: false,
            ledger: false,
            version: "0.1.0",
            revision: "abc",
            started: Micros(0),
        });
        let text = text(&metrics);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series <= 150, "{series}");
        assert!(!text.contains("learnd_snapshot"));
    }

    #[test]
    fn promtool_has_nothing_to_say() {
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("skipped: promtool is not installed");
            return;
        };
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&everything().render()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{said}");
    }
}
