//! Where the fields of a source's lines get their ids, and how those become known elsewhere.
//!
//! A [`FieldReader`] takes what a decoder tells and fills [`Record`]s; the learner's [`Names`] follow
//! it through [`NewNames`], which travel with the records. So lines can be decoded on one thread
//! and learned from on another.
//!
//! Most streams have the same names in the same order in nearly every line. A reader keeps such an
//! order; as long as a line keeps to it, each name is compared with one other and known not to have
//! occurred before. From the first name on that does not, names are looked up in a table, where a
//! stamp tells those that occurred in the line.
//!
//! Invariant: nothing but the speed of finding a field depends on the lines before.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the loop over fields, which calls would double"
)]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::names::{NO_ID, NameTable, Token, same};
use super::record::{Field, Kind, Record};
use crate::base::{Example, FieldSink, ForeseenName, HashedFeature, RejectReason};

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

/// After so many lines that do not keep to the order, another is taken at the latest.
const MOST_PATIENCE: u32 = 1024;

/// A name in its place of the order.
#[derive(Clone, Copy, Debug)]
struct Expected {
    token: Token,
    id: u32,
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
    /// The names of an earlier line: none occurs twice, and there are not more than may be.
    order: Vec<Expected>,
    /// The line has kept to the order so far. Then its names have no stamps.
    in_order: bool,
    /// The names of this line become the order.
    taking: bool,
    /// So many further lines may leave the order before another is taken.
    left: u32,
    /// What `left` was at first: the double each time, so that little is spent on streams without
    /// an order.
    patience: u32,
    /// By id: the stamp of the last line out of order in which the name occurred. A byte each, so
    /// that those of the usual names lie in a few lines of the cache.
    stamps: Vec<u8>,
    /// The stamp of this line; never 0.
    current: u8,
    /// The name of the field that is told next.
    foreseen: Option<u32>,
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
            order: Vec::new(),
            in_order: false,
            taking: false,
            left: 0,
            patience: 1,
            stamps: Vec::new(),
            current: 0,
            foreseen: None,
        }
    }

    /// Begins a line: whatever the sink is told becomes the record.
    pub fn sink<'a>(&'a mut self, record: &'a mut Record) -> RecordSink<'a> {
        record.clear();
        self.foreseen = None;
        self.next_line();
        RecordSink {
            reader: self,
            record,
            line: 0..0,
            base: 0,
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

    /// Decides how the next line is read.
    fn next_line(&mut self) {
        if self.in_order {
            // The line before kept to the order, so that this one will.
            self.patience = (self.patience / 2).max(1);
            return;
        }
        self.taking = self.left == 0;
        if self.taking {
            self.order.clear();
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            self.left = self.patience;
        } else {
            self.left -= 1;
            self.in_order = !self.order.is_empty();
        }
        if !self.in_order {
            self.stamp_line();
        }
    }

    /// Gives this line a stamp of its own.
    fn stamp_line(&mut self) {
        self.current = self.current.wrapping_add(1);
        if self.current == 0 {
            self.stamps.fill(0);
            self.current = 1;
        }
    }

    /// The line leaves the order after so many fields: their names get stamps.
    #[cold]
    #[inline(never)]
    fn leave_order(&mut self, fields: usize) {
        self.in_order = false;
        self.stamp_line();
        for expected in &self.order[..fields] {
            self.stamps[expected.id as usize] = self.current;
        }
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
    reader: &'a mut FieldReader,
    record: &'a mut Record,
    /// The addresses of the line's bytes; empty if it is not known.
    line: Range<usize>,
    /// Where they are in the record's.
    base: usize,
}

impl RecordSink<'_> {
    /// Where a text or literal lies in the record's bytes, to which it is added where it is not a
    /// part of the line.
    #[inline(always)]
    fn keep(&mut self, piece: &[u8]) -> (u32, u32) {
        let start = piece.as_ptr().addr();
        let end = start.wrapping_add(piece.len());
        // Bytes of something else cannot lie at an address of the line.
        if start >= self.line.start && end <= self.line.end {
            // Places in a line are far from where they would wrap.
            let place = |address: usize| {
                let place = address.wrapping_sub(self.line.start);
                place.wrapping_add(self.base) as u32
            };
            return (place(start), place(end));
        }
        self.copy(piece)
    }

    #[inline(never)]
    fn copy(&mut self, piece: &[u8]) -> (u32, u32) {
        let start = self.record.bytes.len() as u32;
        self.record.bytes.extend_from_slice(piece);
        (start, self.record.bytes.len() as u32)
    }

    /// Keeps the field of this name: as a new one or, where the last of several counts, in place
    /// of the earlier one. The value lies at this place of the buffer of its kind.
    fn put(
        &mut self,
        name: &[u8],
        kind: Kind,
        number: f64,
        (start, end): (u32, u32),
    ) -> Result<(), RejectReason> {
        let field = Field {
            number,
            id: NO_ID,
            start,
            end,
            kind,
        };
        match self.reader.foreseen.take() {
            None => self.put_named(name, field),
            Some(id) if self.reader.in_order => {
                self.record.fields.push(Field { id, ..field });
                Ok(())
            }
            Some(id) => self.put_known(Field { id, ..field }),
        }
    }

    /// Keeps a field whose name was not foreseen.
    #[inline(never)]
    fn put_named(&mut self, name: &[u8], mut field: Field) -> Result<(), RejectReason> {
        let reader = &mut *self.reader;
        if reader.in_order {
            let index = self.record.fields.len();
            if let Some(expected) = reader.order.get(index)
                && same(reader.table.name(expected.id), name)
            {
                field.id = expected.id;
                self.record.fields.push(field);
                return Ok(());
            }
            reader.leave_order(index);
        }
        let Some(id) = reader.table.find_or_insert(name) else {
            return self.put_loose(name, field);
        };
        if reader.stamps.len() < reader.table.len() {
            // No line has this one.
            reader.stamps.push(0);
        }
        self.put_known(Field { id, ..field })
    }

    /// Looks the name up with which `rest` begins.
    #[inline(never)]
    fn look_up(&mut self, rest: &[u8]) -> Option<ForeseenName> {
        let (name, length) = self.reader.table.find_member(rest)?;
        Some(ForeseenName {
            length: length as u32,
            name,
        })
    }

    /// Keeps a field whose name has an id; the line is not in order.
    #[inline]
    fn put_known(&mut self, field: Field) -> Result<(), RejectReason> {
        let reader = &mut *self.reader;
        let stamp = &mut reader.stamps[field.id as usize];
        if *stamp == reader.current {
            return self.put_again(field);
        }
        if self.record.fields.len() >= reader.limits.max_fields {
            return Err(RejectReason::Fields);
        }
        *stamp = reader.current;
        if reader.taking {
            self.take(field.id);
        }
        self.record.fields.push(field);
        Ok(())
    }

    /// Adds a name to the order.
    #[inline(never)]
    fn take(&mut self, id: u32) {
        // Not behind a name without an id.
        if self.reader.order.len() == self.record.fields.len() {
            let token = Token::of(self.reader.table.name(id));
            self.reader.order.push(Expected { token, id });
        }
    }

    /// Keeps a field whose name has no id.
    #[cold]
    #[inline(never)]
    fn put_loose(&mut self, name: &[u8], field: Field) -> Result<(), RejectReason> {
        if let Some(index) = self.record.index_of_loose(name) {
            give_way(self.reader, self.record, index, name)?;
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

    /// Keeps a field whose name occurred before.
    #[cold]
    #[inline(never)]
    fn put_again(&mut self, field: Field) -> Result<(), RejectReason> {
        let index = self
            .record
            .index_of(field.id, 0)
            .expect("a name with the stamp of the line is in it");
        let name = self.reader.table.name(field.id);
        give_way(self.reader, self.record, index, name)?;
        self.record.fields[index] = field;
        Ok(())
    }
}

/// A name occurs again: refused, or the earlier value gives way with all that was in it.
fn give_way(
    reader: &FieldReader,
    record: &mut Record,
    index: usize,
    name: &[u8],
) -> Result<(), RejectReason> {
    if !reader.limits.duplicates_last {
        return Err(RejectReason::DupKey);
    }
    if record.fields[index].kind == Kind::Other {
        for i in 0..record.fields.len() {
            let own = match record.fields[i].id {
                NO_ID => record.loose_name(i),
                id => reader.table.name(id),
            };
            let inside = own.strip_prefix(name);
            if inside.is_some_and(|rest| rest.first() == Some(&b'.')) {
                record.fields[i].kind = Kind::Null;
            }
        }
    }
    Ok(())
}

impl FieldSink for RecordSink<'_> {
    fn line(&mut self, line: &[u8]) {
        let start = line.as_ptr().addr();
        self.line = start..start + line.len();
        self.base = self.record.bytes.len();
        self.record.bytes.extend_from_slice(line);
    }

    #[inline(always)]
    fn foreseen(&mut self, rest: &[u8]) -> Option<ForeseenName> {
        if !self.reader.in_order {
            return self.look_up(rest);
        }
        // What is another name, and what is the same in other words, shows when it is told.
        let expected = self.reader.order.get(self.record.fields.len())?;
        let length = expected.token.begins(rest)?;
        Some(ForeseenName {
            length,
            name: expected.id,
        })
    }

    fn foresee(&mut self, name: ForeseenName) {
        self.reader.foreseen = Some(name.name);
    }

    #[inline(always)]
    fn foreseen_number(
        &mut self,
        name: ForeseenName,
        value: f64,
        _line: &[u8],
        literal: Range<usize>,
    ) -> Result<(), RejectReason> {
        let field = Field {
            // Adding zero turns -0.0 into 0.0 and changes nothing else.
            number: value + 0.0,
            id: name.name,
            // Places in a line are far from where they would wrap.
            start: literal.start.wrapping_add(self.base) as u32,
            end: literal.end.wrapping_add(self.base) as u32,
            kind: Kind::Number,
        };
        if !self.reader.in_order {
            return self.put_known(field);
        }
        self.record.fields.push(field);
        Ok(())
    }

    #[inline]
    fn number(&mut self, name: &[u8], value: f64, literal: &[u8]) -> Result<(), RejectReason> {
        let place = self.keep(literal);
        self.put(name, Kind::Number, value + 0.0, place)
    }

    fn boolean(&mut self, name: &[u8], value: bool) -> Result<(), RejectReason> {
        let kind = if value { Kind::True } else { Kind::False };
        self.put(name, kind, 0.0, (0, 0))
    }

    #[inline]
    fn text(&mut self, name: &[u8], value: &str) -> Result<(), RejectReason> {
        let place = self.keep(value.as_bytes());
        self.put(name, Kind::Text, 0.0, place)
    }

    fn null(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.put(name, Kind::Null, 0.0, (0, 0))
    }

    fn vector(&mut self, name: &[u8], values: &[f64]) -> Result<(), RejectReason> {
        let start = self.record.vector.len() as u32;
        self.record.vector.extend(values.iter().map(|x| x + 0.0));
        let end = self.record.vector.len() as u32;
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
