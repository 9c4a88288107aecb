//! Tests of the formats whose lines bear their own label.

use proptest::prelude::*;

use super::{Decoded, FormatConfig, Limits, VwHash};
use crate::base::{Example, FieldSink, HashedFeature, Reject, RejectReason};

/// Keeps the head as (label, weight, initial, tag) and the features by name.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    head: Option<(Option<f32>, Option<f32>, f32, String)>,
    line: Vec<u8>,
    spaces: Vec<(u8, String)>,
    /// First byte of the namespace, name, hash, value.
    features: Vec<(u8, String, u32, f32)>,
}

impl Kept {
    fn name(&self, (from, to): (u32, u32)) -> String {
        String::from_utf8(self.line[from as usize..to as usize].to_vec()).unwrap()
    }
}

impl FieldSink for Kept {
    fn number(&mut self, _: &[u8], _: f64, _: &[u8]) -> Result<(), RejectReason> {
        unreachable!()
    }
    fn boolean(&mut self, _: &[u8], _: bool) -> Result<(), RejectReason> {
        unreachable!()
    }
    fn text(&mut self, _: &[u8], _: &str) -> Result<(), RejectReason> {
        unreachable!()
    }
    fn null(&mut self, _: &[u8]) -> Result<(), RejectReason> {
        unreachable!()
    }
    fn vector(&mut self, _: &[u8], _: &[f64]) -> Result<(), RejectReason> {
        unreachable!()
    }
    fn other(&mut self, _: &[u8]) -> Result<(), RejectReason> {
        unreachable!()
    }
    fn example(&mut self, e: &Example<'_>) -> Result<(), RejectReason> {
        self.line = e.line.to_vec();
        self.head = Some((e.label, e.weight, e.initial, e.tag.to_owned()));
        Ok(())
    }
    fn namespace(&mut self, first: u8, name: (u32, u32)) -> Result<(), RejectReason> {
        self.spaces.push((first, self.name(name)));
        Ok(())
    }
    fn hashed(&mut self, f: HashedFeature) -> Result<(), RejectReason> {
        let space = self.spaces.last().unwrap().0;
        let name = self.name(f.name);
        self.features.push((space, name, f.hash, f.value));
        Ok(())
    }
}

fn read(format: &FormatConfig, line: &[u8]) -> Result<(Decoded, Kept), Reject> {
    let mut kept = Kept::default();
    let decoded = format.decoder(&Limits::default()).decode(line, &mut kept)?;
    Ok((decoded, kept))
}

const VW: FormatConfig = FormatConfig::Vw(VwHash::Strings);

fn vw(line: &str) -> Kept {
    let (decoded, kept) = read(&VW, line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
    assert_eq!(decoded, Decoded::Record, "{line}");
    kept
}

/// Slots of 18 bits by name.
fn slots(format: &FormatConfig, line: &str) -> Vec<(String, u32)> {
    let (_, kept) = read(format, line.as_bytes()).unwrap();
    let slot = |f: &(u8, String, u32, f32)| (f.1.clone(), f.2 & 0x3_ffff);
    kept.features.iter().map(slot).collect()
}

#[test]
fn slots_are_those_of_the_original() {
    let found = slots(&VW, "|ns a:1.5 :2 :3 col:red 007 12");
    let want = [
        ("a", 180_474),
        ("", 120_344),
        ("", 120_345),
        ("col:red", 152_910),
        ("007", 120_351),
        ("12", 120_356),
    ];
    assert_eq!(found, want.map(|(name, slot)| (name.to_owned(), slot)));
    assert_eq!(slots(&VW, "| 7 x")[0].1, 7);
    assert_eq!(slots(&VW, "| 7 x")[1].1, 170_779);
    assert_eq!(slots(&VW, "|a x y")[0].1, 55_432);
    let all = FormatConfig::Vw(VwHash::All);
    assert_ne!(slots(&all, "| 7")[0].1, 7);
    assert_eq!(slots(&all, "| x")[0].1, 170_779);
}

#[test]
fn reads_label_importance_initial_and_tag() {
    let head = |line: &str| vw(line).head.unwrap();
    let none = String::new();
    assert_eq!(head("| a"), (None, None, 0.0, none.clone()));
    assert_eq!(head("1 | a"), (Some(1.0), None, 0.0, none.clone()));
    assert_eq!(head("-1.5e1 | a"), (Some(-15.0), None, 0.0, none.clone()));
    assert_eq!(
        head(" 1  2 .5 '1|a"),
        (Some(1.0), Some(2.0), 0.5, "1".into())
    );
    assert_eq!(head("1 2 'x |a"), (Some(1.0), Some(2.0), 0.0, "x".into()));
    assert_eq!(head("1|a"), (None, None, 0.0, "1".into()));
    assert_eq!(head("1 'a|a"), (Some(1.0), None, 0.0, "a".into()));
    assert_eq!(head("what\t2 |a"), (Some(2.0), None, 0.0, none.clone()));
    assert_eq!(head("1\t|a"), (None, None, 0.0, none.clone()));
    assert_eq!(head("\u{feff}3 |a\r"), (Some(3.0), None, 0.0, none));
}

#[test]
fn reads_namespaces_scales_and_values() {
    let features = |line: &str| -> Vec<(u8, String, f32)> {
        let of = |f: (u8, String, u32, f32)| (f.0, f.1, f.3);
        vw(line).features.into_iter().map(of).collect()
    };
    let f = |space: u8, name: &str, value: f32| (space, name.to_owned(), value);
    assert_eq!(
        features("1 |ab:2 x:3 y  z:-.5|c w\tv:1e1 |"),
        [
            f(b'a', "x", 6.0),
            f(b'a', "y", 2.0),
            f(b'a', "z", -1.0),
            f(b'c', "w", 1.0),
            f(b'c', "v", 10.0),
        ]
    );
    // The scale does not touch categories; zero is no feature, but counts among those without names.
    assert_eq!(
        features("|a:3 col:red u:http://x:1/ x:0 :0 :1"),
        [
            f(b'a', "col:red", 1.0),
            f(b'a', "u:http://x:1/", 1.0),
            f(b'a', "", 3.0),
        ]
    );
    let line = vw("|a :0 :1");
    assert_eq!(line.features[0].2, slots_hash("|a :1 :1")[1]);
    assert_eq!(features("|a:0 x y:2"), []);
}

fn slots_hash(line: &str) -> Vec<u32> {
    vw(line).features.into_iter().map(|f| f.2).collect()
}

#[test]
fn what_the_original_learns_from_garbage_is_refused_with_its_place() {
    for (line, reason, at) in [
        ("hello world", RejectReason::Syntax, 11),
        ("1", RejectReason::Syntax, 1),
        ("one |a x", RejectReason::Syntax, 0),
        ("1 2 3 4 |a x", RejectReason::Syntax, 6),
        ("1 2 3 4 5 |a x", RejectReason::Syntax, 8),
        ("nan |a x", RejectReason::NonFinite, 0),
        ("1 inf |a x", RejectReason::NonFinite, 2),
        ("1e39 |a x", RejectReason::NumberRange, 0),
        ("1\t2\t3 |a x", RejectReason::Syntax, 3),
        ("1 |a x:", RejectReason::Syntax, 7),
        ("1 |a x: y", RejectReason::Syntax, 7),
        ("1 |a x:1y", RejectReason::Syntax, 7),
        ("1 |a x:0x10", RejectReason::Syntax, 7),
        ("1 |a x:1:2", RejectReason::Syntax, 7),
        ("1 |a x:nan", RejectReason::NonFinite, 7),
        ("1 |a x:-Infinity", RejectReason::NonFinite, 7),
        ("1 |a x:1e39", RejectReason::NumberRange, 7),
        ("1 |a:1e30 x:1e30", RejectReason::NumberRange, 12),
        ("1 |a:b x", RejectReason::Syntax, 5),
        ("1 |a: x", RejectReason::Syntax, 5),
        ("1 |a:nan x", RejectReason::NonFinite, 5),
        ("1 |:2 x", RejectReason::Syntax, 3),
        ("1 |a x\ry", RejectReason::Syntax, 6),
    ] {
        let refused = read(&VW, line.as_bytes()).expect_err(line);
        assert_eq!((refused.reason, refused.at), (reason, at), "{line}");
    }
    assert_eq!(
        read(&VW, b"1 |a \xff").unwrap_err().reason,
        RejectReason::Utf8
    );
    let long = format!("1 |a {}", "n".repeat(257));
    assert_eq!(
        read(&VW, long.as_bytes()).unwrap_err().reason,
        RejectReason::KeyLen
    );
    let many = format!("1 |a{}", " x".repeat(1025));
    assert_eq!(
        read(&VW, many.as_bytes()).unwrap_err().reason,
        RejectReason::Fields
    );
    for blank in ["", " ", "\r", "\t "] {
        assert_eq!(read(&VW, blank.as_bytes()).unwrap().0, Decoded::Blank);
    }
    // These only begin like numbers that are not finite.
    assert_eq!(vw("|a c:infrared d:nanny").features.len(), 2);
}

#[test]
fn svmlight_indices_are_slots() {
    let format = FormatConfig::Svmlight;
    let (_, kept) = read(&format, b"-1 qid:3 7:0.5  1:-2 9:0 # 3:4 text").unwrap();
    assert_eq!(kept.head, Some((Some(-1.0), None, 0.0, String::new())));
    assert_eq!(
        kept.features,
        [
            (b' ', "7".to_owned(), 7, 0.5),
            (b' ', "1".to_owned(), 1, -2.0)
        ]
    );
    let (_, kept) = read(&format, b"3:1").unwrap();
    assert_eq!((kept.head.unwrap().0, kept.features.len()), (None, 1));
    assert_eq!(read(&format, b" # a").unwrap().0, Decoded::Blank);
    for (line, reason) in [
        ("yes 1:2", RejectReason::Syntax),
        ("1 x:2", RejectReason::Syntax),
        ("1 -1:2", RejectReason::Syntax),
        ("1 1:x", RejectReason::Syntax),
        ("1 1:", RejectReason::Syntax),
        ("1 2", RejectReason::Syntax),
        ("1 qid:x 1:2", RejectReason::Syntax),
        ("1 1:2 qid:3", RejectReason::Syntax),
        ("1 1:nan", RejectReason::NonFinite),
        ("inf 1:1", RejectReason::NonFinite),
        ("1 4294967296:1", RejectReason::NumberRange),
        ("1 1:1e99", RejectReason::NumberRange),
    ] {
        assert_eq!(
            read(&format, line.as_bytes()).expect_err(line).reason,
            reason,
            "{line}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_them_panic_or_let_a_bad_number_through(
        line in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[ 01a:|'.#eE\\t+\\-né]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        for format in [VW, FormatConfig::Vw(VwHash::All), FormatConfig::Svmlight] {
            match read(&format, &line) {
                Ok((_, kept)) => {
                    for (_, _, _, value) in kept.features {
                        prop_assert!(value.is_finite() && value != 0.0);
                    }
                    if let Some((label, weight, initial, _)) = kept.head {
                        for x in [label, weight, Some(initial)].into_iter().flatten() {
                            prop_assert!(x.is_finite());
                        }
                    }
                }
                Err(reject) => prop_assert!(reject.at as usize <= line.len()),
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        label in any::<f32>().prop_filter("finite", |x| x.is_finite()),
        weight in 0f32..100.0,
        features in proptest::collection::vec(("[a-z]{1,5}", 1e-3f32..1e3), 0..20),
    ) {
        use std::fmt::Write as _;
        let mut line = format!("{label} {weight} 't |s");
        for (name, value) in &features {
            write!(line, " {name}:{value}").unwrap();
        }
        let kept = vw(&line);
        prop_assert_eq!(kept.head, Some((Some(label), Some(weight), 0.0, "t".to_owned())));
        let read: Vec<(String, f32)> = kept.features.into_iter().map(|f| (f.1, f.3)).collect();
        prop_assert_eq!(read, features);
    }

    #[test]
    fn shortcuts_change_nothing_that_is_told_or_refused(
        head in prop_oneof![
            "-?[0-9]{1,3}(\\.[0-9]{1,8})? ", Just(String::new()), "[ -~]{0,8}", "[01.]{1,3} [ .0-9]{0,4}",
        ],
        lines in proptest::collection::vec(proptest::collection::vec((0usize..9, prop_oneof![
            4 => ":-?[0-9](\\.[0-9]{1,7})?",
            2 => Just(String::new()),
            1 => ":-?[0-9]{0,9}(\\.[0-9]{0,9})?(e-?[0-9]{1,2})?",
            1 => "[ -~]{0,7}",
            1 => "[ -~\\x00-\\x1fé]{0,4}",
        ]), 0..9), 1..6),
        blanks in prop::sample::select(vec![" ", "  ", "\t", "|", "|n ", "|a:2 ", "|b:0 ", "|c:1e-40 "]),
        same in any::<bool>(),
        all in any::<bool>(),
    ) {
        const NAMES: [&str; 9] =
            ["a", "bc", "x12", "1", "0042", "seven_7", "eight_88", "fifteen_letters", "sixteen__letters"];
        let format = FormatConfig::Vw(if all { VwHash::All } else { VwHash::Strings });
        for limits in [
            Limits::default(),
            Limits { max_fields: 5, ..Limits::default() },
            Limits { max_number: 16, max_key: 8, ..Limits::default() },
        ] {
            let (mut quick, strict) = (format.decoder(&limits), format.decoder(&limits));
            let mut strict = strict.strict();
            for features in &lines {
                let mut line = format!("{head}|");
                for (place, (name, rest)) in features.iter().enumerate() {
                    let name = NAMES[if same { place } else { *name }];
                    line.push_str(if place % 4 < 3 { " " } else { blanks });
                    line.push_str(name);
                    line.push_str(rest);
                }
                let (mut found, mut want) = (Kept::default(), Kept::default());
                let got = quick.decode(line.as_bytes(), &mut found);
                prop_assert_eq!(got, strict.decode(line.as_bytes(), &mut want), "{}", line);
                if got.is_ok() {
                    prop_assert_eq!(found, want, "{}", line);
                }
            }
        }
    }

    #[test]
    fn pairs_are_what_indices_and_numbers_are(
        pairs in proptest::collection::vec(("0{0,2}[1-9][0-9]{0,8}", "-?[0-9]{1,8}(\\.[0-9]{1,9})?(e[0-9])?"), 1..9),
        blank in prop::sample::select(vec![" ", "  ", "\t"]),
    ) {
        let texts: Vec<String> = pairs.iter().map(|(index, value)| format!("{index}:{value}")).collect();
        let (_, kept) = read(&FormatConfig::Svmlight, texts.join(blank).as_bytes()).unwrap();
        let want: Vec<(u32, f32)> = pairs
            .iter()
            .map(|(index, value)| (index.parse().unwrap(), value.parse::<f64>().unwrap() as f32))
            .filter(|(_, value)| *value != 0.0)
            .collect();
        let got: Vec<(u32, f32)> = kept.features.iter().map(|f| (f.2, f.3)).collect();
        prop_assert_eq!(got, want);
        prop_assert!(kept.features.iter().all(|f| f.1.parse() == Ok(f.2)));
    }

    #[test]
    fn shortcuts_judge_any_bytes_as_the_grammar_does(
        lines in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[ 01a:|'.#eE\\t+\\-né]{0,60}".prop_map(String::into_bytes),
            "1 \\|( [a-c]{1,3}:[0-9]\\.[0-9]{1,3}){1,6}[ -~]{0,5}".prop_map(String::into_bytes),
        ], 1..4),
    ) {
        let (mut quick, mut strict) = (VW.decoder(&Limits::default()), VW.decoder(&Limits::default()).strict());
        for line in &lines {
            let (mut found, mut want) = (Kept::default(), Kept::default());
            let got = quick.decode(line, &mut found);
            prop_assert_eq!(got, strict.decode(line, &mut want));
            if got.is_ok() {
                prop_assert_eq!(found, want);
            }
        }
    }
}
