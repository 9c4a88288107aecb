//! Predictions for the API: lines of JSON (or of the model's own format, where that has no named
//! fields) through one model, nothing learned.
//!
//! Invariant: one line of answer for each line that is not blank, in order; no model changes.

use crate::base::{Event, EventKind, EventKinds, EventSink, Framer, Micros, RenderOptions};
use crate::config::Config;
use crate::decode::{Decoded, FormatConfig, Limits};
use crate::feature::{FieldLimits, Record};
use crate::model::{Input, Mode, Model, Outcome};

use super::outbox::error_line;

/// Decodes and predicts.
pub(crate) struct Predictor {
    framer: Box<dyn Framer>,
    /// By model.
    formats: Vec<FormatConfig>,
    limits: Limits,
    record: Record,
}

/// Keeps the answer of the one model asked.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    options: RenderOptions,
}

impl EventSink for Answer {
    fn wants(&self, _model: usize) -> EventKinds {
        EventKinds::default()
            .with(EventKind::Prediction)
            .with(EventKind::Score)
    }
    fn emit(&mut self, _model: usize, event: &Event<'_>) {
        event.render(&self.options, &mut self.bytes);
    }
}

impl Predictor {
    /// A predictor whose records are told from those of the sources by their number.
    pub(crate) fn new(config: &Config) -> Predictor {
        let format = |source: &u16| {
            let format = &config.sources[*source as usize].format;
            format.bears_labels().then(|| format.clone())
        };
        let of_model = |model: &crate::model::ModelConfig| {
            let own = model.inputs.iter().find_map(format);
            own.unwrap_or(FormatConfig::Json)
        };
        let limits = Limits::default();
        let fields = FieldLimits {
            max_fields: limits.max_fields,
            duplicates_last: limits.duplicates_last,
            name_seed: super::random_seed(),
            ..FieldLimits::default()
        };
        Predictor {
            framer: FormatConfig::Json.framer(),
            formats: config.models.iter().map(of_model).collect(),
            record: Record::new(config.sources.len() as u16, &fields),
            limits,
        }
    }

    /// Answers for every line.
    pub(crate) fn predict(
        &mut self,
        models: &mut [Model],
        model: usize,
        lines: &[u8],
        now: Micros,
    ) -> Vec<u8> {
        let format = &self.formats[model];
        let is_json = *format == FormatConfig::Json;
        let mut decoder = format.decoder(&self.limits);
        decoder.start(None);
        let mut answer = Answer::default();
        let mut rest = lines;
        let mut seq = 0;
        while !rest.is_empty() {
            let end = self.framer.record_end(rest, 0).unwrap_or(rest.len());
            let (line, tail) = rest.split_at(end);
            rest = tail;
            let line = line.trim_ascii_end();
            self.record.begin();
            match decoder.decode(line, &mut self.record) {
                Ok(Decoded::Blank | Decoded::Header) => {}
                Ok(Decoded::Record) => {
                    seq += 1;
                    let input = Input {
                        record: &self.record,
                        line,
                        is_json,
                        source: "predict",
                        seq,
                        received: now,
                    };
                    let before = answer.bytes.len();
                    let outcome = models[model].process(&input, Mode::Predict, &mut answer);
                    if answer.bytes.len() == before {
                        error_line(no_prediction(outcome), &mut answer.bytes);
                    }
                }
                Err(reject) => {
                    let message = format!("{}: at byte {}", reject.reason, reject.at);
                    error_line(&message, &mut answer.bytes);
                }
            }
        }
        answer.bytes
    }
}

fn no_prediction(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Skipped(reason) => reason.as_str(),
        Outcome::Learned | Outcome::Unlabelled => "no prediction",
    }
}
