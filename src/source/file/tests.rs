//! Following files against a stand-in for the engine: rotation, truncation, archives, kills.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::pin::pin;

use super::super::Resume;
use super::super::chunker::tests::texts;
use super::super::context::tests::Harness;
use super::*;
use crate::math::Random;

fn config(dir: &Path, globs: &[&str], follow: bool) -> FileConfig {
    FileConfig {
        paths: globs
            .iter()
            .map(|g| dir.join(g).display().to_string())
            .collect(),
        from_start: true,
        follow,
        follow_symlinks: false,
        poll_interval_ms: 1,
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Runs the source until it has given `want` lines, or so many deliveries, then kills it.
async fn read(
    config: &FileConfig,
    resume: Vec<Resume>,
    want: usize,
    deliveries: usize,
) -> (Vec<String>, Harness) {
    let (mut harness, context) = Harness::new(resume);
    let source = FileSource::open(config.clone(), context).unwrap();
    let mut run = pin!(source.run());
    let mut got = Vec::new();
    for _ in 0..deliveries {
        if got.len() >= want {
            break;
        }
        tokio::select! {
            biased;
            delivery = harness.next() => match delivery {
                Some(delivery) => got.extend(texts(&delivery.chunk)),
                None => break,
            },
            ended = &mut run => {
                ended.unwrap();
                while let Some(delivery) = harness.next().await {
                    got.extend(texts(&delivery.chunk));
                }
                break;
            }
        }
    }
    (got, harness)
}

/// Reads without following, to the end.
async fn read_whole(config: &FileConfig, resume: Vec<Resume>) -> (Vec<String>, Harness) {
    read(config, resume, usize::MAX, usize::MAX).await
}

#[tokio::test]
async fn files_are_read_oldest_first_and_the_last_line_counts() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.log", "one\ntwo"),
        ("a.log", "three\n"),
        ("empty.log", ""),
    ] {
        append(&dir.path().join(name), text);
        let file = File::open(dir.path().join(name)).unwrap();
        let second = if name == "b.log" { 1 } else { 2 };
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(second))
            .unwrap();
    }
    let config = config(dir.path(), &["*.log"], false);
    let (lines, harness) = read_whole(&config, Vec::new()).await;
    assert_eq!(lines, ["one", "two", "three"]);
    let (again, _) = read_whole(&config, harness.resume()).await;
    assert!(again.is_empty(), "{again:?}");
}

#[tokio::test]
async fn what_was_added_to_a_finished_file_is_read_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["a.log"], false);
    append(&dir.path().join("a.log"), "one\n");
    let (_, harness) = read_whole(&config, Vec::new()).await;
    append(&dir.path().join("a.log"), "two\n");
    let (lines, harness) = read_whole(&config, harness.resume()).await;
    assert_eq!(lines, ["two"]);
    assert_eq!(harness.resume().len(), 1, "it is still the same stream");
}

#[tokio::test]
async fn from_end_holds_for_files_that_are_there_at_the_very_first_start_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), &["*.log"], true);
    config.from_start = false;
    let (_, none_yet) = read(&config, Vec::new(), 1, 1).await;
    append(&dir.path().join("a.log"), "old\nhalf");
    let (lines, _) = read(&config, none_yet.resume(), 1, 5).await;
    assert_eq!(lines, ["old"], "the source had run before this file came");
    // Now for a source that never ran.
    let (_, harness) = read(&config, Vec::new(), 1, 2).await;
    append(&dir.path().join("a.log"), " line\n");
    append(&dir.path().join("b.log"), "new\n");
    let (lines, _) = read(&config, harness.resume(), 2, 9).await;
    assert_eq!(lines, ["half line", "new"]);
}

#[tokio::test]
async fn a_truncated_file_is_counted_once_and_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let config = config(dir.path(), &["a.log"], true);
    append(&path, "one\ntwo\n");
    let (mut harness, context) = Harness::new(Vec::new());
    let mut run = pin!(FileSource::open(config, context).unwrap().run());
    let check = async {
        assert_eq!(harness.lines().await, ["one", "two"]);
        File::create(&path).unwrap().write_all(b"3\n").unwrap();
        assert_eq!(harness.lines().await, ["3"]);
        // Grown beyond the place read before the next look: only the content tells.
        File::create(&path)
            .unwrap()
            .write_all(b"a much longer line\n")
            .unwrap();
        assert_eq!(harness.lines().await, ["a much longer line"]);
    };
    tokio::select! {
        _ = &mut run => panic!("a followed file ended"),
        () = check => {}
    }
    assert_eq!(harness.stats.truncations.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_copy_made_before_truncation_gives_the_lines_that_were_not_read_yet() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
    let config = config(dir.path(), &["a.log"], true);
    let first: Vec<String> = (0..100).map(|i| format!("line {i}\n")).collect();
    append(&path, &first.concat());
    let (lines, harness) = read(&config, Vec::new(), 100, 9).await;
    assert_eq!(lines.len(), 100);
    append(&path, "late\n");
    fs::copy(&path, &copy).unwrap();
    File::create(&path).unwrap().write_all(b"new\n").unwrap();
    let (lines, harness) = read(&config, harness.resume(), 2, 9).await;
    assert_eq!(lines, ["late", "new"]);
    assert_eq!(harness.stats.truncations.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_log_that_is_compressed_after_it_was_read_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, zipped) = (dir.path().join("a.log"), dir.path().join("a.log.1.gz"));
    let config = config(dir.path(), &["a.log*"], true);
    let text: Vec<String> = (0..500).map(|i| format!("line {i}\n")).collect();
    append(&log, &text.concat());
    let (lines, harness) = read(&config, Vec::new(), 500, 9).await;
    assert_eq!(lines.len(), 500);
    append(&log, "unread\n");
    let text = fs::read(&log).unwrap();
    let mut encoder = flate2::read::GzEncoder::new(&text[..], flate2::Compression::default());
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).unwrap();
    File::create(&zipped).unwrap().write_all(&bytes).unwrap();
    fs::remove_file(&log).unwrap();
    append(&log, "new\n");
    let (lines, harness) = read(&config, harness.resume(), 2, 9).await;
    assert_eq!(lines, ["unread", "new"]);
    // Known by its content from now on, wherever it lies.
    fs::rename(&zipped, dir.path().join("a.log.2.gz")).unwrap();
    append(&log, "newer\n");
    let (lines, harness) = read(&config, harness.resume(), 1, 9).await;
    assert_eq!(lines, ["newer"]);
    assert_eq!(harness.stats.gone.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_file_deleted_while_nobody_looked_is_counted_as_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["*.log"], true);
    append(&dir.path().join("a.log"), "one\n");
    let (_, harness) = read(&config, Vec::new(), 1, 9).await;
    fs::remove_file(dir.path().join("a.log")).unwrap();
    append(&dir.path().join("b.log"), "two\n");
    let (lines, harness) = read(&config, harness.resume(), usize::MAX, 2).await;
    assert_eq!(lines, ["two"]);
    assert_eq!(harness.stats.gone.load(Ordering::Relaxed), 1);
    append(&dir.path().join("b.log"), "three\n");
    let (lines, harness) = read(&config, harness.resume(), 1, 9).await;
    assert_eq!(lines, ["three"]);
    assert_eq!(harness.stats.gone.load(Ordering::Relaxed), 0, "said once");
}

#[tokio::test]
async fn holes_before_the_first_byte_are_jumped_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    append(&path, "line\n");
    let (lines, _) = read_whole(&config(dir.path(), &["a.log"], false), Vec::new()).await;
    assert_eq!(lines, ["line"]);
}

/// Writes one log in order and rotates it as logrotate does.
struct Rotating {
    dir: PathBuf,
    random: Random,
    /// All lines written, and how many of them lie in each file, the newest first.
    lines: Vec<String>,
    counts: Vec<usize>,
}

impl Rotating {
    fn path(&self, generation: usize) -> PathBuf {
        let name = match generation {
            0 => "app.log".to_owned(),
            n => format!("app.log.{n}"),
        };
        self.dir.join(name)
    }

    fn write(&mut self) {
        for _ in 0..=self.random.below(20) {
            let line = format!("{} {:x}", self.lines.len(), self.random.bits());
            append(&self.path(0), &format!("{line}\n"));
            self.lines.push(line);
            self.counts[0] += 1;
        }
    }

    /// Rotates; a file whose lines were all received may be deleted. Now and then the last line
    /// lacks its newline.
    fn rotate(&mut self, received: usize) {
        if self.counts[0] == 0 {
            return;
        }
        if self.random.below(3) == 0 {
            let line = format!("{} cut", self.lines.len());
            append(&self.path(0), &line);
            self.lines.push(line);
            self.counts[0] += 1;
        }
        let kept: usize = self.counts[..self.counts.len() - 1].iter().sum();
        if self.counts.len() > 3 && received >= self.lines.len() - kept {
            fs::remove_file(self.path(self.counts.len() - 1)).unwrap();
            self.counts.pop();
        }
        for generation in (0..self.counts.len()).rev() {
            fs::rename(self.path(generation), self.path(generation + 1)).unwrap();
        }
        self.counts.insert(0, 0);
        // Whoever opens the log anew writes into it soon.
        self.write();
    }
}

async fn survives_kills(glob: &str, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[glob], true);
    let mut log = Rotating {
        dir: dir.path().to_path_buf(),
        random: Random::new(seed),
        lines: Vec::new(),
        counts: vec![0],
    };
    // Of a log that was never seen, only what the pattern matches is read.
    log.write();
    let (mut received, harness) = read(&config, Vec::new(), 1, 1).await;
    // The snapshot: positions, and how many lines it accounts for. It lags behind.
    let mut saved = (harness.resume(), received.len());
    for _ in 0..12 {
        received.truncate(saved.1);
        let (mut harness, context) = Harness::new(saved.0.clone());
        let source = FileSource::open(config.clone(), context).unwrap();
        let mut run = pin!(source.run());
        // Dead until here: anything may have happened meanwhile.
        for _ in 0..log.random.below(4) {
            log.write();
            if log.random.below(2) == 0 {
                log.rotate(saved.1);
            }
        }
        for _ in 0..log.random.below(12) {
            log.write();
            if log.random.below(3) == 0 {
                log.rotate(saved.1);
            }
            let deliveries = log.random.below(5);
            for _ in 0..deliveries {
                if received.len() == log.lines.len() {
                    break;
                }
                tokio::select! {
                    biased;
                    delivery = harness.next() => {
                        received.extend(texts(&delivery.unwrap().chunk));
                    }
                    _ = &mut run => panic!("a followed file ended"),
                }
                if log.random.below(3) == 0 {
                    saved = (harness.resume(), received.len());
                }
            }
            let wrong = received.iter().zip(&log.lines).position(|(a, b)| a != b);
            if let Some(i) = wrong {
                let (got, want) = (&received[i], &log.lines[i]);
                panic!("glob {glob}, seed {seed}: `{got}` where `{want}` was due");
            }
        }
    }
    received.truncate(saved.1);
    let left = log.lines.len() - received.len();
    let (rest, _) = read(&config, saved.0, left, 1000).await;
    received.extend(rest);
    assert!(received == log.lines, "glob {glob}, seed {seed}");
}

#[tokio::test]
async fn every_line_comes_once_and_in_order_over_kills_and_rotations() {
    for seed in 0..60 {
        survives_kills("app.log*", seed).await;
        survives_kills("app.log", seed).await;
    }
}

#[tokio::test]
async fn reads_more_files_than_may_be_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["*.log"], true);
    let mut want = Vec::new();
    for i in 0..MAX_OPEN + 40 {
        append(
            &dir.path().join(format!("{i:04}.log")),
            &format!("line {i}\n"),
        );
        want.push(format!("line {i}"));
    }
    let (mut lines, harness) = read(&config, Vec::new(), want.len(), 10_000).await;
    lines.sort();
    want.sort();
    assert_eq!(lines, want);
    append(&dir.path().join("0000.log"), "more\n");
    let (lines, _) = read(&config, harness.resume(), 1, 10_000).await;
    assert_eq!(lines, ["more"]);
}
