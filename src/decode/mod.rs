//! One line into fields, strictly: a framer and a decoder for each format.
//!
//! Invariant: pure and allocation-free per line; a line is accepted whole or refused with its
//! place and reason.

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
