//! Vowpal Wabbit's lines beside a reader that splits words: the same features, in the same order.

use learnd::decode::{Decoded, FormatConfig, VwHash};
use learnd::math::murmur3_32;

use crate::told::{Recorder, wide};

/// H of the format.
fn hash(name: &str, seed: u32, all: bool) -> u32 {
    let trimmed = name.trim_matches(|c| c <= ' ');
    if all {
        murmur3_32(name.as_bytes(), seed)
    } else if trimmed.bytes().all(|b| b.is_ascii_digit()) {
        let digits = trimmed.bytes().map(|b| u32::from(b - b'0'));
        digits
            .fold(0u32, |n, d| n.wrapping_mul(10).wrapping_add(d))
            .wrapping_add(seed)
    } else {
        murmur3_32(trimmed.as_bytes(), seed)
    }
}

/// The features of an accepted line; `None` where white space within words makes it too odd.
fn strict(line: &str, all: bool) -> Option<Vec<(u32, f32)>> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\r') {
        return None;
    }
    let blank = |c: char| c == ' ' || c == '\t';
    let number = |text: &str| text.parse::<f64>().ok().map(|x| x as f32);
    let mut out = Vec::new();
    for part in line.split('|').skip(1) {
        let (head, body) = match part.find(blank) {
            Some(at) => part.split_at(at),
            None => (part, ""),
        };
        let (name, scale) = match head.split_once(':') {
            Some((name, scale)) => (name, number(scale).expect("a scale")),
            None => (head, 1.0),
        };
        let space = if name.is_empty() {
            0
        } else {
            hash(name, 0, all)
        };
        let mut anonymous = 0;
        for word in body.split(blank).filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once(':') {
                Some((name, value)) => (name, value),
                None => (word, "1"),
            };
            let (slot, value) = match number(value) {
                Some(value) if name.is_empty() => {
                    anonymous += 1;
                    (space.wrapping_add(anonymous - 1), value * scale)
                }
                Some(value) => (hash(name, space, all), value * scale),
                // A category is there or not, whatever the scale.
                None => (hash(value, hash(name, space, all), all), 1.0),
            };
            out.push((slot, value));
        }
    }
    Some(out)
}

/// Every line of the data, with both ways to hash.
pub fn check(data: &[u8]) {
    for way in [VwHash::Strings, VwHash::All] {
        let mut decoder = FormatConfig::Vw(way).decoder(&wide());
        for line in data.split(|b| *b == b'\n') {
            let mut told = Recorder::default();
            match decoder.decode(line, &mut told) {
                Ok(Decoded::Record) => {
                    let text = std::str::from_utf8(line).expect("an accepted line is UTF-8");
                    assert!(told.example.is_some(), "{text:?} has a head");
                    let Some(want) = strict(text, way == VwHash::All) else {
                        continue;
                    };
                    let bars = text.matches('|').count();
                    assert_eq!(told.namespaces, bars, "{text:?}");
                    let want: Vec<_> = want.into_iter().filter(|f| f.1 != 0.0).collect();
                    let mine: Vec<_> = told.hashed.iter().map(|f| (f.hash, f.value)).collect();
                    assert_eq!(mine, want, "{text:?}");
                }
                Ok(Decoded::Blank) => assert!(line.trim_ascii().is_empty()),
                Ok(Decoded::Header) => panic!("there are no headers"),
                Err(_) => {}
            }
        }
    }
}
