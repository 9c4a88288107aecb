//! `learnd eval`: figures of a file, without a daemon.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{learnd, write};

const CONFIG: &str = r#"
[sources.in]
type = "stdin"
format = "csv"
[models.y]
task = "binary"
label = "y"
[models.size]
task = "regression"
label = "size"
features = ["x", "z"]
[models.odd]
task = "anomaly"
label = "odd"
features = ["x", "z"]
budget = "5/1000 records"
"#;

/// Rows that a linear model learns; every 400th is far off.
fn rows(from: u64, to: u64) -> String {
    let mut out = String::from("x,z,colour,y,size,odd\n");
    for i in from..to {
        let mut random = learnd::math::Random::new(i);
        let odd = i % 400 == 399;
        let (x, z) = (
            random.normal(),
            random.normal() + if odd { 30.0 } else { 0.0 },
        );
        let y = u8::from(x - z.min(3.0) + 0.2 * random.normal() > 0.0);
        let size = 3.0 * x + z.min(3.0) + 10.0;
        let colour = ["red", "green", "blue"][random.below(3) as usize];
        out.push_str(&format!(
            "{x:.5},{z:.5},{colour},{y},{size:.5},{}\n",
            u8::from(odd)
        ));
    }
    out
}

fn eval(dir: &Path, arguments: &[&str]) -> Output {
    learnd()
        .current_dir(dir)
        .arg("eval")
        .args(arguments)
        .output()
        .expect("it runs")
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir.path().join("c.toml"), CONFIG);
    write(&dir.path().join("a.csv"), rows(0, 3000));
    write(&dir.path().join("t.csv"), rows(3000, 4000));
    dir
}

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn the_json_has_the_figures_of_every_task() {
    let dir = folder();
    let out = json(&eval(
        dir.path(),
        &[
            "c.toml", "a.csv", "--json", "--test", "t.csv", "--passes", "2",
        ],
    ));
    assert_eq!(out["lines"], 3000);
    assert_eq!(out["records"], 3000);
    assert_eq!(out["rejected"], 0);
    let y = &out["models"]["y"];
    assert_eq!(
        (&y["task"], &y["records"], &y["labelled"]),
        (&"binary".into(), &3000.into(), &3000.into())
    );
    assert!(y["progressive"]["accuracy"].as_f64() > Some(0.9), "{y}");
    assert!(y["progressive"]["auc"].as_f64() > Some(0.95), "{y}");
    assert!(y["progressive"]["loss"].as_f64() < y["progressive"]["baseline_loss"].as_f64());
    assert_eq!(y["passes"].as_array().map(Vec::len), Some(2));
    assert_eq!(y["test"]["records"], 1000);
    assert!(y["test"]["loss"].as_f64() < y["progressive"]["loss"].as_f64());
    assert!(
        out["models"]["size"]["progressive"]["r2"].as_f64() > Some(0.8),
        "{out}"
    );
    let odd = &out["models"]["odd"]["progressive"];
    assert!(odd["auc"].as_f64() > Some(0.95), "{odd}");
    assert!(odd["recall"].as_f64() > Some(0.5), "{odd}");
}

#[test]
fn the_table_doubles_its_step_and_two_runs_print_the_same() {
    let dir = folder();
    let run = || {
        let output = eval(dir.path(), &["c.toml", "a.csv"]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let rows: Vec<String> = text
            .lines()
            .filter(|l| l.ends_with("  size"))
            .map(|l| l.split_whitespace().nth(2).unwrap_or("").to_owned())
            .collect();
        let digest = text.split("digest ").nth(1).map(|t| t[..16].to_owned());
        (rows, digest)
    };
    let (rows, digest) = run();
    assert_eq!(rows[..4], ["1", "2", "4", "8"]);
    assert_eq!(rows.len(), 12);
    assert!(digest.is_some());
    assert_eq!(run().1, digest);
}

#[test]
fn predictions_come_one_a_record_and_model_and_a_saved_model_goes_on() {
    let dir = folder();
    let out = eval(
        dir.path(),
        &[
            "c.toml",
            "a.csv",
            "--json",
            "--predictions",
            "p.jsonl",
            "--save",
            "m.snap",
        ],
    );
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let predictions = std::fs::read_to_string(dir.path().join("p.jsonl")).expect("predictions");
    let events: Vec<Value> = predictions
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(events.len(), 9000);
    assert_eq!(events[0]["event"], "prediction");
    assert_eq!(events[2]["event"], "score");
    assert_eq!(events[8999]["seq"], 3000);
    let ids: std::collections::HashSet<&str> = events
        .iter()
        .filter_map(|e| e["event_id"].as_str())
        .collect();
    assert_eq!(ids.len(), 9000);

    let whole = json(&eval(
        dir.path(),
        &["c.toml", "a.csv", "t.csv", "--json", "--save", "w.snap"],
    ));
    assert_eq!(whole["records"], 4000);
    let went_on = eval(
        dir.path(),
        &[
            "c.toml", "t.csv", "--json", "--model", "m.snap", "--save", "n.snap",
        ],
    );
    assert!(
        went_on.status.success(),
        "{}",
        String::from_utf8_lossy(&went_on.stderr)
    );
    let digest = |name: &str| {
        let output = learnd()
            .current_dir(dir.path())
            .args(["inspect", "--digest", name])
            .output();
        String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
    };
    assert_eq!(digest("n.snap"), digest("w.snap"));
}

#[test]
fn what_cannot_be_evaluated_says_so_with_its_exit_code() {
    let dir = folder();
    assert_eq!(
        eval(dir.path(), &["c.toml", "nowhere.csv"]).status.code(),
        Some(2)
    );
    write(
        &dir.path().join("bad.csv"),
        "x,z,colour,y,size,odd\n1,2\n3,4\n",
    );
    let output = eval(dir.path(), &["c.toml", "bad.csv", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("bad.csv:2"), "{stderr}");
}
