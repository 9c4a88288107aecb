//! Where a record ends in each format.
//!
//! Invariant: the answer depends on the bytes of the record alone, so cutting does not depend on
//! how the bytes arrive.

use memchr::memchr;

use crate::base::Framer;

/// A record is a line.
pub(super) struct LineFramer;

impl Framer for LineFramer {
    fn record_end(&self, bytes: &[u8], scanned: usize) -> Option<usize> {
        memchr(b'\n', &bytes[scanned..]).map(|i| scanned + i + 1)
    }
}

/// A record is a line, but for line ends within quotes. A quote opens only at the start of a
/// column; within, a doubled quote is a quote.
pub(super) struct CsvFramer {
    pub delimiter: u8,
    pub quote: u8,
}

impl Framer for CsvFramer {
    fn record_end(&self, bytes: &[u8], scanned: usize) -> Option<usize> {
        // Every line end already seen lies within quotes, so without a new one nothing can end.
        let end = scanned + memchr(b'\n', &bytes[scanned..])? + 1;
        if memchr(self.quote, &bytes[..end]).is_none() {
            return Some(end);
        }
        let mut at = 0;
        loop {
            // At the start of a column.
            if bytes.get(at) == Some(&self.quote) {
                at += 1;
                loop {
                    at += memchr(self.quote, &bytes[at..])? + 1;
                    if bytes.get(at) != Some(&self.quote) {
                        break;
                    }
                    at += 1;
                }
            }
            at += memchr::memchr2(self.delimiter, b'\n', &bytes[at..])? + 1;
            if bytes[at - 1] == b'\n' {
                return Some(at);
            }
        }
    }
}
