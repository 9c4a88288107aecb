//! What models say, and how it is written: one JSON object a line, fields in the order of the
//! contract, absent ones left out.
//!
//! Invariant: every byte that came from a record is escaped or is JSON that the decoder accepted,
//! so an event is always exactly one line.

use super::Micros;
use super::text::{hex, integer, number, string, time};

/// The kinds of event a sink can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An alert.
    Anomaly,
    /// A prediction of a supervised model.
    Prediction,
    /// The score of one record.
    Score,
    /// The stream has changed for good.
    Drift,
    /// A learner lost its way.
    Divergence,
    /// A stream or key fell silent.
    Silence,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; 6] = [
        EventKind::Anomaly,
        EventKind::Drift,
        EventKind::Divergence,
        EventKind::Silence,
        EventKind::Prediction,
        EventKind::Score,
    ];

    /// The word of configuration and events.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Anomaly => "anomaly",
            EventKind::Prediction => "prediction",
            EventKind::Score => "score",
            EventKind::Drift => "drift",
            EventKind::Divergence => "divergence",
            EventKind::Silence => "silence",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventKinds(u8);

impl EventKinds {
    /// With one kind more.
    pub fn with(self, kind: EventKind) -> EventKinds {
        EventKinds(self.0 | 1 << kind as u8)
    }

    /// Of either set.
    pub fn union(self, other: EventKinds) -> EventKinds {
        EventKinds(self.0 | other.0)
    }

    /// Whether a kind is in it.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// The head of every event.
#[derive(Clone, Copy, Debug)]
pub struct EventHead<'a> {
    /// The same whenever the same record is processed again.
    pub event_id: u128,
    /// Of the record.
    pub time: Option<Micros>,
    /// The model's name.
    pub model: &'a str,
    /// The key's values; empty where the model has none.
    pub key: &'a [String],
    /// The source's name.
    pub source: &'a str,
    /// The source's accepted records up to this one; 0 where the event is of no record.
    pub seq: u64,
    /// The record's own id.
    pub id: Option<&'a str>,
}

/// One feature's part in an anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The feature in the user's words.
    pub feature: String,
    /// Its value in the record; NaN where it is missing.
    pub value: f64,
    /// The value expected.
    pub expected: f64,
    /// Its share of the strangeness, 0..1.
    pub share: f64,
}

/// Something a model says.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An alert.
    Anomaly {
        /// The head.
        head: EventHead<'a>,
        /// Strangeness in [0, 1).
        score: f64,
        /// How rarely a normal record is as strange.
        p_value: f64,
        /// `info`, `warning` or `critical`.
        severity: &'a str,
        /// `open`, `update` or `resolved`.
        state: &'a str,
        /// The event id of the alert that opened the incident.
        incident: u128,
        /// Flagged records since the last alert of the incident, this one included.
        records: u64,
        /// Alerts held back by the budget since the last one.
        suppressed: u64,
        /// The features that made it strange, strongest first.
        reasons: &'a [Reason],
        /// The line as received.
        record: &'a [u8],
        /// The line is a JSON object.
        record_is_json: bool,
    },
    /// A quantity or a probability.
    Prediction {
        /// The head.
        head: EventHead<'a>,
        /// The prediction.
        prediction: f64,
        /// The label, where known.
        label: Option<f64>,
        /// The label is written as a whole number (binary).
        label_is_class: bool,
        /// The loss, where the label is known.
        loss: Option<f64>,
    },
    /// A class.
    Class {
        /// The head.
        head: EventHead<'a>,
        /// The most probable class; `None` before the first label.
        prediction: Option<&'a str>,
        /// The names of the classes.
        classes: &'a [String],
        /// Their probabilities, in the same order.
        probabilities: &'a [f64],
        /// The label, where known.
        label: Option<&'a str>,
        /// The loss, where the label is known.
        loss: Option<f64>,
    },
    /// The score of one record.
    Score {
        /// The head.
        head: EventHead<'a>,
        /// Strangeness in [0, 1).
        score: f64,
        /// How rarely a normal record is as strange.
        p_value: f64,
        /// Whether it passed the level.
        anomaly: bool,
    },
    /// The stream has changed for good.
    Drift {
        /// The head.
        head: EventHead<'a>,
        /// What noticed.
        detector: &'a str,
        /// Mean before.
        before: f64,
        /// Mean after.
        after: f64,
    },
}

impl<'a> Event<'a> {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Event::Anomaly { .. } => EventKind::Anomaly,
            Event::Prediction { .. } | Event::Class { .. } => EventKind::Prediction,
            Event::Score { .. } => EventKind::Score,
            Event::Drift { .. } => EventKind::Drift,
        }
    }

    /// Its head.
    pub fn head(&self) -> &EventHead<'a> {
        match self {
            Event::Anomaly { head, .. }
            | Event::Prediction { head, .. }
            | Event::Class { head, .. }
            | Event::Score { head, .. }
            | Event::Drift { head, .. } => head,
        }
    }

    /// Appends the event as one line of JSON, newline included.
    pub fn render(&self, options: &RenderOptions, out: &mut Vec<u8>) {
        let head = self.head();
        out.extend_from_slice(b"{\"event\":\"");
        out.extend_from_slice(self.kind().as_str().as_bytes());
        out.extend_from_slice(b"\",\"event_id\":\"");
        hex(head.event_id, out);
        if let Some(at) = head.time {
            out.extend_from_slice(b"\",\"time\":\"");
            time(at, out);
        }
        out.extend_from_slice(b"\",\"model\":");
        string(head.model, out);
        if !head.key.is_empty() {
            out.extend_from_slice(b",\"key\":[");
            for (i, part) in head.key.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(part, out);
            }
            out.push(b']');
        }
        text_field(b",\"source\":", head.source, out);
        if head.seq > 0 {
            out.extend_from_slice(b",\"seq\":");
            integer(head.seq, out);
        }
        if let Some(id) = head.id {
            text_field(b",\"id\":", id, out);
        }
        self.render_body(options, out);
        out.extend_from_slice(b"}\n");
    }

    fn render_body(&self, options: &RenderOptions, out: &mut Vec<u8>) {
        match *self {
            Event::Anomaly {
                score,
                p_value,
                severity,
                state,
                incident,
                records,
                suppressed,
                reasons,
                record,
                record_is_json,
                ..
            } => {
                number_field(b",\"score\":", score, out);
                number_field(b",\"p_value\":", p_value, out);
                text_field(b",\"severity\":", severity, out);
                text_field(b",\"state\":", state, out);
                out.extend_from_slice(b",\"incident\":\"");
                hex(incident, out);
                out.extend_from_slice(b"\",\"records\":");
                integer(records, out);
                if suppressed > 0 {
                    out.extend_from_slice(b",\"suppressed\":");
                    integer(suppressed, out);
                }
                render_reasons(reasons, options, out);
                if options.record && !record.is_empty() {
                    out.extend_from_slice(b",\"record\":");
                    render_record(record, record_is_json, &options.redact, out);
                }
            }
            Event::Prediction {
                prediction,
                label,
                label_is_class,
                loss,
                ..
            } => {
                number_field(b",\"prediction\":", prediction, out);
                match label {
                    Some(label) if label_is_class => {
                        out.extend_from_slice(b",\"label\":");
                        integer(label as i64, out);
                    }
                    Some(label) => number_field(b",\"label\":", label, out),
                    None => {}
                }
                if let Some(loss) = loss {
                    number_field(b",\"loss\":", loss, out);
                }
            }
            Event::Class {
                prediction,
                classes,
                probabilities,
                label,
                loss,
                ..
            } => {
                match prediction {
                    Some(class) => text_field(b",\"prediction\":", class, out),
                    None => out.extend_from_slice(b",\"prediction\":null"),
                }
                out.extend_from_slice(b",\"probabilities\":{");
                for (i, (class, p)) in classes.iter().zip(probabilities).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    string(class, out);
                    number_field(b":", *p, out);
                }
                out.push(b'}');
                if let Some(label) = label {
                    text_field(b",\"label\":", label, out);
                }
                if let Some(loss) = loss {
                    number_field(b",\"loss\":", loss, out);
                }
            }
            Event::Score {
                score,
                p_value,
                anomaly,
                ..
            } => {
                number_field(b",\"score\":", score, out);
                number_field(b",\"p_value\":", p_value, out);
                out.extend_from_slice(if anomaly {
                    b",\"anomaly\":true"
                } else {
                    b",\"anomaly\":false"
                });
            }
            Event::Drift {
                detector,
                before,
                after,
                ..
            } => {
                text_field(b",\"detector\":", detector, out);
                number_field(b",\"before\":", before, out);
                number_field(b",\"after\":", after, out);
            }
        }
    }
}

/// How a sink wants its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// With the record as received.
    pub record: bool,
    /// Fields of the record (dotted names) that are blanked.
    pub redact: Vec<String>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        RenderOptions {
            record: true,
            redact: Vec::new(),
        }
    }
}

/// Takes events as they happen.
pub trait EventSink {
    /// The kinds that anyone wants of the model with this index; others need not be made.
    fn wants(&self, model: usize) -> EventKinds;
    /// Whether anyone reads the ids of this model's predictions; each costs a pass over its line.
    fn wants_ids(&self, _model: usize) -> bool {
        true
    }
    /// One event of the model with this index.
    fn emit(&mut self, model: usize, event: &Event<'_>);
}

fn render_reasons(reasons: &[Reason], options: &RenderOptions, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"reasons\":[");
    for (i, reason) in reasons.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"feature\":");
        string(&reason.feature, out);
        if !options.redact.contains(&reason.feature) {
            number_field(b",\"value\":", reason.value, out);
            number_field(b",\"expected\":", reason.expected, out);
        }
        number_field(b",\"share\":", reason.share, out);
        out.push(b'}');
    }
    out.push(b']');
}

fn render_record(record: &[u8], is_json: bool, redact: &[String], out: &mut Vec<u8>) {
    if !is_json {
        let text = if redact.is_empty() {
            String::from_utf8_lossy(record)
        } else {
            "".into()
        };
        string(&text, out);
    } else if redact.is_empty() {
        // Accepted by the strict decoder, so it is one JSON object; JSON allows line ends between
        // its parts, but a record is one line.
        out.extend_from_slice(record);
    } else {
        let mut value: serde_json::Value =
            serde_json::from_slice(record).unwrap_or(serde_json::Value::Null);
        for name in redact {
            blank(&mut value, name);
        }
        serde_json::to_writer(out, &value).expect("writing to memory cannot fail");
    }
}

/// Blanks every field that a dotted name can mean: `a.b` is `{"a.b":…}` or `{"a":{"b":…}}`.
fn blank(value: &mut serde_json::Value, name: &str) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    if let Some(field) = object.get_mut(name) {
        *field = serde_json::Value::Null;
    }
    for (at, _) in name.match_indices('.') {
        let (head, tail) = name.split_at(at);
        if let Some(inner) = object.get_mut(head) {
            blank(inner, tail.trim_start_matches('.'));
        }
    }
}

/// A field by its comma, name and colon. Their length is part of the type, so that they are copied
/// without a call.
fn text_field<const N: usize>(name: &[u8; N], value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    string(value, out);
}

fn number_field<const N: usize>(name: &[u8; N], value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    number(value, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_in_the_order_of_the_contract() {
        let reasons = [Reason {
            feature: "ms\n".into(),
            value: 913.0,
            expected: 41.2,
            share: 0.83,
        }];
        let event = Event::Anomaly {
            head: EventHead {
                event_id: 0xb6d1,
                time: Some(Micros(0)),
                model: "latency",
                key: &["api".into()],
                source: "access",
                seq: 7,
                id: Some("a\"b"),
            },
            score: 0.9312,
            p_value: 7.1e-5,
            severity: "warning",
            state: "open",
            incident: 0xb6d1,
            records: 1,
            suppressed: 0,
            reasons: &reasons,
            record: br#"{"user":{"name":"x","age":3},"ms":913}"#,
            record_is_json: true,
        };
        let mut out = Vec::new();
        let options = RenderOptions {
            record: true,
            redact: vec!["user.name".into()],
        };
        event.render(&options, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"event":"anomaly","event_id":"0000000000000000000000000000b6d1","#,
                r#""time":"1970-01-01T00:00:00.000Z","model":"latency","key":["api"],"#,
                r#""source":"access","seq":7,"id":"a\"b","score":0.9312,"p_value":0.000071,"#,
                r#""severity":"warning","state":"open","incident":"0000000000000000000000000000b6d1","#,
                r#""records":1,"reasons":[{"feature":"ms\n","value":913.0,"expected":41.2,"#,
                r#""share":0.83}],"record":{"user":{"name":null,"age":3},"ms":913}}"#,
                "\n"
            )
        );
    }
}
