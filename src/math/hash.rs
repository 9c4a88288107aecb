//! Hashes whose values are part of saved state and of event ids, so they never change.
//!
//! `murmur3_32` is Appleby's MurmurHash3_x86_32, the hash of Vowpal Wabbit and scikit-learn;
//! `hash64` is his MurmurHash64A. Neither resists an attacker, seed or no seed: there are names that
//! collide under every seed of `murmur3_32`. Where that matters (`hash_key_file`) names are hashed by
//! [`NameHash`] with a key: SipHash-1-3 (Aumasson and Bernstein).

/// MurmurHash3_x86_32.
pub fn murmur3_32(bytes: &[u8], seed: u32) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mut h = seed;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        let k = u32::from_le_bytes(*block)
            .wrapping_mul(C1)
            .rotate_left(15)
            .wrapping_mul(C2);
        h = (h ^ k)
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let mut k = 0u32;
        for (i, &b) in tail.iter().enumerate() {
            k |= u32::from(b) << (8 * i);
        }
        h ^= k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    }
    h ^= bytes.len() as u32;
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
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut h = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (blocks, tail) = bytes.as_chunks::<8>();
    for block in blocks {
        let mut k = u64::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> 47;
        h = (h ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &b) in tail.iter().enumerate() {
            h ^= u64::from(b) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 47;
    h = h.wrapping_mul(M);
    h ^ (h >> 47)
}

/// Two independent 64-bit hashes side by side, for ids that must not meet by chance.
pub fn hash128(bytes: &[u8], seed: u64) -> u128 {
    let high = hash64(bytes, seed);
    let low = hash64(bytes, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
    u128::from(high) << 64 | u128::from(low)
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
