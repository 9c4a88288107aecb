//! Saved state as named arrays: what a component writes, and what it reads back with every
//! length checked.
//!
//! Invariant: a section is plain data under a name; reading one that is missing, of another type
//! or of another length is an error that names it. `state` decides how sections lie in a file.

use std::collections::BTreeMap;

/// The contents of one section.
#[derive(Clone, Debug, PartialEq)]
pub enum SectionData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
    /// Unsigned 64-bit integers.
    U64(Vec<u64>),
    /// Bytes, text among them.
    U8(Vec<u8>),
}

/// Which part of the state a section belongs to (ARCHITECTURE.md, State).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What was learned: under the digest.
    Learned,
    /// How the daemon stands in the world (budgets, incidents, positions): saved, not digested.
    Operations,
}

/// One named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Path-like name, such as `models/churn/learner/weights`.
    pub name: String,
    /// Which part it belongs to.
    pub part: Part,
    /// The contents.
    pub data: SectionData,
}

/// Why state could not be read back.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    /// A section is not there.
    #[error("section {0} is missing")]
    Missing(String),
    /// A section holds another type.
    #[error("section {0} is of another type")]
    Type(String),
    /// A section has another length than its neighbours or the configuration ask for.
    #[error("section {name} has {got} entries, expected {want}")]
    Length {
        /// Its name.
        name: String,
        /// Its length.
        got: usize,
        /// The length expected.
        want: usize,
    },
    /// A value that no running daemon could have written.
    #[error("section {name}: {what}")]
    Invalid {
        /// The section's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Collects sections; names nest with [`Writer::nested`].
#[derive(Debug)]
pub struct Writer {
    prefix: String,
    part: Part,
    sections: Vec<Section>,
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    /// An empty writer, in the learned part.
    pub fn new() -> Writer {
        Writer {
            prefix: String::new(),
            part: Part::Learned,
            sections: Vec::new(),
        }
    }

    /// Everything written.
    pub fn into_sections(self) -> Vec<Section> {
        self.sections
    }

    /// Writes under `name/`.
    pub fn nested(&mut self, name: &str, write: impl FnOnce(&mut Writer)) {
        let length = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('/');
        write(self);
        self.prefix.truncate(length);
    }

    /// Writes into the operations part.
    pub fn operations(&mut self, write: impl FnOnce(&mut Writer)) {
        let before = std::mem::replace(&mut self.part, Part::Operations);
        write(self);
        self.part = before;
    }

    fn push(&mut self, name: &str, data: SectionData) {
        let name = format!("{}{name}", self.prefix);
        self.sections.push(Section {
            name,
            part: self.part,
            data,
        });
    }

    /// 32-bit floats.
    pub fn f32s(&mut self, name: &str, values: &[f32]) {
        self.push(name, SectionData::F32(values.to_vec()));
    }

    /// 64-bit floats.
    pub fn f64s(&mut self, name: &str, values: &[f64]) {
        self.push(name, SectionData::F64(values.to_vec()));
    }

    /// Unsigned 32-bit integers.
    pub fn u32s(&mut self, name: &str, values: &[u32]) {
        self.push(name, SectionData::U32(values.to_vec()));
    }

    /// Unsigned 64-bit integers.
    pub fn u64s(&mut self, name: &str, values: &[u64]) {
        self.push(name, SectionData::U64(values.to_vec()));
    }

    /// Bytes.
    pub fn bytes(&mut self, name: &str, values: &[u8]) {
        self.push(name, SectionData::U8(values.to_vec()));
    }

    /// Text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    /// One float.
    pub fn f64(&mut self, name: &str, value: f64) {
        self.f64s(name, &[value]);
    }

    /// One integer.
    pub fn u64(&mut self, name: &str, value: u64) {
        self.u64s(name, &[value]);
    }

    /// Texts, joined by their lengths (`name/lengths`, `name/bytes`).
    pub fn texts<S: AsRef<str>>(&mut self, name: &str, values: &[S]) {
        let lengths: Vec<u32> = values.iter().map(|s| s.as_ref().len() as u32).collect();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|s| s.as_ref().as_bytes().iter().copied())
            .collect();
        self.nested(name, |w| {
            w.u32s("lengths", &lengths);
            w.bytes("bytes", &bytes);
        });
    }
}

/// Reads sections back; names nest with [`Reader::nested`].
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    prefix: Prefix<'a>,
    sections: &'a BTreeMap<String, SectionData>,
}

/// A chain of names on the stack, so that a nested reader copies nothing.
#[derive(Clone, Copy, Debug)]
struct Prefix<'a> {
    parent: Option<&'a Prefix<'a>>,
    name: &'a str,
}

impl Prefix<'_> {
    fn path(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.path(out);
        }
        if !self.name.is_empty() {
            out.push_str(self.name);
            out.push('/');
        }
    }
}

macro_rules! array {
    ($(#[$doc:meta])* $many:ident, $exactly:ident, $kind:ident, $type:ty) => {
        $(#[$doc])*
        pub fn $many(&self, name: &str) -> Result<&'a [$type], StateError> {
            match self.get(name)? {
                SectionData::$kind(values) => Ok(values),
                _ => Err(StateError::Type(self.full(name))),
            }
        }

        /// As above, of exactly this length.
        pub fn $exactly(&self, name: &str, length: usize) -> Result<&'a [$type], StateError> {
            let values = self.$many(name)?;
            if values.len() == length {
                Ok(values)
            } else {
                Err(StateError::Length { name: self.full(name), got: values.len(), want: length })
            }
        }
    };
}

impl<'a> Reader<'a> {
    /// Reads from sections by name.
    pub fn new(sections: &'a BTreeMap<String, SectionData>) -> Reader<'a> {
        Reader {
            prefix: Prefix {
                parent: None,
                name: "",
            },
            sections,
        }
    }

    /// Reads under `name/`.
    pub fn nested<T>(&self, name: &str, read: impl FnOnce(&Reader<'_>) -> T) -> T {
        read(&Reader {
            prefix: Prefix {
                parent: Some(&self.prefix),
                name,
            },
            sections: self.sections,
        })
    }

    /// Whether there is a section of this name.
    pub fn has(&self, name: &str) -> bool {
        self.sections.contains_key(&self.full(name))
    }

    /// An error about a section whose value makes no sense.
    pub fn invalid(&self, name: &str, what: impl Into<String>) -> StateError {
        StateError::Invalid {
            name: self.full(name),
            what: what.into(),
        }
    }

    fn full(&self, name: &str) -> String {
        let mut path = String::new();
        self.prefix.path(&mut path);
        path.push_str(name);
        path
    }

    fn get(&self, name: &str) -> Result<&'a SectionData, StateError> {
        let full = self.full(name);
        self.sections.get(&full).ok_or(StateError::Missing(full))
    }

    array!(
        /// 32-bit floats.
        f32s, f32s_of, F32, f32
    );
    array!(
        /// 64-bit floats.
        f64s, f64s_of, F64, f64
    );
    array!(
        /// Unsigned 32-bit integers.
        u32s, u32s_of, U32, u32
    );
    array!(
        /// Unsigned 64-bit integers.
        u64s, u64s_of, U64, u64
    );
    array!(
        /// Bytes.
        bytes, bytes_of, U8, u8
    );

    /// One float.
    pub fn f64(&self, name: &str) -> Result<f64, StateError> {
        Ok(self.f64s_of(name, 1)?[0])
    }

    /// One finite float.
    pub fn finite(&self, name: &str) -> Result<f64, StateError> {
        let value = self.f64(name)?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.invalid(name, "not finite"))
        }
    }

    /// One integer.
    pub fn u64(&self, name: &str) -> Result<u64, StateError> {
        Ok(self.u64s_of(name, 1)?[0])
    }

    /// One count, as [`Reader::counts_of`] has them.
    pub fn count(&self, name: &str) -> Result<u64, StateError> {
        Ok(self.counts_of(name, 1)?[0])
    }

    /// So many counts. Nothing counts as far as 2⁶², so whoever goes on counting from there has made
    /// up the state, and would have the sums overflow.
    pub fn counts_of(&self, name: &str, length: usize) -> Result<&'a [u64], StateError> {
        let counts = self.u64s_of(name, length)?;
        if counts.iter().any(|&count| count >= 1 << 62) {
            return Err(self.invalid(name, "beyond counting"));
        }
        Ok(counts)
    }

    /// Text.
    pub fn text(&self, name: &str) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_| self.invalid(name, "not UTF-8"))
    }

    /// Texts, as [`Writer::texts`] wrote them.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, StateError> {
        let lengths = self.u32s(&format!("{name}/lengths"))?;
        let mut bytes = self.bytes(&format!("{name}/bytes"))?;
        let mut out = Vec::with_capacity(lengths.len());
        for &length in lengths {
            let Some((text, rest)) = bytes.split_at_checked(length as usize) else {
                return Err(self.invalid(name, "lengths exceed the bytes"));
            };
            let text = std::str::from_utf8(text).map_err(|_| self.invalid(name, "not UTF-8"))?;
            out.push(text.to_owned());
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(out)
        } else {
            Err(self.invalid(name, "bytes exceed the lengths"))
        }
    }
}

/// Sections as one byte string, for the many small states of a keyed pool.
///
/// Each section: length of its name (u16), the name, its type (u8), its length (u32), its values,
/// all little-endian. The part is not kept: a pool lies in one part as a whole.
pub fn pack(sections: &[Section]) -> Vec<u8> {
    let mut out = Vec::new();
    for section in sections {
        out.extend_from_slice(&(section.name.len() as u16).to_le_bytes());
        out.extend_from_slice(section.name.as_bytes());
        out.push(section.data.kind());
        out.extend_from_slice(&(section.data.len() as u32).to_le_bytes());
        section.data.little_endian(&mut out);
    }
    out
}

/// Sections from [`pack`]; `None` for anything it could not have written.
pub fn unpack(mut bytes: &[u8]) -> Option<BTreeMap<String, SectionData>> {
    let mut out = BTreeMap::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*head) as usize)?;
        let (&kind, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let width = SectionData::width(kind)?;
        let size = (u32::from_le_bytes(*length) as usize).checked_mul(width)?;
        let (values, rest) = rest.split_at_checked(size)?;
        let name = std::str::from_utf8(name).ok()?.to_owned();
        out.insert(name, SectionData::from_little_endian(kind, values)?);
        bytes = rest;
    }
    Some(out)
}

impl SectionData {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            SectionData::F32(v) => v.len(),
            SectionData::F64(v) => v.len(),
            SectionData::U32(v) => v.len(),
            SectionData::U64(v) => v.len(),
            SectionData::U8(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number for the type, in packed form and under the digest.
    pub fn kind(&self) -> u8 {
        match self {
            SectionData::F32(_) => 0,
            SectionData::F64(_) => 1,
            SectionData::U32(_) => 2,
            SectionData::U64(_) => 3,
            SectionData::U8(_) => 4,
        }
    }

    /// Bytes of one value of a kind.
    pub fn width(kind: u8) -> Option<usize> {
        [4, 8, 4, 8, 1].get(kind as usize).copied()
    }

    /// Appends the values, little-endian.
    pub fn little_endian(&self, out: &mut Vec<u8>) {
        match self {
            SectionData::F32(v) => v
                .iter()
                .for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            SectionData::F64(v) => v
                .iter()
                .for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            SectionData::U32(v) => v
                .iter()
                .for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            SectionData::U64(v) => v
                .iter()
                .for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            SectionData::U8(v) => out.extend_from_slice(v),
        }
    }

    /// Values from their little-endian bytes; `None` if the bytes are no whole number of them.
    pub fn from_little_endian(kind: u8, bytes: &[u8]) -> Option<SectionData> {
        fn four<T>(bytes: &[u8], read: fn([u8; 4]) -> T) -> Option<Vec<T>> {
            let (values, rest) = bytes.as_chunks::<4>();
            rest.is_empty()
                .then(|| values.iter().map(|b| read(*b)).collect())
        }
        fn eight<T>(bytes: &[u8], read: fn([u8; 8]) -> T) -> Option<Vec<T>> {
            let (values, rest) = bytes.as_chunks::<8>();
            rest.is_empty()
                .then(|| values.iter().map(|b| read(*b)).collect())
        }
        Some(match kind {
            0 => SectionData::F32(four(bytes, f32::from_le_bytes)?),
            1 => SectionData::F64(eight(bytes, f64::from_le_bytes)?),
            2 => SectionData::U32(four(bytes, u32::from_le_bytes)?),
            3 => SectionData::U64(eight(bytes, u64::from_le_bytes)?),
            4 => SectionData::U8(bytes.to_vec()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_sections_come_back_and_damage_is_seen() {
        let mut w = Writer::new();
        w.f64s("a", &[1.0, -2.5]);
        w.u32s("b", &[7]);
        w.text("c", "x");
        w.f32s("d", &[0.5]);
        w.u64s("e", &[]);
        let sections = w.into_sections();
        let packed = pack(&sections);
        let back = unpack(&packed).unwrap();
        assert_eq!(back.len(), 5);
        for section in &sections {
            assert_eq!(back[&section.name], section.data);
        }
        let ends: Vec<usize> = (1..=5).map(|n| pack(&sections[..n]).len()).collect();
        for cut in (1..packed.len()).filter(|n| !ends.contains(n)) {
            assert_eq!(unpack(&packed[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn reads_back_what_was_written_and_names_what_is_wrong() {
        let mut w = Writer::new();
        w.nested("a", |w| {
            w.f64("x", 1.5);
            w.operations(|w| w.texts("names", &["eins", "", "zwei"]));
        });
        let parts: Vec<(String, Part)> = w
            .sections
            .iter()
            .map(|s| (s.name.clone(), s.part))
            .collect();
        assert_eq!(parts[0], ("a/x".into(), Part::Learned));
        assert_eq!(parts[1].1, Part::Operations);
        let map = w
            .into_sections()
            .into_iter()
            .map(|s| (s.name, s.data))
            .collect();
        let reader = Reader::new(&map);
        reader.nested("a", |r| {
            assert_eq!(r.f64("x"), Ok(1.5));
            assert_eq!(r.texts("names").unwrap(), ["eins", "", "zwei"]);
            assert_eq!(r.f32s("x"), Err(StateError::Type("a/x".into())));
            assert_eq!(r.u64("y"), Err(StateError::Missing("a/y".into())));
            assert!(matches!(
                r.f64s_of("x", 2),
                Err(StateError::Length { got: 1, .. })
            ));
        });
    }
}
