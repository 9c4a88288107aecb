//! What a model asks of the fields: features, interactions, conditions, time.
//!
//! Invariant: no field is a feature twice.

use crate::base::Scale;
use crate::feature::{
    Condition, ConditionTest, ConditionValue, FeatureKind, FeatureSpec, TimeSpec,
};

use super::dom::{Node, Value};
use super::section::{
    Elsewhere, Placed, Section, Walk, number_of, quoted, text_of, word_of, wrong_type,
};
use super::shape::{Bound, Shape};

const SCALES: [(&str, Scale); 4] = [
    ("standard", Scale::Standard),
    ("minmax", Scale::MinMax),
    ("maxabs", Scale::MaxAbs),
    ("none", Scale::None),
];

/// Units of numbers that are times, in microseconds.
pub(super) const UNITS: [(&str, f64); 4] = [("s", 1e6), ("ms", 1e3), ("us", 1.0), ("ns", 1e-3)];

const NO_ELSEWHERE: &[Elsewhere] = &[];

/// `features` as read.
pub(super) struct Features {
    /// The features.
    pub specs: Vec<FeatureSpec>,
    /// The fields that are named, without the star.
    pub named: Vec<Placed>,
    /// Whether `*` is among them.
    pub has_star: bool,
    /// The scale that the star sets for all.
    pub star_scale: Option<Scale>,
}

/// Reads `features`; the star where nothing is said.
pub(super) fn features(s: &mut Section<'_, '_>) -> Features {
    let mut out = Features {
        specs: Vec::new(),
        named: Vec::new(),
        has_star: false,
        star_scale: None,
    };
    let shape = Shape::Array(Box::new(Shape::Either(vec![
        Shape::Text,
        Shape::Table("feature"),
    ])));
    let Some(entry) = s.get("features", shape, Some("[\"*\"]".into())) else {
        out.specs.push(plain("*".into()));
        out.has_star = true;
        return out;
    };
    let Value::Array(items) = &entry.node.value else {
        let example = match &entry.node.value {
            Value::Text(text) => format!("features = [{}]", quoted(text)),
            _ => "features = [\"*\"]".into(),
        };
        wrong_type(s.walk, "features", &entry.node, "an array", &example);
        return out;
    };
    if items.is_empty() {
        let message = "`features` is empty, so there is nothing to learn from";
        s.walk
            .problem(entry.node.place, message, "leave it out for every field");
    }
    for item in items {
        let Some((spec, place)) = feature(s.walk, item) else {
            continue;
        };
        if spec.field == "*" {
            if out.has_star {
                s.walk
                    .problem(place.place, "`*` is in `features` twice", "leave it out");
            }
            out.has_star = true;
            out.star_scale = out.star_scale.or(spec.scale);
        } else if out.named.iter().any(|f| f.text == spec.field) {
            let message = format!("`{}` is in `features` twice", spec.field);
            s.walk.problem(place.place, message, "leave it out");
        } else {
            out.named.push(place);
        }
        out.specs.push(spec);
    }
    out
}

fn plain(field: String) -> FeatureSpec {
    FeatureSpec {
        field,
        kind: None,
        scale: None,
        clip: None,
    }
}

fn feature(walk: &mut Walk, item: &Node) -> Option<(FeatureSpec, Placed)> {
    let Value::Table(table) = &item.value else {
        if !matches!(item.value, Value::Text(_)) {
            let example = "\"price\" or { field = \"price\", scale = \"minmax\" }";
            wrong_type(walk, "features", item, "a string or a table", example);
            return None;
        }
        let place = text_of(walk, "features", item)?;
        if place.text.is_empty() {
            walk.problem(place.place, "`features` has an empty name", "leave it out");
            return None;
        }
        return Some((plain(place.text.clone()), place));
    };
    let mut s = Section::new(walk, "feature", "a feature".into(), table, item.place);
    let field = s.text("field", None);
    if s.peek("field").is_none() {
        s.missing("field", "add field = \"NAME\", or \"*\" for every field");
    }
    let kinds = [
        ("number", FeatureKind::Number),
        ("category", FeatureKind::Category),
        ("vector", FeatureKind::Vector),
    ];
    let shape = Shape::Words(kinds.iter().map(|k| k.0).collect());
    let kind = s
        .get("as", shape, None)
        .and_then(|e| word_of(s.walk, "as", &e.node, &kinds, &["text", "image"]));
    let shape = Shape::Words(SCALES.iter().map(|k| k.0).collect());
    let scale_entry = s.get("scale", shape, None);
    let scale = scale_entry.and_then(|e| word_of(s.walk, "scale", &e.node, &SCALES, &[]));
    let clip = s.number("clip", None, Bound::Positive);
    if kind == Some(FeatureKind::Category) {
        let scaled = scale.is_some_and(|scale| scale != Scale::None);
        for (name, set) in [("scale", scaled), ("clip", clip.is_some())] {
            if set {
                let place = s.place_of(name);
                let message = format!("a category has no `{name}`");
                s.walk
                    .problem(place, message, "each of its values is a feature of its own");
            }
        }
    }
    s.later(&["ngrams", "shape"]);
    s.finish(NO_ELSEWHERE, true);
    let field = field?;
    let spec = FeatureSpec {
        field: field.text.clone(),
        kind,
        scale,
        clip,
    };
    Some((spec, field))
}

/// Reads `interactions`.
pub(super) fn interactions(s: &mut Section<'_, '_>) -> Vec<Vec<Placed>> {
    let shape = Shape::Array(Box::new(Shape::Array(Box::new(Shape::Text))));
    let Some(entry) = s.get("interactions", shape, Some("[]".into())) else {
        return Vec::new();
    };
    let example = "interactions = [[\"country\", \"plan\"]]";
    let Value::Array(items) = &entry.node.value else {
        let wanted = "an array of arrays of fields";
        wrong_type(s.walk, "interactions", &entry.node, wanted, example);
        return Vec::new();
    };
    let mut out: Vec<Vec<Placed>> = Vec::new();
    for item in items {
        let Value::Array(fields) = &item.value else {
            wrong_type(
                s.walk,
                "interactions",
                item,
                "an array of arrays of fields",
                example,
            );
            continue;
        };
        let fields: Vec<Placed> = fields
            .iter()
            .filter_map(|field| text_of(s.walk, "interactions", field))
            .collect();
        if fields.len() < 2 {
            let message = "an interaction needs two fields or more";
            s.walk
                .problem(item.place, message, format!("as in {example}"));
        }
        for field in fields.iter().filter(|f| f.text.is_empty() || f.text == "*") {
            let message = "an interaction is of named fields";
            s.walk
                .problem(field.place, message, format!("as in {example}"));
        }
        let names = |fields: &[Placed]| {
            let mut names: Vec<String> = fields.iter().map(|f| f.text.clone()).collect();
            names.sort();
            names
        };
        if out.iter().any(|other| names(other) == names(&fields)) {
            s.walk.problem(
                item.place,
                "this interaction is listed twice",
                "leave it out",
            );
        } else {
            out.push(fields);
        }
    }
    out
}

/// Reads a condition: `where` or `healthy`.
pub(super) fn condition(s: &mut Section<'_, '_>, name: &'static str) -> Option<Condition> {
    let entry = s.get(name, Shape::Table("condition"), None)?;
    let Value::Table(table) = &entry.node.value else {
        let example = format!("{name} = {{ field = \"status\", equals = \"ok\" }}");
        wrong_type(s.walk, name, &entry.node, "a table", &example);
        return None;
    };
    let place = entry.node.place;
    let mut s = Section::new(s.walk, "condition", format!("`{name}`"), table, place);
    let field = s.text("field", None);
    if s.peek("field").is_none() {
        s.missing("field", "add field = \"NAME\"");
    }
    let mut tests = Vec::new();
    if let Some(entry) = s.get("equals", Shape::Scalar, None) {
        tests.push(value(s.walk, "equals", &entry.node).map(ConditionTest::Equals));
    }
    if let Some(entry) = s.get("in", Shape::Array(Box::new(Shape::Scalar)), None) {
        tests.push(values(s.walk, &entry.node));
    }
    for (bound, make) in [
        ("above", ConditionTest::Above as fn(f64) -> ConditionTest),
        ("below", ConditionTest::Below),
    ] {
        if let Some(entry) = s.get(bound, Shape::Number(Bound::Any), None) {
            tests.push(number_of(s.walk, bound, &entry.node, Bound::Any, None).map(make));
        }
    }
    if s.peek("exists").is_some() {
        tests.push(Some(ConditionTest::Exists(s.boolean("exists", true))));
    } else {
        s.get("exists", Shape::Boolean, None);
    }
    if tests.len() != 1 {
        let message = match tests.len() {
            0 => format!("`{name}` asks nothing of the field"),
            _ => format!("`{name}` asks {} things, but can ask one", tests.len()),
        };
        let help = "use one of equals =, in = [...], above =, below =, exists =";
        s.walk.problem(place, message, help);
    }
    s.finish(NO_ELSEWHERE, true);
    Some(Condition {
        field: field?.text,
        test: tests.pop().flatten()?,
    })
}

fn value(walk: &mut Walk, name: &str, node: &Node) -> Option<ConditionValue> {
    match &node.value {
        Value::Text(text) => Some(ConditionValue::Text(text.clone())),
        Value::Boolean(b) => Some(ConditionValue::Boolean(*b)),
        Value::Integer(_) | Value::Float(_) => {
            number_of(walk, name, node, Bound::Any, None).map(ConditionValue::Number)
        }
        _ => {
            let wanted = "a string, a number or a boolean";
            wrong_type(walk, name, node, wanted, &format!("{name} = \"request\""));
            None
        }
    }
}

fn values(walk: &mut Walk, node: &Node) -> Option<ConditionTest> {
    let Value::Array(items) = &node.value else {
        wrong_type(walk, "in", node, "an array", "in = [\"a\", \"b\"]");
        return None;
    };
    if items.is_empty() {
        walk.problem(
            node.place,
            "`in` is empty, so no record would fit",
            "add a value",
        );
    }
    let values: Option<Vec<ConditionValue>> =
        items.iter().map(|item| value(walk, "in", item)).collect();
    values.map(ConditionTest::In)
}

/// Reads `time`: a field, or a field and the unit of its numbers.
pub(super) fn time(s: &mut Section<'_, '_>) -> Option<(TimeSpec, Placed)> {
    let shape = Shape::Either(vec![Shape::Text, Shape::Table("time")]);
    let entry = s.get("time", shape, None)?;
    let (field, unit) = match &entry.node.value {
        Value::Table(table) => {
            let place = entry.node.place;
            let mut s = Section::new(s.walk, "time", "`time`".into(), table, place);
            let field = s.text("field", None);
            if s.peek("field").is_none() {
                s.missing("field", "add field = \"ts\"");
            }
            let unit = s.word("unit", &UNITS, &[], Some("s"));
            s.finish(NO_ELSEWHERE, true);
            (field?, unit?)
        }
        Value::Text(_) => (s.text("time", None)?, 1e6),
        _ => {
            let example = "time = \"ts\" or time = { field = \"ts\", unit = \"ms\" }";
            wrong_type(s.walk, "time", &entry.node, "a string or a table", example);
            return None;
        }
    };
    let spec = TimeSpec {
        field: field.text.clone(),
        micros_per_unit: unit,
    };
    Some((spec, field))
}
