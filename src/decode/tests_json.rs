//! JSON: every row of the table of bad inputs, the classic cases of a conformance suite, and
//! serde_json as the oracle.

use proptest::prelude::*;
use serde_json::Value;

use super::testing::{Recorder, Told, fields, number, text};
use super::{Decoded, Decoder, FormatConfig, Limits};
use crate::base::{Reject, RejectReason};

fn decoder() -> Decoder {
    FormatConfig::Json.decoder(&Limits::default())
}

fn read(line: &str) -> Vec<(String, Told)> {
    let (decoded, told) = fields(&mut decoder(), line.as_bytes()).expect(line);
    assert_eq!(decoded, Decoded::Record, "{line}");
    told
}

fn refusal(line: impl AsRef<[u8]>) -> Reject {
    let line = line.as_ref();
    match fields(&mut decoder(), line) {
        Err(reject) => reject,
        Ok(got) => panic!("{} was read as {got:?}", String::from_utf8_lossy(line)),
    }
}

#[test]
fn tells_the_members_in_order_under_dotted_names() {
    let told = read(concat!(
        r#" {"a":1, "b" : "x", "c":true,"d":null,"user":{"age":3,"":{"z":-0.5e1}},"#,
        r#""v":[1,2.5],"e":[],"w":[1,"x",{"k":[2]}],"o":{},"z":false } "#
    ));
    let want = [
        ("a", number(1.0, "1")),
        ("b", text("x")),
        ("c", Told::Boolean(true)),
        ("d", Told::Null),
        ("user", Told::Other),
        ("user.age", number(3.0, "3")),
        ("user.", Told::Other),
        ("user..z", number(-5.0, "-0.5e1")),
        ("v", Told::Vector(vec![1f64.to_bits(), 2.5f64.to_bits()])),
        ("e", Told::Vector(vec![])),
        ("w", Told::Other),
        ("o", Told::Other),
        ("z", Told::Boolean(false)),
    ];
    assert_eq!(told, want.map(|(n, t)| (n.to_owned(), t)));
}

#[test]
fn resolves_escapes_in_names_and_texts() {
    let told = read(r#"{"a\u0062\n":"\"\\\/\b\f\n\r\té\ud83d\ude00","p":{"\"":"\u0000"}}"#);
    assert_eq!(
        told,
        [
            ("ab\n".into(), text("\"\\/\u{8}\u{c}\n\r\té😀")),
            ("p".into(), Told::Other),
            ("p.\"".into(), text("\0")),
        ]
    );
}

#[test]
fn a_line_of_white_space_is_blank() {
    for line in ["", " ", "\t  ", "\r"] {
        assert_eq!(
            fields(&mut decoder(), line.as_bytes()),
            Ok((Decoded::Blank, vec![]))
        );
    }
}

/// Every bad input that a decoder of JSON has to judge, with its reason and place.
#[test]
fn refuses_every_bad_input_for_the_documented_reason() {
    use RejectReason as R;
    let deep = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    let members = |n: usize| {
        let list: Vec<String> = (0..n).map(|i| format!("\"k{i}\":{i}")).collect();
        format!("{{{}}}", list.join(","))
    };
    let key = |n: usize| format!("{{\"{}\":1}}", "k".repeat(n));
    let digits = |n: usize| format!("{{\"a\":{}}}", "1".repeat(n));
    let rows: Vec<(Vec<u8>, R, u32)> = vec![
        ("\u{feff}{\"a\":1}".into(), R::Syntax, 0),
        (b"{\"a\":\"\xff\"}".to_vec(), R::Utf8, 6),
        (b"{\"a\":[{\"ignored\":\"\xff\"}]}".to_vec(), R::Utf8, 18),
        (b"{\"a\":\"\xc0\xaf\"}".to_vec(), R::Utf8, 6),
        (b"{\"a\":\"\xf8\x88\x80\x80\x80\"}".to_vec(), R::Utf8, 6),
        (r#"{"a":"\ud800"}"#.into(), R::Syntax, 6),
        (r#"{"a":"\udc00"}"#.into(), R::Syntax, 6),
        (r#"{"a":"\ud800\n"}"#.into(), R::Syntax, 6),
        (r#"{"a":["x","\ud800\u0041"]}"#.into(), R::Syntax, 11),
        (deep(32).into(), R::Depth, 36),
        (
            format!("{{\"a\":[{{\"b\":{}}}]}}", deep(40)).into(),
            R::Depth,
            44,
        ),
        (r#"{"a":1,"a":2}"#.into(), R::DupKey, 7),
        (r#"{"a":{"b":1},"a.b":2}"#.into(), R::DupKey, 13),
        (r#"{"a":{},"a":{}}"#.into(), R::DupKey, 8),
        (r#"{"a":1,"\u0061":2}"#.into(), R::DupKey, 7),
        (key(257).into(), R::KeyLen, 1),
        (r#"{"a":NaN}"#.into(), R::Syntax, 5),
        (r#"{"a":Infinity}"#.into(), R::Syntax, 5),
        (r#"{"a":-Infinity}"#.into(), R::Syntax, 6),
        (r#"{"a":1e999}"#.into(), R::NumberRange, 5),
        (r#"{"a":["x",-1e999]}"#.into(), R::NumberRange, 10),
        (digits(65).into(), R::NumberLen, 5),
        (r#"{"a":01}"#.into(), R::Syntax, 6),
        (r#"{"a":+1}"#.into(), R::Syntax, 5),
        (r#"{"a":.5}"#.into(), R::Syntax, 5),
        (r#"{"a":1.}"#.into(), R::Syntax, 7),
        (r#"{"a":0x1F}"#.into(), R::Syntax, 6),
        (r#"{"a":1,}"#.into(), R::Syntax, 7),
        (r#"{"a":[1,]}"#.into(), R::Syntax, 8),
        (r#"{"a":1/*c*/}"#.into(), R::Syntax, 6),
        (r"{'a':1}".into(), R::Syntax, 1),
        (r#"{"a":1}{"b":2}"#.into(), R::Trailing, 7),
        (r#"{"a":1} x"#.into(), R::Trailing, 8),
        ("[1,2]".into(), R::NotObject, 0),
        ("\"text\"".into(), R::NotObject, 0),
        (" null".into(), R::NotObject, 1),
        ("17".into(), R::NotObject, 0),
        (members(1025).into(), R::Fields, 11_093),
        ("{\"a\":\"x\ty\"}".into(), R::Syntax, 7),
        ("{\"a\":\"x".into(), R::Syntax, 7),
        ("{\"a\":\0}".into(), R::Syntax, 5),
        ("not json".into(), R::Syntax, 0),
    ];
    for (line, reason, at) in rows {
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        assert_eq!(refusal(&line), Reject { reason, at }, "{shown}");
    }
    assert_eq!(read(&deep(31)).len(), 1);
    assert_eq!(read(&members(1024)).len(), 1024);
    assert_eq!(read(&key(256)).len(), 1);
    assert_eq!(read(&digits(64)).len(), 1);
    assert_eq!(
        read("{\"a\":1e-400}"),
        [("a".into(), number(0.0, "1e-400"))]
    );
    assert_eq!(
        read("{\"a\":\"\u{202e}\"}"),
        [("a".into(), text("\u{202e}"))]
    );
    assert_eq!(read("{\"__proto__\":\"\u{7f}\",\"\":1}").len(), 2);
}

#[test]
fn members_of_ignored_objects_count_too() {
    let limits = Limits {
        max_fields: 3,
        ..Limits::default()
    };
    let mut decoder = FormatConfig::Json.decoder(&limits);
    assert!(fields(&mut decoder, br#"{"a":[{"b":1,"c":2}]}"#).is_ok());
    let reject = fields(&mut decoder, br#"{"a":[{"b":1,"c":2}],"d":{}}"#).unwrap_err();
    assert_eq!(reject.reason, RejectReason::Fields);
    assert!(
        fields(&mut decoder, br#"{"a":1}"#).is_ok(),
        "the count starts anew with each line"
    );
}

#[test]
fn depth_costs_no_stack() {
    let limits = Limits {
        max_depth: 10_000_000,
        max_fields: 10_000_000,
        ..Limits::default()
    };
    let mut decoder = FormatConfig::Json.decoder(&limits);
    let n = 300_000;
    let arrays = format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(fields(&mut decoder, arrays.as_bytes()).is_ok());
    let n = 3000;
    let objects = format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    assert_eq!(fields(&mut decoder, objects.as_bytes()).unwrap().1.len(), n);
}

/// Values that a conformance suite calls valid (`y_`), as the value of a member.
const VALID: &[&str] = &[
    "[]",
    "[ ]",
    "[[]   ]",
    "[\"\"]",
    "[\"a\"]",
    "[false]",
    "[null, 1, \"1\", {}]",
    "[null]",
    "[1\n]",
    " [1]",
    "[1,null,null,null,2]",
    "[2] ",
    "[123e65]",
    "[0e+1]",
    "[0e1]",
    "[ 4]",
    "[-0.000000000000000000000000000000000000000000001]",
    "[20e1]",
    "[-0]",
    "[-123]",
    "[-1]",
    "[1E22]",
    "[1E-2]",
    "[1E+2]",
    "[123e45]",
    "[123.456e78]",
    "[1e-2]",
    "[1e+2]",
    "[123.456789]",
    "{\"asd\":\"sdf\", \"dfg\":\"fgh\"}",
    "{}",
    "{\"\":0}",
    "{\"foo\\u0000bar\": 42}",
    "{ \"min\": -1.0e+28, \"max\": 1.0e+28 }",
    "{\"a\":[]}",
    "{\n\"a\": \"b\"\n}",
    "[\"\\u0060\\u012a\\u12AB\"]",
    "[\"\\uD801\\udc37\"]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\\\\u0000\"]",
    "[\"\\\"\"]",
    "[\"a/*b*/c/*d//e\"]",
    "[\"\\uDBFF\\uDFFF\"]",
    "[\"\u{ffff}\"]",
    "[\"\u{7f}\"]",
    "[\"\\uA66D\"]",
    "\"\u{2028}\"",
    "true",
    "false",
    "null",
    "-0.1",
    "\"asd\"",
];

/// Texts that a conformance suite calls invalid (`n_`), as the value of a member.
const INVALID: &[&str] = &[
    "[1 true]",
    "[\"\": 1]",
    "[\"\"],",
    "[,1]",
    "[1,,2]",
    "[\"x\",,]",
    "[\"x\"]]",
    "[\"\",]",
    "[\"x\"",
    "[x",
    "[3[4]]",
    "[,]",
    "[-]",
    "[   , \"\"]",
    "[1,]",
    "[1,,]",
    "[\"a\",\n4\n,1,",
    "[*]",
    "[1,\n1\n,1",
    "[{}",
    "[fals]",
    "[nul]",
    "[tru]",
    "[++1234]",
    "[+1]",
    "[-01]",
    "[-1.0.]",
    "[-2.]",
    "[.-1]",
    "[.2e-3]",
    "[0.1.2]",
    "[0.3e+]",
    "[0.3e]",
    "[0.e1]",
    "[0E+]",
    "[0E]",
    "[1.0e+]",
    "[1.0e-]",
    "[1 000.0]",
    "[1eE2]",
    "[2.e+3]",
    "[9.e+]",
    "[Inf]",
    "[NaN]",
    "[1+2]",
    "[0x1]",
    "[-012]",
    "[-foo]",
    "[- 1]",
    "[012]",
    "[1ea]",
    "[1.2a-3]",
    "{\"x\", null}",
    "{\"x\"::\"b\"}",
    "{\"a\":\"a\" 123}",
    "{key: 'value'}",
    "{\"a\" b}",
    "{:\"b\"}",
    "{\"a\"",
    "{1:1}",
    "{\"id\":0,,,,,}",
    "{'a':0}",
    "{\"id\":0,}",
    "{\"a\":/*comment*/\"b\"}",
    "[\"\\uD800\\\"]",
    "[\"\\uD800\\u\"]",
    "[\"\\uD800\\u1\"]",
    "[\"\\x00\"]",
    "[\"\\\\\\\"]",
    "[\"\\\t\"]",
    "[\"\\a\"]",
    "[\"\\uqqqq\"]",
    "[\"\\u00A\"]",
    "[\"\\\"]",
    "\"",
    "['single quote']",
    "abc",
    "[\"\n\"]",
    "[\"\t\"]",
    "\"\\UA66D\"",
    "[True]",
    "[1]x",
    "<null>",
    "[\u{a0}1]",
    "\u{2060}[]",
    "[\"a\u{0}a\"]",
    "nan",
];

#[test]
fn agrees_with_a_conformance_suite() {
    for value in VALID {
        for line in [
            format!("{{\"k\":{value}}}"),
            format!("{{\"k\":[\"ignored\",{value}]}}"),
        ] {
            assert!(
                fields(&mut decoder(), line.as_bytes()).is_ok(),
                "{line} is JSON"
            );
        }
    }
    for value in INVALID {
        for line in [
            format!("{{\"k\":{value}}}"),
            format!("{{\"k\":[\"ignored\",{value}]}}"),
        ] {
            assert!(
                fields(&mut decoder(), line.as_bytes()).is_err(),
                "{line} is not JSON"
            );
        }
    }
    for line in [
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{}}",
        "{]",
        "{,}",
        "{\"a\":1]",
    ] {
        assert!(fields(&mut decoder(), line.as_bytes()).is_err(), "{line}");
    }
}

/// What serde_json makes of a document, told as the decoder tells it.
fn oracle(value: &Value, prefix: &str, told: &mut Vec<(String, Told)>) {
    let Value::Object(map) = value else {
        unreachable!("only objects are told")
    };
    for (key, value) in map {
        let name = format!("{prefix}{key}");
        let field = match value {
            Value::Null => Told::Null,
            Value::Bool(b) => Told::Boolean(*b),
            Value::Number(n) => number(n.as_f64().unwrap(), ""),
            Value::String(s) => text(s),
            Value::Array(list) if list.iter().all(Value::is_number) => {
                Told::Vector(list.iter().map(|x| x.as_f64().unwrap().to_bits()).collect())
            }
            Value::Array(_) | Value::Object(_) => Told::Other,
        };
        told.push((name.clone(), field));
        if value.is_object() {
            oracle(value, &format!("{name}."), told);
        }
    }
}

fn wide() -> Decoder {
    FormatConfig::Json.decoder(&Limits {
        max_fields: usize::MAX,
        // serde_json gives up at depth 128; no document here is that deep.
        max_depth: 127,
        max_key: usize::MAX,
        max_number: usize::MAX,
        duplicates_last: false,
    })
}

/// Both agree on whether the line is an object, and on every value where names are not doubled.
fn agree(line: &[u8]) -> Result<(), TestCaseError> {
    let mut recorder = Recorder {
        duplicates: true,
        ..Recorder::default()
    };
    let mut decoder = wide();
    // A line that is refused halfway leaves nothing behind.
    decoder
        .decode(&line[..line.len() / 2], &mut Recorder::default())
        .ok();
    let got = decoder.decode(line, &mut recorder);
    let want: Option<Value> = serde_json::from_slice(line).ok().filter(Value::is_object);
    prop_assert_eq!(
        matches!(got, Ok(Decoded::Record)),
        want.is_some(),
        "{:?} of {:?}",
        got,
        String::from_utf8_lossy(line)
    );
    if let Some(want) = want {
        let mut told = Vec::new();
        oracle(&want, "", &mut told);
        let mut mine = recorder.fields;
        for field in &mut mine {
            if let Told::Number(_, literal) = &mut field.1 {
                literal.clear();
            }
        }
        // serde_json keeps the last of doubled names; the decoder leaves that to the sink.
        if mine.len() == told.len() {
            prop_assert_eq!(mine, told);
        }
    }
    Ok(())
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        any::<f64>().prop_map(|x| if x.is_finite() {
            format!("{x:e}")
        } else {
            "0".into()
        }),
        any::<i64>().prop_map(|x| x.to_string()),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        "\"(\\\\[nrtbf/\\\\\"]|\\\\u[0-9a-fA-F]{4}|[a-zé ]){0,12}\"",
    ]
}

fn document() -> impl Strategy<Value = String> {
    let space = || "[ \t]{0,2}";
    let value = literal().prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..6), space())
                .prop_map(|(list, s)| format!("[{s}{}{s}]", list.join(&format!("{s},{s}")))),
            object(inner),
        ]
    });
    object(value)
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop_oneof!["[a-z]{0,12}", any::<String>()];
    (proptest::collection::vec((key, value), 0..6), "[ \t]{0,2}").prop_map(|(list, s)| {
        let members: Vec<String> = list
            .iter()
            .map(|(k, v)| format!("{}{s}:{s}{v}", serde_json::to_string(k).unwrap()))
            .collect();
        format!("{s}{{{s}{}{s}}}{s}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reads_documents_as_serde_json_reads_them(line in document()) {
        agree(line.as_bytes())?;
    }

    #[test]
    fn judges_damaged_documents_as_serde_json_judges_them(
        line in document(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..3, prop_oneof![
            3 => prop::sample::select(b"{}[],:\"\\0123456789.eE+-truefalsn \t\x00\x1f".to_vec()),
            1 => any::<u8>(),
        ]), 1..4),
    ) {
        let mut bytes = line.into_bytes();
        for (at, kind, byte) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => if bytes.len() > 1 { bytes.remove(at); },
            }
        }
        agree(&bytes)?;
    }

    #[test]
    fn judges_any_bytes_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        agree(&bytes)?;
    }
}
