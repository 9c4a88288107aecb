//! Vowpal Wabbit's text format: labels, importance, tags, namespaces with scales, features hashed as
//! they are read.
//!
//! ```text
//! line      = [anything TAB] [label [importance [initial]]] [tag] { "|" namespace }
//! tag       = the last word if it touches the first "|", or begins with "'"
//! namespace = ( name [":" scale] | "" ) { blank feature }        blank = space or TAB
//! feature   = name [":" number]     1 where no number stands, times the scale of the namespace
//!           | [name] ":" string     a category: value 1
//!           | ":" number            slot = hash of the namespace + 0, 1, 2 …
//! ```
//!
//! Hashes, with H(bytes, seed): a namespace H(name, 0), or 0 without a name; a feature H(name,
//! namespace); a category H(value, H(name, namespace)). H takes a name of digits for a number, plus
//! the seed, and anything else (white space at its ends removed) for MurmurHash3_x86_32; with
//! `hash = "all"` it is always the latter.
//!
//! Invariant: a line is read as Vowpal Wabbit reads it, or refused: nothing that it would take for 0,
//! drop or replace with a warning is learned from. Features of value 0 are no features.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the loop over features, which calls would double"
)]

use super::expected::Expected;
use super::scan::{check_utf8, refuse};
use super::vw_words::LONGEST_WORD;
use super::word::{below, bytes_before, equal, first, word_at};
use super::{Decoded, Limits, VwHash, number};
use crate::base::{Example, FieldSink, HashedFeature, Reject, RejectReason};
use crate::math::murmur3_32;

/// Reads the lines of one stream, each on its own.
pub(super) struct VwDecoder {
    pub grammar: Grammar,
    /// The names of the line before.
    pub expected: Expected,
    /// The line that is read by words, with some bytes behind it; kept for its memory.
    pub padded: Vec<u8>,
    /// Whether lines are read by words; never in the tests' oracle.
    pub shortcuts: bool,
}

/// Longer lines are read without shortcuts: every stream keeps a copy of its longest one.
const LONGEST_LINE: usize = 64 << 10;

/// How lines are read, whatever came before them.
pub(super) struct Grammar {
    pub hash: VwHash,
    pub max_fields: usize,
    pub max_key: usize,
    pub max_number: usize,
}

/// A byte that ends a name.
const ENDS_NAME: [bool; 256] = {
    let mut ends = [false; 256];
    ends[b' ' as usize] = true;
    ends[b'\t' as usize] = true;
    ends[b':' as usize] = true;
    ends[b'|' as usize] = true;
    ends[b'\r' as usize] = true;
    ends
};

/// Whether a feature, or a namespace's head, may end at this place.
#[inline]
pub(super) fn ends(line: &[u8], at: usize) -> bool {
    matches!(line.get(at), None | Some(b' ' | b'\t' | b'|'))
}

/// Where the first byte of a word is that may end a name; all control characters count among those.
#[inline(always)]
pub(super) fn first_end(word: u64) -> u32 {
    first(below(word, b' ' + 1) | equal(word, b':') | equal(word, b'|'))
}

#[inline]
pub(super) fn name_end(line: &[u8], mut at: usize) -> usize {
    loop {
        let mark = first_end(word_at(line, at));
        at += bytes_before(mark);
        if mark < 64 {
            if line.get(at).is_none_or(|b| ENDS_NAME[*b as usize]) {
                return at;
            }
            at += 1;
        }
    }
}

/// Where a value ends: colons may be part of it.
fn value_end(line: &[u8], from: usize) -> usize {
    let rest = &line[from..];
    let length = rest
        .iter()
        .position(|b| matches!(b, b' ' | b'\t' | b'|' | b'\r'));
    from + length.unwrap_or(rest.len())
}

/// A finite number in single precision.
#[inline]
pub(super) fn single(value: f64, at: usize) -> Result<f32, Reject> {
    let value = value as f32;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(refuse(RejectReason::NumberRange, at))
    }
}

/// Whether a text is what C writes for numbers that are not finite.
pub(super) fn is_nonfinite(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = text.strip_prefix(b"+").unwrap_or(text);
    [b"nan".as_slice(), b"inf", b"infinity"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// The one namespace that is being read.
pub(super) struct Space {
    pub hash: u32,
    pub scale: f32,
    /// Features without a name so far.
    anonymous: u32,
}

impl Default for Space {
    fn default() -> Self {
        Space {
            hash: 0,
            scale: 1.0,
            anonymous: 0,
        }
    }
}

impl VwDecoder {
    pub fn new(hash: VwHash, limits: &Limits) -> VwDecoder {
        VwDecoder {
            grammar: Grammar {
                hash,
                max_fields: limits.max_fields,
                max_key: limits.max_key,
                max_number: limits.max_number,
            },
            expected: Expected::default(),
            padded: Vec::new(),
            // So that neither is looked at where names and numbers are shorter anyway.
            shortcuts: limits.max_key >= LONGEST_WORD && limits.max_number >= number::SHORT,
        }
    }

    pub fn decode<S: FieldSink>(&mut self, line: &[u8], out: &mut S) -> Result<Decoded, Reject> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first().is_none_or(u8::is_ascii_whitespace) && line.trim_ascii().is_empty() {
            return Ok(Decoded::Blank);
        }
        check_utf8(line)?;
        if self.shortcuts && line.len() <= LONGEST_LINE {
            self.by_words(line, out)?;
            return Ok(Decoded::Record);
        }
        let (mut at, mut fields) = (self.grammar.head(line, out)?, 0);
        while at < line.len() {
            // At a bar.
            let mut space = Space::default();
            at = self.grammar.open(line, at + 1, &mut space, out)?;
            while line.get(at).is_some_and(|byte| *byte != b'|') {
                // At a blank.
                let grammar = &self.grammar;
                at = grammar.feature(line, at + 1, &mut space, &mut fields, out)?;
            }
        }
        Ok(Decoded::Record)
    }
}

impl Grammar {
    /// H of the head of this file.
    pub fn hash(&self, name: &[u8], seed: u32) -> u32 {
        let other = |b: &u8| *b > b' ' && !b.is_ascii_digit();
        if self.hash == VwHash::All
            || (name.first().is_some_and(other) && name.last() > Some(&b' '))
        {
            return murmur3_32(name, seed);
        }
        let blank = |b: &u8| *b <= b' ';
        let start = name.iter().position(|b| !blank(b)).unwrap_or(name.len());
        let end = name
            .iter()
            .rposition(|b| !blank(b))
            .map_or(start, |i| i + 1);
        let name = &name[start..end];
        let mut number = 0u32;
        for byte in name {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return murmur3_32(name, seed);
            }
            number = number.wrapping_mul(10).wrapping_add(digit.into());
        }
        number.wrapping_add(seed)
    }

    /// What stands before the first bar; returns where that is.
    #[inline(never)]
    pub fn head<S: FieldSink>(&self, line: &[u8], out: &mut S) -> Result<usize, Reject> {
        let Some(bar) = memchr::memchr(b'|', line) else {
            return Err(refuse(RejectReason::Syntax, line.len()));
        };
        let bom = if line.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let start = memchr::memchr(b'\t', &line[..bar]).map_or(bom, |tab| tab + 1);
        let mut words = [(0, 0); 4];
        let mut count = 0;
        let mut at = start;
        while at < bar {
            if line[at] == b' ' {
                at += 1;
                continue;
            }
            let end = memchr::memchr(b' ', &line[at..bar]).map_or(bar, |i| at + i);
            if let Some(place) = line[at..end]
                .iter()
                .position(|b| matches!(b, b'\t' | b'\r'))
            {
                return Err(refuse(RejectReason::Syntax, at + place));
            }
            let Some(word) = words.get_mut(count) else {
                return Err(refuse(RejectReason::Syntax, at));
            };
            *word = (at, end);
            count += 1;
            at = end;
        }
        let mut tag = "";
        if count > 0 {
            let (from, to) = words[count - 1];
            if to == bar || line[from] == b'\'' {
                count -= 1;
                let from = from + usize::from(line[from] == b'\'');
                tag = std::str::from_utf8(&line[from..to])
                    .map_err(|_| refuse(RejectReason::Utf8, from))?;
            }
        }
        if count > 3 {
            return Err(refuse(RejectReason::Syntax, words[3].0));
        }
        let mut numbers = [None; 3];
        for (number, (from, to)) in numbers.iter_mut().zip(words).take(count) {
            *number = Some(self.number(line, from, to)?);
        }
        let [label, weight, initial] = numbers;
        out.example(&Example {
            line,
            label,
            weight,
            initial: initial.unwrap_or(0.0),
            tag,
        })
        .map_err(|reason| refuse(reason, 0))?;
        Ok(bar)
    }

    /// The number that the bytes between two places are, in single precision.
    fn number(&self, line: &[u8], from: usize, to: usize) -> Result<f32, Reject> {
        match number::column(&line[from..to], self.max_number) {
            Some(Ok(value)) => single(value, from),
            Some(Err(reason)) => Err(refuse(reason, from)),
            None if is_nonfinite(&line[from..to]) => Err(refuse(RejectReason::NonFinite, from)),
            None => Err(refuse(RejectReason::Syntax, from)),
        }
    }

    /// The head of a namespace that starts behind its bar; returns where it ends.
    pub fn open<S: FieldSink>(
        &self,
        line: &[u8],
        start: usize,
        space: &mut Space,
        out: &mut S,
    ) -> Result<usize, Reject> {
        let unnamed = line.get(start) == Some(&b' ');
        let named = if unnamed {
            start
        } else {
            name_end(line, start)
        };
        let mut at = named;
        let mut first = b' ';
        if named > start {
            self.check_key(start, named)?;
            first = line[start];
            space.hash = self.hash(&line[start..named], 0);
            if line.get(named) == Some(&b':') {
                at = value_end(line, named + 1);
                space.scale = self.number(line, named + 1, at)?;
            }
        }
        if !ends(line, at) {
            return Err(refuse(RejectReason::Syntax, at));
        }
        out.namespace(first, (start as u32, named as u32))
            .map_err(|reason| refuse(reason, start))?;
        Ok(at)
    }

    /// A feature, if one stands behind the blank before `start`; returns where it ends.
    #[inline(never)]
    pub fn feature<S: FieldSink>(
        &self,
        line: &[u8],
        start: usize,
        space: &mut Space,
        fields: &mut usize,
        out: &mut S,
    ) -> Result<usize, Reject> {
        if ends(line, start) {
            return Ok(start);
        }
        *fields += 1;
        if *fields > self.max_fields {
            return Err(refuse(RejectReason::Fields, start));
        }
        let named = name_end(line, start);
        self.check_key(start, named)?;
        let mut end = named;
        let mut value = space.scale;
        if line.get(named) == Some(&b':') {
            let from = named + 1;
            match number::column_at(line, from, self.max_number) {
                Some((read, until)) if ends(line, until) => {
                    end = until;
                    let read = read.map_err(|reason| refuse(reason, from))?;
                    value = single(read, from)? * space.scale;
                    if !value.is_finite() {
                        return Err(refuse(RejectReason::NumberRange, from));
                    }
                }
                _ => {
                    end = self.category(line, start, from, space, out)?;
                    return Ok(end);
                }
            }
        } else if !ends(line, named) {
            return Err(refuse(RejectReason::Syntax, named));
        }
        let hash = if named > start {
            self.hash(&line[start..named], space.hash)
        } else {
            space.anonymous += 1;
            space.hash.wrapping_add(space.anonymous - 1)
        };
        if value != 0.0 {
            let name = (start as u32, named as u32);
            out.hashed(HashedFeature { hash, value, name })
                .map_err(|reason| refuse(reason, start))?;
        }
        Ok(end)
    }

    /// A feature whose value, from `from` on, is no number.
    #[inline(never)]
    fn category<S: FieldSink>(
        &self,
        line: &[u8],
        start: usize,
        from: usize,
        space: &Space,
        out: &mut S,
    ) -> Result<usize, Reject> {
        let end = value_end(line, from);
        let value = &line[from..end];
        if is_nonfinite(value) {
            return Err(refuse(RejectReason::NonFinite, from));
        }
        let unsigned = value.strip_prefix(b"-").unwrap_or(value);
        let unsigned = unsigned.strip_prefix(b"+").unwrap_or(unsigned);
        let unsigned = unsigned.strip_prefix(b".").unwrap_or(unsigned);
        let like_number = unsigned.first().is_some_and(u8::is_ascii_digit);
        if value.is_empty() || like_number || !ends(line, end) {
            return Err(refuse(RejectReason::Syntax, from));
        }
        self.check_key(from, end)?;
        let name = self.hash(&line[start..from - 1], space.hash);
        out.hashed(HashedFeature {
            hash: self.hash(value, name),
            value: 1.0,
            name: (start as u32, end as u32),
        })
        .map_err(|reason| refuse(reason, start))?;
        Ok(end)
    }

    #[inline]
    fn check_key(&self, from: usize, to: usize) -> Result<(), Reject> {
        if to - from > self.max_key {
            Err(refuse(RejectReason::KeyLen, from))
        } else {
            Ok(())
        }
    }
}
