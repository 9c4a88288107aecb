//! What a model says of itself: plain numbers for metrics, JSON for people and scripts.
//!
//! Invariant: reporting changes nothing.

use serde_json::{Map, Value, json};

use crate::base::Task;
use crate::evaluate::{Progressive, Ranking, Summary, Window};
use crate::learn::{self, Learner, LearnerConfig, WeightAt};

use super::anomaly::{Anomaly, Scored};
use super::supervised::{Supervised, figures};
use super::{Body, Counts, Model};

/// Heaviest weights named in a description.
const WEIGHTS: usize = 20;

/// The state of a model in numbers.
#[derive(Clone, Debug)]
pub struct ModelReport {
    /// Lifetime counts.
    pub counts: Counts,
    /// Distinct keys.
    pub keys: usize,
    /// What it says can be used.
    pub ready: bool,
    /// Of a supervised model.
    pub supervised: Option<SupervisedReport>,
    /// Of an anomaly model.
    pub anomaly: Option<AnomalyReport>,
}

/// A supervised model in numbers.
#[derive(Clone, Debug)]
pub struct SupervisedReport {
    /// By [`Window::ALL`].
    pub windows: Vec<(Window, Summary)>,
    /// The learner of the key that came first.
    pub learner: learn::Report,
    /// Size of the last change of the weights.
    pub update_norm: f64,
}

/// An anomaly model in numbers.
#[derive(Clone, Copy, Debug)]
pub struct AnomalyReport {
    /// Alerts in the last 24 hours of the records' time.
    pub alerts_last_day: u64,
    /// The p-value below which a record is flagged.
    pub level: f64,
    /// Alerts held back since the first run.
    pub suppressed: u64,
    /// The detector of the key that came first, once it is decided.
    pub detector: Option<&'static str>,
}

impl Model {
    /// The model in numbers.
    pub fn report(&self) -> ModelReport {
        let (mut supervised, mut anomaly) = (None, None);
        let (keys, ready) = match &self.body {
            Body::Supervised(s) => {
                let learner = s
                    .learners
                    .values()
                    .next()
                    .map(|(_, l)| l.0.report())
                    .unwrap_or_default();
                let windows = Window::ALL
                    .iter()
                    .map(|w| (*w, s.progressive.summary(*w)))
                    .collect();
                supervised = Some(SupervisedReport {
                    windows,
                    learner,
                    update_norm: s.update_norm,
                });
                (s.learners.len(), self.counts.learned > 0)
            }
            Body::Anomaly(a) => {
                anomaly = Some(AnomalyReport {
                    alerts_last_day: a.alerter.alerts_last_day(),
                    level: a.alerter.level(),
                    suppressed: a.alerter.suppressed_total(),
                    detector: a.monitors.values().next().and_then(|(_, m)| m.chosen()),
                });
                (
                    a.monitors.len(),
                    a.monitors.values().any(|(_, m)| m.ready()),
                )
            }
        };
        ModelReport {
            counts: self.counts,
            keys,
            ready,
            supervised,
            anomaly,
        }
    }

    /// The model as JSON, in the user's words.
    pub fn describe(&self) -> Value {
        let report = self.report();
        let Counts {
            records,
            learned,
            unlabelled,
            skipped,
        } = report.counts;
        let mut out = Map::new();
        out.insert("name".into(), json!(self.config.name));
        out.insert("task".into(), json!(self.config.task.as_str()));
        out.insert("ready".into(), json!(report.ready));
        out.insert("records".into(), json!(records));
        out.insert("learned".into(), json!(learned));
        out.insert("unlabelled".into(), json!(unlabelled));
        out.insert("skipped".into(), json!(skipped));
        out.insert("keys".into(), json!(report.keys));
        match &self.body {
            Body::Supervised(s) => self.describe_supervised(s, &mut out),
            Body::Anomaly(a) => self.describe_anomaly(a, &mut out),
        }
        Value::Object(out)
    }

    fn describe_supervised(&self, s: &Supervised, out: &mut Map<String, Value>) {
        if self.config.task == Task::Multiclass {
            out.insert("classes".into(), json!(s.classes.names()));
        }
        let losses: Map<String, Value> = Window::ALL
            .iter()
            .map(|w| (w.as_str().to_owned(), json!(s.progressive.summary(*w).loss)))
            .collect();
        out.insert("loss".into(), Value::Object(losses));
        out.insert(
            "progressive".into(),
            quality(&s.progressive, self.config.task),
        );
        if let Some((_, learner)) = s.learners.values().next() {
            let report = learner.0.report();
            out.insert("learning_rate".into(), json!(report.learning_rate));
            out.insert("weight_norm".into(), json!(report.weight_norm));
            let lanes: Vec<Value> = report
                .lanes
                .iter()
                .map(|l| json!({"rate": l.rate, "loss": l.loss, "weight": l.weight}))
                .collect();
            if !lanes.is_empty() {
                out.insert("lanes".into(), json!(lanes));
            }
            out.insert("weights".into(), self.name_weights(&*learner.0, s));
        }
    }

    fn name_weights(&self, learner: &dyn Learner, s: &Supervised) -> Value {
        let columns = self.plan.column_names();
        let weights: Vec<Value> = learner
            .heaviest(WEIGHTS)
            .into_iter()
            .map(|weight| {
                let feature = match weight.at {
                    WeightAt::Bias => "(constant)".to_owned(),
                    WeightAt::Dense(i) => columns
                        .get(i as usize)
                        .cloned()
                        .unwrap_or_else(|| format!("(column {i})")),
                    WeightAt::Hashed(slot) => self
                        .plan
                        .hashed_name(slot)
                        .map_or_else(|| format!("(slot {slot})"), str::to_owned),
                };
                let mut entry = json!({"feature": feature, "weight": weight.weight});
                if self.config.task == Task::Multiclass {
                    entry["class"] = json!(s.classes.names().get(weight.class as usize));
                }
                entry
            })
            .collect();
        Value::Array(weights)
    }

    fn describe_anomaly(&self, a: &Anomaly, out: &mut Map<String, Value>) {
        let mut chosen: Vec<&str> = a
            .monitors
            .values()
            .filter_map(|(_, m)| m.chosen())
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        out.insert("detector".into(), json!(chosen));
        out.insert("level".into(), json!(a.alerter.level()));
        out.insert("flagged".into(), json!(a.flagged));
        out.insert("alerts".into(), json!(a.alerts));
        out.insert("alerts_last_day".into(), json!(a.alerter.alerts_last_day()));
        out.insert(
            "alerts_suppressed".into(),
            json!(a.alerter.suppressed_total()),
        );
        out.insert("drifts".into(), json!(a.drifts));
        out.insert("columns".into(), json!(self.plan.column_names()));
    }

    /// The figures of `eval --json` for one pass.
    pub fn figures(&self) -> Value {
        match &self.body {
            Body::Supervised(s) => quality(s.quality(), self.config.task),
            Body::Anomaly(a) => ranking(&a.ranking, &a.pass),
        }
    }

    /// The figures of the test part.
    pub fn test_figures(&self) -> Value {
        match &self.body {
            Body::Supervised(s) => quality(&s.test, self.config.task),
            Body::Anomaly(a) => ranking(&a.ranking, &a.tested),
        }
    }

    /// Starts the figures of an evaluation anew: for what follows the snapshot it began with, and
    /// for the next pass over the same records. Those since the first run, which are state, go on.
    pub fn restart_figures(&mut self) {
        match &mut self.body {
            Body::Supervised(s) => s.pass = Some(figures(&self.config)),
            Body::Anomaly(a) => {
                a.pass = Scored::ranked();
            }
        }
    }

    /// Labelled records since the figures were started.
    pub fn labelled(&self) -> u64 {
        match &self.body {
            Body::Supervised(s) => s.quality().count(),
            Body::Anomaly(a) => a.pass.ranking.as_ref().unwrap_or(&a.ranking).count(),
        }
    }

    /// Features of the record before that were there, with the constant where there is one.
    pub fn features_of_last(&self) -> usize {
        let row = self.row.row(&self.plan);
        let numbers = row.dense.iter().filter(|x| !x.is_nan()).count();
        let constant = match &self.config.learner {
            _ if self.config.task == Task::Anomaly => false,
            LearnerConfig::Race => true,
            LearnerConfig::Linear(linear) => linear.bias,
        };
        numbers + row.index.len() + usize::from(constant)
    }

    /// Sum and weight of the losses since the figures were started; of an anomaly model, flagged
    /// records and records.
    pub fn loss_so_far(&self) -> (f64, f64) {
        match &self.body {
            Body::Supervised(s) => (s.quality().loss_sum(), s.quality().loss_weight()),
            Body::Anomaly(a) => (a.pass.flagged as f64, a.pass.records as f64),
        }
    }
}

fn quality(progressive: &Progressive, task: Task) -> Value {
    let s = progressive.summary(Window::All);
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), json!(value));
        }
    };
    put("loss", s.loss);
    match task {
        Task::Regression => {
            put("mae", s.mae);
            put("rmse", s.rmse);
            put("r2", s.r2);
        }
        Task::Binary => {
            put("accuracy", s.accuracy);
            put("auc", s.auc);
            put("f1", s.f1);
        }
        Task::Multiclass => {
            put("accuracy", s.accuracy);
            put("macro_f1", s.macro_f1);
        }
        Task::Anomaly => {}
    }
    put("baseline_loss", s.baseline_constant_loss);
    put("baseline_last_loss", s.baseline_last_loss);
    out.insert("records".into(), json!(progressive.count()));
    Value::Object(out)
}

/// Figures of what was scored, ranked by itself or, where it is all there ever was, since the first
/// run.
fn ranking(since_first: &Ranking, scored: &Scored) -> Value {
    let ranking = scored.ranking.as_ref().unwrap_or(since_first);
    let mut out = Map::new();
    out.insert("flagged".into(), json!(scored.flagged));
    out.insert("alerts".into(), json!(scored.alerts));
    if ranking.count() > 0 {
        let summary = ranking.summary();
        for (name, value) in [
            ("auc", summary.auc),
            ("average_precision", summary.average_precision),
            ("precision", summary.precision),
            ("recall", summary.recall),
        ] {
            if let Some(value) = value {
                out.insert(name.into(), json!(value));
            }
        }
    }
    out.insert("records".into(), json!(scored.records));
    Value::Object(out)
}
