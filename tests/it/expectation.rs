//! A record guesses the next name from the lines before, for speed: no guess may ever be believed.

use learnd::decode::{Decoded, FormatConfig, Limits};
use learnd::feature::{FieldLimits, Record};
use proptest::prelude::*;

/// What a line says, in words.
fn read(format: &FormatConfig, lines: &[String], last: &mut Record) -> String {
    let mut decoder = format.decoder(&Limits::default());
    decoder.start(None);
    let mut said = String::new();
    for line in lines {
        last.begin();
        said = match decoder.decode(line.as_bytes(), last) {
            Ok(Decoded::Record) => format!("{:?}", last.fields().collect::<Vec<_>>()),
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
        let after_others = read(&json, &lines, &mut Record::new(0, &limits));
        let alone = read(&json, &lines[lines.len() - 1..], &mut Record::new(0, &limits));
        prop_assert_eq!(after_others, alone);
    }
}
