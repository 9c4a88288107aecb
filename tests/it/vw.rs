//! Vowpal Wabbit's text format and learners: the same lines give the same predictions.
//!
//! Method: `tests/reference/vw_text.py` wrote lines and what version 9.11.9 predicts of them.
//! Predictions must agree within 1e-4 of their size or 2e-6, average losses to five digits.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use learnd::base::{Chunk, Cutter, Event, EventKind, EventKinds, EventSink, Micros, StreamName};
use learnd::config::{Config, Overrides};
use learnd::engine::{Output, Pipeline, Rejection};
use learnd::model::{Mode, Model};

use crate::support::Daemon;

/// Cases of the script: name, task, keys of the source, of the model, of the learner.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("squared", "", "", ""),
    ("squared_q", "", "interactions = [[\"a\", \"b\"]]", ""),
    ("squared_qaa", "", "interactions = [[\"a\", \"a\"]]", ""),
    (
        "squared_cubic",
        "",
        "interactions = [[\"alpha\", \"b\", \"a\"], [\"b\", \"a\"]]",
        "",
    ),
    ("squared_all", "hash = \"all\"", "hash_bits = 10", ""),
    (
        "squared_power",
        "",
        "",
        "power_t = 0.4, learning_rate = 0.3, initial_t = 1",
    ),
    ("squared_penalized", "", "", "l1 = 1e-4, l2 = 1e-4"),
    (
        "squared_range",
        "",
        "",
        "label_range = [-1, 2], bias = false",
    ),
    (
        "squared_sgd",
        "",
        "interactions = [[\"a\", \"b\"]]",
        "optimizer = \"sgd\", learning_rate = 0.005, power_t = 0.5",
    ),
    (
        "squared_sgd_penalized",
        "",
        "",
        "optimizer = \"sgd\", learning_rate = 0.005, l1 = 1e-4, l2 = 1e-3",
    ),
    ("quantile", "", "", "loss = \"quantile\", tau = 0.3"),
    (
        "quantile_q",
        "",
        "interactions = [[\"a\", \"b\"]]",
        "loss = \"quantile\"",
    ),
    (
        "quantile_sgd",
        "",
        "",
        "loss = \"quantile\", tau = 0.7, optimizer = \"sgd\", learning_rate = 0.05, power_t = 0.5",
    ),
    ("logistic", "", "", "loss = \"logistic\""),
    (
        "logistic_q",
        "",
        "hash_bits = 12\ninteractions = [[\"a\", \"b\"]]",
        "loss = \"logistic\"",
    ),
    (
        "logistic_penalized",
        "",
        "",
        "loss = \"logistic\", l1 = 1e-4, l2 = 1e-4",
    ),
    (
        "logistic_sgd",
        "",
        "",
        "loss = \"logistic\", optimizer = \"sgd\", learning_rate = 0.05, power_t = 0.5, initial_t = 4",
    ),
    ("hinge", "", "", "loss = \"hinge\""),
    (
        "hinge_q",
        "",
        "interactions = [[\"a\", \"b\"]]",
        "loss = \"hinge\"",
    ),
    (
        "hinge_sgd",
        "",
        "",
        "loss = \"hinge\", optimizer = \"sgd\", learning_rate = 0.01, power_t = 0.5",
    ),
];

/// Average losses that version 9.11.9 prints for the first 1,000 documents of RCV1.
const RCV1: &[(&str, f64)] = &[
    ("loss = \"logistic\"", 0.429_393),
    ("loss = \"hinge\"", 0.558_362),
];

/// Keeps what is predicted, with the id.
#[derive(Default)]
struct Predictions {
    all: Vec<(f64, Option<String>)>,
    refused: usize,
}

impl EventSink for Predictions {
    fn wants(&self, _model: usize) -> EventKinds {
        EventKinds::default().with(EventKind::Prediction)
    }
    fn emit(&mut self, _model: usize, event: &Event<'_>) {
        if let Event::Prediction {
            head, prediction, ..
        } = event
        {
            self.all.push((*prediction, head.id.map(str::to_owned)));
        }
    }
}

impl Output for Predictions {
    fn rejected(&mut self, _rejection: &Rejection<'_>) {
        self.refused += 1;
    }
    fn record_done(&mut self, _models: &[Model]) {}
}

fn parse(text: &str) -> Config {
    learnd::config::parse("test", text, &Overrides::default())
        .unwrap_or_else(|report| panic!("{report}\n{text}"))
}

fn config(task: &str, source: &str, model: &str, learner: &str) -> Config {
    let comma = if learner.is_empty() { "" } else { ", " };
    parse(&format!(
        "[sources.in]\ntype = \"stdin\"\nformat = \"vw\"\nmax_fields = 4096\n{source}\n[models.m]\n\
         task = \"{task}\"\n{model}\nlearner = {{ type = \"linear\"{comma}{learner} }}\n"
    ))
}

/// Everything that one pipeline says of the lines.
fn learn(config: &Config, text: &[u8]) -> (Pipeline, Predictions) {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    let mut cutter = Cutter::new(config.sources[0].format.framer(), 1 << 20, 0);
    cutter.push(text, &mut bytes, &mut lines);
    let chunk = Chunk {
        source: 0,
        received: Micros(0),
        stream: Arc::new(StreamName {
            number: 0,
            name: "test".into(),
            identity: Vec::new(),
        }),
        start: 0,
        end: text.len() as u64,
        last: false,
        bytes,
        lines,
    };
    let mut pipeline = Pipeline::new(config);
    let mut out = Predictions::default();
    pipeline.chunk(&chunk, Mode::Learn, &mut out);
    (pipeline, out)
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/reference")
        .join(name)
}

fn average(pipeline: &Pipeline) -> f64 {
    let (sum, weight) = pipeline.models()[0].loss_so_far();
    sum / weight
}

#[test]
fn the_same_lines_give_the_same_predictions_and_losses() {
    let averages = fs::read_to_string(reference("vw_text.csv")).expect("averages");
    assert_eq!(averages.lines().count(), CASES.len());
    let mut failed = Vec::new();
    for (line, (name, source, model, learner)) in averages.lines().zip(CASES) {
        let (of, want) = line.split_once(',').expect("name,average");
        assert_eq!(of, *name);
        let (kind, task) = if name.starts_with('l') || name.starts_with('h') {
            ("binary", "binary")
        } else {
            ("regression", "regression")
        };
        let text = fs::read(reference(&format!("vw_{kind}.vw"))).expect("lines");
        let (pipeline, said) = learn(&config(task, source, model, learner), &text);
        let wanted = fs::read_to_string(reference(&format!("vw_{name}.csv"))).expect("predictions");
        assert_eq!(
            (said.refused, said.all.len()),
            (0, wanted.lines().count()),
            "{name}"
        );
        for (i, (wanted, (got, id))) in wanted.lines().zip(&said.all).enumerate() {
            let (number, tag) = wanted
                .split_once(' ')
                .map_or((wanted, None), |(n, t)| (n, Some(t)));
            let want: f64 = number.parse().expect("a number");
            let near = (got - want).abs() <= (1e-4 * want.abs()).max(2e-6);
            if !near || id.as_deref() != tag {
                failed.push(format!("{name} line {}: {got} {id:?}, not {wanted}", i + 1));
                break;
            }
        }
        let (got, want) = (average(&pipeline), want.parse::<f64>().expect("a number"));
        if (got - want).abs() > 1e-5 * want {
            failed.push(format!("{name}: average loss {got}, not {want}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_public_text_corpus_gives_the_same_average_loss() {
    let shared = std::env::var_os("LEARND_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let Ok(file) = fs::File::open(shared.join("rcv1/rcv1_small.dat.gz")) else {
        println!("skipped: there is no rcv1/rcv1_small.dat.gz");
        return;
    };
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut text).expect("gzip");
    for (learner, want) in RCV1 {
        let (pipeline, said) = learn(&config("binary", "", "", learner), &text);
        assert_eq!(said.refused, 0);
        let got = average(&pipeline);
        assert!(
            (got - want).abs() <= 1e-5 * want,
            "{learner}: {got}, not {want}"
        );
    }
}

#[test]
fn a_client_of_vowpal_wabbit_is_answered_line_for_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(
        dir.path(),
        "[sources.in]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"vw\"\nreply = \"prediction\"\n\
         [models.m]\ntask = \"regression\"\nlearner = { type = \"linear\", optimizer = \"vw\" }\n",
    );
    let text = fs::read_to_string(reference("vw_regression.vw")).expect("lines");
    let wanted = fs::read_to_string(reference("vw_squared.csv")).expect("predictions");
    let mut client = TcpStream::connect(daemon.tcp()).expect("the source listens");
    // Before the lines one that is refused and one that is blank.
    client.write_all(b"one |a x\n\n").expect("it reads");
    client.write_all(text.as_bytes()).expect("it reads");
    client.shutdown(std::net::Shutdown::Write).expect("open");
    let answers: Vec<String> = BufReader::new(client)
        .lines()
        .collect::<Result<_, _>>()
        .expect("answers");
    assert_eq!(answers[0], "nan");
    assert_eq!(answers.len(), 1 + wanted.lines().count());
    for (got, want) in answers[1..].iter().zip(wanted.lines()) {
        let (got, want): (Vec<&str>, Vec<&str>) =
            (got.split(' ').collect(), want.split(' ').collect());
        assert_eq!(got[1..], want[1..]);
        let number = |text: &str| text.parse::<f64>().expect("a number");
        let (x, y) = (number(got[0]), number(want[0]));
        assert!((x - y).abs() <= (1e-4 * y.abs()).max(2e-6), "{x} {y}");
        assert_eq!(got[0].contains('.'), want[0].contains('.'));
    }
}

#[test]
fn weights_bear_the_names_of_namespace_and_feature() {
    let config = config("regression", "", "interactions = [[\"a\", \"b\"]]", "");
    let (pipeline, _) = learn(&config, b"1 |alpha x col:red |beta y:2 :3\n2 | free\n");
    let described = pipeline.models()[0].describe();
    let weights = described["weights"].as_array().expect("weights");
    let names = weights.iter().filter_map(|w| w["feature"].as_str());
    let names: Vec<&str> = names.collect();
    for name in [
        "alpha^x",
        "alpha^col^red",
        "beta^y",
        "alpha^x*beta^y",
        "alpha^col^red*beta^y",
        "free",
        "(constant)",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

#[test]
fn svmlight_lines_are_those_of_vowpal_wabbit_with_numbers_for_names() {
    let mut random = learnd::math::Random::new(5);
    let (mut sparse, mut text) = (String::new(), String::new());
    for _ in 0..200 {
        let pairs: Vec<String> = (0..5)
            .map(|_| format!("{}:{:.3}", random.below(50), random.normal()))
            .collect();
        let (label, pairs) = (random.below(2) * 2, pairs.join(" "));
        sparse.push_str(&format!("{} {pairs} # a comment\n", label as i64 - 1));
        text.push_str(&format!("{} | {pairs}\n", label as i64 - 1));
    }
    let like_vw = parse(
        "[sources.in]\ntype = \"stdin\"\nformat = \"svmlight\"\n[models.m]\ntask = \"binary\"\n\
         learner = { type = \"linear\", link = \"identity\", regularize_bias = true }\n",
    );
    let (_, sparse) = learn(&like_vw, sparse.as_bytes());
    let (_, text) = learn(&config("binary", "", "", ""), text.as_bytes());
    assert_eq!((sparse.refused, sparse.all.len()), (0, 200));
    assert_eq!(sparse.all, text.all);
}

#[test]
fn a_record_of_too_many_interactions_is_skipped_and_counted() {
    let config = config(
        "regression",
        "",
        "interactions = [[\"a\", \"a\", \"a\"]]",
        "",
    );
    let features: String = (0..300).map(|i| format!(" f{i}")).collect();
    let (pipeline, said) = learn(&config, format!("1 |a{features}\n1 |a x\n").as_bytes());
    let counts = pipeline.models()[0].counts();
    assert_eq!((counts.learned, counts.skipped), (1, 1));
    assert_eq!(said.all.len(), 2);
}
