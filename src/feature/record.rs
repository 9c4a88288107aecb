//! The fields of one line, in flat arrays that the next line reuses.
//!
//! Invariant: nothing but the speed of finding a field depends on the lines before. A record is
//! what the sink was told since `begin`; a name occurs in it once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::example::ExampleBuffer;
use super::names::{NameTable, same};
use crate::base::{Example, FieldSink, HashedFeature, RejectReason};

/// What a record may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldLimits {
    /// Most fields of a record.
    pub max_fields: usize,
    /// Of a name that occurs twice the last value counts; else the line is refused.
    pub duplicates_last: bool,
    /// Most names that are kept from line to line; fields of further names work as well, slower.
    pub max_names: usize,
    /// Seed of the table of names: random or secret where senders are not trusted. Nothing that is
    /// learned depends on it.
    pub name_seed: u64,
}

impl Default for FieldLimits {
    fn default() -> Self {
        FieldLimits {
            max_fields: 1024,
            duplicates_last: false,
            max_names: 65_536,
            name_seed: 0,
        }
    }
}

/// Most bytes of names that are kept from line to line.
const MOST_NAME_BYTES: usize = 8 << 20;

/// Stands for a name that the table has no room for.
const NO_ID: u32 = u32::MAX;

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

/// The kinds of [`FieldValue`], with what is needed to find it in the buffers.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Number(f64),
    Boolean(bool),
    Text,
    Null,
    Vector,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    /// Of the name, or [`NO_ID`].
    id: u32,
    /// Index of the name in `loose` if it has no id.
    loose: u32,
    /// Where the text, literal or vector lies in its buffer.
    start: u32,
    end: u32,
    stored: Stored,
}

/// The name of a field without an id.
#[derive(Clone, Copy, Debug)]
struct LooseName {
    hash: u64,
    /// Index of the field.
    field: u32,
    /// Where the name lies in `loose_bytes`.
    start: u32,
    end: u32,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The record in which it was last seen, and its index there.
    record: u64,
    index: u32,
    /// The id that followed it when it was last seen, the best guess for the next time.
    follower: u32,
    /// It stands in a line of JSON as it is, without escapes.
    plain: bool,
}

/// The fields of one line of one source. Implements [`FieldSink`].
#[derive(Debug)]
pub struct Record {
    source: u16,
    table_number: u64,
    limits: FieldLimits,
    table: NameTable,
    known: Vec<Known>,
    /// Guess for the first field.
    first: u32,
    /// Number of the record, from 1.
    current: u64,
    /// Id of the field told last.
    last: u32,
    /// The name of the next field has been compared already: it is the guess.
    foreseen: bool,
    fields: Vec<Field>,
    text: String,
    literals: Vec<u8>,
    vector: Vec<f64>,
    loose: Vec<LooseName>,
    loose_bytes: Vec<u8>,
    /// Where the line bears its own label: everything there is, instead of fields.
    pub(super) example: ExampleBuffer,
}

impl Record {
    /// An empty record of the source with this index in the configuration.
    pub fn new(source: u16, limits: &FieldLimits) -> Record {
        // Ids mean something only together with the table that gave them out.
        static TABLES: AtomicU64 = AtomicU64::new(1);
        Record {
            source,
            table_number: TABLES.fetch_add(1, Ordering::Relaxed),
            limits: limits.clone(),
            table: NameTable::new(limits.max_names, MOST_NAME_BYTES, limits.name_seed),
            known: Vec::new(),
            first: NO_ID,
            current: 1,
            last: NO_ID,
            foreseen: false,
            fields: Vec::new(),
            text: String::new(),
            literals: Vec::new(),
            vector: Vec::new(),
            loose: Vec::new(),
            loose_bytes: Vec::new(),
            example: ExampleBuffer::default(),
        }
    }

    /// Forgets the fields; call it before each line.
    pub fn begin(&mut self) {
        self.current += 1;
        self.last = NO_ID;
        self.foreseen = false;
        self.fields.clear();
        self.text.clear();
        self.literals.clear();
        self.vector.clear();
        self.loose.clear();
        self.loose_bytes.clear();
        self.example.clear();
    }

    /// Index of the source in the configuration.
    pub fn source(&self) -> u16 {
        self.source
    }

    /// How many fields the line has, nulls and objects included.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the line has no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields in the order of the line.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], FieldValue<'_>)> {
        (0..self.fields.len()).map(|i| (self.name(i), self.value(i)))
    }

    /// The value of the field of this name; `None` if the line has none.
    pub fn find(&self, name: &[u8]) -> Option<FieldValue<'_>> {
        match self.table.find(name) {
            Some(id) => self.get(id),
            None => self.find_loose(name),
        }
    }

    /// The value of the field with this id; `None` if the line has none.
    pub fn get(&self, id: u32) -> Option<FieldValue<'_>> {
        let known = self.known.get(id as usize)?;
        (known.record == self.current).then(|| self.value(known.index as usize))
    }

    /// The id of a name, if it has one: the same for every record of this object.
    pub fn id_of(&self, name: &[u8]) -> Option<u32> {
        self.table.find(name)
    }

    /// The name of an id below [`Record::names_known`].
    pub(super) fn name_of(&self, id: u32) -> &[u8] {
        self.table.name(id)
    }

    /// How many names have ids; ids are given out from 0.
    pub(super) fn names_known(&self) -> usize {
        self.table.len()
    }

    /// Tells the table of this record from every other one in the process.
    pub(super) fn table_number(&self) -> u64 {
        self.table_number
    }

    /// The id of the field at an index, if its name has one.
    pub(super) fn id(&self, index: usize) -> Option<u32> {
        let id = self.fields[index].id;
        (id != NO_ID).then_some(id)
    }

    /// The name of the field at an index.
    pub(super) fn name(&self, index: usize) -> &[u8] {
        match self.id(index) {
            Some(id) => self.table.name(id),
            None => self.loose_name(&self.loose[self.fields[index].loose as usize]),
        }
    }

    /// The value of the field at an index.
    pub(super) fn value(&self, index: usize) -> FieldValue<'_> {
        let field = &self.fields[index];
        let span = field.start as usize..field.end as usize;
        match field.stored {
            Stored::Number(value) => FieldValue::Number(value, &self.literals[span]),
            Stored::Boolean(value) => FieldValue::Boolean(value),
            Stored::Text => FieldValue::Text(&self.text[span]),
            Stored::Null => FieldValue::Null,
            Stored::Vector => FieldValue::Vector(&self.vector[span]),
            Stored::Other => FieldValue::Other,
        }
    }

    /// The value of a field whose name has no id.
    pub(super) fn find_loose(&self, name: &[u8]) -> Option<FieldValue<'_>> {
        if self.loose.is_empty() {
            return None;
        }
        self.loose_index(name, self.table.hash(name))
            .map(|index| self.value(index))
    }

    fn loose_name(&self, loose: &LooseName) -> &[u8] {
        &self.loose_bytes[loose.start as usize..loose.end as usize]
    }

    fn loose_index(&self, name: &[u8], hash: u64) -> Option<usize> {
        self.loose
            .iter()
            .find(|loose| loose.hash == hash && self.loose_name(loose) == name)
            .map(|loose| loose.field as usize)
    }

    /// The number of the field at an index, with the name's id ([`NO_ID`] for none); `None` for
    /// other values.
    #[inline]
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u32, Option<f64>)> {
        self.fields.iter().map(|field| match field.stored {
            Stored::Number(value) => (field.id, Some(value)),
            _ => (field.id, None),
        })
    }

    /// Keeps the field of this name: as a new one or, where the last of several counts, in place
    /// of the earlier one. The value lies at `start..end` of the buffer of its kind.
    #[inline]
    fn put(
        &mut self,
        name: &[u8],
        stored: Stored,
        (start, end): (usize, usize),
    ) -> Result<(), RejectReason> {
        let guess = self.guess();
        let foreseen = std::mem::take(&mut self.foreseen);
        let id = if foreseen || (guess != NO_ID && same(self.table.name(guess), name)) {
            guess
        } else if let Some(id) = self.find_or_insert(name) {
            id
        } else {
            NO_ID
        };
        let field = Field {
            id,
            loose: 0,
            start: start as u32,
            end: end as u32,
            stored,
        };
        let index = self.fields.len();
        match self.known.get_mut(id as usize) {
            Some(known) if known.record != self.current && index < self.limits.max_fields => {
                known.record = self.current;
                known.index = index as u32;
                self.last = id;
                self.fields.push(field);
                Ok(())
            }
            _ => self.put_otherwise(name, field),
        }
    }

    /// Keeps a field that has no id, or is one too many, or has a name that occurred before.
    #[cold]
    #[inline(never)]
    fn put_otherwise(&mut self, name: &[u8], mut field: Field) -> Result<(), RejectReason> {
        let earlier = if let Some(known) = self.known.get(field.id as usize) {
            self.last = field.id;
            (known.record == self.current).then_some(known.index as usize)
        } else {
            self.loose_index(name, self.table.hash(name))
        };
        if let Some(index) = earlier {
            self.give_way(index, name)?;
            let earlier = &mut self.fields[index];
            field.loose = earlier.loose;
            *earlier = field;
            return Ok(());
        }
        if self.fields.len() >= self.limits.max_fields {
            return Err(RejectReason::Fields);
        }
        field.loose = self.loose.len() as u32;
        let start = self.loose_bytes.len() as u32;
        self.loose_bytes.extend_from_slice(name);
        self.loose.push(LooseName {
            hash: self.table.hash(name),
            field: self.fields.len() as u32,
            start,
            end: self.loose_bytes.len() as u32,
        });
        self.fields.push(field);
        Ok(())
    }

    /// A name occurs again: refused, or the earlier value gives way with all that was in it.
    fn give_way(&mut self, index: usize, name: &[u8]) -> Result<(), RejectReason> {
        if !self.limits.duplicates_last {
            return Err(RejectReason::DupKey);
        }
        if let Stored::Other = self.fields[index].stored {
            for i in 0..self.fields.len() {
                let inside = self.name(i).strip_prefix(name);
                if inside.is_some_and(|rest| rest.first() == Some(&b'.')) {
                    self.fields[i].stored = Stored::Null;
                }
            }
        }
        Ok(())
    }

    /// The id that most likely comes next.
    #[inline]
    fn guess(&self) -> u32 {
        match self.known.get(self.last as usize) {
            Some(known) => known.follower,
            None => self.first,
        }
    }

    /// The id of a name that was not guessed; the next guess at this place is this one.
    #[inline(never)]
    fn find_or_insert(&mut self, name: &[u8]) -> Option<u32> {
        let id = self.table.find_or_insert(name)?;
        if id as usize == self.known.len() {
            self.known.push(Known {
                record: 0,
                index: 0,
                follower: NO_ID,
                plain: name
                    .iter()
                    .all(|b| *b >= b' ' && !matches!(b, b'"' | b'\\')),
            });
        }
        match self.known.get_mut(self.last as usize) {
            Some(known) => known.follower = id,
            None => self.first = id,
        }
        Some(id)
    }
}

impl FieldSink for Record {
    #[inline]
    fn expected(&mut self, rest: &[u8]) -> Option<usize> {
        let guess = self.guess();
        if !self.known.get(guess as usize)?.plain {
            return None;
        }
        let name = self.table.name(guess);
        let begins = rest.get(name.len()) == Some(&b'"') && same(name, &rest[..name.len()]);
        self.foreseen = begins;
        begins.then_some(name.len())
    }

    #[inline]
    fn number(&mut self, name: &[u8], value: f64, literal: &[u8]) -> Result<(), RejectReason> {
        let start = self.literals.len();
        self.literals.extend_from_slice(literal);
        let end = self.literals.len();
        // Adding zero turns -0.0 into 0.0 and changes nothing else.
        self.put(name, Stored::Number(value + 0.0), (start, end))
    }

    fn boolean(&mut self, name: &[u8], value: bool) -> Result<(), RejectReason> {
        self.put(name, Stored::Boolean(value), (0, 0))
    }

    #[inline]
    fn text(&mut self, name: &[u8], value: &str) -> Result<(), RejectReason> {
        let start = self.text.len();
        self.text.push_str(value);
        let end = self.text.len();
        self.put(name, Stored::Text, (start, end))
    }

    fn null(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.put(name, Stored::Null, (0, 0))
    }

    fn vector(&mut self, name: &[u8], values: &[f64]) -> Result<(), RejectReason> {
        let start = self.vector.len();
        self.vector.extend(values.iter().map(|x| x + 0.0));
        let end = self.vector.len();
        self.put(name, Stored::Vector, (start, end))
    }

    fn other(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.put(name, Stored::Other, (0, 0))
    }

    fn example(&mut self, example: &Example<'_>) -> Result<(), RejectReason> {
        self.example.begin(example);
        Ok(())
    }

    fn namespace(&mut self, first: u8, name: (u32, u32)) -> Result<(), RejectReason> {
        self.example.namespace(first, name);
        Ok(())
    }

    fn hashed(&mut self, feature: HashedFeature) -> Result<(), RejectReason> {
        self.example.push(feature);
        Ok(())
    }
}
