//! `learnd eval`: progressive validation over files, with a progress bar, the doubling table and
//! a summary; or one JSON object.
//!
//! Invariant: figures go to stdout, the progress bar to stderr and only if that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use crate::base::{Clock, Micros};
use crate::config::Config;
use crate::engine::{self, EvalOptions, Progress, SystemClock, TableRow, Watcher};

use super::args::EvalArgs;
use super::run::engine_failure;
use super::{Failure, print};

/// The progress bar is drawn at most so often.
const REDRAW_EVERY: Micros = Micros(100_000);

/// Evaluates.
pub(super) fn eval(config: Config, args: &EvalArgs) -> Result<ExitCode, Failure> {
    let config = choose_source(config, args.source.as_deref())?;
    stdin_once(args)?;
    let options = EvalOptions {
        files: args.files.clone(),
        tests: args.test.clone(),
        passes: args.passes as usize,
        predictions: args.predictions.clone(),
        save: args.save.clone(),
        digest: !args.json,
        model: args.model.clone(),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut screen = Screen {
        table: !args.json,
        header: false,
        several: config.models.len() > 1,
        bar: !args.json && io::stderr().is_terminal(),
        drawn: false,
        next: Micros(0),
        clock: Arc::clone(&clock),
    };
    let report = engine::eval(&config, &options, &clock, &mut screen)
        .map_err(|error| engine_failure(&error))?;
    screen.clear();
    if report.rejected > 0 {
        let first = report.first_rejection.as_deref().unwrap_or("unknown");
        tracing::warn!(rejected = report.rejected, first, "lines were refused");
    }
    if report.nothing_accepted() {
        let first = report.first_rejection.unwrap_or_default();
        return Err(Failure::new(
            1,
            format!(
                "every line was refused ({} of them); the first: {first}",
                report.rejected
            ),
        ));
    }
    if args.json {
        return print(&format!("{}\n", report.json));
    }
    let digest = report.digest.unwrap_or_default();
    print(&summary(&report.json, &digest))
}

/// Standard input can be read once.
fn stdin_once(args: &EvalArgs) -> Result<(), Failure> {
    let is_stdin = |path: &&PathBuf| path.as_os_str() == "-";
    let files = args.files.iter().filter(is_stdin).count();
    let tests = args.test.iter().filter(is_stdin).count();
    if files + tests > 1 {
        return Err(Failure::new(
            2,
            "`-` is standard input, which can be read once",
        ));
    }
    if files > 0 && args.passes > 1 {
        let message = "--passes reads the files again, which standard input (`-`) does not allow";
        return Err(Failure::new(2, message));
    }
    Ok(())
}

/// The one source that is evaluated, and the models that take it.
fn choose_source(mut config: Config, name: Option<&str>) -> Result<Config, Failure> {
    let names: Vec<&str> = config.sources.iter().map(|s| s.name.as_str()).collect();
    let chosen = match (name, names.len()) {
        (Some(name), _) => names.iter().position(|n| *n == name).ok_or_else(|| {
            let known = names.join(", ");
            Failure::new(
                2,
                format!("--source {name}: no such source; there are: {known}"),
            )
        })?,
        (None, 1) => 0,
        (None, _) => {
            let known = names.join(", ");
            return Err(Failure::new(
                2,
                format!("the configuration has several sources ({known}): choose with --source"),
            ));
        }
    };
    config
        .models
        .retain(|m| m.inputs.contains(&(chosen as u16)));
    for model in &mut config.models {
        model.inputs = vec![0];
    }
    config.sources = vec![config.sources.swap_remove(chosen)];
    if config.models.is_empty() {
        return Err(Failure::new(2, "no model takes this source"));
    }
    Ok(config)
}

/// The terminal.
struct Screen {
    table: bool,
    header: bool,
    several: bool,
    bar: bool,
    drawn: bool,
    next: Micros,
    clock: Arc<dyn Clock>,
}

impl Screen {
    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            // The bar is decoration: if stderr is gone, so is whoever would miss it.
            drop(io::stderr().write_all(b"\r\x1b[K"));
        }
    }
}

impl Watcher for Screen {
    fn row(&mut self, row: &TableRow<'_>) {
        if !self.table {
            return;
        }
        self.clear();
        let mut text = String::new();
        if !std::mem::replace(&mut self.header, true) {
            text.push_str(
                "average  since         example        example        current        current  current\n\
                 loss     last          counter         weight          label        predict features\n",
            );
        }
        let name = if self.several {
            format!("  {}", row.model)
        } else {
            String::new()
        };
        text += &format!(
            "{:<8} {:<8} {:>12} {:>14.1} {:>14} {:>14} {:>8}{name}\n",
            loss(row.average),
            loss(row.since_last),
            row.counter,
            row.weight,
            row.label,
            row.prediction,
            row.features
        );
        // A reader that went away is noticed at the summary.
        drop(print(&text));
    }

    fn progress(&mut self, progress: Progress) {
        let now = if self.bar { self.clock.now() } else { return };
        if now < self.next {
            return;
        }
        self.next = Micros(now.0 + REDRAW_EVERY.0);
        self.drawn = true;
        let share = if progress.size > 0 {
            let percent = 100.0 * progress.bytes as f64 / progress.size as f64;
            let filled = (percent / 5.0) as usize;
            format!("[{:<20}] {percent:3.0} %", "#".repeat(filled.min(20)))
        } else {
            format!("{} MiB", progress.bytes >> 20)
        };
        drop(write!(
            io::stderr(),
            "\r\x1b[K{share} {} records",
            progress.records
        ));
    }
}

fn loss(x: f64) -> String {
    if x.is_finite() {
        format!("{x:.6}")
    } else {
        "n.a.".to_owned()
    }
}

fn summary(json: &Value, digest: &str) -> String {
    let mut out = format!(
        "\nlines {}, records {}, rejected {}; {:.2} s, {} records/s; digest {}\n",
        json["lines"],
        json["records"],
        json["rejected"],
        json["elapsed_seconds"].as_f64().unwrap_or(0.0),
        json["records_per_second"].as_f64().unwrap_or(0.0),
        digest.get(..16).unwrap_or(digest),
    );
    for (name, model) in json["models"].as_object().into_iter().flatten() {
        out += &format!(
            "\n{name} ({}): {} records, {} labelled\n",
            model["task"].as_str().unwrap_or(""),
            model["records"],
            model["labelled"]
        );
        for (i, pass) in model["passes"].as_array().into_iter().flatten().enumerate() {
            let name = if i == 0 {
                "progressive".to_owned()
            } else {
                format!("pass {}", i + 1)
            };
            out += &format!("  {name:<12}{}\n", figures(pass));
        }
        if model["test"]["records"].as_u64().unwrap_or(0) > 0 {
            out += &format!("  {:<12}{}\n", "test", figures(&model["test"]));
        }
    }
    out
}

fn figures(value: &Value) -> String {
    let parts: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "records")
        .map(|(name, value)| match value.as_f64() {
            Some(x) if !value.is_u64() => format!("{name} {x:.6}"),
            _ => format!("{name} {value}"),
        })
        .collect();
    parts.join("  ")
}
