//! The file as a tree in which every key and value knows its place.
//!
//! Invariant: entries keep the order of the file, and every place lies within its document.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Text that places point into: the file, or one override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// How it is named in messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Places are shown with line and column (files), or not (overrides).
    pub numbered: bool,
}

/// A range of bytes in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The document's index; 0 is the file.
    pub document: usize,
    /// First byte.
    pub start: usize,
    /// After the last byte.
    pub end: usize,
}

impl Place {
    pub(super) fn new(document: usize, range: Range<usize>) -> Place {
        Place {
            document,
            start: range.start,
            end: range.end,
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub place: Place,
    /// Of an override: its text, so that `path = 5` can be the file `5`.
    pub raw: Option<String>,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer; `None` beyond 128 bits.
    Integer(Option<i128>),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A date or time, which no key takes.
    Datetime,
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
}

impl Value {
    /// Its type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// One `key = value`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's place.
    pub key_place: Place,
    /// The value.
    pub node: Node,
}

/// A table in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its entries; no key occurs twice.
    pub entries: Vec<Entry>,
}

impl Table {
    /// The entry with a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
}

/// A syntax error: its place and what is wrong.
pub struct SyntaxError {
    /// Its place.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

/// Parses a document whole; every syntax error that the parser can tell apart is reported.
pub fn parse(text: &str, document: usize) -> Result<Table, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(convert_table(table.into_inner(), document));
    }
    let mut errors: Vec<SyntaxError> = errors
        .iter()
        .map(|e| SyntaxError {
            place: Place::new(document, e.span().unwrap_or(text.len()..text.len())),
            message: e.message().to_owned(),
        })
        .collect();
    // What follows a mistake on its line is mostly its echo.
    errors.sort_by_key(|e| e.place);
    errors.dedup_by(|later, first| {
        let (from, to) = (first.place.start, later.place.start.min(text.len()));
        let between = from.min(to)..to;
        !text.as_bytes()[between].contains(&b'\n')
    });
    Err(errors)
}

/// Parses one value; `offset` is where it stands in its document.
pub fn parse_value(text: &str, document: usize, offset: usize) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut node = convert(value, document);
    shift(&mut node, offset);
    Some(node)
}

fn shift(node: &mut Node, offset: usize) {
    let moved = |place: &mut Place| {
        place.start += offset;
        place.end += offset;
    };
    moved(&mut node.place);
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, offset)),
        Value::Table(table) => {
            for entry in &mut table.entries {
                moved(&mut entry.key_place);
                shift(&mut entry.node, offset);
            }
        }
        _ => {}
    }
}

fn convert(value: Spanned<DeValue<'_>>, document: usize) -> Node {
    let place = Place::new(document, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => Value::Integer(i128::from_str_radix(n.as_str(), n.radix()).ok()),
        DeValue::Float(x) => Value::Float(x.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Boolean(b),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| convert(item, document))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, document)),
    };
    Node {
        value,
        place,
        raw: None,
    }
}

fn convert_table(table: DeTable<'_>, document: usize) -> Table {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key_place: Place::new(document, key.span()),
            key: key.into_inner().into_owned(),
            node: convert(value, document),
        })
        .collect();
    entries.sort_by_key(|e| e.key_place);
    Table { entries }
}

/// Puts environment variables into every string: `${NAME}`; `$${` stands for `${`.
///
/// Calls `wrong` for each that cannot be put in.
pub fn substitute(
    table: &mut Table,
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    wrong: &mut dyn FnMut(Place, String, String),
) {
    for entry in &mut table.entries {
        substitute_node(&mut entry.node, text, lookup, wrong);
    }
}

fn substitute_node(
    node: &mut Node,
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    wrong: &mut dyn FnMut(Place, String, String),
) {
    match &mut node.value {
        Value::Text(string) if string.contains("${") => {
            *string = expand(string, lookup, &mut |part, message, help| {
                // Without escapes the part stands in the file as it is in the string.
                let raw = text.get(node.place.start..node.place.end).unwrap_or("");
                let place = match raw.find(part) {
                    Some(at) => Place {
                        start: node.place.start + at,
                        end: node.place.start + at + part.len(),
                        ..node.place
                    },
                    None => node.place,
                };
                wrong(place, message, help);
            });
        }
        Value::Array(items) => {
            for item in items {
                substitute_node(item, text, lookup, wrong);
            }
        }
        Value::Table(table) => substitute(table, text, lookup, wrong),
        _ => {}
    }
}

fn expand(
    string: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    wrong: &mut dyn FnMut(&str, String, String),
) -> String {
    let mut out = String::new();
    let mut rest = string;
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &tail["${".len()..];
            continue;
        }
        out.push_str(before);
        let length = tail.find('}').map_or(tail.len(), |end| end + 1);
        let (part, after) = tail.split_at(length);
        let name = part["${".len()..].trim_end_matches('}');
        let well_formed = part.ends_with('}')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_formed {
            wrong(
                part,
                "`${` does not begin a name like `${NAME}`".to_owned(),
                "write `$${` for the two characters themselves".to_owned(),
            );
        } else if let Some(value) = lookup(name) {
            out.push_str(&value);
        } else {
            wrong(
                part,
                format!("the environment variable `{name}` is not set"),
                format!("set it, or write `$${{{name}}}` for the text itself"),
            );
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let mut wrong = None;
        let out = expand(
            text,
            &|name| (name == "HOME_DIR").then(|| "/home/x".to_owned()),
            &mut |_, message, _| wrong = Some(message),
        );
        wrong.map_or(Ok(out), Err)
    }

    #[test]
    fn variables_stand_inside_strings() {
        assert_eq!(expanded("a${HOME_DIR}/b"), Ok("a/home/x/b".into()));
        assert_eq!(
            expanded("$${HOME_DIR} $5 ${HOME_DIR}"),
            Ok("${HOME_DIR} $5 /home/x".into())
        );
        assert_eq!(expanded("$${ ${HOME_DIR}"), Ok("${ /home/x".into()));
        for text in ["${NOPE}", "${", "${}", "${A-B}", "${HOME_DIR", "${1}"] {
            assert!(expanded(text).is_err(), "{text}");
        }
    }

    #[test]
    fn entries_keep_the_order_and_places_of_the_file() {
        let text = "[b]\nz = 1\na = [2, 3]\n[a.x]\n";
        let table = parse(text, 0).ok().unwrap();
        let names: Vec<&str> = table.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let Value::Table(b) = &table.entries[0].node.value else {
            panic!("b is a table");
        };
        assert_eq!(b.entries[0].key, "z");
        let place = b.entries[1].node.place;
        assert_eq!(&text[place.start..place.end], "[2, 3]");
    }

    #[test]
    fn every_line_with_a_syntax_error_is_reported() {
        let errors = parse("a = \nb = 1\nc = [1,\n", 0).err().unwrap();
        assert!(errors.len() >= 2);
    }
}
