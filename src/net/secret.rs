//! A secret that can be compared and nothing else.
//!
//! Invariant: it has neither `Debug` nor `Display`, and comparing takes the same time whatever
//! the difference.

/// A token, as its hash: the text itself is dropped as soon as it was read.
pub(super) struct Secret(blake3::Hash);

impl Secret {
    /// The secret that these bytes are.
    pub(super) fn of(bytes: &[u8]) -> Secret {
        Secret(blake3::hash(bytes))
    }

    /// Whether both are the same, in constant time (hashes compare so).
    pub(super) fn is(&self, other: &Secret) -> bool {
        self.0 == other.0
    }
}
