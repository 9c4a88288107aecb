//! The life of the daemon: stops in the middle of everything, exit codes, files that are moved
//! away under it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::Stdio;

use crate::support::{Daemon, inspect, learnd, state_dir, wait_for, write};

const MODEL: &str = "[models.y]\ntask = \"regression\"\nlabel = \"y\"\n";
const STDIN: &str = "[sources.in]\ntype = \"stdin\"\nformat = \"json\"\n";
const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\n";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the pipe is to be filled to the brim; short writes are counted"
)]
fn what_was_read_from_a_pipe_is_learned_when_a_stop_comes_in_between() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let sink = "[sinks.out]\ntype = \"stdout\"\nevents = [\"prediction\"]\n";
    let config = format!("[state]\ndir = \"state\"\n{STDIN}{MODEL}{sink}{SERVER}");
    write(&dir.path().join("c.toml"), config);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut rest = reader.try_clone().expect("the same pipe");
    let mut child = learnd()
        .current_dir(dir.path())
        .args(["run", "c.toml"])
        .stdin(reader)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    // Nobody reads the events, so learning comes to a halt and everything before it fills up.
    let flags = rustix::fs::fcntl_getfl(writer.as_fd()).expect("a pipe has flags");
    rustix::fs::fcntl_setfl(writer.as_fd(), flags | rustix::fs::OFlags::NONBLOCK)
        .expect("a pipe takes flags");
    let lines = "{\"x\":1,\"y\":2,\"padding\":\"................................\"}\n".repeat(64);
    let (mut written, mut full) = (0, 0);
    wait_for("the pipe to stay full", || {
        match writer.write(&lines.as_bytes()[written % lines.len()..]) {
            Ok(n) => (written, full) = (written + n, 0),
            Err(_) => full += 1,
        }
        (full > 100).then_some(())
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let mut events = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_string(&mut events).expect("UTF-8");
    assert!(child.wait().expect("a child").success());
    drop(writer);
    let mut left = Vec::new();
    rest.read_to_end(&mut left).expect("a pipe");
    let read = (written - left.len()) / (lines.len() / 64);
    assert_eq!(events.lines().count(), read, "of what was read");
    assert_eq!(inspect(&state)["records"], read);
}

#[test]
fn a_source_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    write(
        &dir.path().join("c.toml"),
        format!("{STDIN}{MODEL}{SERVER}"),
    );
    let output = learnd()
        .current_dir(dir.path())
        .args(["run", "c.toml"])
        .stdin(std::fs::File::open(dir.path()).expect("a folder"))
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("source in: standard input:"), "{stderr}");
}

#[test]
fn a_source_that_failed_before_a_stop_is_an_error_still() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = "[sources.net]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"json\"\n";
    write(
        &dir.path().join("c.toml"),
        format!("{STDIN}{other}{MODEL}{SERVER}"),
    );
    let mut child = learnd()
        .current_dir(dir.path())
        .args(["run", "c.toml"])
        .stdin(std::fs::File::open(dir.path()).expect("a folder"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut log = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let mut lines = log.by_ref().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.contains("source failed")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs on");
    let rest: String = log.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(child.wait().expect("a child").code(), Some(1), "{rest}");
    assert!(rest.contains("source in: standard input:"), "{rest}");
}

#[test]
fn events_that_a_full_disk_never_took_are_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let sink = "[sinks.out]\ntype = \"stdout\"\nevents = [\"prediction\"]\n";
    write(
        &dir.path().join("c.toml"),
        format!("{STDIN}{MODEL}{sink}{SERVER}"),
    );
    write(&dir.path().join("in.jsonl"), "{\"x\":1,\"y\":2}\n");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a device of its own");
    let output = learnd()
        .current_dir(dir.path())
        .args(["run", "c.toml"])
        .stdin(std::fs::File::open(dir.path().join("in.jsonl")).expect("a file"))
        .stdout(full)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("sink out"), "{stderr}");
}

#[test]
fn queues_are_told_of_while_a_sink_holds_everything_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let sink = "[sinks.out]\ntype = \"stdout\"\nevents = [\"prediction\"]\nqueue = 100\n";
    let mut daemon = Daemon::start(dir.path(), &format!("{STDIN}{MODEL}{sink}"));
    daemon.wait_metric("learnd_queue_capacity{queue=\"sink/out\"}", 100.0);
    let mut stdin = daemon.stdin();
    let writer = std::thread::spawn(move || {
        let lines = "{\"x\":1,\"y\":2}\n".repeat(1000);
        // It ends when the daemon does.
        while stdin.write_all(lines.as_bytes()).is_ok() {}
    });
    wait_for("events in the queue", || {
        let depth = daemon.metric("learnd_queue_depth{queue=\"sink/out\"}");
        (depth > Some(0.0)).then_some(())
    });
    daemon.wait_metric("learnd_queue_depth{queue=\"learn\"}", 32.0);
    daemon.kill();
    writer.join().expect("no panic");
}
