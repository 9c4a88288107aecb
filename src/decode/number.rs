//! Number literals to doubles: JSON's grammar, and the laxer one of CSV columns.
//!
//! Invariant: a value is the double nearest to the decimal literal. The short way (Clinger, "How to
//! read floating point numbers accurately", 1990) is taken only where it is exact: an integer below
//! 2^53 times or divided by a power of ten up to 10^22 rounds once.
//!
//! [`short`] reads the plainest literals a word at a time and says nothing of all others; those are
//! for [`strict_json`] and [`column_at`], which read everything and are what it is tested against.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the innermost loops, which calls would double"
)]

use super::word::{bytes_before, first_other, less_zeros, marked, number_before, word_at};
use crate::base::{Reject, RejectReason};

/// Powers of ten that are exact doubles.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Digits that surely fit 64 bits.
const SAFE_DIGITS: usize = 19;

/// Powers of ten by which up to eight digits move a number; the rest is room for a masked index.
const WHOLE_POWERS: [u64; 16] = {
    let mut powers = [1; 16];
    let mut i = 1;
    while i < 9 {
        powers[i] = 10 * powers[i - 1];
        i += 1;
    }
    powers
};

/// The digit at a place.
#[inline]
fn digit_at(bytes: &[u8], at: usize) -> Option<u64> {
    let digit = bytes.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(digit as u64)
}

/// A literal taken apart.
#[derive(Default)]
struct Decimal {
    negative: bool,
    mantissa: u64,
    digits: usize,
    exponent: i32,
}

impl Decimal {
    /// Reads digits from `at` on, eight at a time; returns where they end.
    #[inline]
    fn digits(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let digits = less_zeros(u64::from_le_bytes(*eight));
            let other = first_other(digits);
            let count = bytes_before(other);
            if count == 0 {
                return at;
            }
            self.mantissa = self
                .mantissa
                .wrapping_mul(WHOLE_POWERS[count & 15])
                .wrapping_add(number_before(digits, other));
            self.digits += count;
            at += count;
            if count < 8 {
                return at;
            }
        }
        while let Some(digit) = digit_at(bytes, at) {
            self.mantissa = self.mantissa.wrapping_mul(10).wrapping_add(digit);
            self.digits += 1;
            at += 1;
        }
        at
    }

    /// Reads an exponent if one is at `at`; `Err` is the place where a digit is missing.
    #[inline]
    fn exponent(&mut self, bytes: &[u8], at: usize) -> Result<usize, usize> {
        match bytes.get(at) {
            Some(b'e' | b'E') => self.written_exponent(bytes, at),
            _ => Ok(at),
        }
    }

    #[inline(never)]
    fn written_exponent(&mut self, bytes: &[u8], at: usize) -> Result<usize, usize> {
        let mut end = at + 1;
        let negative = bytes.get(end) == Some(&b'-');
        if matches!(bytes.get(end), Some(b'-' | b'+')) {
            end += 1;
        }
        let start = end;
        let mut written = 0i32;
        while let Some(digit) = bytes.get(end).filter(|b| b.is_ascii_digit()) {
            // Beyond this the short way is not taken, so the exact value no longer matters.
            written = (written * 10 + i32::from(digit - b'0')).min(100_000);
            end += 1;
        }
        if start == end {
            return Err(end);
        }
        self.exponent += if negative { -written } else { written };
        Ok(end)
    }

    /// The double nearest to `literal`, which is the text that was taken apart.
    #[inline]
    fn value(&self, literal: &[u8]) -> Result<f64, RejectReason> {
        let power = self.exponent.unsigned_abs() as usize;
        if self.digits <= SAFE_DIGITS && self.mantissa <= 1 << 53 && power < POWERS.len() {
            let whole = self.mantissa as f64;
            let size = if self.exponent < 0 {
                whole / POWERS[power]
            } else {
                whole * POWERS[power]
            };
            // Signs are as good as random: a branch would be mispredicted every other time.
            return Ok(f64::from_bits(
                size.to_bits() | (u64::from(self.negative) << 63),
            ));
        }
        nearest(literal)
    }
}

/// The long way.
#[inline(never)]
fn nearest(literal: &[u8]) -> Result<f64, RejectReason> {
    match fast_float2::parse::<f64, _>(literal) {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(RejectReason::NumberRange),
        Err(_) => Err(RejectReason::Syntax),
    }
}

/// A literal that was read the short way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    /// Its value.
    pub value: f64,
    /// Where it ends.
    pub end: usize,
    /// The byte that stands there; 0 at the end of the line.
    pub next: u8,
}

/// Most characters of a literal that is read the short way.
pub(super) const SHORT: usize = 15;

/// Reads the plainest numbers only: a minus or none, up to six digits, then up to seven more behind
/// a point, no exponent. `None` says nothing of what is there. With `JSON`, an `e` or `E` does not
/// follow, nor does a zero lead other digits; else the caller has to look at what follows.
#[inline(always)]
pub(super) fn short<const JSON: bool>(bytes: &[u8], start: usize) -> Option<Short> {
    // The line is as long as memory can hold at most, so nothing wraps.
    let mut read = short_of::<JSON>(|at| word_at(bytes, start.wrapping_add(at)))?;
    read.end = read.end.wrapping_add(start);
    Some(read)
}

/// As [`short`], of the literal whose bytes from a place below 16 on are what `word_at` says. Without
/// a branch on anything but the number's form, so that the numbers of a line overlap in time.
#[inline(always)]
pub(super) fn short_of<const JSON: bool>(word_at: impl Fn(usize) -> u64) -> Option<Short> {
    const POINT: u64 = (b'.' ^ b'0') as u64;
    let word = word_at(0);
    // As many bits as the minus takes: 8, or 0 where there is none.
    let minus = ((word & 0xff) ^ u64::from(b'-')).wrapping_sub(1) >> 60 & 8;
    let sign = minus << 60;
    let whole = less_zeros(word >> minus);
    let mut end = minus as usize / 8;
    let mantissa = if whole & 0xff < 10 && whole >> 8 & 0xff == POINT {
        // Most numbers are of one digit and a fraction.
        end += 2;
        whole & 0xff
    } else {
        let n = first_other(whole);
        if !(8..56).contains(&n) || (JSON && n >= 16 && whole as u8 == 0) {
            return None;
        }
        let value = number_before(whole, n);
        end += bytes_before(n);
        let next = marked(whole, n);
        if u64::from(next) != POINT {
            let next = next ^ b'0';
            return (!JSON || next | 0x20 != b'e').then_some(Short {
                value: f64::from_bits((value as i64 as f64).to_bits() | sign),
                end,
                next,
            });
        }
        end += 1;
        value
    };
    let fraction = less_zeros(word_at(end));
    let m = first_other(fraction);
    if !(8..64).contains(&m) {
        return None;
    }
    let places = bytes_before(m) & 7;
    end += places;
    let next = marked(fraction, m) ^ b'0';
    if JSON && next | 0x20 == b'e' {
        return None;
    }
    // Below 10^13, so that only the division rounds.
    let mantissa = mantissa
        .wrapping_mul(WHOLE_POWERS[places])
        .wrapping_add(number_before(fraction, m));
    let size = mantissa as i64 as f64 / POWERS[places];
    // Signs are as good as random: a branch would be mispredicted every other time.
    Some(Short {
        value: f64::from_bits(size.to_bits() | sign),
        end,
        next,
    })
}

/// Reads a JSON number (RFC 8259, section 6) that starts at `start`: its value and where it ends.
///
/// # Errors
/// `syntax` where the grammar is broken, `number_len` for a literal of more than `longest`
/// characters, `number_range` for one beyond the range of a double.
#[inline(always)]
pub(super) fn json(bytes: &[u8], start: usize, longest: usize) -> Result<(f64, usize), Reject> {
    match short::<true>(bytes, start) {
        Some(read) if read.end - start <= longest => Ok((read.value, read.end)),
        _ => strict_json(bytes, start, longest),
    }
}

/// As [`json`], without a short way.
#[inline(never)]
pub(super) fn strict_json(
    bytes: &[u8],
    start: usize,
    longest: usize,
) -> Result<(f64, usize), Reject> {
    let refuse = |reason, at: usize| Reject {
        reason,
        at: at as u32,
    };
    let mut decimal = Decimal {
        negative: bytes.get(start) == Some(&b'-'),
        ..Decimal::default()
    };
    let whole = start + usize::from(decimal.negative);
    // Most numbers have one digit before the point.
    let Some(first) = digit_at(bytes, whole) else {
        return Err(refuse(RejectReason::Syntax, whole));
    };
    decimal.mantissa = first;
    decimal.digits = 1;
    let mut end = whole + 1;
    if digit_at(bytes, end).is_some() {
        if first == 0 {
            return Err(refuse(RejectReason::Syntax, end));
        }
        end = decimal.digits(bytes, end);
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = decimal.digits(bytes, fraction);
        if end == fraction {
            return Err(refuse(RejectReason::Syntax, fraction));
        }
        decimal.exponent = -((end - fraction).min(100_000) as i32);
    }
    end = decimal
        .exponent(bytes, end)
        .map_err(|at| refuse(RejectReason::Syntax, at))?;
    if end - start > longest {
        return Err(refuse(RejectReason::NumberLen, start));
    }
    match decimal.value(&bytes[start..end]) {
        Ok(value) => Ok((value, end)),
        Err(reason) => Err(refuse(reason, start)),
    }
}

/// Reads the whole of `literal` as a number as CSV files write them: an optional sign, leading
/// zeros, and digits missing on one side of the point are allowed. `None`: it is no number.
///
/// # Errors
/// As for [`json`], of a literal that is a number.
pub(super) fn column(literal: &[u8], longest: usize) -> Option<Result<f64, RejectReason>> {
    match short::<false>(literal, 0) {
        Some(read) if read.end == literal.len() && read.end <= longest => Some(Ok(read.value)),
        _ => match column_at(literal, 0, longest) {
            Some((value, end)) if end == literal.len() => Some(value),
            _ => None,
        },
    }
}

/// As [`column`], of as much from `start` on as is a number; also where it ends.
#[inline(never)]
pub(super) fn column_at(
    bytes: &[u8],
    start: usize,
    longest: usize,
) -> Option<(Result<f64, RejectReason>, usize)> {
    let first = bytes.get(start)?;
    let mut decimal = Decimal {
        negative: *first == b'-',
        ..Decimal::default()
    };
    let mut end = start + usize::from(matches!(first, b'-' | b'+'));
    if let Some(digit) = digit_at(bytes, end) {
        // Most numbers have one digit before the point.
        decimal.mantissa = digit;
        decimal.digits = 1;
        end += 1;
        if digit_at(bytes, end).is_some() {
            end = decimal.digits(bytes, end);
        }
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = decimal.digits(bytes, fraction);
        decimal.exponent = -((end - fraction).min(100_000) as i32);
    }
    if decimal.digits == 0 {
        return None;
    }
    end = decimal.exponent(bytes, end).ok()?;
    let value = if end - start > longest {
        Err(RejectReason::NumberLen)
    } else {
        decimal.value(&bytes[start..end])
    };
    Some((value, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(text: &str) -> RejectReason {
        json(text.as_bytes(), 0, 64).unwrap_err().reason
    }

    #[test]
    fn reads_the_grammar_of_json_and_nothing_else() {
        for (text, want) in [
            ("0", 0.0),
            ("-1", -1.0),
            ("12.5e1", 125.0),
            ("1E-2", 0.01),
            ("1e-400", 0.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
        ] {
            assert_eq!(
                json(text.as_bytes(), 0, 64),
                Ok((want, text.len())),
                "{text}"
            );
        }
        for text in ["", "-", "01", "-01", "+1", ".5", "1.", "1.e5", "1e", "1e+"] {
            assert_eq!(reason(text), RejectReason::Syntax, "{text}");
        }
        assert_eq!(reason("1e999"), RejectReason::NumberRange);
        assert_eq!(reason("-1e999"), RejectReason::NumberRange);
        assert_eq!(reason(&"1".repeat(65)), RejectReason::NumberLen);
        assert!(json(b"-0.0", 0, 64).unwrap().0.is_sign_negative());
    }

    #[test]
    fn a_column_may_write_numbers_more_freely_but_not_everything() {
        for (text, want) in [("+1", 1.0), (".5", 0.5), ("5.", 5.0), ("007", 7.0)] {
            assert_eq!(column(text.as_bytes(), 64), Some(Ok(want)), "{text}");
        }
        for text in [
            "", ".", "-", "1e", "0x10", "1_0", "1,0", "nan", "inf", "1 2",
        ] {
            assert_eq!(column(text.as_bytes(), 64), None, "{text}");
        }
        assert_eq!(column(b"1e999", 64), Some(Err(RejectReason::NumberRange)));
        assert_eq!(column(&[b'1'; 65], 64), Some(Err(RejectReason::NumberLen)));
    }

    proptest! {
        #[test]
        fn every_literal_reads_as_the_standard_library_reads_it(
            text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?",
        ) {
            let want: f64 = text.parse().unwrap();
            match json(text.as_bytes(), 0, 100) {
                Ok((value, end)) => {
                    prop_assert_eq!(value.to_bits(), want.to_bits());
                    prop_assert_eq!(end, text.len());
                }
                Err(reject) => {
                    prop_assert_eq!(reject.reason, RejectReason::NumberRange);
                    prop_assert!(want.is_infinite());
                }
            }
            let lax = column(text.as_bytes(), 100).unwrap();
            prop_assert_eq!(lax.map(f64::to_bits).ok(), want.is_finite().then(|| want.to_bits()));
        }

        #[test]
        fn the_short_way_reads_what_the_strict_way_reads(
            text in prop_oneof![
                "-?[0-9]{0,9}(\\.[0-9]{0,9})?[0-9.eE:| x,}+-]{0,9}",
                "-?0{0,3}[0-9]{1,7}\\.[0-9]{1,8}[eE ]?-?[0-9]?",
                "[ -~]{0,12}",
            ],
            before in "[ -~]{0,9}",
            longest in 1usize..20,
        ) {
            let line = format!("{before}{text}");
            let (bytes, start) = (line.as_bytes(), before.len());
            let next = |end: usize| bytes.get(end).copied().unwrap_or(0);
            prop_assert_eq!(json(bytes, start, longest), strict_json(bytes, start, longest));
            if let Some(read) = short::<true>(bytes, start) {
                let strict = strict_json(bytes, start, 100).unwrap();
                prop_assert_eq!((read.value.to_bits(), read.end), (strict.0.to_bits(), strict.1));
                prop_assert_eq!(read.next, next(read.end));
            }
            if let Some(read) = short::<false>(bytes, start) {
                prop_assert_eq!(read.next, next(read.end));
                if !matches!(read.next, b'e' | b'E') {
                    let (value, end) = column_at(bytes, start, 100).unwrap();
                    prop_assert_eq!((Ok(read.value.to_bits()), read.end), (value.map(f64::to_bits), end));
                }
            }
            let strict = column_at(bytes, start, longest).filter(|(_, end)| *end == bytes.len());
            prop_assert_eq!(column(&bytes[start..], longest), strict.map(|(value, _)| value));
        }

        #[test]
        fn the_short_way_reads_plain_numbers_of_every_size(
            whole in 0u32..1_000_000,
            fraction in 0u32..10_000_000,
            places in 0usize..8,
            negative in any::<bool>(),
        ) {
            let sign = if negative { "-" } else { "" };
            let fraction = &format!("{fraction:07}")[..places];
            let point = if places > 0 { "." } else { "" };
            let text = format!("{sign}{whole}{point}{fraction}");
            let read = short::<true>(text.as_bytes(), 0).unwrap();
            prop_assert_eq!(read.value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!((read.end, read.next), (text.len(), 0));
        }

        #[test]
        fn every_double_survives_being_written(value in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let text = format!("{value:e}");
            prop_assert_eq!(json(text.as_bytes(), 0, 100).unwrap().0.to_bits(), value.to_bits());
        }
    }
}
