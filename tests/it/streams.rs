//! The learners on the public streams of `../shared/data`: one pass, predicted before learned.
//! Skipped where the data is not there.

use std::io::Read as _;
use std::path::PathBuf;

use learnd::base::{Column, Label, Row, Scale, Scratch, Task};
use learnd::learn::{LearnerConfig, LearnerContext, Update, UpdateMode, build};

struct Stream {
    width: usize,
    rows: Vec<f64>,
    labels: Vec<f64>,
}

/// Reads a gzipped CSV; `None` where it is missing.
fn stream(path: &str, label: &str, drop: &[&str]) -> Option<Stream> {
    let data = std::env::var_os("LEARND_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let file = std::fs::File::open(data.join(path)).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("a gzipped text");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for line in lines {
        for (name, field) in header.iter().zip(line.split(',')) {
            if drop.contains(name) {
                continue;
            }
            let x: f64 = field.trim_end().parse().expect("a number");
            if *name == label {
                labels.push(x);
            } else {
                rows.push(x);
            }
        }
    }
    let width = rows.len() / labels.len();
    Some(Stream {
        width,
        rows,
        labels,
    })
}

/// Mean loss and accuracy of the race (accuracy: of probabilities at one half).
fn race(stream: &Stream, task: Task) -> (f64, f64) {
    let context = LearnerContext {
        task,
        hash_bits: 10,
        max_classes: 2,
    };
    let mut learner = build(&LearnerConfig::Race, UpdateMode::Online, &context);
    let columns = vec![
        Column {
            scale: Scale::Standard,
            clip: f64::INFINITY
        };
        stream.width
    ];
    let mut s = Scratch::default();
    let (mut loss, mut right) = (0.0, 0.0);
    for (dense, y) in stream.rows.chunks(stream.width).zip(&stream.labels) {
        let x = Row {
            base: 0.0,
            dense,
            columns: &columns,
            index: &[],
            value: &[],
        };
        let label = if task == Task::Binary {
            Label::Binary(*y > 0.0)
        } else {
            Label::Number(*y)
        };
        let p = learner.predict_one(x, &mut s);
        loss += learner.loss(&p, label, &s);
        right += f64::from(u8::from((p.value > 0.5) == (*y > 0.0)));
        let update = learner.learn_one(x, label, 1.0, &mut s);
        assert!(matches!(update, Update::Learned { norm } if norm.is_finite()));
    }
    let n = stream.labels.len() as f64;
    (loss / n, right / n)
}

/// The bounds are what Vowpal Wabbit's defaults and River's scaled linear models reach on the same
/// records in the same order, the better of the two, plus two percent.
#[test]
fn the_race_is_level_with_the_better_peer_on_every_stream() {
    for (path, label, task, bound) in [
        ("streams/elec.csv.gz", "class", Task::Binary, 0.25),
        (
            "streams/phishing.csv.gz",
            "target",
            Task::Binary,
            1.02 * 0.147,
        ),
        (
            "streams/sea_stream.csv.gz",
            "class",
            Task::Binary,
            1.02 * 0.427,
        ),
        (
            "regression/bike_hour.csv.gz",
            "cnt",
            Task::Regression,
            1.02 * 32352.0,
        ),
        (
            "regression/power_plant.csv.gz",
            "PE",
            Task::Regression,
            1.02 * 45.12,
        ),
    ] {
        let drop = ["casual", "registered", "instant", "dteday"];
        let Some(stream) = stream(path, label, &drop) else {
            eprintln!("skipped: {path} is not there (LEARND_DATA)");
            return;
        };
        let (loss, accuracy) = race(&stream, task);
        eprintln!("{path}: loss {loss:.4} accuracy {accuracy:.4}");
        assert!(loss <= bound, "{path}: {loss} is above {bound}");
        if path.contains("elec") {
            assert!(accuracy >= 0.90, "elec: accuracy {accuracy}");
        }
    }
}
