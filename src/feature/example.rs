//! A line that bears its own label and hashed features, and what a plan makes of it: slots in the
//! order of the line, then the constant, then interactions of namespaces, as in Vowpal Wabbit.
//!
//! An interaction of namespaces a, b, c has a feature for each of their features i, j, k:
//! H = 16777619 · (16777619 · i XOR j) XOR k, its value the product. Within one namespace each
//! combination counts once (j from i on).
//!
//! Invariant: what is made of a line depends on the line and the configuration alone.

use super::row::{LabelKind, RowBuffer, WeightValue};
use super::slots::SlotNames;
use crate::base::{Example, HashedFeature};

/// The slot of the constant, before it is cut to the bits there are.
const CONSTANT: u32 = 11_650_396;
/// The prime of the FNV hash.
const PRIME: u32 = 16_777_619;
/// Most features that interactions may make of one record.
const MOST_FEATURES: usize = 1 << 20;

/// A namespace of the line.
#[derive(Clone, Copy, Debug)]
struct Space {
    /// The first byte of its name: what interactions go by.
    first: u8,
    /// Where its name stands in the line.
    name: (u32, u32),
    /// Its first feature; the others follow, up to those of the next namespace.
    start: u32,
}

/// The line, in arrays that the next one reuses.
#[derive(Debug, Default)]
pub(super) struct ExampleBuffer {
    /// Whether there is one.
    present: bool,
    line: Vec<u8>,
    label: Option<f32>,
    weight: Option<f32>,
    initial: f32,
    tag: String,
    spaces: Vec<Space>,
    /// The features, in the order of their namespaces.
    features: Vec<HashedFeature>,
}

impl ExampleBuffer {
    pub fn clear(&mut self) {
        if self.present {
            self.present = false;
            self.spaces.clear();
            self.features.clear();
        }
    }

    /// Whether the record is such a line.
    pub fn is_present(&self) -> bool {
        self.present
    }

    pub fn begin(&mut self, example: &Example<'_>) {
        self.present = true;
        self.line.clear();
        self.line.extend_from_slice(example.line);
        self.label = example.label;
        self.weight = example.weight;
        self.initial = example.initial;
        self.tag.clear();
        self.tag.push_str(example.tag);
    }

    pub fn namespace(&mut self, first: u8, name: (u32, u32)) {
        let start = self.features.len() as u32;
        self.spaces.push(Space { first, name, start });
    }

    #[inline]
    pub fn push(&mut self, feature: HashedFeature) {
        self.features.push(feature);
    }

    fn text(&self, span: (u32, u32)) -> &[u8] {
        self.line
            .get(span.0 as usize..span.1 as usize)
            .unwrap_or_default()
    }

    /// Appends `namespace^feature`, or `namespace^feature^value`.
    fn name(&self, index: u32, out: &mut String) {
        let feature = &self.features[index as usize];
        let begun = self.spaces.partition_point(|space| space.start <= index);
        let space = self.spaces[..begun].last().map_or((0, 0), |s| s.name);
        let space = self.text(space);
        if !space.is_empty() {
            out.push_str(&String::from_utf8_lossy(space));
            out.push('^');
        }
        let name = String::from_utf8_lossy(self.text(feature.name));
        out.push_str(&name.replacen(':', "^", 1));
    }
}

/// What a plan does with such lines.
#[derive(Debug)]
pub(super) struct ExamplePlan {
    /// Namespaces by their first byte.
    interactions: Vec<Vec<u8>>,
    /// The features of each namespace of one interaction; kept for its memory.
    members: Vec<Vec<u32>>,
}

impl ExamplePlan {
    /// Interactions of the names' first bytes. Of several that differ in order alone the first
    /// counts; one that names a namespace twice is put in order, so that its features are
    /// combinations.
    pub fn new(interactions: &[Vec<String>]) -> ExamplePlan {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut kept = Vec::new();
        for names in interactions {
            let letters: Vec<u8> = names.iter().filter_map(|n| n.bytes().next()).collect();
            let mut sorted = letters.clone();
            sorted.sort_unstable();
            if letters.len() < 2 || seen.contains(&sorted) {
                continue;
            }
            let repeats = sorted.windows(2).any(|w| w[0] == w[1]);
            kept.push(if repeats { sorted.clone() } else { letters });
            seen.push(sorted);
        }
        ExamplePlan {
            members: vec![Vec::new(); kept.iter().map(Vec::len).max().unwrap_or(0)],
            interactions: kept,
        }
    }

    /// Reads label, weight, id and features. `constant`: with a constant feature among them.
    pub fn extract(
        &mut self,
        example: &ExampleBuffer,
        mask: u32,
        constant: bool,
        names: Option<&mut SlotNames>,
        row: &mut RowBuffer,
    ) {
        if let Some(label) = example.label {
            row.label = LabelKind::Number(label.into());
        }
        if let Some(weight) = example.weight {
            row.weight = WeightValue::Given(weight.into());
        }
        row.base = example.initial.into();
        row.has_id = !example.tag.is_empty();
        row.id.push_str(&example.tag);
        let features = example.features.iter();
        row.index.extend(features.clone().map(|f| f.hash & mask));
        row.value.extend(features.map(|f| f.value));
        let mut names = names;
        if let Some(names) = names.as_deref_mut() {
            let known = names.known(&row.index);
            for (index, slot) in (known as u32..).zip(&row.index[known..]) {
                names.remember(*slot, |out| example.name(index, out));
            }
        }
        if constant {
            push_constant(mask, names.as_deref_mut(), row);
        }
        let ExamplePlan {
            interactions,
            members,
        } = self;
        for letters in interactions {
            for (letter, members) in letters.iter().zip(&mut *members) {
                members.clear();
                let ends = example.spaces.iter().skip(1).map(|next| next.start);
                let ends = ends.chain([example.features.len() as u32]);
                for (space, end) in example.spaces.iter().zip(ends) {
                    if space.first == *letter {
                        members.extend(space.start..end);
                    }
                }
            }
            let mut combine = Combine {
                example,
                letters,
                members,
                mask,
                names: names.as_deref_mut(),
                row,
                path: [0; PATH],
            };
            if !combine.deepen(0, 0, 0, 1.0) {
                // Not a number: the learner refuses such a record, and it is counted.
                row.value.fill(f32::NAN);
                return;
            }
        }
    }
}

/// Appends the constant.
pub(super) fn push_constant(mask: u32, names: Option<&mut SlotNames>, row: &mut RowBuffer) {
    row.index.push(CONSTANT & mask);
    row.value.push(1.0);
    if let Some(names) = names {
        names.remember(CONSTANT & mask, |out| out.push_str("(constant)"));
    }
}

/// Deepest interaction whose name is kept whole.
const PATH: usize = 8;

/// One interaction on its way through the features.
struct Combine<'a> {
    example: &'a ExampleBuffer,
    letters: &'a [u8],
    members: &'a [Vec<u32>],
    mask: u32,
    names: Option<&'a mut SlotNames>,
    row: &'a mut RowBuffer,
    path: [u32; PATH],
}

impl Combine<'_> {
    /// Goes through the features of the namespace at `depth`, from member `from` on; false where
    /// there are too many.
    fn deepen(&mut self, depth: usize, from: usize, hash: u32, value: f32) -> bool {
        for at in from..self.members[depth].len() {
            let index = self.members[depth][at];
            let feature = self.example.features[index as usize];
            let hash = if depth == 0 {
                feature.hash
            } else {
                hash.wrapping_mul(PRIME) ^ feature.hash
            };
            let value = if depth == 0 {
                feature.value
            } else {
                value * feature.value
            };
            if let Some(place) = self.path.get_mut(depth) {
                *place = index;
            }
            if depth + 1 < self.letters.len() {
                let same = self.letters[depth] == self.letters[depth + 1];
                if !self.deepen(depth + 1, if same { at } else { 0 }, hash, value) {
                    return false;
                }
                continue;
            }
            if self.row.index.len() >= MOST_FEATURES {
                return false;
            }
            let slot = hash & self.mask;
            self.row.index.push(slot);
            self.row.value.push(value);
            if let Some(names) = &mut self.names {
                let (example, path) = (self.example, &self.path[..=depth.min(PATH - 1)]);
                names.remember(slot, |out| {
                    for (i, index) in path.iter().enumerate() {
                        if i > 0 {
                            out.push('*');
                        }
                        example.name(*index, out);
                    }
                });
            }
        }
        true
    }
}
