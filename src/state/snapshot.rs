//! One moment of the daemon: what was learned, and exactly up to where in the input.
//!
//! Invariant: the digest covers every learned section and nothing else, so two runs that learned
//! the same have the same digest wherever, whenever and however often they were stopped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SnapshotError, format};
use crate::base::{Micros, Part, Section, SectionData};

/// Version of the file format and of the arithmetic: raised whenever the same input would leave
/// other bits, so that state is never continued by a program that would have learned it otherwise.
pub const ENGINE: u32 = 1;

/// The oldest engine version whose snapshots this program can continue.
pub const OLDEST_ENGINE: u32 = 1;

/// How far one stream of a source was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The source's name.
    pub source: String,
    /// What finds the stream again (see [`crate::base::StreamName`]).
    #[serde(with = "hex_text")]
    pub identity: Vec<u8>,
    /// For people: a path, a peer's address.
    pub name: String,
    /// Offset after the last line learned, in decompressed bytes.
    pub offset: u64,
    /// Lines up to there.
    pub lines: u64,
    /// The header line that the stream's records are read with (CSV); empty for none.
    #[serde(with = "hex_text")]
    pub header: Vec<u8>,
    /// The stream was read to its end and gets no more lines.
    pub finished: bool,
}

/// The standing of one source over its whole life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// Its name.
    pub name: String,
    /// Records accepted, which is the `seq` of the last one.
    pub seq: u64,
    /// Lines read.
    pub lines: u64,
    /// Lifetime counts by name, such as `("rejected/syntax", 3)`.
    pub counts: Vec<(String, u64)>,
}

/// One model, in words: enough to tell whether it fits a configuration, and to show it without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Its name; its sections lie under `models/NAME/`.
    pub name: String,
    /// The task's word.
    pub task: String,
    /// Everything of the configuration that the shape of the state depends on. State is continued
    /// only where this is equal.
    pub shape: String,
    /// Records it was given.
    pub records: u64,
    /// Lifetime counts by name, such as `("learned", 90211)`.
    pub counts: Vec<(String, u64)>,
    /// JSON text for people: what `/v1/models/NAME` showed at that moment; may be empty.
    pub summary: String,
}

/// A request that was accepted under an idempotency key: sent again, it is answered the same way
/// and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestState {
    /// The source that took it.
    pub source: String,
    /// The key.
    pub key: String,
    /// Records accepted.
    pub accepted: u32,
    /// Lines rejected.
    pub rejected: u32,
    /// When it came, in microseconds since 1970.
    pub received: i64,
}

/// At most so many [`Snapshot::requests`] are read: no daemon writes more.
pub const MAX_REQUESTS: usize = 1 << 20;

/// One moment of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Engine version that wrote it ([`ENGINE`]).
    pub engine: u32,
    /// Program version that wrote it.
    pub version: String,
    /// When it was taken.
    pub taken: Micros,
    /// Records processed, over all sources.
    pub order: u64,
    /// The number of the last frame of the ledger that is in here; 0 where there is no ledger.
    pub ledger_seq: u64,
    /// The requests whose keys are remembered, oldest first.
    pub requests: Vec<RequestState>,
    /// The sources.
    pub sources: Vec<SourceState>,
    /// The streams.
    pub streams: Vec<StreamState>,
    /// The models.
    pub models: Vec<ModelEntry>,
    /// The arrays. Names are unique.
    pub sections: Vec<Section>,
}

impl Snapshot {
    /// The snapshot as the bytes of a file (a valid safetensors file, see the `format` module).
    pub fn encode(&self) -> Vec<u8> {
        format::encode(self)
    }

    /// Reads a snapshot from the bytes of a file; its sections come in the order of their names.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes; never panics, and allocates at most a small multiple of
    /// their number.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        format::decode(bytes)
    }

    /// BLAKE3, in hexadecimal, over the learned sections in the order of their names: for each,
    /// length of the name (u64), name, type (one letter and width), number of entries (u64), and
    /// the entries; all little-endian.
    pub fn digest(&self) -> String {
        let mut learned: Vec<&Section> = self
            .sections
            .iter()
            .filter(|section| section.part == Part::Learned)
            .collect();
        learned.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for section in learned {
            hasher.update(&(section.name.len() as u64).to_le_bytes());
            hasher.update(section.name.as_bytes());
            let (kind, length) = format::kind_and_length(&section.data);
            hasher.update(kind.as_bytes());
            hasher.update(&(length as u64).to_le_bytes());
            bytes.clear();
            format::append_entries(&section.data, &mut bytes);
            hasher.update(&bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The sections by name, for [`crate::base::Reader::new`].
    pub fn reader_sections(&self) -> BTreeMap<String, SectionData> {
        self.sections
            .iter()
            .map(|section| (section.name.clone(), section.data.clone()))
            .collect()
    }

    /// As [`Snapshot::reader_sections`], without copying the arrays: they move out of the snapshot.
    pub fn take_sections(&mut self) -> BTreeMap<String, SectionData> {
        self.sections
            .drain(..)
            .map(|section| (section.name, section.data))
            .collect()
    }
}

/// Bytes as lower-case hexadecimal text inside JSON.
mod hex_text {
    use std::fmt::Write as _;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to memory cannot fail");
        }
        out.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
            .collect();
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(bytes),
            _ => Err(serde::de::Error::custom("not hexadecimal")),
        }
    }

    fn digit(letter: u8) -> Option<u8> {
        match letter {
            b'0'..=b'9' => Some(letter - b'0'),
            b'a'..=b'f' => Some(letter - b'a' + 10),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small snapshot with every type, an empty array, both parts, and awkward numbers and names.
    pub(in super::super) fn sample() -> Snapshot {
        let section = |name: &str, part, data| Section {
            name: name.to_owned(),
            part,
            data,
        };
        Snapshot {
            engine: ENGINE,
            version: "0.1.0".into(),
            taken: Micros(1_795_428_902_113_000),
            order: u64::MAX,
            ledger_seq: 0,
            requests: Vec::new(),
            sources: vec![SourceState {
                name: "orders".into(),
                seq: 9_007_199_254_740_993,
                lines: 12,
                counts: vec![("rejected/syntax".into(), 3)],
            }],
            streams: vec![StreamState {
                source: "orders".into(),
                identity: vec![0, 255, b'"'],
                name: "/var/log/ä \"x\".csv".into(),
                offset: 4096,
                lines: 12,
                header: b"a,b\xff".to_vec(),
                finished: true,
            }],
            models: vec![ModelEntry {
                name: "churn".into(),
                task: "binary".into(),
                shape: "race hash_bits=18".into(),
                records: 9,
                counts: vec![("learned".into(), 9)],
                summary: "{\"loss\":0.25}".into(),
            }],
            sections: vec![
                section(
                    "models/churn/weights",
                    Part::Learned,
                    SectionData::F32(vec![1.5, -0.0, f32::MIN_POSITIVE]),
                ),
                section(
                    "models/churn/sums",
                    Part::Learned,
                    SectionData::F64(vec![0.1, -1e300]),
                ),
                section(
                    "models/churn/slots",
                    Part::Learned,
                    SectionData::U32(vec![7, u32::MAX]),
                ),
                section("alerts/budget", Part::Operations, SectionData::U64(vec![3])),
                section(
                    "models/churn/names \"q\"",
                    Part::Learned,
                    SectionData::U8(b"eins".to_vec()),
                ),
                section(
                    "models/churn/empty",
                    Part::Learned,
                    SectionData::U64(Vec::new()),
                ),
            ],
        }
    }

    #[test]
    fn the_digest_knows_every_learned_bit_and_nothing_else() {
        let base = sample();
        let digest = base.digest();
        assert_eq!(digest.len(), 64);

        let mut same = base.clone();
        same.taken = Micros(0);
        same.order = 1;
        same.streams.clear();
        same.models[0].counts.clear();
        same.sections.reverse();
        same.sections
            .retain(|section| section.part == Part::Learned);
        assert_eq!(same.digest(), digest);

        let mut zero = base.clone();
        zero.sections[0].data = SectionData::F32(vec![1.5, 0.0, f32::MIN_POSITIVE]);
        assert_ne!(zero.digest(), digest, "the sign of zero is state");
        let mut renamed = base.clone();
        renamed.sections[0].name = "models/churn/weighty".into();
        assert_ne!(renamed.digest(), digest);
        let mut retyped = base.clone();
        retyped.sections[5].data = SectionData::U32(Vec::new());
        assert_ne!(retyped.digest(), digest);
    }

    #[test]
    fn the_digest_never_changes_between_releases() {
        // If this fails, the digest's definition changed: every user's recorded digests are void.
        assert_eq!(
            sample().digest(),
            "9bbf9ec2f20b479d417ce6d9723a3e41d7a7dea39cb123271e08a4f42ebd76b6"
        );
    }

    #[test]
    fn sections_are_found_by_name() {
        let mut snapshot = sample();
        let sections = snapshot.reader_sections();
        assert_eq!(sections.len(), 6);
        assert_eq!(sections["alerts/budget"], SectionData::U64(vec![3]));
        assert_eq!(snapshot.take_sections(), sections);
    }
}
