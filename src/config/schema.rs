//! The JSON Schema of a configuration, for editors; made from what the walk knows.
//!
//! Invariant: it names exactly the known keys, so an editor never offers what `check` refuses.

use serde_json::{Map, Value, json};

use super::load::walk;
use super::overrides::Overrides;
use super::reference::{REFERENCE, describe};
use super::shape::{Bound, Known, Shape};

/// Keys that a table cannot do without.
const REQUIRED: &[(&str, &str)] = &[
    ("top", "sources"),
    ("top", "models"),
    ("state", "dir"),
    ("source", "type"),
    ("model", "task"),
    ("sink", "type"),
    ("condition", "field"),
    ("feature", "field"),
    ("time", "field"),
    ("detector", "type"),
    ("learner", "type"),
    ("update", "mode"),
];

/// JSON Schema, draft 2020-12.
pub fn schema() -> Value {
    let (walk, _) = walk("reference", REFERENCE, &Overrides::default());
    let mut tables: Map<String, Value> = Map::new();
    for ((kind, name), known) in &walk.known {
        let table = tables.entry(*kind).or_insert_with(|| {
            let required: Vec<&str> = REQUIRED
                .iter()
                .filter(|(k, _)| k == kind)
                .map(|(_, name)| *name)
                .collect();
            let mut table = json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {},
            });
            if !required.is_empty() {
                table["required"] = json!(required);
            }
            table
        });
        table["properties"][*name] = property(kind, name, known);
    }
    let mut top = tables.remove("top").unwrap_or_default();
    let mut out = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "learnd configuration",
    });
    if let (Some(out), Some(top)) = (out.as_object_mut(), top.as_object_mut()) {
        out.append(top);
        out.insert("$defs".into(), Value::Object(tables));
    }
    out
}

fn property(kind: &str, name: &str, known: &Known) -> Value {
    let mut out = of_shape(&known.shape);
    if let Some(text) = describe(kind, name) {
        out["description"] = json!(text);
    }
    let default = known.default.as_ref().filter(|d| !d.is_empty());
    let default = default.and_then(|d| toml::from_str::<toml::Table>(&format!("x = {d}")).ok());
    if let Some(default) = default.and_then(|d| serde_json::to_value(&d["x"]).ok()) {
        out["default"] = default;
    }
    out
}

fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Integer(low, high) if *high >= i64::MAX as u64 => {
            json!({"type": "integer", "minimum": low})
        }
        Shape::Integer(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
        Shape::Number(bound) => match bound {
            Bound::Any => json!({"type": "number"}),
            Bound::Positive => json!({"type": "number", "exclusiveMinimum": 0}),
            Bound::NotNegative => json!({"type": "number", "minimum": 0}),
            Bound::Open01 => {
                json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1})
            }
            Bound::Closed01 => json!({"type": "number", "minimum": 0, "maximum": 1}),
        },
        Shape::Text => json!({"type": "string"}),
        Shape::Duration => json!({
            "type": "string",
            "pattern": r"\$\{|^\s*([0-9]+\s*[a-zA-Zµ]+\s*)+$|^\s*0\s*$",
        }),
        Shape::Size => json!({
            "type": "string",
            "pattern": r"\$\{|^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT][iI]?)?[bB]\s*$|^\s*0\s*$",
        }),
        Shape::Words(words) => json!({"type": "string", "enum": words}),
        Shape::Array(item) => json!({"type": "array", "items": of_shape(item)}),
        Shape::Table(kind) => json!({"$ref": format!("#/$defs/{kind}")}),
        Shape::Named(kind) => json!({
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "additionalProperties": {"$ref": format!("#/$defs/{kind}")},
        }),
        Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Shape::Either(shapes) => {
            let shapes: Vec<Value> = shapes.iter().map(of_shape).collect();
            json!({"anyOf": shapes})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, out));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }

    #[test]
    fn covers_every_known_key_and_nothing_else() {
        let schema = schema();
        let (walk, _) = walk("reference", REFERENCE, &Overrides::default());
        let mut count = 0;
        for (kind, table) in schema["$defs"].as_object().unwrap() {
            assert_eq!(table["additionalProperties"], json!(false), "{kind}");
            count += table["properties"].as_object().unwrap().len();
        }
        count += schema["properties"].as_object().unwrap().len();
        assert_eq!(count, walk.known.len());
        assert_eq!(schema["additionalProperties"], json!(false));
        let bits = &schema["$defs"]["model"]["properties"]["hash_bits"];
        assert_eq!(bits["maximum"], json!(30));
        assert_eq!(bits["default"], json!(18));
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        let schema = schema();
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 8);
        for reference in found {
            let kind = reference.strip_prefix("#/$defs/").unwrap();
            assert!(schema["$defs"][kind].is_object(), "{reference}");
        }
    }
}
