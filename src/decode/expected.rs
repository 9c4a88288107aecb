//! The names of the line before, by their places: in dense lines the name at a place is nearly always
//! the same, and need not be looked for and hashed again.
//!
//! Invariant: only for speed. A name is foreseen only if every byte of it and the colon behind it
//! stand in the line, and was hashed from the same seed; it was checked when it was kept.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the innermost loops, which calls would double"
)]

use super::word::{before, word_at};

/// Longest name that is kept: with its colon it fills two words.
const LONGEST: usize = 15;
/// Most places.
const MOST_PLACES: usize = 1024;
/// Most lines for which it rests where names do not recur.
const LONGEST_REST: u32 = 63;

/// A name with its colon, zeros behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    words: [u64; 2],
    /// Ones for the bytes that count.
    masks: [u64; 2],
    /// What it was hashed from.
    seed: u32,
    /// Its hash.
    pub hash: u32,
    length: u32,
}

impl Name {
    /// How long it is, without the colon: at most 15.
    #[inline(always)]
    pub fn length(&self) -> usize {
        (self.length & 15) as usize
    }

    /// Whether it stands where these words were read and is hashed from this seed.
    #[inline(always)]
    pub fn is(&self, word: u64, next: impl FnOnce() -> u64, seed: u32) -> bool {
        (word ^ self.words[0]) & self.masks[0] == 0
            && self.seed == seed
            && (self.masks[1] == 0 || (next() ^ self.words[1]) & self.masks[1] == 0)
    }
}

/// At a place of whose name nothing is known: this one has no colon.
const NOTHING: Name = Name {
    words: [1; 2],
    masks: [u64::MAX; 2],
    seed: 0,
    hash: 0,
    length: 0,
};

/// The names that are expected.
#[derive(Debug, Default)]
pub(super) struct Expected {
    names: Vec<Name>,
    /// Lines for which it still rests.
    resting: u32,
    /// How long it rested the last time.
    rest: u32,
    /// Names of this line that were not foreseen.
    missed: usize,
}

impl Expected {
    /// Begins a line; whether it is worth while to ask.
    #[inline]
    pub fn begin(&mut self) -> bool {
        self.missed = 0;
        let rests = self.resting > 0;
        self.resting -= u32::from(rests);
        !rests
    }

    /// Ends a line of so many features, for which it was asked.
    #[inline]
    pub fn end(&mut self, features: usize) {
        if 2 * self.missed <= features {
            self.rest = 0;
        } else {
            self.rest = (2 * self.rest + 1).min(LONGEST_REST);
            self.resting = self.rest;
        }
    }

    /// The names by their places.
    #[inline(always)]
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The name `line[at..named]` was not foreseen: kept for this place, if a colon follows it.
    #[inline(never)]
    pub fn miss(
        &mut self,
        place: usize,
        line: &[u8],
        (at, named): (usize, usize),
        (seed, hash): (u32, u32),
    ) {
        let length = named - at;
        let known = self.names.get(place);
        let next = || word_at(line, at + 8);
        if known.is_some_and(|known| known.is(word_at(line, at), next, seed)) {
            // It was not the name.
            return;
        }
        self.missed += 1;
        if place >= MOST_PLACES || length == 0 || length > LONGEST || line.get(named) != Some(&b':')
        {
            return;
        }
        if self.names.len() <= place {
            self.names.resize(place + 1, NOTHING);
        }
        let counted = length + 1;
        let mask = |count: usize| {
            if count >= 8 {
                u64::MAX
            } else {
                before(u64::MAX, 8 * count as u32)
            }
        };
        let masks = [mask(counted), mask(counted.saturating_sub(8))];
        self.names[place] = Name {
            words: [
                word_at(line, at) & masks[0],
                word_at(line, at + 8) & masks[1],
            ],
            masks,
            length: length as u32,
            seed,
            hash,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_foreseen_only_where_all_of_it_stands_before_a_colon() {
        let mut expected = Expected::default();
        for length in 1..=LONGEST {
            let name = &b"abcdefghijklmno"[..length];
            let line = [name, b":1"].concat();
            assert!(expected.begin());
            expected.miss(3, &line, (0, length), (7, 9));
            let known = expected.names()[3];
            let found = |line: &[u8], seed| known.is(word_at(line, 0), || word_at(line, 8), seed);
            assert_eq!((known.length(), known.hash), (length, 9));
            assert!(found(&line, 7));
            assert!(!found(&line, 8));
            assert!(!found(name, 7));
            for i in 0..=length {
                let mut other = line.clone();
                other[i] ^= 0x80;
                assert!(!found(&other, 7), "{length} {i}");
            }
            assert!(!expected.names()[2].is(word_at(&line, 0), || word_at(&line, 8), 0));
            expected.end(2);
        }
    }

    #[test]
    fn it_rests_where_names_do_not_recur_and_asks_again_later() {
        let mut expected = Expected::default();
        let mut asked = 0;
        for line in 0..1000u32 {
            if expected.begin() {
                asked += 1;
                let name = format!("{line}:");
                for place in 0..9 {
                    expected.miss(place, name.as_bytes(), (0, name.len() - 1), (0, 0));
                }
                expected.end(9);
            }
        }
        assert!((10..=30).contains(&asked), "{asked}");
        while !expected.begin() {}
        expected.end(9);
        assert!(expected.begin());
    }
}
