//! Hashes whose values are part of saved state and of event ids, so they never change.
//!
//! `murmur3_32` is Appleby's MurmurHash3_x86_32, the hash of Vowpal Wabbit and scikit-learn;
//! `hash64` is his MurmurHash64A. Neither resists an attacker, seed or no seed: there are names that
//! collide under every seed of `murmur3_32`. Where that matters (`hash_key_file`) names are hashed by
//! [`NameHash`] with a key: SipHash-1-3 (Aumasson and Bernstein).

use std::hint::select_unpredictable;

/// MurmurHash3_x86_32.
pub fn murmur3_32(bytes: &[u8], seed: u32) -> u32 {
    let mut h = seed;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        h = with_block(h, u32::from_le_bytes(*block));
    }
    let rest = match (tail, bytes.last_chunk::<4>()) {
        ([], _) => 0,
        // The last four bytes, of which the first are in the last block already.
        (_, Some(last)) => u32::from_le_bytes(*last) >> (8 * (4 - tail.len())),
        (_, None) => tail.iter().rev().fold(0, |k, b| k << 8 | u32::from(*b)),
    };
    finished(with_rest(h, rest), bytes.len() as u32)
}

/// [`murmur3_32`] of up to seven bytes, the first the lowest of `word`, which has zeros after them.
#[inline]
pub fn murmur3_32_of_word(word: u64, length: usize, seed: u32) -> u32 {
    let (low, high) = (word as u32, (word >> 32) as u32);
    // Lengths of words of a text are as good as random: both ways are computed, none is jumped to.
    let (long, short) = ((with_block(seed, low), high), (seed, low));
    let h = select_unpredictable(length >= 4, long.0, short.0);
    let rest = select_unpredictable(length >= 4, long.1, short.1);
    finished(with_rest(h, rest), length as u32)
}

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

#[inline]
fn with_block(h: u32, block: u32) -> u32 {
    with_rest(h, block)
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xe654_6b64)
}

/// No bytes leave the hash as it is, as zeros do.
#[inline]
fn with_rest(h: u32, rest: u32) -> u32 {
    h ^ rest.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

#[inline]
fn finished(h: u32, length: u32) -> u32 {
    let mut h = h ^ length;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// The hash of names, by a secret key where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHash {
    key: u64,
}

impl NameHash {
    /// With this key; 0 is none, and the hash is `murmur3_32` then.
    pub fn new(key: u64) -> NameHash {
        NameHash { key }
    }

    /// The hash of a name, after what `seed` stands for: the hash of what came before it, or 0.
    #[inline]
    pub fn hash(self, bytes: &[u8], seed: u32) -> u32 {
        if self.key == 0 {
            murmur3_32(bytes, seed)
        } else {
            siphash13(bytes, self.key, self.key.rotate_left(32) ^ u64::from(seed)) as u32
        }
    }
}

/// SipHash-1-3 with the key (k0, k1): nobody without the key finds two inputs of one hash other than
/// by chance.
fn siphash13(bytes: &[u8], k0: u64, k1: u64) -> u64 {
    fn round(v: &mut [u64; 4]) {
        v[0] = v[0].wrapping_add(v[1]);
        v[2] = v[2].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[1]);
        v[0] = v[0].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].rotate_left(32);
    }
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (blocks, tail) = bytes.as_chunks::<8>();
    let mut last = (bytes.len() as u64) << 56;
    for (i, &b) in tail.iter().enumerate() {
        last |= u64::from(b) << (8 * i);
    }
    let whole = blocks.iter().map(|block| u64::from_le_bytes(*block));
    for block in whole.chain([last]) {
        v[3] ^= block;
        round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    (0..3).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// MurmurHash64A.
pub fn hash64(bytes: &[u8], seed: u64) -> u64 {
    let mut h = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (blocks, tail) = bytes.as_chunks::<8>();
    for block in blocks {
        h = (h ^ mixed(u64::from_le_bytes(*block))).wrapping_mul(M);
    }
    if !tail.is_empty() {
        h = (h ^ last_of(bytes, tail)).wrapping_mul(M);
    }
    avalanche(h)
}

/// Two independent 64-bit hashes side by side ([`hash64`] with two seeds), for ids that must not
/// meet by chance. One pass: each waits for its own multiplications only.
pub fn hash128(bytes: &[u8], seed: u64) -> u128 {
    let length = (bytes.len() as u64).wrapping_mul(M);
    let mut high = seed ^ length;
    let mut low = seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15 ^ length;
    let (blocks, tail) = bytes.as_chunks::<8>();
    for block in blocks {
        let k = mixed(u64::from_le_bytes(*block));
        high = (high ^ k).wrapping_mul(M);
        low = (low ^ k).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let k = last_of(bytes, tail);
        high = (high ^ k).wrapping_mul(M);
        low = (low ^ k).wrapping_mul(M);
    }
    u128::from(avalanche(high)) << 64 | u128::from(avalanche(low))
}

/// The multiplier of MurmurHash64A.
const M: u64 = 0xc6a4_a793_5bd1_e995;

/// A block before it goes into the hash.
fn mixed(block: u64) -> u64 {
    let k = block.wrapping_mul(M);
    (k ^ (k >> 47)).wrapping_mul(M)
}

/// What the blocks leave of `bytes`, at least one and fewer than eight, as a number.
fn last_of(bytes: &[u8], tail: &[u8]) -> u64 {
    match bytes.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * tail.len()),
        None => tail.iter().rev().fold(0, |k, b| k << 8 | u64::from(*b)),
    }
}

/// The avalanche at the end.
fn avalanche(h: u64) -> u64 {
    let h = (h ^ (h >> 47)).wrapping_mul(M);
    h ^ (h >> 47)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_gives_the_reference_values() {
        // From the reference implementation's published test vectors.
        assert_eq!(murmur3_32(b"", 0), 0);
        assert_eq!(murmur3_32(b"", 1), 0x514e_28b7);
        assert_eq!(murmur3_32(b"test", 0x9747_b28c), 0x704b_81dc);
        assert_eq!(murmur3_32(b"Hello, world!", 0x9747_b28c), 0x2488_4cba);
        assert_eq!(
            murmur3_32(b"The quick brown fox jumps over the lazy dog", 0x9747_b28c),
            0x2fa8_26cd
        );
    }

    #[test]
    fn a_word_hashes_as_its_bytes_do_and_every_length_by_blocks_and_rest() {
        // The sum is from an implementation of its own, byte by byte, in another language.
        let text = b"0123456789abcdefghijk";
        for length in 0..=7 {
            let mut eight = [0; 8];
            eight[..length].copy_from_slice(&text[..length]);
            let word = u64::from_le_bytes(eight);
            let want = murmur3_32(&text[..length], 7);
            assert_eq!(murmur3_32_of_word(word, length, 7), want, "{length}");
        }
        let mut all = 0u32;
        for length in 0..=text.len() {
            all = all.wrapping_mul(31) ^ murmur3_32(&text[..length], 7);
        }
        assert_eq!(all, 0x3de7_4940);
    }

    #[test]
    fn hash64_gives_the_values_that_saved_state_holds() {
        // Of the first version of this function, written block by block as Appleby has it.
        for (bytes, seed, want) in [
            (&b""[..], 0, 0x0000_0000_0000_0000),
            (b"a", 1, 0xa52b_e5b3_f667_4b2a),
            (b"abcdefgh", 2, 0x28a8_8f63_4f8f_04fb),
            (b"the quick brown fox", 3, 0x2267_6b49_80f1_3386),
        ] {
            assert_eq!(hash64(bytes, seed), want);
        }
    }

    #[test]
    fn hash128_is_hash64_twice() {
        let bytes: Vec<u8> = (0..100).map(|i| (i * 37) as u8).collect();
        for length in 0..100 {
            let (part, seed) = (&bytes[..length], length as u64 * 7);
            let low = hash64(part, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
            let want = u128::from(hash64(part, seed)) << 64 | u128::from(low);
            assert_eq!(hash128(part, seed), want);
        }
    }

    #[test]
    fn siphash_is_that_of_the_standard_library() {
        use std::hash::Hasher as _;

        // It is SipHash-1-3 with a key of zeros there.
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&bytes);
            assert_eq!(siphash13(&bytes, 0, 0), hasher.finish(), "{length}");
        }
        assert_ne!(siphash13(b"a", 1, 0), siphash13(b"a", 0, 1));
    }

    /// What stands in a block so that it is `k` when it is mixed in.
    fn unmixed(k: u32) -> u32 {
        let inverse = |c: u32| {
            (0..5).fold(c, |x, _| {
                x.wrapping_mul(2u32.wrapping_sub(c.wrapping_mul(x)))
            })
        };
        let k = k.wrapping_mul(inverse(0x1b87_3593)).rotate_right(15);
        k.wrapping_mul(inverse(0xcc9e_2d51))
    }

    /// Two names that MurmurHash3 cannot tell apart: a difference of one bit in the first block ends
    /// up in the highest one, and the second block takes it away again.
    fn twins() -> (String, String) {
        let mix = |k: u32| {
            k.wrapping_mul(0xcc9e_2d51)
                .rotate_left(15)
                .wrapping_mul(0x1b87_3593)
        };
        let readable = |block: u32| {
            let text = String::from_utf8(block.to_le_bytes().to_vec()).ok()?;
            (!text.contains(char::is_control)).then_some(text)
        };
        let pair = |flip: u32| {
            (0..u32::MAX).find_map(|i| {
                let block = i.wrapping_mul(0x9e37_79b1);
                Some((readable(block)?, readable(unmixed(mix(block) ^ flip))?))
            })
        };
        let (first, second) = (pair(1 << 18).unwrap(), pair(1 << 31).unwrap());
        (first.0 + &second.0, first.1 + &second.1)
    }

    #[test]
    fn names_that_collide_under_every_seed_do_not_under_a_key() {
        let (a, b) = twins();
        assert_ne!(a, b);
        for seed in [0, 1, 0xdead_beef, u32::MAX] {
            let plain = NameHash::new(0);
            let (x, y) = (
                plain.hash(a.as_bytes(), seed),
                plain.hash(b.as_bytes(), seed),
            );
            assert_eq!(x, y, "{a} {b}");
            for key in [1, 0x0123_4567_89ab_cdef, u64::MAX] {
                let keyed = NameHash::new(key);
                assert_ne!(
                    keyed.hash(a.as_bytes(), seed),
                    keyed.hash(b.as_bytes(), seed)
                );
            }
        }
    }

    #[test]
    fn wider_hashes_depend_on_every_byte_and_on_the_seed() {
        assert_ne!(hash64(b"abcdefgh1", 0), hash64(b"abcdefgh2", 0));
        assert_ne!(hash64(b"abcdefgh", 0), hash64(b"abcdefgh", 1));
        assert_ne!(hash128(b"a", 0) as u64, (hash128(b"a", 0) >> 64) as u64);
    }
}
