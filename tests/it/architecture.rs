//! ARCHITECTURE.md as tests. Method: read every file under `src` as lines, comments left out, and
//! compare what it names with what its module may name.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank: each may import those of lower rank; `PEERS` of one rank may not see each other.
const RANKS: &[(&str, u32)] = &[
    ("base", 0),
    ("math", 0),
    ("decode", 1),
    ("feature", 1),
    ("learn", 1),
    ("detect", 1),
    ("alert", 1),
    ("evaluate", 1),
    ("model", 2),
    ("net", 2),
    ("source", 2),
    ("sink", 2),
    ("state", 2),
    ("telemetry", 2),
    ("config", 3),
    ("engine", 4),
    ("server", 5),
    ("cli", 6),
];

/// Edge modules see only `base`; `source`, which listens, also `net`.
const EDGE: &[&str] = &["net", "source", "sink", "state", "telemetry"];

/// Modules that touch no world: no tokio, files, sockets, clock, environment, threads, Prometheus.
const PURE: &[&str] = &[
    "base", "math", "decode", "feature", "learn", "detect", "alert", "evaluate", "model",
];

/// What a pure module must not name.
const WORLD: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "prometheus",
    "Instant",
    "SystemTime",
    "std::io::std",
    "tracing",
    "RandomState",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            out.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// The top module that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let relative = path
        .strip_prefix(root().join("src"))
        .expect("a file under src");
    let first = relative.iter().next()?.to_str()?;
    (!matches!(first, "lib.rs" | "main.rs")).then(|| first.trim_end_matches(".rs").to_owned())
}

/// The code of a file, comments left out.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a readable file");
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or("").to_owned()))
        .collect()
}

fn rank(module: &str) -> Option<u32> {
    RANKS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, rank)| *rank)
}

fn may_import(from: &str, to: &str) -> bool {
    if from == to || to == "base" {
        return true;
    }
    let (Some(a), Some(b)) = (rank(from), rank(to)) else {
        return false;
    };
    // Edge modules do arithmetic too where they must (hash of an identity).
    if EDGE.contains(&from) {
        to == "math" || (from == "source" && to == "net")
    } else {
        b < a && !(a == 2 && b == 2)
    }
}

#[test]
fn imports_point_down_the_table() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let Some(module) = module_of(&path) else {
            continue;
        };
        if rank(&module).is_none() {
            wrong.push(format!(
                "{}: module {module} is not in the table",
                path.display()
            ));
        }
        for (number, line) in code(&path) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + 7..];
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if !may_import(&module, &name) {
                    wrong.push(format!(
                        "{}:{number}: {module} imports {name}",
                        path.display()
                    ));
                }
            }
            if line.contains("super::super::super") {
                wrong.push(format!("{}:{number}: name the module", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_core_touches_no_world() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let Some(module) = module_of(&path) else {
            continue;
        };
        if !PURE.contains(&module.as_str()) {
            continue;
        }
        for (number, line) in code(&path) {
            for word in WORLD.iter().filter(|w| line.contains(**w)) {
                wrong.push(format!(
                    "{}:{number}: {module} names {word}",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_engine_spawns() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let Some(module) = module_of(&path) else {
            continue;
        };
        if module == "engine" {
            continue;
        }
        for (number, line) in code(&path) {
            for word in [
                "tokio::spawn",
                "thread::spawn",
                "thread::Builder",
                "spawn_blocking",
            ] {
                if line.contains(word) {
                    wrong.push(format!("{}:{number}: {word}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_stays_under_600_lines() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests"] {
        for path in rust_files(&root().join(dir)) {
            let text = fs::read_to_string(&path).expect("a readable file");
            let lines = text.lines().count();
            if !text.starts_with("//!") {
                wrong.push(format!("{}: does not open with //!", path.display()));
            }
            if lines > 600 {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
