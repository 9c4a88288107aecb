//! The named columns of one plan: numbers and places of vectors, in order of first appearance.
//!
//! Invariant: a column keeps its place for good; there are at most [`MAX_COLUMNS`]; the places of a
//! vector got theirs in ascending order.

use super::names::NameTable;
use super::rules::{Reading, Rules};
use crate::base::{Column, Reader, StateError, Writer};

/// Most named columns; further numbers go to the hashed part.
pub const MAX_COLUMNS: usize = 256;

/// In saved state: the column is a number, not a place of a vector.
const SCALAR: u32 = u32::MAX;

/// Where a number goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To this column.
    Column(u32),
    /// To the hashed part, for good: there is no column left.
    Hashed,
    /// Nowhere, for now: it has no column and none may be added.
    Nowhere,
}

/// The columns.
#[derive(Debug)]
pub(super) struct Columns {
    /// How each is scaled.
    pub scaling: Vec<Column>,
    /// Names for people; those of a vector's places are `name[0]`.
    pub names: Vec<String>,
    /// The field of each column, and which place of it (or [`SCALAR`]).
    fields: Vec<(String, u32)>,
    scalars: NameTable,
    /// By number in `scalars`.
    of_scalars: Vec<u32>,
    vectors: NameTable,
    /// By number in `vectors`, then by place.
    of_vectors: Vec<Vec<u32>>,
}

impl Columns {
    pub fn new() -> Columns {
        // At most MAX_COLUMNS names ever come in, each within a line's limits, so that the table
        // needs no limit in bytes; slow as a chosen collision may be, it is bounded by that, too.
        let table = || NameTable::new(MAX_COLUMNS, usize::MAX, 0);
        Columns {
            scaling: Vec::new(),
            names: Vec::new(),
            fields: Vec::new(),
            scalars: table(),
            of_scalars: Vec::new(),
            vectors: table(),
            of_vectors: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.scaling.len()
    }

    /// The place of a number.
    pub fn scalar(&mut self, name: &[u8], reading: &Reading, grow: bool) -> Place {
        if let Some(number) = self.scalars.find(name) {
            return Place::Column(self.of_scalars[number as usize]);
        }
        match self.add(name, SCALAR, reading, grow) {
            Place::Column(column) => {
                self.scalars.find_or_insert(name);
                self.of_scalars.push(column);
                Place::Column(column)
            }
            place => place,
        }
    }

    /// The columns of a vector of this length, one for each of its first places; what is beyond
    /// them goes to the hashed part if that is full, else nowhere.
    pub fn vector(&mut self, name: &[u8], length: usize, reading: &Reading, grow: bool) -> &[u32] {
        let number = match self.vectors.find(name) {
            Some(number) => number as usize,
            None if length > 0 && grow && self.len() < MAX_COLUMNS => {
                self.vectors.find_or_insert(name);
                self.of_vectors.push(Vec::new());
                self.of_vectors.len() - 1
            }
            None => return &[],
        };
        while self.of_vectors[number].len() < length {
            let place = self.of_vectors[number].len() as u32;
            match self.add(name, place, reading, grow) {
                Place::Column(column) => self.of_vectors[number].push(column),
                _ => break,
            }
        }
        let known = &self.of_vectors[number];
        &known[..known.len().min(length)]
    }

    /// Whether there will never be another column.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_COLUMNS
    }

    fn add(&mut self, name: &[u8], place: u32, reading: &Reading, grow: bool) -> Place {
        if self.is_full() {
            return Place::Hashed;
        }
        if !grow {
            return Place::Nowhere;
        }
        let field = String::from_utf8_lossy(name).into_owned();
        self.names.push(if place == SCALAR {
            field.clone()
        } else {
            format!("{field}[{place}]")
        });
        self.fields.push((field, place));
        self.scaling.push(Column {
            scale: reading.scale,
            clip: reading.clip,
        });
        Place::Column(self.len() as u32 - 1)
    }

    pub fn save(&self, out: &mut Writer) {
        let fields: Vec<&str> = self.fields.iter().map(|f| f.0.as_str()).collect();
        let places: Vec<u32> = self.fields.iter().map(|f| f.1).collect();
        out.texts("columns", &fields);
        out.u32s("places", &places);
    }

    /// Reads the columns back. How they are scaled is the configuration's to say.
    pub fn load(&mut self, from: &Reader<'_>, rules: &Rules) -> Result<(), StateError> {
        let fields = from.texts("columns")?;
        let places = from.u32s_of("places", fields.len())?;
        if fields.len() > MAX_COLUMNS {
            return Err(from.invalid("columns", "more than a plan can have"));
        }
        let mut read = Columns::new();
        for (field, place) in fields.iter().zip(places) {
            let name = field.as_bytes();
            let reading = rules.reading_or_default(name);
            let expected = read.len() as u32;
            let added = if *place == SCALAR {
                read.scalar(name, &reading, true) == Place::Column(expected)
            } else {
                let known = read.vector(name, *place as usize, &reading, false).len();
                known == *place as usize
                    && read.vector(name, known + 1, &reading, true).last() == Some(&expected)
            };
            if !added {
                return Err(from.invalid("places", format!("no plan has {field} there")));
            }
        }
        *self = read;
        Ok(())
    }
}
