//! Which feature first used a slot of the hashed part, for people who read weights.
//!
//! Invariant: nothing learned depends on it. It is filled in order, first come, and bounded.

use std::collections::HashMap;

use foldhash::quality::FixedState;

use crate::base::{Reader, StateError, Writer};

/// Most slots whose names are kept.
const MOST_SLOTS: usize = 65_536;

/// Longest name that is kept, in bytes; longer ones are cut.
const LONGEST_NAME: usize = 128;

/// Bits of the longest map of slots that have a name.
const MOST_BITS: u32 = 22;

/// The names of slots.
#[derive(Debug)]
pub(super) struct SlotNames {
    /// Slot to index in `slots`. Never iterated.
    index: HashMap<u32, u32, FixedState>,
    /// A bit for each slot that has a name, cut to the lowest bits of the slot: a look-up for each
    /// feature of each record would cost more than the feature.
    named: Vec<u64>,
    /// The bits tell every slot apart.
    exact: bool,
    slots: Vec<u32>,
    /// Where each name ends in `text`.
    ends: Vec<u32>,
    text: String,
}

impl SlotNames {
    /// For the slots of a hashed part cut by `mask`.
    pub fn new(mask: u32) -> SlotNames {
        let bits = mask.count_ones();
        SlotNames {
            named: vec![0; (1 << bits.min(MOST_BITS)) / 64 + 1],
            exact: bits <= MOST_BITS,
            index: HashMap::with_hasher(FixedState::with_seed(0)),
            slots: Vec::new(),
            ends: Vec::new(),
            text: String::new(),
        }
    }

    /// For how many of these slots, from the first one on, there is surely nothing to keep.
    pub fn known(&self, slots: &[u32]) -> usize {
        if self.is_full() {
            slots.len()
        } else if self.exact {
            let new = slots.iter().position(|slot| !self.is_named(*slot));
            new.unwrap_or(slots.len())
        } else {
            0
        }
    }

    /// Whether no further name is kept.
    fn is_full(&self) -> bool {
        self.slots.len() >= MOST_SLOTS
    }

    /// Whether the slot, or another with the same lowest bits, has a name.
    #[inline]
    fn is_named(&self, slot: u32) -> bool {
        let bit = slot as usize & ((1 << MOST_BITS) - 1);
        self.named
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    /// Keeps a name for a slot that has none; `write` appends it.
    #[inline]
    pub fn remember(&mut self, slot: u32, write: impl FnOnce(&mut String)) {
        let named = self.is_named(slot);
        if !(named && self.exact) {
            self.keep(slot, named, write);
        }
    }

    /// As [`SlotNames::remember`], of a slot that has none as far as the bits tell.
    #[cold]
    #[inline(never)]
    fn keep(&mut self, slot: u32, maybe: bool, write: impl FnOnce(&mut String)) {
        if self.is_full() || (maybe && self.index.contains_key(&slot)) {
            return;
        }
        let bit = slot as usize & ((1 << MOST_BITS) - 1);
        self.named[bit / 64] |= 1 << (bit % 64);
        let start = self.text.len();
        write(&mut self.text);
        let longest = self.text.floor_char_boundary(start + LONGEST_NAME);
        self.text.truncate(longest);
        self.index.insert(slot, self.slots.len() as u32);
        self.slots.push(slot);
        self.ends.push(self.text.len() as u32);
    }

    /// The name kept for a slot.
    pub fn name(&self, slot: u32) -> Option<&str> {
        self.index.get(&slot).map(|i| self.name_at(*i as usize))
    }

    fn name_at(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start as usize..self.ends[index] as usize]
    }

    pub fn save(&self, out: &mut Writer) {
        let names: Vec<&str> = (0..self.slots.len()).map(|i| self.name_at(i)).collect();
        out.u32s("slots", &self.slots);
        out.texts("slot_names", &names);
    }

    pub fn load(&mut self, from: &Reader<'_>, mask: u32) -> Result<(), StateError> {
        let names = from.texts("slot_names")?;
        let slots = from.u32s_of("slots", names.len())?;
        if slots.len() > MOST_SLOTS {
            return Err(from.invalid("slots", "more than are ever kept"));
        }
        self.index.clear();
        self.named.fill(0);
        self.slots.clear();
        self.ends.clear();
        self.text.clear();
        for (slot, name) in slots.iter().zip(&names) {
            if slot & mask != *slot {
                return Err(from.invalid("slots", "beyond the hashed part"));
            }
            self.remember(*slot, |text| text.push_str(name));
        }
        if self.slots.len() == slots.len() {
            Ok(())
        } else {
            Err(from.invalid("slots", "the same slot twice"))
        }
    }
}
