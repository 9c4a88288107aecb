//! What one plan makes of one record, in buffers that the next record reuses.
//!
//! Invariant: it holds what `Plan::extract` read last, and nothing from the records before.

use super::Plan;
use crate::base::{Micros, Row};

/// What stands in the label's field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LabelValue<'a> {
    /// Nothing: missing, null, or the model has no label. The record is unlabelled.
    Missing,
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
    /// A text.
    Text(&'a str),
    /// An object or an array: no label can be read from it.
    Unreadable,
}

/// What stands in the weight's field.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum WeightValue {
    /// Nothing: missing, null, or the model has no weight. It is 1.
    #[default]
    Default,
    /// A number, of any sign and size.
    Given(f64),
    /// Something that is no number.
    Unreadable,
}

/// Which variant of [`LabelValue`] there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum LabelKind {
    #[default]
    Missing,
    Number(f64),
    Boolean(bool),
    Text,
    Unreadable,
}

/// One record as one model reads it. Where `passes` is false, nothing else was read.
#[derive(Debug, Default)]
pub struct RowBuffer {
    /// Named numbers, raw, by column; NaN = missing.
    pub dense: Vec<f64>,
    /// Slots of the hashed features, in the order of the fields, interactions last.
    pub index: Vec<u32>,
    /// Their values, always finite but for a record that is too much to be learned from.
    pub value: Vec<f32>,
    /// What the raw score starts from.
    pub base: f64,
    pub(super) label: LabelKind,
    /// Of a label that is a text.
    pub(super) label_text: String,
    /// The weight.
    pub weight: WeightValue,
    /// The values that make up the key, as they are written; empty where one is missing.
    pub key: Vec<String>,
    /// Some part of the key is missing, null, or no text, number or boolean.
    pub key_missing: bool,
    /// The record's time; `None` if missing, unreadable, or the model reads none.
    pub time: Option<Micros>,
    /// There is something where the time should be, but no time can be read from it.
    pub time_unreadable: bool,
    /// The record's id as it is written; empty if it has none.
    pub id: String,
    /// Whether it has an id.
    pub has_id: bool,
    /// Whether the model's `where` holds; true where it has none.
    pub passes: bool,
    /// Whether the model's `healthy` holds; `None` where it has none.
    pub healthy: Option<bool>,
}

impl RowBuffer {
    /// An empty row.
    pub fn new() -> RowBuffer {
        RowBuffer::default()
    }

    /// What stands in the label's field.
    pub fn label(&self) -> LabelValue<'_> {
        match self.label {
            LabelKind::Missing => LabelValue::Missing,
            LabelKind::Number(x) => LabelValue::Number(x),
            LabelKind::Boolean(x) => LabelValue::Boolean(x),
            LabelKind::Text => LabelValue::Text(&self.label_text),
            LabelKind::Unreadable => LabelValue::Unreadable,
        }
    }

    /// The features, with the columns of the plan that read them.
    pub fn row<'a>(&'a self, plan: &'a Plan) -> Row<'a> {
        Row {
            dense: &self.dense,
            // The plan may have grown since.
            columns: &plan.columns()[..self.dense.len()],
            index: &self.index,
            value: &self.value,
            base: self.base,
        }
    }

    pub(super) fn clear(&mut self) {
        self.dense.clear();
        self.index.clear();
        self.value.clear();
        self.base = 0.0;
        self.label = LabelKind::Missing;
        self.label_text.clear();
        self.weight = WeightValue::Default;
        for part in &mut self.key {
            part.clear();
        }
        self.key_missing = false;
        self.time = None;
        self.time_unreadable = false;
        self.id.clear();
        self.has_id = false;
        self.passes = true;
        self.healthy = None;
    }
}
