//! Weights for several outputs (classes) that may come to be more: for each feature one scale, and
//! a block of floats for each output.
//!
//! A slot's blocks lie together. Room for outputs doubles; what was learned then moves to a new
//! table.
//!
//! Invariant: the scale of a slot is above 0 exactly if the slot was learned from.

use crate::base::{Reader, StateError, Writer};

use super::table::{LINE, Table};

/// The scale and blocks of one dense column, or of the bias.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Strip {
    /// Largest absolute value, for rules that normalize.
    pub(super) scale: f64,
    /// A block for each output.
    pub(super) blocks: Vec<f64>,
}

/// The weights.
pub(super) struct Sheet {
    block: usize,
    bits: u32,
    outputs: usize,
    pub(super) dense: Vec<Strip>,
    pub(super) bias: Strip,
    pub(super) scales: Table,
    table: Table,
    /// Outputs that the table has room for.
    capacity: usize,
}

impl Sheet {
    /// For blocks of `block` floats; no outputs yet.
    pub(super) fn new(hash_bits: u32, block: usize) -> Sheet {
        Sheet {
            block,
            bits: hash_bits,
            outputs: 0,
            dense: Vec::new(),
            bias: Strip::default(),
            scales: Table::new(hash_bits, 1),
            table: Table::new(hash_bits, block),
            capacity: 1,
        }
    }

    /// Bytes that a sheet may come to take.
    pub(super) fn bytes(hash_bits: u32, block: usize, outputs: usize, columns: u64) -> u64 {
        let capacity = outputs.next_power_of_two();
        Table::bytes(hash_bits, 1 + block * capacity) + columns * 8 * (1 + block * capacity) as u64
    }

    /// Outputs there are.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Makes room for outputs and columns; what is new is zero.
    pub(super) fn grow(&mut self, outputs: usize, columns: usize) {
        let outputs = outputs.max(self.outputs);
        if columns > self.dense.len() || outputs > self.outputs {
            let columns = columns.max(self.dense.len());
            self.dense.resize(columns, Strip::default());
            for strip in self.dense.iter_mut().chain([&mut self.bias]) {
                strip.blocks.resize(outputs * self.block, 0.0);
            }
        }
        self.outputs = outputs;
        if outputs > self.capacity {
            self.capacity = outputs.next_power_of_two();
            let mut table = Table::new(self.bits, self.block * self.capacity);
            for (slot, _) in self.scales.used(0) {
                let row = self.table.slice(slot);
                table.slice_mut(slot)[..row.len()].copy_from_slice(row);
            }
            self.table = table;
        }
    }

    /// Reads a float of every cache line of the slots' blocks, so that all of them are on their way
    /// from memory at once and not one after the other as they are needed.
    #[inline(always)]
    pub(super) fn fetch(&self, slots: &[u32]) {
        let width = self.outputs * self.block;
        let mut bits = 0;
        for slot in slots {
            for line in self.table.slice(*slot)[..width].chunks(LINE) {
                bits ^= line[0].to_bits();
            }
        }
        std::hint::black_box(bits);
    }

    /// As [`Sheet::fetch`], the slots' scales.
    #[inline(always)]
    pub(super) fn fetch_scales(&self, slots: &[u32]) {
        let bits = slots
            .iter()
            .fold(0, |bits, slot| bits ^ self.scale(*slot).to_bits());
        std::hint::black_box(bits);
    }

    /// Gives the blocks of a slot, output by output.
    #[inline(always)]
    pub(super) fn hashed(&self, slot: u32, mut f: impl FnMut(usize, &[f32])) {
        let blocks = self.table.slice(slot).chunks_exact(self.block);
        for (output, block) in (0..self.outputs).zip(blocks) {
            f(output, block);
        }
    }

    /// Gives the blocks of a slot to be changed, output by output.
    #[inline(always)]
    pub(super) fn hashed_mut(&mut self, slot: u32, mut f: impl FnMut(usize, &mut [f32])) {
        let blocks = self.table.slice_mut(slot).chunks_exact_mut(self.block);
        for (output, block) in (0..self.outputs).zip(blocks) {
            f(output, block);
        }
    }

    /// One block of a slot.
    pub(super) fn hashed_one(&mut self, slot: u32, output: usize) -> &mut [f32] {
        let at = output * self.block;
        &mut self.table.slice_mut(slot)[at..at + self.block]
    }

    /// The scale of a slot, 0 for one never learned from.
    #[inline(always)]
    pub(super) fn scale(&self, slot: u32) -> f32 {
        self.scales.row::<1>(slot)[0]
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.u64("outputs", self.outputs as u64);
        out.u64("columns", self.dense.len() as u64);
        let strips = self.dense.iter().chain([&self.bias]);
        let scales: Vec<f64> = strips.clone().map(|s| s.scale).collect();
        let blocks: Vec<f64> = strips.flat_map(|s| s.blocks.iter().copied()).collect();
        out.f64s("dense_scales", &scales);
        out.f64s("dense", &blocks);
        self.scales.save("hashed_scales", 0, out);
        let width = self.outputs * self.block;
        let rows: Vec<f32> = self
            .scales
            .used(0)
            .flat_map(|(slot, _)| self.table.slice(slot)[..width].iter().copied())
            .collect();
        out.f32s("hashed", &rows);
    }

    pub(super) fn load(&mut self, max_outputs: usize, from: &Reader<'_>) -> Result<(), StateError> {
        let outputs = from.u64("outputs")? as usize;
        let columns = from.u64("columns")? as usize;
        let scales = from.f64s("dense_scales")?;
        if outputs > max_outputs || scales.len() != columns.wrapping_add(1) {
            return Err(from.invalid("outputs", "more than the configuration allows"));
        }
        let width = outputs * self.block;
        let blocks = from.f64s_of("dense", scales.len() * width)?;
        let fine = |x: &f64| x.is_finite();
        if !blocks.iter().all(fine) || !scales.iter().all(|s| fine(s) && *s >= 0.0) {
            return Err(from.invalid("dense", "not finite"));
        }
        let mut fresh = Sheet::new(self.bits, self.block);
        fresh.grow(outputs, columns);
        let strips = fresh.dense.iter_mut().chain([&mut fresh.bias]);
        for (i, strip) in strips.enumerate() {
            strip.scale = scales[i];
            strip
                .blocks
                .copy_from_slice(&blocks[i * width..(i + 1) * width]);
        }
        fresh.scales.load("hashed_scales", 0, from)?;
        let slots: Vec<u32> = fresh.scales.used(0).map(|(slot, _)| slot).collect();
        let rows = from.f32s_of("hashed", slots.len() * width)?;
        if rows.iter().any(|x| !x.is_finite()) {
            return Err(from.invalid("hashed", "not finite"));
        }
        for (slot, row) in slots.iter().zip(rows.chunks_exact(width.max(1))) {
            fresh.table.slice_mut(*slot)[..width].copy_from_slice(row);
        }
        *self = fresh;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_keep_their_places_as_they_come_to_be_more() {
        let mut sheet = Sheet::new(4, 2);
        for n in 1..=9 {
            sheet.grow(n, 1);
            sheet.scales.row_mut::<1>(3)[0] = 1.0;
            sheet.hashed_one(3, n - 1)[1] = n as f32;
            let mut seen = Vec::new();
            sheet.hashed(3, |output, block| seen.push((output, block[1])));
            let want: Vec<_> = (0..n).map(|i| (i, (i + 1) as f32)).collect();
            assert_eq!(seen, want);
        }
        assert_eq!(sheet.dense[0].blocks.len(), 18);
        let mut w = Writer::new();
        sheet.save(&mut w);
        let map = w
            .into_sections()
            .into_iter()
            .map(|s| (s.name, s.data))
            .collect();
        let mut back = Sheet::new(4, 2);
        assert!(back.load(8, &Reader::new(&map)).is_err());
        back.load(9, &Reader::new(&map)).unwrap();
        assert_eq!(back.hashed_one(3, 8)[1], 9.0);
    }
}
