//! The effective configuration as a file, defaults and overrides filled in.
//!
//! Invariant: what is printed loads to the same configuration.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::base::{EventKind, Scale, Task};
use crate::decode::{FormatConfig, VwHash};
use crate::detect::DetectorConfig;
use crate::feature::{Condition, ConditionTest, ConditionValue, FeatureKind, FeatureSpec};
use crate::learn::{LearnerConfig, LinearConfig, Link, Loss, Optimizer, UpdateMode};
use crate::model::ModelConfig;
use crate::net::{Protection, TokenFile};
use crate::sink::{SinkKind, WhenFull};
use crate::source::{Reply, SourceKind};

use super::features::UNITS;
use super::memory;
use super::section::quoted;
use super::types::{Config, SinkConfig, SourceConfig};
use super::values::{format_budget, format_duration, format_size, rough_size};

/// The text under construction.
#[derive(Default)]
struct Out(String);

impl Out {
    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("writing to memory cannot fail");
    }

    fn key(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn table(&mut self, name: impl Display) {
        self.line(format_args!("\n[{name}]"));
    }
}

/// Prints the configuration with the memory each model will take.
pub fn print(config: &Config) -> String {
    let mut out = Out::default();
    out.line("# The effective configuration.");
    out.key("shutdown_timeout", duration(config.shutdown_timeout));
    out.key("memory_limit", text(&format_size(config.memory_limit)));
    let hash_key = config.hash_key_file.as_ref();
    let hash_key = hash_key.map_or(String::new(), |p| p.display().to_string());
    out.key("hash_key_file", text(&hash_key));
    out.table("server");
    if config.listen_is_default {
        out.line("# The default; without a setting a taken address is no error.");
        out.line(format_args!(
            "# listen = {}",
            text(&config.listen.to_string())
        ));
    } else {
        out.key("listen", text(&config.listen.to_string()));
    }
    out.key("admin", config.admin);
    out.key("max_connections", config.max_connections);
    print_protection(&mut out, &config.protection);
    match &config.state {
        None => out.line("\n# No [state]: nothing that is learned outlives the process."),
        Some(state) => {
            out.table("state");
            out.key("dir", text(&state.dir.display().to_string()));
            out.key("snapshot_every", duration(state.snapshot_every));
            out.key("keep", state.keep);
        }
    }
    for source in &config.sources {
        print_source(&mut out, source);
    }
    for model in &config.models {
        print_model(&mut out, config, model);
    }
    for sink in &config.sinks {
        print_sink(&mut out, config, sink);
    }
    let bytes = config.models.iter().map(|m| memory::estimate(m).bytes);
    let bytes = bytes.fold(0u64, u64::saturating_add);
    out.line(format_args!(
        "\n# All models together: at most {} of {}.",
        rough_size(bytes),
        rough_size(config.memory_limit)
    ));
    out.0
}

/// A string in which nothing is taken for an environment variable.
fn text(text: &str) -> String {
    quoted(text).replace("${", "$${")
}

fn duration(duration: Duration) -> String {
    text(&format_duration(duration))
}

/// A float that TOML reads back as the same one.
fn number(x: f64) -> String {
    format!("{x:?}")
}

fn list<T>(items: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> String {
    let items: Vec<String> = items.into_iter().map(show).collect();
    format!("[{}]", items.join(", "))
}

fn texts(items: &[String]) -> String {
    list(items, |item| text(item))
}

/// Names of files, never what is in them.
fn print_protection(out: &mut Out, protection: &Protection) {
    let path = |path: &Path| text(&path.display().to_string());
    if let Some(tls) = &protection.tls {
        let client_ca = tls.client_ca.as_ref();
        let client_ca = client_ca.map_or(String::new(), |ca| format!(", client_ca = {}", path(ca)));
        let (cert, key) = (path(&tls.cert), path(&tls.key));
        out.key(
            "tls",
            format_args!("{{ cert = {cert}, key = {key}{client_ca} }}"),
        );
    }
    let token = |token: &TokenFile| {
        let scopes = list(token.scopes.iter(), |scope| text(scope.as_str()));
        format!("{{ file = {}, scopes = {scopes} }}", path(&token.file))
    };
    out.key("tokens", list(&protection.tokens, token));
    out.key("allow_insecure_listen", protection.allow_insecure_listen);
}

fn print_source(out: &mut Out, source: &SourceConfig) {
    out.table(format_args!("sources.{}", source.name));
    match &source.kind {
        SourceKind::Stdin => out.key("type", text("stdin")),
        SourceKind::File(file) => {
            out.key("type", text("file"));
            out.key("paths", texts(&file.paths));
            out.key("from", text(if file.from_start { "start" } else { "end" }));
            out.key("follow", file.follow);
            out.key("follow_symlinks", file.follow_symlinks);
            let poll = Duration::from_millis(file.poll_interval_ms);
            out.key("poll_interval", duration(poll));
        }
        SourceKind::Tcp(tcp) => {
            out.key("type", text("tcp"));
            out.key("listen", text(&tcp.listen.to_string()));
            let reply = match tcp.reply {
                Reply::None => "none",
                Reply::Prediction => "prediction",
                Reply::Ack => "ack",
            };
            out.key("reply", text(reply));
            out.key("max_connections", tcp.max_connections);
            print_protection(out, &tcp.protection);
        }
        SourceKind::Http => out.key("type", text("http")),
        SourceKind::Demo(demo) => {
            out.key("type", text("demo"));
            out.key("seed", demo.seed);
            out.key("rate", number(demo.rate));
            out.key("speedup", number(demo.speedup));
            out.key("records", demo.records);
            out.key("anomaly_every", demo.anomaly_every);
            let truth = demo.truth.as_ref();
            let truth = truth.map_or(String::new(), |p| p.display().to_string());
            out.key("truth", text(&truth));
        }
    }
    match &source.format {
        FormatConfig::Json => out.key("format", text("json")),
        FormatConfig::Csv(csv) => {
            out.key("format", text("csv"));
            out.key("delimiter", text(&char::from(csv.delimiter).to_string()));
            out.key("quote", text(&char::from(csv.quote).to_string()));
            out.key("header", csv.header);
            out.key("columns", texts(&csv.columns));
            let nonfinite = if csv.nonfinite_missing {
                "missing"
            } else {
                "reject"
            };
            out.key("nonfinite", text(nonfinite));
        }
        FormatConfig::Vw(hash) => {
            out.key("format", text("vw"));
            let hash = match hash {
                VwHash::Strings => "strings",
                VwHash::All => "all",
            };
            out.key("hash", text(hash));
        }
        FormatConfig::Svmlight => out.key("format", text("svmlight")),
    }
    let limits = &source.limits;
    out.key("max_line", text(&format_size(source.max_line as u64)));
    out.key("max_fields", limits.max_fields);
    out.key("max_depth", limits.max_depth);
    out.key("max_key", text(&format_size(limits.max_key as u64)));
    out.key("max_number", limits.max_number);
    let duplicates = if limits.duplicates_last {
        "last"
    } else {
        "reject"
    };
    out.key("duplicate_keys", text(duplicates));
    let dead_letters = source.dead_letters.as_ref();
    let dead_letters = dead_letters.map_or(String::new(), |p| p.display().to_string());
    out.key("dead_letters", text(&dead_letters));
    out.key(
        "dead_letters_max",
        text(&format_size(source.dead_letters_max)),
    );
    // Files are read again from where the snapshot has them.
    if matches!(
        source.kind,
        SourceKind::Stdin | SourceKind::Tcp(_) | SourceKind::Http
    ) {
        let durability = if source.journal { "journal" } else { "none" };
        out.key("durability", text(durability));
    }
}

fn print_model(out: &mut Out, config: &Config, model: &ModelConfig) {
    let plan = &model.plan;
    let estimate = memory::estimate(model);
    out.line(format_args!(
        "\n# Memory: at most {}: {}.",
        rough_size(estimate.bytes),
        estimate.arithmetic
    ));
    if plan.time.is_none()
        && matches!(model.update, UpdateMode::Minibatch { every_micros, .. } if every_micros > 0)
    {
        out.line("# Without `time` and a journal, `every` need not fall the same way when input is read again.");
    }
    out.line(format_args!("[models.{}]", model.name));
    let inputs = |i: &u16| text(&config.sources[*i as usize].name);
    out.key("inputs", list(&model.inputs, inputs));
    out.key("task", text(model.task.as_str()));
    let bears_labels = |i: &u16| config.sources[*i as usize].format.bears_labels();
    if !model.inputs.iter().any(bears_labels) {
        print_fields(out, model);
    }
    out.key("hash_bits", plan.hash_bits);
    if model.task == Task::Anomaly {
        let detector = match model.detector {
            DetectorConfig::Auto => "auto",
            DetectorConfig::Metric => "metric",
            DetectorConfig::Gauss => "gauss",
        };
        out.key("detector", format_args!("{{ type = \"{detector}\" }}"));
        match (format_budget(&model.alerts), &model.alerts) {
            (Some(budget), _) => out.key("budget", text(&budget)),
            (None, crate::alert::AlertConfig::Level(level)) => out.key("level", number(*level)),
            (None, _) => {}
        }
        if let Some(healthy) = &plan.healthy {
            out.key("healthy", condition(healthy));
        }
        return;
    }
    out.key(
        "interactions",
        list(&plan.interactions, |fields| texts(fields)),
    );
    if model.task == Task::Multiclass {
        out.key("max_classes", model.max_classes);
    }
    match &model.learner {
        LearnerConfig::Race => out.key("learner", "{ type = \"race\" }"),
        LearnerConfig::Linear(l) => out.key("learner", linear(l, model.task, plan.constant)),
    }
    match model.update {
        UpdateMode::Online => out.key("update", "{ mode = \"online\" }"),
        UpdateMode::Minibatch {
            records,
            every_micros,
        } => {
            let every = if every_micros > 0 {
                let every = Duration::from_micros(every_micros as u64);
                format!(", every = {}", duration(every))
            } else {
                String::new()
            };
            out.key(
                "update",
                format_args!("{{ mode = \"minibatch\", records = {records}{every} }}"),
            );
        }
    }
}

fn print_fields(out: &mut Out, model: &ModelConfig) {
    let plan = &model.plan;
    if let Some(filter) = &plan.filter {
        out.key("where", condition(filter));
    }
    out.key("key", texts(&plan.key));
    out.key("max_keys", model.max_keys);
    out.key("evict", model.evict);
    out.key("features", list(&plan.features, feature));
    out.key("exclude", texts(&plan.exclude));
    if let Some(time) = &plan.time {
        let unit = UNITS
            .iter()
            .find(|(_, micros)| *micros == time.micros_per_unit);
        let unit = unit.map_or("s", |(name, _)| name);
        let field = text(&time.field);
        out.key(
            "time",
            format_args!("{{ field = {field}, unit = \"{unit}\" }}"),
        );
    }
    for (key, field) in [
        ("label", &plan.label),
        ("id", &plan.id),
        ("weight", &plan.weight),
    ] {
        if let Some(field) = field {
            out.key(key, text(field));
        }
    }
    if let Some(positive) = &model.positive {
        out.key("positive", text(positive));
    }
}

fn linear(l: &LinearConfig, task: Task, constant: bool) -> String {
    let optimizer = match l.optimizer {
        Optimizer::NormalizedAdaptive => "normalized_adaptive",
        Optimizer::Sgd | Optimizer::SgdInRange => "sgd",
    };
    let loss = match l.loss {
        Loss::Squared => "squared",
        Loss::Logistic => "logistic",
        Loss::Softmax => "softmax",
        Loss::Hinge => "hinge",
        Loss::Quantile { .. } => "quantile",
    };
    let tau = match l.loss {
        Loss::Quantile { tau } => format!(", tau = {}", number(tau)),
        _ => String::new(),
    };
    let range = l.label_range.map_or(String::new(), |(low, high)| {
        format!(", label_range = [{}, {}]", number(low), number(high))
    });
    let link = match (task, l.link) {
        (Task::Binary, Link::Logistic) => ", link = \"logistic\"",
        (Task::Binary, Link::Identity) => ", link = \"identity\"",
        _ => "",
    };
    format!(
        "{{ type = \"linear\", optimizer = \"{optimizer}\", loss = \"{loss}\"{tau}{link}, \
         learning_rate = {}, power_t = {}, initial_t = {}, l1 = {}, l2 = {}, bias = {}, \
         regularize_bias = {constant}{range} }}",
        number(l.learning_rate),
        number(l.power_t),
        number(l.initial_t),
        number(l.l1),
        number(l.l2),
        l.bias || constant
    )
}

fn feature(spec: &FeatureSpec) -> String {
    let mut parts = vec![format!("field = {}", text(&spec.field))];
    if let Some(kind) = spec.kind {
        let kind = match kind {
            FeatureKind::Number => "number",
            FeatureKind::Category => "category",
            FeatureKind::Vector => "vector",
        };
        parts.push(format!("as = \"{kind}\""));
    }
    if let Some(scale) = spec.scale {
        let scale = match scale {
            Scale::Standard => "standard",
            Scale::MinMax => "minmax",
            Scale::MaxAbs => "maxabs",
            Scale::None => "none",
        };
        parts.push(format!("scale = \"{scale}\""));
    }
    if let Some(clip) = spec.clip {
        parts.push(format!("clip = {}", number(clip)));
    }
    if parts.len() == 1 {
        text(&spec.field)
    } else {
        format!("{{ {} }}", parts.join(", "))
    }
}

fn condition(condition: &Condition) -> String {
    let value = |value: &ConditionValue| match value {
        ConditionValue::Number(x) => number(*x),
        ConditionValue::Text(t) => text(t),
        ConditionValue::Boolean(b) => b.to_string(),
    };
    let test = match &condition.test {
        ConditionTest::Equals(v) => format!("equals = {}", value(v)),
        ConditionTest::In(values) => format!("in = {}", list(values, value)),
        ConditionTest::Above(x) => format!("above = {}", number(*x)),
        ConditionTest::Below(x) => format!("below = {}", number(*x)),
        ConditionTest::Exists(exists) => format!("exists = {exists}"),
    };
    format!("{{ field = {}, {test} }}", text(&condition.field))
}

fn print_sink(out: &mut Out, config: &Config, sink: &SinkConfig) {
    out.table(format_args!("sinks.{}", sink.name));
    match &sink.kind {
        SinkKind::Stdout => out.key("type", text("stdout")),
        SinkKind::File {
            path,
            rotate_size,
            rotate_keep,
        } => {
            out.key("type", text("file"));
            out.key("path", text(&path.display().to_string()));
            out.key("rotate_size", text(&format_size(*rotate_size)));
            out.key("rotate_keep", rotate_keep);
        }
    }
    let inputs = |i: &usize| text(&config.models[*i].name);
    out.key("inputs", list(&sink.inputs, inputs));
    let events = EventKind::ALL.iter().filter(|k| sink.events.contains(**k));
    out.key("events", list(events, |kind| text(kind.as_str())));
    let when_full = match sink.when_full {
        WhenFull::Block => "block",
        WhenFull::DropNewest => "drop_newest",
    };
    out.key("when_full", text(when_full));
    out.key("record", sink.render.record);
    out.key("redact", texts(&sink.render.redact));
    out.key("queue", sink.queue);
}
