//! The supervised half of a model: predict, score, then learn.
//!
//! Invariant: the loss that is reported is of the prediction made before the label was used.

use crate::base::{
    Event, EventKind, EventSink, Label, Micros, Prediction, Reader, SkipReason, StateError, Task,
    Writer,
};
use crate::evaluate::Progressive;
use crate::feature::{RowBuffer, WeightValue};
use crate::learn::{self, Learner, LearnerConfig, LearnerContext, Link, Update, UpdateMode};

use super::label::{self, Classes, Read};
use super::pool::{Entry, Instance, Pool};
use super::{Input, Mode, ModelConfig, Outcome, Parts};

/// The learner of one key.
pub(crate) struct KeyedLearner(pub(crate) Box<dyn Learner>);

impl Instance for KeyedLearner {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }
    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.0.load(from)
    }
}

/// Learners by key and what is known of their quality.
pub(crate) struct Supervised {
    pub(crate) learners: Pool<KeyedLearner>,
    pub(crate) classes: Classes,
    pub(crate) progressive: Progressive,
    /// As `progressive`, of this pass of an evaluation alone, where that is asked for; no state.
    pub(crate) pass: Option<Progressive>,
    pub(crate) test: Progressive,
    pub(crate) update_norm: f64,
    context: LearnerContext,
}

impl Supervised {
    pub(crate) fn new(config: &ModelConfig) -> Supervised {
        Supervised {
            learners: Pool::new(config.max_keys, config.evict),
            classes: Classes::default(),
            progressive: figures(config),
            pass: None,
            test: figures(config),
            update_norm: 0.0,
            context: LearnerContext {
                task: config.task,
                hash_bits: config.plan.hash_bits,
                max_classes: config.max_classes,
            },
        }
    }

    /// One record of the model, of which `where` holds and the key is there.
    pub(crate) fn process(
        &mut self,
        parts: &mut Parts<'_>,
        input: &Input<'_>,
        mode: Mode,
        now: Micros,
        out: &mut dyn EventSink,
    ) -> Outcome {
        let Parts {
            config,
            plan,
            row,
            scratch,
            tally,
            index,
        } = parts;
        let learn = mode == Mode::Learn;
        let (context, update) = (&self.context, config.update);
        let learner = if learn {
            let make = || KeyedLearner(learn::build(&config.learner, update, context));
            match self.learners.entry(&row.key, make) {
                Entry::Found(found, evicted) => {
                    tally.evictions += u64::from(evicted);
                    found
                }
                Entry::Full => return Outcome::Skipped(SkipReason::Key),
            }
        } else {
            match self.learners.peek(&row.key) {
                Some(found) => found,
                None => return Outcome::Skipped(SkipReason::Key),
            }
        };
        let learner = &mut *learner.0;
        let x = row.row(plan);
        if learn
            && let UpdateMode::Minibatch {
                every_micros: 1.., ..
            } = update
        {
            // Only who learns by the clock is told the time: it becomes part of the state.
            learner.tick(now, scratch);
        }
        let prediction = learner.predict_one(x, scratch);
        let positive = config.positive.as_deref();
        let limit = config.max_classes;
        let read = label::read(
            row.label(),
            config.task,
            positive,
            &mut self.classes,
            limit,
            learn,
        );
        let weight = match row.weight {
            WeightValue::Default => Some(1.0),
            WeightValue::Given(w) if w.is_finite() && (0.0..=1e9).contains(&w) => Some(w),
            WeightValue::Given(_) | WeightValue::Unreadable => None,
        };
        let label = match read {
            Read::Label(label) => Some(label),
            Read::Missing | Read::Unreadable => None,
        };
        // Some learners say it within the range of labels seen, this one's included.
        let prediction = label.map_or(prediction, |y| learner.labelled(prediction, y, scratch));
        let loss = label.map(|y| learner.loss(&prediction, y, scratch));
        if out.wants(*index).contains(EventKind::Prediction) {
            let said = Said {
                prediction,
                label,
                loss,
            };
            let probabilities = &scratch.probabilities;
            emit(
                config,
                row,
                input,
                &said,
                &self.classes,
                probabilities,
                *index,
                out,
            );
        }
        let (Some(y), Some(loss)) = (label, loss) else {
            return match read {
                Read::Unreadable => Outcome::Skipped(SkipReason::Label),
                _ => Outcome::Unlabelled,
            };
        };
        let Some(weight) = weight.filter(|w| *w > 0.0) else {
            return Outcome::Skipped(SkipReason::Weight);
        };
        if !loss.is_finite() {
            return Outcome::Skipped(SkipReason::NonFinite);
        }
        match mode {
            Mode::Predict => return Outcome::Unlabelled,
            Mode::Test => {
                self.test.observe(&prediction, y, weight, loss);
                return Outcome::Learned;
            }
            Mode::Learn => {}
        }
        match learner.learn_one(x, y, weight, scratch) {
            Update::Learned { norm } => {
                self.progressive.observe(&prediction, y, weight, loss);
                if let Some(pass) = &mut self.pass {
                    pass.observe(&prediction, y, weight, loss);
                }
                self.update_norm = norm;
                tally.loss_sum += loss * weight;
                tally.loss_weight += weight;
                Outcome::Learned
            }
            Update::NonFinite => Outcome::Skipped(SkipReason::NonFinite),
        }
    }

    /// What is known of the quality in this pass of an evaluation, else since the first run.
    pub(crate) fn quality(&self) -> &Progressive {
        self.pass.as_ref().unwrap_or(&self.progressive)
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        out.nested("learners", |w| self.learners.save(w));
        self.classes.save(out);
        out.nested("progressive", |w| self.progressive.save(w));
        out.f64("update_norm", self.update_norm);
    }

    pub(crate) fn load(
        &mut self,
        from: &Reader<'_>,
        config: &ModelConfig,
    ) -> Result<(), StateError> {
        let context = &self.context;
        from.nested("learners", |r| {
            self.learners.load(r, config.plan.key.len(), || {
                KeyedLearner(learn::build(&config.learner, config.update, context))
            })
        })?;
        self.classes.load(from)?;
        from.nested("progressive", |r| self.progressive.load(r))?;
        self.update_norm = from.finite("update_norm")?;
        Ok(())
    }
}

/// Empty figures for the predictions that a configuration makes.
pub(crate) fn figures(config: &ModelConfig) -> Progressive {
    match &config.learner {
        LearnerConfig::Linear(linear)
            if config.task == Task::Binary && linear.link == Link::Identity =>
        {
            Progressive::of_raw_scores(config.task)
        }
        _ => Progressive::new(config.task),
    }
}

/// What was predicted of a record, and what came of it.
struct Said {
    prediction: Prediction,
    label: Option<Label>,
    loss: Option<f64>,
}

fn emit(
    config: &ModelConfig,
    row: &RowBuffer,
    input: &Input<'_>,
    said: &Said,
    classes: &Classes,
    probabilities: &[f64],
    index: usize,
    out: &mut dyn EventSink,
) {
    let head = if out.wants_ids(index) {
        input.head(config, row, EventKind::Prediction)
    } else {
        input.head_without_id(config, row)
    };
    let Said {
        prediction,
        label,
        loss,
    } = *said;
    let event = match config.task {
        Task::Multiclass => Event::Class {
            head,
            prediction: classes
                .names()
                .get(prediction.class as usize)
                .map(String::as_str),
            classes: classes.names(),
            probabilities,
            label: label.and_then(|y| match y {
                Label::Class(k) => classes.names().get(k as usize).map(String::as_str),
                _ => None,
            }),
            loss,
        },
        _ => Event::Prediction {
            head,
            prediction: prediction.value,
            label: label.map(|y| match y {
                Label::Number(y) => y,
                Label::Binary(y) => f64::from(u8::from(y)),
                Label::Class(k) => f64::from(k),
            }),
            label_is_class: config.task == Task::Binary,
            loss,
        },
    };
    out.emit(index, &event);
}
