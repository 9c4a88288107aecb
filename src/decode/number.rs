//! Number literals to doubles: JSON's grammar, and the laxer one of CSV columns.
//!
//! Invariant: a value is the double nearest to the decimal literal. The short way (Clinger, "How to
//! read floating point numbers accurately", 1990) is taken only where it is exact: an integer below
//! 2^53 times or divided by a power of ten up to 10^22 rounds once.

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

/// How many of the bytes are digits before the first that is none, and the number they make.
///
/// All eight at once: a byte that is no digit marks itself, the lowest mark being exact since
/// carries only run upwards; the digits are shifted to the end of the word, zeros before them, and
/// summed in pairs, pairs of pairs and so on (Lemire 2021, "Number parsing at a gigabyte per
/// second").
#[inline]
fn leading_digits(bytes: [u8; 8]) -> (usize, u64) {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const MASK: u64 = 0x0000_00ff_0000_00ff;
    let digits = u64::from_le_bytes(bytes) ^ (ONES * b'0' as u64);
    let marks = (digits.wrapping_add(ONES * 0x76) | digits) & (ONES * 0x80);
    let count = marks.trailing_zeros() / 8;
    if count == 0 {
        return (0, 0);
    }
    let pairs = digits << ((8 - count) * 8);
    let pairs = pairs.wrapping_mul(10).wrapping_add(pairs >> 8);
    let first = (pairs & MASK).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & MASK).wrapping_mul(1 + (10_000 << 32));
    (count as usize, first.wrapping_add(second) >> 32)
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
            let (count, value) = leading_digits(*eight);
            self.mantissa = self
                .mantissa
                .wrapping_mul(WHOLE_POWERS[count & 15])
                .wrapping_add(value);
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

/// Reads a JSON number (RFC 8259, section 6) that starts at `start`: its value and where it ends.
///
/// # Errors
/// `syntax` where the grammar is broken, `number_len` for a literal of more than `longest`
/// characters, `number_range` for one beyond the range of a double.
#[inline]
pub(super) fn json(bytes: &[u8], start: usize, longest: usize) -> Result<(f64, usize), Reject> {
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
    match column_at(literal, 0, longest) {
        Some((value, end)) if end == literal.len() => Some(value),
        _ => None,
    }
}

/// As [`column`], of as much from `start` on as is a number; also where it ends.
#[inline]
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

/// As [`column_at`], of the plainest numbers only: up to seven digits on each side of a point, no
/// exponent. `None` says nothing of what is there. It is small enough to be part of a loop, where
/// the numbers of a line overlap in time.
#[inline]
pub(super) fn quick(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let negative = bytes.get(start) == Some(&b'-');
    let whole_at = start + usize::from(negative);
    let eight = |at: usize| bytes.get(at..)?.first_chunk::<8>();
    let (n, whole) = leading_digits(*eight(whole_at)?);
    if n == 0 || n == 8 {
        return None;
    }
    let mut end = whole_at + n;
    let mut size = whole as f64;
    if bytes.get(end) == Some(&b'.') {
        let (m, fraction) = leading_digits(*eight(end + 1)?);
        if m == 0 || m == 8 {
            return None;
        }
        // Together they are below 10^14, so that only the division rounds.
        size = (size * POWERS[m & 7] + fraction as f64) / POWERS[m & 7];
        end += 1 + m;
    }
    Some((if negative { -size } else { size }, end))
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
        fn the_quick_way_reads_what_the_long_way_reads(
            text in "-?[0-9]{0,9}(\\.[0-9]{0,9})?[0-9.eE:| x-]{0,9}",
        ) {
            if let Some((value, end)) = quick(text.as_bytes(), 0) {
                let want: f64 = text[..end].parse().unwrap();
                prop_assert_eq!(value.to_bits(), want.to_bits());
                let next = text.as_bytes().get(end);
                prop_assert!(next.is_none_or(|b| !b.is_ascii_digit()));
            }
        }

        #[test]
        fn every_double_survives_being_written(value in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let text = format!("{value:e}");
            prop_assert_eq!(json(text.as_bytes(), 0, 100).unwrap().0.to_bits(), value.to_bits());
        }
    }
}
