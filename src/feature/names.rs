//! Names to small numbers, in order of first appearance, bounded.
//!
//! Invariant: a name once numbered keeps its number; beyond the limits of the table (in names and
//! in bytes) new names get none, so names from the network cannot fill the memory.

#![allow(
    clippy::inline_always,
    reason = "a few instructions in the loop over fields, which calls would double"
)]

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;

/// Stands for a name that a table has no room for.
pub(super) const NO_ID: u32 = u32::MAX;

/// Longest name that is its own key.
const LONGEST_SHORT: usize = 15;

/// Such a name with its quotes and a colon.
const LONGEST_MEMBER: usize = LONGEST_SHORT + 3;

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// By number of bytes: which bits of two words they are.
const FIRST_BYTES: [[u64; 2]; 16] = {
    let mut masks = [[0; 2]; 16];
    let mut bytes = 1;
    while bytes < 16 {
        masks[bytes] = masks[bytes - 1];
        masks[bytes][(bytes - 1) / 8] |= 0xff << ((bytes - 1) % 8 * 8);
        bytes += 1;
    }
    masks
};

/// What a name is compared by.
///
/// Short plain names (at most 15 bytes, that stand in a line of JSON as they are, without escapes)
/// are their own key: the bytes, zeros after them, and in the last byte the length and one more. Of
/// any other name it is a hash, with 255 in the last byte; so the key of a plain name is never
/// that of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Key([u64; 2]);

impl Key {
    fn short(words: [u64; 2], length: usize) -> Key {
        Key([words[0], words[1] | (length as u64 + 1) << 56])
    }

    fn long(hash: u64) -> Key {
        Key([hash, 0xff << 56])
    }

    fn is_short(self) -> bool {
        self.0[1] >> 56 != 0xff
    }
}

/// Bits of an entry that are the name's number; the others are a part of its hash.
const NUMBER_BITS: u32 = 20;
/// Those bits.
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;
/// An entry without a name: no name has this number.
const EMPTY: u32 = u32::MAX;
/// Entries that are looked at together: one part of a line of the cache.
const BUCKET: usize = 4;

/// A hash table of names, with all names one after the other in a buffer beside it.
///
/// The table itself holds four bytes a name, and what a name is compared by lies in the order of the
/// numbers. So the names that occur in most lines, which got the lowest numbers, lie together, and
/// of a name that occurs nearly nothing lies in the cache.
#[derive(Clone, Debug)]
pub(super) struct NameTable {
    hasher: FixedState,
    /// What the hash of short names depends on; made from the seed.
    secret: [u64; 2],
    most_names: usize,
    most_bytes: usize,
    bytes: Vec<u8>,
    /// Where each name ends in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    /// By number.
    keys: Vec<Key>,
    /// Entries fill a bucket from its beginning, then go to the next one. A power of two, with room
    /// for at least twice the names.
    buckets: Vec<[u32; BUCKET]>,
}

impl NameTable {
    /// A table of at most so many names (never more than a million) and bytes. The seed is what
    /// keeps a sender from choosing names that collide; nothing but speed depends on it.
    pub fn new(most_names: usize, most_bytes: usize, seed: u64) -> NameTable {
        let hasher = FixedState::with_seed(seed);
        NameTable {
            secret: [hasher.hash_one(1u64), hasher.hash_one(2u64)],
            hasher,
            most_names: most_names.min(NUMBER as usize),
            most_bytes,
            bytes: Vec::new(),
            ends: Vec::new(),
            keys: Vec::new(),
            buckets: vec![[EMPTY; BUCKET]; 16],
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

    /// The number of a name.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.probe(name, self.key(name)).ok()
    }

    /// The number of a name, which gets one if it is new and there is room.
    pub fn find_or_insert(&mut self, name: &[u8]) -> Option<u32> {
        let key = self.key(name);
        let (bucket, entry) = match self.probe(name, key) {
            Ok(number) => return Some(number),
            Err(place) => place,
        };
        let end = self.bytes.len() + name.len();
        if self.len() >= self.most_names || end > self.most_bytes {
            return None;
        }
        let number = self.len() as u32;
        self.buckets[bucket][entry] = tag(self.hash(key)) | number;
        self.bytes.extend_from_slice(name);
        self.ends.push(end as u32);
        self.keys.push(key);
        if self.len() * 2 > self.buckets.len() * BUCKET {
            self.grow();
        }
        Some(number)
    }

    /// If `rest` begins with a quoted plain name of the table and a colon: its number, and how many
    /// bytes that is with quotes and colon. `None` says nothing of what is there.
    #[inline]
    pub fn find_member(&self, rest: &[u8]) -> Option<(u32, usize)> {
        let last;
        let member: &[u8; LONGEST_MEMBER] = if let Some(member) = rest.first_chunk() {
            member
        } else {
            last = last_member(rest);
            &last
        };
        let [low, high] = words(member[1..].first_chunk()?);
        let quote_in = |word: u64| below(word ^ (ONES * b'"' as u64), 1) & HIGH;
        let length = match quote_in(low) {
            0 => 8 + quote_in(high).trailing_zeros() / 8,
            mark => mark.trailing_zeros() / 8,
        } as usize;
        let mask = FIRST_BYTES.get(length)?;
        if member[0] != b'"' || member[length + 2] != b':' {
            return None;
        }
        let key = Key::short([low & mask[0], high & mask[1]], length);
        let hash = self.hash(key);
        let tag = tag(hash);
        // All entries of the bucket without a branch, which would wait for them and often be
        // mispredicted. Where it is none of these, or two are alike, the long way finds it.
        let mut number = NUMBER;
        for entry in self.buckets[self.bucket_of(hash)] {
            let other = entry ^ tag;
            number = if other <= NUMBER { other } else { number };
        }
        if self.keys.get(number as usize) != Some(&key) {
            number = self.probe_key(key, |_| true).ok()?;
        }
        Some((number, length + 3))
    }

    fn key(&self, name: &[u8]) -> Key {
        if let Some(words) = short_words(name) {
            let mask = FIRST_BYTES[name.len()];
            let special = |word: u64| {
                below(word, 0x20)
                    | below(word ^ (ONES * b'"' as u64), 1)
                    | below(word ^ (ONES * b'\\' as u64), 1)
            };
            // Marks are exact up to the first, and padding comes after it.
            let marks = (special(words[0]) & mask[0]) | (special(words[1]) & mask[1]);
            if marks & HIGH == 0 {
                return Key::short(words, name.len());
            }
        }
        Key::long(self.hasher.hash_one(name))
    }

    /// The product of two words that nobody knows without the seed, folded to one.
    #[inline]
    fn hash(&self, key: Key) -> u64 {
        let [a, b] = [key.0[0] ^ self.secret[0], key.0[1] ^ self.secret[1]];
        let product = u128::from(a).wrapping_mul(b.into());
        product as u64 ^ (product >> 64) as u64
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// The number of a name, or else the bucket and entry where it belongs.
    fn probe(&self, name: &[u8], key: Key) -> Result<u32, (usize, usize)> {
        self.probe_key(key, |number| {
            key.is_short() || same(self.name(number), name)
        })
    }

    #[inline(never)]
    fn probe_key(&self, key: Key, is_it: impl Fn(u32) -> bool) -> Result<u32, (usize, usize)> {
        let hash = self.hash(key);
        let tag = tag(hash);
        let mut bucket = self.bucket_of(hash);
        loop {
            for (i, entry) in self.buckets[bucket].iter().enumerate() {
                if *entry == EMPTY {
                    return Err((bucket, i));
                }
                let number = entry ^ tag;
                if number <= NUMBER && self.keys[number as usize] == key && is_it(number) {
                    return Ok(number);
                }
            }
            bucket = (bucket + 1) & (self.buckets.len() - 1);
        }
    }

    fn grow(&mut self) {
        let count = self.buckets.len() * 2;
        self.buckets.clear();
        self.buckets.resize(count, [EMPTY; BUCKET]);
        for (number, key) in (0..).zip(&self.keys) {
            // Every name is in the table once, so that none is found.
            if let Err((bucket, entry)) = self.probe_key(*key, |_| false) {
                self.buckets[bucket][entry] = tag(self.hash(*key)) | number;
            }
        }
    }
}

/// The last member of a line, with zeros after it.
#[cold]
#[inline(never)]
fn last_member(rest: &[u8]) -> [u8; LONGEST_MEMBER] {
    let mut member = [0; LONGEST_MEMBER];
    for (to, from) in member.iter_mut().zip(rest) {
        *to = *from;
    }
    member
}

/// The part of a hash that stands in an entry beside the number.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 & !NUMBER
}

/// A quoted name with its colon, as it stands in a line where nothing is escaped or spaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    words: [u64; 2],
    mask: [u64; 2],
    length: u32,
}

impl Token {
    /// Of a plain name of at most 12 bytes. Of any other: one that nothing begins with.
    pub fn of(name: &[u8]) -> Token {
        let plain = |b: &u8| *b >= b' ' && !matches!(b, b'"' | b'\\');
        let length = name.len() + 3;
        if length > LONGEST_SHORT || !name.iter().all(plain) {
            return Token {
                // No such byte is in any text.
                words: [u64::MAX; 2],
                mask: [u64::MAX; 2],
                length: 0,
            };
        }
        let mut bytes = [0; 16];
        bytes[0] = b'"';
        bytes[1..=name.len()].copy_from_slice(name);
        bytes[name.len() + 1..length].copy_from_slice(b"\":");
        Token {
            words: words(&bytes),
            mask: FIRST_BYTES[length],
            length: length as u32,
        }
    }

    /// How many bytes it has, if `rest` begins with it.
    #[inline(always)]
    pub fn begins(&self, rest: &[u8]) -> Option<u32> {
        let words = match rest.first_chunk() {
            Some(chunk) => words(chunk),
            None => short_words(rest)?,
        };
        let differ = ((words[0] ^ self.words[0]) & self.mask[0])
            | ((words[1] ^ self.words[1]) & self.mask[1]);
        (differ == 0).then_some(self.length)
    }
}

/// Marks bytes below a limit of at most 128 in their highest bits; exact up to the lowest mark,
/// since borrows only run upwards (Mycroft's test for a zero byte).
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word
}

/// Sixteen bytes as two words.
#[inline(always)]
fn words(bytes: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*bytes);
    [both as u64, (both >> 64) as u64]
}

/// All bytes, zeros after them; `None` of more than fifteen.
#[inline(never)]
fn short_words(bytes: &[u8]) -> Option<[u64; 2]> {
    if bytes.len() > LONGEST_SHORT {
        return None;
    }
    let (first, rest) = match bytes.split_first_chunk::<8>() {
        Some((first, rest)) => (u64::from_le_bytes(*first), rest),
        None => (0, bytes),
    };
    // Up to seven bytes from both of their ends; where the two meet, they agree.
    let length = rest.len();
    let word = if let (Some(a), Some(b)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let [a, b] = [a, b].map(|four| u64::from(u32::from_le_bytes(*four)));
        a | b << (8 * (length - 4))
    } else if let (Some(a), Some(b)) = (rest.first(), rest.last()) {
        let middle = rest[length / 2];
        let [a, m, b] = [*a, middle, *b].map(u64::from);
        a | m << (8 * (length / 2)) | b << (8 * (length - 1))
    } else {
        0
    };
    Some(if bytes.len() < 8 {
        [word, 0]
    } else {
        [first, word]
    })
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
    fn a_short_name_and_the_same_bytes_in_a_line_have_the_same_key() {
        let mut table = NameTable::new(100, 1 << 20, 7);
        let all = b"abcdefghijklmnopq";
        for length in 0..=all.len() {
            let name = &all[..length];
            let id = table.find_or_insert(name).unwrap();
            let member = [b"\"", name, b"\":1.5 and what follows it"].concat();
            let found = table.find_member(&member);
            assert_eq!(found, (length <= LONGEST_SHORT).then_some((id, length + 3)));
            for other in [
                [b"\"", name, b"\" :1.5 and what follows it"].concat(),
                [b"'", name, b"\":1.5 and what follows it"].concat(),
                [b"\"", name, b"!\":1.5 and what follows it"].concat(),
                [b"\"", name, b"\\\":1.5 and what follows it"].concat(),
            ] {
                assert!(table.find_member(&other).is_none(), "{length}");
            }
        }
    }

    #[test]
    fn a_name_that_needs_escapes_is_not_found_without_them() {
        let mut table = NameTable::new(100, 1 << 20, 7);
        for name in [b"a\nb".as_slice(), b"\\", b"\0", b"abcdefgh\x1f"] {
            let id = table.find_or_insert(name);
            assert!(id.is_some() && table.find(name) == id);
            let member = [b"\"", name, b"\":1.5 and what follows it"].concat();
            assert!(table.find_member(&member).is_none());
            assert_eq!(Token::of(name).begins(&member), None);
        }
    }

    #[test]
    fn every_one_of_many_names_is_found_where_a_member_begins() {
        let mut table = NameTable::new(usize::MAX, usize::MAX, 7);
        // So many that buckets overflow.
        for i in 0..40_000 {
            let id = table.find_or_insert(format!("w{i}").as_bytes());
            assert_eq!(id, Some(i));
        }
        for i in 0..50_000 {
            let known = (i < 40_000).then_some((i, i.to_string().len() + 4));
            for behind in ["1,\"and what follows\":2", "1}", ""] {
                let member = format!("\"w{i}\":{behind}");
                assert_eq!(table.find_member(member.as_bytes()), known);
            }
        }
    }

    #[test]
    fn a_token_begins_a_member_of_its_name_and_no_other() {
        for name in ["", "x", "x12", "abcdefgh", "abcdefghijkl"] {
            let token = Token::of(name.as_bytes());
            for value in ["", "1", "1.25", "\"a text that is long enough\""] {
                let member = format!("\"{name}\":{value}");
                assert_eq!(token.begins(member.as_bytes()), Some(name.len() as u32 + 3));
                for other in [
                    format!("\"{name}x\":{value}"),
                    format!("\"{name}\" :{value}"),
                    format!("\"{name}\""),
                ] {
                    assert_eq!(token.begins(other.as_bytes()), None, "{other}");
                }
            }
        }
        let long = b"\"abcdefghijklm\":1";
        assert_eq!(Token::of(b"abcdefghijklm").begins(long), None);
    }

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
