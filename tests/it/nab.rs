//! The single-value detector on the Numenta Anomaly Benchmark, as `tools/nab_score.py` scores it.
//!
//! Invariant: one configuration for all files, value and timestamp only; one threshold is swept
//! over all of them, as the benchmark does, after alerts are quieted for 120 rows. Beside it, the
//! trivial detector that only says how far a value leaves the range seen so far.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use learnd::base::{Micros, Row, Scratch};
use learnd::detect::{DetectorConfig, Monitor};

const QUIET: usize = 120;

fn root() -> Option<PathBuf> {
    let data = std::env::var_os("LEARND_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let root = data.join("nab");
    root.join("labels/combined_windows.json")
        .is_file()
        .then_some(root)
}

struct File {
    scores: Vec<f64>,
    /// Worth of a flag on each row beyond probation, and its window.
    worth: Vec<Option<(f64, Option<usize>)>>,
    windows: usize,
}

fn shape(p: f64) -> f64 {
    if p > 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * p).exp()) - 1.0
    }
}

fn worth(n: usize, spans: &[(usize, usize)]) -> Vec<Option<(f64, Option<usize>)>> {
    let probation = (n * 15 / 100).min(750);
    let mut k = 0;
    (0..n)
        .map(|i| {
            while k < spans.len() && i > spans[k].1 {
                k += 1;
            }
            let item = if k < spans.len() && i >= spans[k].0 {
                let (l, r) = spans[k];
                let p = -((r - i + 1) as f64) / (r - l + 1) as f64;
                (shape(p) / shape(-1.0), Some(k))
            } else if k == 0 {
                (-0.11, None)
            } else {
                let (l, r) = spans[k - 1];
                (0.11 * shape((i - r) as f64 / (r - l) as f64), None)
            };
            (i >= probation).then_some(item)
        })
        .collect()
}

fn total(file: &File, threshold: f64) -> f64 {
    let mut best = vec![-1.0f64; file.windows];
    let (mut loss, mut last) = (0.0, None);
    for (i, (&score, worth)) in file.scores.iter().zip(&file.worth).enumerate() {
        if score >= threshold && last.is_none_or(|last| i - last > QUIET) {
            last = Some(i);
            match *worth {
                Some((gain, Some(window))) => best[window] = best[window].max(gain),
                Some((gain, None)) => loss += gain,
                None => {}
            }
        }
    }
    loss + best.iter().sum::<f64>()
}

/// The normalised standard score at the best of up to 400 thresholds among the strangest 5 %.
fn standard(files: &[File]) -> f64 {
    let mut all: Vec<f64> = files
        .iter()
        .flat_map(|f| f.scores.iter().copied())
        .collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.truncate((all.len() / 20).max(1));
    let windows: usize = files.iter().map(|f| f.windows).sum();
    let best = (0..400)
        .map(|k| {
            let at = (all.len() as f64).powf(f64::from(k) / 399.0) as usize;
            let threshold = all[at.saturating_sub(1).min(all.len() - 1)];
            files.iter().map(|f| total(f, threshold)).sum::<f64>()
        })
        .fold(f64::NEG_INFINITY, f64::max);
    100.0 * (best + windows as f64) / (2.0 * windows as f64)
}

fn scores(rows: &[(Micros, f64)]) -> Vec<f64> {
    let mut monitor = Monitor::new(DetectorConfig::Auto);
    let mut s = Scratch::default();
    let mut out = Vec::new();
    for &(time, value) in rows {
        let dense = [value];
        let row = Row {
            base: 0.0,
            dense: &dense,
            columns: &[],
            index: &[],
            value: &[],
        };
        let judgement = monitor.judge(row, time, None, &mut s);
        out.push(judgement.score);
        monitor.absorb(row, time, &judgement, None, None, &mut s);
    }
    assert_eq!(monitor.chosen(), Some("metric"));
    out
}

/// How far a value leaves the range seen so far.
fn range_only(rows: &[(Micros, f64)]) -> Vec<f64> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    rows.iter()
        .map(|&(_, x)| {
            let range = high - low;
            let beyond = (x - high).max(low - x);
            (low, high) = (low.min(x), high.max(x));
            if range > 0.0 && beyond > 0.0 {
                beyond / (range + beyond)
            } else {
                0.0
            }
        })
        .collect()
}

#[test]
fn one_fixed_configuration_scores_at_least_64_on_nab() {
    let Some(root) = root() else {
        println!("skipped: no NAB data (LEARND_DATA)");
        return;
    };
    let text = fs::read_to_string(root.join("labels/combined_windows.json")).unwrap();
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&text).unwrap();
    let (mut ours, mut trivial) = (Vec::new(), Vec::new());
    for (name, windows) in labels {
        let text = fs::read_to_string(root.join("data").join(&name)).unwrap();
        let rows: Vec<(Micros, f64)> = text
            .lines()
            .skip(1)
            .map(|line| {
                let (time, value) = line.split_once(',').unwrap();
                (Micros::parse(time).unwrap(), value.parse().unwrap())
            })
            .collect();
        let at = |t: &str| {
            let time = Micros::parse(t).unwrap();
            rows.iter().position(|&(t, _)| t == time).unwrap()
        };
        let spans: Vec<(usize, usize)> = windows.iter().map(|[a, b]| (at(a), at(b))).collect();
        for (files, scores) in [
            (&mut ours, scores(&rows)),
            (&mut trivial, range_only(&rows)),
        ] {
            files.push(File {
                scores,
                worth: worth(rows.len(), &spans),
                windows: spans.len(),
            });
        }
    }
    let (ours, trivial) = (standard(&ours), standard(&trivial));
    println!("NAB standard, quieted: {ours:.2}; range only: {trivial:.2}");
    assert!(ours >= 64.0, "{ours}");
}
