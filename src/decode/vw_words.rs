//! Lines of Vowpal Wabbit's text read a word at a time: the plain features, which are nearly all of
//! most lines.
//!
//! Invariant: what is read here is what the grammar in `vw` reads; whatever is not plain is left to
//! it, errors included. Plain is a name, with a number behind it or nothing, in a namespace whose scale
//! neither is 0 nor makes numbers too large.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the innermost loops, which calls would double"
)]

use super::VwHash;
use super::expected::Name;
use super::number;
use super::scan::refuse;
use super::vw::{Grammar, Space, VwDecoder, ends, first_end, name_end};
use super::word::{
    before, below, bytes_before, first, first_other, less_zeros, marked, number_before, word_at,
};
use crate::base::{Example, FieldSink, HashedFeature, Reject};
use crate::math::murmur3_32_of_word;

/// The longest name that is hashed as one word.
pub(super) const LONGEST_WORD: usize = 7;

/// Of so many bytes a plain feature is made at most, with what is read beyond it: a name and its
/// colon, a number, and the rest of a word.
const WINDOW: usize = 40;

/// What is put behind a line: its last feature ends at a blank, as the others do.
const BEHIND: [u8; WINDOW] = {
    let mut behind = [0; WINDOW];
    behind[0] = b' ';
    behind
};

/// The window of the padded line that begins at a place.
#[inline(always)]
fn window(padded: &[u8], at: usize) -> Option<&[u8; WINDOW]> {
    padded.get(at..)?.first_chunk()
}

/// A word of a window, from a place of which the window's size and `& 31` tell that it lies within.
#[inline(always)]
fn word_in(window: &[u8; WINDOW], at: usize) -> u64 {
    let rest = &window[at & 31..];
    rest.first_chunk().map_or(0, |w| u64::from_le_bytes(*w))
}

/// Where the first colon or bar is.
fn bare_until(line: &[u8], at: usize) -> usize {
    let rest = line.get(at..).unwrap_or_default();
    memchr::memchr2(b':', b'|', rest).map_or(line.len(), |i| at + i)
}

/// The head of a line that begins with nothing but a plain label, and the place of its bar.
#[inline]
fn plain_head<'a>(line: &'a [u8], padded: &[u8]) -> Option<(Example<'a>, usize)> {
    let window = window(padded, 0)?;
    let label = number::short_of::<false>(|at| word_in(window, at))?;
    if label.next != b' ' || line.get(label.end + 1) != Some(&b'|') {
        return None;
    }
    let head = Example {
        line,
        label: Some(label.value as f32),
        ..Example::default()
    };
    Some((head, label.end + 1))
}

/// Where a line is being read: behind a blank, or where no feature begins.
struct Cursor<'a> {
    line: &'a [u8],
    /// The line with a blank and zeros behind it.
    padded: &'a [u8],
    at: usize,
    /// Features so far.
    fields: usize,
}

impl VwDecoder {
    /// Reads a line that is not blank.
    pub fn by_words<S: FieldSink>(&mut self, line: &[u8], out: &mut S) -> Result<(), Reject> {
        let VwDecoder {
            grammar,
            expected,
            padded,
            ..
        } = self;
        padded.clear();
        padded.extend_from_slice(line);
        padded.extend_from_slice(&BEHIND);
        let mut bar = match plain_head(line, padded) {
            Some((head, bar)) => {
                out.example(&head).map_err(|reason| refuse(reason, 0))?;
                bar
            }
            None => grammar.head(line, out)?,
        };
        let mut cursor = Cursor {
            line,
            padded,
            at: 0,
            fields: 0,
        };
        let expect = expected.begin();
        while bar < line.len() {
            let mut space = Space::default();
            let mut end = grammar.open(line, bar + 1, &mut space, out)?;
            // What is plain is not asked whether it is 0 or beyond single precision.
            let plain = (1e-30..1e30).contains(&space.scale.abs());
            let mut bare = None;
            while line.get(end).is_some_and(|byte| *byte != b'|') {
                cursor.at = end + 1;
                if plain && expect {
                    grammar.foreseen(&mut cursor, expected.names(), &space, out)?;
                }
                if plain && cursor.at < line.len() {
                    let bare = *bare.get_or_insert_with(|| bare_until(line, cursor.at));
                    grammar.bare(&mut cursor, bare, &space, out)?;
                }
                if plain && !expect {
                    grammar.named(&mut cursor, &space, out)?;
                }
                let (place, at) = (cursor.fields, cursor.at);
                end = grammar.feature(line, at, &mut space, &mut cursor.fields, out)?;
                if expect && cursor.fields > place {
                    let named = name_end(line, at);
                    let hash = grammar.hash(&line[at..named], space.hash);
                    expected.miss(place, line, (at, named), (space.hash, hash));
                }
            }
            bar = end;
        }
        if expect {
            expected.end(cursor.fields);
        }
        Ok(())
    }
}

impl Grammar {
    /// Reads features as long as each has the name that stood in its place in the line before, and a
    /// number.
    #[inline(never)]
    fn foreseen<S: FieldSink>(
        &self,
        cursor: &mut Cursor<'_>,
        names: &[Name],
        space: &Space,
        out: &mut S,
    ) -> Result<(), Reject> {
        let Cursor {
            line,
            padded,
            mut at,
            mut fields,
        } = *cursor;
        let names = &names[..names.len().min(self.max_fields)];
        while let Some(name) = names.get(fields)
            && let Some(window) = window(padded, at)
            && name.is(word_in(window, 0), || word_in(window, 8), space.hash)
        {
            let from = name.length() + 1;
            let read = number::short_of::<false>(|place| word_in(window, from + place));
            let (value, next) = match read {
                Some(read) if read.next == b' ' => {
                    let value = read.value as f32 * space.scale;
                    (value, at.wrapping_add(from + read.end + 1))
                }
                _ => match self.any_value(line, at + from, space.scale) {
                    Some(read) => read,
                    None => break,
                },
            };
            if value != 0.0 {
                let feature = HashedFeature {
                    hash: name.hash,
                    value,
                    name: (at as u32, at.wrapping_add(name.length()) as u32),
                };
                out.hashed(feature).map_err(|reason| refuse(reason, at))?;
            }
            fields += 1;
            at = next;
        }
        (cursor.at, cursor.fields) = (at, fields);
        Ok(())
    }

    /// A value that is not plain, and where the next feature may begin; `None` where it is no number,
    /// or wrong.
    #[inline(never)]
    fn any_value(&self, line: &[u8], from: usize, scale: f32) -> Option<(f32, usize)> {
        match number::column_at(line, from, self.max_number)? {
            (Ok(value), end) if ends(line, end) => {
                let value = value as f32 * scale;
                let blank = matches!(line.get(end), Some(b' ' | b'\t'));
                let next = end + usize::from(blank);
                value.is_finite().then_some((value, next))
            }
            _ => None,
        }
    }

    /// Reads features as long as each is nothing but a name and ends before `until`, up to where the
    /// line has neither colons nor bars.
    #[inline(never)]
    fn bare<S: FieldSink>(
        &self,
        cursor: &mut Cursor<'_>,
        until: usize,
        space: &Space,
        out: &mut S,
    ) -> Result<(), Reject> {
        let Cursor { line, padded, .. } = *cursor;
        let mut rest = padded.get(cursor.at..).unwrap_or_default();
        let mut at = cursor.at;
        let mut left = self.max_fields - cursor.fields;
        while left > 0
            && let Some(eight) = rest.first_chunk()
        {
            let word = u64::from_le_bytes(*eight);
            let mark = first(below(word, b' ' + 1));
            let (length, hash) = if (8..64).contains(&mark) {
                if marked(word, mark) != b' ' {
                    break;
                }
                let hash = self.hash_of_word(word, mark, space.hash);
                (bytes_before(mark), hash)
            } else if mark == 64
                && let Some((end, hash)) = self.long_name(line, at, space.hash)
                && matches!(line.get(end), None | Some(b' '))
            {
                (end - at, hash)
            } else {
                break;
            };
            let end = at.wrapping_add(length);
            if end > until {
                break;
            }
            let feature = HashedFeature {
                hash,
                value: space.scale,
                name: (at as u32, end as u32),
            };
            out.hashed(feature).map_err(|reason| refuse(reason, at))?;
            left -= 1;
            // Within what is put behind the line, if not within the line.
            rest = &rest[length + 1..];
            at = end.wrapping_add(1);
        }
        (cursor.at, cursor.fields) = (at, self.max_fields - left);
        Ok(())
    }

    /// Where a name that does not fit a word ends, and its hash; `None` where it is too long.
    #[inline(never)]
    fn long_name(&self, line: &[u8], at: usize, seed: u32) -> Option<(usize, u32)> {
        let named = name_end(line, at);
        (named - at <= self.max_key).then(|| (named, self.hash(&line[at..named], seed)))
    }

    /// Reads features as long as each is a name, with a number or without.
    #[inline(never)]
    fn named<S: FieldSink>(
        &self,
        cursor: &mut Cursor<'_>,
        space: &Space,
        out: &mut S,
    ) -> Result<(), Reject> {
        let Cursor { line, padded, .. } = *cursor;
        let mut at = cursor.at;
        let mut left = self.max_fields - cursor.fields;
        while left > 0 && at < line.len() {
            let word = word_at(padded, at);
            let mark = first_end(word);
            let (named, hash) = if (8..64).contains(&mark) {
                let hash = self.hash_of_word(word, mark, space.hash);
                (at.wrapping_add(bytes_before(mark)), hash)
            } else if mark == 64
                && let Some(found) = self.long_name(line, at, space.hash)
            {
                found
            } else {
                break;
            };
            let (value, next) = match padded.get(named) {
                Some(b' ') => (space.scale, named.wrapping_add(1)),
                Some(b':') => {
                    let from = named.wrapping_add(1);
                    match number::short::<false>(padded, from) {
                        Some(read) if read.next == b' ' => {
                            (read.value as f32 * space.scale, read.end.wrapping_add(1))
                        }
                        _ => match self.any_value(line, from, space.scale) {
                            Some(read) => read,
                            None => break,
                        },
                    }
                }
                _ => break,
            };
            if value != 0.0 {
                let feature = HashedFeature {
                    hash,
                    value,
                    name: (at as u32, named as u32),
                };
                out.hashed(feature).map_err(|reason| refuse(reason, at))?;
            }
            left -= 1;
            at = next;
        }
        (cursor.at, cursor.fields) = (at, self.max_fields - left);
        Ok(())
    }

    /// As [`Grammar::hash`], of the bytes before a mark, none of which is a control character.
    #[inline(always)]
    fn hash_of_word(&self, word: u64, mark: u32, seed: u32) -> u32 {
        let digits = if self.hash == VwHash::Strings { 10 } else { 0 };
        if (word as u8).wrapping_sub(b'0') < digits {
            let digits = less_zeros(word);
            if first_other(digits) >= mark {
                return (number_before(digits, mark) as u32).wrapping_add(seed);
            }
        }
        murmur3_32_of_word(before(word, mark), bytes_before(mark), seed)
    }
}
