//! What the tests of the decoders share: a sink that keeps everything it is told.

use super::{Decoded, Decoder};
use crate::base::{FieldSink, Reject, RejectReason};

/// A field as it was told; doubles by their bits.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Number(u64, String),
    Boolean(bool),
    Text(String),
    Null,
    Vector(Vec<u64>),
    Other,
}

/// Keeps what it is told.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub fields: Vec<(String, Told)>,
    /// Of a name that occurs twice both are kept; else it is refused.
    pub duplicates: bool,
}

impl Recorder {
    fn tell(&mut self, name: &[u8], told: Told) -> Result<(), RejectReason> {
        let name = String::from_utf8(name.to_vec()).unwrap();
        if !self.duplicates && self.fields.iter().any(|f| f.0 == name) {
            return Err(RejectReason::DupKey);
        }
        self.fields.push((name, told));
        Ok(())
    }
}

impl FieldSink for Recorder {
    fn number(&mut self, name: &[u8], value: f64, literal: &[u8]) -> Result<(), RejectReason> {
        let literal = String::from_utf8(literal.to_vec()).unwrap();
        self.tell(name, Told::Number(value.to_bits(), literal))
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
        let bits = values.iter().map(|x| x.to_bits()).collect();
        self.tell(name, Told::Vector(bits))
    }
    fn other(&mut self, name: &[u8]) -> Result<(), RejectReason> {
        self.tell(name, Told::Other)
    }
}

/// A number with its literal.
pub(super) fn number(value: f64, literal: &str) -> Told {
    Told::Number(value.to_bits(), literal.into())
}

/// A text.
pub(super) fn text(value: &str) -> Told {
    Told::Text(value.into())
}

/// The fields of one line.
pub(super) fn fields(
    decoder: &mut Decoder,
    line: &[u8],
) -> Result<(Decoded, Vec<(String, Told)>), Reject> {
    let mut recorder = Recorder::default();
    let decoded = decoder.decode(line, &mut recorder)?;
    Ok((decoded, recorder.fields))
}
