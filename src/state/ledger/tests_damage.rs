//! Every byte where a ledger may be torn and every bit that may flip, none sampled.

use std::sync::Arc;

use super::super::Disk;
use super::super::simulated::SimulatedDisk;
use super::tests::{Content, Found, chunk, read};
use super::*;
use crate::base::Micros;

/// A ledger of `count` chunks, `each` of them a commit.
fn ledger(limit: u64, count: u64, each: u64) -> (SimulatedDisk, SegmentWriter, Found) {
    let disk = SimulatedDisk::new(1);
    let (recovery, _) = read(&disk, 0).unwrap();
    let mut encoder = Encoder::new(recovery.next);
    let mut writer = SegmentWriter::new(Arc::new(disk.clone()), &recovery, limit, 1);
    let mut expected = Found::new();
    for i in 0..count {
        let chunk = chunk(0, i % 3, i, "ab\ncd\n", i == 5);
        let seq = encoder.data("s", &chunk, None).unwrap();
        expected.push((seq, Content::chunk("s", &chunk, None)));
        if (i + 1) % each == 0 {
            writer.push(encoder.take(Batch::default()));
            writer.commit().unwrap();
        }
    }
    (disk, writer, expected)
}

fn on_disk(name: &str, bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(2);
    disk.put(name, bytes);
    disk
}

#[test]
fn torn_at_any_byte_a_prefix_is_found_and_the_ledger_goes_on() {
    // One commit: nothing says how much of it was durable.
    let (disk, _, expected) = ledger(SEGMENT_BYTES, 4, 4);
    let name = segment::name(1);
    let whole = disk.bytes(&name);
    let mut lengths = Vec::new();
    for length in segment::HEADER..=whole.len() {
        let disk = on_disk(&name, &whole[..length]);
        let (recovery, found) = read(&disk, 0).unwrap();
        assert_eq!(found, expected[..found.len()], "cut at {length}");
        let cut = disk.bytes(&name).len();
        assert_eq!(recovery.torn_bytes, (length - cut) as u64);
        lengths.push(found.len());

        let mut encoder = Encoder::new(recovery.next);
        encoder.tick(Micros(1));
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let mut writer = SegmentWriter::new(Arc::clone(&disk), &recovery, SEGMENT_BYTES, 1);
        writer.push(encoder.take(Batch::default()));
        let next = writer.commit().unwrap();
        assert_eq!(next, found.len() as u64 + 1);
        let (recovery, after) = read(&*disk, 0).unwrap();
        assert_eq!(after[..found.len()], found);
        assert_eq!(after[found.len()..], [(next, Content::Tick(1))]);
        assert_eq!(recovery.torn_bytes, 0);
    }
    assert!(lengths.is_sorted() && lengths.last() == Some(&4));
    for length in 0..segment::HEADER {
        let error = read(&on_disk(&name, &whole[..length]), 0).unwrap_err();
        assert!(
            error.to_string().contains("shorter than a header"),
            "{error}"
        );
    }
}

#[test]
fn zeros_below_the_last_mark_are_damage_and_above_it_a_torn_tail() {
    let (shorter, _, _) = ledger(SEGMENT_BYTES, 3, 1);
    let (disk, _, expected) = ledger(SEGMENT_BYTES, 4, 1);
    let name = segment::name(1);
    let whole = disk.bytes(&name);
    let mark = shorter.bytes(&name).len();
    for at in segment::HEADER..whole.len() {
        let mut holed = whole.clone();
        let end = (at + 20).min(whole.len());
        holed[at..end].fill(0);
        match read(&on_disk(&name, &holed), 0) {
            Ok((_, found)) => {
                assert!(end > mark, "zeros at {at}");
                assert_eq!(found, expected[..found.len()]);
            }
            Err(error) => {
                assert!(at < mark, "zeros at {at}: {error}");
                assert!(error.to_string().contains("was durable"), "{error}");
            }
        }
    }
}

#[test]
fn any_bit_flipped_is_damage_or_loses_nothing_and_damage_changes_nothing() {
    let (disk, mut writer, expected) = ledger(400, 8, 1);
    writer.seal().unwrap();
    let files = disk.list("").unwrap();
    assert_eq!(files.len(), 4);
    assert_eq!(read(&disk, 0).unwrap().1, expected);
    let (mut damage, mut harmless) = (0, 0);
    for name in files {
        let whole = disk.bytes(&name);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.put(&name, &flipped);
            match read(&disk, 0) {
                Ok((recovery, found)) => {
                    assert_eq!(found, expected, "all was sealed: {name} bit {bit}");
                    assert!(recovery.torn_bytes + recovery.abandoned_bytes > 0);
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.exit_code(), 3);
                    assert!(error.to_string().contains(&name), "{error}");
                    assert_eq!(disk.bytes(&name), flipped, "nothing has changed");
                    damage += 1;
                }
            }
            disk.put(&name, &whole);
        }
    }
    // Only the closing mark vouches for nothing but what it says.
    assert_eq!(harmless, frame::MARK_SIZE * 8);
    assert!(damage > 5000, "{damage}");
}

#[test]
fn an_enormous_length_takes_no_memory() {
    let (disk, _, _) = ledger(SEGMENT_BYTES, 2, 2);
    let name = segment::name(1);
    let whole = disk.bytes(&name);
    for length in [u32::MAX, i32::MAX as u32, 1 << 30, 0, 8] {
        let mut forged = whole.clone();
        forged[segment::HEADER..segment::HEADER + 4].copy_from_slice(&length.to_le_bytes());
        let disk = on_disk(&name, &forged);
        let info = allocation_counter::measure(|| {
            let (_, found) = read(&disk, 0).unwrap();
            assert!(found.is_empty());
        });
        assert!(
            info.bytes_max < 3 << 20,
            "{} bytes for {length}",
            info.bytes_max
        );
    }
}
