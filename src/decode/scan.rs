//! A cursor over one line of JSON: white space, words, strings.
//!
//! Invariant: the line is UTF-8 and the cursor stands between characters, so every piece taken out
//! between two ASCII bytes is text.

use super::word::{below, bytes_before, equal, first};
use crate::base::{Reject, RejectReason};

/// The cursor.
pub(super) struct Scan<'a> {
    /// The line.
    pub text: &'a str,
    /// Byte offset of what comes next.
    pub at: usize,
}

impl<'a> Scan<'a> {
    /// A refusal at the cursor.
    pub fn refuse(&self, reason: RejectReason) -> Reject {
        refuse(reason, self.at)
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space and returns the next byte.
    #[inline]
    pub fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Takes exactly this word.
    pub fn word(&mut self, word: &str) -> Result<(), Reject> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.refuse(RejectReason::Syntax))
        }
    }

    /// Takes the string whose opening quote is next; escapes are resolved into `buffer`.
    pub fn string<'b>(&mut self, buffer: &'b mut String) -> Result<&'b str, Reject>
    where
        'a: 'b,
    {
        let start = self.at + 1;
        self.at = plain_end(self.text.as_bytes(), start);
        if self.peek() == Some(b'"') {
            let plain = &self.text[start..self.at];
            self.at += 1;
            return Ok(plain);
        }
        buffer.clear();
        let mut start = start;
        loop {
            buffer.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(buffer);
                }
                Some(b'\\') => buffer.push(self.escape()?),
                // A control character, or the end of the line.
                _ => return Err(self.refuse(RejectReason::Syntax)),
            }
            start = self.at;
            self.at = plain_end(self.text.as_bytes(), start);
        }
    }

    /// Takes one escape whose backslash is next.
    fn escape(&mut self) -> Result<char, Reject> {
        let start = self.at;
        let wrong = refuse(RejectReason::Syntax, start);
        self.at += 2;
        Ok(match self.text.as_bytes().get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hexadecimal().ok_or(wrong)?;
                let code = match first {
                    // The first half of a pair: the second has to follow at once.
                    0xd800..=0xdbff => {
                        if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                            return Err(wrong);
                        }
                        self.at += 2;
                        let second = self.hexadecimal().ok_or(wrong)?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err(wrong);
                        }
                        0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    code => code,
                };
                char::from_u32(code).ok_or(wrong)?
            }
            _ => return Err(wrong),
        })
    }

    /// Takes four hexadecimal digits.
    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        let mut code = 0;
        for digit in digits {
            code = code << 4 | char::from(*digit).to_digit(16)?;
        }
        self.at += 4;
        Some(code)
    }
}

/// A refusal at a place.
pub(super) fn refuse(reason: RejectReason, at: usize) -> Reject {
    Reject {
        reason,
        at: at as u32,
    }
}

/// Refuses what is not UTF-8, at the first byte that is not.
#[inline]
pub(super) fn check_utf8(line: &[u8]) -> Result<(), Reject> {
    if line.is_ascii() {
        return Ok(());
    }
    match std::str::from_utf8(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(RejectReason::Utf8, error.valid_up_to())),
    }
}

/// The first place from `at` on of a quote, a backslash, a control character, or the end.
///
/// Eight bytes at a time.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let mark = first(below(word, 0x20) | equal(word, b'"') | equal(word, b'\\'));
        at += bytes_before(mark);
        if mark < 64 {
            return at;
        }
    }
    while let Some(&byte) = bytes.get(at) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn eight_at_a_time_finds_what_one_at_a_time_finds(
            bytes in proptest::collection::vec(
                prop_oneof![8 => any::<u8>(), 1 => Just(b'"'), 8 => 0x20u8..0x80], 0..60),
            start in 0usize..10,
        ) {
            let start = start.min(bytes.len());
            let want = bytes[start..]
                .iter()
                .position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')
                .map_or(bytes.len(), |i| start + i);
            prop_assert_eq!(plain_end(&bytes, start), want);
        }
    }
}
