//! The sparse format of SVMlight and LIBSVM: `label index:value index:value … # comment`.
//!
//! Indices are slots as they stand: whole numbers, of which a model takes the lowest bits it has.
//! They need not be in order. `qid:n` behind the label, the query of a ranking task, is checked and
//! not used; so is everything after a `#`. Without a label (the line begins with a pair) a record is
//! predicted only.
//!
//! Invariant: a line is read whole or refused; features of value 0 are no features.

use super::scan::{check_utf8, refuse};
use super::vw::{is_nonfinite, single};
use super::word::{bytes_before, first_other, less_zeros, marked, number_before, word_at};
use super::{Decoded, Limits, number};
use crate::base::{Example, FieldSink, HashedFeature, Reject, RejectReason};

/// Reads the lines of one stream, each on its own.
pub(super) struct SvmlightDecoder {
    max_fields: usize,
    max_number: usize,
}

impl SvmlightDecoder {
    pub fn new(limits: &Limits) -> SvmlightDecoder {
        SvmlightDecoder {
            max_fields: limits.max_fields,
            max_number: limits.max_number,
        }
    }

    pub fn decode<S: FieldSink>(&self, line: &[u8], out: &mut S) -> Result<Decoded, Reject> {
        check_utf8(line)?;
        let text = &line[..memchr::memchr(b'#', line).unwrap_or(line.len())];
        let mut at = skip(text, 0);
        if at == text.len() {
            return Ok(Decoded::Blank);
        }
        let mut label = None;
        let end = word_end(text, at);
        if !text[at..end].contains(&b':') {
            label = Some(self.number(text, at, end)?);
            at = skip(text, end);
        }
        out.example(&Example {
            line,
            label,
            ..Example::default()
        })
        .map_err(|reason| refuse(reason, 0))?;
        out.namespace(b' ', (0, 0))
            .map_err(|reason| refuse(reason, 0))?;
        if text[at..].starts_with(b"qid:") {
            let end = word_end(text, at);
            index(text, at + 4, end)?;
            at = skip(text, end);
        }
        let mut fields = 0;
        while at < text.len() {
            fields += 1;
            if fields > self.max_fields {
                return Err(refuse(RejectReason::Fields, at));
            }
            at = self.feature(text, at, out)?;
        }
        Ok(Decoded::Record)
    }

    /// One pair; returns where the next word is.
    fn feature<S: FieldSink>(
        &self,
        text: &[u8],
        start: usize,
        out: &mut S,
    ) -> Result<usize, Reject> {
        let (hash, colon, value, end) = match self.plain_pair(text, start) {
            Some(pair) => pair,
            None => self.any_pair(text, start)?,
        };
        if value != 0.0 {
            let name = (start as u32, colon as u32);
            out.hashed(HashedFeature { hash, value, name })
                .map_err(|reason| refuse(reason, start))?;
        }
        Ok(skip(text, end))
    }

    /// A pair of an index of up to seven digits and a number that is read the short way: index, place
    /// of the colon, value and end.
    #[inline]
    fn plain_pair(&self, text: &[u8], start: usize) -> Option<(u32, usize, f32, usize)> {
        let word = word_at(text, start);
        let digits = less_zeros(word);
        let mark = first_other(digits);
        if !(8..64).contains(&mark) || marked(word, mark) != b':' {
            return None;
        }
        let colon = start + bytes_before(mark);
        let read = number::short::<false>(text, colon + 1)?;
        let ends = read.next == b' ' || read.end == text.len();
        let short = read.end - colon <= self.max_number;
        (ends && short).then(|| {
            let index = number_before(digits, mark) as u32;
            (index, colon, read.value as f32, read.end)
        })
    }

    /// As [`SvmlightDecoder::plain_pair`], of whatever stands there.
    fn any_pair(&self, text: &[u8], start: usize) -> Result<(u32, usize, f32, usize), Reject> {
        let end = word_end(text, start);
        let colon = memchr::memchr(b':', &text[start..end]).map(|i| start + i);
        let Some(colon) = colon else {
            return Err(refuse(RejectReason::Syntax, end));
        };
        let hash = index(text, start, colon)?;
        let value = self.number(text, colon + 1, end)?;
        Ok((hash, colon, value, end))
    }

    fn number(&self, text: &[u8], from: usize, to: usize) -> Result<f32, Reject> {
        match number::column(&text[from..to], self.max_number) {
            Some(Ok(value)) => single(value, from),
            Some(Err(reason)) => Err(refuse(reason, from)),
            None if is_nonfinite(&text[from..to]) => Err(refuse(RejectReason::NonFinite, from)),
            None => Err(refuse(RejectReason::Syntax, from)),
        }
    }
}

/// A whole number below 2^32.
fn index(text: &[u8], from: usize, to: usize) -> Result<u32, Reject> {
    let digits = &text[from..to];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(refuse(RejectReason::Syntax, from));
    }
    let add = |n: u32, digit: &u8| n.checked_mul(10)?.checked_add(u32::from(digit - b'0'));
    digits
        .iter()
        .try_fold(0, add)
        .ok_or(refuse(RejectReason::NumberRange, from))
}

fn skip(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn word_end(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|b| !b.is_ascii_whitespace()) {
        at += 1;
    }
    at
}
