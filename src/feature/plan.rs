//! The plan of one model: its parts of a record, and its features.
//!
//! Invariant: what is made of a record depends on the record, the configuration and the columns;
//! the columns depend on the records before, in order, and on nothing else: not on ids, not on
//! which records were refused, not on how many sources there are.

use super::binding::{Action, Binding, FieldRef, Target};
use super::columns::{Columns, Place};
use super::example::{ExamplePlan, push_constant};
use super::names::NO_ID;
use super::reader::Names;
use super::record::{FieldValue, Kind, Record};
use super::row::{LabelKind, RowBuffer, WeightValue};
use super::rules::{Reading, Rules};
use super::slots::SlotNames;
use super::{FeatureKind, PlanConfig, TimeSpec};
use crate::base::{Column, Micros, Reader, StateError, Writer};

/// Turns records into rows for one model.
#[derive(Debug)]
pub struct Plan {
    config: PlanConfig,
    rules: Rules,
    columns: Columns,
    slots: SlotNames,
    examples: ExamplePlan,
    /// By index of the source.
    bindings: Vec<Option<Binding>>,
}

impl Plan {
    /// A plan that has seen no record.
    pub fn new(config: PlanConfig) -> Plan {
        let rules = Rules::new(&config);
        Plan {
            slots: SlotNames::new(rules.mask),
            columns: Columns::new(),
            examples: ExamplePlan::new(&config.interactions),
            bindings: Vec::new(),
            rules,
            config,
        }
    }

    /// What it was made from.
    pub fn config(&self) -> &PlanConfig {
        &self.config
    }

    /// How each named column is scaled.
    pub fn columns(&self) -> &[Column] {
        &self.columns.scaling
    }

    /// The names of the named columns, in order of their first appearance; the places of a vector
    /// are `name[0]`, `name[1]`, …
    pub fn column_names(&self) -> &[String] {
        &self.columns.names
    }

    /// The feature that first used a slot of the hashed part (`path=/cart`, `a*b`), as far as that
    /// is remembered: of the first 65,536 slots, at most 128 bytes.
    pub fn hashed_name(&self, slot: u32) -> Option<&str> {
        self.slots.name(slot)
    }

    /// Reads one accepted record into `row`. With `grow`, numbers seen for the first time get
    /// columns; without, the plan stays as it is and they are left out.
    ///
    /// `names` are those of the reader that filled the record, all of them that it holds. One
    /// reader stands for one source: records of the same source from another are read all the
    /// same, but each change costs the plan its cache.
    pub fn extract(&mut self, record: &Record, names: &Names, row: &mut RowBuffer, grow: bool) {
        if record.example.is_present() {
            row.clear();
            row.dense.resize(self.columns.len(), f64::NAN);
            let names = grow.then_some(&mut self.slots);
            let (mask, constant) = (self.rules.mask, self.config.constant);
            let example = &record.example;
            self.examples.extract(example, mask, constant, names, row);
            return;
        }
        let binding = bind(&mut self.bindings, &self.config, &self.rules, names);
        row.clear();
        if let (Some(field), Some(condition)) = (&mut binding.filter, &self.config.filter) {
            field.find(record);
            row.passes = condition.test.holds(field.value(record));
            if !row.passes {
                return;
            }
        }
        binding.find(record);
        if let (Some(field), Some(condition)) = (&binding.healthy, &self.config.healthy) {
            row.healthy = Some(condition.test.holds(field.value(record)));
        }
        read_parts(binding, self.config.time.as_ref(), record, row);

        row.dense.resize(self.columns.len(), f64::NAN);
        let mut features = Features {
            rules: &self.rules,
            columns: &mut self.columns,
            slots: &mut self.slots,
            row,
            grow,
        };
        for (index, field) in record.fields.iter().enumerate() {
            // Nearly all of most records: a number of which is known where it goes.
            if field.kind == Kind::Number
                && let Some(target) = binding.targets.get(field.id as usize)
                && features.number(*target, field.number)
            {
                continue;
            }
            let name = record.name(index, names);
            let value = record.value(index);
            if field.id == NO_ID {
                let mut action = Action::new(name, &self.rules);
                features.field(action.reading.as_ref(), &mut action.target, name, value);
            } else {
                let id = field.id as usize;
                let reading = binding.readings[id].as_ref();
                features.field(reading, &mut binding.targets[id], name, value);
            }
        }
        for fields in &binding.interactions {
            features.interaction(fields, record);
        }
        if self.config.constant {
            push_constant(self.rules.mask, grow.then_some(&mut self.slots), row);
        }
    }

    /// Whether the record's time, as this model reads it, is a time. Learns nothing.
    pub fn time_is_readable(&mut self, record: &Record, names: &Names) -> bool {
        let Some(spec) = &self.config.time else {
            return true;
        };
        let binding = bind(&mut self.bindings, &self.config, &self.rules, names);
        let Some(field) = &mut binding.time else {
            return true;
        };
        field.find(record);
        field
            .value(record)
            .is_none_or(|value| time_of(value, spec).is_some())
    }

    /// Writes the columns (learned) and the names of slots (operations).
    pub fn save(&self, out: &mut Writer) {
        self.columns.save(out);
        out.operations(|out| self.slots.save(out));
    }

    /// Reads back what [`Plan::save`] wrote, under the same configuration.
    ///
    /// # Errors
    /// State that no plan of this configuration writes; the plan is then as it was.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let mut slots = SlotNames::new(self.rules.mask);
        slots.load(from, self.rules.mask)?;
        self.columns.load(from, &self.rules)?;
        self.slots = slots;
        self.bindings.clear();
        Ok(())
    }
}

/// What is known of the ids that records of this source come with.
fn bind<'b>(
    bindings: &'b mut Vec<Option<Binding>>,
    config: &PlanConfig,
    rules: &Rules,
    names: &Names,
) -> &'b mut Binding {
    let source = names.source() as usize;
    if bindings.len() <= source {
        bindings.resize_with(source + 1, || None);
    }
    let place = &mut bindings[source];
    if place.as_ref().is_some_and(|binding| !binding.fits(names)) {
        *place = None;
    }
    let binding = place.get_or_insert_with(|| Binding::new(config, rules, names));
    binding.refresh(rules, names);
    binding
}

/// A value as a time.
fn time_of(value: FieldValue<'_>, spec: &TimeSpec) -> Option<Micros> {
    match value {
        FieldValue::Number(x, _) => Micros::from_scaled(x, spec.micros_per_unit),
        FieldValue::Text(text) => Micros::parse(text),
        _ => None,
    }
}

/// Reads everything but the features.
fn read_parts(binding: &Binding, time: Option<&TimeSpec>, record: &Record, row: &mut RowBuffer) {
    let value = |field: &Option<FieldRef>| field.as_ref().and_then(|f| f.value(record));
    if let Some(label) = value(&binding.label) {
        row.label = match label {
            FieldValue::Number(x, _) => LabelKind::Number(x),
            FieldValue::Boolean(x) => LabelKind::Boolean(x),
            FieldValue::Text(text) => {
                row.label_text.push_str(text);
                LabelKind::Text
            }
            _ => LabelKind::Unreadable,
        };
    }
    row.weight = match value(&binding.weight) {
        None => WeightValue::Default,
        Some(FieldValue::Number(x, _)) => WeightValue::Given(x),
        Some(_) => WeightValue::Unreadable,
    };
    row.key.resize_with(binding.key.len(), String::new);
    for (field, out) in binding.key.iter().zip(&mut row.key) {
        let written = field.value(record).is_some_and(|v| write(v, out));
        row.key_missing |= !written;
    }
    if let (Some(spec), Some(value)) = (time, value(&binding.time)) {
        row.time = time_of(value, spec);
        row.time_unreadable = row.time.is_none();
    }
    row.has_id = value(&binding.id).is_some_and(|v| write(v, &mut row.id));
}

/// Appends a value as it is written; false for one that is no number, text or boolean.
fn write(value: FieldValue<'_>, out: &mut String) -> bool {
    match value {
        FieldValue::Number(_, literal) => append(out, literal),
        FieldValue::Text(text) => out.push_str(text),
        FieldValue::Boolean(x) => out.push_str(word(x)),
        FieldValue::Null | FieldValue::Vector(_) | FieldValue::Other => return false,
    }
    true
}

fn word(boolean: bool) -> &'static str {
    if boolean { "true" } else { "false" }
}

/// A value as a feature.
enum Reduced<'a> {
    Number(f64),
    /// The value as it is written.
    Category(&'a [u8]),
    Vector(&'a [f64]),
    Missing,
}

/// The table at the head of this module.
fn reduce(value: FieldValue<'_>, kind: Option<FeatureKind>) -> Reduced<'_> {
    use FeatureKind as K;
    match (value, kind) {
        (FieldValue::Number(x, _), None | Some(K::Number)) => Reduced::Number(x),
        (FieldValue::Boolean(x), None | Some(K::Number)) => Reduced::Number(f64::from(x)),
        (FieldValue::Text(text), Some(K::Number)) => {
            match fast_float2::parse::<f64, _>(text.trim()) {
                Ok(x) if x.is_finite() => Reduced::Number(x + 0.0),
                _ => Reduced::Missing,
            }
        }
        (FieldValue::Text(text), None | Some(K::Category)) => Reduced::Category(text.as_bytes()),
        (FieldValue::Number(_, literal), Some(K::Category)) => Reduced::Category(literal),
        (FieldValue::Boolean(x), Some(K::Category)) => Reduced::Category(word(x).as_bytes()),
        (FieldValue::Vector(values), None | Some(K::Vector)) => Reduced::Vector(values),
        _ => Reduced::Missing,
    }
}

/// The nearest finite single-precision number: the hashed part is kept in those.
fn single(x: f64) -> f32 {
    x.clamp(f32::MIN.into(), f32::MAX.into()) as f32
}

/// Writes the features of one record.
struct Features<'a> {
    rules: &'a Rules,
    columns: &'a mut Columns,
    slots: &'a mut SlotNames,
    row: &'a mut RowBuffer,
    grow: bool,
}

impl Features<'_> {
    /// Puts a number where it goes; false if that is not settled.
    #[inline]
    fn number(&mut self, target: Target, x: f64) -> bool {
        // The first of both is nearly always so.
        if let Target::Column(column) = target
            && let Some(cell) = self.row.dense.get_mut(column as usize)
        {
            *cell = x;
            return true;
        }
        match target {
            Target::Column(column) => self.set(column, x),
            // The first number that came here gave the slot its name.
            Target::Slot(slot) => self.put_slot(slot, x),
            Target::Nothing => {}
            Target::Open => return false,
        }
        true
    }

    #[inline(never)]
    fn field(
        &mut self,
        reading: Option<&Reading>,
        target: &mut Target,
        name: &[u8],
        value: FieldValue<'_>,
    ) {
        let Some(reading) = reading else {
            return;
        };
        match reduce(value, reading.kind) {
            Reduced::Number(x) => {
                if !self.number(*target, x) {
                    match self.columns.scalar(name, reading, self.grow) {
                        Place::Column(column) => {
                            *target = Target::Column(column);
                            self.set(column, x);
                        }
                        Place::Hashed => {
                            self.push(reading.hash, x, |out| append(out, name));
                            if self.grow {
                                *target = Target::Slot(reading.hash & self.rules.mask);
                            }
                        }
                        Place::Nowhere => {}
                    }
                }
            }
            Reduced::Category(text) => {
                let hash = self.rules.names.hash(text, reading.hash);
                self.push(hash, 1.0, |out| {
                    append(out, name);
                    out.push('=');
                    append(out, text);
                });
            }
            Reduced::Vector(values) => self.vector(name, reading, values),
            Reduced::Missing => {}
        }
    }

    fn vector(&mut self, name: &[u8], reading: &Reading, values: &[f64]) {
        let columns = self.columns.vector(name, values.len(), reading, self.grow);
        let known = columns.len();
        for (column, x) in columns.iter().zip(values) {
            set(&mut self.row.dense, *column, *x);
        }
        if self.columns.is_full() {
            for (place, x) in values.iter().enumerate().skip(known) {
                self.push(reading.hash.wrapping_add(place as u32), *x, |out| {
                    append(out, name);
                    out.push('[');
                    out.push_str(&place.to_string());
                    out.push(']');
                });
            }
        }
    }

    fn interaction(&mut self, fields: &[FieldRef], record: &Record) {
        let mut hash = self.rules.names.hash(b"*", 0);
        let mut product = 1.0f64;
        for field in fields {
            let Some(value) = field.value(record) else {
                return;
            };
            hash = self.rules.names.hash(field.name.as_bytes(), hash);
            match reduce(value, field.kind) {
                // Kept finite at each step, so that zero times too much is zero.
                Reduced::Number(x) => product = (product * x).clamp(f64::MIN, f64::MAX),
                Reduced::Category(text) => hash = self.rules.names.hash(text, hash),
                Reduced::Vector(_) | Reduced::Missing => return,
            }
        }
        self.push(hash, product, |out| {
            for (i, field) in fields.iter().enumerate() {
                if i > 0 {
                    out.push('*');
                }
                out.push_str(&field.name);
                let value = field.value(record).unwrap_or(FieldValue::Null);
                if let Reduced::Category(text) = reduce(value, field.kind) {
                    out.push('=');
                    append(out, text);
                }
            }
        });
    }

    fn set(&mut self, column: u32, x: f64) {
        set(&mut self.row.dense, column, x);
    }

    fn push(&mut self, hash: u32, x: f64, name: impl FnOnce(&mut String)) {
        let slot = hash & self.rules.mask;
        self.put_slot(slot, x);
        if self.grow {
            self.slots.remember(slot, name);
        }
    }

    fn put_slot(&mut self, slot: u32, x: f64) {
        self.row.index.push(slot);
        self.row.value.push(single(x));
    }
}

/// Sets a column, which may be newer than the row.
fn set(dense: &mut Vec<f64>, column: u32, x: f64) {
    let column = column as usize;
    if column >= dense.len() {
        dense.resize(column + 1, f64::NAN);
    }
    dense[column] = x;
}

/// Appends a name or a literal; both are UTF-8 wherever they come from a decoder.
fn append(out: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.push_str(text),
        Err(_) => out.push_str(&String::from_utf8_lossy(bytes)),
    }
}
