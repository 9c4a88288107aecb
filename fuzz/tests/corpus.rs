//! The committed corpus through every target, on any toolchain.
//!
//! With `LEARND_FUZZ_ROUNDS=10000` each file is also changed at random so many times (from a fixed
//! seed): no replacement for libFuzzer, but it runs everywhere.

use std::path::Path;

use learnd::math::Random;
use learnd_fuzz::TARGETS;

fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable entry").path())
        .map(|path| {
            (
                path.display().to_string(),
                std::fs::read(&path).expect("a file"),
            )
        })
        .collect();
    files.sort();
    files
}

/// Some bytes changed, taken out, doubled or put in.
fn mutate(data: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const TOKENS: &[&[u8]] = &[
        b"\"",
        b"\\u0000",
        b"\\ud83d",
        b"{",
        b"[",
        b"}",
        b"]",
        b":",
        b",",
        b"|",
        b"#",
        b"'",
        b"\n",
        b"\r",
        b"\t",
        b" ",
        b"-",
        b"+",
        b".",
        b"e-",
        b"E9",
        b"0",
        b"1",
        b"9",
        b"nan",
        b"inf",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xc3\xa9",
        b"true",
        b"null",
        b"1e308",
        b"2.2250738585072011e-308",
        b"18446744073709551616",
        b"9007199254740993",
    ];
    for _ in 0..=random.below(4) {
        let at = random.below(data.len() as u64 + 1) as usize;
        let end = (at + random.below(9) as usize).min(data.len());
        match random.below(5) {
            0 if at < data.len() => data[at] = random.bits() as u8,
            1 => drop(data.drain(at..end)),
            2 => {
                let copy = data[at..end].to_vec();
                data.splice(at..at, copy);
            }
            3 if !other.is_empty() => {
                let from = random.below(other.len() as u64) as usize;
                let to = (from + random.below(30) as usize).min(other.len());
                data.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let token = TOKENS[random.below(TOKENS.len() as u64) as usize];
                data.splice(at..at, token.iter().copied());
            }
        }
    }
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|t| t.0 == name).expect("a target").1;
    let files = files(name);
    assert!(!files.is_empty(), "{name} has no corpus");
    let rounds: u64 =
        std::env::var("LEARND_FUZZ_ROUNDS").map_or(0, |n| n.parse().expect("a number"));
    let mut random = Random::new(1);
    for (path, data) in &files {
        let run = |data: &[u8]| {
            let caught = std::panic::catch_unwind(|| target(data));
            assert!(
                caught.is_ok(),
                "{name} fails on {path}, as \"{}\"",
                data.escape_ascii()
            );
        };
        run(data);
        for _ in 0..rounds {
            let mut data = data.clone();
            let other = &files[random.below(files.len() as u64) as usize].1;
            mutate(&mut data, other, &mut random);
            run(&data);
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<&str> = TARGETS.iter().map(|t| t.0).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets!(config csv frame json numbers snapshot state svmlight vw);
