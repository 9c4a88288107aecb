//! One instance of something per key, bounded.
//!
//! Invariant: the order of use decides who goes, it is state, and only learning moves it;
//! looking a key up for a prediction does not.

use crate::base::{Reader, StateError, Writer, pack, unpack};

const NONE: u32 = u32::MAX;

/// One key's instance, linked into the order of use.
struct Slot<T> {
    key: Vec<String>,
    value: T,
    newer: u32,
    older: u32,
}

/// Instances by key.
pub(crate) struct Pool<T> {
    index: foldhash::HashMap<Vec<u8>, u32>,
    slots: Vec<Slot<T>>,
    newest: u32,
    oldest: u32,
    limit: usize,
    evict: bool,
    /// The key being looked up, encoded; kept for its memory.
    encoded: Vec<u8>,
}

/// What became of a key.
pub(crate) enum Entry<'a, T> {
    /// Its instance, and whether another key's had to go for it.
    Found(&'a mut T, bool),
    /// There is no room and nobody goes.
    Full,
}

/// What a pool needs of its instances.
pub(crate) trait Instance {
    fn save(&self, out: &mut Writer);
    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError>;
}

impl<T: Instance> Pool<T> {
    pub(crate) fn new(limit: usize, evict: bool) -> Pool<T> {
        Pool {
            index: foldhash::HashMap::default(),
            slots: Vec::new(),
            newest: NONE,
            oldest: NONE,
            limit,
            evict,
            encoded: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Every instance, in the order in which the keys first came.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&[String], &T)> {
        self.slots
            .iter()
            .map(|slot| (slot.key.as_slice(), &slot.value))
    }

    /// The instance of a key, changing nothing.
    pub(crate) fn peek(&mut self, key: &[String]) -> Option<&mut T> {
        encode(key, &mut self.encoded);
        let slot = *self.index.get(&self.encoded)?;
        Some(&mut self.slots[slot as usize].value)
    }

    /// The instance of a key, made anew where there is none; it becomes the newest.
    pub(crate) fn entry(&mut self, key: &[String], make: impl FnOnce() -> T) -> Entry<'_, T> {
        // The same key as last time, as it always is where there is none, need not be looked up.
        let newest = self.newest as usize;
        if self.slots.get(newest).is_some_and(|slot| slot.key == key) {
            return Entry::Found(&mut self.slots[newest].value, false);
        }
        encode(key, &mut self.encoded);
        if let Some(&slot) = self.index.get(&self.encoded) {
            self.touch(slot);
            return Entry::Found(&mut self.slots[slot as usize].value, false);
        }
        let mut evicted = false;
        let slot = if self.slots.len() < self.limit {
            self.slots.push(Slot {
                key: key.to_vec(),
                value: make(),
                newer: NONE,
                older: NONE,
            });
            (self.slots.len() - 1) as u32
        } else if self.evict && self.oldest != NONE {
            evicted = true;
            let slot = self.oldest;
            self.unlink(slot);
            let mut old = Vec::new();
            encode(&self.slots[slot as usize].key, &mut old);
            self.index.remove(&old);
            let place = &mut self.slots[slot as usize];
            place.key = key.to_vec();
            place.value = make();
            slot
        } else {
            return Entry::Full;
        };
        self.index.insert(self.encoded.clone(), slot);
        self.link_newest(slot);
        Entry::Found(&mut self.slots[slot as usize].value, evicted)
    }

    fn touch(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let (newer, older) = (
            self.slots[slot as usize].newer,
            self.slots[slot as usize].older,
        );
        match newer {
            NONE => self.newest = older,
            n => self.slots[n as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            o => self.slots[o as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let before = self.newest;
        let place = &mut self.slots[slot as usize];
        (place.newer, place.older) = (NONE, before);
        match before {
            NONE => self.oldest = slot,
            b => self.slots[b as usize].newer = slot,
        }
        self.newest = slot;
    }

    /// Writes every instance: one without a key in sections of its own, so that they can be read
    /// by name; keyed ones packed, so that a hundred thousand of them stay small.
    pub(crate) fn save(&self, out: &mut Writer) {
        if let [slot] = self.slots.as_slice()
            && slot.key.is_empty()
        {
            out.nested("single", |w| slot.value.save(w));
            return;
        }
        let (mut keys, mut lengths, mut blob) = (Vec::new(), Vec::new(), Vec::new());
        for slot in &self.slots {
            let mut writer = Writer::new();
            slot.value.save(&mut writer);
            let packed = pack(&writer.into_sections());
            keys.extend(slot.key.iter().map(String::as_str));
            lengths.push(packed.len() as u64);
            blob.extend_from_slice(&packed);
        }
        let mut order = Vec::with_capacity(self.slots.len());
        let mut at = self.oldest;
        while at != NONE {
            order.push(at);
            at = self.slots[at as usize].newer;
        }
        out.texts("keys", &keys);
        out.u32s("order", &order);
        out.u64s("lengths", &lengths);
        out.bytes("packed", &blob);
    }

    /// Reads them back; `parts` is the number of fields in a key.
    pub(crate) fn load(
        &mut self,
        from: &Reader<'_>,
        parts: usize,
        mut make: impl FnMut() -> T,
    ) -> Result<(), StateError> {
        if parts == 0 && !from.has("packed") {
            let mut value = make();
            from.nested("single", |r| value.load(r))?;
            self.insert_loaded(Vec::new(), value);
            self.link_newest(0);
            return Ok(());
        }
        let (keys, lengths, order) = (
            from.texts("keys")?,
            from.u64s("lengths")?,
            from.u32s("order")?,
        );
        let mut blob = from.bytes("packed")?;
        if keys.len() != lengths.len() * parts || order.len() != lengths.len() {
            return Err(from.invalid("keys", "keys, lengths and order do not fit together"));
        }
        for (i, &length) in lengths.iter().enumerate() {
            let Some((packed, rest)) = blob.split_at_checked(length as usize) else {
                return Err(from.invalid("packed", "shorter than its lengths say"));
            };
            blob = rest;
            let sections = unpack(packed).ok_or_else(|| from.invalid("packed", "damaged"))?;
            let mut value = make();
            value.load(&Reader::new(&sections))?;
            self.insert_loaded(keys[i * parts..(i + 1) * parts].to_vec(), value);
        }
        if self.index.len() != lengths.len() {
            return Err(from.invalid("keys", "a key occurs twice"));
        }
        let mut linked = vec![false; order.len()];
        for &slot in order {
            match linked.get_mut(slot as usize) {
                Some(seen @ false) => *seen = true,
                _ => return Err(from.invalid("order", "not an order of the keys")),
            }
            self.link_newest(slot);
        }
        Ok(())
    }

    fn insert_loaded(&mut self, key: Vec<String>, value: T) {
        let mut encoded = Vec::new();
        encode(&key, &mut encoded);
        self.index.insert(encoded, self.slots.len() as u32);
        self.slots.push(Slot {
            key,
            value,
            newer: NONE,
            older: NONE,
        });
    }
}

/// One byte string for a key: each part after its length, so that no two keys meet.
fn encode(key: &[String], out: &mut Vec<u8>) {
    out.clear();
    for part in key {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Number(u64);
    impl Instance for Number {
        fn save(&self, out: &mut Writer) {
            out.u64("n", self.0);
        }
        fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
            self.0 = from.u64("n")?;
            Ok(())
        }
    }

    fn key(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    fn bump(pool: &mut Pool<Number>, text: &str) -> Option<(u64, bool)> {
        match pool.entry(&key(text), || Number(0)) {
            Entry::Found(number, evicted) => {
                number.0 += 1;
                Some((number.0, evicted))
            }
            Entry::Full => None,
        }
    }

    #[test]
    fn at_the_limit_new_keys_are_refused_or_the_least_recently_used_goes() {
        let mut pool = Pool::new(2, false);
        assert_eq!(bump(&mut pool, "a"), Some((1, false)));
        assert_eq!(bump(&mut pool, "b"), Some((1, false)));
        assert_eq!(bump(&mut pool, "c"), None);
        assert_eq!(bump(&mut pool, "a"), Some((2, false)));
        pool.evict = true;
        assert_eq!(bump(&mut pool, "c"), Some((1, true)));
        assert_eq!(pool.peek(&key("b")), None);
        assert_eq!(bump(&mut pool, "a"), Some((3, false)));
    }

    #[test]
    fn the_order_of_use_survives_a_save() {
        let mut pool = Pool::new(3, true);
        for text in ["a", "b", "c", "a"] {
            bump(&mut pool, text);
        }
        let mut writer = Writer::new();
        pool.save(&mut writer);
        let map = writer
            .into_sections()
            .into_iter()
            .map(|s| (s.name, s.data))
            .collect();
        let mut back = Pool::new(3, true);
        back.load(&Reader::new(&map), 1, || Number(0)).unwrap();
        assert_eq!(bump(&mut back, "d"), Some((1, true)));
        assert_eq!(back.peek(&key("b")), None);
        assert_eq!(back.peek(&key("a")), Some(&mut Number(2)));
    }
}
