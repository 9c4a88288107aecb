//! Micro-benchmarks of the way of a record: `cargo bench --bench hot_path`.
//!
//! They print times and assert none. Each runs over the same seeded lines.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;

use learnd::base::{Chunk, Cutter, Event, EventKinds, EventSink, Micros, StreamName};
use learnd::config::{Config, Overrides};
use learnd::decode::Decoded;
use learnd::engine::{Output, Pipeline, Rejection};
use learnd::feature::{FieldLimits, FieldReader, Record};
use learnd::math::Random;
use learnd::model::{Mode, Model};

const LINES: usize = 2000;

fn main() {
    divan::main();
}

struct Nobody;

impl EventSink for Nobody {
    fn wants(&self, _model: usize) -> EventKinds {
        EventKinds::default()
    }
    fn emit(&mut self, _model: usize, _event: &Event<'_>) {}
}

impl Output for Nobody {
    fn rejected(&mut self, _rejection: &Rejection<'_>) {}
    fn record_done(&mut self, _models: &[Model]) {}
}

/// Twenty numbers and a linear teacher.
fn lines(format: &str) -> String {
    let mut random = Random::new(1);
    let teacher: Vec<f64> = (0..20).map(|_| random.normal()).collect();
    let mut out = String::new();
    if format == "csv" {
        let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
        out.push_str(&format!("y,{}\n", names.join(",")));
    }
    for _ in 0..LINES {
        let x: Vec<f64> = (0..20)
            .map(|_| (random.normal() * 1e4).round() / 1e4)
            .collect();
        let y: f64 = x.iter().zip(&teacher).map(|(a, b)| a * b).sum::<f64>();
        if format == "csv" {
            let values: Vec<String> = x.iter().map(f64::to_string).collect();
            out.push_str(&format!("{y:.4},{}\n", values.join(",")));
        } else {
            let values: Vec<String> = x
                .iter()
                .enumerate()
                .map(|(i, v)| format!("\"f{i}\":{v}"))
                .collect();
            out.push_str(&format!("{{\"y\":{y:.4},{}}}\n", values.join(",")));
        }
    }
    out
}

fn config(format: &str, model: &str) -> Config {
    let source = [
        ("sources.in.type", "stdin".to_owned()),
        ("sources.in.format", format.to_owned()),
    ];
    let label = if model.contains("anomaly") {
        None
    } else {
        Some("label=y")
    };
    let model = model.split(';').chain(label).map(|part| {
        let (name, value) = part.split_once('=').expect("name=value");
        (format!("models.m.{name}"), value.to_owned())
    });
    let set = source
        .into_iter()
        .map(|(n, v)| (n.to_owned(), v))
        .chain(model)
        .collect();
    learnd::config::parse(
        "bench",
        "",
        &Overrides {
            set,
            env: Vec::new(),
        },
    )
    .unwrap_or_else(|report| panic!("{report}"))
}

fn cut(config: &Config, text: &str) -> Chunk {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    let mut cutter = Cutter::new(config.sources[0].format.framer(), 1 << 20, 0);
    cutter.push(text.as_bytes(), &mut bytes, &mut lines);
    Chunk {
        source: 0,
        received: Micros(0),
        stream: Arc::new(StreamName {
            number: 0,
            name: String::new(),
            identity: Vec::new(),
        }),
        start: 0,
        end: 0,
        last: false,
        bytes,
        lines,
    }
}

#[divan::bench(args = ["json", "csv"])]
fn frame(bencher: Bencher<'_, '_>, format: &str) {
    let config = config(format, "task=regression");
    let text = lines(format);
    bencher
        .counter(ItemsCount::new(LINES))
        .bench(|| cut(&config, divan::black_box(&text)));
}

#[divan::bench(args = ["json", "csv"])]
fn decode(bencher: Bencher<'_, '_>, format: &str) {
    let config = config(format, "task=regression");
    let chunk = cut(&config, &lines(format));
    let source = &config.sources[0];
    let limits = FieldLimits::default();
    let mut reader = FieldReader::new(&limits);
    let mut record = Record::new();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut decoder = source.format.decoder(&source.limits);
        decoder.start(None);
        let mut records = 0;
        for span in &chunk.lines {
            let mut sink = reader.sink(&mut record);
            let decoded = decoder.decode(chunk.line(*span), &mut sink);
            records += usize::from(matches!(decoded, Ok(Decoded::Record)));
        }
        records
    });
}

#[divan::bench(args = [
    "task=regression",
    "task=regression;learner.type=linear;learner.optimizer=vw",
    "task=regression;learner.type=linear;learner.optimizer=sgd",
    "task=anomaly;detector.type=gauss",
])]
fn whole(bencher: Bencher<'_, '_>, model: &str) {
    let config = config("json", model);
    let chunk = cut(&config, &lines("json"));
    let mut pipeline = Pipeline::new(&config);
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        pipeline.chunk(&chunk, Mode::Learn, &mut Nobody);
        pipeline.models_mut()[0].tally().clear();
    });
}
