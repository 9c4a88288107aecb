//! One line into fields, strictly: a framer and a decoder for each format.
//!
//! Invariant: pure and allocation-free per line; a line is accepted whole or refused with its
//! place and reason.

mod csv;
mod frame;
mod json;
mod number;
mod scan;
mod svmlight;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_csv;
#[cfg(test)]
mod tests_json;
#[cfg(test)]
mod tests_vw;
mod vw;

use crate::base::{FieldSink, Framer, Reject};

use csv::CsvDecoder;
use frame::{CsvFramer, LineFramer};
use json::JsonDecoder;
use svmlight::SvmlightDecoder;
use vw::VwDecoder;

/// What a line may hold at most, and what happens to doubtful values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most fields of a record, objects and ignored ones included.
    pub max_fields: usize,
    /// Deepest nesting of objects and arrays; the record itself is depth 1.
    pub max_depth: usize,
    /// Longest name, in bytes, as it stands in the line.
    pub max_key: usize,
    /// Longest number literal, in characters.
    pub max_number: usize,
    /// Of a name that occurs twice the last value counts; else the line is refused.
    pub duplicates_last: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_fields: 1024,
            max_depth: 32,
            max_key: 256,
            max_number: 64,
            duplicates_last: false,
        }
    }
}

/// The format of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatConfig {
    /// One JSON object a line.
    Json,
    /// Comma-separated values.
    Csv(CsvConfig),
    /// Vowpal Wabbit's text.
    Vw(VwHash),
    /// SVMlight's and LIBSVM's sparse text.
    Svmlight,
}

/// How names of features become slots in Vowpal Wabbit's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VwHash {
    /// Names that are whole numbers are slots as they are, others are hashed.
    #[default]
    Strings,
    /// Every name is hashed.
    All,
}

/// How a CSV source is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvConfig {
    /// Between columns.
    pub delimiter: u8,
    /// Around values that hold a delimiter, a quote (doubled) or a line end.
    pub quote: u8,
    /// The first line of each stream names the columns; it is not a line of data.
    pub header: bool,
    /// Names of the columns where there is no header (or instead of the header's).
    pub columns: Vec<String>,
    /// `nan` and `inf` (any case) count as missing; else the line is refused.
    pub nonfinite_missing: bool,
}

impl Default for CsvConfig {
    fn default() -> Self {
        CsvConfig {
            delimiter: b',',
            quote: b'"',
            header: true,
            columns: Vec::new(),
            nonfinite_missing: false,
        }
    }
}

impl FormatConfig {
    /// The word of the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            FormatConfig::Json => "json",
            FormatConfig::Csv(_) => "csv",
            FormatConfig::Vw(_) => "vw",
            FormatConfig::Svmlight => "svmlight",
        }
    }

    /// Whether lines bear label, weight and hashed features of their own instead of named fields.
    pub fn bears_labels(&self) -> bool {
        matches!(self, FormatConfig::Vw(_) | FormatConfig::Svmlight)
    }

    /// What cuts a stream of this format into records.
    pub fn framer(&self) -> Box<dyn Framer> {
        match self {
            FormatConfig::Json | FormatConfig::Vw(_) | FormatConfig::Svmlight => {
                Box::new(LineFramer)
            }
            FormatConfig::Csv(config) => Box::new(CsvFramer {
                delimiter: config.delimiter,
                quote: config.quote,
            }),
        }
    }

    /// What reads the records of one stream of this format, at its beginning.
    pub fn decoder(&self, limits: &Limits) -> Decoder {
        Decoder(match self {
            FormatConfig::Json => Kind::Json(JsonDecoder::new(limits)),
            FormatConfig::Csv(config) => Kind::Csv(CsvDecoder::new(config, limits)),
            FormatConfig::Vw(hash) => Kind::Vw(VwDecoder::new(*hash, limits)),
            FormatConfig::Svmlight => Kind::Svmlight(SvmlightDecoder::new(limits)),
        })
    }
}

/// What a line turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A record; its fields are in the sink.
    Record,
    /// Nothing but white space.
    Blank,
    /// The header of the stream. It is not a line of data.
    Header,
}

/// Reads the records of one stream.
///
/// What the sink was told of a line counts only when [`Decoder::decode`] answers
/// [`Decoded::Record`].
pub struct Decoder(Kind);

enum Kind {
    Json(JsonDecoder),
    Csv(CsvDecoder),
    Vw(VwDecoder),
    Svmlight(SvmlightDecoder),
}

impl Decoder {
    /// Begins a stream: `None` at its beginning, where a header is expected if the format has one;
    /// or in its middle, with the header line saved for it (empty if none was seen yet).
    pub fn start(&mut self, header: Option<&[u8]>) {
        if let Kind::Csv(csv) = &mut self.0 {
            csv.start(header);
        }
    }

    /// The header line as it stood in the stream, to be saved with the position in it; empty
    /// where there is none or it was not seen yet.
    pub fn header(&self) -> &[u8] {
        match &self.0 {
            Kind::Json(_) | Kind::Vw(_) | Kind::Svmlight(_) => &[],
            Kind::Csv(csv) => csv.header(),
        }
    }

    /// Reads one line, its line end removed, into a sink.
    ///
    /// # Errors
    /// The first thing that is wrong with the line, and where. A header that is refused leaves the
    /// stream without names: every line after it is refused for the same reason.
    pub fn decode<S: FieldSink>(&mut self, line: &[u8], out: &mut S) -> Result<Decoded, Reject> {
        match &mut self.0 {
            Kind::Json(json) => json.decode(line, out),
            Kind::Csv(csv) => csv.decode(line, out),
            Kind::Vw(vw) => vw.decode(line, out),
            Kind::Svmlight(svmlight) => svmlight.decode(line, out),
        }
    }
}
