//! Lines that were refused, kept for whoever sent them: one JSON object a line, with place and
//! reason.
//!
//! Invariant: the file never grows beyond its limit; what it has no room for is counted, and never
//! holds anything up.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::file::Appender;
use crate::base::{Micros, RejectReason};

/// So much of a refused line is kept, in bytes.
const LONGEST_TEXT: usize = 64 * 1024;

/// A refused line.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// When it was received.
    pub time: Micros,
    /// The source's name.
    pub source: &'a str,
    /// The stream's name.
    pub stream: &'a str,
    /// The line's number in the stream, from 1.
    pub line: u64,
    /// Why it was refused.
    pub reason: RejectReason,
    /// Where in the line, in bytes.
    pub at: u32,
    /// The line.
    pub text: &'a [u8],
}

#[derive(Serialize)]
struct Written<'a> {
    time: String,
    source: &'a str,
    stream: &'a str,
    line: u64,
    reason: &'a str,
    at: u32,
    text: &'a str,
}

/// A bounded file of refused lines.
#[derive(Debug)]
pub struct DeadLetters {
    file: Appender,
    max_bytes: u64,
    /// Whole lines that are not in the file yet.
    buffer: Vec<u8>,
    buffered: u64,
    dropped: u64,
}

impl DeadLetters {
    /// Opens or creates the file; `max_bytes` includes what is in it already.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<DeadLetters> {
        Ok(DeadLetters {
            file: Appender::open(path)?,
            max_bytes,
            buffer: Vec::new(),
            buffered: 0,
            dropped: 0,
        })
    }

    /// Takes a refused line, or counts it as dropped if it has no room. In memory until
    /// [`DeadLetters::flush`].
    pub fn push(&mut self, letter: &DeadLetter<'_>) {
        let kept = &letter.text[..letter.text.len().min(LONGEST_TEXT)];
        let before = self.buffer.len();
        let written = Written {
            time: letter.time.to_string(),
            source: letter.source,
            stream: letter.stream,
            line: letter.line,
            reason: letter.reason.as_str(),
            at: letter.at,
            text: &String::from_utf8_lossy(kept),
        };
        serde_json::to_writer(&mut self.buffer, &written)
            .expect("plain structs serialize, and writing to memory cannot fail");
        self.buffer.push(b'\n');
        if self.file.length() + self.buffer.len() as u64 > self.max_bytes {
            self.buffer.truncate(before);
            self.dropped += 1;
        } else {
            self.buffered += 1;
        }
    }

    /// Writes what was taken. On an error it is dropped and counted: refused lines are never worth
    /// waiting for.
    ///
    /// # Errors
    /// What the system says.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let outcome = self.file.append(&self.buffer);
        if outcome.is_err() {
            self.dropped += self.buffered;
        }
        self.buffer.clear();
        self.buffered = 0;
        outcome
    }

    /// Opens the file anew, after it was moved away to make room.
    ///
    /// # Errors
    /// What the system says; the old file is kept then.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.reopen()
    }

    /// Refused lines that are not in the file, for want of room or by an error.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: DeadLetter<'_> = DeadLetter {
        time: Micros(0),
        source: "orders",
        stream: "127.0.0.1:9",
        line: 7,
        reason: RejectReason::Utf8,
        at: 3,
        text: b"{\"\xff\x1b\n",
    };

    #[test]
    fn a_refused_line_is_one_line_of_json_whatever_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let mut letters = DeadLetters::open(&path, 1 << 20).unwrap();
        letters.push(&LETTER);
        assert_eq!(std::fs::read(&path).unwrap(), b"", "not before the flush");
        letters.flush().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","source":"orders","stream":"127.0.0.1:9","#,
                r#""line":7,"reason":"utf8","at":3,"text":"{\""#,
                "\u{fffd}",
                r#"\u001b\n"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_file_stays_under_its_limit_across_restarts_until_it_is_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let text = "x".repeat(100_000);
        let long = DeadLetter {
            text: text.as_bytes(),
            ..LETTER
        };
        for round in 0..2 {
            let mut letters = DeadLetters::open(&path, 150_000).unwrap();
            for _ in 0..5 {
                letters.push(&long);
            }
            letters.flush().unwrap();
            assert_eq!(letters.dropped(), if round == 0 { 3 } else { 5 });
            let length = std::fs::metadata(&path).unwrap().len();
            assert!((131_072..150_000).contains(&length), "{length}");
            if round == 1 {
                std::fs::rename(&path, dir.path().join("old")).unwrap();
                letters.reopen().unwrap();
                letters.push(&long);
                letters.flush().unwrap();
                assert_eq!(letters.dropped(), 5);
            }
        }
    }

    #[test]
    fn a_full_disk_costs_the_lines_and_nothing_else() {
        let mut letters = DeadLetters::open(Path::new("/dev/full"), u64::MAX).unwrap();
        letters.push(&LETTER);
        letters.push(&LETTER);
        assert!(letters.flush().is_err());
        assert_eq!(letters.dropped(), 2);
        assert!(letters.flush().is_ok(), "nothing is left to fail");
    }
}
