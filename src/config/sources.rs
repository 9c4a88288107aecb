//! `[sources.NAME]`.
//!
//! Invariant: every key of every type is read here, and only here.

use std::path::PathBuf;
use std::time::Duration;

use crate::decode::{CsvConfig, FormatConfig, Limits, VwHash};
use crate::net::Scope;
use crate::source::{DemoConfig, FileConfig, Reply, SourceKind, TcpConfig};

use super::dom::{Entry, Value};
use super::protection;
use super::section::{Claim, Elsewhere, Placed, Section, Walk, table_of};
use super::shape::{Bound, Shape};
use super::types::SourceConfig;

/// Keys that only some types or formats have.
pub(super) const ELSEWHERE: &[Elsewhere] = &[
    ("listen", "sources of type = \"tcp\""),
    ("reply", "sources of type = \"tcp\""),
    ("max_connections", "sources of type = \"tcp\""),
    ("tls", "sources of type = \"tcp\""),
    ("tokens", "sources of type = \"tcp\""),
    ("allow_insecure_listen", "sources of type = \"tcp\""),
    ("paths", "sources of type = \"file\""),
    ("from", "sources of type = \"file\""),
    ("follow", "sources of type = \"file\""),
    ("follow_symlinks", "sources of type = \"file\""),
    ("poll_interval", "sources of type = \"file\""),
    ("seed", "sources of type = \"demo\""),
    ("rate", "sources of type = \"demo\""),
    ("speedup", "sources of type = \"demo\""),
    ("records", "sources of type = \"demo\""),
    ("anomaly_every", "sources of type = \"demo\""),
    ("truth", "sources of type = \"demo\""),
    ("delimiter", "format = \"csv\""),
    ("quote", "format = \"csv\""),
    ("header", "format = \"csv\""),
    ("columns", "format = \"csv\""),
    ("nonfinite", "format = \"csv\""),
    ("hash", "format = \"vw\""),
];

const FORMATS_LATER: &[&str] = &["text", "logfmt", "idx"];

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Stdin,
    File,
    Tcp,
    Http,
    Demo,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Json,
    Csv,
    Vw,
    Svmlight,
}

/// Reads one source; `None` where it could not be made sense of, and that has been said.
pub(super) fn source(walk: &mut Walk, entry: &Entry, has_state: bool) -> Option<SourceConfig> {
    let name = entry.key.clone();
    let title = format!("[sources.{name}]");
    let table = table_of(walk, "sources", entry)?;
    let mut s = Section::new(walk, "source", title, table, entry.key_place);
    let types = [
        ("stdin", Type::Stdin),
        ("file", Type::File),
        ("tcp", Type::Tcp),
        ("http", Type::Http),
        ("demo", Type::Demo),
    ];
    let kind = s.word("type", &types, &[], None);
    let formats = [
        ("json", Format::Json),
        ("csv", Format::Csv),
        ("vw", Format::Vw),
        ("svmlight", Format::Svmlight),
    ];
    let format = s.word("format", &formats, FORMATS_LATER, Some("json"));
    if kind == Some(Type::Demo) && format.is_some_and(|f| f != Format::Json) {
        let place = s.place_of("format");
        s.walk
            .problem(place, "a demo source writes JSON", "leave `format` out");
    }
    let max_line = s.size("max_line", "1MiB", 64..=1 << 30);
    let limits = limits(&mut s);
    let durability = durability(&mut s, kind, has_state);
    let dead_letters = output(
        &mut s,
        "dead_letters",
        &format!("sources.{name}.dead_letters"),
    );
    let dead_letters_max = s.size("dead_letters_max", "64MiB", 4096..=u64::MAX);
    let format_config = match format {
        Some(Format::Csv) => csv(&mut s),
        Some(Format::Vw) => {
            let hashes = [("strings", VwHash::Strings), ("all", VwHash::All)];
            let hash = s.word("hash", &hashes, &[], Some("strings"));
            hash.map(FormatConfig::Vw)
        }
        Some(Format::Svmlight) => Some(FormatConfig::Svmlight),
        Some(Format::Json) | None => Some(FormatConfig::Json),
    };
    let source_kind = match kind {
        Some(Type::Stdin) => Some(SourceKind::Stdin),
        Some(Type::File) => file(&mut s, &name),
        Some(Type::Tcp) => tcp(&mut s, &name, durability == Some(true)),
        Some(Type::Http) => Some(SourceKind::Http),
        Some(Type::Demo) => Some(demo(&mut s, &name)),
        None => None,
    };
    s.finish(ELSEWHERE, kind.is_some() && format.is_some());
    Some(SourceConfig {
        name,
        kind: source_kind?,
        format: format_config?,
        limits,
        max_line: max_line as usize,
        dead_letters,
        dead_letters_max,
        journal: durability?,
    })
}

/// Whether what is read is kept in the journal: by default where it cannot be read again and there
/// is a state directory.
fn durability(s: &mut Section<'_, '_>, kind: Option<Type>, has_state: bool) -> Option<bool> {
    let unrepeatable = matches!(kind, Some(Type::Stdin | Type::Tcp | Type::Http));
    let words = [("journal", true), ("none", false)];
    let asked = s.peek("durability").is_some();
    let journal = s.word("durability", &words, &[], Some("journal"))?;
    if !asked {
        return Some(unrepeatable && has_state);
    }
    let place = s.place_of("durability");
    if journal && kind.is_some() && !unrepeatable {
        let message = "what this source reads can be read again: it needs no journal";
        s.walk.problem(place, message, "leave `durability` out");
    } else if journal && !has_state {
        let message = "the journal needs a state directory";
        let help = "add [state] with dir = \"/var/lib/learnd\", or durability = \"none\"";
        s.walk.problem(place, message, help);
    }
    Some(journal && unrepeatable)
}

fn limits(s: &mut Section<'_, '_>) -> Limits {
    let plain = Limits::default();
    Limits {
        max_fields: s.integer("max_fields", plain.max_fields as u64, 1..=1_000_000) as usize,
        max_depth: s.integer("max_depth", plain.max_depth as u64, 1..=256) as usize,
        max_key: s.size("max_key", "256B", 1..=1 << 20) as usize,
        max_number: s.integer("max_number", plain.max_number as u64, 1..=4096) as usize,
        duplicates_last: s
            .word(
                "duplicate_keys",
                &[("reject", false), ("last", true)],
                &[],
                Some("reject"),
            )
            .unwrap_or(false),
    }
}

/// A file that will be written; an empty path is none.
fn output(s: &mut Section<'_, '_>, key: &'static str, who: &str) -> Option<PathBuf> {
    let text = s.text(key, Some(""))?;
    if text.text.is_empty() {
        return None;
    }
    let path = PathBuf::from(&text.text);
    s.walk.files.push(Claim {
        what: path.clone(),
        who: who.to_owned(),
        place: Some(text.place),
    });
    Some(path)
}

fn file(s: &mut Section<'_, '_>, name: &str) -> Option<SourceKind> {
    let paths = s.texts("paths", "[]");
    match &paths {
        None => s.missing("paths", "add paths = [\"/var/log/app/*.jsonl\"]"),
        Some(paths) => patterns(s, name, paths),
    }
    let from = s.word(
        "from",
        &[("start", true), ("end", false)],
        &[],
        Some("start"),
    );
    let follow = s.boolean("follow", true);
    let follow_symlinks = s.boolean("follow_symlinks", false);
    let poll = Duration::from_millis(10)..=Duration::from_hours(1);
    let poll = s.duration("poll_interval", Some("250ms"), poll)?;
    Some(SourceKind::File(FileConfig {
        paths: paths?.into_iter().map(|p| p.text).collect(),
        from_start: from?,
        follow,
        follow_symlinks,
        poll_interval_ms: poll.as_millis() as u64,
    }))
}

fn patterns(s: &mut Section<'_, '_>, name: &str, paths: &[Placed]) {
    if paths.is_empty()
        && matches!(s.peek("paths").map(|e| &e.node.value), Some(Value::Array(a)) if a.is_empty())
    {
        let place = s.place_of("paths");
        s.walk
            .problem(place, "`paths` names no file", "add a path or a glob");
    }
    for path in paths {
        match glob::Pattern::new(&path.text) {
            Ok(what) => s.walk.globs.push(Claim {
                what,
                who: format!("sources.{name}"),
                place: Some(path.place),
            }),
            Err(e) => {
                let mut place = path.place;
                // The quote comes first; with escapes the place is off by a little, not wrong.
                place.start = (place.start + 1 + e.pos).min(place.end.saturating_sub(1));
                s.walk.problem(
                    place,
                    format!("`{}` is not a glob: {}", path.text, e.msg),
                    "`*` and `?` match within a name, `**` folders, `[ab]` characters; `[*]` is a star itself",
                );
            }
        }
    }
}

fn tcp(s: &mut Section<'_, '_>, name: &str, journal: bool) -> Option<SourceKind> {
    let listen = s.address("listen", None);
    if s.peek("listen").is_none() {
        s.missing("listen", "add listen = \"127.0.0.1:7655\"");
    }
    let replies = [
        ("none", Reply::None),
        ("prediction", Reply::Prediction),
        ("ack", Reply::Ack),
    ];
    let reply = s.word("reply", &replies, &[], Some("none"));
    if reply == Some(Reply::Ack) && !journal {
        let place = s.place_of("reply");
        let message = "only what is in the journal can be acknowledged";
        let help = "add [state] with dir = \"/var/lib/learnd\" and leave `durability` out";
        s.walk.problem(place, message, help);
    }
    let max_connections = s.integer("max_connections", 1024, 1..=1_000_000);
    let protection = protection::read(s, Some(Scope::Ingest));
    let (listen, place) = listen?;
    protection::closed_to_others(s, listen, &protection);
    s.walk.ports.push(Claim {
        what: listen,
        who: format!("sources.{name}"),
        place,
    });
    Some(SourceKind::Tcp(TcpConfig {
        listen,
        reply: reply?,
        max_connections: max_connections as usize,
        protection,
    }))
}

fn demo(s: &mut Section<'_, '_>, name: &str) -> SourceKind {
    SourceKind::Demo(DemoConfig {
        seed: s.integer("seed", 1, 0..=u64::MAX),
        rate: s
            .number("rate", Some(1000.0), Bound::NotNegative)
            .unwrap_or(0.0),
        speedup: s
            .number("speedup", Some(1.0), Bound::Positive)
            .unwrap_or(1.0),
        records: s.integer("records", 0, 0..=u64::MAX),
        anomaly_every: s.integer("anomaly_every", 1000, 1..=u64::MAX),
        truth: output(s, "truth", &format!("sources.{name}.truth")),
    })
}

fn csv(s: &mut Section<'_, '_>) -> Option<FormatConfig> {
    let plain = CsvConfig::default();
    let delimiter = character(s, "delimiter", ",");
    let quote = character(s, "quote", "\"");
    if delimiter.is_some() && delimiter == quote {
        let place = s.place_of("delimiter");
        let message = "`delimiter` and `quote` are the same character";
        s.walk
            .problem(place, message, "the defaults are `,` and `\"`");
    }
    let header = s.boolean("header", plain.header);
    let columns = s.texts("columns", "[]").unwrap_or_default();
    if !header && columns.is_empty() {
        let place = s.place_of("header");
        let message = "without a header the columns need names";
        s.walk
            .problem(place, message, "add columns = [\"a\", \"b\"]");
    }
    let nonfinite = s.word(
        "nonfinite",
        &[("reject", false), ("missing", true)],
        &[],
        Some("reject"),
    );
    Some(FormatConfig::Csv(CsvConfig {
        delimiter: delimiter?,
        quote: quote?,
        header,
        columns: columns.into_iter().map(|c| c.text).collect(),
        nonfinite_missing: nonfinite?,
    }))
}

/// One ASCII character that is no line end.
fn character(s: &mut Section<'_, '_>, key: &'static str, default: &str) -> Option<u8> {
    let fallback = default.bytes().next();
    let Some(text) = s.text(key, Some(default)) else {
        return s.peek(key).is_none().then_some(fallback?);
    };
    match text.text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => {
            let message = format!("`{key}` must be one ASCII character");
            s.walk.problem(text.place, message, "a tab is \"\\t\"");
            None
        }
    }
}

/// What the kinds of table take, for the schema.
pub(super) const SHAPE: Shape = Shape::Named("source");
