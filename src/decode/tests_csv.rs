//! CSV: kinds of values, headers, quotes, and that a record written is the record read, however
//! its bytes arrive.

use proptest::prelude::*;

use super::testing::{Told, fields, number, text};
use super::{CsvConfig, Decoded, Decoder, FormatConfig, Limits};
use crate::base::{Cutter, Reject, RejectReason};

fn columns(names: &[&str]) -> CsvConfig {
    CsvConfig {
        header: false,
        columns: names.iter().map(ToString::to_string).collect(),
        ..CsvConfig::default()
    }
}

fn decoder(config: CsvConfig) -> Decoder {
    FormatConfig::Csv(config).decoder(&Limits::default())
}

/// What one value alone is told as.
fn one(value: &str) -> Result<Told, RejectReason> {
    let mut decoder = decoder(columns(&["a", "b"]));
    let line = format!("{value},1");
    match fields(&mut decoder, line.as_bytes()) {
        Ok((Decoded::Record, mut told)) => Ok(told.swap_remove(0).1),
        Ok(other) => panic!("{line}: {other:?}"),
        Err(reject) => Err(reject.reason),
    }
}

#[test]
fn tells_values_by_how_they_are_written() {
    for (value, want) in [
        ("1.5", number(1.5, "1.5")),
        (" 1.5 ", number(1.5, "1.5")),
        ("007", number(7.0, "007")),
        ("+.5", number(0.5, "+.5")),
        ("1e-400", number(0.0, "1e-400")),
        ("\"1.5\"", number(1.5, "1.5")),
        ("\" 1.5\"", text(" 1.5")),
        ("", Told::Null),
        ("  ", Told::Null),
        ("\"\"", Told::Null),
        ("TRUE", Told::Boolean(true)),
        ("false", Told::Boolean(false)),
        ("\"true\"", text("true")),
        (" x ", text(" x ")),
        ("truest", text("truest")),
        ("0x10", text("0x10")),
        ("-", text("-")),
        ("\"nan\"", text("nan")),
        ("nana", text("nana")),
        ("2026-11-23", text("2026-11-23")),
        ("\"a,\"\"b\"\"\nc\"", text("a,\"b\"\nc")),
        ("\"\"\"\"", text("\"")),
        ("é", text("é")),
        ("a\rb", text("a\rb")),
    ] {
        assert_eq!(one(value), Ok(want), "{value}");
    }
    for (value, want) in [
        ("nan", RejectReason::NonFinite),
        ("-INF", RejectReason::NonFinite),
        ("+Infinity", RejectReason::NonFinite),
        (" NaN", RejectReason::NonFinite),
        ("1e999", RejectReason::NumberRange),
        ("\"-1e999\"", RejectReason::NumberRange),
        ("x\"y", RejectReason::Syntax),
        ("\"x\"y", RejectReason::Syntax),
        ("\"x", RejectReason::Syntax),
        (&"1".repeat(65), RejectReason::NumberLen),
    ] {
        assert_eq!(one(value), Err(want), "{value}");
    }
}

#[test]
fn nonfinite_words_are_missing_where_configured() {
    let mut config = columns(&["a", "b"]);
    config.nonfinite_missing = true;
    let told = fields(&mut decoder(config), b"NaN,-inf").unwrap().1;
    assert_eq!(told, [("a".into(), Told::Null), ("b".into(), Told::Null)]);
}

#[test]
fn a_record_has_exactly_the_columns_that_are_named() {
    let mut decoder = decoder(columns(&["a", "b"]));
    let refusal = |reason, at| Err(Reject { reason, at });
    assert_eq!(
        fields(&mut decoder, b"1,2,3"),
        refusal(RejectReason::Trailing, 4)
    );
    assert_eq!(
        fields(&mut decoder, b"1,2,"),
        refusal(RejectReason::Trailing, 4)
    );
    assert_eq!(
        fields(&mut decoder, b"1"),
        refusal(RejectReason::Trailing, 1)
    );
    assert_eq!(fields(&mut decoder, b",").unwrap().1.len(), 2);
    assert_eq!(
        fields(&mut decoder, b"1,\xff"),
        refusal(RejectReason::Utf8, 2)
    );
    for blank in [b"".as_slice(), b"  ", b"\t", b"\r"] {
        assert_eq!(fields(&mut decoder, blank), Ok((Decoded::Blank, vec![])));
    }
}

#[test]
fn the_first_line_names_the_columns_and_is_kept_for_resuming() {
    let mut first = decoder(CsvConfig::default());
    first.start(None);
    assert_eq!(fields(&mut first, b"").unwrap().0, Decoded::Blank);
    assert_eq!(first.header(), b"");
    assert_eq!(
        fields(&mut first, b" a ,\"b,c\"").unwrap().0,
        Decoded::Header
    );
    assert_eq!(first.header(), b" a ,\"b,c\"");
    let want = vec![
        ("a".to_owned(), number(1.0, "1")),
        ("b,c".into(), text("x")),
    ];
    assert_eq!(fields(&mut first, b"1,x").unwrap().1, want);

    let mut resumed = decoder(CsvConfig::default());
    resumed.start(Some(first.header()));
    assert_eq!(
        fields(&mut resumed, b"1,x").unwrap(),
        (Decoded::Record, want)
    );
    assert_eq!(resumed.header(), first.header());

    // A new stream of the same source has a header of its own.
    resumed.start(None);
    assert_eq!(fields(&mut resumed, b"z").unwrap().0, Decoded::Header);
    // Saved before the header was seen.
    resumed.start(Some(b""));
    assert_eq!(fields(&mut resumed, b"z").unwrap().0, Decoded::Header);
}

#[test]
fn a_header_that_is_refused_refuses_the_rest_of_its_stream() {
    let limits = Limits {
        max_fields: 2,
        max_key: 3,
        ..Limits::default()
    };
    let mut decoder = FormatConfig::Csv(CsvConfig::default()).decoder(&limits);
    for (header, reason, at) in [
        ("a,a", RejectReason::DupKey, 2),
        ("a,b,c", RejectReason::Fields, 4),
        ("a,long", RejectReason::KeyLen, 2),
        ("a,\"b", RejectReason::Syntax, 4),
    ] {
        let got = fields(&mut decoder, header.as_bytes());
        assert_eq!(got, Err(Reject { reason, at }), "{header}");
        let after = Err(Reject { reason, at: 0 });
        assert_eq!(fields(&mut decoder, b"1,2"), after);
        // Also after a restart in its middle.
        assert_eq!(decoder.header(), header.as_bytes());
        decoder.start(Some(header.as_bytes()));
        assert_eq!(fields(&mut decoder, b"1,2"), after);
        assert_eq!(fields(&mut decoder, b"").unwrap().0, Decoded::Blank);
        decoder.start(None);
    }
    assert_eq!(fields(&mut decoder, b"a,b").unwrap().0, Decoded::Header);
    assert_eq!(fields(&mut decoder, b"1,2").unwrap().0, Decoded::Record);
}

#[test]
fn configured_names_stand_in_for_those_of_the_header() {
    let config = CsvConfig {
        header: true,
        ..columns(&["x", "y"])
    };
    let mut decoder = decoder(config);
    assert_eq!(fields(&mut decoder, b"a,a,a").unwrap().0, Decoded::Header);
    let told = fields(&mut decoder, b"1,2").unwrap().1;
    assert_eq!(told[1], ("y".into(), number(2.0, "2")));
}

#[test]
fn any_delimiter_and_quote_will_do() {
    let config = CsvConfig {
        delimiter: b'\t',
        quote: b'\'',
        ..columns(&["a", "b", "c"])
    };
    let mut decoder = decoder(config);
    let told = fields(&mut decoder, b"1,5\t'it''s'\t\"").unwrap().1;
    let texts: Vec<Told> = told.into_iter().map(|f| f.1).collect();
    assert_eq!(texts, [text("1,5"), text("it's"), text("\"")]);
    let empty = fields(&mut decoder, b"\t\t").unwrap();
    assert_eq!(empty.0, Decoded::Record);
}

/// Cuts a stream that arrives in pieces of these sizes.
fn cut(format: &FormatConfig, input: &[u8], sizes: &[usize], limit: usize) -> Vec<(Vec<u8>, bool)> {
    let mut cutter = Cutter::new(format.framer(), limit, 0);
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    let (mut rest, mut sizes) = (input, sizes.iter().cycle());
    while !rest.is_empty() {
        let n = (*sizes.next().unwrap()).clamp(1, rest.len());
        cutter.push(&rest[..n], &mut bytes, &mut lines);
        rest = &rest[n..];
    }
    cutter.finish(&mut bytes, &mut lines);
    assert_eq!(cutter.offset(), input.len() as u64);
    lines
        .iter()
        .map(|l| {
            let line = bytes[l.start as usize..l.end as usize].to_vec();
            (line, l.too_long)
        })
        .collect()
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

#[test]
fn line_ends_within_quotes_do_not_end_a_record() {
    let format = FormatConfig::Csv(CsvConfig::default());
    let input = b"a,b\r\n1,\"x\ny\"\n\"\"\"\n\",2\n5\" pipe,3\n\"open";
    let lines = cut(&format, input, &[3], 200);
    let texts: Vec<&[u8]> = lines.iter().map(|l| l.0.as_slice()).collect();
    assert_eq!(
        texts,
        [
            b"a,b".as_slice(),
            b"1,\"x\ny\"",
            b"\"\"\"\n\",2",
            b"5\" pipe,3",
            b"\"open"
        ]
    );
}

proptest! {
    #[test]
    fn records_do_not_depend_on_how_the_bytes_arrive(
        input in proptest::collection::vec(prop::sample::select(b"\"\",\n\r ab1".to_vec()), 0..600),
        sizes in proptest::collection::vec(1usize..50, 1..5),
    ) {
        let format = FormatConfig::Csv(CsvConfig::default());
        prop_assert_eq!(cut(&format, &input, &sizes, 200), cut(&format, &input, &[100_000], 200));
    }

    #[test]
    fn what_is_written_is_what_is_read(
        rows in proptest::collection::vec(proptest::collection::vec(
            prop_oneof!["[a-z\",\n\r é]{1,8}", any::<String>()], 3), 1..6),
        sizes in proptest::collection::vec(1usize..20, 1..4),
    ) {
        // Texts that are not numbers, so that all of them are told as texts.
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|row| row.into_iter().map(|v| format!("_{v}")).collect())
            .collect();
        let mut stream = String::from("a,b,c\r\n");
        for row in &rows {
            let line: Vec<String> = row.iter().map(|v| quoted(v)).collect();
            stream.push_str(&line.join(","));
            stream.push_str("\r\n");
        }
        let format = FormatConfig::Csv(CsvConfig::default());
        let mut decoder = format.decoder(&Limits::default());
        let mut read = Vec::new();
        for (line, _) in cut(&format, stream.as_bytes(), &sizes, 10_000) {
            let (decoded, told) = fields(&mut decoder, &line).unwrap();
            if decoded == Decoded::Record {
                read.push(told.into_iter().map(|f| f.1).collect::<Vec<_>>());
            }
        }
        let want: Vec<Vec<Told>> = rows
            .iter()
            .map(|row| row.iter().map(|v| text(v)).collect())
            .collect();
        prop_assert_eq!(read, want);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(
        line in proptest::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(b"\",\n1.e-n ".to_vec())], 0..60),
    ) {
        let mut decoder = decoder(columns(&["a", "b", "c"]));
        fields(&mut decoder, &line).ok();
    }
}
