//! What was acknowledged is learned, once, whatever happens to the daemon; what comes over
//! connections and pipes is in the journal before it is learned.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::support::{Daemon, digest, inspect, learnd, state_dir, write};

fn config(every: &str, reply: &str) -> String {
    format!(
        r#"
        [state]
        dir = "state"
        snapshot_every = "{every}"
        [sources.orders]
        type = "tcp"
        listen = "127.0.0.1:0"
        reply = "{reply}"
        [models.y]
        task = "regression"
        label = "y"
        [models.odd]
        task = "anomaly"
        time = "ts"
        features = ["x"]
        "#
    )
}

fn line(i: u64) -> String {
    let mut random = learnd::math::Random::new(i);
    let (x, z) = (random.normal(), random.normal());
    format!(
        "{{\"ts\":{},\"x\":{x},\"y\":{}}}\n",
        1_700_000_000 + i,
        x + z
    )
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(line).collect()
}

/// A client whose lines are acknowledged.
struct Client {
    write: TcpStream,
    read: BufReader<TcpStream>,
}

impl Client {
    fn connect(daemon: &Daemon) -> Client {
        let write = TcpStream::connect(daemon.tcp()).expect("it listens");
        write
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        let read = BufReader::new(write.try_clone().expect("a second handle"));
        Client { write, read }
    }

    fn send(&mut self, text: &str) {
        self.write.write_all(text.as_bytes()).expect("it reads");
    }

    /// The next line; empty at the end.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        // A connection that the kill reset is at its end, too.
        let _ = self.read.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// Reads acknowledgements until this many lines are.
    fn wait_for(&mut self, lines: u64) {
        loop {
            let answer = self.answer();
            let number = answer.strip_prefix("ACK ").expect("an acknowledgement");
            let number: u64 = number.parse().expect("a number");
            assert!(number <= lines, "{number} of {lines}");
            if number == lines {
                return;
            }
        }
    }
}

fn uninterrupted(count: u64) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    let mut client = Client::connect(&daemon);
    client.send(&lines(0..count));
    client.wait_for(count);
    assert!(daemon.stop().0.success());
    digest(&state)
}

fn records(dir: &Path) -> u64 {
    inspect(dir)["records"].as_u64().expect("a number")
}

#[test]
fn what_was_acknowledged_before_a_kill_is_learned_again_to_the_same_bits() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    // No snapshot is due in this test: everything comes from the journal.
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    let mut client = Client::connect(&daemon);
    client.send(&lines(0..500));
    client.wait_for(500);
    daemon.kill();

    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    assert_eq!(
        daemon.metric("learnd_ledger_replayed_lines_total"),
        Some(500.0)
    );
    let mut client = Client::connect(&daemon);
    client.send(&lines(500..700));
    client.wait_for(200);
    daemon.kill();

    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    assert!(daemon.stop().0.success());
    assert_eq!(records(&state), 700);
    assert_eq!(digest(&state), uninterrupted(700));
}

#[test]
fn a_named_stream_goes_on_where_its_last_acknowledgement_left_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let total = 3000;
    let mut sent = 0;
    for kill in 0..6 {
        let every = if kill % 2 == 0 { "10ms" } else { "1h" };
        let daemon = Daemon::start(dir.path(), &config(every, "ack"));
        let mut client = Client::connect(&daemon);
        client.send("HELLO web-1\n");
        let answer = client.answer();
        let known = answer.strip_prefix("OK ").expect("a greeting");
        let known: u64 = known.parse().expect("a number");
        assert!(known >= sent, "{known} known, {sent} acknowledged");
        let end = (known + 500).min(total);
        client.send(&lines(known..end));
        if kill < 5 {
            // Killed with some of it acknowledged, and some perhaps not.
            let answer = client.answer();
            sent = answer
                .strip_prefix("ACK ")
                .map_or(sent, |n| n.parse().expect("a number"));
            daemon.kill();
        } else {
            client.send(&lines(end..total));
            client.wait_for(total);
            assert!(daemon.stop().0.success());
        }
    }
    assert_eq!(records(&state), total);
    assert_eq!(digest(&state), uninterrupted(total));
}

#[test]
fn a_second_connection_of_a_stream_takes_it_over() {
    let dir = tempfile::tempdir().expect("a folder");
    state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    let mut first = Client::connect(&daemon);
    first.send("HELLO a\n");
    assert_eq!(first.answer(), "OK 0");
    first.send(&(lines(0..10) + "{\"half\":"));
    first.wait_for(10);
    let mut second = Client::connect(&daemon);
    second.send(&("HELLO a\n".to_owned() + &lines(10..20)));
    assert_eq!(second.answer(), "OK 10");
    second.wait_for(20);
    assert_eq!(first.answer(), "");
    let mut wrong = Client::connect(&daemon);
    wrong.send("HELLO two words\n");
    assert!(wrong.answer().starts_with("ERR "));
    daemon.wait_metric("learnd_records_total{source=\"orders\"}", 20.0);
    assert_eq!(
        daemon.metric("learnd_rejected_total{reason=\"syntax\",source=\"orders\"}"),
        Some(0.0)
    );
}

#[test]
fn lines_of_a_pipe_survive_a_kill_and_snapshots_shorten_the_journal() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let config = config("20ms", "ack").replace("type = \"tcp\"", "type = \"stdin\"");
    let config = config
        .replace("listen = \"127.0.0.1:0\"", "")
        .replace("reply = \"ack\"", "");
    let mut count = 0;
    for _ in 0..3 {
        let mut daemon = Daemon::start(dir.path(), &config);
        let mut stdin = daemon.stdin();
        stdin
            .write_all(lines(count..count + 200).as_bytes())
            .expect("it reads");
        daemon.wait_metric("learnd_records_total{source=\"orders\"}", 200.0);
        count += 200;
        // The journal's thread says that the sync was done before the kill.
        let synced = || daemon.metric("learnd_ledger_sync_duration_seconds_count");
        crate::support::wait_for("a sync", || synced().filter(|n| *n > 0.0));
        drop(stdin);
        assert!(daemon.finish().0.success());
    }
    assert_eq!(records(&state), 600);
}

#[test]
fn damage_in_the_middle_of_the_journal_stops_the_start_and_names_the_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    for part in 0..3 {
        let mut client = Client::connect(&daemon);
        client.send(&lines(part * 100..part * 100 + 100));
        client.wait_for(100);
    }
    daemon.kill();
    let segment = std::fs::read_dir(&state)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.extension().is_some_and(|e| e == "log"))
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[200] ^= 1;
    write(&segment, &bytes);

    write(&dir.path().join("again.toml"), config("1h", "ack"));
    let output = learnd()
        .current_dir(dir.path())
        .args(["run", "again.toml"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let name = segment.file_name().expect("a name").to_string_lossy();
    assert!(
        text.contains(&*name) && text.contains("damaged at byte"),
        "{text}"
    );
    assert_eq!(std::fs::read(&segment).expect("readable"), bytes);
}

#[test]
fn acknowledgements_need_a_journal() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("c.toml");
    let check = |text: &str| {
        write(&path, text);
        let output = learnd().arg("check").arg(&path).output().expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    state_dir(dir.path());
    let right = config("1h", "ack");
    assert_eq!(check(&right).0, Some(0));
    let without = right.replace("reply =", "durability = \"none\"\nreply =");
    let (code, text) = check(&without);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("only what is in the journal can be acknowledged"),
        "{text}"
    );
    let file = "[state]\ndir = \"state\"\n[sources.f]\ntype = \"file\"\npaths = [\"x\"]\ndurability = \"journal\"\n[models.m]\ntask = \"anomaly\"\n";
    let (code, text) = check(file);
    assert_eq!(code, Some(2));
    assert!(text.contains("can be read again"), "{text}");
}

/// Sends lines over a connection of their own and waits until they are on disk.
fn send(daemon: &Daemon, lines: &str) {
    let mut client = Client::connect(daemon);
    client.send(lines);
    client.wait_for(lines.lines().count() as u64);
}

#[test]
fn going_back_to_a_generation_learns_again_without_the_poisoned_hour() {
    use learnd::base::Clock as _;
    let now = || learnd::engine::SystemClock.now().0 as f64 / 1e6;

    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    send(&daemon, &lines(0..300));
    assert!(daemon.stop().0.success());
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    let began = now();
    let poison = "{\"ts\":1700000299,\"x\":1e6,\"y\":-1e9}\n".repeat(100);
    // The last is no record: no model that reads its time can.
    send(&daemon, &(poison + "{\"ts\":\"never\",\"x\":1,\"y\":1}\n"));
    let ended = now();
    send(&daemon, &lines(300..500));
    assert!(daemon.stop().0.success());
    let poisoned = digest(&state);

    let output = learnd()
        .args(["snapshots", "--json"])
        .arg(&state)
        .output()
        .expect("it runs");
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(listed[0]["generation"], 2);
    assert_eq!(listed[0]["digest"], poisoned.as_str());
    assert_eq!(listed[1]["records"], 300);

    let without = format!("orders/{began:.6}..{ended:.6}");
    let back = ["--from", "1", "--exclude", without.as_str()];
    let daemon = Daemon::start_with(dir.path(), &config("1h", "ack"), &back);
    assert_eq!(
        daemon.metric("learnd_ledger_replayed_lines_total"),
        Some(200.0)
    );
    // Not even a crash brings back what was undone.
    daemon.kill();
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    assert!(daemon.stop().0.success());
    assert_eq!(digest(&state), uninterrupted(500));
    assert_ne!(digest(&state), poisoned);
    // Those that were left out keep their numbers, so those after them keep their ids.
    assert_eq!(records(&state), 600);
}

#[test]
fn going_back_says_what_there_is_to_go_back_to() {
    let dir = tempfile::tempdir().expect("a folder");
    state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h", "ack"));
    send(&daemon, &lines(0..10));
    assert!(daemon.stop().0.success());
    let run = |arguments: &[&str]| {
        let output = learnd()
            .current_dir(dir.path())
            .args(["run", "learnd.toml"])
            .args(arguments)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run(&["--from", "7"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("no generation 7; there are: 1"), "{text}");
    let (code, text) = run(&["--from", "1", "--exclude", "pipe/.."]);
    assert_eq!(code, Some(2));
    assert!(text.contains("it keeps orders"), "{text}");
}
