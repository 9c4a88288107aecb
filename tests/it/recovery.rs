//! Stops and kills: what was learned is there again, bit for bit, and nothing is learned twice.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::support::{Daemon, digest, inspect, learnd, state_dir, wait_for, write};

fn config(glob: &str, extra: &str) -> String {
    format!(
        r#"
        [state]
        dir = "state"
        snapshot_every = "50ms"
        [sources.log]
        type = "file"
        paths = ["{glob}"]
        format = "json"
        poll_interval = "20ms"
        [models.y]
        task = "binary"
        label = "y"
        {extra}
        [models.odd]
        task = "anomaly"
        time = "ts"
        features = ["x", "z"]
        "#
    )
}

/// Line `i` of the stream; the same for ever.
fn line(i: u64) -> String {
    let mut random = learnd::math::Random::new(i);
    let (x, z) = (random.normal(), random.normal());
    let y = u8::from(x + 0.5 * z + 0.3 * random.normal() > 0.0);
    let page = random.below(20);
    format!(
        "{{\"ts\":{},\"x\":{x},\"z\":{z},\"page\":\"p{page}\",\"y\":{y}}}\n",
        1_700_000_000 + i
    )
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(line).collect()
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("writable");
    file.write_all(text.as_bytes()).expect("writable");
}

/// Renames as logrotate does: `app.log.1` to `app.log.2` and so on, then `app.log` to `app.log.1`.
fn rotate(log: &Path) {
    let name = |n: u32| log.with_extension(format!("log.{n}"));
    let last = (1..1000)
        .take_while(|n| name(*n).exists())
        .last()
        .unwrap_or(0);
    for n in (1..=last).rev() {
        fs::rename(name(n), name(n + 1)).expect("there");
    }
    fs::rename(log, name(1)).expect("there");
}

/// The digest of a run that learned these lines without any stop.
fn uninterrupted(count: u64, extra: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    write(&dir.path().join("app.log"), lines(0..count));
    let daemon = Daemon::start(dir.path(), &config("app.log", extra));
    daemon.wait_metric("learnd_records_total{source=\"log\"}", count as f64);
    assert!(daemon.stop().0.success());
    digest(&state)
}

#[test]
fn a_stop_and_a_start_continue_as_if_there_had_been_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let log = dir.path().join("app.log");
    for part in [0..700, 700..1000, 1000..1500] {
        let (from, to) = (part.start, part.end);
        append(&log, &lines(part));
        let daemon = Daemon::start(dir.path(), &config("app.log", ""));
        daemon.wait_metric("learnd_records_total{source=\"log\"}", (to - from) as f64);
        assert!(daemon.stop().0.success());
    }
    assert_eq!(digest(&state), uninterrupted(1500, ""));
    let state = inspect(&state);
    assert_eq!(state["records"], 1500);
    assert_eq!(state["models"][0]["records"], 1500);
    assert_eq!(state["positions"][0]["lines"], 1500);
}

#[test]
fn kills_at_any_moment_of_a_rotation_lose_and_repeat_nothing() {
    let extra = "update = { mode = \"minibatch\", records = 7 }";
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let log = dir.path().join("app.log");
    let mut random = learnd::math::Random::new(3);
    let mut written = 0;
    for _ in 0..12 {
        let daemon = Daemon::start(dir.path(), &config("app.log*", extra));
        for _ in 0..3 {
            let more = 20 + random.below(80);
            append(&log, &lines(written..written + more));
            written += more;
            if random.below(3) == 0 {
                rotate(&log);
            }
        }
        let seen = random.below(4);
        wait_for("some records", || {
            let records = daemon.metric("learnd_records_total{source=\"log\"}")?;
            (records >= seen as f64).then_some(())
        });
        daemon.kill();
    }
    let daemon = Daemon::start(dir.path(), &config("app.log*", extra));
    wait_for("everything to be learned", || {
        let (_, text) = daemon.get("/v1/models/y");
        let model: serde_json::Value = serde_json::from_str(&text).ok()?;
        (model["records"] == written).then_some(())
    });
    assert!(daemon.stop().0.success());
    assert_eq!(inspect(&state)["records"], written);
    assert_eq!(digest(&state), uninterrupted(written, extra));
}

#[test]
fn a_changed_configuration_keeps_what_fits_and_refuses_what_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    write(&dir.path().join("app.log"), lines(0..100));
    let daemon = Daemon::start(dir.path(), &config("app.log", ""));
    daemon.wait_metric("learnd_records_total{source=\"log\"}", 100.0);
    assert!(daemon.stop().0.success());
    let before = digest(&state);

    let other = config("app.log", "hash_bits = 12");
    write(&dir.path().join("learnd.toml"), &other);
    let run = |arguments: &[&str]| {
        let mut command = learnd();
        command
            .current_dir(dir.path())
            .arg("run")
            .args(arguments)
            .arg("learnd.toml");
        command.args([
            "--set",
            "server.listen=127.0.0.1:0",
            "--set",
            "sources.log.follow=false",
        ]);
        command.output().expect("it runs")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("hash_bits is 12 in the configuration, 18 in the state"),
        "{stderr}"
    );
    assert!(stderr.contains("--reset y"), "{stderr}");
    assert_eq!(digest(&state), before);

    let output = run(&["--reset", "y"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let after = inspect(&state);
    assert_eq!(after["models"][0]["records"], 0);
    assert_eq!(after["models"][1]["records"], 100);
    assert!(state.join("archive").is_dir());
}

#[test]
fn two_instances_cannot_share_a_state_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    state_dir(dir.path());
    write(&dir.path().join("app.log"), "");
    let _first = Daemon::start(dir.path(), &config("app.log", ""));
    let second = learnd()
        .current_dir(dir.path())
        .args(["run", "learnd.toml"])
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(5));
}

#[test]
fn state_that_cannot_be_read_stops_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    write(&dir.path().join("app.log"), lines(0..10));
    write(&dir.path().join("learnd.toml"), config("app.log", ""));
    write(
        &state.join("snapshot-00000000000000000001.safetensors"),
        "rubbish",
    );
    let output = learnd()
        .current_dir(dir.path())
        .args(["run", "learnd.toml", "--set", "server.listen=127.0.0.1:0"])
        .output()
        .expect("it runs");
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let missing = learnd()
        .current_dir(dir.path())
        .args(["run", "learnd.toml", "--set", "state.dir=nowhere"])
        .output()
        .expect("it runs");
    assert_eq!(missing.status.code(), Some(2));
}
