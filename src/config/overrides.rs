//! Settings from the command line and the environment, merged into the tree before it is walked.
//!
//! Invariant: `--set` wins over the environment, the environment over the file; what is wrong with
//! an override is shown with the override as its place.

use super::dom::{self, Document, Entry, Node, Place, Table, Value};
use super::section::Problem;
use super::suggest::{did_you_mean, distance, fold};

/// The keys of the file's top.
pub(super) const TOP: &[&str] = &[
    "shutdown_timeout",
    "memory_limit",
    "hash_key_file",
    "server",
    "state",
    "sources",
    "models",
    "sinks",
];

/// Tables of the top that hold tables under names of the user's choice.
const NAMED: &[&str] = &["sources", "models", "sinks"];

/// What overrides the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Of `--set`: dotted path and value, later ones win.
    pub set: Vec<(String, String)>,
    /// The environment: `LEARND_…` overrides, and what `${NAME}` in the file stands for.
    pub env: Vec<(String, String)>,
}

impl Overrides {
    /// Those of this process; variables that are not UTF-8 are left out.
    pub fn from_process(set: &[(String, String)]) -> Overrides {
        Overrides {
            set: set.to_vec(),
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        }
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.env
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
    }
}

/// Merges all of them into the tree. Their texts are added to the documents.
pub(super) fn merge(
    root: &mut Table,
    overrides: &Overrides,
    documents: &mut Vec<Document>,
    problems: &mut Vec<Problem>,
) {
    let mut env: Vec<&(String, String)> = overrides
        .env
        .iter()
        .filter(|(name, _)| name.starts_with("LEARND_"))
        .collect();
    // The environment has no order of its own.
    env.sort();
    for (name, value) in env {
        let tail = name["LEARND_".len()..].to_lowercase();
        let path: Vec<String> = tail.split("__").map(str::to_owned).collect();
        if !is_meant_for_us(&path) {
            continue;
        }
        let offset = name.len() + 1;
        let document = add_document(documents, name.clone(), format!("{name}={value}"));
        let mut at = "LEARND_".len();
        let segments = path
            .into_iter()
            .map(|key| {
                let start = at;
                at += key.len() + "__".len();
                (
                    key,
                    Place::new(document, start..start + at - start - "__".len()),
                )
            })
            .collect();
        apply(
            root,
            segments,
            value_node(value, document, offset),
            true,
            problems,
        );
    }
    for (path, value) in &overrides.set {
        let name = format!("--set {path}");
        let text = format!("{path}={value}");
        let document = add_document(documents, name, text);
        if let Some(segments) = dotted(path, document) {
            let node = value_node(value, document, path.len() + 1);
            apply(root, segments, node, false, problems);
        } else {
            problems.push(Problem {
                place: Place::new(document, 0..path.len()),
                message: format!("`{path}` is not a dotted path of keys"),
                help: Some("write --set models.NAME.hash_bits=22".into()),
            });
        }
    }
}

/// Kubernetes sets `LEARND_PORT` and the like for a service of our name, tests have variables of
/// their own: only what can be a path of the configuration is one.
fn is_meant_for_us(path: &[String]) -> bool {
    match path {
        [key] => TOP.iter().any(|top| distance(key, top) <= 2),
        _ => true,
    }
}

fn add_document(documents: &mut Vec<Document>, name: String, text: String) -> usize {
    documents.push(Document {
        name,
        text,
        numbered: false,
    });
    documents.len() - 1
}

/// A TOML value, else a string.
fn value_node(text: &str, document: usize, offset: usize) -> Node {
    let place = Place::new(document, offset..offset + text.len());
    let mut node = dom::parse_value(text, document, offset).unwrap_or(Node {
        value: Value::Text(text.to_owned()),
        place,
        raw: None,
    });
    node.raw = Some(text.to_owned());
    node
}

/// The keys of a dotted path; parts may be quoted as in TOML.
fn dotted(path: &str, document: usize) -> Option<Vec<(String, Place)>> {
    if path.contains(['\n', '=', '#']) {
        return None;
    }
    let mut table = dom::parse(&format!("{path}=0"), document).ok()?;
    let mut out = Vec::new();
    while let Some(entry) = table.entries.pop() {
        out.push((entry.key, entry.key_place));
        if let Value::Table(inner) = entry.node.value {
            table = inner;
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Puts a value at a path. `folded`: existing names match whatever their case, and `_` as `-`.
fn apply(
    root: &mut Table,
    path: Vec<(String, Place)>,
    value: Node,
    folded: bool,
    problems: &mut Vec<Problem>,
) {
    let mut path = path.into_iter().enumerate().peekable();
    let mut table = root;
    let mut named = false;
    while let Some((depth, (key, place))) = path.next() {
        let mut found = table.entries.iter().position(|e| e.key == key);
        if found.is_none() && folded {
            let like = |e: &Entry| fold(&e.key) == fold(&key);
            let alike: Vec<&str> = table
                .entries
                .iter()
                .filter(|e| like(e))
                .map(|e| e.key.as_str())
                .collect();
            if alike.len() > 1 {
                problems.push(Problem {
                    place,
                    message: format!("this can mean {}", alike.join(" or ")),
                    help: Some("use --set, which takes names as they are".into()),
                });
                return;
            }
            found = table.entries.iter().position(like);
        }
        if found.is_none() && depth == 1 && named && !table.entries.is_empty() {
            let names = table.entries.iter().map(|e| e.key.as_str());
            let help = did_you_mean(&key, "names", names);
            // A new name is allowed, one that is nearly an old one is a mistake.
            if folded || help.starts_with("did you mean") {
                problems.push(Problem {
                    place,
                    message: format!("nothing is named `{key}`"),
                    help: Some(help),
                });
                return;
            }
        }
        if depth == 0 {
            named = NAMED.contains(&key.as_str());
        }
        let is_last = path.peek().is_none();
        let index = found.unwrap_or_else(|| {
            table.entries.push(Entry {
                key,
                key_place: place,
                node: Node {
                    value: Value::Table(Table::default()),
                    place,
                    raw: None,
                },
            });
            table.entries.len() - 1
        });
        let entry = &mut table.entries[index];
        if is_last {
            entry.node = value;
            return;
        }
        if !matches!(entry.node.value, Value::Table(_)) {
            entry.node.value = Value::Table(Table::default());
            entry.node.place = place;
            entry.node.raw = None;
        }
        let Value::Table(inner) = &mut entry.node.value else {
            return;
        };
        table = inner;
    }
}
