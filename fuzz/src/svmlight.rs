//! SVMlight's lines beside a reader that splits words.

use learnd::decode::{Decoded, FormatConfig};

use crate::told::{Recorder, wide};

/// Label and pairs of a line that was accepted.
fn strict(line: &str) -> (Option<f32>, Vec<(u32, f32)>) {
    let text = line.split('#').next().unwrap_or_default();
    let (mut label, mut pairs) = (None, Vec::new());
    for (i, word) in text.split_ascii_whitespace().enumerate() {
        match word.split_once(':') {
            None => {
                assert!(i == 0, "{word} is no pair");
                label = Some(word.parse().expect("a label"));
            }
            Some(("qid", n)) => {
                assert!(i <= 1 && n.bytes().all(|b| b.is_ascii_digit()));
            }
            Some((index, value)) => {
                let value = value.parse::<f64>().expect("a value") as f32;
                if value != 0.0 {
                    pairs.push((index.parse().expect("an index"), value));
                }
            }
        }
    }
    (label, pairs)
}

/// Every line of the data.
pub fn check(data: &[u8]) {
    let mut decoder = FormatConfig::Svmlight.decoder(&wide());
    for line in data.split(|b| *b == b'\n') {
        let mut told = Recorder::default();
        let got = decoder.decode(line, &mut told);
        let Ok(text) = std::str::from_utf8(line) else {
            assert!(got.is_err(), "{}", line.escape_ascii());
            continue;
        };
        let empty = text
            .split('#')
            .next()
            .is_none_or(|x| x.trim_ascii().is_empty());
        match got {
            Ok(Decoded::Record) => {
                let (label, pairs) = strict(text);
                let mine: Vec<(u32, f32)> = told.hashed.iter().map(|f| (f.hash, f.value)).collect();
                assert_eq!(mine, pairs, "{text:?}");
                let head = told.example.expect("the head of the line");
                // A double first, as a feature's value; the label is read the same way.
                let near = |a: f32, b: f32| a == b || (a - b).abs() <= a.abs() * f32::EPSILON;
                assert!(match (head.0, label) {
                    (Some(a), Some(b)) => near(a, b),
                    (a, b) => a == b,
                });
            }
            Ok(Decoded::Blank) => assert!(empty, "{text:?}"),
            Ok(Decoded::Header) => panic!("there are no headers"),
            Err(_) => assert!(!empty, "{text:?}"),
        }
    }
}
