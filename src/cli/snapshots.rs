//! `learnd snapshots`: the generations that a state directory keeps.
//!
//! Invariant: reads only; takes no lock, so it works beside a running daemon.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::state::{self, Generation};

use super::args::SnapshotsArgs;
use super::{Failure, print};

/// Lists them, the newest first.
pub(super) fn snapshots(args: &SnapshotsArgs) -> Result<ExitCode, Failure> {
    let all = state::list(&args.dir)
        .map_err(|error| Failure::new(error.exit_code(), error.to_string()))?;
    if args.json {
        let all: Vec<Value> = all.iter().map(describe).collect();
        return print(&format!("{:#}\n", Value::Array(all)));
    }
    let mut out = format!(
        "{:>10}  {:<27}  {:>14}  {:>12}  {}\n",
        "generation", "taken", "records", "bytes", "digest"
    );
    for generation in &all {
        let (number, bytes) = (generation.number, generation.bytes);
        let rest = match &generation.snapshot {
            Ok(snapshot) => format!(
                "{:<27}  {:>14}  {bytes:>12}  {}",
                snapshot.taken.to_string(),
                snapshot.order,
                snapshot.digest()
            ),
            Err(reason) => format!("cannot be used: {reason}"),
        };
        let _ = writeln!(out, "{number:>10}  {rest}");
    }
    print(&out)
}

fn describe(generation: &Generation) -> Value {
    let mut value = json!({
        "generation": generation.number,
        "file": generation.path.display().to_string(),
        "bytes": generation.bytes,
    });
    match &generation.snapshot {
        Ok(snapshot) => {
            value["taken"] = json!(snapshot.taken.to_string());
            value["records"] = json!(snapshot.order);
            value["digest"] = json!(snapshot.digest());
        }
        Err(reason) => value["error"] = json!(reason.to_string()),
    }
    value
}
