//! Where the fields of a source's lines get their ids, and how those become known elsewhere.
//!
//! A [`FieldReader`] takes what a decoder tells and fills [`Record`]s; the learner's [`Names`] follow
//! it through [`NewNames`], which travel with the records. So lines can be decoded on one thread
//! and learned from on another.
//!
//! Invariant: nothing but the speed of finding a field depends on the lines before.

use std::sync::atomic::{AtomicU64, Ordering};

use super::names::{NO_ID, NameTable, same};
use super::record::{Field, Kind, Record};
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

/// Fills records with the fields of one source's lines.
#[derive(Debug)]
pub struct FieldReader {
    /// Tells its ids from those of any other reader.
    number: u64,
    limits: FieldLimits,
    table: NameTable,
    /// How many names were handed over.
    told: usize,
    known: Vec<Known>,
    /// Guess for the first field.
    first: u32,
    /// Number of the record, from 1.
    current: u64,
    /// Id of the field told last.
    last: u32,
    /// The name of the next field has been compared already: it is the guess.
    foreseen: bool,
}

/// The names that got ids since they were last handed over.
#[derive(Debug, Default)]
pub struct NewNames {
    bytes: Vec<u8>,
    /// Where each name ends in `bytes`.
    ends: Vec<u32>,
}

/// The names of the ids in one reader's records, as far as they were handed over.
#[derive(Debug)]
pub struct Names {
    source: u16,
    reader: u64,
    bytes: Vec<u8>,
    /// Where each name ends in `bytes`.
    ends: Vec<u32>,
}

impl FieldReader {
    /// A reader that knows no name.
    pub fn new(limits: &FieldLimits) -> FieldReader {
        // Ids mean something only together with the reader that gave them out.
        static READERS: AtomicU64 = AtomicU64::new(1);
        FieldReader {
            number: READERS.fetch_add(1, Ordering::Relaxed),
            limits: limits.clone(),
            table: NameTable::new(limits.max_names, MOST_NAME_BYTES, limits.name_seed),
            told: 0,
            known: Vec::new(),
            first: NO_ID,
            current: 1,
            last: NO_ID,
            foreseen: false,
        }
    }

    /// Begins a line: whatever the sink is told becomes the record.
    pub fn sink<'a>(&'a mut self, record: &'a mut Record) -> RecordSink<'a> {
        record.clear();
        self.current += 1;
        self.last = NO_ID;
        self.foreseen = false;
        RecordSink {
            reader: self,
            record,
        }
    }

    /// The names of its ids, for the learner of the source with this index; none are in it yet.
    pub fn names(&self, source: u16) -> Names {
        Names {
            source,
            reader: self.number,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Hands over the names that got ids since the last time; mostly none.
    pub fn hand_over(&mut self, out: &mut NewNames) {
        out.bytes.clear();
        out.ends.clear();
        while self.told < self.table.len() {
            out.bytes
                .extend_from_slice(self.table.name(self.told as u32));
            out.ends.push(out.bytes.len() as u32);
            self.told += 1;
        }
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

impl Names {
    /// Index of the source in the configuration.
    pub fn source(&self) -> u16 {
        self.source
    }

    /// Takes in what the reader handed over. Each hand-over is taken in once, in order.
    pub fn append(&mut self, new: &NewNames) {
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&new.bytes);
        self.ends.extend(new.ends.iter().map(|end| offset + end));
    }

    /// How many names have ids; ids are given out from 0.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name of an id.
    pub(super) fn name(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..self.ends[id] as usize]
    }

    /// Which reader gives out the ids.
    pub(super) fn reader(&self) -> u64 {
        self.reader
    }
}

/// Takes one line from a decoder into a record.
#[derive(Debug)]
pub struct RecordSink<'a> {
    pub(super) reader: &'a mut FieldReader,
    pub(super) record: &'a mut Record,
}

impl RecordSink<'_> {
    /// Keeps the field of this name: as a new one or, where the last of several counts, in place
    /// of the earlier one. The value lies at `start..end` of the buffer of its kind.
    #[inline]
    fn put(
        &mut self,
        name: &[u8],
        kind: Kind,
        number: f64,
        (start, end): (usize, usize),
    ) -> Result<(), RejectReason> {
        let reader = &mut *self.reader;
        let guess = reader.guess();
        let foreseen = std::mem::take(&mut reader.foreseen);
        let id = if foreseen || (guess != NO_ID && same(reader.table.name(guess), name)) {
            guess
        } else if let Some(id) = reader.find_or_insert(name) {
            id
        } else {
            NO_ID
        };
        let field = Field {
            number,
            id,
            start: start as u32,
            end: end as u32,
            kind,
        };
        let index = self.record.fields.len();
        match reader.known.get_mut(id as usize) {
            Some(known) if known.record != reader.current && index < reader.limits.max_fields => {
                known.record = reader.current;
                known.index = index as u32;
                reader.last = id;
                self.record.fields.push(field);
                Ok(())
            }
            _ => self.put_otherwise(name, field),
        }
    }

    /// Keeps a field that has no id, or is one too many, or has a name that occurred before.
    #[cold]
    #[inline(never)]
    fn put_otherwise(&mut self, name: &[u8], field: Field) -> Result<(), RejectReason> {
        let earlier = if let Some(known) = self.reader.known.get(field.id as usize) {
            self.reader.last = field.id;
            (known.record == self.reader.current).then_some(known.index as usize)
        } else {
            self.record.index_of_loose(name)
        };
        if let Some(index) = earlier {
            self.give_way(index, name)?;
            self.record.fields[index] = field;
            return Ok(());
        }
        if self.record.fields.len() >= self.reader.limits.max_fields {
            return Err(RejectReason::Fields);
        }
        self.record.push_loose(name);
        self.record.fields.push(field);
        Ok(())
    }

    /// A name occurs again: refused, or the earlier value gives way with all that was in it.
    fn give_way(&mut self, index: usize, name: &[u8]) -> Result<(), RejectReason> {
        if !self.reader.limits.duplicates_last {
            return Err(RejectReason::DupKey);
        }
        if self.record.fields[index].kind == Kind::Other {
            for i in 0..self.record.fields.len() {
                let own = match self.record.fields[i].id {
                    NO_ID => self.record.loose_name(i),
                    id => self.reader.table.name(id),
                };
                let inside = own.strip_prefix(name);
                if inside.is_some_and(|rest| rest.first() == Some(&b'.')) {
                    self.record.fields[i].kind = Kind::Null;
                }
            }
        }
        Ok(())
    }
}

impl FieldSink for RecordSink<'_> {
    #[inline]
    fn expected(&mut self, rest: &[u8]) -> Option<usize> {
        let guess = self.reader.guess();
        if !self.reader.known.get(guess as usize)?.plain {
            return None;
        }
        let name = self.reader.table.name(guess);
        let begins = rest.get(name.len()) == Some(&b'"') && same(name, &rest[..name.len()]);
        self.reader.foreseen = begins;
        begins.then_some(name.len())
    }

    #[inline]
    fn number(&mut self, name: &[u8], value: f64, literal: &[u8]) -> Result<(), RejectReason> {
        let start = self.record.literals.len();
        self.record.literals.extend_from_slice(literal);
        let end = self.record.literals.len();
        // Adding zero turns -0.0 into 0.0 and changes nothing else.
        self.put(name, Kind::Number, value + 0.0, (start, end))
    }

    fn boolean(&mut self, name: &[u8], value: bool) -> Result<(), RejectReason> {
        let kind = if value { Kind::True } else { Kind::False };
        self.put(name, kind, 0.0, (0, 0))
    }

    #[inline]
    fn text(&mut self, name: &[u8], value: &str) -> Result<(), RejectReason> {
        let start = self.record.text.len();
        self.record.text.push_str(value);
        let end = self.record.text.len();
        self.put(name, Kind::Text, 0.0, (start, end))
    }

    fn null(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.put(name, Kind::Null, 0.0, (0, 0))
    }

    fn vector(&mut self, name: &[u8], values: &[f64]) -> Result<(), RejectReason> {
        let start = self.record.vector.len();
        self.record.vector.extend(values.iter().map(|x| x + 0.0));
        let end = self.record.vector.len();
        self.put(name, Kind::Vector, 0.0, (start, end))
    }

    fn other(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.put(name, Kind::Other, 0.0, (0, 0))
    }

    fn example(&mut self, example: &Example<'_>) -> Result<(), RejectReason> {
        self.record.example.begin(example);
        Ok(())
    }

    fn namespace(&mut self, first: u8, name: (u32, u32)) -> Result<(), RejectReason> {
        self.record.example.namespace(first, name);
        Ok(())
    }

    #[inline]
    fn hashed(&mut self, feature: HashedFeature) -> Result<(), RejectReason> {
        self.record.example.push(feature);
        Ok(())
    }
}
