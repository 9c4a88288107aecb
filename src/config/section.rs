//! Reads one table key by key: each key that is asked for becomes known, each problem is noted
//! and reading goes on.
//!
//! Invariant: a key that no reader asked for is an error; what readers return after a problem
//! never leaves `load`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::dom::{Entry, Node, Place, Table, Value};
use super::shape::{Bound, Known, Shape};
use super::suggest::{did_you_mean, nearest};
use super::values;

/// A problem before its document is looked up.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Something that only one component may have: a file that is written, a port.
#[derive(Clone, Debug)]
pub struct Claim<T> {
    /// The thing.
    pub what: T,
    /// By whom, as in `sinks.alerts`.
    pub who: String,
    /// Where it is said; `None` for a default.
    pub place: Option<Place>,
}

/// What is gathered while the tree is walked.
#[derive(Debug, Default)]
pub struct Walk {
    /// Problems so far.
    pub problems: Vec<Problem>,
    /// Every key that was asked for, by kind of table.
    pub known: BTreeMap<(&'static str, &'static str), Known>,
    /// Those of them that were there.
    pub present: BTreeSet<(&'static str, &'static str)>,
    /// Files that will be written.
    pub files: Vec<Claim<PathBuf>>,
    /// Patterns of files that will be read.
    pub globs: Vec<Claim<glob::Pattern>>,
    /// Ports that will be bound.
    pub ports: Vec<Claim<SocketAddr>>,
}

impl Walk {
    /// Notes a problem.
    pub fn problem(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        let help = help.into();
        self.problems.push(Problem {
            place,
            message: message.into(),
            help: (!help.is_empty()).then_some(help),
        });
    }
}

/// A string and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The string.
    pub text: String,
    /// Its place.
    pub place: Place,
}

/// A key that a table has only under some `type` or `task`.
pub type Elsewhere = (&'static str, &'static str);

/// One table while it is read.
pub struct Section<'w, 't> {
    /// Where problems go.
    pub walk: &'w mut Walk,
    /// The kind of table, for `known`.
    kind: &'static str,
    /// How messages name it: `[models.churn]`.
    pub title: String,
    table: &'t Table,
    /// Where it is said that the table exists.
    pub place: Place,
    asked: Vec<&'static str>,
}

impl<'w, 't> Section<'w, 't> {
    /// Starts to read a table.
    pub fn new(
        walk: &'w mut Walk,
        kind: &'static str,
        title: String,
        table: &'t Table,
        place: Place,
    ) -> Self {
        Section {
            walk,
            kind,
            title,
            table,
            place,
            asked: Vec::new(),
        }
    }

    /// The entry of a key, which is known from now on.
    pub fn get(
        &mut self,
        name: &'static str,
        shape: Shape,
        default: Option<String>,
    ) -> Option<&'t Entry> {
        self.walk
            .known
            .entry((self.kind, name))
            .or_insert(Known { shape, default });
        self.asked.push(name);
        let entry = self.table.get(name)?;
        self.walk.present.insert((self.kind, name));
        Some(entry)
    }

    /// The entry of a key, without making it known.
    pub fn peek(&self, name: &str) -> Option<&'t Entry> {
        self.table.get(name)
    }

    /// Where a key's value stands, or the table where the key is missing.
    pub fn place_of(&self, name: &str) -> Place {
        self.table
            .get(name)
            .map_or(self.place, |entry| entry.node.place)
    }

    /// A key that this version does not have yet.
    pub fn later(&mut self, names: &[&'static str]) {
        for name in names {
            if let Some(entry) = self.table.get(name) {
                self.walk.problem(
                    entry.key_place,
                    format!("`{name}` is not available in this version"),
                    "leave it out",
                );
                self.asked.push(name);
            }
        }
    }

    /// A problem about a key that is needed and missing.
    pub fn missing(&mut self, name: &str, help: impl Into<String>) {
        let message = format!("{} has no `{name}`", self.title);
        self.walk.problem(self.place, message, help);
    }

    fn wrong_type(&mut self, name: &str, node: &Node, wanted: &str, example: &str) {
        wrong_type(self.walk, name, node, wanted, example);
    }

    /// A string.
    pub fn text(&mut self, name: &'static str, default: Option<&str>) -> Option<Placed> {
        let entry = self.get(name, Shape::Text, default.map(quoted))?;
        let found = text_of(self.walk, name, &entry.node);
        if let Some(found) = &found
            && found.text.is_empty()
            && default != Some("")
        {
            self.walk.problem(
                found.place,
                format!("`{name}` must not be empty"),
                "name something, or leave the key out",
            );
            return None;
        }
        found
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        let Some(entry) = self.get(name, Shape::Boolean, Some(default.to_string())) else {
            return default;
        };
        if let Value::Boolean(value) = entry.node.value {
            return value;
        }
        self.wrong_type(
            name,
            &entry.node,
            "true or false",
            &format!("{name} = {default}"),
        );
        default
    }

    /// A whole number.
    pub fn integer(&mut self, name: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        let shape = Shape::Integer(low, high);
        let Some(entry) = self.get(name, shape, Some(default.to_string())) else {
            return default;
        };
        let Value::Integer(value) = entry.node.value else {
            self.wrong_type(
                name,
                &entry.node,
                "an integer",
                &format!("{name} = {default}"),
            );
            return default;
        };
        let value = value.and_then(|v| u64::try_from(v).ok());
        if let Some(value) = value.filter(|v| range.contains(v)) {
            return value;
        }
        let wanted = if high >= i64::MAX as u64 {
            format!("{low} or above")
        } else {
            format!("from {low} to {high}")
        };
        self.walk.problem(
            entry.node.place,
            format!("`{name}` must be {wanted}"),
            format!("the default is {default}"),
        );
        default
    }

    /// A number; an integer is one too.
    pub fn number(
        &mut self,
        name: &'static str,
        default: Option<f64>,
        bound: Bound,
    ) -> Option<f64> {
        let shown = default.map(|d| format!("{d:?}"));
        let entry = self.get(name, Shape::Number(bound), shown.clone());
        let Some(entry) = entry else {
            return default;
        };
        number_of(self.walk, name, &entry.node, bound, shown.as_deref())
    }

    /// A duration in a string.
    pub fn duration(
        &mut self,
        name: &'static str,
        default: Option<&str>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let fallback = default.and_then(|d| values::duration(d).ok());
        let Some(entry) = self.get(name, Shape::Duration, default.map(quoted)) else {
            return fallback;
        };
        let example = format!("{name} = {}", quoted(default.unwrap_or("5s")));
        if !is_text(&entry.node) {
            self.wrong_type(name, &entry.node, "a duration in quotes", &example);
            return fallback;
        }
        let text = text_of(self.walk, name, &entry.node)?;
        match values::duration(&text.text) {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(_) => {
                let low = values::format_duration(*range.start());
                let high = values::format_duration(*range.end());
                let message = format!("`{name}` must be from {low} to {high}");
                self.walk
                    .problem(text.place, message, format!("as in {example}"));
            }
            Err(help) => {
                let message = format!("`{name}` is not a duration");
                self.walk.problem(text.place, message, help);
            }
        }
        fallback
    }

    /// A size in a string.
    pub fn size(&mut self, name: &'static str, default: &str, range: RangeInclusive<u64>) -> u64 {
        let fallback = values::size(default).unwrap_or(0);
        let Some(entry) = self.get(name, Shape::Size, Some(quoted(default))) else {
            return fallback;
        };
        let example = format!("{name} = {}", quoted(default));
        if !is_text(&entry.node) {
            self.wrong_type(name, &entry.node, "a size in quotes", &example);
            return fallback;
        }
        let Some(text) = text_of(self.walk, name, &entry.node) else {
            return fallback;
        };
        match values::size(&text.text) {
            Ok(value) if range.contains(&value) => return value,
            Ok(_) => {
                let low = values::format_size(*range.start());
                let message = if *range.end() == u64::MAX {
                    format!("`{name}` must be {low} or more")
                } else {
                    let high = values::format_size(*range.end());
                    format!("`{name}` must be from {low} to {high}")
                };
                self.walk
                    .problem(text.place, message, format!("as in {example}"));
            }
            Err(help) => {
                let message = format!("`{name}` is not a size");
                self.walk.problem(text.place, message, help);
            }
        }
        fallback
    }

    /// One of some words.
    pub fn word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
        later: &[&str],
        default: Option<&str>,
    ) -> Option<T> {
        let shape = Shape::Words(words.iter().map(|(word, _)| *word).collect());
        let entry = self.get(name, shape, default.map(quoted));
        let Some(entry) = entry else {
            if default.is_none() {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.missing(name, format!("add {name} = {}", choices(&all)));
            }
            return default.and_then(|d| words.iter().find(|(w, _)| *w == d).map(|(_, v)| *v));
        };
        word_of(self.walk, name, &entry.node, words, later)
    }

    /// An array of strings, none empty and none twice; `None` where the key is missing.
    pub fn texts(&mut self, name: &'static str, default: &str) -> Option<Vec<Placed>> {
        let shape = Shape::Array(Box::new(Shape::Text));
        let entry = self.get(name, shape, Some(default.to_owned()))?;
        let Value::Array(items) = &entry.node.value else {
            let example = match &entry.node.value {
                Value::Text(text) => format!("{name} = [{}]", quoted(text)),
                _ => format!("{name} = [\"…\"]"),
            };
            self.wrong_type(name, &entry.node, "an array of strings", &example);
            return Some(Vec::new());
        };
        let mut out: Vec<Placed> = Vec::new();
        for item in items {
            if let Some(text) = text_of(self.walk, name, item) {
                if text.text.is_empty() {
                    let message = format!("`{name}` has an empty name");
                    self.walk.problem(text.place, message, "leave it out");
                } else if out.iter().any(|t| t.text == text.text) {
                    let message = format!("`{}` is in `{name}` twice", text.text);
                    self.walk.problem(text.place, message, "leave it out");
                } else {
                    out.push(text);
                }
            }
        }
        Some(out)
    }

    /// An address with a port.
    pub fn address(
        &mut self,
        name: &'static str,
        default: Option<&str>,
    ) -> Option<(SocketAddr, Option<Place>)> {
        let Some(text) = self.text(name, default) else {
            return default.and_then(|d| d.parse().ok()).map(|a| (a, None));
        };
        let local = text.text.replacen("localhost:", "127.0.0.1:", 1);
        if let Ok(address) = local.parse::<SocketAddr>() {
            return Some((address, Some(text.place)));
        }
        let help = match text.text.strip_prefix(':') {
            Some(port) => {
                format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every interface")
            }
            None => {
                "write an address and a port, as in \"127.0.0.1:7655\" or \"[::1]:7655\"".into()
            }
        };
        let message = format!("`{name}` is not an address with a port");
        self.walk.problem(text.place, message, help);
        None
    }

    /// Ends the reading: every key that nobody asked for is a problem.
    ///
    /// `elsewhere` are the keys of other types; where the type is not `resolved` they may be right.
    pub fn finish(self, elsewhere: &[Elsewhere], resolved: bool) {
        for entry in &self.table.entries {
            if self.asked.contains(&entry.key.as_str()) {
                continue;
            }
            let key = &entry.key;
            if let Some((_, place)) = elsewhere.iter().find(|(name, _)| name == key) {
                if resolved {
                    let message = format!("`{key}` has no meaning in {}", self.title);
                    self.walk
                        .problem(entry.key_place, message, format!("it belongs to {place}"));
                }
                continue;
            }
            let message = format!("unknown key `{key}` in {}", self.title);
            let known = self.asked.iter().copied();
            let help = if resolved {
                did_you_mean(key, "known keys", known)
            } else {
                let known = known.chain(elsewhere.iter().map(|(name, _)| *name));
                nearest(key, known).map_or(String::new(), |near| format!("did you mean `{near}`?"))
            };
            self.walk.problem(entry.key_place, message, help);
        }
    }
}

/// Notes that a value is of the wrong type.
pub fn wrong_type(walk: &mut Walk, name: &str, node: &Node, wanted: &str, example: &str) {
    let found = node.value.type_name();
    let message = format!("`{name}` must be {wanted}, not {found}");
    walk.problem(node.place, message, format!("as in {example}"));
}

fn is_text(node: &Node) -> bool {
    matches!(node.value, Value::Text(_)) || node.raw.is_some()
}

/// The table of an entry of `sources`, `models` or `sinks`.
pub fn table_of<'t>(walk: &mut Walk, group: &str, entry: &'t Entry) -> Option<&'t Table> {
    if let Value::Table(table) = &entry.node.value {
        return Some(table);
    }
    let name = format!("{group}.{}", entry.key);
    let example = format!("[{group}.NAME], under a name of your choice");
    wrong_type(walk, &name, &entry.node, "a table", &example);
    None
}

/// The string of a node.
pub fn text_of(walk: &mut Walk, name: &str, node: &Node) -> Option<Placed> {
    let text = match (&node.value, &node.raw) {
        (Value::Text(text), _) => Some(text),
        (Value::Array(_) | Value::Table(_), _) => None,
        (_, raw) => raw.as_ref(),
    };
    if let Some(text) = text {
        return Some(Placed {
            text: text.clone(),
            place: node.place,
        });
    }
    wrong_type(walk, name, node, "a string", &format!("{name} = \"…\""));
    None
}

/// The number of a node.
pub fn number_of(
    walk: &mut Walk,
    name: &str,
    node: &Node,
    bound: Bound,
    default: Option<&str>,
) -> Option<f64> {
    let value = match node.value {
        Value::Integer(Some(value)) => value as f64,
        Value::Float(value) => value,
        _ => {
            let example = format!("{name} = {}", default.unwrap_or("0.5"));
            wrong_type(walk, name, node, "a number", &example);
            return None;
        }
    };
    if bound.holds(value) {
        return Some(value);
    }
    let help = match default {
        Some(default) => format!("the default is {default}"),
        None => format!("as in {name} = {}", bound.example()),
    };
    walk.problem(
        node.place,
        format!("`{name}` must be {}", bound.words()),
        help,
    );
    None
}

/// The word of a node, one of some.
pub fn word_of<T: Copy>(
    walk: &mut Walk,
    name: &str,
    node: &Node,
    words: &[(&'static str, T)],
    later: &[&str],
) -> Option<T> {
    let text = text_of(walk, name, node)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.text) {
        return Some(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    if later.contains(&text.text.as_str()) {
        walk.problem(
            text.place,
            format!("{name} `{}` is not available in this version", text.text),
            format!("available: {}", all.join(", ")),
        );
        return None;
    }
    let help = did_you_mean(&text.text, "available", all.iter().copied());
    walk.problem(text.place, format!("unknown {name} `{}`", text.text), help);
    None
}

/// Words as a choice: `"a", "b" or "c"`.
pub fn choices(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// A string as TOML writes it.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
