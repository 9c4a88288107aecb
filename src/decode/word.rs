//! Eight bytes of a line at a time, as one number whose lowest byte is the first.
//!
//! Invariant: a mark is the highest bit of a byte, and the lowest mark of a word is exact: borrows and
//! carries only run upwards, so that a false mark can stand above a true one only (Mycroft's test
//! for a zero byte).

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the innermost loops, which calls would double"
)]

/// The same byte eight times is this times the byte.
pub(super) const ONES: u64 = u64::from_le_bytes([1; 8]);
/// The places of marks.
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// The eight bytes from a place on; zeros stand for what lies beyond the end.
#[inline(always)]
pub(super) fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => last_word(bytes, at),
    }
}

#[cold]
#[inline(never)]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// Marks the bytes below a limit of at most 0x80. Marks are cut to their places by [`first`].
#[inline(always)]
pub(super) fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(limit as u64)) & !word
}

/// Marks the bytes that are this one.
#[inline(always)]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ ONES.wrapping_mul(byte as u64), 1)
}

/// Where the first mark is: the highest bit of its byte, or 64 where there is none.
#[inline(always)]
pub(super) fn first(marks: u64) -> u32 {
    (marks & HIGH).trailing_zeros()
}

/// How many bytes stand before a mark; 8 where there is none.
#[inline(always)]
pub(super) fn bytes_before(mark: u32) -> usize {
    mark as usize / 8
}

/// The bytes before a mark that there is; zeros for the others.
#[inline(always)]
pub(super) fn before(word: u64, mark: u32) -> u64 {
    word & !(u64::MAX << (mark & 0x38))
}

/// The byte with the mark, which there is.
#[inline(always)]
pub(super) fn marked(word: u64, mark: u32) -> u8 {
    (word >> (mark & 0x38)) as u8
}

/// Each byte less `0`: what is then below ten was a digit.
#[inline(always)]
pub(super) fn less_zeros(word: u64) -> u64 {
    word ^ ONES.wrapping_mul(b'0' as u64)
}

/// Where the first byte is that is no digit, given [`less_zeros`].
#[inline(always)]
pub(super) fn first_other(digits: u64) -> u32 {
    first(digits.wrapping_add(ONES.wrapping_mul(0x76)) | digits)
}

/// The number that the digits before a mark make, at least one of them, given [`less_zeros`]: what
/// stands behind them is shifted out, and they are summed in pairs, pairs of pairs and so on (Lemire
/// 2021, "Number parsing at a gigabyte per second").
#[inline(always)]
pub(super) fn number_before(digits: u64, mark: u32) -> u64 {
    const MASK: u64 = 0x0000_00ff_0000_00ff;
    // As many bytes as are not digits: the mark is bit 7 of its byte, and 64 - 8 · 8 = 0.
    let digits = digits << (64u32.wrapping_sub(mark & 0x78) & 63);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first = (pairs & MASK).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & MASK).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_says_of_its_bytes_what_they_say_one_by_one(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b':'), b'0'..=b'9', Just(b'/'), Just(0)], 0..12),
            at in 0usize..14,
            count in 0usize..8,
        ) {
            let word = word_at(&bytes, at);
            let mut eight = [0; 8];
            for (i, byte) in eight.iter_mut().enumerate() {
                *byte = bytes.get(at + i).copied().unwrap_or(0);
            }
            prop_assert_eq!(word.to_le_bytes(), eight);
            let place = |test: &dyn Fn(&u8) -> bool| eight.iter().position(test).unwrap_or(8);
            let found = |marks| bytes_before(first(marks));
            prop_assert_eq!(found(below(word, b'0')), place(&|b| *b < b'0'));
            prop_assert_eq!(found(equal(word, b':')), place(&|b| *b == b':'));
            prop_assert_eq!(found(equal(word, b':') | below(word, 5)), place(&|b| *b == b':' || *b < 5));
            let mark = 8 * count as u32 + 7;
            prop_assert_eq!(marked(word, mark), eight[count]);
            let mut low = eight;
            low[count..].fill(0);
            prop_assert_eq!(before(word, mark).to_le_bytes(), low);
            let other = first_other(less_zeros(word));
            let length = place(&|b| !b.is_ascii_digit());
            prop_assert_eq!(bytes_before(other), length);
            if length > 0 {
                let text = std::str::from_utf8(&eight[..length]).unwrap();
                prop_assert_eq!(number_before(less_zeros(word), other), text.parse::<u64>().unwrap());
            }
        }
    }
}
