//! `[models.NAME]`: inputs, task, roles of fields, limits.
//!
//! Invariant: every key of every task is read here or in `features` and `learners`, and the parts
//! that a field plays exclude each other.

use crate::base::Task;
use crate::decode::FormatConfig;
use crate::feature::{Condition, PlanConfig, TimeSpec};
use crate::model::ModelConfig;

use super::dom::{Entry, Node, Table, Value};
use super::features::{self, Features};
use super::learners;
use super::section::{Elsewhere, Placed, Section, Walk, table_of, text_of};
use super::shape::Shape;
use super::suggest::did_you_mean;

/// Keys that only some tasks have.
pub(super) const ELSEWHERE: &[Elsewhere] = &[
    ("detector", "task = \"anomaly\""),
    ("budget", "task = \"anomaly\""),
    ("level", "task = \"anomaly\""),
    ("healthy", "task = \"anomaly\""),
    (
        "weight",
        "tasks with a learner (regression, binary, multiclass)",
    ),
    (
        "interactions",
        "tasks with a learner (regression, binary, multiclass)",
    ),
    (
        "learner",
        "tasks with a learner (regression, binary, multiclass)",
    ),
    (
        "update",
        "tasks with a learner (regression, binary, multiclass)",
    ),
    ("positive", "task = \"binary\", or an anomaly model's label"),
    ("max_classes", "task = \"multiclass\""),
];

/// Keys that speak of fields, which lines with a label of their own do not have.
const FIELDS: &str = "sources with named fields; lines of vw and svmlight say it themselves";
const FIELDS_ELSEWHERE: &[Elsewhere] = &[
    ("where", FIELDS),
    ("key", FIELDS),
    ("max_keys", FIELDS),
    ("evict", FIELDS),
    ("features", FIELDS),
    ("exclude", FIELDS),
    ("time", FIELDS),
    ("label", FIELDS),
    ("id", FIELDS),
    ("weight", FIELDS),
    ("positive", FIELDS),
];

/// Classes that a model tells apart where nothing is said.
const MAX_CLASSES: u64 = 64;

/// Keys that a model holds where nothing is said.
pub(super) const MAX_KEYS: u64 = 100_000;

/// Reads one model; `sources` and `sinks` are the names its inputs may and may not mean, `formats`
/// those of the sources as far as they are known.
pub(super) fn model(
    walk: &mut Walk,
    entry: &Entry,
    sources: &[&str],
    sinks: &[&str],
    formats: &[Option<&FormatConfig>],
    hash_seed: u64,
) -> Option<ModelConfig> {
    let name = entry.key.clone();
    let title = format!("[models.{name}]");
    let table = table_of(walk, "models", entry)?;
    let mut s = Section::new(walk, "model", title, table, entry.key_place);
    let tasks = [
        ("regression", Task::Regression),
        ("binary", Task::Binary),
        ("multiclass", Task::Multiclass),
        ("anomaly", Task::Anomaly),
    ];
    let task = s.word("task", &tasks, &[], None);
    let inputs = resolve(&mut s, "sources", sources, &[("sink", sinks)]);

    let lines = own_labels(&mut s, &inputs, formats, task);
    let fields = if lines.is_some() {
        Fields::none(&mut s)
    } else {
        Fields::read(&mut s)
    };
    let Fields {
        filter,
        key,
        max_keys,
        evict,
        features,
        exclude,
        time,
        label,
        id,
    } = fields;
    let hash_bits = s.integer("hash_bits", 18, 1..=30) as u32;

    let supervised = task.is_some_and(|t| t != Task::Anomaly);
    let anomaly = task == Some(Task::Anomaly);
    let (mut weight, mut interactions, mut healthy) = (None, Vec::new(), None);
    if supervised {
        interactions = features::interactions(&mut s);
    }
    if supervised && lines.is_none() {
        weight = s.text("weight", None);
        if s.peek("label").is_none() {
            let help = "add label = \"FIELD\": the field that holds what is to be predicted";
            s.missing("label", help);
        }
    }
    if anomaly {
        healthy = features::condition(&mut s, "healthy");
    }
    let positive = match task {
        Some(Task::Binary | Task::Anomaly) if lines.is_none() => positive(&mut s, label.is_some()),
        _ => None,
    };
    // The contract's example has the default beside a binary task: there it says nothing.
    let says_default = matches!(
        s.peek("max_classes").map(|e| &e.node.value),
        Some(Value::Integer(Some(n))) if *n == i128::from(MAX_CLASSES)
    );
    let max_classes = if task == Some(Task::Multiclass) || (supervised && says_default) {
        s.integer("max_classes", MAX_CLASSES, 2..=1_000_000)
    } else {
        MAX_CLASSES
    };
    let learner = learners::learner(&mut s, task, lines);
    let update = learners::update(&mut s, supervised);
    let detector = learners::detector(&mut s, anomaly);
    let alerts = learners::alerts(&mut s, anomaly);

    let roles = Roles {
        label: label.as_ref(),
        weight: weight.as_ref(),
        id: id.as_ref(),
        time: time.as_ref().map(|(_, field)| field),
        key: &key,
    };
    if lines.is_none() {
        roles.check(&mut s, &features, &exclude, &interactions);
    }
    let elsewhere = if lines.is_some() {
        &[FIELDS_ELSEWHERE, ELSEWHERE].concat()
    } else {
        ELSEWHERE
    };
    s.finish(elsewhere, task.is_some());

    let default_scale = features
        .star_scale
        .unwrap_or_else(|| learners::default_scale(&learner.config));
    let plain = |fields: Vec<Placed>| fields.into_iter().map(|f| f.text).collect::<Vec<_>>();
    Some(ModelConfig {
        name,
        inputs: inputs.into_iter().map(|i| i as u16).collect(),
        task: task?,
        plan: PlanConfig {
            features: features.specs,
            exclude: plain(exclude),
            interactions: interactions.into_iter().map(plain).collect(),
            label: label.map(|f| f.text),
            weight: weight.map(|f| f.text),
            id: id.map(|f| f.text),
            key: plain(key),
            time: time.map(|(spec, _)| spec),
            filter,
            healthy,
            hash_bits,
            hash_seed,
            default_scale,
            constant: learner.constant,
        },
        max_keys,
        evict,
        positive,
        max_classes: max_classes as usize,
        learner: learner.config,
        update,
        detector,
        alerts,
    })
}

/// The format of the inputs, if their lines bear labels of their own.
fn own_labels<'f>(
    s: &mut Section<'_, '_>,
    inputs: &[usize],
    formats: &[Option<&'f FormatConfig>],
    task: Option<Task>,
) -> Option<&'f FormatConfig> {
    let known = || inputs.iter().filter_map(|i| formats[*i]);
    let lines = known().find(|format| format.bears_labels())?;
    let place = s.place_of("inputs");
    if known().any(|format| format != lines) {
        s.walk.problem(
            place,
            format!(
                "a model that reads format = \"{}\" reads that format alone",
                lines.as_str()
            ),
            "give the sources of other formats a model of their own",
        );
    }
    if task == Some(Task::Anomaly) {
        let place = s.place_of("task");
        let message = format!(
            "a detector needs named fields, which format = \"{}\" does not have",
            lines.as_str()
        );
        s.walk
            .problem(place, message, "use format = \"json\" or \"csv\"");
    }
    Some(lines)
}

/// What a model asks of named fields, whatever its task.
struct Fields {
    filter: Option<Condition>,
    key: Vec<Placed>,
    max_keys: usize,
    evict: bool,
    features: Features,
    exclude: Vec<Placed>,
    time: Option<(TimeSpec, Placed)>,
    label: Option<Placed>,
    id: Option<Placed>,
}

impl Fields {
    fn read(s: &mut Section<'_, '_>) -> Fields {
        Fields {
            filter: features::condition(s, "where"),
            key: s.texts("key", "[]").unwrap_or_default(),
            max_keys: s.integer("max_keys", MAX_KEYS, 1..=1_000_000_000) as usize,
            evict: s.boolean("evict", false),
            features: features::features(s),
            exclude: s.texts("exclude", "[]").unwrap_or_default(),
            time: features::time(s),
            label: s.text("label", None),
            id: s.text("id", None),
        }
    }

    /// Of lines that have none.
    fn none(s: &mut Section<'_, '_>) -> Fields {
        let empty = Table::default();
        let mut walk = Walk::default();
        let mut nothing = Section::new(&mut walk, "model", String::new(), &empty, s.place);
        Fields::read(&mut nothing)
    }
}

/// The value that means "yes", as text.
fn positive(s: &mut Section<'_, '_>, labelled: bool) -> Option<String> {
    let entry = s.get("positive", Shape::Scalar, None)?;
    if !labelled && s.peek("label").is_none() {
        s.walk.problem(
            entry.key_place,
            "`positive` speaks of a label, but there is no `label`",
            "add label = \"FIELD\"",
        );
    }
    scalar(s.walk, "positive", &entry.node)
}

/// A string, a whole number or a boolean, as the text that a record would hold.
fn scalar(walk: &mut Walk, name: &str, node: &Node) -> Option<String> {
    match &node.value {
        Value::Integer(Some(n)) => Some(n.to_string()),
        Value::Boolean(b) => Some(b.to_string()),
        _ => text_of(walk, name, node).map(|t| t.text),
    }
}

/// The fields of a model that are more than features.
struct Roles<'a> {
    label: Option<&'a Placed>,
    weight: Option<&'a Placed>,
    id: Option<&'a Placed>,
    time: Option<&'a Placed>,
    key: &'a [Placed],
}

impl Roles<'_> {
    fn all(&self) -> Vec<(&'static str, &Placed)> {
        let single = [
            ("label", self.label),
            ("weight", self.weight),
            ("id", self.id),
            ("time", self.time),
        ];
        let single = single.into_iter().filter_map(|(role, f)| Some((role, f?)));
        single.chain(self.key.iter().map(|f| ("key", f))).collect()
    }

    fn check(
        &self,
        s: &mut Section<'_, '_>,
        features: &Features,
        exclude: &[Placed],
        interactions: &[Vec<Placed>],
    ) {
        let roles = self.all();
        // What is to be predicted must not help to predict, weigh or sort the record.
        if let Some(label) = self.label {
            for (role, field) in roles.iter().skip(1).filter(|(_, f)| f.text == label.text) {
                let message = format!("`{}` is the label and cannot be the {role} too", field.text);
                s.walk.problem(
                    field.place,
                    message,
                    format!("the {role} must be known before the label"),
                );
            }
        }
        let mut used: Vec<&Placed> = features.named.iter().collect();
        used.extend(interactions.iter().flatten());
        for field in used {
            if let Some((role, _)) = roles.iter().find(|(_, f)| f.text == field.text) {
                let message = format!("`{}` is the {role} and cannot be a feature", field.text);
                let help = match *role {
                    "label" => "a model that is told the label learns nothing; leave it out",
                    _ => "leave it out of the features",
                };
                s.walk.problem(field.place, message, help);
            }
        }
        for field in exclude {
            if let Some(feature) = features.named.iter().find(|f| f.text == field.text) {
                let message = format!("`{}` is in `features` and in `exclude`", field.text);
                s.walk
                    .problem(feature.place, message, "leave it out of one of them");
            } else if !features.has_star {
                s.walk.problem(
                    field.place,
                    format!("`{}` is not among the features anyway", field.text),
                    "`exclude` takes fields away from \"*\"",
                );
            }
        }
        for field in interactions.iter().flatten() {
            if roles.iter().any(|(_, f)| f.text == field.text) {
                continue;
            }
            let is_feature = features.named.iter().any(|f| f.text == field.text)
                || (features.has_star && !exclude.iter().any(|f| f.text == field.text));
            if !is_feature {
                let names = features.named.iter().map(|f| f.text.as_str());
                let message = format!("`{}` is not among the features", field.text);
                let help = did_you_mean(&field.text, "features", names);
                s.walk.problem(field.place, message, help);
            }
        }
    }
}

/// `inputs`: indices of the named components, in the order of the file; all where nothing is said.
///
/// `others` are names of other kinds, for a better message.
pub(super) fn resolve(
    s: &mut Section<'_, '_>,
    what: &str,
    names: &[&str],
    others: &[(&str, &[&str])],
) -> Vec<usize> {
    let every = format!("every one of the {what}");
    let Some(inputs) = s.texts("inputs", "") else {
        return (0..names.len()).collect();
    };
    if matches!(s.peek("inputs").map(|e| &e.node.value), Some(Value::Array(a)) if a.is_empty()) {
        let place = s.place_of("inputs");
        let message = "`inputs` is empty";
        s.walk
            .problem(place, message, format!("leave it out for {every}"));
    }
    let mut out = Vec::new();
    for input in inputs {
        if let Some(index) = names.iter().position(|name| *name == input.text) {
            out.push(index);
            continue;
        }
        let one = what.trim_end_matches('s');
        let other = others
            .iter()
            .find(|(_, names)| names.contains(&input.text.as_str()));
        let message = match other {
            Some((kind, _)) => format!("`{}` is a {kind}, but inputs here are {what}", input.text),
            None => format!("there is no {one} `{}`", input.text),
        };
        let help = did_you_mean(&input.text, what, names.iter().copied());
        s.walk.problem(input.place, message, help);
    }
    out.sort_unstable();
    out
}
