//! What is shipped beside the binary agrees with the binary: every query of the dashboard and every
//! alert rule names a metric that is exported, every rule has a test, every example configuration
//! loads. The exported metrics are those of `tests/golden/metrics.txt`, which another test compares
//! with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Words of metric names: letters, digits, underscores, and the colons of recorded series.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
}

fn exported() -> BTreeSet<String> {
    let names: BTreeSet<String> = words(&read("tests/golden/metrics.txt"))
        .filter(|w| w.starts_with("learnd_") || w.starts_with("process_"))
        .map(str::to_owned)
        .collect();
    assert!(
        names.len() > 30,
        "only {} metrics in the golden file",
        names.len()
    );
    names
}

/// Whether a name is exported, as it is or as a part of a histogram.
fn known(exported: &BTreeSet<String>, name: &str) -> bool {
    exported.contains(name)
        || ["_bucket", "_sum", "_count"].iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|base| exported.contains(base))
        })
}

/// The names of `text` that start with `learnd_` and are not exported.
fn unknown<'a>(exported: &BTreeSet<String>, text: &'a str) -> BTreeSet<&'a str> {
    words(text)
        .filter(|w| w.starts_with("learnd_") && !known(exported, w))
        .collect()
}

/// Every string under a key of this name, anywhere in the document.
fn strings_under<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (k, v) in map {
                match v {
                    Value::String(s) if k == key => out.push(s),
                    _ => strings_under(v, key, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| strings_under(v, key, out)),
        _ => {}
    }
}

fn toml_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            toml_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "toml") {
            out.push(path);
        }
    }
}

#[test]
fn every_query_of_the_dashboard_names_exported_metrics() {
    let exported = exported();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/learnd.json")).expect("JSON");
    let mut queries = Vec::new();
    strings_under(&dashboard, "expr", &mut queries);
    strings_under(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 30, "only {} queries found", queries.len());
    for query in queries {
        let missing = unknown(&exported, query);
        assert!(
            missing.is_empty(),
            "{query}\n  names {missing:?}, which learnd does not export"
        );
        let any = words(query)
            .any(|w| w == "up" || w.starts_with("learnd_") || w.starts_with("process_"));
        assert!(any, "{query}\n  names no metric");
    }
}

#[test]
fn every_panel_of_the_dashboard_explains_itself_and_uses_the_chosen_data_source() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/learnd.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{title}: its id is taken"
        );
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["description"].as_str().is_some_and(|d| !d.is_empty()),
            "{title}: no description"
        );
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}: no query");
        assert!(
            targets
                .iter()
                .all(|t| t["datasource"]["uid"] == "${datasource}"),
            "{title}: a fixed data source"
        );
    }
}

#[test]
fn every_alert_rule_and_its_test_name_exported_metrics() {
    let exported = exported();
    for file in [
        "deploy/prometheus/learnd.rules.yml",
        "deploy/prometheus/learnd.rules.test.yml",
    ] {
        let text = read(file);
        // Groups are named like metrics; they are not series.
        let series: String = text
            .lines()
            .filter(|l| !l.contains("- name: "))
            .collect::<Vec<_>>()
            .join("\n");
        let missing = unknown(&exported, &series);
        assert!(
            missing.is_empty(),
            "{file} names {missing:?}, which learnd does not export"
        );
    }
}

#[test]
fn every_recorded_series_that_is_used_is_recorded() {
    let rules = read("deploy/prometheus/learnd.rules.yml");
    let recorded: BTreeSet<&str> = rules
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- record: "))
        .collect();
    for file in [
        "deploy/prometheus/learnd.rules.yml",
        "deploy/prometheus/learnd.rules.test.yml",
    ] {
        let text = read(file);
        for word in words(&text).filter(|w| w.contains(":learnd_")) {
            assert!(
                recorded.contains(word),
                "{file}: {word} is recorded by no rule"
            );
        }
    }
}

#[test]
fn every_alert_rule_has_a_test() {
    let rules = read("deploy/prometheus/learnd.rules.yml");
    let tests = read("deploy/prometheus/learnd.rules.test.yml");
    let tested: BTreeSet<&str> = tests
        .lines()
        .filter_map(|l| l.trim().strip_prefix("alertname: "))
        .collect();
    for alert in rules
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "))
    {
        assert!(
            tested.contains(alert),
            "{alert} has no case in learnd.rules.test.yml"
        );
    }
}

#[test]
fn every_shipped_configuration_passes_check() {
    let mut files = Vec::new();
    toml_files(&root().join("config"), &mut files);
    toml_files(&root().join("deploy"), &mut files);
    assert!(files.len() >= 6, "only {files:?}");
    for file in files {
        Command::new(env!("CARGO_BIN_EXE_learnd"))
            .arg("check")
            .arg(&file)
            .assert()
            .success()
            .stdout("")
            .stderr("");
    }
}
