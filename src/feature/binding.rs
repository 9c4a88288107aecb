//! How one plan meets the records of one source: which id is which part, and what to do with each
//! field.
//!
//! Invariant: a cache of what names decide. It is thrown away when records come with other ids.

use super::columns::Place;
use super::record::{FieldValue, Record};
use super::rules::{Reading, Rules};
use super::{FeatureKind, PlanConfig};

/// A field that the plan asks for by name.
#[derive(Debug)]
pub(super) struct FieldRef {
    pub name: String,
    /// How it is read as a feature.
    pub kind: Option<FeatureKind>,
    id: Option<u32>,
}

impl FieldRef {
    fn new(name: &str, rules: &Rules) -> FieldRef {
        FieldRef {
            name: name.to_owned(),
            kind: rules.kind(name.as_bytes()),
            id: None,
        }
    }

    /// Its value in a record; `None` if the record lacks the field or it is null.
    pub fn value<'r>(&self, record: &'r Record) -> Option<FieldValue<'r>> {
        let value = match self.id {
            Some(id) => record.get(id),
            None => record.find_loose(self.name.as_bytes()),
        };
        value.filter(|v| *v != FieldValue::Null)
    }
}

/// What to do with a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    /// `None`: no feature.
    pub reading: Option<Reading>,
    /// Where its numbers go, as far as that is settled.
    pub place: Place,
}

impl Action {
    pub fn new(name: &[u8], rules: &Rules) -> Action {
        Action {
            reading: rules.reading(name),
            place: Place::Nowhere,
        }
    }
}

/// One plan and the records of one source.
#[derive(Debug)]
pub(super) struct Binding {
    table_number: u64,
    /// By id.
    pub actions: Vec<Action>,
    pub filter: Option<FieldRef>,
    pub healthy: Option<FieldRef>,
    pub label: Option<FieldRef>,
    pub weight: Option<FieldRef>,
    pub id: Option<FieldRef>,
    pub time: Option<FieldRef>,
    pub key: Vec<FieldRef>,
    pub interactions: Vec<Vec<FieldRef>>,
}

impl Binding {
    pub fn new(config: &PlanConfig, rules: &Rules, record: &Record) -> Binding {
        let field = |name: &String| FieldRef::new(name, rules);
        Binding {
            table_number: record.table_number(),
            actions: Vec::new(),
            filter: config.filter.as_ref().map(|c| field(&c.field)),
            healthy: config.healthy.as_ref().map(|c| field(&c.field)),
            label: config.label.as_ref().map(field),
            weight: config.weight.as_ref().map(field),
            id: config.id.as_ref().map(field),
            time: config.time.as_ref().map(|t| field(&t.field)),
            key: config.key.iter().map(field).collect(),
            interactions: rules
                .interactions
                .iter()
                .map(|list| list.iter().map(field).collect())
                .collect(),
        }
    }

    /// Whether it knows the ids of this record's table.
    pub fn fits(&self, record: &Record) -> bool {
        self.table_number == record.table_number()
    }

    /// Takes note of the names that got ids since the record before.
    pub fn refresh(&mut self, rules: &Rules, record: &Record) {
        if self.actions.len() == record.names_known() {
            return;
        }
        for id in self.actions.len()..record.names_known() {
            let name = record.name_of(id as u32);
            self.actions.push(Action::new(name, rules));
        }
        let single = [
            &mut self.filter,
            &mut self.healthy,
            &mut self.label,
            &mut self.weight,
            &mut self.id,
            &mut self.time,
        ];
        for field in single
            .into_iter()
            .flatten()
            .chain(&mut self.key)
            .chain(self.interactions.iter_mut().flatten())
        {
            if field.id.is_none() {
                field.id = record.id_of(field.name.as_bytes());
            }
        }
    }
}
