//! Comma-separated values (RFC 4180, with any delimiter and quote), columns named by a header or
//! by the configuration.
//!
//! Invariant: a record has exactly the columns that are named. An empty column is missing, quoted
//! or not; a column that is wholly a number is a number, quoted or not, since many writers quote
//! everything; `true`, `false`, `nan` and `inf` mean what they say only without quotes.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the loop over columns, which calls would double"
)]

use super::scan::{check_utf8, refuse};
use super::word::{bytes_before, equal, first, word_at};
use super::{CsvConfig, Decoded, Limits, number};
use crate::base::{FieldSink, Reject, RejectReason};

/// The names of one stream's columns, and buffers reused from record to record.
pub(super) struct CsvDecoder {
    config: CsvConfig,
    limits: Limits,
    /// The header line as it stood in the stream; empty before it was seen and where there is none.
    header: Vec<u8>,
    expects_header: bool,
    /// Why the header was refused: without it nobody knows what the columns of its stream are.
    refused: Option<RejectReason>,
    names: Vec<String>,
    /// A quoted value with its doubled quotes resolved.
    text: String,
    /// Whether plain numbers are read the short way: where neither delimiter nor quote can be a part of
    /// one. Never in the tests' oracle.
    pub shortcuts: bool,
}

/// One column as it stands in a record.
struct Cell<'a> {
    /// Offset in the record.
    start: usize,
    value: &'a str,
    quoted: bool,
    /// Where its delimiter is; `None` for the last column.
    delimiter: Option<usize>,
}

impl CsvDecoder {
    pub fn new(config: &CsvConfig, limits: &Limits) -> CsvDecoder {
        CsvDecoder {
            config: config.clone(),
            limits: limits.clone(),
            header: Vec::new(),
            expects_header: config.header,
            refused: None,
            names: config.columns.clone(),
            text: String::new(),
            shortcuts: is_plain(config),
        }
    }

    /// Begins a stream: at its beginning, or in its middle with the header saved for it.
    pub fn start(&mut self, header: Option<&[u8]>) {
        self.header.clear();
        self.names.clone_from(&self.config.columns);
        self.expects_header = self.config.header;
        self.refused = None;
        if let Some(header) = header.filter(|h| self.config.header && !h.is_empty()) {
            // Refused again, it refuses the rest of its stream as it did before.
            self.read_header(header).ok();
        }
    }

    pub fn header(&self) -> &[u8] {
        &self.header
    }

    pub fn decode<S: FieldSink>(&mut self, line: &[u8], out: &mut S) -> Result<Decoded, Reject> {
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r') && *b != self.config.delimiter;
        if line.first().is_none_or(blank) && line.iter().all(blank) {
            return Ok(Decoded::Blank);
        }
        if self.expects_header {
            self.read_header(line)?;
            return Ok(Decoded::Header);
        }
        if let Some(reason) = self.refused {
            return Err(refuse(reason, 0));
        }
        check_utf8(line)?;
        out.line(line);
        // One past the delimiter; beyond the end of the line once the last column is read.
        let mut start = 0;
        for name in &self.names {
            if start > line.len() {
                return Err(refuse(RejectReason::Trailing, line.len()));
            }
            // A column that is a number and nothing else is done once its digits are read.
            if self.shortcuts
                && let Some((value, end)) = self.number_at(line, start)
            {
                value
                    .and_then(|x| out.number(name.as_bytes(), x, &line[start..end]))
                    .map_err(|reason| refuse(reason, start))?;
                start = end + 1;
                continue;
            }
            let cell = cell(line, start, &self.config, &mut self.text)?;
            tell(&cell, name, &self.limits, &self.config, out)
                .map_err(|reason| refuse(reason, start))?;
            start = cell.delimiter.unwrap_or(line.len()) + 1;
        }
        if start > line.len() {
            Ok(Decoded::Record)
        } else {
            Err(refuse(RejectReason::Trailing, start))
        }
    }

    /// The number that the column from `start` on is, and where that ends; `None` where it is none,
    /// or only between quotes or blanks.
    #[inline(always)]
    fn number_at(&self, line: &[u8], start: usize) -> Option<(Result<f64, RejectReason>, usize)> {
        let (delimiter, longest) = (self.config.delimiter, self.limits.max_number);
        match number::short::<false>(line, start) {
            Some(read)
                if (read.next == delimiter || read.end == line.len())
                    && read.end - start <= longest =>
            {
                Some((Ok(read.value), read.end))
            }
            _ => {
                let (value, end) = number::column_at(line, start, longest)?;
                let whole = line.get(end).is_none_or(|byte| *byte == delimiter);
                whole.then_some((value, end))
            }
        }
    }

    /// Takes the names of the columns from a header line; where the configuration names them, it
    /// is only skipped, whatever it says. A refused one counts as seen: the line after it is data,
    /// and would give the columns wrong names.
    fn read_header(&mut self, line: &[u8]) -> Result<(), Reject> {
        self.header = line.to_vec();
        self.expects_header = false;
        if !self.config.columns.is_empty() {
            return Ok(());
        }
        let names = self.columns_of(line);
        self.refused = names.as_ref().err().map(|reject| reject.reason);
        self.names = names?;
        Ok(())
    }

    /// The names in a header line.
    fn columns_of(&mut self, line: &[u8]) -> Result<Vec<String>, Reject> {
        check_utf8(line)?;
        let mut names = Vec::new();
        let mut next = Some(0);
        while let Some(start) = next {
            let cell = cell(line, start, &self.config, &mut self.text)?;
            let name = if cell.quoted {
                cell.value
            } else {
                cell.value.trim()
            };
            if names.len() == self.limits.max_fields {
                return Err(refuse(RejectReason::Fields, cell.start));
            }
            if name.len() > self.limits.max_key {
                return Err(refuse(RejectReason::KeyLen, cell.start));
            }
            if !self.limits.duplicates_last && names.iter().any(|n| n == name) {
                return Err(refuse(RejectReason::DupKey, cell.start));
            }
            names.push(name.to_owned());
            next = cell.delimiter.map(|at| at + 1);
        }
        Ok(names)
    }
}

/// Whether neither delimiter nor quote can be a part of a number.
fn is_plain(config: &CsvConfig) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    !part(config.delimiter) && !part(config.quote)
}

/// The first place from `start` on of a delimiter, a quote, or the end.
#[inline]
fn plain_end(bytes: &[u8], start: usize, config: &CsvConfig) -> usize {
    let mut at = start;
    while at < bytes.len() {
        let word = word_at(bytes, at);
        let mark = first(equal(word, config.delimiter) | equal(word, config.quote));
        at += bytes_before(mark);
        if mark < 64 {
            break;
        }
    }
    // Zeros behind the line may be taken for a delimiter.
    at.min(bytes.len())
}

/// Takes the column that starts at `start`.
fn cell<'a>(
    bytes: &'a [u8],
    start: usize,
    config: &CsvConfig,
    buffer: &'a mut String,
) -> Result<Cell<'a>, Reject> {
    // Only a delimiter or quote that is not ASCII could stand within a character.
    let piece = |from: usize, to: usize| {
        std::str::from_utf8(&bytes[from..to]).map_err(|_| refuse(RejectReason::Utf8, from))
    };
    if bytes.get(start) != Some(&config.quote) {
        let end = plain_end(bytes, start, config);
        if bytes.get(end) == Some(&config.quote) {
            return Err(refuse(RejectReason::Syntax, end));
        }
        return Ok(Cell {
            start,
            value: piece(start, end)?,
            quoted: false,
            delimiter: (end < bytes.len()).then_some(end),
        });
    }
    buffer.clear();
    let mut from = start + 1;
    let end = loop {
        let Some(quote) = memchr::memchr(config.quote, &bytes[from..]).map(|i| from + i) else {
            return Err(refuse(RejectReason::Syntax, bytes.len()));
        };
        if bytes.get(quote + 1) != Some(&config.quote) {
            break quote;
        }
        buffer.push_str(piece(from, quote + 1)?);
        from = quote + 2;
    };
    let last = piece(from, end)?;
    let value = if buffer.is_empty() {
        last
    } else {
        buffer.push_str(last);
        buffer.as_str()
    };
    match bytes.get(end + 1) {
        None => {}
        Some(byte) if *byte == config.delimiter => {}
        Some(_) => return Err(refuse(RejectReason::Syntax, end + 1)),
    }
    Ok(Cell {
        start,
        value,
        quoted: true,
        delimiter: (end + 1 < bytes.len()).then_some(end + 1),
    })
}

/// Tells the sink what a column holds.
fn tell<S: FieldSink>(
    cell: &Cell<'_>,
    name: &str,
    limits: &Limits,
    config: &CsvConfig,
    out: &mut S,
) -> Result<(), RejectReason> {
    let name = name.as_bytes();
    let literal = if cell.quoted {
        cell.value
    } else {
        cell.value.trim_ascii()
    };
    let Some(&first) = literal.as_bytes().first() else {
        return out.null(name);
    };
    if matches!(first, b'0'..=b'9' | b'-' | b'+' | b'.')
        && let Some(value) = number::column(literal.as_bytes(), limits.max_number)
    {
        return out.number(name, value?, literal.as_bytes());
    }
    if !cell.quoted && matches!(first | 0x20, b't' | b'f' | b'n' | b'i' | b'-' | b'+') {
        if literal.eq_ignore_ascii_case("true") {
            return out.boolean(name, true);
        }
        if literal.eq_ignore_ascii_case("false") {
            return out.boolean(name, false);
        }
        if is_nonfinite(literal) {
            return if config.nonfinite_missing {
                out.null(name)
            } else {
                Err(RejectReason::NonFinite)
            };
        }
    }
    out.text(name, cell.value)
}

/// Whether a literal is one of the words for what is no number or beyond all numbers.
fn is_nonfinite(literal: &str) -> bool {
    let word = literal.strip_prefix(['-', '+']).unwrap_or(literal);
    ["nan", "inf", "infinity"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}
