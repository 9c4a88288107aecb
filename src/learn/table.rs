//! The hashed part of a model: rows of 32-bit floats by slot, allocated as zeros that the
//! operating system hands out page by page when they are first written.
//!
//! Invariant: a row that was never learned from is all zero, and one entry (the mark, mostly the
//! scale) is above 0 in every other. Only the latter are saved.

use crate::base::{Reader, StateError, Writer};

/// Floats in a cache line.
pub(super) const LINE: usize = 16;

/// `2^bits` rows of `width` floats, the first aligned to a cache line.
#[derive(Debug)]
pub(crate) struct Table {
    data: Vec<f32>,
    offset: usize,
    mask: u32,
    width: usize,
}

/// The place of a slot's row among all `rows` of a table.
#[inline(always)]
pub(crate) fn place(slot: u32, rows: usize) -> usize {
    slot as usize & rows.wrapping_sub(1)
}

impl Table {
    /// An empty table.
    pub(crate) fn new(bits: u32, width: usize) -> Self {
        let rows = 1usize << bits;
        let data = vec![0.0f32; rows * width + LINE];
        let offset = data.as_ptr().align_offset(64).min(LINE);
        Table {
            data,
            offset,
            mask: (rows - 1) as u32,
            width,
        }
    }

    /// Bytes that a table may come to take.
    pub(crate) fn bytes(bits: u32, width: usize) -> u64 {
        (4 * width as u64) << bits
    }

    /// Where the table ends.
    fn end(&self) -> usize {
        self.offset + (self.mask as usize + 1) * self.width
    }

    #[inline(always)]
    fn start(&self, slot: u32) -> usize {
        self.offset + (slot & self.mask) as usize * self.width
    }

    /// All rows, of a table that is `WIDTH` wide; [`place`] says where a slot's is.
    #[inline(always)]
    pub(crate) fn rows<const WIDTH: usize>(&self) -> &[[f32; WIDTH]] {
        debug_assert!(WIDTH == self.width);
        self.data[self.offset..self.end()].as_chunks().0
    }

    /// All rows, of a table that is `WIDTH` wide, to be changed.
    #[inline(always)]
    pub(crate) fn rows_mut<const WIDTH: usize>(&mut self) -> &mut [[f32; WIDTH]] {
        debug_assert!(WIDTH == self.width);
        let end = self.end();
        self.data[self.offset..end].as_chunks_mut().0
    }

    /// The row of a slot, of a table that is `WIDTH` wide.
    #[inline(always)]
    pub(crate) fn row<const WIDTH: usize>(&self, slot: u32) -> &[f32; WIDTH] {
        debug_assert!(WIDTH == self.width);
        self.data[self.start(slot)..]
            .first_chunk()
            .expect("the mask keeps slots inside the table")
    }

    /// The row of a slot, of a table that is `WIDTH` wide, to be changed.
    #[inline(always)]
    pub(crate) fn row_mut<const WIDTH: usize>(&mut self, slot: u32) -> &mut [f32; WIDTH] {
        debug_assert!(WIDTH == self.width);
        let start = self.start(slot);
        self.data[start..]
            .first_chunk_mut()
            .expect("the mask keeps slots inside the table")
    }

    /// A slot's whole row.
    #[inline(always)]
    pub(crate) fn slice(&self, slot: u32) -> &[f32] {
        let start = self.start(slot);
        &self.data[start..start + self.width]
    }

    /// A slot's whole row, to be changed.
    #[inline(always)]
    pub(crate) fn slice_mut(&mut self, slot: u32) -> &mut [f32] {
        let start = self.start(slot);
        &mut self.data[start..start + self.width]
    }

    /// Every row whose mark (entry number `mark`) is set, with its slot, in order.
    pub(crate) fn used(&self, mark: usize) -> impl Iterator<Item = (u32, &[f32])> {
        self.data[self.offset..self.end()]
            .chunks_exact(self.width)
            .enumerate()
            .filter(move |(_, row)| row[mark] > 0.0)
            .map(|(slot, row)| (slot as u32, row))
    }

    /// Changes every row whose mark is set, in order.
    pub(crate) fn for_each_used(&mut self, mark: usize, f: impl FnMut(&mut [f32])) {
        let end = self.end();
        self.data[self.offset..end]
            .chunks_exact_mut(self.width)
            .filter(|row| row[mark] > 0.0)
            .for_each(f);
    }

    /// Writes the rows whose mark is set, each up to and with the mark.
    pub(crate) fn save(&self, name: &str, mark: usize, out: &mut Writer) {
        let mut slots = Vec::new();
        let mut rows = Vec::new();
        for (slot, row) in self.used(mark) {
            slots.push(slot);
            rows.extend_from_slice(&row[..=mark]);
        }
        out.nested(name, |w| {
            w.u32s("slots", &slots);
            w.f32s("rows", &rows);
        });
    }

    /// Reads them back; what was in the table before is gone.
    pub(crate) fn load(
        &mut self,
        name: &str,
        mark: usize,
        from: &Reader<'_>,
    ) -> Result<(), StateError> {
        self.clear();
        from.nested(name, |r| {
            let slots = r.u32s("slots")?;
            let rows = r.f32s_of("rows", slots.len() * (mark + 1))?;
            self.check_slots(r, slots)?;
            for (slot, row) in slots.iter().zip(rows.chunks_exact(mark + 1)) {
                if row.iter().any(|x| !x.is_finite()) || row[mark] <= 0.0 {
                    return Err(r.invalid("rows", format!("slot {slot} makes no sense")));
                }
                self.slice_mut(*slot)[..=mark].copy_from_slice(row);
            }
            Ok(())
        })
    }

    /// Whether slots are in order and inside the table.
    pub(crate) fn check_slots(&self, from: &Reader<'_>, slots: &[u32]) -> Result<(), StateError> {
        if slots.windows(2).any(|w| w[0] >= w[1]) {
            return Err(from.invalid("slots", "not in order"));
        }
        if slots.last().is_some_and(|s| *s > self.mask) {
            return Err(from.invalid("slots", "beyond the table"));
        }
        Ok(())
    }

    /// Back to zeros that take no memory.
    pub(crate) fn clear(&mut self) {
        *self = Table::new((self.mask + 1).trailing_zeros(), self.width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SectionData;

    #[test]
    fn only_used_rows_are_saved_and_bad_slots_are_refused() {
        let mut t = Table::new(3, 4);
        *t.row_mut(5) = [1.0, 2.0, 3.0, 0.0];
        *t.row_mut(7) = [0.0, 0.0, 1.0, 0.0];
        assert_eq!(t.row::<4>(0).as_ptr().align_offset(64), 0);
        let mut w = Writer::new();
        t.save("t", 2, &mut w);
        let sections = w.into_sections().into_iter();
        let mut map: std::collections::BTreeMap<_, _> =
            sections.map(|s| (s.name, s.data)).collect();
        let mut back = Table::new(3, 4);
        back.load("t", 2, &Reader::new(&map)).unwrap();
        assert_eq!(back.used(2).count(), 2);
        assert_eq!(back.slice(5), t.slice(5));
        map.insert("t/slots".into(), SectionData::U32(vec![5, 8]));
        assert!(back.load("t", 2, &Reader::new(&map)).is_err());
        map.insert("t/slots".into(), SectionData::U32(vec![7, 5]));
        assert!(back.load("t", 2, &Reader::new(&map)).is_err());
    }
}
