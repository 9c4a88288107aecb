//! JSON lines beside serde_json: both accept the same lines, and read the same out of them.

use std::fmt;

use learnd::base::RejectReason;
use learnd::decode::{Decoded, FormatConfig};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::told::{Told, bits, read, record, wide};

/// A document in which doubled names are still there.
enum Json {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, x: bool) -> Result<Json, E> {
        Ok(Json::Boolean(x))
    }
    fn visit_u64<E>(self, x: u64) -> Result<Json, E> {
        Ok(Json::Number(x as f64))
    }
    fn visit_i64<E>(self, x: i64) -> Result<Json, E> {
        Ok(Json::Number(x as f64))
    }
    fn visit_f64<E>(self, x: f64) -> Result<Json, E> {
        Ok(Json::Number(x))
    }
    fn visit_str<E>(self, x: &str) -> Result<Json, E> {
        Ok(Json::Text(x.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(x) = list.next_element()? {
            out.push(x);
        }
        Ok(Json::List(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(entry) = map.next_entry()? {
            out.push(entry);
        }
        Ok(Json::Object(out))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Json, D::Error> {
        from.deserialize_any(JsonVisitor)
    }
}

impl Json {
    fn depth(&self) -> usize {
        match self {
            Json::List(xs) => 1 + xs.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(xs) => 1 + xs.iter().map(|x| x.1.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

fn flatten(members: &[(String, Json)], prefix: &str, out: &mut Vec<(String, Told)>) {
    for (name, value) in members {
        let name = format!("{prefix}{name}");
        let number = |x: &Json| match x {
            Json::Number(x) => Some(bits(*x)),
            _ => None,
        };
        let told = match value {
            Json::Null => Told::Null,
            Json::Boolean(x) => Told::Boolean(*x),
            Json::Number(x) => Told::Number(bits(*x)),
            Json::Text(x) => Told::Text(x.clone()),
            Json::List(xs) => match xs.iter().map(number).collect() {
                Some(numbers) => Told::Vector(numbers),
                None => Told::Other,
            },
            Json::Object(_) => Told::Other,
        };
        out.push((name.clone(), told));
        if let Json::Object(members) = value {
            flatten(members, &format!("{name}."), out);
        }
    }
}

/// Every line of the data.
pub fn check(data: &[u8]) {
    let limits = wide();
    let mut decoders = [(); 3].map(|()| FormatConfig::Json.decoder(&limits));
    let mut records = [record(1 << 16), record(2)];
    for line in data.split(|b| *b == b'\n') {
        let shown = line.escape_ascii();
        let (got, recorder) = read(&mut decoders, &mut records, line);
        match serde_json::from_slice::<Json>(line) {
            Err(_) if line.iter().all(|b| b" \t\r".contains(b)) => {
                assert_eq!(got, Ok(Decoded::Blank), "{shown}");
            }
            Err(error) => assert!(got.is_err(), "{shown}: {error}, but {got:?}"),
            Ok(document) if document.depth() > limits.max_depth => {
                assert!(got.is_err(), "{shown} is too deep");
            }
            Ok(Json::Object(members)) => {
                let mut want = Vec::new();
                flatten(&members, "", &mut want);
                let mut names: Vec<&String> = want.iter().map(|x| &x.0).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) {
                    let reason = got.expect_err("a name occurs twice").reason;
                    assert_eq!(reason, RejectReason::DupKey, "{shown}");
                } else {
                    assert_eq!(got, Ok(Decoded::Record), "{shown}");
                    assert_eq!(recorder.fields, want, "{shown}");
                }
            }
            Ok(_) => {
                let reason = got.expect_err("no object").reason;
                assert_eq!(reason, RejectReason::NotObject, "{shown}");
            }
        }
    }
}
