//! What the tests of this module share: records from JSON, and rows from records.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FeatureSpec, FieldLimits, Plan, PlanConfig, Record, RowBuffer};
use crate::base::{FieldSink, RejectReason, SectionData, Writer};

/// An empty record with these limits.
pub(super) fn record_with(change: impl FnOnce(&mut FieldLimits)) -> Record {
    let mut limits = FieldLimits::default();
    change(&mut limits);
    Record::new(0, &limits)
}

/// Fills a record with the members of an object, as a decoder does.
pub(super) fn fill(record: &mut Record, line: &str) -> Result<(), RejectReason> {
    record.begin();
    let value: Value = serde_json::from_str(line).expect(line);
    tell(record, "", &value)
}

fn tell(record: &mut Record, prefix: &str, value: &Value) -> Result<(), RejectReason> {
    for (key, value) in value.as_object().expect("an object") {
        let name = format!("{prefix}{key}");
        let n = name.as_bytes();
        match value {
            Value::Null => record.null(n)?,
            Value::Bool(b) => record.boolean(n, *b)?,
            Value::Number(x) => {
                let literal = x.to_string();
                record.number(n, x.as_f64().unwrap(), literal.as_bytes())?;
            }
            Value::String(s) => record.text(n, s)?,
            Value::Array(list) if list.iter().all(Value::is_number) => {
                let values: Vec<f64> = list.iter().map(|x| x.as_f64().unwrap()).collect();
                record.vector(n, &values)?;
            }
            Value::Array(_) => record.other(n)?,
            Value::Object(_) => {
                record.other(n)?;
                tell(record, &format!("{name}."), value)?;
            }
        }
    }
    Ok(())
}

/// A plan with the record and row it works on.
pub(super) struct Bench {
    pub plan: Plan,
    pub record: Record,
    pub row: RowBuffer,
}

impl Bench {
    pub fn new(config: PlanConfig) -> Bench {
        Bench {
            plan: Plan::new(config),
            record: record_with(|_| {}),
            row: RowBuffer::new(),
        }
    }

    /// Reads a line with the plan growing.
    pub fn read(&mut self, line: &str) -> &RowBuffer {
        fill(&mut self.record, line).expect(line);
        self.plan.extract(&self.record, &mut self.row, true);
        &self.row
    }

    /// Reads a line without the plan growing.
    pub fn peek(&mut self, line: &str) -> &RowBuffer {
        fill(&mut self.record, line).expect(line);
        self.plan.extract(&self.record, &mut self.row, false);
        &self.row
    }

    /// The named numbers that are not missing.
    pub fn named(&self) -> Vec<(&str, f64)> {
        let names = self.plan.column_names().iter().map(String::as_str);
        names
            .zip(self.row.dense.iter().copied())
            .filter(|(_, x)| !x.is_nan())
            .collect()
    }

    /// The hashed features, under the names of their slots.
    pub fn hashed(&self) -> Vec<(&str, f32)> {
        let name = |slot: &u32| self.plan.hashed_name(*slot).unwrap_or("?");
        let slots = self.row.index.iter().map(name);
        slots.zip(self.row.value.iter().copied()).collect()
    }
}

/// A spec by name alone.
pub(super) fn spec(field: &str) -> FeatureSpec {
    FeatureSpec {
        field: field.into(),
        kind: None,
        scale: None,
        clip: None,
    }
}

/// The sections of a saved plan.
pub(super) fn saved(plan: &Plan) -> BTreeMap<String, SectionData> {
    let mut out = Writer::new();
    plan.save(&mut out);
    let sections = out.into_sections();
    sections.into_iter().map(|s| (s.name, s.data)).collect()
}
