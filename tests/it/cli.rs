//! The command line as scripts see it: what goes to stdout and to stderr, exit codes, and figures
//! compared with those reckoned again from the predictions.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{learnd, write};

const CONFIG: &str = r#"
[sources.in]
type = "stdin"
[models.yes]
task = "binary"
label = "y"
weight = "w"
features = ["x", "z"]
[models.size]
task = "regression"
label = "size"
weight = "w"
features = ["x", "z"]
[models.kind]
task = "multiclass"
label = "kind"
weight = "w"
features = ["x", "z"]
[models.odd]
task = "anomaly"
label = "odd"
features = ["x", "z"]
level = 1e-3
"#;
const MODELS: usize = 4;

/// Records with every sort of trouble a label and a weight can have.
fn rows(from: u64, to: u64) -> String {
    let mut out = String::new();
    for i in from..to {
        let mut random = learnd::math::Random::new(i);
        let odd = i % 150 == 149;
        let (x, z) = (random.normal(), random.normal());
        let z = if odd { z + 30.0 } else { z };
        let y = match i % 10 {
            3 => "null".to_owned(),
            4 => "\"perhaps\"".to_owned(),
            _ => (x > z.min(2.0)).to_string(),
        };
        let size = 3.0 * x + z.min(2.0) + 5.0;
        let kind = ["\"a\"", "7", "true"][(x.clamp(-1.0, 1.0) + 1.4) as usize];
        let weight = match i % 25 {
            8 => -1.0,
            9 => 0.0,
            k => [0.5, 1.0, 2.0][k as usize % 3],
        };
        out += &format!(
            r#"{{"x":{x},"z":{z},"y":{y},"size":{size},"kind":{kind},"odd":{odd},"w":{weight}}}"#
        );
        out.push('\n');
    }
    out
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir.path().join("c.toml"), CONFIG);
    write(&dir.path().join("a.jsonl"), rows(0, 1200));
    write(&dir.path().join("t.jsonl"), rows(1200, 1500));
    dir
}

/// Runs the program in a folder; words are separated by spaces.
fn run(dir: &Path, words: &str) -> Output {
    learnd()
        .current_dir(dir)
        .args(words.split(' '))
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert_eq!(out.matches('\n').count(), 1, "one line: {out}");
    serde_json::from_str(&out).expect("one JSON object")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a readable file");
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

/// The events of one model with the weights of their records, those that count in its figures.
fn counted<'a>(events: &'a [Value], records: &[Value], model: &str) -> Vec<(&'a Value, f64)> {
    let of_model = events.iter().filter(|e| e["model"] == model);
    of_model
        .zip(records)
        .filter(|(event, _)| event.get("label").is_some())
        .map(|(event, record)| (event, record["w"].as_f64().expect("a weight")))
        .filter(|(_, weight)| *weight > 0.0)
        .collect()
}

fn mean(of: &[(&Value, f64)], what: impl Fn(&Value) -> f64) -> f64 {
    let sum: f64 = of.iter().map(|(event, weight)| weight * what(event)).sum();
    sum / of.iter().map(|(_, weight)| weight).sum::<f64>()
}

fn number(event: &Value, name: &str) -> f64 {
    event[name].as_f64().expect("a number")
}

fn close(figures: &Value, name: &str, want: f64, tolerance: f64) {
    let got = number(figures, name);
    assert!((got - want).abs() <= tolerance, "{name}: {got}, not {want}");
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Checks the figures of a part of an evaluation against its predictions.
fn figures_follow_from(events: &[Value], records: &[Value], figures: impl Fn(&str) -> Value) {
    let of = counted(events, records, "yes");
    let said = |e: &Value| number(e, "prediction") > 0.5;
    let log_loss = |e: &Value| {
        let p = number(e, "prediction");
        -(if e["label"] == 1 { p } else { 1.0 - p }).ln()
    };
    let yes = figures("yes");
    assert_eq!(yes["records"], of.len());
    close(&yes, "loss", mean(&of, |e| number(e, "loss")), 1e-9);
    close(&yes, "loss", mean(&of, log_loss), 1e-9);
    let right = mean(&of, |e| flag(said(e) == (e["label"] == 1)));
    close(&yes, "accuracy", right, 1e-9);
    let hits = mean(&of, |e| flag(said(e) && e["label"] == 1));
    let wrong = 1.0 - right;
    close(&yes, "f1", 2.0 * hits / (2.0 * hits + wrong), 1e-9);
    let (mut ordered, mut pairs) = (0.0, 0.0);
    for (a, u) in of.iter().filter(|(e, _)| e["label"] == 1) {
        for (b, v) in of.iter().filter(|(e, _)| e["label"] == 0) {
            let ahead = number(a, "prediction") - number(b, "prediction");
            ordered += u * v * if ahead == 0.0 { 0.5 } else { flag(ahead > 0.0) };
            pairs += u * v;
        }
    }
    close(&yes, "auc", ordered / pairs, 5e-3);

    let of = counted(events, records, "size");
    let error = |e: &Value| number(e, "prediction") - number(e, "label");
    let size = figures("size");
    let squared = mean(&of, |e| error(e) * error(e));
    close(&size, "loss", squared, 1e-6);
    close(&size, "rmse", squared.sqrt(), 1e-6);
    close(&size, "mae", mean(&of, |e| error(e).abs()), 1e-6);
    let middle = mean(&of, |e| number(e, "label"));
    let spread = mean(&of, |e| (number(e, "label") - middle).powi(2));
    close(&size, "r2", 1.0 - squared / spread, 1e-6);

    let of = counted(events, records, "kind");
    let kind = figures("kind");
    let right = mean(&of, |e| flag(e["prediction"] == e["label"]));
    close(&kind, "accuracy", right, 1e-9);
    close(&kind, "loss", mean(&of, |e| number(e, "loss")), 1e-9);
    let f1 = |class: &str| {
        let right = mean(&of, |e| {
            flag(e["prediction"] == class && e["label"] == class)
        });
        let either = mean(&of, |e| {
            flag(e["prediction"] == class) + flag(e["label"] == class)
        });
        2.0 * right / either
    };
    close(
        &kind,
        "macro_f1",
        (f1("a") + f1("7") + f1("true")) / 3.0,
        1e-9,
    );

    let scores: Vec<&Value> = events.iter().filter(|e| e["model"] == "odd").collect();
    let odd = figures("odd");
    let flagged = scores.iter().filter(|e| e["anomaly"] == true).count();
    assert_eq!(
        (&odd["flagged"], &odd["records"]),
        (&flagged.into(), &records.len().into())
    );
    let pairs = || scores.iter().zip(records);
    let found = pairs()
        .filter(|(e, r)| e["anomaly"] == true && r["odd"] == true)
        .count();
    let there = records.iter().filter(|r| r["odd"] == true).count();
    close(&odd, "precision", found as f64 / flagged as f64, 1e-9);
    close(&odd, "recall", found as f64 / there as f64, 1e-9);
}

#[test]
fn figures_are_those_of_the_predictions_one_pass_after_a_snapshot_and_in_a_test() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let (train, test) = (lines(&path("a.jsonl")), lines(&path("t.jsonl")));
    let out = json(&run(
        dir.path(),
        "eval c.toml a.jsonl --json --test t.jsonl --predictions p --save m",
    ));
    let events = lines(&path("p"));
    assert_eq!(events.len(), (train.len() + test.len()) * MODELS);
    let (first, tested) = events.split_at(train.len() * MODELS);
    let of = |part: &'static str| {
        let models = out["models"].clone();
        move |model: &str| models[model][part].clone()
    };
    figures_follow_from(first, &train, of("progressive"));
    figures_follow_from(tested, &test, of("test"));
    let labelled = |model: &str| out["models"][model]["labelled"].as_u64();
    assert_eq!(labelled("odd"), Some(1200));
    assert_eq!(
        labelled("yes"),
        out["models"]["yes"]["progressive"]["records"].as_u64()
    );

    // What came before the snapshot is in the model, not in the figures.
    let went_on = json(&run(
        dir.path(),
        "eval c.toml t.jsonl --json --model m --predictions q",
    ));
    let yes = &went_on["models"]["yes"];
    assert_eq!(
        (&went_on["records"], &yes["records"]),
        (&300.into(), &300.into())
    );
    let models = went_on["models"].clone();
    let progressive = move |model: &str| models[model]["progressive"].clone();
    figures_follow_from(&lines(&path("q")), &test, progressive);
}

#[test]
fn every_pass_has_figures_of_its_own_and_tested_records_numbers_of_their_own() {
    let dir = folder();
    let out = json(&run(
        dir.path(),
        "eval c.toml a.jsonl --json --passes 3 --test t.jsonl --predictions p",
    ));
    for name in ["yes", "size", "kind", "odd"] {
        let model = &out["models"][name];
        assert_eq!(model["records"], 1200);
        let passes = model["passes"].as_array().expect("a list");
        assert_eq!((passes.len(), &passes[0]), (3, &model["progressive"]));
        assert!(passes.iter().all(|p| p["records"] == passes[0]["records"]));
    }
    let flagged = |pass: usize| out["models"]["odd"]["passes"][pass]["flagged"].as_u64();
    assert!(flagged(2) < Some(40), "not added up over the passes: {out}");
    let events = lines(&dir.path().join("p"));
    let ids: std::collections::HashSet<String> =
        events.iter().map(|e| e["event_id"].to_string()).collect();
    assert_eq!(ids.len(), 1500 * MODELS);
    assert_eq!(events[1500 * MODELS - 1]["seq"], 3900);
}

#[test]
fn a_class_is_not_said_before_any_was_seen() {
    let dir = folder();
    let done = run(dir.path(), "eval c.toml a.jsonl --json --predictions p");
    assert!(done.status.success());
    let events = lines(&dir.path().join("p"));
    let first = events.iter().find(|e| e["model"] == "kind").expect("one");
    assert_eq!(first["prediction"], Value::Null, "{first}");
}

#[test]
fn the_table_has_the_columns_of_vowpal_wabbit() {
    let dir = folder();
    let words = "eval c.toml a.jsonl --set models={yes={task=\"binary\",label=\"y\"}}";
    let out = text(&run(dir.path(), words).stdout);
    let rows: Vec<Vec<&str>> = out
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let counters: Vec<&str> = rows[2..].iter().map(|row| row[2]).collect();
    let doubled = [
        "1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024",
    ];
    assert_eq!(counters, doubled);
    assert_eq!(rows[0].last(), Some(&"current"));
    assert_eq!(rows[1].last(), Some(&"features"));
    // x, z, size, w, odd, the class of the kind or its number, and the constant.
    assert_eq!(rows[2].last(), Some(&"7"));
}

#[test]
fn exit_codes_tell_usage_rubbish_and_storage_apart() {
    let dir = folder();
    write(&dir.path().join("blank"), "\n\r\n\n");
    write(&dir.path().join("rubbish"), "[1]\n\n{\n");
    assert!(std::fs::create_dir(dir.path().join("empty")).is_ok());
    let cases = [
        (2, "eval c.toml nowhere"),
        (2, "eval c.toml empty"),
        (2, "eval c.toml a.jsonl --test nowhere"),
        (2, "eval c.toml a.jsonl --model nowhere"),
        (2, "eval c.toml a.jsonl --model empty"),
        (2, "eval c.toml a.jsonl --save nowhere/m"),
        (2, "eval c.toml a.jsonl --save empty"),
        (2, "eval c.toml a.jsonl --predictions nowhere/p"),
        (2, "eval c.toml a.jsonl --source other"),
        (2, "eval c.toml - -"),
        (2, "eval c.toml - --passes 2"),
        (2, "eval c.toml - --test -"),
        (2, "eval nowhere.toml a.jsonl"),
        (2, "check c.toml --set models.yes.hash_bitz=3"),
        (2, "run nowhere.toml"),
        (2, "inspect nowhere"),
        (2, "inspect empty"),
        (1, "eval c.toml rubbish"),
        (3, "eval c.toml a.jsonl --model rubbish"),
        (3, "inspect rubbish"),
        (4, "eval c.toml a.jsonl --json --predictions /dev/full"),
    ];
    for (code, words) in cases {
        let output = run(dir.path(), words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {stderr}");
        assert!(
            output.stdout.is_empty(),
            "{words}: {}",
            text(&output.stdout)
        );
        assert!(!stderr.is_empty(), "{words}");
    }
    // Nothing was wrong with these lines: there was just nothing in them.
    let blank = json(&run(dir.path(), "eval c.toml blank --json"));
    assert_eq!((&blank["lines"], &blank["records"]), (&3.into(), &0.into()));
    assert_eq!(
        blank["models"]["odd"]["test"],
        serde_json::json!({"records": 0})
    );
}

#[test]
fn a_reader_of_stdout_that_goes_away_is_no_failure() {
    let dir = folder();
    for words in [
        "eval c.toml a.jsonl",
        "reference",
        "man",
        "check c.toml --print",
    ] {
        let mut child = learnd()
            .current_dir(dir.path())
            .args(words.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words}: {stderr}");
        assert!(stderr.is_empty(), "{words}: {stderr}");
    }
}

#[test]
fn standard_input_and_odd_line_ends_are_read_as_files_are() {
    let dir = folder();
    let expected = json(&run(dir.path(), "eval c.toml t.jsonl --json"));
    let crlf = rows(1200, 1500).replace('\n', "\r\n");
    let input = format!("\u{feff}{}", crlf.trim_end());
    let mut child = learnd()
        .current_dir(dir.path())
        .args(["eval", "c.toml", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let got = json(&child.wait_with_output().expect("it ends"));
    assert_eq!(got["models"], expected["models"]);
}

#[test]
fn a_broken_csv_header_refuses_its_file_and_no_other() {
    let dir = folder();
    let config =
        "[sources.in]\ntype = \"stdin\"\nformat = \"csv\"\n[models.m]\ntask = \"anomaly\"\n";
    write(&dir.path().join("csv.toml"), config);
    write(&dir.path().join("bad.csv"), "a,a\n1,2\n3,4\n");
    write(&dir.path().join("good.csv"), "a,b\n1,2\n3,4");
    let out = json(&run(dir.path(), "eval csv.toml bad.csv good.csv --json"));
    let counts = ["lines", "records", "rejected"].map(|name| out[name].as_u64());
    assert_eq!(counts, [Some(5), Some(2), Some(3)]);
    assert_eq!(
        run(dir.path(), "eval csv.toml bad.csv").status.code(),
        Some(1)
    );
}

#[test]
fn check_says_nothing_of_a_good_file_and_prints_one_that_is_good() {
    let dir = folder();
    let quiet = run(dir.path(), "check c.toml");
    assert_eq!(quiet.status.code(), Some(0));
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty());
    let printed = run(
        dir.path(),
        "check c.toml --print --set models.yes.hash_bits=20",
    );
    assert!(text(&printed.stdout).contains("hash_bits = 20"));
    write(&dir.path().join("printed.toml"), &printed.stdout);
    assert_eq!(run(dir.path(), "check printed.toml").status.code(), Some(0));
    let env = learnd()
        .current_dir(dir.path())
        .args(["check", "c.toml", "--print"])
        .env("LEARND_MODELS__YES__HASH_BITS", "21")
        .output();
    assert!(text(&env.expect("it runs").stdout).contains("hash_bits = 21"));
}

#[test]
fn settings_that_would_do_nothing_are_refused() {
    let dir = folder();
    let learner = "--set models.kind.learner={type=\"linear\",";
    for (code, rest) in [
        (0, "power_t=0.5}"),
        (2, "power_t=0.3}"),
        (2, "initial_t=2.0}"),
        (0, "optimizer=\"sgd\",power_t=0.3}"),
    ] {
        let output = run(dir.path(), &format!("check c.toml {learner}{rest}"));
        assert_eq!(output.status.code(), Some(code), "{rest}");
    }
}
