//! How one plan meets the records of one source: which id is which part, and what to do with each
//! field.
//!
//! Invariant: a cache of what names decide. It is thrown away when records come with other ids.

use super::reader::Names;
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
    /// Where it was found last: most likely where it is the next time.
    last: usize,
    /// Where it is in the record looked at, if it is there.
    index: Option<usize>,
}

impl FieldRef {
    fn new(name: &str, rules: &Rules) -> FieldRef {
        FieldRef {
            name: name.to_owned(),
            kind: rules.kind(name.as_bytes()),
            id: None,
            last: 0,
            index: None,
        }
    }

    /// Finds the field in a record; [`FieldRef::value`] is then of that record.
    pub fn find(&mut self, record: &Record) {
        self.index = match self.id {
            Some(id) => record.index_of(id, self.last),
            None => record.index_of_loose(self.name.as_bytes()),
        };
        self.last = self.index.unwrap_or(self.last);
    }

    /// Its value in the record in which it was last looked for; `None` if that lacks the field or
    /// it is null.
    pub fn value<'r>(&self, record: &'r Record) -> Option<FieldValue<'r>> {
        let value = record.value(self.index?);
        (value != FieldValue::Null).then_some(value)
    }
}

/// Where the numbers of a field go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Not settled, or not said by the name alone.
    Open,
    /// No feature.
    Nothing,
    /// This column.
    Column(u32),
    /// This slot of the hashed part, which has a name by now if it gets one.
    Slot(u32),
}

/// How a field is read, and where its numbers go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    /// `None`: no feature.
    pub reading: Option<Reading>,
    pub target: Target,
}

impl Action {
    pub fn new(name: &[u8], rules: &Rules) -> Action {
        let reading = rules.reading(name);
        Action {
            target: reading.map_or(Target::Nothing, |_| Target::Open),
            reading,
        }
    }
}

/// One plan and the records of one source.
#[derive(Debug)]
pub(super) struct Binding {
    reader: u64,
    /// By id: all that most fields need, close together.
    pub targets: Vec<Target>,
    /// By id.
    pub readings: Vec<Option<Reading>>,
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
    pub fn new(config: &PlanConfig, rules: &Rules, names: &Names) -> Binding {
        let field = |name: &String| FieldRef::new(name, rules);
        Binding {
            reader: names.reader(),
            targets: Vec::new(),
            readings: Vec::new(),
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

    /// Whether these are the names of the ids it knows.
    pub fn fits(&self, names: &Names) -> bool {
        self.reader == names.reader()
    }

    /// Takes note of the names that got ids since the record before.
    pub fn refresh(&mut self, rules: &Rules, names: &Names) {
        for id in self.targets.len()..names.len() {
            let name = names.name(id as u32);
            let action = Action::new(name, rules);
            self.targets.push(action.target);
            self.readings.push(action.reading);
            for field in self.fields() {
                if field.name.as_bytes() == name {
                    field.id = Some(id as u32);
                }
            }
        }
    }

    /// Finds every field that is asked for.
    pub fn find(&mut self, record: &Record) {
        // One after the other: chained as in `fields`, this takes longer than the finding.
        let of_one = [
            &mut self.filter,
            &mut self.healthy,
            &mut self.label,
            &mut self.weight,
            &mut self.id,
            &mut self.time,
        ];
        for field in of_one.into_iter().flatten() {
            field.find(record);
        }
        for field in &mut self.key {
            field.find(record);
        }
        for field in self.interactions.iter_mut().flatten() {
            field.find(record);
        }
    }

    fn fields(&mut self) -> impl Iterator<Item = &mut FieldRef> {
        let single = [
            &mut self.filter,
            &mut self.healthy,
            &mut self.label,
            &mut self.weight,
            &mut self.id,
            &mut self.time,
        ];
        let single = single.into_iter().flatten();
        let lists = self.interactions.iter_mut().flatten();
        single.chain(&mut self.key).chain(lists)
    }
}
