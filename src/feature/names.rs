//! Names to small numbers, in order of first appearance, bounded.
//!
//! Invariant: a name once numbered keeps its number; beyond the limits of the table (in names and
//! in bytes) new names get none, so names from the network cannot fill the memory.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::quality::FixedState;

/// An open-addressed hash table over names that lie one after the other in one buffer.
#[derive(Clone, Debug)]
pub(super) struct NameTable {
    hasher: FixedState,
    most_names: usize,
    most_bytes: usize,
    bytes: Vec<u8>,
    /// Where each name ends in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    hashes: Vec<u64>,
    /// Numbers by hash, linear probing; a power of two, at most half full.
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

impl NameTable {
    /// A table of at most so many names and bytes. The seed is what keeps a sender from choosing
    /// names that collide; nothing but speed depends on it.
    pub fn new(most_names: usize, most_bytes: usize, seed: u64) -> NameTable {
        NameTable {
            hasher: FixedState::with_seed(seed),
            most_names,
            most_bytes,
            bytes: Vec::new(),
            ends: Vec::new(),
            hashes: Vec::new(),
            slots: vec![EMPTY; 64],
        }
    }

    /// How many names it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name with this number.
    #[inline]
    pub fn name(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = if number == 0 {
            0
        } else {
            self.ends[number - 1]
        };
        &self.bytes[start as usize..self.ends[number] as usize]
    }

    /// The hash by which names are found.
    pub fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    /// The number of a name.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.probe(name, self.hash(name)).ok()
    }

    /// The number of a name, which gets one if it is new and there is room.
    pub fn find_or_insert(&mut self, name: &[u8]) -> Option<u32> {
        let hash = self.hash(name);
        let slot = match self.probe(name, hash) {
            Ok(number) => return Some(number),
            Err(slot) => slot,
        };
        let end = self.bytes.len() + name.len();
        if self.len() >= self.most_names || end > self.most_bytes {
            return None;
        }
        let number = self.len() as u32;
        self.bytes.extend_from_slice(name);
        self.ends.push(end as u32);
        self.hashes.push(hash);
        self.slots[slot] = number;
        if self.len() * 2 > self.slots.len() {
            self.grow();
        }
        Some(number)
    }

    /// The number of a name, or else the slot where it belongs.
    fn probe(&self, name: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let number = self.slots[slot];
            if number == EMPTY {
                return Err(slot);
            }
            if self.hashes[number as usize] == hash && same(self.name(number), name) {
                return Ok(number);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        let mut slots = vec![EMPTY; mask + 1];
        for (number, hash) in self.hashes.iter().enumerate() {
            let mut slot = *hash as usize & mask;
            while slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            slots[slot] = number as u32;
        }
        self.slots = slots;
    }
}

/// Whether two names are the same; names are short, and a call to compare memory is not.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (Some(a8), Some(b8)) = (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        return if a.len() <= 16 {
            a8 == b8 && a.last_chunk::<8>() == b.last_chunk::<8>()
        } else {
            a == b
        };
    }
    if let (Some(a4), Some(b4)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        return a4 == b4 && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    std::iter::zip(a, b).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_if_every_byte_is() {
        for length in 0..40 {
            let name = vec![b'x'; length];
            assert!(same(&name, &name.clone()));
            assert!(!same(&name, &vec![b'x'; length + 1]));
            for i in 0..length {
                let mut other = name.clone();
                other[i] = b'y';
                assert!(!same(&name, &other), "{length} {i}");
            }
        }
    }

    #[test]
    fn numbers_names_in_order_of_appearance_up_to_its_limits() {
        let mut table = NameTable::new(500, 1 << 20, 7);
        for round in 0..2 {
            for i in 0..500 {
                let name = format!("name{i}");
                assert_eq!(table.find_or_insert(name.as_bytes()), Some(i), "{round}");
                assert_eq!(table.name(i), name.as_bytes());
            }
        }
        assert_eq!(table.find_or_insert(b"one more"), None);
        assert_eq!(table.find(b"one more"), None);
        assert_eq!(table.find(b"name499"), Some(499));

        let mut short = NameTable::new(500, 5, 7);
        assert_eq!(short.find_or_insert(b"abc"), Some(0));
        assert_eq!(short.find_or_insert(b"defg"), None);
        assert_eq!(short.find_or_insert(b""), Some(1));
        assert_eq!(short.find_or_insert(b"de"), Some(2));
    }
}
