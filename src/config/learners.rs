//! How a model learns or detects: `learner`, `update`, `detector`, `budget`, `level`.
//!
//! Invariant: a loss fits its task, and a model has either a learner or a detector that means
//! something.

use std::time::Duration;

use crate::alert::AlertConfig;
use crate::base::{Scale, Task};
use crate::detect::DetectorConfig;
use crate::learn::{LearnerConfig, LinearConfig, Link, Loss, Optimizer, UpdateMode};

use super::dom::{Entry, Node, Place, Table, Value};
use super::section::{Elsewhere, Section, word_of, wrong_type};
use super::shape::{Bound, Shape};
use super::values;

/// Keys that only some learners have.
pub(super) const LEARNER_ELSEWHERE: &[Elsewhere] = &[
    ("optimizer", "type = \"linear\""),
    ("loss", "type = \"linear\""),
    ("link", "type = \"linear\" of a binary model"),
    (
        "learning_rate",
        "type = \"linear\"; the race has nothing to set",
    ),
    ("power_t", "type = \"linear\""),
    ("initial_t", "type = \"linear\""),
    ("l1", "type = \"linear\""),
    ("l2", "type = \"linear\""),
    ("bias", "type = \"linear\""),
];

/// Keys that only some modes have.
pub(super) const UPDATE_ELSEWHERE: &[Elsewhere] = &[
    ("records", "mode = \"minibatch\""),
    ("every", "mode = \"minibatch\""),
];

/// Keys of learners that come later.
const LATER: &[&str] = &[
    "schedule",
    "layers",
    "init",
    "regularize_bias",
    "tau",
    "label_range",
    "alpha",
    "beta",
    "multiclass",
    "momentum",
];

/// The default where nothing is said, and what stands in for a broken setting.
const BUDGET: &str = "3/day";

/// A setting that is a word, or a table with the word under `tag`.
enum Choice<'t> {
    Word(&'t Node),
    Table(&'t Table, Place),
}

fn choice<'t>(
    s: &mut Section<'_, 't>,
    name: &'static str,
    words: &[&'static str],
    kind: &'static str,
    default: &str,
) -> Option<Choice<'t>> {
    let shape = Shape::Either(vec![Shape::Words(words.to_vec()), Shape::Table(kind)]);
    let entry: &'t Entry = s.get(name, shape, Some(default.to_owned()))?;
    match &entry.node.value {
        Value::Table(table) => Some(Choice::Table(table, entry.node.place)),
        Value::Text(_) => Some(Choice::Word(&entry.node)),
        _ => {
            let example = format!("{name} = {default}");
            wrong_type(s.walk, name, &entry.node, "a string or a table", &example);
            None
        }
    }
}

/// Reads `learner`. Without a task that has one the result means nothing.
pub(super) fn learner(s: &mut Section<'_, '_>, task: Option<Task>) -> LearnerConfig {
    let Some(task) = task.filter(|t| *t != Task::Anomaly) else {
        return LearnerConfig::Race;
    };
    let types = [("race", false), ("linear", true)];
    let later = ["fm", "network"];
    let found = choice(
        s,
        "learner",
        &["race", "linear"],
        "learner",
        "{ type = \"race\" }",
    );
    match found {
        None => LearnerConfig::Race,
        Some(Choice::Word(node)) => match word_of(s.walk, "learner", node, &types, &later) {
            Some(true) => {
                let table = Table::default();
                let mut s = Section::new(s.walk, "learner", "`learner`".into(), &table, node.place);
                LearnerConfig::Linear(linear(&mut s, task))
            }
            _ => LearnerConfig::Race,
        },
        Some(Choice::Table(table, place)) => {
            let mut s = Section::new(s.walk, "learner", "`learner`".into(), table, place);
            let is_linear = s.word("type", &types, &later, None);
            let learner = match is_linear {
                Some(true) => LearnerConfig::Linear(linear(&mut s, task)),
                _ => LearnerConfig::Race,
            };
            s.later(LATER);
            s.finish(LEARNER_ELSEWHERE, is_linear.is_some());
            learner
        }
    }
}

fn linear(s: &mut Section<'_, '_>, task: Task) -> LinearConfig {
    let optimizers = [
        ("normalized_adaptive", Optimizer::NormalizedAdaptive),
        ("vw", Optimizer::NormalizedAdaptive),
        ("sgd", Optimizer::Sgd),
    ];
    let later = ["momentum", "adagrad", "rmsprop", "adam", "ftrl", "coin"];
    let optimizer = s
        .word(
            "optimizer",
            &optimizers,
            &later,
            Some("normalized_adaptive"),
        )
        .unwrap_or(Optimizer::NormalizedAdaptive);
    let adaptive = optimizer == Optimizer::NormalizedAdaptive;
    // Those of Vowpal Wabbit, and those of the books.
    let (rate, power_t, initial_t) = if adaptive {
        (0.5, 0.5, 0.0)
    } else {
        (0.01, 0.0, 1.0)
    };
    let rate = s.number("learning_rate", Some(rate), Bound::Positive);
    let power_t = s.number("power_t", Some(power_t), Bound::Closed01);
    let initial_t = s.number("initial_t", Some(initial_t), Bound::NotNegative);
    if adaptive && task == Task::Multiclass {
        for (key, said) in [
            ("power_t", power_t != Some(0.5)),
            ("initial_t", initial_t != Some(0.0)),
        ] {
            if let (Some(entry), true) = (s.peek(key), said) {
                s.walk.problem(
                    entry.key_place,
                    format!("`{key}` has no effect on the classes of normalized_adaptive"),
                    "leave it out, or use optimizer = \"sgd\"",
                );
            }
        }
    }
    LinearConfig {
        optimizer,
        loss: loss(s, task),
        link: link(s, task),
        learning_rate: rate.unwrap_or(0.5),
        power_t: power_t.unwrap_or(0.5),
        initial_t: initial_t.unwrap_or(0.0),
        l2: s.number("l2", Some(0.0), Bound::NotNegative).unwrap_or(0.0),
        l1: s.number("l1", Some(0.0), Bound::NotNegative).unwrap_or(0.0),
        bias: s.boolean("bias", true),
    }
}

fn loss(s: &mut Section<'_, '_>, task: Task) -> Loss {
    let losses = [
        ("squared", Loss::Squared),
        ("logistic", Loss::Logistic),
        ("softmax", Loss::Softmax),
    ];
    let (name, fitting) = match task {
        Task::Binary => ("logistic", Loss::Logistic),
        Task::Multiclass => ("softmax", Loss::Softmax),
        Task::Regression | Task::Anomaly => ("squared", Loss::Squared),
    };
    let shape = Shape::Words(losses.iter().map(|l| l.0).collect());
    let Some(entry) = s.get("loss", shape, None) else {
        return fitting;
    };
    let later = ["hinge", "quantile", "huber", "poisson"];
    let found = word_of(s.walk, "loss", &entry.node, &losses, &later);
    if found.is_some_and(|loss| loss != fitting) {
        s.walk.problem(
            entry.node.place,
            format!("this loss does not fit the task {}", task.as_str()),
            format!("the loss of {} is \"{name}\"", task.as_str()),
        );
    }
    fitting
}

fn link(s: &mut Section<'_, '_>, task: Task) -> Link {
    if task != Task::Binary {
        return Link::Identity;
    }
    let links = [("logistic", Link::Logistic), ("identity", Link::Identity)];
    s.word("link", &links, &[], Some("logistic"))
        .unwrap_or(Link::Logistic)
}

/// Reads `update`.
pub(super) fn update(s: &mut Section<'_, '_>, supervised: bool) -> UpdateMode {
    if !supervised {
        return UpdateMode::Online;
    }
    let modes = [("online", false), ("minibatch", true)];
    let words = ["online", "minibatch"];
    match choice(s, "update", &words, "update", "{ mode = \"online\" }") {
        None => UpdateMode::Online,
        Some(Choice::Word(node)) => match word_of(s.walk, "update", node, &modes, &[]) {
            Some(true) => {
                let table = Table::default();
                let mut s = Section::new(s.walk, "update", "`update`".into(), &table, node.place);
                minibatch(&mut s)
            }
            _ => UpdateMode::Online,
        },
        Some(Choice::Table(table, place)) => {
            let mut s = Section::new(s.walk, "update", "`update`".into(), table, place);
            let is_minibatch = s.word("mode", &modes, &[], None);
            let update = match is_minibatch {
                Some(true) => minibatch(&mut s),
                _ => UpdateMode::Online,
            };
            s.finish(UPDATE_ELSEWHERE, is_minibatch.is_some());
            update
        }
    }
}

fn minibatch(s: &mut Section<'_, '_>) -> UpdateMode {
    let records = s.integer("records", 256, 1..=1_000_000) as usize;
    let range = Duration::from_millis(1)..=Duration::from_hours(24 * 366);
    let every = s.duration("every", None, range);
    UpdateMode::Minibatch {
        records,
        every_micros: every.map_or(0, |d| d.as_micros() as i64),
    }
}

/// Reads `detector`.
pub(super) fn detector(s: &mut Section<'_, '_>, anomaly: bool) -> DetectorConfig {
    if !anomaly {
        return DetectorConfig::Auto;
    }
    let types = [
        ("auto", DetectorConfig::Auto),
        ("metric", DetectorConfig::Metric),
        ("gauss", DetectorConfig::Gauss),
    ];
    let later = [
        "memory",
        "ensemble",
        "loda",
        "autoencoder",
        "residual",
        "rarity",
        "forest",
    ];
    let words = ["auto", "metric", "gauss"];
    let found = match choice(s, "detector", &words, "detector", "{ type = \"auto\" }") {
        None => None,
        Some(Choice::Word(node)) => word_of(s.walk, "detector", node, &types, &later),
        Some(Choice::Table(table, place)) => {
            let mut s = Section::new(s.walk, "detector", "`detector`".into(), table, place);
            let found = s.word("type", &types, &later, None);
            s.finish(&[], found.is_some());
            found
        }
    };
    found.unwrap_or(DetectorConfig::Auto)
}

/// Reads `budget` or `level`.
pub(super) fn alerts(s: &mut Section<'_, '_>, anomaly: bool) -> AlertConfig {
    let default = values::budget(BUDGET).unwrap_or(AlertConfig::Level(1e-4));
    if !anomaly {
        return default;
    }
    let budget = s.text("budget", Some(BUDGET));
    let level = s.number("level", None, Bound::Open01);
    if let (Some(_), Some(entry)) = (s.peek("budget"), s.peek("level")) {
        s.walk.problem(
            entry.key_place,
            "a model has a `budget` or a `level`, not both",
            "a budget sets the level by itself; leave one out",
        );
    }
    if let Some(level) = level {
        return AlertConfig::Level(level);
    }
    match budget.map(|b| (values::budget(&b.text), b.place)) {
        Some((Ok(alerts), _)) => alerts,
        Some((Err(help), place)) => {
            s.walk.problem(place, "this is not a budget", help);
            default
        }
        None => default,
    }
}

/// How numbers are scaled where nothing is said.
pub(super) fn default_scale(learner: &LearnerConfig) -> Scale {
    match learner {
        LearnerConfig::Linear(linear) if linear.optimizer == Optimizer::NormalizedAdaptive => {
            Scale::None
        }
        _ => Scale::Standard,
    }
}
