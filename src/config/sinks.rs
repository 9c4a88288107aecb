//! `[sinks.NAME]`.
//!
//! Invariant: every key of every type is read here, and only here.

use std::path::PathBuf;

use crate::base::{EventKind, EventKinds, RenderOptions};
use crate::sink::{SinkKind, WhenFull};

use super::dom::{Entry, Value};
use super::models::resolve;
use super::section::{Claim, Elsewhere, Section, Walk, table_of, word_of, wrong_type};
use super::shape::Shape;
use super::types::SinkConfig;

/// Keys that only some types have.
pub(super) const ELSEWHERE: &[Elsewhere] = &[
    ("path", "sinks of type = \"file\""),
    ("rotate_size", "sinks of type = \"file\""),
    ("rotate_keep", "sinks of type = \"file\""),
];

/// Events that a sink takes where nothing is said.
pub(super) const ALERTS: [EventKind; 4] = [
    EventKind::Anomaly,
    EventKind::Drift,
    EventKind::Divergence,
    EventKind::Silence,
];

/// Events in a sink's queue where nothing is said.
pub(super) const QUEUE: u64 = 4096;

/// Reads one sink; `models` and `sources` are the names its inputs may and may not mean.
pub(super) fn sink(
    walk: &mut Walk,
    entry: &Entry,
    models: &[&str],
    sources: &[&str],
) -> Option<SinkConfig> {
    let name = entry.key.clone();
    let title = format!("[sinks.{name}]");
    let table = table_of(walk, "sinks", entry)?;
    let mut s = Section::new(walk, "sink", title, table, entry.key_place);
    let types = [("stdout", false), ("file", true)];
    let is_file = s.word("type", &types, &["webhook", "alertmanager"], None);
    let inputs = resolve(&mut s, "models", models, &[("source", sources)]);
    let events = events(&mut s);
    let when_full = s.word(
        "when_full",
        &[
            ("block", WhenFull::Block),
            ("drop_newest", WhenFull::DropNewest),
        ],
        &[],
        Some("block"),
    );
    let record = s.boolean("record", true);
    let redact = s.texts("redact", "[]").unwrap_or_default();
    let queue = s.integer("queue", QUEUE, 1..=10_000_000) as usize;
    let kind = match is_file {
        Some(true) => file(&mut s, &name),
        Some(false) => Some(SinkKind::Stdout),
        None => None,
    };
    s.later(&["url"]);
    s.finish(ELSEWHERE, is_file.is_some());
    Some(SinkConfig {
        name,
        kind: kind?,
        inputs,
        events,
        when_full: when_full?,
        render: RenderOptions {
            record,
            redact: redact.into_iter().map(|f| f.text).collect(),
        },
        queue,
    })
}

fn file(s: &mut Section<'_, '_>, name: &str) -> Option<SinkKind> {
    let path = s.text("path", None);
    if s.peek("path").is_none() {
        s.missing("path", "add path = \"/var/log/learnd/events.jsonl\"");
    }
    // A file of one event must fit, whatever the event.
    let rotate_size = s.size("rotate_size", "0", 0..=u64::MAX);
    if (1..4096).contains(&rotate_size) {
        let place = s.place_of("rotate_size");
        let message = "`rotate_size` must be 4KiB or more, or \"0\" for never";
        s.walk
            .problem(place, message, "as in rotate_size = \"100MiB\"");
    }
    let rotate_keep = s.integer("rotate_keep", 5, 1..=10_000) as usize;
    let path = path?;
    s.walk.files.push(Claim {
        what: PathBuf::from(&path.text),
        who: format!("sinks.{name}"),
        place: Some(path.place),
    });
    Some(SinkKind::File {
        path: PathBuf::from(path.text),
        rotate_size,
        rotate_keep,
    })
}

fn events(s: &mut Section<'_, '_>) -> EventKinds {
    let words: Vec<(&'static str, EventKind)> = EventKind::ALL
        .iter()
        .map(|kind| (kind.as_str(), *kind))
        .collect();
    let shape = Shape::Array(Box::new(Shape::Words(words.iter().map(|w| w.0).collect())));
    let default: Vec<String> = ALERTS
        .iter()
        .map(|k| format!("\"{}\"", k.as_str()))
        .collect();
    let default = format!("[{}]", default.join(", "));
    let none = EventKinds::default();
    let Some(entry) = s.get("events", shape, Some(default.clone())) else {
        return ALERTS.into_iter().fold(none, EventKinds::with);
    };
    let Value::Array(items) = &entry.node.value else {
        let example = format!("events = {default}");
        wrong_type(
            s.walk,
            "events",
            &entry.node,
            "an array of strings",
            &example,
        );
        return none;
    };
    if items.is_empty() {
        let message = "a sink without `events` gets nothing";
        s.walk.problem(
            entry.node.place,
            message,
            format!("the default is {default}"),
        );
    }
    items
        .iter()
        .filter_map(|item| word_of(s.walk, "event", item, &words, &[]))
        .fold(none, EventKinds::with)
}
