//! What the tests of the running program share: a folder of its own for each test, the daemon as
//! a child process on free ports, and waiting for a fact with a deadline.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The program under test.
pub fn learnd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_learnd"));
    command.env_remove("NO_COLOR");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LEARND_")) {
        command.env_remove(name);
    }
    command
}

/// Asks again and again until there is an answer.
#[expect(clippy::disallowed_methods, reason = "a test's deadline is wall time")]
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Writes a file of a test.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's input need not survive a crash"
)]
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).expect("a writable folder");
}

/// A running daemon; killed when the test is over.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Daemon {
    /// Starts it with this configuration, written into the folder. The HTTP port is a free one
    /// unless the text names a `[server]`.
    pub fn start(dir: &Path, config: &str) -> Daemon {
        Daemon::start_with(dir, config, &[])
    }

    /// As `start`, with further arguments.
    pub fn start_with(dir: &Path, config: &str, arguments: &[&str]) -> Daemon {
        let path = dir.join("learnd.toml");
        let server = if config.contains("[server]") {
            ""
        } else {
            "[server]\nlisten = \"127.0.0.1:0\"\n"
        };
        write(&path, format!("{config}\n{server}"));
        let mut child = learnd()
            .arg("run")
            .arg(&path)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines
                    .lock()
                    .expect("no test panics with the lock")
                    .push(value);
            }
        });
        let mut daemon = Daemon { child, log };
        wait_for("the daemon to be ready", || {
            daemon.message("ready").map(drop).or_else(|| {
                let ended = daemon.child.try_wait().expect("a child");
                assert!(
                    ended.is_none(),
                    "ended early: {ended:?} {:#?}",
                    daemon.log()
                );
                None
            })
        });
        daemon
    }

    /// Everything logged so far.
    pub fn log(&self) -> Vec<Value> {
        self.log
            .lock()
            .expect("no test panics with the lock")
            .clone()
    }

    /// The fields of the first log line with this message.
    pub fn message(&self, message: &str) -> Option<Value> {
        let found = |line: &Value| {
            line["message"]
                .as_str()
                .is_some_and(|m| m.starts_with(message))
        };
        self.log().into_iter().find(found)
    }

    /// Where HTTP is served.
    pub fn http(&self) -> SocketAddr {
        address(&wait_for("the HTTP address", || self.message("serving")))
    }

    /// Where the tcp source listens.
    pub fn tcp(&self) -> SocketAddr {
        address(&wait_for("the source's address", || {
            self.message("listening")
        }))
    }

    /// A GET: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        request(
            self.http(),
            &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        )
    }

    /// A POST: status and body.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        request(self.http(), &(head + body))
    }

    /// The value of one series, such as `learnd_lines_total{source="in"}`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        text.lines().find_map(|line| {
            let value = line.strip_prefix(series)?.strip_prefix(' ')?;
            value.parse().ok()
        })
    }

    /// Waits until a series has a value.
    pub fn wait_metric(&self, series: &str, value: f64) {
        wait_for(&format!("{series} to be {value}"), || {
            (self.metric(series) == Some(value)).then_some(())
        });
    }

    /// Its standard input.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("stdin is taken once")
    }

    /// Its standard output.
    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("stdout is taken once")
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        self.finish()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the daemon is there");
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("the daemon is there");
        self.child.wait().expect("a child");
    }

    /// Waits for the end, where stdout was taken.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("a child")
    }

    /// Waits for the end; what it wrote to stdout.
    pub fn finish(&mut self) -> (ExitStatus, String) {
        drop(self.child.stdin.take());
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().expect("stdout is piped");
        stdout.read_to_string(&mut out).expect("UTF-8");
        (self.child.wait().expect("a child"), out)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn address(fields: &Value) -> SocketAddr {
    fields["address"]
        .as_str()
        .expect("an address")
        .parse()
        .expect("an address")
}

fn request(address: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// The digest of the newest snapshot in a state directory.
pub fn digest(dir: &Path) -> String {
    let output = learnd()
        .args(["inspect", "--digest"])
        .arg(dir)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

/// The newest snapshot as JSON.
pub fn inspect(dir: &Path) -> Value {
    let output = learnd()
        .args(["inspect", "--json"])
        .arg(dir)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A state directory that only its owner can write.
pub fn state_dir(dir: &Path) -> PathBuf {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = dir.join("state");
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .expect("a writable folder");
    path
}
