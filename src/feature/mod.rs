//! From the fields of a line to the arrays of a row: the compiled plan of one model.
//!
//! Invariant: a plan changes only in order, one record after the other, and never through a
//! record that is refused.
//!
//! How a field becomes features:
//!
//! | value | read by its type | `number` | `category` | `vector` |
//! |---|---|---|---|---|
//! | number | named column | named column | slot of its literal | missing |
//! | boolean | named column, 0 or 1 | the same | slot of `true`, `false` | missing |
//! | text | slot of its value | named column if it is a number | slot of its value | missing |
//! | array of numbers | column for each place | missing | missing | column for each place |
//! | null, object, other array | missing | missing | missing | missing |
//!
//! So where a field that was a number turns out to be a text, the number is missing and the text
//! counts as a category. Beyond [`MAX_COLUMNS`] named columns, numbers go to slots too.
//!
//! Slots, with H = MurmurHash3_x86_32(bytes, seed) and s = 0, or SipHash-1-3 where there is a secret
//! key ([`NameHash`](crate::math::NameHash)): a number `H(name, s)` with its value; a category
//! `H(value, H(name, s))` with 1; place i of a vector `H(name, s) + i` with its value. An interaction
//! starts from `H("*", s)` and goes on through its fields, `H(name, .)` for numbers and
//! `H(value, H(name, .))` for categories; its value is the product of its numbers; with one field
//! missing there is none. All are cut to the lowest `hash_bits` bits.
//!
//! Lines that bear their own label have slots alone, made by the decoder; see `example`.

mod binding;
mod columns;
mod condition;
mod example;
mod names;
mod plan;
mod reader;
mod record;
mod row;
mod rules;
mod slots;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_plan;
#[cfg(test)]
mod tests_record;

use crate::base::Scale;

pub use columns::MAX_COLUMNS;
pub use plan::Plan;
pub use reader::{FieldLimits, FieldReader, Names, NewNames, RecordSink};
pub use record::{FieldValue, Record};
pub use row::{LabelValue, RowBuffer, WeightValue};

/// Which fields become features, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// A field's dotted name, or `*` for every field that plays no other part.
    pub field: String,
    /// How the field is read; by its type where not said.
    pub kind: Option<FeatureKind>,
    /// How numbers are scaled; by the learner's kind where not said.
    pub scale: Option<Scale>,
    /// Largest absolute value after scaling.
    pub clip: Option<f64>,
}

/// How a field is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// A number; texts that are numbers count.
    Number,
    /// A category: each value is a feature of its own. Numbers are taken as their text.
    Category,
    /// An array of numbers: each place is a feature.
    Vector,
}

/// A condition on one field (`where`, `healthy`).
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The field's dotted name.
    pub field: String,
    /// What is asked of it.
    pub test: ConditionTest,
}

/// What is asked of a field. A missing field fails all but `Exists(false)`; null is missing, an
/// object or array is present but equals nothing. Only numbers are above or below anything.
#[derive(Clone, Debug, PartialEq)]
pub enum ConditionTest {
    /// Equal to the value.
    Equals(ConditionValue),
    /// Equal to one of them.
    In(Vec<ConditionValue>),
    /// A number above.
    Above(f64),
    /// A number below.
    Below(f64),
    /// Present and not null, or not.
    Exists(bool),
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq)]
pub enum ConditionValue {
    /// A number.
    Number(f64),
    /// A text. It also equals a number or a boolean that is written the same.
    Text(String),
    /// A boolean.
    Boolean(bool),
}

/// Where a record's time is.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSpec {
    /// The field's dotted name.
    pub field: String,
    /// Microseconds in one unit of a number (1e6 for seconds). RFC 3339 texts are always read.
    pub micros_per_unit: f64,
}

/// Everything a model asks of the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanConfig {
    /// The features; `[*]` where not said.
    pub features: Vec<FeatureSpec>,
    /// Fields that `*` leaves out, with all that is nested in them.
    pub exclude: Vec<String>,
    /// Pairs (or more) of fields whose product, or joint value, is a feature too.
    pub interactions: Vec<Vec<String>>,
    /// The field that holds the label.
    pub label: Option<String>,
    /// The field that holds the weight.
    pub weight: Option<String>,
    /// The field that holds the record's id.
    pub id: Option<String>,
    /// The fields that make up the key.
    pub key: Vec<String>,
    /// Where the time is.
    pub time: Option<TimeSpec>,
    /// Records for which it does not hold are not the model's.
    pub filter: Option<Condition>,
    /// Normal is learned only from records for which it holds.
    pub healthy: Option<Condition>,
    /// The hashed part has 2^this slots.
    pub hash_bits: u32,
    /// Key of the hash, from the secret key file where one is configured; 0 is none.
    pub hash_seed: u64,
    /// How numbers are scaled where no spec says so.
    pub default_scale: Scale,
    /// The constant is a feature of the hashed part, where everything that befalls features
    /// befalls it too; else it is the learner's own.
    pub constant: bool,
}

impl Default for PlanConfig {
    fn default() -> Self {
        PlanConfig {
            features: vec![FeatureSpec {
                field: "*".into(),
                kind: None,
                scale: None,
                clip: None,
            }],
            exclude: Vec::new(),
            interactions: Vec::new(),
            label: None,
            weight: None,
            id: None,
            key: Vec::new(),
            time: None,
            filter: None,
            healthy: None,
            hash_bits: 18,
            hash_seed: 0,
            default_scale: Scale::Standard,
            constant: false,
        }
    }
}
