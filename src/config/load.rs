//! From a file and overrides to a checked configuration, or to every problem at once.
//!
//! Invariant: `run`, `check` and reload all come through here, so what one accepts the others do.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cross;
use super::diagnostic::{Diagnostic, MOST_SHOWN, Report};
use super::dom::{self, Document, Entry, Place, Table, Value};
use super::memory;
use super::overrides::{self, Overrides};
use super::section::{Claim, Problem, Section, Walk, wrong_type};
use super::shape::Shape;
use super::types::{Config, SinkConfig, SourceConfig, StateConfig};
use super::{models, protection, sinks, sources, values};
use crate::base::EventKinds;
use crate::decode::FormatConfig;
use crate::model::ModelConfig;
use crate::net::Protection;
use crate::sink::{SinkKind, WhenFull};

/// Where the server listens where nothing is said.
pub(super) const LISTEN: &str = "127.0.0.1:7654";

/// A configuration file is no larger.
const MOST_BYTES: u64 = 1 << 20;

/// Sources, models and sinks are at most so many each.
const MOST_TABLES: usize = 1000;

/// Fewest keys that a lowered default leaves; below, the model is refused.
const FEWEST_KEYS: u64 = 1000;

/// What `learnd run` without a configuration means.
const DEFAULT_RUN: &str = r#"
[sources.stdin]
type = "stdin"

[models.anomaly]
task = "anomaly"

[sinks.stdout]
type = "stdout"
events = ["anomaly", "drift"]
"#;

/// Loads and checks a file.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, Report> {
    let name = path.display().to_string();
    let text = read(path)
        .map_err(|(message, help)| Report::one(Diagnostic::of_file(&name, message, help)))?;
    let text = String::from_utf8(text).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let document = Document {
            name: name.clone(),
            text: String::from_utf8_lossy(e.as_bytes()).into_owned(),
            numbered: true,
        };
        let place = Place::new(0, valid..valid + 1);
        let help = Some("save the file as UTF-8".to_owned());
        Report::one(Diagnostic::at(
            &document,
            place,
            "this is not UTF-8".into(),
            help,
        ))
    })?;
    parse(&name, &text, overrides)
}

/// Checks a text under a name.
pub fn parse(name: &str, text: &str, overrides: &Overrides) -> Result<Config, Report> {
    walk(name, text, overrides).1
}

impl Config {
    /// What `learnd run` without a configuration means: JSON lines on stdin, one anomaly model
    /// over all fields, its events on stdout.
    pub fn default_run(overrides: &Overrides) -> Result<Config, Report> {
        parse("(built-in configuration)", DEFAULT_RUN, overrides)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, (String, Option<String>)> {
    let failed = |e: std::io::Error| (format!("cannot be read: {e}"), None);
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MOST_BYTES {
        let message = "is larger than 1 MiB, so it is not a configuration".to_owned();
        return Err((message, None));
    }
    Ok(text)
}

/// Parses, merges, walks. What was learned of the keys is returned with the result.
pub(super) fn walk(
    name: &str,
    text: &str,
    overrides: &Overrides,
) -> (Walk, Result<Config, Report>) {
    let mut documents = vec![Document {
        name: name.to_owned(),
        text: text.to_owned(),
        numbered: true,
    }];
    let mut walk = Walk::default();
    let mut config = None;
    match dom::parse(text, 0) {
        Err(errors) => {
            for error in errors {
                let help = syntax_help(text, error.place, &error.message);
                walk.problem(error.place, error.message, help);
            }
        }
        Ok(mut root) => {
            let lookup = |name: &str| overrides.variable(name);
            dom::substitute(&mut root, text, &lookup, &mut |place, message, help| {
                walk.problem(place, message, help);
            });
            overrides::merge(&mut root, overrides, &mut documents, &mut walk.problems);
            config = top(&mut walk, &root);
        }
    }
    let mut problems = std::mem::take(&mut walk.problems);
    problems.sort_by_key(|p| p.place);
    let more = problems.len().saturating_sub(MOST_SHOWN);
    problems.truncate(MOST_SHOWN);
    let diagnostics: Vec<Diagnostic> = problems
        .into_iter()
        .map(|p: Problem| Diagnostic::at(&documents[p.place.document], p.place, p.message, p.help))
        .collect();
    let result = match config {
        Some(config) if diagnostics.is_empty() => Ok(config),
        _ => Err(Report { diagnostics, more }),
    };
    (walk, result)
}

/// Mistakes that TOML beginners make.
fn syntax_help(text: &str, place: Place, message: &str) -> &'static str {
    let begin = text.get(..place.start).and_then(|t| t.rfind('\n'));
    let line = text.get(begin.map_or(0, |i| i + 1)..).unwrap_or("");
    let line = line.lines().next().unwrap_or("").trim_start();
    let value = line.split_once('=').map_or("", |(_, v)| v.trim());
    if line.contains(": ") && !line.contains('=') {
        "TOML writes key = value"
    } else if value.starts_with(|c: char| c.is_alphabetic() || c == '/') {
        "strings stand in quotes"
    } else if value.starts_with(|c: char| c.is_ascii_digit()) {
        "durations, sizes and addresses stand in quotes, as in \"30s\""
    } else if message == "duplicate key" {
        "a key or table is written once; put them together"
    } else {
        "TOML is [tables] of key = value, strings in quotes"
    }
}

fn top(walk: &mut Walk, root: &Table) -> Option<Config> {
    let place = Place::default();
    let mut s = Section::new(walk, "top", "the file".into(), root, place);
    let second = Duration::from_secs(1);
    let shutdown = s.duration("shutdown_timeout", Some("25s"), second..=second * 3600);
    let memory_limit = s.size("memory_limit", "2GiB", 1 << 20..=u64::MAX);
    let hash_key = s.text("hash_key_file", Some(""));
    let hash_key = hash_key.filter(|file| !file.text.is_empty());
    let hash_seed = hash_key.as_ref().map_or(0, |file| {
        hash_seed(Path::new(&file.text)).unwrap_or_else(|(message, help)| {
            s.walk.problem(file.place, message, help);
            0
        })
    });
    let server = server(&mut s);
    let state = state(&mut s);

    let source_entries = named(&mut s, "sources", sources::SHAPE);
    let model_entries = named(&mut s, "models", Shape::Named("model"));
    let sink_entries = named(&mut s, "sinks", Shape::Named("sink"));
    let names = |entries: &[&Entry]| entries.iter().map(|e| e.key.clone()).collect::<Vec<_>>();
    let (source_names, model_names, sink_names) = (
        names(&source_entries),
        names(&model_entries),
        names(&sink_entries),
    );
    let source_names: Vec<&str> = source_names.iter().map(String::as_str).collect();
    let model_names: Vec<&str> = model_names.iter().map(String::as_str).collect();
    let sink_names: Vec<&str> = sink_names.iter().map(String::as_str).collect();
    if source_entries.is_empty() && s.peek("sources").is_none_or(is_empty_table) {
        let help = "add a table [sources.NAME] with a `type`: stdin, file, tcp, http or demo";
        s.walk
            .problem(place, "there is no source to learn from", help);
    }
    if model_entries.is_empty() && s.peek("models").is_none_or(is_empty_table) {
        let help =
            "add a table [models.NAME] with a `task`: regression, binary, multiclass or anomaly";
        s.walk.problem(place, "there is no model to learn", help);
    }
    for entries in [&source_entries, &model_entries, &sink_entries] {
        if let Some(entry) = entries.get(MOST_TABLES) {
            let message = format!("there are more than {MOST_TABLES} of these tables");
            let help = "spread them over several instances";
            s.walk.problem(entry.key_place, message, help);
        }
    }
    // A [state] that is wrong in itself is one problem, not two.
    let has_state = !matches!(state, Ok(None));
    let sources: Vec<Option<_>> = source_entries
        .iter()
        .map(|entry| sources::source(s.walk, entry, has_state))
        .collect();
    let formats: Vec<Option<&FormatConfig>> = sources
        .iter()
        .map(|source: &Option<SourceConfig>| source.as_ref().map(|s| &s.format))
        .collect();
    let models: Vec<Option<_>> = model_entries
        .iter()
        .map(|entry| {
            models::model(
                s.walk,
                entry,
                &source_names,
                &sink_names,
                &formats,
                hash_seed,
            )
        })
        .collect();
    let sinks: Vec<Option<_>> = sink_entries
        .iter()
        .map(|entry| sinks::sink(s.walk, entry, &model_names, &source_names))
        .collect();
    cross::check(s.walk, &source_entries, &sources);
    cross::bodies(
        s.walk,
        &source_entries,
        &sources,
        &server.listen,
        &server.protection,
    );
    s.finish(&[], true);

    let sources: Vec<_> = sources.into_iter().collect::<Option<_>>()?;
    let mut models: Vec<ModelConfig> = models.into_iter().collect::<Option<_>>()?;
    let mut sinks: Vec<_> = sinks.into_iter().collect::<Option<_>>()?;
    limit_memory(walk, &model_entries, &mut models, memory_limit);
    if sinks.is_empty() {
        sinks.push(default_sink(models.len()));
    }
    Some(Config {
        shutdown_timeout: shutdown?,
        memory_limit,
        hash_key_file: hash_key.map(|file| PathBuf::from(file.text)),
        listen: server.listen.what,
        listen_is_default: server.listen.place.is_none(),
        admin: server.admin,
        protection: server.protection,
        max_connections: server.max_connections,
        state: state.ok()?,
        sources,
        models,
        sinks,
    })
}

fn is_empty_table(entry: &Entry) -> bool {
    matches!(&entry.node.value, Value::Table(table) if table.entries.is_empty())
}

/// Alerts must go somewhere: where no sink is named, to stdout.
fn default_sink(models: usize) -> SinkConfig {
    SinkConfig {
        name: "stdout".into(),
        kind: SinkKind::Stdout,
        inputs: (0..models).collect(),
        events: sinks::ALERTS
            .into_iter()
            .fold(EventKinds::default(), EventKinds::with),
        when_full: WhenFull::Block,
        render: crate::base::RenderOptions::default(),
        queue: sinks::QUEUE as usize,
    }
}

/// What `[server]` says.
struct Server {
    listen: Claim<std::net::SocketAddr>,
    admin: bool,
    protection: Protection,
    max_connections: usize,
}

fn server(s: &mut Section<'_, '_>) -> Server {
    let empty = Table::default();
    let entry = s.get("server", Shape::Table("server"), None);
    let (table, place) = match entry.map(|e| (&e.node.value, e)) {
        Some((Value::Table(table), entry)) => (table, entry.key_place),
        Some((_, entry)) => {
            wrong_type(s.walk, "server", &entry.node, "a table", "[server]");
            (&empty, entry.key_place)
        }
        None => (&empty, s.place),
    };
    let mut s = Section::new(s.walk, "server", "[server]".into(), table, place);
    let listen = s.address("listen", Some(LISTEN));
    let admin = s.boolean("admin", false);
    let max_connections = s.integer("max_connections", 1024, 1..=1_000_000) as usize;
    let protection = protection::read(&mut s, None);
    let fallback = || LISTEN.parse().expect("the default is an address");
    let (what, place) = listen.unwrap_or_else(|| (fallback(), None));
    let listen = Claim {
        what,
        who: "server".into(),
        place,
    };
    s.walk.ports.push(listen.clone());
    s.finish(&[], true);
    Server {
        listen,
        admin,
        protection,
        max_connections,
    }
}

fn state(s: &mut Section<'_, '_>) -> Result<Option<StateConfig>, ()> {
    let Some(entry) = s.get("state", Shape::Table("state"), None) else {
        return Ok(None);
    };
    let Value::Table(table) = &entry.node.value else {
        wrong_type(s.walk, "state", &entry.node, "a table", "[state]");
        return Err(());
    };
    let mut s = Section::new(s.walk, "state", "[state]".into(), table, entry.key_place);
    let dir = s.text("dir", None);
    if s.peek("dir").is_none() {
        s.missing("dir", "add dir = \"/var/lib/learnd\"");
    }
    let range = Duration::from_millis(10)..=Duration::from_hours(7 * 24);
    let snapshot_every = s.duration("snapshot_every", Some("30s"), range);
    let keep = s.integer("keep", 3, 1..=1000) as usize;
    s.finish(&[], true);
    let (dir, snapshot_every) = (dir.ok_or(())?, snapshot_every.ok_or(())?);
    Ok(Some(StateConfig {
        dir: PathBuf::from(dir.text),
        snapshot_every,
        keep,
    }))
}

/// The tables under `sources`, `models` or `sinks`, their names checked.
fn named<'t>(s: &mut Section<'_, 't>, key: &'static str, shape: Shape) -> Vec<&'t Entry> {
    let Some(entry) = s.get(key, shape, None) else {
        return Vec::new();
    };
    let Value::Table(table) = &entry.node.value else {
        let example = format!("[{key}.NAME]");
        wrong_type(s.walk, key, &entry.node, "a table of tables", &example);
        return Vec::new();
    };
    for entry in &table.entries {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if entry.key.is_empty() || entry.key.len() > 64 || !entry.key.chars().all(fine) {
            s.walk.problem(
                entry.key_place,
                format!("`{}` cannot be a name", entry.key),
                "names are 1 to 64 letters, digits, `_` and `-`; they appear in metrics and addresses",
            );
        }
    }
    table.entries.iter().collect()
}

/// The seed of feature hashes from a secret file.
fn hash_seed(path: &Path) -> Result<u64, (String, String)> {
    let shown = path.display();
    let failed = |e: std::io::Error| {
        let help = "name a readable file, or leave `hash_key_file` out".to_owned();
        (format!("{shown} cannot be read: {e}"), help)
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o007 != 0 {
        let message = format!("{shown} is open to every user of the machine, so it is no secret");
        return Err((message, format!("chmod 0400 {shown}")));
    }
    let mut key = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut key)
        .map_err(failed)?;
    if key.len() < 16 {
        let message = format!("{shown} has {} bytes; a key has 16 or more", key.len());
        return Err((message, format!("head -c 32 /dev/urandom > {shown}")));
    }
    let hash = blake3::hash(&key);
    let first = hash.as_bytes().first_chunk::<8>();
    // 0 stands for no key.
    Ok(u64::from_le_bytes(*first.expect("a hash has 32 bytes")).max(1))
}

/// Refuses models that would take more than the limit. The default of `max_keys` yields first.
fn limit_memory(walk: &mut Walk, entries: &[&Entry], models: &mut [ModelConfig], limit: u64) {
    let says = |entry: &Entry, key: &str| match &entry.node.value {
        Value::Table(table) => table.get(key).map(|e| e.node.place),
        _ => None,
    };
    let yields = |i: usize, m: &ModelConfig| {
        !m.plan.key.is_empty() && says(entries[i], "max_keys").is_none()
    };
    let total = |models: &[ModelConfig]| {
        let bytes = models.iter().map(|m| memory::estimate(m).bytes);
        bytes.fold(0u64, u64::saturating_add)
    };
    if total(models) <= limit {
        return;
    }
    let (mut fixed, mut yielding) = (0u64, 0u64);
    for (i, model) in models.iter().enumerate() {
        if yields(i, model) {
            yielding += 1;
        } else {
            fixed = fixed.saturating_add(memory::estimate(model).bytes);
        }
    }
    if let Some(share) = limit.saturating_sub(fixed).checked_div(yielding) {
        for (i, model) in models.iter_mut().enumerate() {
            if yields(i, model) {
                let keys = share / memory::estimate(model).bytes_per_key;
                if keys >= FEWEST_KEYS {
                    model.max_keys = model.max_keys.min(keys as usize);
                }
            }
        }
    }
    let bytes = total(models);
    if bytes <= limit {
        return;
    }
    let largest = (0..models.len()).max_by_key(|i| memory::estimate(&models[*i]).bytes);
    let Some(largest) = largest else {
        return;
    };
    let entry = entries[largest];
    let place = ["max_keys", "hash_bits", "max_classes"]
        .into_iter()
        .find_map(|key| says(entry, key))
        .unwrap_or(entry.key_place);
    let parts: Vec<String> = models
        .iter()
        .map(|m| format!("{}: {}", m.name, memory::estimate(m).arithmetic))
        .collect();
    let lower = if models[largest].plan.key.is_empty() {
        "hash_bits"
    } else {
        "max_keys or hash_bits"
    };
    let message = format!(
        "the models would take {}, but memory_limit is {}",
        values::rough_size(bytes),
        values::rough_size(limit)
    );
    let help = format!("{}; lower {lower}, or raise memory_limit", parts.join("; "));
    walk.problem(place, message, help);
}
