//! What the tests of this module share: records from JSON, and rows from records.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    FeatureSpec, FieldLimits, FieldReader, FieldValue, Names, NewNames, Plan, PlanConfig, Record,
    RecordSink, RowBuffer,
};
use crate::base::{FieldSink, RejectReason, SectionData, Writer};

/// A reader, the record it fills, and the names as a learner has them.
pub(super) struct Desk {
    pub reader: FieldReader,
    pub record: Record,
    new_names: NewNames,
    pub names: Names,
}

impl Desk {
    pub fn new(change: impl FnOnce(&mut FieldLimits)) -> Desk {
        let mut limits = FieldLimits::default();
        change(&mut limits);
        let reader = FieldReader::new(&limits);
        Desk {
            record: Record::new(),
            new_names: NewNames::default(),
            names: reader.names(0),
            reader,
        }
    }

    /// Begins a line.
    pub fn sink(&mut self) -> RecordSink<'_> {
        self.reader.sink(&mut self.record)
    }

    /// Lets the learner's side know the names so far.
    pub fn hand_over(&mut self) {
        self.reader.hand_over(&mut self.new_names);
        self.names.append(&self.new_names);
    }

    /// Fills the record with the members of an object, as a decoder does.
    pub fn fill(&mut self, line: &str) -> Result<(), RejectReason> {
        let value: Value = serde_json::from_str(line).expect(line);
        let told = tell(&mut self.sink(), "", &value);
        self.hand_over();
        told
    }

    /// The fields of the record.
    pub fn fields(&self) -> Vec<(&[u8], FieldValue<'_>)> {
        self.record.fields(&self.names).collect()
    }

    /// The value of a field.
    pub fn value(&self, name: &[u8]) -> Option<FieldValue<'_>> {
        let mut fields = self.record.fields(&self.names);
        fields.find(|field| field.0 == name).map(|field| field.1)
    }
}

fn tell(sink: &mut RecordSink<'_>, prefix: &str, value: &Value) -> Result<(), RejectReason> {
    for (key, value) in value.as_object().expect("an object") {
        let name = format!("{prefix}{key}");
        let n = name.as_bytes();
        match value {
            Value::Null => sink.null(n)?,
            Value::Bool(b) => sink.boolean(n, *b)?,
            Value::Number(x) => {
                let literal = x.to_string();
                sink.number(n, x.as_f64().unwrap(), literal.as_bytes())?;
            }
            Value::String(s) => sink.text(n, s)?,
            Value::Array(list) if list.iter().all(Value::is_number) => {
                let values: Vec<f64> = list.iter().map(|x| x.as_f64().unwrap()).collect();
                sink.vector(n, &values)?;
            }
            Value::Array(_) => sink.other(n)?,
            Value::Object(_) => {
                sink.other(n)?;
                tell(sink, &format!("{name}."), value)?;
            }
        }
    }
    Ok(())
}

/// A plan with the record and row it works on.
pub(super) struct Bench {
    pub plan: Plan,
    pub desk: Desk,
    pub row: RowBuffer,
}

impl Bench {
    pub fn new(config: PlanConfig) -> Bench {
        Bench {
            plan: Plan::new(config),
            desk: Desk::new(|_| {}),
            row: RowBuffer::new(),
        }
    }

    /// Reads a line with the plan growing.
    pub fn read(&mut self, line: &str) -> &RowBuffer {
        self.desk.fill(line).expect(line);
        let (record, names) = (&self.desk.record, &self.desk.names);
        self.plan.extract(record, names, &mut self.row, true);
        &self.row
    }

    /// Reads a line without the plan growing.
    pub fn peek(&mut self, line: &str) -> &RowBuffer {
        self.desk.fill(line).expect(line);
        let (record, names) = (&self.desk.record, &self.desk.names);
        self.plan.extract(record, names, &mut self.row, false);
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
