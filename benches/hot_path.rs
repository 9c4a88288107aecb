//! Micro-benchmarks of the way of a record, stage by stage: `cargo bench --bench hot_path [FILTER]`.
//!
//! They print times and assert none; an item is a record (of `hash`: a name). Each runs over the
//! same seeded lines. Dense records are 20 numbers, sparse ones about 80 words of a vocabulary of
//! 50,000 in which the first are the most frequent.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;

use learnd::base::{Label, Micros, Scratch, Task};
use learnd::config::Config;
use learnd::decode::Decoded;
use learnd::detect::{Detector, DetectorConfig, Gauss, Metric, Monitor};
use learnd::engine::Pipeline;
use learnd::feature::{FieldLimits, FieldReader, LabelValue, NewNames, Plan, Record, RowBuffer};
use learnd::learn::{self, LearnerContext};
use learnd::math::{Random, hash64, hash128, murmur3_32};
use learnd::model::Mode;

use support::{Nobody, config, cut};

const LINES: usize = 2000;

fn main() {
    divan::main();
}

/// Twenty numbers and a linear teacher.
fn dense(format: &str) -> String {
    let mut random = Random::new(1);
    let teacher: Vec<f64> = (0..20).map(|_| random.normal()).collect();
    let mut out = String::new();
    if format == "csv" {
        let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
        out.push_str(&format!("y,{}\n", names.join(",")));
    }
    for _ in 0..LINES {
        let number = |_| (random.normal() * 1e4).round() / 1e4;
        let x: Vec<f64> = (0..20).map(number).collect();
        let y: f64 = x.iter().zip(&teacher).map(|(a, b)| a * b).sum();
        out.push_str(&line(format, y, x.iter().copied().enumerate()));
    }
    out
}

/// Words whose frequency falls with their number.
fn sparse(format: &str) -> String {
    let mut random = Random::new(1);
    let mut out = String::new();
    for _ in 0..LINES {
        let word = |_| 50_000f64.powf(random.uniform()) as usize;
        let mut words: Vec<usize> = (0..85).map(word).collect();
        words.sort_unstable();
        words.dedup();
        let y = if words.len().is_multiple_of(2) {
            1.0
        } else {
            -1.0
        };
        out.push_str(&line(format, y, words.into_iter().map(|w| (w, 1.0))));
    }
    out
}

fn line(format: &str, y: f64, fields: impl Iterator<Item = (usize, f64)>) -> String {
    let joined = |between: &str, field: &dyn Fn((usize, f64)) -> String| {
        fields.map(field).collect::<Vec<_>>().join(between)
    };
    match format {
        "json" => format!(
            "{{\"y\":{y:.4},{}}}\n",
            joined(",", &|(i, v)| format!("\"f{i}\":{v}"))
        ),
        "csv" => format!("{y:.4},{}\n", joined(",", &|(_, v)| v.to_string())),
        "vw" => format!("{y:.4} | {}\n", joined(" ", &|(i, v)| format!("f{i}:{v}"))),
        _ => format!(
            "{y:.4} {}\n",
            joined(" ", &|(i, v)| format!("{}:{v}", i + 1))
        ),
    }
}

/// `json-dense` and the like: the format and its lines.
fn stream(name: &str) -> (&str, String) {
    match name.split_once('-') {
        Some((format, "sparse")) => (format, sparse(format)),
        Some((format, _)) => (format, dense(format)),
        None => (name, dense(name)),
    }
}

/// The configuration of a stream with one model; the label is in the line or in `y`.
fn set_up(format: &str, model: &str) -> Config {
    let named = matches!(format, "json" | "csv") && !model.contains("anomaly");
    let label = if named { "\nlabel = \"y\"" } else { "" };
    config(format, &format!("{model}{label}"))
}

#[divan::bench(args = ["json", "csv", "vw"])]
fn frame(bencher: Bencher<'_, '_>, format: &str) {
    let config = set_up(format, "task = \"regression\"");
    let text = dense(format);
    bencher
        .counter(ItemsCount::new(LINES))
        .bench(|| cut(&config, divan::black_box(&text)));
}

#[divan::bench(args = [
    "json-dense", "json-sparse", "csv-dense", "vw-dense", "vw-sparse", "svmlight-dense", "svmlight-sparse",
])]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let (format, text) = stream(name);
    let config = set_up(format, "task = \"regression\"");
    let chunk = cut(&config, &text);
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
        assert_eq!(records, LINES);
    });
}

/// The lines of a stream as the rows of a model, with the plan that read them.
fn rows(name: &str, model: &str) -> (Config, Plan, Vec<RowBuffer>) {
    let (format, text) = stream(name);
    let config = set_up(format, model);
    let chunk = cut(&config, &text);
    let source = &config.sources[0];
    let mut reader = FieldReader::new(&FieldLimits::default());
    let mut names = reader.names(0);
    let mut new_names = NewNames::default();
    let mut record = Record::new();
    let mut plan = Plan::new(config.models[0].plan.clone());
    let mut decoder = source.format.decoder(&source.limits);
    decoder.start(None);
    let mut rows = Vec::new();
    for span in &chunk.lines {
        let decoded = decoder.decode(chunk.line(*span), &mut reader.sink(&mut record));
        reader.hand_over(&mut new_names);
        names.append(&new_names);
        if matches!(decoded, Ok(Decoded::Record)) {
            let mut row = RowBuffer::new();
            plan.extract(&record, &names, &mut row, true);
            rows.push(row);
        }
    }
    assert_eq!(rows.len(), LINES);
    (config, plan, rows)
}

/// From fields to a row: one record again and again.
#[divan::bench(args = ["json-dense", "json-sparse", "vw-dense", "vw-sparse"])]
fn extract(bencher: Bencher<'_, '_>, name: &str) {
    let (format, text) = stream(name);
    let config = set_up(format, "task = \"regression\"");
    let source = &config.sources[0];
    let mut reader = FieldReader::new(&FieldLimits::default());
    let mut names = reader.names(0);
    let mut new_names = NewNames::default();
    let mut record = Record::new();
    let mut decoder = source.format.decoder(&source.limits);
    let line = text.lines().next().expect("lines");
    let decoded = decoder.decode(line.as_bytes(), &mut reader.sink(&mut record));
    reader.hand_over(&mut new_names);
    names.append(&new_names);
    assert_eq!(decoded, Ok(Decoded::Record));
    let mut plan = Plan::new(config.models[0].plan.clone());
    let mut row = RowBuffer::new();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for _ in 0..LINES {
            plan.extract(divan::black_box(&record), &names, &mut row, true);
        }
    });
}

#[divan::bench(args = [4, 12, 40, 200])]
fn hash_murmur3(bencher: Bencher<'_, '_>, length: usize) {
    let name = vec![b'x'; length];
    bencher
        .counter(ItemsCount::new(1usize))
        .bench(|| murmur3_32(divan::black_box(&name), 7));
}

#[divan::bench(args = [4, 12, 40, 200])]
fn hash_64(bencher: Bencher<'_, '_>, length: usize) {
    let name = vec![b'x'; length];
    bencher
        .counter(ItemsCount::new(1usize))
        .bench(|| hash64(divan::black_box(&name), 7));
}

#[divan::bench(args = [4, 12, 40, 200])]
fn hash_128(bencher: Bencher<'_, '_>, length: usize) {
    let name = vec![b'x'; length];
    bencher
        .counter(ItemsCount::new(1usize))
        .bench(|| hash128(divan::black_box(&name), 7));
}

/// The label that a task takes from a quantity.
fn label(task: Task, y: f64) -> Label {
    match task {
        Task::Regression => Label::Number(y),
        Task::Multiclass => Label::Class(y.abs() as u32 % 5),
        _ => Label::Binary(y > 0.0),
    }
}

/// Predict, loss, learn.
#[divan::bench(args = [
    ("json-dense", "task = \"regression\""),
    ("json-dense", "task = \"binary\""),
    ("json-dense", "task = \"multiclass\""),
    ("json-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("json-dense", "task = \"binary\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("json-dense", "task = \"multiclass\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("json-dense", "task = \"binary\"\nlearner = { type = \"linear\", loss = \"hinge\" }"),
    ("json-dense", "task = \"regression\"\nlearner = { type = \"linear\", loss = \"quantile\" }"),
    ("json-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }"),
    ("json-dense", "task = \"binary\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }"),
    ("json-dense", "task = \"regression\"\nupdate = { mode = \"minibatch\", records = 32 }"),
    ("vw-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("vw-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }"),
    ("json-sparse", "task = \"binary\""),
    ("vw-sparse", "task = \"binary\""),
    ("vw-sparse", "task = \"binary\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
])]
fn learn(bencher: Bencher<'_, '_>, (name, model): (&str, &str)) {
    let (config, plan, rows) = rows(name, model);
    let model = &config.models[0];
    let context = LearnerContext {
        task: model.task,
        hash_bits: model.plan.hash_bits,
        max_classes: model.max_classes,
    };
    let mut learner = learn::build(&model.learner, model.update, &context);
    let mut scratch = Scratch::default();
    let quantity = |row: &RowBuffer| match row.label() {
        LabelValue::Number(y) => y,
        other => panic!("no label but {other:?}"),
    };
    let labels: Vec<Label> = rows
        .iter()
        .map(|row| label(model.task, quantity(row)))
        .collect();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut loss = 0.0;
        for (row, &y) in rows.iter().zip(&labels) {
            let x = row.row(&plan);
            let prediction = learner.predict_one(x, &mut scratch);
            loss += learner.loss(&prediction, y, &scratch);
            learner.learn_one(x, y, 1.0, &mut scratch);
        }
        loss
    });
}

/// A detector by itself: score, learn. `metric` looks at the first number alone.
#[divan::bench(args = ["metric", "gauss"])]
fn detect(bencher: Bencher<'_, '_>, which: &str) {
    let (_, plan, rows) = watched(which);
    let mut detector: Box<dyn Detector> = match which {
        "metric" => Box::new(Metric::new()),
        _ => Box::new(Gauss::new()),
    };
    let (mut scratch, mut now) = (Scratch::default(), 0);
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut sum = 0.0;
        for row in &rows {
            now += 1_000_000;
            let x = row.row(&plan);
            sum += detector.score_one(x, Micros(now), &mut scratch).raw;
            detector.learn_one(x, Micros(now), true, &mut scratch);
        }
        sum
    });
}

/// A detector with gate and calibrated p-value: judge, absorb.
#[divan::bench(args = ["metric", "gauss"])]
fn monitor(bencher: Bencher<'_, '_>, which: &str) {
    let (_, plan, rows) = watched(which);
    let mut monitor = Monitor::new(match which {
        "metric" => DetectorConfig::Metric,
        _ => DetectorConfig::Gauss,
    });
    let (mut scratch, mut now) = (Scratch::default(), 0);
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut sum = 0.0;
        for row in &rows {
            now += 1_000_000;
            let x = row.row(&plan);
            let judgement = monitor.judge(x, Micros(now), None, &mut scratch);
            sum += judgement.p_value;
            monitor.absorb(x, Micros(now), &judgement, None, None, &mut scratch);
        }
        sum
    });
}

fn watched(which: &str) -> (Config, Plan, Vec<RowBuffer>) {
    let one = "task = \"anomaly\"\nfeatures = [\"f0\"]";
    let all = "task = \"anomaly\"\nexclude = [\"y\"]";
    rows("json-dense", if which == "metric" { one } else { all })
}

/// Everything from the bytes of a chunk to a model that has learned.
#[divan::bench(args = [
    ("json-dense", "task = \"regression\""),
    ("json-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("json-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }"),
    ("json-dense", "task = \"anomaly\"\nexclude = [\"y\"]\ndetector = { type = \"gauss\" }"),
    ("json-sparse", "task = \"binary\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("vw-dense", "task = \"regression\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
    ("vw-sparse", "task = \"binary\"\nlearner = { type = \"linear\", optimizer = \"vw\" }"),
])]
fn whole(bencher: Bencher<'_, '_>, (name, model): (&str, &str)) {
    let (format, text) = stream(name);
    let config = set_up(format, model);
    let chunk = cut(&config, &text);
    let mut pipeline = Pipeline::new(&config);
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        pipeline.chunk(&chunk, Mode::Learn, &mut Nobody);
        pipeline.models_mut()[0].tally().clear();
    });
}
