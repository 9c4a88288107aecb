//! What a decoder says of a line: its fields one by one, or why the line is refused.
//!
//! Invariant: a line is refused whole. A sink holds the fields of one line until `end` of it, so
//! nothing of a refused line reaches a model.

use std::fmt;
use std::ops::Range;

/// Why a line is refused; the `reason` of `learnd_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Not the format's grammar.
    Syntax,
    /// Not UTF-8.
    Utf8,
    /// JSON, but not an object.
    NotObject,
    /// Something follows the value; in CSV: more columns than the header has, or fewer.
    Trailing,
    /// Nested deeper than `max_depth`.
    Depth,
    /// More fields than `max_fields`.
    Fields,
    /// A name longer than `max_key`.
    KeyLen,
    /// A number literal longer than `max_number`.
    NumberLen,
    /// A number beyond the range of a double.
    NumberRange,
    /// `nan` or `inf` where a number stands.
    NonFinite,
    /// A line longer than `max_line`.
    TooLong,
    /// A name that occurs twice.
    DupKey,
    /// A field that a model reads is of a type it cannot use.
    Type,
    /// The record's time cannot be read.
    Time,
}

impl RejectReason {
    /// Every reason, in the order of the contract.
    pub const ALL: [RejectReason; 14] = [
        RejectReason::Syntax,
        RejectReason::Utf8,
        RejectReason::NotObject,
        RejectReason::Trailing,
        RejectReason::Depth,
        RejectReason::Fields,
        RejectReason::KeyLen,
        RejectReason::NumberLen,
        RejectReason::NumberRange,
        RejectReason::NonFinite,
        RejectReason::TooLong,
        RejectReason::DupKey,
        RejectReason::Type,
        RejectReason::Time,
    ];

    /// The label value in metrics, dead letters and replies.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::Syntax => "syntax",
            RejectReason::Utf8 => "utf8",
            RejectReason::NotObject => "not_object",
            RejectReason::Trailing => "trailing",
            RejectReason::Depth => "depth",
            RejectReason::Fields => "fields",
            RejectReason::KeyLen => "key_len",
            RejectReason::NumberLen => "number_len",
            RejectReason::NumberRange => "number_range",
            RejectReason::NonFinite => "nonfinite",
            RejectReason::TooLong => "too_long",
            RejectReason::DupKey => "dup_key",
            RejectReason::Type => "type",
            RejectReason::Time => "time",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Byte offset in the line.
    pub at: u32,
}

/// What a line that bears its own label says beside its features (formats vw and svmlight).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Example<'a> {
    /// The line; spans of names refer to it.
    pub line: &'a [u8],
    /// What is to be predicted, if it is known.
    pub label: Option<f32>,
    /// The record's weight, where it says one.
    pub weight: Option<f32>,
    /// Where the prediction starts from: it is added to the raw score.
    pub initial: f32,
    /// The record's id; empty for none.
    pub tag: &'a str,
}

/// A feature that a decoder has hashed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HashedFeature {
    /// The hash, of which a model takes as many of the lowest bits as it has.
    pub hash: u32,
    /// The value: finite, not 0.
    pub value: f32,
    /// Where the name (with a category's value) begins and ends in the line.
    pub name: (u32, u32),
}

/// A name that a sink found where a member begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeseenName {
    /// How many bytes it is with its quotes and the colon.
    pub length: u32,
    /// Which name it is, in the sink's own terms.
    pub name: u32,
}

/// Takes the fields of one line from a decoder.
///
/// Names of nested fields arrive dotted (`user.age`). A method that answers with an error ends
/// the decoding of the line; the decoder adds the place.
pub trait FieldSink {
    /// The line that is about to be told. Texts and literals may be parts of it, which a sink can
    /// keep as places in the line instead of copies; they need not.
    fn line(&mut self, _line: &[u8]) {}
    /// The name with which `rest` begins, if that is a quoted name that the sink knows, and a colon.
    /// Only for speed: `None` is always right.
    fn foreseen(&mut self, _rest: &[u8]) -> Option<ForeseenName> {
        None
    }
    /// The field told next is of this name, which the sink foresaw just now; whatever name is told
    /// with it is not looked at again.
    fn foresee(&mut self, _name: ForeseenName) {}
    /// A number of a name that the sink foresaw just now; `literal` is where it stands in `line`,
    /// the line that was told.
    fn foreseen_number(
        &mut self,
        name: ForeseenName,
        value: f64,
        line: &[u8],
        literal: Range<usize>,
    ) -> Result<(), RejectReason> {
        self.foresee(name);
        self.number(&[], value, &line[literal])
    }
    /// A number: its value, and its literal as it stood in the line.
    fn number(&mut self, name: &[u8], value: f64, literal: &[u8]) -> Result<(), RejectReason>;
    /// `true` or `false`.
    fn boolean(&mut self, name: &[u8], value: bool) -> Result<(), RejectReason>;
    /// A text, escapes resolved.
    fn text(&mut self, name: &[u8], value: &str) -> Result<(), RejectReason>;
    /// `null`, or an empty column: the field is missing.
    fn null(&mut self, name: &[u8]) -> Result<(), RejectReason>;
    /// An array of numbers.
    fn vector(&mut self, name: &[u8], values: &[f64]) -> Result<(), RejectReason>;
    /// A field whose value no feature is made of: an object (its members follow under dotted
    /// names) or an array that is not of numbers. Told so that a name that occurs twice is seen.
    fn other(&mut self, name: &[u8]) -> Result<(), RejectReason>;

    /// The head of a line that bears its own label. Told once, before the features.
    fn example(&mut self, _example: &Example<'_>) -> Result<(), RejectReason> {
        Ok(())
    }
    /// The features that follow are of the namespace whose name begins and ends at these places in
    /// the line; one without a name is of the namespace ` `.
    fn namespace(&mut self, _first: u8, _name: (u32, u32)) -> Result<(), RejectReason> {
        Ok(())
    }
    /// A hashed feature of the namespace told last.
    fn hashed(&mut self, _feature: HashedFeature) -> Result<(), RejectReason> {
        Ok(())
    }
}
