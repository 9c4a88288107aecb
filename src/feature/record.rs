//! The fields of one line, in flat arrays that the next line reuses.
//!
//! Invariant: plain data. A record is what its sink was told of one line; a name occurs in it
//! once. Names that have ids stand in it as ids, which the [`Names`] of the same reader explain.

use super::example::ExampleBuffer;
use super::names::NO_ID;
use super::reader::Names;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// A number, never -0.0, with its literal as it stood in the line.
    Number(f64, &'a [u8]),
    /// A boolean.
    Boolean(bool),
    /// A text.
    Text(&'a str),
    /// Null: the field is missing.
    Null,
    /// An array of numbers.
    Vector(&'a [f64]),
    /// An object, or an array of something else.
    Other,
}

/// The kinds of [`FieldValue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    True,
    False,
    Text,
    Null,
    Vector,
    Other,
}

/// One field as it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// The value of a number.
    pub number: f64,
    /// Of the name, or [`NO_ID`].
    pub id: u32,
    /// Where the text or literal lies in `bytes`, or the vector in its buffer.
    pub start: u32,
    pub end: u32,
    pub kind: Kind,
}

/// The name of a field without an id.
#[derive(Clone, Copy, Debug)]
struct LooseName {
    /// Index of the field.
    field: u32,
    /// Where the name lies in `loose_bytes`.
    start: u32,
    end: u32,
}

/// The fields of one line.
#[derive(Debug, Default)]
pub struct Record {
    pub(super) fields: Vec<Field>,
    /// The line where it is known, then texts and literals that are not parts of it.
    pub(super) bytes: Vec<u8>,
    pub(super) vector: Vec<f64>,
    /// Ascending by the field.
    loose: Vec<LooseName>,
    loose_bytes: Vec<u8>,
    /// Where the line bears its own label: everything there is, instead of fields.
    pub(super) example: ExampleBuffer,
}

impl Record {
    /// An empty record.
    pub fn new() -> Record {
        Record::default()
    }

    /// Forgets the fields.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.bytes.clear();
        self.vector.clear();
        self.loose.clear();
        self.loose_bytes.clear();
        self.example.clear();
    }

    /// How many fields the line has, nulls and objects included.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the line has no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields in the order of the line, by the names of their reader.
    pub fn fields<'a>(
        &'a self,
        names: &'a Names,
    ) -> impl Iterator<Item = (&'a [u8], FieldValue<'a>)> {
        (0..self.fields.len()).map(|i| (self.name(i, names), self.value(i)))
    }

    /// The name of the field at an index.
    pub(super) fn name<'a>(&'a self, index: usize, names: &'a Names) -> &'a [u8] {
        match self.fields[index].id {
            NO_ID => self.loose_name(index),
            id => names.name(id),
        }
    }

    /// The name of a field that has no id.
    pub(super) fn loose_name(&self, index: usize) -> &[u8] {
        let place = self
            .loose
            .binary_search_by_key(&(index as u32), |loose| loose.field)
            .expect("a field without an id has a name of its own");
        self.bytes_of(&self.loose[place])
    }

    fn bytes_of(&self, loose: &LooseName) -> &[u8] {
        &self.loose_bytes[loose.start as usize..loose.end as usize]
    }

    /// The value of the field at an index.
    pub(super) fn value(&self, index: usize) -> FieldValue<'_> {
        let field = &self.fields[index];
        let span = field.start as usize..field.end as usize;
        match field.kind {
            Kind::Number => FieldValue::Number(field.number, &self.bytes[span]),
            Kind::True => FieldValue::Boolean(true),
            Kind::False => FieldValue::Boolean(false),
            Kind::Text => {
                let text = std::str::from_utf8(&self.bytes[span]);
                FieldValue::Text(text.expect("it was told as text"))
            }
            Kind::Null => FieldValue::Null,
            Kind::Vector => FieldValue::Vector(&self.vector[span]),
            Kind::Other => FieldValue::Other,
        }
    }

    /// Where the field with this id is, looked for at `guess` first.
    pub(super) fn index_of(&self, id: u32, guess: usize) -> Option<usize> {
        if self.fields.get(guess).is_some_and(|f| f.id == id) {
            return Some(guess);
        }
        self.fields.iter().position(|f| f.id == id)
    }

    /// Where the field is whose name has no id.
    pub(super) fn index_of_loose(&self, name: &[u8]) -> Option<usize> {
        let found = self.loose.iter().find(|l| self.bytes_of(l) == name);
        found.map(|loose| loose.field as usize)
    }

    /// Gives the field that is told next a name of its own.
    pub(super) fn push_loose(&mut self, name: &[u8]) {
        let start = self.loose_bytes.len() as u32;
        self.loose_bytes.extend_from_slice(name);
        self.loose.push(LooseName {
            field: self.fields.len() as u32,
            start,
            end: self.loose_bytes.len() as u32,
        });
    }
}
