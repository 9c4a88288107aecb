//! From what a record's label field holds to what a learner is told.
//!
//! Invariant: a class keeps its number for ever; numbers are given in order of first appearance
//! and are state.

use crate::base::{Label, Reader, StateError, Task, Writer};
use crate::feature::LabelValue;

/// What a label field says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Read {
    /// Nothing.
    Missing,
    /// Something that is no label of this task.
    Unreadable,
    /// A label.
    Label(Label),
}

/// The classes seen so far (multiclass).
#[derive(Debug, Default)]
pub(crate) struct Classes {
    names: Vec<String>,
    numbers: foldhash::HashMap<String, u32>,
    /// The name being looked up, where it must be written first; kept for its memory.
    text: String,
}

impl Classes {
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of the class that a label names. A new one gets the next number if `learn`
    /// and there is room; without `learn` it gets the number after the last, which no class has.
    fn number(&mut self, value: LabelValue<'_>, limit: usize, learn: bool) -> Option<u32> {
        let text: &str = match value {
            LabelValue::Missing | LabelValue::Unreadable => return None,
            LabelValue::Text(text) => text,
            LabelValue::Boolean(b) => {
                if b {
                    "true"
                } else {
                    "false"
                }
            }
            LabelValue::Number(x) => {
                use std::fmt::Write as _;
                self.text.clear();
                write!(self.text, "{x}").expect("writing to memory cannot fail");
                &self.text
            }
        };
        if let Some(&number) = self.numbers.get(text) {
            return Some(number);
        }
        let next = self.names.len() as u32;
        if learn {
            if self.names.len() >= limit {
                return None;
            }
            let name = text.to_owned();
            self.numbers.insert(name.clone(), next);
            self.names.push(name);
        }
        Some(next)
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        out.texts("classes", &self.names);
    }

    pub(crate) fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.names = from.texts("classes")?;
        self.numbers = self.names.iter().cloned().zip(0..).collect();
        if self.numbers.len() == self.names.len() {
            Ok(())
        } else {
            Err(from.invalid("classes", "a class occurs twice"))
        }
    }
}

/// Reads a label for a task. `positive` is the text that means yes.
pub(crate) fn read(
    value: LabelValue<'_>,
    task: Task,
    positive: Option<&str>,
    classes: &mut Classes,
    max_classes: usize,
    learn: bool,
) -> Read {
    if value == LabelValue::Missing {
        return Read::Missing;
    }
    let label = match task {
        Task::Regression => quantity(value).map(Label::Number),
        Task::Binary | Task::Anomaly => yes_or_no(value, positive).map(Label::Binary),
        Task::Multiclass => classes.number(value, max_classes, learn).map(Label::Class),
    };
    label.map_or(Read::Unreadable, Read::Label)
}

fn quantity(value: LabelValue<'_>) -> Option<f64> {
    let x = match value {
        LabelValue::Number(x) => x,
        LabelValue::Boolean(b) => f64::from(u8::from(b)),
        LabelValue::Text(text) => text.trim().parse().ok()?,
        LabelValue::Missing | LabelValue::Unreadable => return None,
    };
    x.is_finite().then_some(x)
}

fn yes_or_no(value: LabelValue<'_>, positive: Option<&str>) -> Option<bool> {
    if let Some(positive) = positive {
        return Some(match value {
            LabelValue::Text(text) => text == positive,
            LabelValue::Number(x) => positive.parse() == Ok(x),
            LabelValue::Boolean(b) => positive == if b { "true" } else { "false" },
            LabelValue::Missing | LabelValue::Unreadable => return None,
        });
    }
    match value {
        LabelValue::Boolean(b) => Some(b),
        LabelValue::Number(1.0) => Some(true),
        LabelValue::Number(0.0 | -1.0) => Some(false),
        LabelValue::Text(text) => match text.trim() {
            "1" | "true" | "True" | "TRUE" | "+1" => Some(true),
            "0" | "-1" | "false" | "False" | "FALSE" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(task: Task, value: LabelValue<'_>, positive: Option<&str>) -> Read {
        read(value, task, positive, &mut Classes::default(), 2, true)
    }

    #[test]
    fn binary_labels_come_in_the_forms_of_the_contract() {
        for (value, want) in [
            (LabelValue::Number(1.0), true),
            (LabelValue::Number(0.0), false),
            (LabelValue::Number(-1.0), false),
            (LabelValue::Boolean(true), true),
            (LabelValue::Text("false"), false),
        ] {
            assert_eq!(
                read_as(Task::Binary, value, None),
                Read::Label(Label::Binary(want))
            );
        }
        assert_eq!(
            read_as(Task::Binary, LabelValue::Number(2.0), None),
            Read::Unreadable
        );
        assert_eq!(
            read_as(Task::Binary, LabelValue::Text("yes"), None),
            Read::Unreadable
        );
        let yes = read_as(Task::Binary, LabelValue::Text("yes"), Some("yes"));
        assert_eq!(yes, Read::Label(Label::Binary(true)));
    }

    #[test]
    fn classes_are_numbered_as_they_come_and_bounded() {
        let mut classes = Classes::default();
        let mut number = |text: &str, learn| {
            let value = LabelValue::Text(text);
            read(value, Task::Multiclass, None, &mut classes, 2, learn)
        };
        assert_eq!(number("a", true), Read::Label(Label::Class(0)));
        assert_eq!(number("b", false), Read::Label(Label::Class(1)));
        assert_eq!(number("c", true), Read::Label(Label::Class(1)));
        assert_eq!(number("d", true), Read::Unreadable);
    }

    #[test]
    fn a_quantity_must_be_finite() {
        assert_eq!(
            read_as(Task::Regression, LabelValue::Text("nan"), None),
            Read::Unreadable
        );
        let x = read_as(Task::Regression, LabelValue::Text(" 2.5"), None);
        assert_eq!(x, Read::Label(Label::Number(2.5)));
    }
}
