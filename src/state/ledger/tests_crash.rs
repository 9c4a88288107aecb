//! Any sequence of appending, committing, snapshots, removal, crashes, full disks and failed
//! syncs, on a disk that keeps no more than it must. `LEARND_CRASH_CASES` says how many cases.
//!
//! What must hold, after every start: what was reported durable is there, equal; what is there is
//! a prefix of what was appended; a snapshot that was reported written, or a later one, is found;
//! nothing fails that was not made to fail; nothing panics.

use std::sync::Arc;

use super::super::simulated::{Fault, SimulatedDisk};
use super::super::snapshot::tests::sample;
use super::super::{Store, StoreError};
use super::tests::{Content, chunk, read};
use super::*;
use crate::base::Micros;
use crate::math::Random;

/// What stands in the way of this process and its files.
struct World {
    disk: SimulatedDisk,
    random: Random,
    limit: u64,
    store: Store,
    encoder: Encoder,
    writer: SegmentWriter,
    /// Contents by number, the first of which is 1.
    appended: Vec<Content>,
    /// The highest number reported durable.
    durable: u64,
    /// Places in the ledger of the snapshots reported written, oldest first.
    snapshots: Vec<u64>,
    /// Places of all that were attempted.
    attempted: Vec<u64>,
    /// Up to where frames may have been removed.
    removed: u64,
    /// Something was made to fail.
    planned: bool,
    /// Snapshots are written too.
    with_snapshots: bool,
    figures: Figures,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    starts: u64,
    frames: u64,
    torn: u64,
    abandoned: u64,
    full: u64,
    failures: u64,
    removed: u64,
    operations: u64,
}

macro_rules! ensure {
    ($what:expr, $($text:tt)*) => {
        if !$what {
            return Err(format!($($text)*));
        }
    };
}

fn text(error: &StoreError) -> String {
    error.to_string()
}

impl World {
    fn new(seed: u64) -> World {
        let disk = SimulatedDisk::new(seed);
        let mut random = Random::new(!seed);
        let limit = [300, 2000, 20_000][random.below(3) as usize];
        let recovery = Recovery {
            next: 1,
            ..Recovery::default()
        };
        World {
            store: Store::on(Arc::new(disk.clone()), 2, None).expect("an empty disk"),
            encoder: Encoder::new(1),
            writer: SegmentWriter::new(Arc::new(disk.clone()), &recovery, limit, seed),
            disk,
            random,
            limit,
            appended: Vec::new(),
            durable: 0,
            snapshots: Vec::new(),
            attempted: vec![0],
            removed: 0,
            planned: false,
            with_snapshots: true,
            figures: Figures::default(),
        }
    }

    fn step(&mut self, calm: bool) -> Result<(), String> {
        match self.random.below(if calm { 12 } else { 18 }) {
            0..4 => self.append(),
            4..7 => {
                self.hand_over();
                self.commit()?;
            }
            7 => self.hand_over(),
            8 | 9 if self.with_snapshots => self.snapshot()?,
            10 => self.remove()?,
            8 | 9 | 11 => {
                self.hand_over();
                self.commit()?;
                let sealed = self.writer.seal();
                ensure!(self.planned || sealed.is_ok(), "seal: {sealed:?}");
            }
            12 => {
                if self.disk.is_off() {
                    self.start()?;
                }
                self.disk.heal();
                self.planned = false;
            }
            13 => self.start()?,
            14 => {
                self.disk.reboot();
                self.start()?;
            }
            _ => {
                self.planned = true;
                let n = 1 + self.random.below(8);
                match self.random.below(4) {
                    0 => self.disk.crash_after(2 * n),
                    1 => self.disk.fail_after(n),
                    2 => self.disk.fail_sync_after(n / 2 + 1),
                    _ => self.disk.set_space_left(100 * n as usize),
                }
            }
        }
        Ok(())
    }

    fn append(&mut self) {
        let kind = self.random.below(8);
        let number = self.random.below(3);
        let last = self.random.below(5) == 0;
        let start = self.random.below(1 << 40);
        let lines = self.random.below(60) as usize;
        let line = format!("{:x}\r\n", self.random.bits());
        let chunk = chunk(number as u16, number, start, &line.repeat(lines), last);
        let source = ["tcp", "http", "file"][number as usize];
        let (seq, content) = match kind {
            0 => {
                let bytes = line.as_bytes();
                let seq = self.encoder.control(7, 3, bytes).expect("short");
                (seq, Content::Control(7, 3, bytes.to_vec()))
            }
            1 => (
                self.encoder.tick(chunk.received),
                Content::Tick(chunk.received.0),
            ),
            2 => (
                self.encoder.extent(source, &chunk).expect("short"),
                Content::extent(source, &chunk),
            ),
            3 => {
                let request = Request {
                    key: &line,
                    accepted: 3,
                    rejected: 4,
                };
                let seq = self.encoder.data(source, &chunk, Some(request));
                let request = Some((line.clone(), 3, 4));
                (seq.expect("short"), Content::chunk(source, &chunk, request))
            }
            _ => (
                self.encoder.data(source, &chunk, None).expect("short"),
                Content::chunk(source, &chunk, None),
            ),
        };
        self.appended.push(content);
        assert_eq!(seq, self.appended.len() as u64);
    }

    fn hand_over(&mut self) {
        let spare = self.writer.spare().unwrap_or_default();
        self.writer.push(self.encoder.take(spare));
    }

    fn commit(&mut self) -> Result<(), String> {
        match self.writer.commit() {
            Ok(durable) => {
                ensure!(durable >= self.durable, "durable went back to {durable}");
                ensure!(!self.writer.is_pending(), "something is left");
                self.durable = durable;
            }
            Err(error) => {
                ensure!(self.planned, "commit: {}", text(&error));
                self.figures.full += u64::from(error.is_no_space());
                self.figures.failures += 1;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<(), String> {
        let mut snapshot = sample();
        snapshot.ledger_seq = self.durable;
        self.attempted.push(self.durable);
        match self.store.write(&snapshot.encode()) {
            Ok(_) => self.snapshots.push(self.durable),
            Err(error) => ensure!(self.planned, "snapshot: {}", text(&error)),
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), String> {
        if let [.., second, _] = self.snapshots[..] {
            self.removed = self.removed.max(second);
            match self.writer.remove_before(second) {
                Ok(removed) => self.figures.removed += removed,
                Err(error) => ensure!(self.planned, "removal: {}", text(&error)),
            }
        }
        Ok(())
    }

    /// The process is gone, and a new one starts; as often as it takes.
    fn start(&mut self) -> Result<(), String> {
        while let Err(error) = self.try_start()? {
            ensure!(
                self.planned && matches!(error, StoreError::Io { .. }),
                "start: {}",
                text(&error)
            );
            self.figures.failures += 1;
            if self.random.below(2) == 0 {
                self.disk.reboot();
            }
            self.disk.heal();
        }
        Ok(())
    }

    fn try_start(&mut self) -> Result<Result<(), StoreError>, String> {
        let opened = Store::on(Arc::new(self.disk.clone()), 2, None)
            .and_then(|mut store| Ok((store.newest()?, store)));
        let (newest, store) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let from = newest.map_or(0, |(snapshot, _)| snapshot.ledger_seq);
        let reported = self.snapshots.last().copied().unwrap_or(0);
        ensure!(
            from >= reported,
            "snapshot {from}, but {reported} was reported"
        );
        ensure!(self.attempted.contains(&from), "snapshot {from} of nobody");
        let (recovery, found) = match read(&self.disk, from) {
            Ok(recovered) => recovered,
            Err(error) => return Ok(Err(error)),
        };
        let end = recovery.next - 1;
        self.check(from, end, &found)?;
        // The snapshot before must do as well.
        match read(&self.disk, self.removed) {
            Ok((again, found)) => {
                ensure!(again.next - 1 == end, "two starts, two ends");
                self.check(self.removed, end, &found)?;
            }
            Err(error) => return Ok(Err(error)),
        }
        if self.snapshots.last() != Some(&from) {
            self.snapshots.push(from);
        }
        self.figures.starts += 1;
        self.figures.frames += recovery.frames;
        self.figures.torn += recovery.torn_bytes;
        self.figures.abandoned += recovery.abandoned_bytes;
        self.appended.truncate(end as usize);
        self.durable = end;
        self.store = store;
        self.encoder = Encoder::new(recovery.next);
        let seed = self.random.bits();
        self.writer = SegmentWriter::new(Arc::new(self.disk.clone()), &recovery, self.limit, seed);
        Ok(Ok(()))
    }

    fn check(&self, from: u64, end: u64, found: &[(u64, Content)]) -> Result<(), String> {
        ensure!(
            end >= self.durable,
            "{end} found, {} was durable",
            self.durable
        );
        ensure!(
            end <= self.appended.len() as u64,
            "{end} was never appended"
        );
        ensure!(found.len() as u64 == end - from, "{} frames", found.len());
        for (place, (seq, content)) in found.iter().enumerate() {
            ensure!(*seq == from + 1 + place as u64, "{seq} is out of order");
            ensure!(
                *content == self.appended[*seq as usize - 1],
                "{seq} differs"
            );
        }
        Ok(())
    }
}

/// One case; the message says what did not hold.
fn run(seed: u64, fault: Option<Fault>, with_snapshots: bool) -> Result<Figures, String> {
    let mut world = World::new(seed);
    world.with_snapshots = with_snapshots;
    if let Some(fault) = fault {
        world.disk.set_fault(fault);
    }
    for _ in 0..10 + world.random.below(60) {
        world.step(false)?;
    }
    world.disk.reboot();
    world.start()?;
    world.figures.operations = world.disk.operations();
    Ok(world.figures)
}

/// A case in which nothing fails but what `plan` says, and the power at the end.
fn scripted(seed: u64, plan: impl FnOnce(&SimulatedDisk)) -> Result<u64, String> {
    let mut world = World::new(seed);
    plan(&world.disk);
    world.planned = true;
    for _ in 0..30 {
        world.step(true)?;
    }
    let operations = world.disk.operations();
    world.disk.heal();
    world.disk.reboot();
    world.start()?;
    world.planned = false;
    world.append();
    world.hand_over();
    world.commit()?;
    Ok(operations)
}

fn cases() -> u64 {
    let asked = std::env::var("LEARND_CRASH_CASES");
    asked.map_or(2000, |cases| cases.parse().expect("a number of cases"))
}

#[test]
fn nothing_durable_is_lost_and_nothing_is_made_up_whatever_crashes() {
    let mut sum = Figures::default();
    for seed in 0..cases() {
        let figures = run(seed, None, true).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        sum.starts += figures.starts;
        sum.frames += figures.frames;
        sum.torn += figures.torn;
        sum.abandoned += figures.abandoned;
        sum.full += figures.full;
        sum.failures += figures.failures;
        sum.removed += figures.removed;
        sum.operations += figures.operations;
    }
    println!("{sum:?}");
    // The cases reach what they are about.
    for (what, figure) in [
        ("torn", sum.torn),
        ("abandoned", sum.abandoned),
        ("full", sum.full),
        ("failures", sum.failures),
        ("removed", sum.removed),
    ] {
        assert!(figure > 0, "no case had any {what}");
    }
}

#[test]
fn a_power_cut_or_a_failure_at_every_operation_is_survived() {
    for script in 0..8 {
        let operations = scripted(script, |_| {}).unwrap();
        for n in 1..=operations {
            scripted(script, |disk| disk.crash_after(n))
                .unwrap_or_else(|what| panic!("script {script}, power cut at {n}: {what}"));
            scripted(script, |disk| disk.fail_after(n))
                .unwrap_or_else(|what| panic!("script {script}, failure at {n}: {what}"));
            scripted(script, |disk| disk.fail_sync_after(n))
                .unwrap_or_else(|what| panic!("script {script}, sync {n} fails: {what}"));
        }
    }
}

#[test]
fn the_deliberate_faults_are_noticed() {
    for fault in [
        Fault::FileSyncSkipped,
        Fault::DirectorySyncSkipped,
        Fault::ChecksumIgnored,
    ] {
        // Without snapshots too, so that it is the ledger where the fault shows.
        for snapshots in [true, false] {
            let noticed =
                (0..2000).find_map(|seed| Some((seed, run(seed, Some(fault), snapshots).err()?)));
            let (seed, what) = noticed.unwrap_or_else(|| panic!("{fault:?} was not noticed"));
            run(seed, None, snapshots).expect("it is the fault that is noticed");
            println!(
                "{fault:?}, snapshots: {snapshots}: case {}: {what}",
                seed + 1
            );
        }
    }
}

#[test]
fn a_full_disk_keeps_everything_and_goes_on_when_there_is_space() {
    let disk = SimulatedDisk::new(4);
    let (recovery, _) = read(&disk, 0).unwrap();
    let mut encoder = Encoder::new(recovery.next);
    let mut writer = SegmentWriter::new(Arc::new(disk.clone()), &recovery, 1000, 1);
    for i in 0..3 {
        encoder.tick(Micros(i));
    }
    writer.push(encoder.take(Batch::default()));
    assert_eq!(writer.commit().unwrap(), 3);
    disk.set_space_left(60);
    for i in 3..9 {
        encoder.tick(Micros(i));
        let spare = writer.spare().unwrap_or_default();
        writer.push(encoder.take(spare));
        for _ in 0..3 {
            if let Err(error) = writer.commit() {
                assert!(error.is_no_space(), "{error}");
            }
        }
    }
    assert!(writer.is_pending());
    disk.heal();
    assert_eq!(writer.commit().unwrap(), 9);
    assert!(writer.abandoned() > 0);
    disk.reboot();
    let (recovery, found) = read(&disk, 0).unwrap();
    let ticks: Vec<_> = (0..9).map(|i| (i + 1, Content::Tick(i as i64))).collect();
    assert_eq!(found, ticks);
    assert!(recovery.abandoned_bytes > 0);
    assert_eq!(recovery.torn_bytes, 0);
}
