//! A snapshot as a file: safetensors, so that Python opens it, with a checksum over every byte.
//!
//! Layout: header length (u64), JSON header, arrays, all little-endian. One tensor a section. The
//! header opens with `__metadata__`, and that with `blake3` (over the whole file, its own 64 digits
//! taken as zeros) and `bytes` (the file's length, 20 digits), both at fixed places, so that they
//! are checked before anything is parsed. Wide types come first: every array is aligned.
//!
//! Invariant: whatever the bytes, decoding returns; any change of any bit is an error.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ENGINE, MAX_REQUESTS, OLDEST_ENGINE, Snapshot, SnapshotError};
use crate::base::{Micros, Part, Section, SectionData};

const FORMAT: &str = "learnd.snapshot/1";
const LEDGER_SEQ: &str = "ledger_seq";
const REQUESTS: &str = "requests";
const LENGTH_FIELD: usize = 8;
const BEFORE_HASH: &[u8] = br#"{"__metadata__":{"blake3":""#;
const HASH_AT: usize = LENGTH_FIELD + BEFORE_HASH.len();
const HASH_DIGITS: usize = 64;
const BEFORE_BYTES: &[u8] = br#"","bytes":""#;
const BYTES_AT: usize = HASH_AT + HASH_DIGITS + BEFORE_BYTES.len();
const BYTES_DIGITS: usize = 20;

/// So many bytes at the start of a file tell its length.
pub(super) const HEAD: usize = BYTES_AT + BYTES_DIGITS;

/// The type's name in the file and the number of entries.
pub(super) fn kind_and_length(data: &SectionData) -> (&'static str, usize) {
    match data {
        SectionData::F32(values) => ("F32", values.len()),
        SectionData::F64(values) => ("F64", values.len()),
        SectionData::U32(values) => ("U32", values.len()),
        SectionData::U64(values) => ("U64", values.len()),
        SectionData::U8(values) => ("U8", values.len()),
    }
}

fn width(data: &SectionData) -> usize {
    match data {
        SectionData::F64(_) | SectionData::U64(_) => 8,
        SectionData::F32(_) | SectionData::U32(_) => 4,
        SectionData::U8(_) => 1,
    }
}

/// Appends the entries, little-endian.
pub(super) fn append_entries(data: &SectionData, out: &mut Vec<u8>) {
    match data {
        SectionData::F32(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        SectionData::F64(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        SectionData::U32(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        SectionData::U64(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        SectionData::U8(values) => out.extend_from_slice(values),
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structs with string keys always serialize")
}

pub(super) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut sections: Vec<&Section> = snapshot.sections.iter().collect();
    sections.sort_by(|a, b| {
        width(&b.data)
            .cmp(&width(&a.data))
            .then_with(|| a.name.cmp(&b.name))
    });
    let mut operations: Vec<&str> = sections
        .iter()
        .filter(|section| section.part == Part::Operations)
        .map(|section| section.name.as_str())
        .collect();
    operations.sort_unstable();

    let mut header = String::from_utf8_lossy(BEFORE_HASH).into_owned();
    header.extend(std::iter::repeat_n('0', HASH_DIGITS));
    header.push_str(&String::from_utf8_lossy(BEFORE_BYTES));
    header.extend(std::iter::repeat_n('0', BYTES_DIGITS));
    header.push('"');
    for (key, text) in [
        ("format", FORMAT.to_owned()),
        ("engine", snapshot.engine.to_string()),
        ("version", snapshot.version.clone()),
        ("taken", snapshot.taken.0.to_string()),
        ("order", snapshot.order.to_string()),
        ("sources", json(&snapshot.sources)),
        ("streams", json(&snapshot.streams)),
        ("models", json(&snapshot.models)),
        ("operations", json(&operations)),
    ] {
        write!(header, ",\"{key}\":{}", json(&text)).expect("writing to memory cannot fail");
    }
    // Without a ledger the file is as it was before there was one.
    if snapshot.ledger_seq > 0 || !snapshot.requests.is_empty() {
        for (key, text) in [
            (LEDGER_SEQ, snapshot.ledger_seq.to_string()),
            (REQUESTS, json(&snapshot.requests)),
        ] {
            write!(header, ",\"{key}\":{}", json(&text)).expect("writing to memory cannot fail");
        }
    }
    header.push('}');
    let mut offset = 0;
    for section in &sections {
        let (kind, length) = kind_and_length(&section.data);
        let end = offset + length * width(&section.data);
        write!(
            header,
            ",{}:{{\"dtype\":\"{kind}\",\"shape\":[{length}],\"data_offsets\":[{offset},{end}]}}",
            json(&section.name)
        )
        .expect("writing to memory cannot fail");
        offset = end;
    }
    header.push('}');
    while !header.len().is_multiple_of(LENGTH_FIELD) {
        header.push(' ');
    }

    let mut bytes = Vec::with_capacity(LENGTH_FIELD + header.len() + offset);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    for section in sections {
        append_entries(&section.data, &mut bytes);
    }
    seal(&mut bytes);
    bytes
}

/// Writes the length and the checksum into their places.
fn seal(bytes: &mut [u8]) {
    let length = format!("{:0width$}", bytes.len(), width = BYTES_DIGITS);
    bytes[BYTES_AT..BYTES_AT + BYTES_DIGITS].copy_from_slice(length.as_bytes());
    let hash = checksum(bytes);
    bytes[HASH_AT..HASH_AT + HASH_DIGITS].copy_from_slice(hash.as_bytes());
}

fn checksum(bytes: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..HASH_AT]);
    hasher.update(&[b'0'; HASH_DIGITS]);
    hasher.update(&bytes[HASH_AT + HASH_DIGITS..]);
    hasher.finalize().to_hex().to_string()
}

/// Checks the start of a file against the file's length, before any of it is kept.
pub(super) fn check_head(head: &[u8], length: u64) -> Result<(), SnapshotError> {
    let opens = head.len() >= HEAD
        && head[LENGTH_FIELD..HASH_AT] == *BEFORE_HASH
        && head[HASH_AT + HASH_DIGITS..BYTES_AT] == *BEFORE_BYTES;
    let digits = if opens { &head[BYTES_AT..HEAD] } else { &[] };
    let declared: u64 = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(SnapshotError::NotASnapshot)?;
    match length.cmp(&declared) {
        std::cmp::Ordering::Less => Err(SnapshotError::Truncated {
            found: length,
            declared,
        }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(SnapshotError::Overlong {
            found: length,
            declared,
        }),
    }
}

/// Checks everything but the meaning of the values, and gives header and arrays.
fn open(bytes: &[u8]) -> Result<(Metadata, &[u8]), SnapshotError> {
    check_head(bytes, bytes.len() as u64)?;
    if checksum(bytes).as_bytes() != &bytes[HASH_AT..HASH_AT + HASH_DIGITS] {
        return Err(SnapshotError::Checksum);
    }
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_FIELD>()
        .expect("the head was found, so there are more than eight bytes");
    let (header, data) = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| malformed("the header is longer than the file"))?;
    // The header's own check of offsets, shapes and types happens as it is parsed. The crate's
    // reader of whole files is not used, as it adds lengths from the file without a check.
    let header: Metadata =
        serde_json::from_slice(header).map_err(|error| malformed(&error.to_string()))?;
    if header.data_len() != data.len() {
        return Err(malformed("the arrays do not cover the file"));
    }
    Ok((header, data))
}

/// Checks a whole file without keeping anything of it.
pub(super) fn verify(bytes: &[u8]) -> Result<(), SnapshotError> {
    open(bytes).map(|_| ())
}

fn malformed(what: &str) -> SnapshotError {
    SnapshotError::Malformed(what.to_owned())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let (header, data) = open(bytes)?;
    let Some(about) = header.metadata() else {
        return Err(malformed("no metadata"));
    };
    let engine: u32 = number(about, "engine")?;
    if engine > ENGINE {
        return Err(SnapshotError::Newer {
            found: engine,
            ours: ENGINE,
        });
    }
    if engine < OLDEST_ENGINE {
        return Err(SnapshotError::Older {
            found: engine,
            oldest: OLDEST_ENGINE,
        });
    }
    if text(about, "format")? != FORMAT {
        return Err(malformed("unknown format"));
    }
    let operations: HashSet<String> = structure(about, "operations")?;
    let mut sections = Vec::new();
    for name in header.offset_keys() {
        let info = header
            .info(&name)
            .ok_or_else(|| malformed("a name without an array"))?;
        let (start, end) = info.data_offsets;
        let entries = data
            .get(start..end)
            .ok_or_else(|| malformed("an array beyond the end"))?;
        let part = if operations.contains(&name) {
            Part::Operations
        } else {
            Part::Learned
        };
        sections.push(Section {
            data: entries_of(info.dtype, entries)
                .ok_or_else(|| SnapshotError::Malformed(format!("type of {name}")))?,
            part,
            name,
        });
    }
    sections.sort_by(|a, b| a.name.cmp(&b.name));
    let (ledger_seq, requests) = if about.contains_key(LEDGER_SEQ) {
        (number(about, LEDGER_SEQ)?, structure(about, REQUESTS)?)
    } else {
        (0, Vec::new())
    };
    if requests.len() > MAX_REQUESTS {
        return Err(malformed("too many requests"));
    }
    Ok(Snapshot {
        engine,
        version: text(about, "version")?.to_owned(),
        taken: Micros(number(about, "taken")?),
        order: number(about, "order")?,
        ledger_seq,
        requests,
        sources: structure(about, "sources")?,
        streams: structure(about, "streams")?,
        models: structure(about, "models")?,
        sections,
    })
}

/// The entries of an array; `None` for types that are never written.
fn entries_of(kind: Dtype, bytes: &[u8]) -> Option<SectionData> {
    let fours = || bytes.as_chunks::<4>().0.iter().copied();
    let eights = || bytes.as_chunks::<8>().0.iter().copied();
    Some(match kind {
        Dtype::F32 => SectionData::F32(fours().map(f32::from_le_bytes).collect()),
        Dtype::U32 => SectionData::U32(fours().map(u32::from_le_bytes).collect()),
        Dtype::F64 => SectionData::F64(eights().map(f64::from_le_bytes).collect()),
        Dtype::U64 => SectionData::U64(eights().map(u64::from_le_bytes).collect()),
        Dtype::U8 => SectionData::U8(bytes.to_vec()),
        _ => return None,
    })
}

fn text<'a>(about: &'a HashMap<String, String>, key: &str) -> Result<&'a str, SnapshotError> {
    about
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| SnapshotError::Malformed(format!("no {key}")))
}

fn number<T: std::str::FromStr>(
    about: &HashMap<String, String>,
    key: &str,
) -> Result<T, SnapshotError> {
    text(about, key)?
        .parse()
        .map_err(|_| SnapshotError::Malformed(format!("{key} is not a number")))
}

fn structure<T: DeserializeOwned>(
    about: &HashMap<String, String>,
    key: &str,
) -> Result<T, SnapshotError> {
    serde_json::from_str(text(about, key)?)
        .map_err(|error| SnapshotError::Malformed(format!("{key}: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::RequestState;
    use super::super::snapshot::tests::sample;
    use super::*;

    fn sorted(mut snapshot: Snapshot) -> Snapshot {
        snapshot.sections.sort_by(|a, b| a.name.cmp(&b.name));
        snapshot
    }

    /// Replaces text in the header by text of the same length and seals the file again, as someone
    /// would who wants to be believed.
    fn forged(from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = encode(&sample());
        let at = memchr::memmem::find(&bytes, from.as_bytes()).expect("the text is there");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        seal(&mut bytes);
        bytes
    }

    #[test]
    fn reads_back_what_was_written_bit_for_bit() {
        let snapshot = sample();
        let bytes = encode(&snapshot);
        let back = decode(&bytes).unwrap();
        assert_eq!(back, sorted(snapshot.clone()));
        assert_eq!(back.digest(), snapshot.digest());
        assert_eq!(encode(&back), bytes, "the same state is the same file");
        assert_eq!(verify(&bytes), Ok(()));
    }

    #[test]
    fn the_place_in_the_ledger_and_the_requests_come_back() {
        let mut snapshot = sorted(sample());
        assert!(memchr::memmem::find(&encode(&snapshot), LEDGER_SEQ.as_bytes()).is_none());
        snapshot.ledger_seq = u64::MAX - 1;
        assert_eq!(decode(&encode(&snapshot)).unwrap(), snapshot);
        snapshot.requests.push(RequestState {
            source: "orders".into(),
            key: "a \"key\"".into(),
            accepted: 3,
            rejected: 1,
            received: 1_795_428_902_113_000,
        });
        assert_eq!(decode(&encode(&snapshot)).unwrap(), snapshot);
    }

    #[test]
    fn is_a_valid_safetensors_file_with_aligned_arrays() {
        let bytes = encode(&sample());
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 6);
        let sums = file.tensor("models/churn/sums").unwrap();
        assert_eq!(sums.dtype(), Dtype::F64);
        assert_eq!(sums.shape(), [2]);
        let offset = sums.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert!(offset.is_multiple_of(8));
    }

    #[test]
    fn a_snapshot_of_engine_1_stays_readable() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/snapshot-engine-1.safetensors"
        );
        let encoded = encode(&sample());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::File::create(path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &encoded))
                .unwrap();
        }
        let kept = std::fs::read(path).unwrap();
        assert_eq!(decode(&kept).unwrap(), sorted(sample()));
        assert_eq!(kept, encoded, "the file format has changed");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = encode(&sample());
        for length in 0..bytes.len() {
            let error = decode(&bytes[..length]).unwrap_err();
            let want = if length < HEAD {
                SnapshotError::NotASnapshot
            } else {
                SnapshotError::Truncated {
                    found: length as u64,
                    declared: bytes.len() as u64,
                }
            };
            assert_eq!(error, want, "cut at {length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(
            decode(&longer),
            Err(SnapshotError::Overlong { .. })
        ));
    }

    #[test]
    fn any_single_flipped_bit_is_refused() {
        let mut bytes = encode(&sample());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(decode(&bytes).is_err(), "byte {at} bit {bit}");
                assert!(verify(&bytes).is_err(), "byte {at} bit {bit}");
                bytes[at] ^= 1 << bit;
            }
        }
        assert!(decode(&bytes).is_ok());
    }

    #[test]
    fn other_engine_versions_are_named() {
        assert_eq!(
            decode(&forged("\"engine\":\"1\"", "\"engine\":\"2\"")),
            Err(SnapshotError::Newer { found: 2, ours: 1 })
        );
        assert_eq!(
            decode(&forged("\"engine\":\"1\"", "\"engine\":\"0\"")),
            Err(SnapshotError::Older {
                found: 0,
                oldest: 1
            })
        );
    }

    #[test]
    fn lengths_that_lie_are_refused_before_anything_is_allocated() {
        let mut endless = encode(&sample());
        endless[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        seal(&mut endless);
        assert!(matches!(decode(&endless), Err(SnapshotError::Malformed(_))));

        for (from, to) in [
            ("\"shape\":[2]", "\"shape\":[9]"),
            ("\"data_offsets\":[8,24]", "\"data_offsets\":[8,99]"),
            ("\"data_offsets\":[0,8]", "\"data_offsets\":[8,0]"),
            ("\"dtype\":\"F32\"", "\"dtype\":\"I32\""),
            ("\"dtype\":\"F64\"", "\"dtype\":\"U16\""),
            ("\"operations\"", "\"operationz\""),
        ] {
            let error = decode(&forged(from, to)).unwrap_err();
            assert!(
                matches!(error, SnapshotError::Malformed(_)),
                "{from}: {error}"
            );
        }
    }

    #[test]
    fn two_arrays_of_one_name_are_never_taken_for_a_snapshot() {
        let mut twice = sample();
        twice.sections.push(twice.sections[0].clone());
        let bytes = encode(&twice);
        assert!(matches!(verify(&bytes), Err(SnapshotError::Malformed(_))));
        assert!(matches!(decode(&bytes), Err(SnapshotError::Malformed(_))));
    }

    #[test]
    fn offsets_near_the_largest_integer_do_not_overflow() {
        // Eight contiguous arrays of 2^61 - 1 bytes each, and one more: their sum passes 2^64.
        let mut header = String::from_utf8_lossy(BEFORE_HASH).into_owned();
        header.push_str(&"0".repeat(HASH_DIGITS));
        header.push_str(&String::from_utf8_lossy(BEFORE_BYTES));
        header.push_str(&"0".repeat(BYTES_DIGITS));
        header.push_str("\"}");
        let step = (1u64 << 61) - 1;
        let mut start = 0u64;
        for number in 0..9 {
            let size = step.min(u64::MAX - start);
            let end = start + size;
            write!(
                header,
                ",\"{number}\":{{\"dtype\":\"U8\",\"shape\":[{size}],\"data_offsets\":[{start},{end}]}}"
            )
            .unwrap();
            start = end;
        }
        header.push('}');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        seal(&mut bytes);
        assert!(matches!(decode(&bytes), Err(SnapshotError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn no_forgery_makes_it_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let mut bytes = encode(&sample());
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            seal(&mut bytes);
            // Well-formed by chance or refused; either way it comes back.
            if let Ok(snapshot) = decode(&bytes) {
                prop_assert!(decode(&encode(&snapshot)).is_ok());
            }
        }
    }
}
