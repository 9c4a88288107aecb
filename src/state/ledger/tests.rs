//! The ledger on a real disk: what goes in comes out, and what is damaged is named.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Disk, RealDisk, StoreError};
use super::*;
use crate::base::{Chunk, LineSpan, Micros, StreamName};

/// A frame with everything it says, to be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Data {
        source: String,
        number: u64,
        name: String,
        identity: Vec<u8>,
        place: (i64, u64, u64, bool),
        request: Option<(String, u32, u32)>,
        lines: Vec<LineSpan>,
        bytes: Vec<u8>,
    },
    Extent {
        source: String,
        name: String,
        place: (i64, u64, u64, bool),
        lines: u32,
    },
    Control(u8, u32, Vec<u8>),
    Tick(i64),
}

impl Content {
    pub(super) fn of(frame: &Frame<'_>) -> Content {
        match frame {
            Frame::Data(data) => {
                let chunk = data.to_chunk(0);
                let request = data
                    .request
                    .map(|r| (r.key.to_owned(), r.accepted, r.rejected));
                Content::chunk(&data.stream.source, &chunk, request)
            }
            Frame::Extent(e) => Content::Extent {
                source: e.stream.source.clone(),
                name: e.stream.name.name.clone(),
                place: (e.received.0, e.start, e.end, e.last),
                lines: e.lines,
            },
            Frame::Control(c) => Content::Control(c.what, c.model, c.bytes.to_vec()),
            Frame::Tick(now) => Content::Tick(now.0),
        }
    }

    pub(super) fn chunk(
        source: &str,
        chunk: &Chunk,
        request: Option<(String, u32, u32)>,
    ) -> Content {
        Content::Data {
            source: source.to_owned(),
            number: chunk.stream.number,
            name: chunk.stream.name.clone(),
            identity: chunk.stream.identity.clone(),
            place: (chunk.received.0, chunk.start, chunk.end, chunk.last),
            request,
            lines: chunk.lines.clone(),
            bytes: chunk.bytes.clone(),
        }
    }

    pub(super) fn extent(source: &str, chunk: &Chunk) -> Content {
        Content::Extent {
            source: source.to_owned(),
            name: chunk.stream.name.clone(),
            place: (chunk.received.0, chunk.start, chunk.end, chunk.last),
            lines: chunk.lines.len() as u32,
        }
    }
}

/// Text cut into its lines.
pub(super) fn chunk(source: u16, number: u64, start: u64, text: &str, last: bool) -> Chunk {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.trim_end_matches(['\n', '\r']).len() as u32;
        lines.push(LineSpan {
            start: at,
            end,
            too_long: line.contains('!'),
        });
        at += line.len() as u32;
    }
    Chunk {
        source,
        received: Micros(-7 + start as i64),
        stream: Arc::new(StreamName {
            number,
            name: format!("peer \"{number}\""),
            identity: vec![number as u8; number as usize % 5],
        }),
        start,
        end: start + text.len() as u64,
        last,
        bytes: text.as_bytes().to_vec(),
        lines,
    }
}

pub(super) type Found = Vec<(u64, Content)>;

pub(super) fn read(disk: &dyn Disk, from: u64) -> Result<(Recovery, Found), StoreError> {
    let mut found = Vec::new();
    let recovery = recover::<StoreError>(disk, from, Lost::Refuse, |seq, frame| {
        found.push((seq, Content::of(&frame)));
        Ok(())
    })?;
    Ok((recovery, found))
}

struct Ledger {
    folder: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    encoder: Encoder,
    writer: SegmentWriter,
}

impl Ledger {
    fn new(limit: u64) -> Ledger {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.path()));
        Ledger::over(folder, disk, limit, 0)
    }

    fn over(folder: tempfile::TempDir, disk: Arc<dyn Disk>, limit: u64, from: u64) -> Ledger {
        let (recovery, _) = read(&*disk, from).unwrap();
        Ledger {
            folder,
            encoder: Encoder::new(recovery.next),
            writer: SegmentWriter::new(Arc::clone(&disk), &recovery, limit, 1),
            disk,
        }
    }

    fn commit(&mut self) -> u64 {
        let spare = self.writer.spare().unwrap_or_default();
        self.writer.push(self.encoder.take(spare));
        self.writer.commit().unwrap()
    }

    fn reopen(self, limit: u64) -> Ledger {
        Ledger::over(self.folder, self.disk, limit, 0)
    }

    fn files(&self) -> Vec<String> {
        let mut names = self.disk.list("").unwrap();
        names.sort();
        names
    }
}

fn bytes_of(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join(name)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn every_kind_of_frame_comes_back_as_it_was_in_order_and_after_the_snapshot_only() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    let request = Request {
        key: "a key",
        accepted: 2,
        rejected: 1,
    };
    let one = chunk(0, 3, 100, "eins\r\nzwei\n\n!drei\nlast", false);
    let two = chunk(1, 3, 0, "", true);
    let expected = [
        (1, Content::chunk("tcp", &one, None)),
        (
            2,
            Content::chunk("http", &two, Some(("a key".into(), 2, 1))),
        ),
        (3, Content::extent("file", &one)),
        (4, Content::Control(9, 4, b"label".to_vec())),
        (5, Content::Tick(-1)),
        (6, Content::chunk("tcp", &one, None)),
    ];
    assert_eq!(ledger.encoder.data("tcp", &one, None), Ok(1));
    assert_eq!(ledger.encoder.data("http", &two, Some(request)), Ok(2));
    let mut other = chunk(2, 3, 100, "eins\r\nzwei\n\n!drei\nlast", false);
    other.stream = Arc::clone(&one.stream);
    assert_eq!(ledger.encoder.extent("file", &other), Ok(3));
    assert_eq!(ledger.commit(), 3);
    assert_eq!(ledger.encoder.control(9, 4, b"label"), Ok(4));
    assert_eq!(ledger.encoder.tick(Micros(-1)), 5);
    assert_eq!(ledger.encoder.data("tcp", &one, None), Ok(6));
    assert_eq!(ledger.commit(), 6);
    for from in 0..=6 {
        let (recovery, found) = read(&*ledger.disk, from).unwrap();
        assert_eq!(found, expected[from as usize..]);
        assert_eq!(recovery.next, 7);
        assert_eq!(recovery.frames, 6 - from);
        assert_eq!((recovery.torn_bytes, recovery.abandoned_bytes), (0, 0));
    }
}

#[test]
fn a_stream_is_one_across_segments_and_another_of_the_same_number_is_another() {
    let mut ledger = Ledger::new(200);
    for i in 0..20 {
        let last = i == 9;
        let chunk = chunk(0, 7, i * 10, "0123456789\n", last);
        ledger.encoder.data("tcp", &chunk, None).unwrap();
        ledger.commit();
    }
    assert!(ledger.files().len() > 3);
    let mut names: Vec<(u64, Arc<StreamName>)> = Vec::new();
    recover::<StoreError>(&*ledger.disk, 0, Lost::Refuse, |_, frame| {
        if let Frame::Data(data) = frame {
            names.push((data.stream.ledger, Arc::clone(&data.stream.name)));
        }
        Ok(())
    })
    .unwrap();
    assert!(
        names[..10]
            .iter()
            .all(|(n, name)| *n == 1 && Arc::ptr_eq(name, &names[0].1))
    );
    assert!(
        names[10..]
            .iter()
            .all(|(n, name)| *n == 11 && Arc::ptr_eq(name, &names[10].1))
    );
    // Each segment can be read alone.
    for from in 0..20 {
        assert_eq!(
            read(&*ledger.disk, from).unwrap().1.len(),
            20 - from as usize
        );
    }
}

#[test]
fn segments_that_two_snapshots_are_past_go_and_the_newest_stays() {
    let mut ledger = Ledger::new(100);
    for i in 0..6 {
        ledger.encoder.tick(Micros(i));
        ledger.commit();
    }
    assert_eq!(ledger.writer.segments(), ledger.files().len());
    let firsts = |ledger: &Ledger| -> Vec<u64> {
        let files = ledger.files();
        files
            .iter()
            .map(|f| segment::first_in(f).unwrap())
            .collect()
    };
    assert_eq!(firsts(&ledger), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ledger.writer.remove_before(3).unwrap(), 3);
    assert_eq!(firsts(&ledger), [4, 5, 6]);
    assert_eq!(ledger.writer.remove_before(u64::MAX).unwrap(), 2);
    assert_eq!(firsts(&ledger), [6]);
    assert_eq!(read(&*ledger.disk, 5).unwrap().1, [(6, Content::Tick(5))]);
    let error = read(&*ledger.disk, 4).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("begins with frame 6"), "{error}");
}

#[test]
fn a_ledger_that_someone_took_away_stops_the_start_unless_that_is_accepted() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    for i in 0..3 {
        ledger.encoder.tick(Micros(i));
    }
    ledger.commit();
    assert_eq!(read(&*ledger.disk, 3).unwrap().0.next, 4);
    let behind = read(&*ledger.disk, 4).unwrap_err();
    assert!(behind.to_string().contains("ends with frame 3"), "{behind}");
    ledger.disk.remove(&segment::name(1)).unwrap();
    let gone = read(&*ledger.disk, 3).unwrap_err();
    assert_eq!(gone.exit_code(), 3);
    assert!(gone.to_string().contains("is not there"), "{gone}");
    assert!(gone.to_string().contains("--from"), "{gone}");
    let accepted = recover::<StoreError>(&*ledger.disk, 3, Lost::Accept, |_, _| Ok(())).unwrap();
    assert!(accepted.lost);
    assert_eq!(accepted.next, 4);
    let fresh = read(&*ledger.disk, 0).unwrap().0;
    assert_eq!((fresh.next, fresh.lost, fresh.oldest()), (1, false, None));
}

#[test]
fn damage_names_the_file_the_place_the_frame_and_the_way_out() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    for i in 0..4 {
        ledger.encoder.tick(Micros(i));
        ledger.commit();
    }
    let name = segment::name(1);
    let mut bytes = bytes_of(ledger.folder.path(), &name);
    // Header, then pairs of a mark (25 bytes) and a tick (25 bytes).
    let offset = segment::HEADER + 3 * 25;
    bytes[offset..offset + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    put(ledger.folder.path(), &name, &bytes);
    let error = read(&*ledger.disk, 0).unwrap_err();
    let text = error.to_string();
    for part in [
        ledger.folder.path().join(&name).to_str().unwrap(),
        &format!("byte {offset}"),
        "frame 2 ",
        "no frame has this length",
        "3 was durable",
        "restore",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(error.exit_code(), 3);
    // The same in the last batch is what a crash leaves.
    bytes.truncate(segment::HEADER + 4 * 25);
    put(ledger.folder.path(), &name, &bytes);
    let (recovery, found) = read(&*ledger.disk, 0).unwrap();
    assert_eq!((found.len(), recovery.torn_bytes), (1, 25));
}

#[test]
fn a_segment_that_is_missing_strange_or_of_another_engine_is_refused() {
    let mut ledger = Ledger::new(100);
    for i in 0..3 {
        ledger.encoder.tick(Micros(i));
        ledger.commit();
    }
    let dir = ledger.folder.path().to_owned();
    let second = bytes_of(&dir, &segment::name(2));
    ledger.disk.remove(&segment::name(2)).unwrap();
    let error = read(&*ledger.disk, 0).unwrap_err().to_string();
    assert!(error.contains("the next segment begins with 3"), "{error}");
    std::os::unix::fs::symlink(dir.join(segment::name(1)), dir.join(segment::name(2))).unwrap();
    let error = read(&*ledger.disk, 0).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    ledger.disk.remove(&segment::name(2)).unwrap();
    put(&dir, &segment::name(2), &bytes_of(&dir, &segment::name(1)));
    let error = read(&*ledger.disk, 0).unwrap_err().to_string();
    assert!(error.contains("another number than its name"), "{error}");
    let mut header = segment::Header::decode(second.first_chunk().unwrap()).unwrap();
    header.engine += 1;
    let mut other = second.clone();
    other[..segment::HEADER].copy_from_slice(&header.encode());
    put(&dir, &segment::name(2), &other);
    let error = read(&*ledger.disk, 0).unwrap_err();
    assert!(matches!(error, StoreError::LedgerVersion { .. }), "{error}");
    // What the snapshot has is not read again.
    assert_eq!(read(&*ledger.disk, 2).unwrap().1.len(), 1);
}

#[test]
fn unfinished_segments_go_at_the_next_start_and_other_files_stay() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    ledger.encoder.tick(Micros(0));
    ledger.commit();
    for name in [
        "ledger-00000000000000000009.log.tmp",
        "ledger-1.log",
        "notes.tmp",
    ] {
        put(ledger.folder.path(), name, b"x");
    }
    let ledger = ledger.reopen(SEGMENT_BYTES);
    assert_eq!(
        ledger.files(),
        [&segment::name(1), "ledger-1.log", "notes.tmp"]
    );
}

#[test]
fn a_stream_that_ended_is_forgotten_however_it_ended() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    for number in 0..3 {
        let chunk = chunk(0, number, 0, "x\n", number == 0);
        ledger.encoder.data("tcp", &chunk, None).unwrap();
    }
    ledger.encoder.close(0, 1);
    ledger.commit();
    assert_eq!(ledger.writer.streams(), 1);
    ledger.encoder.close(0, 2);
    assert_eq!(ledger.commit(), 3, "nothing to write");
    assert_eq!(ledger.writer.streams(), 0);
}

#[test]
fn what_is_too_long_takes_no_number() {
    let mut encoder = Encoder::new(5);
    let key = "k".repeat(MAX_KEY + 1);
    let request = Request {
        key: &key,
        accepted: 0,
        rejected: 0,
    };
    let one = chunk(0, 1, 0, "x\n", false);
    assert!(encoder.data("s", &one, Some(request)).is_err());
    assert_eq!(encoder.data("s", &one, None), Ok(5));
    assert_eq!(encoder.next(), 6);
}

#[test]
fn in_the_steady_state_frames_are_encoded_without_allocating() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    let chunk = chunk(0, 1, 0, &"0123456789\n".repeat(100), false);
    let spare: Vec<Batch> = (0..2)
        .map(|_| {
            for _ in 0..50 {
                ledger.encoder.data("s", &chunk, None).unwrap();
            }
            ledger.encoder.take(Batch::default())
        })
        .collect();
    let mut spare = spare.into_iter();
    drop(ledger.encoder.take(spare.next().unwrap()));
    let info = allocation_counter::measure(|| {
        for _ in 0..50 {
            ledger.encoder.data("s", &chunk, None).unwrap();
        }
    });
    assert_eq!(info.count_total, 0);
}

/// Seconds that something takes, the least of several times.
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn least(times: u32, mut what: impl FnMut()) -> f64 {
    (0..times)
        .map(|_| {
            let began = std::time::Instant::now();
            what();
            began.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn speed() {
    let mut ledger = Ledger::new(SEGMENT_BYTES);
    let line = format!("{}\n", "x".repeat(99));
    let large = chunk(0, 1, 0, &line.repeat(2621), false);
    let encode = least(200, || {
        ledger.encoder.data("s", &large, None).unwrap();
        if ledger.encoder.batch().size() > 4 << 20 {
            let batch = ledger.encoder.take(Batch::default());
            drop(ledger.encoder.take(batch));
        }
    });
    let bytes = large.bytes.len() as f64;
    let copy = least(200, || {
        std::hint::black_box(large.bytes.clone());
    });
    println!(
        "chunk of 256 KiB encoded in {:.1} us: {:.1} GB/s (a plain copy: {:.1} GB/s)",
        encode * 1e6,
        bytes / encode / 1e9,
        bytes / copy / 1e9
    );
    for (what, per_frame) in [("a frame each", 1), ("2,621 a frame", 2621)] {
        let mut ledger = Ledger::new(SEGMENT_BYTES);
        let chunk = chunk(0, 1, 0, &line.repeat(per_frame), false);
        let mut records = 0;
        let write = least(1, || {
            while records < 1_000_000 {
                ledger.encoder.data("s", &chunk, None).unwrap();
                records += per_frame as u64;
                if ledger.encoder.batch().is_full() {
                    ledger.commit();
                }
            }
            ledger.commit();
        });
        let disk = Arc::clone(&ledger.disk);
        let recover = least(3, || {
            let mut lines = 0;
            recover::<StoreError>(&*disk, 0, Lost::Refuse, |_, frame| {
                if let Frame::Data(data) = frame {
                    lines += data.lines.len() as u64;
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(lines, records);
        });
        println!("1,000,000 records, {what}: written in {write:.2} s, recovered in {recover:.3} s");
    }
}

proptest! {
    #[test]
    fn any_spans_come_back(
        spans in prop::collection::vec((0u32..2000, 0u32..2000, any::<bool>()), 0..50),
        last in any::<bool>(),
    ) {
        let bytes = vec![b'x'; 2000];
        let lines = spans
            .into_iter()
            .map(|(a, b, too_long)| LineSpan { start: a.min(b), end: a.max(b), too_long })
            .collect();
        let chunk = Chunk { bytes, lines, ..chunk(0, 1, 0, "", last) };
        let mut encoder = Encoder::new(1);
        encoder.data("s", &chunk, None).unwrap();
        let batch = encoder.take(Batch::default());
        let mut at = 0;
        let mut found = None;
        let mut stream = None;
        let mut spans = Vec::new();
        while at < batch.bytes.len() {
            let size = frame::size(*batch.bytes[at..].first_chunk().unwrap()).unwrap() as usize;
            let raw = frame::open(&batch.bytes[at..at + size], 0, true).unwrap();
            match raw.kind {
                frame::OPEN => stream = frame::open_stream(raw.payload),
                frame::DATA => found = Some(raw),
                _ => {}
            }
            at += size;
        }
        let frame = frame::decode(found.unwrap(), stream.as_ref(), &mut spans).unwrap();
        prop_assert_eq!(Content::of(&frame), Content::chunk("s", &chunk, None));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(kind in 0u8..8, payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let stream = frame::open_stream(&payload);
        let known = Stream {
            ledger: 1,
            source: "s".into(),
            name: Arc::clone(&chunk(0, 1, 0, "", false).stream),
        };
        let raw = frame::Raw { seq: 1, kind, payload: &payload };
        let mut lines = Vec::new();
        let _ = frame::decode(raw, stream.as_ref().or(Some(&known)), &mut lines);
        prop_assert!(lines.capacity() <= 2 * payload.len().max(4));
    }
}
