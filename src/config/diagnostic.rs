//! Problems of a configuration as people read them: place, line, caret, what to do.
//!
//! Invariant: the first line of a problem is `FILE:LINE:COL: message`, so that editors and scripts
//! find the place; nothing from the file reaches the terminal as a control character.

use std::fmt;
use std::fmt::Write as _;

use super::dom::{Document, Place};

/// The most characters of a line that are shown.
const SHOWN: usize = 100;
/// The most problems that are kept; further ones are counted.
pub(super) const MOST_SHOWN: usize = 50;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, or the name of the override (`--set models.m.hash_bits`).
    pub file: String,
    /// The line from 1; 0 where the problem has no line (overrides, unreadable files).
    pub line: usize,
    /// The column from 1, in characters.
    pub column: usize,
    /// How many characters are wrong.
    pub width: usize,
    /// The line itself, where there is one.
    pub text: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A problem of a file as a whole.
    pub fn of_file(file: &str, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic {
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 0,
            text: None,
            message,
            help,
        }
    }

    /// A problem at a place of a document.
    pub(super) fn at(
        document: &Document,
        place: Place,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        let text = &document.text;
        let start = floor(text, place.start.min(text.len()));
        let begin = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let finish = text[begin..].find('\n').map_or(text.len(), |i| begin + i);
        let line = text[begin..finish].trim_end_matches('\r');
        let end = floor(
            text,
            place
                .end
                .clamp(start, begin + line.len().max(start - begin)),
        );
        Diagnostic {
            file: document.name.clone(),
            line: if document.numbered {
                text[..begin].matches('\n').count() + 1
            } else {
                0
            },
            column: text[begin..start].chars().count() + 1,
            width: text[start..end].chars().count().max(1),
            text: Some(line.to_owned()),
            message,
            help,
        }
    }

    fn render(&self, color: bool, out: &mut String) {
        let paint = |code: &'static str| if color { code } else { "" };
        let (bold, red, blue, plain) = (
            paint("\x1b[1m"),
            paint("\x1b[1;31m"),
            paint("\x1b[1;34m"),
            paint("\x1b[0m"),
        );
        let place = if self.line > 0 {
            format!("{}:{}:{}", self.file, self.line, self.column)
        } else {
            self.file.clone()
        };
        let place = printable(&place);
        let message = printable(&self.message);
        let number = if self.line > 0 {
            self.line.to_string()
        } else {
            String::new()
        };
        let gutter = number.len().max(2);
        let mut put = |line: fmt::Arguments<'_>| {
            out.write_fmt(line).expect("writing to memory cannot fail");
            out.push('\n');
        };
        put(format_args!("{bold}{place}: {red}{message}{plain}"));
        if let Some(text) = &self.text {
            let (shown, column, width) = window(text, self.column, self.width);
            let bar = format!("{blue}{:>gutter$} |{plain}", "");
            put(format_args!("{blue}{number:>gutter$} |{plain} {shown}"));
            let (space, caret) = (" ".repeat(column - 1), "^".repeat(width));
            put(format_args!("{bar} {space}{red}{caret}{plain}"));
        }
        if let Some(help) = &self.help {
            let help = printable(help);
            put(format_args!("{:>gutter$} {blue}help:{plain} {help}", ""));
        }
    }
}

/// Every problem that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the file, then of the overrides.
    pub diagnostics: Vec<Diagnostic>,
    /// So many more are not kept.
    pub more: usize,
}

impl Report {
    /// A report of one problem.
    pub fn one(diagnostic: Diagnostic) -> Report {
        Report {
            diagnostics: vec![diagnostic],
            more: 0,
        }
    }

    /// All of it as text, with colors for a terminal or without.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            diagnostic.render(color, &mut out);
        }
        let count = self.diagnostics.len() + self.more;
        let problems = if count == 1 { "problem" } else { "problems" };
        let shown = if self.more > 0 {
            format!(", of which {} are shown", self.diagnostics.len())
        } else {
            String::new()
        };
        writeln!(out, "{count} {problems}{shown}").expect("writing to memory cannot fail");
        out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Report {}

/// The nearest character boundary at or before a byte.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Control characters made visible and harmless; a tab is one column wide.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() || is_bidi(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Characters that change the direction of what follows would move the caret's line.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The part of a line around the caret that fits, with the caret's column and width in it.
fn window(text: &str, column: usize, width: usize) -> (String, usize, usize) {
    let chars: Vec<char> = printable(text).chars().collect();
    if chars.len() <= SHOWN {
        return (chars.iter().collect(), column, width);
    }
    let from = (column - 1).saturating_sub(SHOWN / 3).min(chars.len());
    let to = (from + SHOWN).min(chars.len());
    let mut shown: String = chars[from..to].iter().collect();
    let mut column = column - from;
    if from > 0 {
        shown.insert(0, '…');
        column += 1;
    }
    if to < chars.len() {
        shown.push('…');
    }
    (shown, column, width.min(SHOWN + 1 - column.min(SHOWN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, start: usize, end: usize) -> String {
        let document = Document {
            name: "a.toml".into(),
            text: text.into(),
            numbered: true,
        };
        let place = Place {
            document: 0,
            start,
            end,
        };
        Report::one(Diagnostic::at(
            &document,
            place,
            "no".into(),
            Some("yes".into()),
        ))
        .render(false)
    }

    #[test]
    fn the_caret_stands_under_what_is_wrong() {
        assert_eq!(
            at("x = 1\nä = 22 # é\n", 11, 13),
            "a.toml:2:5: no\n 2 | ä = 22 # é\n   |     ^^\n   help: yes\n1 problem\n"
        );
    }

    #[test]
    fn any_place_in_any_text_can_be_shown() {
        for text in ["", "\n", "a", "a\r\n", "ä\u{1b}[2J\t'", &"ü".repeat(500)] {
            for start in 0..=text.len() + 2 {
                for end in [start, start + 1, start + 700] {
                    let shown = at(text, start, end);
                    assert!(!shown.contains('\u{1b}'), "{shown}");
                    let caret = shown.lines().nth(2).unwrap();
                    assert!(
                        caret.contains('^') && caret.chars().count() < 120,
                        "{shown}"
                    );
                }
            }
        }
    }

    #[test]
    fn many_problems_are_cut_short() {
        let one = Diagnostic::of_file("a", "no".into(), None);
        let report = Report {
            diagnostics: vec![one; MOST_SHOWN],
            more: 10,
        };
        assert_eq!(report.render(false).lines().count(), 51);
        assert!(
            report
                .to_string()
                .ends_with("60 problems, of which 50 are shown")
        );
    }
}
