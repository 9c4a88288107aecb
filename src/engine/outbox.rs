//! Events on their way out: rendered once for each sink that asked, and for the client that
//! waits for an answer.
//!
//! Invariant: events of one record stay together and in order; a client gets exactly one line for
//! each of its lines that is not blank.

use std::io::Write as _;

use crate::base::{Event, EventKind, EventKinds, EventSink, RenderOptions, fixed_six};
use crate::config::Config;
use crate::model::Model;
use crate::source::LineError;

use super::pipeline::{Output, Rejection};

/// Refused lines of a body that its answer lists at most.
const MOST_ERRORS: usize = 100;

/// One sink's part of the outbox.
pub(crate) struct Outgoing {
    inputs: Vec<bool>,
    kinds: EventKinds,
    render: RenderOptions,
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
}

/// The answers to one chunk of a client's lines.
pub(crate) struct Replies {
    model: Option<usize>,
    /// As Vowpal Wabbit answers, instead of JSON.
    plain: bool,
    pub(crate) bytes: Vec<u8>,
    answered: bool,
}

/// Collects what a chunk gives rise to.
pub(crate) struct Outbox {
    pub(crate) sinks: Vec<Outgoing>,
    wanted: Vec<EventKinds>,
    pub(crate) replies: Option<Replies>,
    /// The first refused lines of a body, while one is learned.
    errors: Option<Vec<LineError>>,
    /// Refused lines as dead letters, by source.
    pub(crate) rejected: Vec<Option<DeadLetterBox>>,
    /// The first refused line since the log last told of one, by source.
    pub(crate) first_rejection: Vec<Option<String>>,
    reply_options: RenderOptions,
}

/// Where a source's refused lines go.
pub(crate) type DeadLetterBox = crate::sink::DeadLetters;

impl Outbox {
    pub(crate) fn new(config: &Config, dead_letters: Vec<Option<DeadLetterBox>>) -> Outbox {
        let sinks: Vec<Outgoing> = config
            .sinks
            .iter()
            .map(|sink| Outgoing {
                inputs: (0..config.models.len())
                    .map(|m| sink.inputs.contains(&m))
                    .collect(),
                kinds: sink.events,
                render: sink.render.clone(),
                bytes: Vec::new(),
                count: 0,
            })
            .collect();
        let wanted = (0..config.models.len())
            .map(|m| {
                sinks
                    .iter()
                    .filter(|s| s.inputs[m])
                    .fold(EventKinds::default(), |all, s| all.union(s.kinds))
            })
            .collect();
        Outbox {
            sinks,
            wanted,
            replies: None,
            errors: None,
            first_rejection: vec![None; config.sources.len()],
            rejected: dead_letters,
            reply_options: RenderOptions::default(),
        }
    }

    /// The lines that follow are a client's, answered by this model; `plain` as Vowpal Wabbit
    /// answers, instead of JSON.
    pub(crate) fn answer_with(&mut self, model: Option<usize>, plain: bool) {
        self.replies = Some(Replies {
            model,
            plain,
            bytes: Vec::new(),
            answered: false,
        });
    }

    /// The lines that follow are a body, whose refused lines are listed.
    pub(crate) fn list_errors(&mut self) {
        self.errors = Some(Vec::new());
    }

    /// The first refused lines since.
    pub(crate) fn take_errors(&mut self) -> Vec<LineError> {
        self.errors.take().unwrap_or_default()
    }

    /// The answers since.
    pub(crate) fn take_replies(&mut self) -> Vec<u8> {
        self.replies.take().map(|r| r.bytes).unwrap_or_default()
    }
}

impl EventSink for Outbox {
    fn wants(&self, model: usize) -> EventKinds {
        let wanted = self.wanted[model];
        match &self.replies {
            Some(replies) if replies.model == Some(model) => {
                wanted.with(EventKind::Prediction).with(EventKind::Score)
            }
            _ => wanted,
        }
    }

    fn wants_ids(&self, model: usize) -> bool {
        let answers = self.replies.as_ref().filter(|r| r.model == Some(model));
        self.wanted[model].contains(EventKind::Prediction) || answers.is_some_and(|r| !r.plain)
    }

    fn emit(&mut self, model: usize, event: &Event<'_>) {
        let kind = event.kind();
        for sink in &mut self.sinks {
            if sink.inputs[model] && sink.kinds.contains(kind) {
                event.render(&sink.render, &mut sink.bytes);
                sink.count += 1;
            }
        }
        if let Some(replies) = &mut self.replies
            && replies.model == Some(model)
            && matches!(kind, EventKind::Prediction | EventKind::Score)
        {
            if replies.plain {
                plain_line(event, &mut replies.bytes);
            } else {
                event.render(&self.reply_options, &mut replies.bytes);
            }
            replies.answered = true;
        }
    }
}

impl Output for Outbox {
    fn rejected(&mut self, rejection: &Rejection<'_>) {
        match &mut self.replies {
            Some(replies) if replies.plain => replies.bytes.extend_from_slice(b"nan\n"),
            Some(replies) => {
                let message = format!(
                    "{}: at byte {}",
                    rejection.reject.reason, rejection.reject.at
                );
                error_line(&message, &mut replies.bytes);
            }
            None => {}
        }
        if let Some(errors) = &mut self.errors
            && errors.len() < MOST_ERRORS
        {
            errors.push(LineError {
                line: rejection.line_number,
                reason: rejection.reject.reason,
                at: rejection.reject.at,
            });
        }
        let place = &mut self.first_rejection[rejection.source];
        if place.is_none() {
            *place = Some(format!(
                "{} line {} byte {}: {}",
                rejection.stream,
                rejection.line_number,
                rejection.reject.at,
                rejection.reject.reason
            ));
        }
        if let Some(letters) = &mut self.rejected[rejection.source] {
            letters.push(&crate::sink::DeadLetter {
                time: rejection.received,
                source: rejection.source_name,
                stream: rejection.stream,
                line: rejection.line_number,
                reason: rejection.reject.reason,
                at: rejection.reject.at,
                text: rejection.line,
            });
        }
    }

    fn record_done(&mut self, _models: &[Model]) {
        if let Some(replies) = &mut self.replies {
            if !replies.answered {
                // The model made no prediction (its `where` does not hold, say): still one line.
                let nothing: &[u8] = if replies.plain {
                    b"nan\n"
                } else {
                    b"{\"skipped\":true}\n"
                };
                replies.bytes.extend_from_slice(nothing);
            }
            replies.answered = false;
        }
    }
}

/// A prediction as Vowpal Wabbit writes it: six decimals, or none of a whole number, and the tag.
fn plain_line(event: &Event<'_>, out: &mut Vec<u8>) {
    let head = match event {
        Event::Prediction {
            head, prediction, ..
        } => {
            let value = *prediction as f32;
            if value.floor() == value {
                write!(out, "{value:.0}").expect("writing to memory cannot fail");
            } else {
                fixed_six(value, out);
            }
            head
        }
        Event::Class {
            head, prediction, ..
        } => {
            out.extend_from_slice(prediction.unwrap_or("nan").as_bytes());
            head
        }
        _ => return,
    };
    if let Some(tag) = head.id {
        out.push(b' ');
        out.extend_from_slice(tag.as_bytes());
    }
    out.push(b'\n');
}

/// `{"error":"…"}` as a line.
pub(crate) fn error_line(message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":");
    serde_json::to_writer(&mut *out, message).expect("writing to memory cannot fail");
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventHead;

    #[test]
    fn a_plain_answer_is_what_vowpal_wabbit_writes() {
        let line = |prediction: f64, id| {
            let head = EventHead {
                event_id: 0,
                time: None,
                model: "m",
                key: &[],
                source: "s",
                seq: 1,
                id,
            };
            let mut out = Vec::new();
            let event = Event::Prediction {
                head,
                prediction,
                label: None,
                label_is_class: false,
                loss: None,
            };
            plain_line(&event, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(0.0, None), "0\n");
        assert_eq!(line(-3.0, Some("a")), "-3 a\n");
        assert_eq!(line(0.253_466_2, Some("tag")), "0.253466 tag\n");
        assert_eq!(line(2.568_277, None), "2.568277\n");
    }
}
