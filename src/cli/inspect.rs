//! `learnd inspect`: what is in a snapshot.
//!
//! Invariant: reads only; takes no lock, so it works beside a running daemon.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::state::{self, Snapshot};

use super::args::InspectArgs;
use super::{Failure, print};

/// Prints a snapshot's contents, its digest, or all of it as JSON.
pub(super) fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let (snapshot, path) = state::load_path(&args.snapshot)
        .map_err(|error| Failure::new(error.exit_code(), error.to_string()))?;
    if args.digest {
        return print(&format!("{}\n", snapshot.digest()));
    }
    let value = describe(&snapshot, &path);
    if args.json {
        return print(&format!("{value:#}\n"));
    }
    print(&text(&value))
}

fn describe(snapshot: &Snapshot, path: &Path) -> Value {
    let models: Vec<Value> = snapshot
        .models
        .iter()
        .map(|model| {
            serde_json::from_str(&model.summary).unwrap_or_else(|_| json!({"name": model.name}))
        })
        .collect();
    let sources: Vec<Value> = snapshot
        .sources
        .iter()
        .map(|s| json!({"source": s.name, "records": s.seq}))
        .collect();
    let positions: Vec<Value> = snapshot
        .streams
        .iter()
        .map(|s| {
            json!({"source": s.source, "stream": s.name, "offset": s.offset, "lines": s.lines,
                   "finished": s.finished})
        })
        .collect();
    json!({
        "file": path.display().to_string(),
        "engine": snapshot.engine,
        "version": snapshot.version,
        "taken": snapshot.taken.to_string(),
        "records": snapshot.order,
        "digest": snapshot.digest(),
        "sources": sources,
        "positions": positions,
        "models": models,
    })
}

fn text(value: &Value) -> String {
    let mut out = String::new();
    for name in ["file", "version", "engine", "taken", "records", "digest"] {
        line(&mut out, name, &value[name]);
    }
    for source in array(&value["sources"]) {
        line(
            &mut out,
            &format!("source {}", plain(&source["source"])),
            &source["records"],
        );
    }
    for p in array(&value["positions"]) {
        let state = if p["finished"] == true {
            "finished at"
        } else {
            "at"
        };
        let _ = writeln!(
            out,
            "stream          {}: {} {state} byte {}, line {}",
            plain(&p["source"]),
            plain(&p["stream"]),
            p["offset"],
            p["lines"]
        );
    }
    for model in array(&value["models"]) {
        let _ = writeln!(out, "\nmodel {}", plain(&model["name"]));
        for (name, field) in model.as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "name" | "weights" | "lanes") {
                line(&mut out, &format!("  {name}"), field);
            }
        }
        for lane in array(&model["lanes"]) {
            let _ = writeln!(
                out,
                "  lane            rate {}: loss {}, weight {}",
                lane["rate"], lane["loss"], lane["weight"]
            );
        }
        for weight in array(&model["weights"]) {
            let class = weight
                .get("class")
                .map(|c| format!(" [{}]", plain(c)))
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "  weight          {:>12.6}  {}{class}",
                weight["weight"].as_f64().unwrap_or(f64::NAN),
                plain(&weight["feature"])
            );
        }
    }
    out
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn line(out: &mut String, name: &str, value: &Value) {
    let _ = writeln!(out, "{name:<16}{}", plain(value));
}
