//! A sink that keeps what a decoder tells it, and checks the order in which it is told.

use learnd::base::{Example, FieldSink, HashedFeature, Reject, RejectReason};
use learnd::decode::{Decoded, Decoder, Limits};
use learnd::feature::{FieldLimits, FieldReader, FieldValue, Names, NewNames, Record};

/// A field as it was told; numbers by their bits, with -0 taken for 0 as records do.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Number(u64),
    Boolean(bool),
    Text(String),
    Null,
    Vector(Vec<u64>),
    Other,
}

/// The bits of a number, -0 taken for 0.
pub fn bits(x: f64) -> u64 {
    (x + 0.0).to_bits()
}

/// Keeps what it is told; a name that occurs twice is refused.
#[derive(Debug, Default)]
pub struct Recorder {
    pub fields: Vec<(String, Told)>,
    /// The literals of numbers, in order.
    pub literals: Vec<String>,
    /// Label, weight, initial and tag of a line that bears its own.
    pub example: Option<(Option<f32>, Option<f32>, f32, String)>,
    pub namespaces: usize,
    pub hashed: Vec<HashedFeature>,
    names: std::collections::HashSet<String>,
    line: Vec<u8>,
}

impl Recorder {
    fn tell(&mut self, name: &[u8], told: Told) -> Result<(), RejectReason> {
        let name = String::from_utf8(name.to_vec()).expect("names are UTF-8");
        if !self.names.insert(name.clone()) {
            return Err(RejectReason::DupKey);
        }
        self.fields.push((name, told));
        Ok(())
    }
}

impl FieldSink for Recorder {
    fn number(&mut self, name: &[u8], value: f64, literal: &[u8]) -> Result<(), RejectReason> {
        assert!(value.is_finite());
        let literal = String::from_utf8(literal.to_vec()).expect("literals are ASCII");
        let strict: f64 = literal.parse().expect("a literal is a number");
        assert_eq!(bits(value), bits(strict), "{literal}");
        self.literals.push(literal);
        self.tell(name, Told::Number(bits(value)))
    }
    fn boolean(&mut self, name: &[u8], value: bool) -> Result<(), RejectReason> {
        self.tell(name, Told::Boolean(value))
    }
    fn text(&mut self, name: &[u8], value: &str) -> Result<(), RejectReason> {
        self.tell(name, Told::Text(value.into()))
    }
    fn null(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.tell(name, Told::Null)
    }
    fn vector(&mut self, name: &[u8], values: &[f64]) -> Result<(), RejectReason> {
        assert!(values.iter().all(|x| x.is_finite()));
        self.tell(
            name,
            Told::Vector(values.iter().map(|x| bits(*x)).collect()),
        )
    }
    fn other(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.tell(name, Told::Other)
    }
    fn example(&mut self, example: &Example<'_>) -> Result<(), RejectReason> {
        assert!(self.example.is_none(), "the head of a line is told once");
        assert!(self.namespaces == 0 && self.hashed.is_empty(), "and first");
        let all = [example.label, example.weight, Some(example.initial)];
        assert!(all.iter().flatten().all(|x| x.is_finite()), "{all:?}");
        let tag = example.tag.to_owned();
        self.example = Some((example.label, example.weight, example.initial, tag));
        self.line = example.line.to_vec();
        Ok(())
    }
    fn namespace(&mut self, _first: u8, name: (u32, u32)) -> Result<(), RejectReason> {
        assert!(self.example.is_some(), "the head comes first");
        assert!(name.0 <= name.1 && name.1 as usize <= self.line.len());
        self.namespaces += 1;
        Ok(())
    }
    fn hashed(&mut self, feature: HashedFeature) -> Result<(), RejectReason> {
        let (from, to) = feature.name;
        assert!(self.namespaces > 0, "a feature is of a namespace");
        assert!(from <= to && to as usize <= self.line.len());
        assert!(feature.value.is_finite() && feature.value != 0.0);
        let before = self.hashed.last().map_or(0, |f| f.name.0);
        assert!(before <= from, "features are told in the order of the line");
        self.hashed.push(feature);
        Ok(())
    }
}

/// Limits that no input here reaches, but for the depth.
pub fn wide() -> Limits {
    Limits {
        max_fields: usize::MAX,
        max_depth: 100,
        max_key: usize::MAX,
        max_number: usize::MAX,
        duplicates_last: false,
    }
}

/// A reader with its record, and what the learner's side knows of its names.
pub struct Lane {
    reader: FieldReader,
    record: Record,
    new_names: NewNames,
    names: Names,
}

/// A lane that keeps so many names from line to line.
pub fn record(max_names: usize) -> Lane {
    let reader = FieldReader::new(&FieldLimits {
        max_fields: usize::MAX,
        duplicates_last: false,
        max_names,
        name_seed: 7,
    });
    Lane {
        names: reader.names(0),
        reader,
        record: Record::new(),
        new_names: NewNames::default(),
    }
}

fn of_record(record: &Record, names: &Names) -> Vec<(String, Told)> {
    let field = |(name, value): (&[u8], FieldValue<'_>)| {
        let told = match value {
            FieldValue::Number(x, literal) => {
                let strict: f64 = std::str::from_utf8(literal).unwrap().parse().unwrap();
                assert_eq!(bits(x), bits(strict));
                Told::Number(x.to_bits())
            }
            FieldValue::Boolean(x) => Told::Boolean(x),
            FieldValue::Text(x) => Told::Text(x.into()),
            FieldValue::Null => Told::Null,
            FieldValue::Vector(xs) => Told::Vector(xs.iter().map(|x| bits(*x)).collect()),
            FieldValue::Other => Told::Other,
        };
        (String::from_utf8(name.to_vec()).unwrap(), told)
    };
    record.fields(names).map(field).collect()
}

/// Reads a line into a recorder and into records that remember the names of the lines before; all
/// must have been told the same.
pub fn read(
    decoders: &mut [Decoder; 3],
    lanes: &mut [Lane; 2],
    line: &[u8],
) -> (Result<Decoded, Reject>, Recorder) {
    let mut recorder = Recorder::default();
    let [plain, rest @ ..] = decoders;
    let got = plain.decode(line, &mut recorder);
    for (decoder, lane) in rest.iter_mut().zip(lanes) {
        let mut sink = lane.reader.sink(&mut lane.record);
        let decoded = decoder.decode(line, &mut sink);
        assert_eq!(decoded, got, "of {}", line.escape_ascii());
        lane.reader.hand_over(&mut lane.new_names);
        lane.names.append(&lane.new_names);
        if got == Ok(Decoded::Record) {
            assert_eq!(
                of_record(&lane.record, &lane.names),
                recorder.fields,
                "of {}",
                line.escape_ascii()
            );
        }
    }
    (got, recorder)
}
