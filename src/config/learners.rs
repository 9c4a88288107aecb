//! How a model learns or detects: `learner`, `update`, `detector`, `budget`, `level`.
//!
//! Invariant: a loss fits its task, and a model has either a learner or a detector that means
//! something.

use std::time::Duration;

use crate::alert::AlertConfig;
use crate::base::{Scale, Task};
use crate::decode::FormatConfig;
use crate::detect::DetectorConfig;
use crate::learn::{LearnerConfig, LinearConfig, Link, Loss, Optimizer, UpdateMode};

use super::dom::{Entry, Node, Place, Table, Value};
use super::section::{Elsewhere, Section, number_of, word_of, wrong_type};
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
    ("regularize_bias", "type = \"linear\""),
    ("tau", "loss = \"quantile\""),
    (
        "label_range",
        "optimizer = \"normalized_adaptive\", regression or binary",
    ),
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

/// A learner, and what it asks of the plan.
pub(super) struct Chosen {
    pub config: LearnerConfig,
    /// The constant is a feature of the hashed part.
    pub constant: bool,
}

impl Chosen {
    fn race() -> Chosen {
        Chosen {
            config: LearnerConfig::Race,
            constant: false,
        }
    }
}

/// Reads `learner`. Without a task that has one the result means nothing. `lines` is the format of
/// the model's sources where their lines bear labels of their own.
pub(super) fn learner(
    s: &mut Section<'_, '_>,
    task: Option<Task>,
    lines: Option<&FormatConfig>,
) -> Chosen {
    let Some(task) = task.filter(|t| *t != Task::Anomaly) else {
        return Chosen::race();
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
        None => Chosen::race(),
        Some(Choice::Word(node)) => match word_of(s.walk, "learner", node, &types, &later) {
            Some(true) => {
                let table = Table::default();
                let mut s = Section::new(s.walk, "learner", "`learner`".into(), &table, node.place);
                linear(&mut s, task, lines)
            }
            _ => Chosen::race(),
        },
        Some(Choice::Table(table, place)) => {
            let mut s = Section::new(s.walk, "learner", "`learner`".into(), table, place);
            let is_linear = s.word("type", &types, &later, None);
            let learner = match is_linear {
                Some(true) => linear(&mut s, task, lines),
                _ => Chosen::race(),
            };
            s.later(LATER);
            s.finish(LEARNER_ELSEWHERE, is_linear.is_some());
            learner
        }
    }
}

fn linear(s: &mut Section<'_, '_>, task: Task, lines: Option<&FormatConfig>) -> Chosen {
    let optimizers = [
        ("normalized_adaptive", Optimizer::NormalizedAdaptive),
        ("vw", Optimizer::NormalizedAdaptive),
        ("sgd", Optimizer::Sgd),
    ];
    let later = ["momentum", "adagrad", "rmsprop", "adam", "ftrl", "coin"];
    let mut optimizer = s
        .word(
            "optimizer",
            &optimizers,
            &later,
            Some("normalized_adaptive"),
        )
        .unwrap_or(Optimizer::NormalizedAdaptive);
    let adaptive = optimizer == Optimizer::NormalizedAdaptive;
    if !adaptive && lines.is_some() && task != Task::Multiclass {
        optimizer = Optimizer::SgdInRange;
    }
    let (rate, power_t) = if adaptive { (0.5, 0.5) } else { (0.01, 0.0) };
    let rate = s.number("learning_rate", Some(rate), Bound::Positive);
    let power_t = s.number("power_t", Some(power_t), Bound::Closed01);
    let start = if adaptive { 0.0 } else { 1.0 };
    let initial_t = s
        .number("initial_t", Some(start), Bound::NotNegative)
        .unwrap_or(start);
    if !adaptive && initial_t == 0.0 {
        let place = s.place_of("initial_t");
        let message = "with sgd `initial_t` must be above 0";
        s.walk.problem(place, message, "the default is 1.0");
    }
    if adaptive && task == Task::Multiclass {
        for (key, said) in [
            ("power_t", power_t != Some(0.5)),
            ("initial_t", initial_t != 0.0),
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
    let loss = loss(s, task);
    let link = link(s, task, loss, lines);
    let bias = s.boolean("bias", true);
    let is_vw = matches!(lines, Some(FormatConfig::Vw(_)));
    let regularized = s.boolean("regularize_bias", is_vw);
    let ranged = optimizer != Optimizer::Sgd && task != Task::Multiclass;
    let label_range = if ranged { label_range(s) } else { None };
    let config = LearnerConfig::Linear(LinearConfig {
        optimizer,
        loss,
        link,
        learning_rate: rate.unwrap_or(0.5),
        power_t: power_t.unwrap_or(0.5),
        initial_t,
        l2: s.number("l2", Some(0.0), Bound::NotNegative).unwrap_or(0.0),
        l1: s.number("l1", Some(0.0), Bound::NotNegative).unwrap_or(0.0),
        bias: bias && !regularized,
        label_range,
    });
    Chosen {
        config,
        constant: bias && regularized,
    }
}

fn label_range(s: &mut Section<'_, '_>) -> Option<(f64, f64)> {
    let shape = Shape::Array(Box::new(Shape::Number(Bound::Any)));
    let entry = s.get("label_range", shape, None)?;
    let example = "label_range = [0.0, 1.0]";
    let Value::Array(items) = &entry.node.value else {
        let wanted = "an array of two numbers";
        wrong_type(s.walk, "label_range", &entry.node, wanted, example);
        return None;
    };
    let ends: Vec<f64> = items
        .iter()
        .filter_map(|item| number_of(s.walk, "label_range", item, Bound::Any, Some("0.0")))
        .collect();
    match ends[..] {
        [low, high] if low < high => Some((low, high)),
        _ if ends.len() < items.len() => None,
        _ => {
            let message = "`label_range` must be two numbers, the lower first";
            s.walk
                .problem(entry.node.place, message, format!("as in {example}"));
            None
        }
    }
}

fn loss(s: &mut Section<'_, '_>, task: Task) -> Loss {
    let quantile = Loss::Quantile { tau: 0.5 };
    let losses = [
        ("squared", Loss::Squared),
        ("logistic", Loss::Logistic),
        ("softmax", Loss::Softmax),
        ("hinge", Loss::Hinge),
        ("quantile", quantile),
    ];
    let (names, fitting) = match task {
        Task::Binary => (
            "\"logistic\" or \"hinge\"",
            &[Loss::Logistic, Loss::Hinge][..],
        ),
        Task::Multiclass => ("\"softmax\"", &[Loss::Softmax][..]),
        Task::Regression | Task::Anomaly => (
            "\"squared\" or \"quantile\"",
            &[Loss::Squared, quantile][..],
        ),
    };
    let shape = Shape::Words(losses.iter().map(|l| l.0).collect());
    let Some(entry) = s.get("loss", shape, None) else {
        return fitting[0];
    };
    let later = ["huber", "poisson"];
    let found = word_of(s.walk, "loss", &entry.node, &losses, &later);
    match found {
        Some(loss) if loss == quantile && fitting.contains(&loss) => Loss::Quantile {
            tau: s.number("tau", Some(0.5), Bound::Open01).unwrap_or(0.5),
        },
        Some(loss) if fitting.contains(&loss) => loss,
        Some(_) => {
            s.walk.problem(
                entry.node.place,
                format!("this loss does not fit the task {}", task.as_str()),
                format!("the loss of {} is {names}", task.as_str()),
            );
            fitting[0]
        }
        None => fitting[0],
    }
}

fn link(s: &mut Section<'_, '_>, task: Task, loss: Loss, lines: Option<&FormatConfig>) -> Link {
    if task != Task::Binary {
        return Link::Identity;
    }
    let links = [("logistic", Link::Logistic), ("identity", Link::Identity)];
    let is_vw = matches!(lines, Some(FormatConfig::Vw(_)));
    let default = if is_vw || loss == Loss::Hinge {
        "identity"
    } else {
        "logistic"
    };
    let link = s
        .word("link", &links, &[], Some(default))
        .unwrap_or(Link::Logistic);
    if loss == Loss::Hinge && link == Link::Logistic {
        let place = s.place_of("link");
        let message = "the hinge loss gives no probabilities";
        s.walk.problem(
            place,
            message,
            "leave `link` out, or use loss = \"logistic\"",
        );
    }
    link
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
