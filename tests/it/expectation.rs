//! A reader expects the names of the lines before, for speed: no expectation may ever be believed.

use learnd::base::RejectReason;
use learnd::decode::{Decoded, FormatConfig, Limits};
use learnd::feature::{FieldLimits, FieldReader, FieldValue, NewNames, Record};
use proptest::prelude::*;

/// What a line says, in words.
fn read(format: &FormatConfig, lines: &[String], limits: &FieldLimits) -> String {
    let mut reader = FieldReader::new(limits);
    let mut names = reader.names(0);
    let (mut record, mut new_names) = (Record::new(), NewNames::default());
    let mut decoder = format.decoder(&Limits::default());
    decoder.start(None);
    let mut said = String::new();
    for line in lines {
        let decoded = decoder.decode(line.as_bytes(), &mut reader.sink(&mut record));
        reader.hand_over(&mut new_names);
        names.append(&new_names);
        said = match decoded {
            Ok(Decoded::Record) => format!("{:?}", record.fields(&names).collect::<Vec<_>>()),
            other => format!("{other:?}"),
        };
    }
    said
}

/// Names as they stand in a line, some of which look like others once their escapes are resolved.
fn member() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("a"),
        Just("b"),
        Just("a.b"),
        Just(r#"a\":1,\"b"#),
        Just(r"\u0061"),
        Just(r"a\\"),
        Just(r"a\\\"),
        Just("a name that is longer than sixteen bytes"),
        Just("a name that is longer than sixteen bytez"),
        Just(""),
        Just("é"),
    ];
    let value = prop_oneof![
        Just("1"),
        Just("-2.5"),
        Just("\"x\""),
        Just("null"),
        Just("[1,2]"),
        Just(r#"{"b":1,"a":{"b":2}}"#),
        Just("[{}]"),
        Just("tru"),
    ];
    (
        name,
        value,
        prop_oneof![9 => Just(":"), 1 => Just(" : "), 1 => Just("")],
    )
        .prop_map(|(name, value, colon)| format!("\"{name}\"{colon}{value}"))
}

/// A line of up to eight members that are mostly numbers and mostly in order.
fn line() -> impl Strategy<Value = String> {
    let names = [
        "a",
        "x1",
        "x2",
        "x10",
        "seven77",
        "eight888",
        "twelve_bytes",
        "fifteen bytes..",
        "a name of more than fifteen",
        "é",
    ]
    .map(|name| name.replace('.', "-"));
    let value = prop_oneof![
        6 => Just("-1.25".to_owned()),
        6 => Just("0".to_owned()),
        4 => Just("12.5".to_owned()),
        1 => (-1e9..1e9).prop_map(|x: f64| x.to_string()),
        1 => Just("\"text\"".to_owned()),
        1 => Just("\"a \\n b\"".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just("[1.5,2.5]".to_owned()),
        1 => Just("{\"x1\":1.5,\"b\":{}}".to_owned()),
        1 => Just("01".to_owned()),
    ];
    let colon = prop_oneof![20 => Just(":"), 2 => Just(": "), 1 => Just(" :  ")];
    let comma = prop_oneof![20 => Just(","), 2 => Just(", "), 1 => Just(" ,  ")];
    let members = proptest::collection::vec((value, colon, comma), names.len());
    // Nothing most of the time: drop a member, repeat one, swap two, escape a letter.
    let change =
        prop_oneof![5 => Just(0u8), 1 => Just(1), 1 => Just(2), 1 => Just(3), 1 => Just(4)];
    (members, change, 0..names.len(), 0..names.len()).prop_map(
        move |(members, change, one, other)| {
            let mut list: Vec<String> = names.to_vec();
            match change {
                1 => drop(list.remove(one)),
                2 => list.push(list[one].clone()),
                3 => list.swap(one, other),
                4 => list[one] = list[one].replace('a', "\\u0061"),
                _ => {}
            }
            let mut text = String::from("{");
            for (i, (name, (value, colon, comma))) in list.iter().zip(&members).enumerate() {
                let comma = if i == 0 { "" } else { comma };
                text.push_str(&format!("{comma}\"{name}\"{colon}{value}"));
            }
            text + "}"
        },
    )
}

proptest! {
    #[test]
    fn a_line_says_the_same_whatever_lines_came_before(
        lines in proptest::collection::vec(proptest::collection::vec(member(), 0..4), 1..6),
        duplicates_last in any::<bool>(),
        max_names in prop_oneof![Just(2usize), Just(100)],
    ) {
        let lines: Vec<String> = lines.iter().map(|l| format!("{{{}}}", l.join(","))).collect();
        let limits = FieldLimits { duplicates_last, max_names, ..FieldLimits::default() };
        let json = FormatConfig::Json;
        let after_others = read(&json, &lines, &limits);
        let alone = read(&json, &lines[lines.len() - 1..], &limits);
        prop_assert_eq!(after_others, alone);
    }

    /// Lines of a stream that mostly has the same members in the same order, but for some that lack
    /// members, have them twice, in another order or written in another way.
    #[test]
    fn a_line_out_of_order_says_the_same_as_alone(
        lines in proptest::collection::vec(line(), 1..14),
        duplicates_last in any::<bool>(),
        max_names in prop_oneof![Just(2usize), Just(100)],
        max_fields in prop_oneof![Just(6usize), Just(100)],
    ) {
        let limits = FieldLimits { duplicates_last, max_names, max_fields, ..FieldLimits::default() };
        let json = FormatConfig::Json;
        for end in 1..=lines.len() {
            let after_others = read(&json, &lines[..end], &limits);
            let alone = read(&json, &lines[end - 1..end], &limits);
            prop_assert_eq!(after_others, alone, "{}", lines[end - 1]);
        }
    }

    /// What a reader in order is told is what an independent parser finds.
    #[test]
    fn lines_in_and_out_of_order_say_what_another_parser_reads(
        lines in proptest::collection::vec(line(), 1..10),
    ) {
        let mut decoder = FormatConfig::Json.decoder(&Limits::default());
        decoder.start(None);
        let mut reader = FieldReader::new(&FieldLimits::default());
        let mut names = reader.names(0);
        let (mut record, mut new_names) = (Record::new(), NewNames::default());
        for line in &lines {
            let decoded = decoder.decode(line.as_bytes(), &mut reader.sink(&mut record));
            reader.hand_over(&mut new_names);
            names.append(&new_names);
            let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
            let Ok(Decoded::Record) = decoded else {
                // A name that occurs twice is the one thing that only we refuse.
                let twice = matches!(decoded, Err(r) if r.reason == RejectReason::DupKey);
                prop_assert!(twice || parsed.is_none(), "{line}: {decoded:?}");
                continue;
            };
            let parsed = parsed.expect("what is accepted is JSON");
            let mut told = 0;
            for (name, value) in record.fields(&names) {
                let name = std::str::from_utf8(name).unwrap();
                // Only the last dots of nested names are ambiguous, and no name here has one.
                let found = name.split('.').try_fold(&parsed, |object, part| object.get(part));
                let found = found.expect(name);
                told += usize::from(!name.contains('.'));
                match value {
                    FieldValue::Number(x, literal) => {
                        prop_assert_eq!(found.as_f64(), Some(x));
                        let literal = std::str::from_utf8(literal).unwrap();
                        prop_assert_eq!(literal.parse(), Ok(x));
                    }
                    FieldValue::Text(text) => prop_assert_eq!(found.as_str(), Some(text)),
                    FieldValue::Boolean(b) => prop_assert_eq!(found.as_bool(), Some(b)),
                    FieldValue::Null => prop_assert!(found.is_null()),
                    FieldValue::Vector(list) => prop_assert_eq!(found, &serde_json::json!(list)),
                    FieldValue::Other => prop_assert!(found.is_object() || found.is_array()),
                }
            }
            prop_assert_eq!(told, parsed.as_object().unwrap().len());
        }
    }
}
