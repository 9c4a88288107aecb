//! Bodies sent to the http source: every line is accounted for in the answer, what was answered is
//! learned once whatever happens to the daemon, and a refusal means that nothing was taken.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::network::{bearer, connect, get, post, refused, secret, status, talk};
use crate::support::{Daemon, digest, inspect, learnd, state_dir, wait_for, write};

const SOURCE: &str = "[sources.web]\ntype = \"http\"\n";
const MODEL: &str = "[models.y]\ntask = \"regression\"\nlabel = \"y\"\n";

fn config(every: &str) -> String {
    format!(
        "[state]\ndir = \"state\"\nsnapshot_every = \"{every}\"\n{SOURCE}{MODEL}\
         [models.odd]\ntask = \"anomaly\"\nfeatures = [\"x\"]\ntime = \"ts\"\n"
    )
}

fn lines(range: std::ops::Range<u64>) -> String {
    let line = |i| {
        let mut random = learnd::math::Random::new(i);
        let (x, z) = (random.normal(), random.normal());
        let time = 1_700_000_000 + i;
        format!("{{\"ts\":{time},\"x\":{x},\"y\":{}}}\n", x + z)
    };
    range.map(line).collect()
}

/// Status and body of an answer.
fn parts(answer: &str) -> (u16, Value) {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status(answer), serde_json::from_str(body).expect(answer))
}

fn send(daemon: &Daemon, headers: &str, body: &str) -> (u16, Value) {
    parts(&send_to(daemon.http(), headers, body))
}

fn send_to(address: SocketAddr, headers: &str, body: &str) -> String {
    talk(
        &mut connect(address),
        post("/v1/ingest/web", headers, body).as_bytes(),
    )
}

fn key(key: &str) -> String {
    format!("idempotency-key: {key}\r\n")
}

fn counted(daemon: &Daemon, family: &str) -> f64 {
    let (_, text) = daemon.get("/metrics");
    let of_source = text
        .lines()
        .filter(|l| l.starts_with(&format!("learnd_{family}_total{{")));
    let of_source = of_source.filter(|l| l.contains("source=\"web\""));
    of_source
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn conserved(daemon: &Daemon, lines: f64) {
    let parts = ["blank", "rejected", "duplicates", "shed", "records"];
    let sum: f64 = parts.map(|family| counted(daemon, family)).iter().sum();
    assert_eq!((counted(daemon, "lines"), sum), (lines, lines));
}

#[test]
fn every_line_is_accounted_for_in_the_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &format!("{SOURCE}{MODEL}"));
    let mixed = "{\"x\":1,\"y\":1}\n\n{\"x\":1,\"y\"}\r\n  \n[]\n{\"x\":2,\"y\":1}";
    let (status, answer) = send(&daemon, "", mixed);
    assert_eq!(status, 200, "{answer}");
    let errors = json!([
        {"line": 3, "reason": "syntax", "at": 10},
        {"line": 5, "reason": "not_object", "at": 0},
    ]);
    let want = json!({"accepted": 2, "rejected": 2, "errors": errors});
    assert_eq!(answer, want);
    for nothing in ["", "\n", " \n\r\n"] {
        let want = json!({"accepted": 0, "rejected": 0, "errors": []});
        assert_eq!(send(&daemon, "", nothing), (200, want), "{nothing:?}");
    }
    let (status, answer) = send(&daemon, "", &"x\n".repeat(150));
    assert_eq!(status, 400);
    assert_eq!(answer["rejected"], 150);
    assert_eq!(answer["errors"].as_array().expect("a list").len(), 100);
    assert_eq!(answer["errors"][99]["line"], 100);
    assert_eq!(answer["errors_left_out"], 50);
    assert_eq!(answer["error"], "every line was refused");
    conserved(&daemon, 6.0 + 3.0 + 150.0);
    assert_eq!(counted(&daemon, "rejected"), 152.0);
    wait_for("the bytes", || {
        (counted(&daemon, "bytes") > 300.0).then_some(())
    });
}

#[test]
fn a_body_may_be_packed_and_a_wrong_request_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = "[sources.in]\ntype = \"stdin\"\n";
    let daemon = Daemon::start(dir.path(), &format!("{SOURCE}{other}{MODEL}"));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let body = lines(0..500);
    packer.write_all(body.as_bytes()).expect("memory");
    let packed = packer.finish().expect("memory");
    let head = format!(
        "POST /v1/ingest/web HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let request = [head.as_bytes(), &packed].concat();
    let (code, answer) = parts(&talk(&mut connect(daemon.http()), &request));
    assert_eq!((code, &answer["accepted"]), (200, &json!(500)));
    daemon.wait_metric("learnd_bytes_total{source=\"web\"}", body.len() as f64);
    let ask = |request: &str| talk(&mut connect(daemon.http()), request.as_bytes());
    for (request, want) in [
        (post("/v1/ingest/nobody", "", "{}"), 404),
        (post("/v1/ingest/in", "", "{}"), 404),
        (get("/v1/ingest/web", ""), 405),
        (post("/v1/ingest/web", &key(""), "{}"), 400),
        (post("/v1/ingest/web", &key(&"x".repeat(257)), "{}"), 400),
        (post("/v1/ingest/web", &key("a").repeat(2), "{}"), 400),
        (
            post("/v1/ingest/web", "content-encoding: zstd\r\n", "{}"),
            415,
        ),
        (
            post("/v1/ingest/web", "content-encoding: gzip\r\n", "{}"),
            400,
        ),
    ] {
        refused(&ask(&request), want);
    }
    assert!(ask(&post("/v1/ingest/in", "", "{}")).contains("there are: web"));
    conserved(&daemon, 500.0);
}

#[test]
fn every_csv_body_has_a_header_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    state_dir(dir.path());
    let config = format!("[state]\ndir = \"state\"\n{SOURCE}format = \"csv\"\n{MODEL}");
    let daemon = Daemon::start(dir.path(), &config);
    let (code, answer) = send(&daemon, &key("a"), "x,y\n1,2\n3,4\n1,2,3\n");
    assert_eq!((code, &answer["accepted"]), (200, &json!(2)), "{answer}");
    assert_eq!(answer["errors"][0]["line"], 4);
    let (code, answer) = send(&daemon, "", "y,x,z\n2,1,3\n");
    assert_eq!((code, &answer["accepted"]), (200, &json!(1)), "{answer}");
    let (code, answer) = send(&daemon, "", "y,x\n");
    assert_eq!((code, &answer["accepted"]), (200, &json!(0)), "{answer}");
    conserved(&daemon, 4.0);
    let (code, answer) = send(&daemon, &key("a"), "x,y\n1,2\n3,4\n1,2,3\n");
    assert_eq!((code, &answer["accepted"]), (200, &json!(2)), "{answer}");
    conserved(&daemon, 7.0);
}

fn uninterrupted(bodies: &[String]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h"));
    for body in bodies {
        assert_eq!(send(&daemon, "", body).0, 200);
    }
    assert!(daemon.stop().0.success());
    digest(&state)
}

#[test]
fn what_was_answered_before_a_kill_is_learned_again_to_the_same_bits_and_only_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let bodies: Vec<String> = (0..6)
        .map(|i| lines(i * 100..i * 100 + 100) + "junk\n")
        .collect();
    // Through kills with a snapshot and without.
    for (i, every) in ["1h", "10ms", "1h"].into_iter().enumerate() {
        let daemon = Daemon::start(dir.path(), &config(every));
        for (j, body) in bodies.iter().enumerate().take(2 * i + 2) {
            let headers = key(&format!("body-{j}"));
            let (code, answer) = send(&daemon, &headers, body);
            assert_eq!(code, 200, "{answer}");
            assert_eq!(
                (&answer["accepted"], &answer["rejected"]),
                (&json!(100), &json!(1))
            );
            if j < 2 * i {
                let left_out = json!({"accepted": 100, "rejected": 1, "errors": [],
                    "errors_left_out": 1, "duplicate": true});
                assert_eq!(answer, left_out);
            } else {
                assert_eq!(answer["errors"][0]["line"], 101);
            }
        }
        assert_eq!(counted(&daemon, "duplicates"), 101.0 * 2.0 * i as f64);
        let again = daemon.metric("learnd_ledger_replayed_lines_total");
        conserved(
            &daemon,
            101.0 * (2 * i + 2) as f64 + again.expect("a journal"),
        );
        if every == "10ms" {
            wait_for("a snapshot", || {
                let taken = daemon.metric("learnd_snapshot_duration_seconds_count");
                taken.filter(|n| *n > 0.0)
            });
        }
        daemon.kill();
    }
    let daemon = Daemon::start(dir.path(), &config("1h"));
    // Refused whole, it is remembered like any other.
    for _ in 0..2 {
        let (code, answer) = send(&daemon, &key("junk"), "junk\n");
        assert_eq!((code, &answer["rejected"]), (400, &json!(1)), "{answer}");
    }
    assert!(daemon.stop().0.success());
    assert_eq!(inspect(&state)["records"], 600);
    assert_eq!(digest(&state), uninterrupted(&bodies));
    // A clean stop forgets no key either.
    let daemon = Daemon::start(dir.path(), &config("1h"));
    for (i, body) in bodies.iter().enumerate() {
        let (code, answer) = send(&daemon, &key(&format!("body-{i}")), body);
        assert_eq!((code, &answer["duplicate"]), (200, &json!(true)));
    }
}

#[test]
fn a_body_that_a_kill_left_in_doubt_is_sent_again_and_learned_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let bodies: Vec<String> = (0..12).map(|i| lines(i * 50..i * 50 + 50)).collect();
    let mut taken_before = 0;
    for (i, body) in bodies.iter().enumerate() {
        let every = if i % 2 == 0 { "10ms" } else { "1h" };
        let name = key(&format!("body-{i}"));
        let daemon = Daemon::start(dir.path(), &config(every));
        let mut stream = connect(daemon.http());
        let request = post("/v1/ingest/web", &name, body);
        stream.write_all(request.as_bytes()).expect("it reads");
        // The kill comes at once, or behind another answer, or when the body is on disk.
        match i % 3 {
            0 => {}
            1 => drop(daemon.get("/healthz")),
            _ => {
                wait_for("a sync", || {
                    let synced = daemon.metric("learnd_ledger_sync_duration_seconds_count");
                    synced.filter(|n| *n > 0.0)
                });
            }
        }
        daemon.kill();
        let daemon = Daemon::start(dir.path(), &config(every));
        let (code, answer) = send(&daemon, &name, body);
        assert_eq!((code, &answer["accepted"]), (200, &json!(50)), "{answer}");
        taken_before += usize::from(answer["duplicate"] == true);
        daemon.kill();
    }
    assert!(taken_before >= 4, "those on disk were known");
    let daemon = Daemon::start(dir.path(), &config("1h"));
    assert!(daemon.stop().0.success());
    assert_eq!(inspect(&state)["records"], 600);
    assert_eq!(digest(&state), uninterrupted(&bodies));
}

#[test]
fn without_a_journal_bodies_are_answered_once_learned_and_keys_hold_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let config = config("1h").replace("\"http\"", "\"http\"\ndurability = \"none\"");
    let daemon = Daemon::start(dir.path(), &config);
    for _ in 0..2 {
        assert_eq!(send(&daemon, &key("a"), &lines(0..10)).0, 200);
    }
    conserved(&daemon, 20.0);
    assert!(daemon.stop().0.success());
    assert_eq!(inspect(&state)["records"], 10);
    let daemon = Daemon::start(dir.path(), &config);
    let (_, answer) = send(&daemon, &key("a"), &lines(0..10));
    assert_eq!(answer["duplicate"], true);
}

#[test]
fn requests_with_one_key_at_once_are_learned_once() {
    let dir = tempfile::tempdir().expect("a folder");
    state_dir(dir.path());
    let daemon = Daemon::start(dir.path(), &config("1h"));
    let (address, body) = (daemon.http(), lines(0..2000));
    let answers: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| send_to(address, &key("same"), &body)))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("an answer"))
            .collect()
    });
    let mut first = 0;
    for answer in &answers {
        let (code, body) = parts(answer);
        if code == 409 {
            assert!(answer.contains("retry-after: 1"), "{answer}");
        } else {
            assert_eq!((code, &body["accepted"]), (200, &json!(2000)));
            first += usize::from(body["duplicate"].is_null());
        }
    }
    assert_eq!((first, counted(&daemon, "records")), (1, 2000.0));
}

#[test]
fn a_refusal_for_want_of_room_or_at_a_stop_means_that_nothing_was_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    // Nobody reads the predictions, so the learner comes to a stand.
    let sink = "[sinks.out]\ntype = \"stdout\"\nevents = [\"prediction\"]\n";
    let mut daemon = Daemon::start(dir.path(), &format!("{}{sink}", config("1h")));
    let mut stdout = daemon.stdout();
    let (address, body) = (daemon.http(), lines(0..1000));
    let mut waiting: Vec<TcpStream> = Vec::new();
    let mut refusals = 0;
    wait_for("a full queue", || {
        let mut stream = connect(address);
        let request = post("/v1/ingest/web", "", &body);
        stream.write_all(request.as_bytes()).expect("it reads");
        waiting.push(stream);
        // Who waits for room is told within a second or so, who was taken not before it is learned.
        waiting.retain_mut(|stream| {
            let mut first = [0; 12];
            stream.set_nonblocking(true).expect("a socket");
            let peeked = stream.peek(&mut first);
            stream.set_nonblocking(false).expect("a socket");
            if !matches!(peeked, Ok(12)) {
                return true;
            }
            if &first != b"HTTP/1.1 429" {
                return true;
            }
            let answer = talk(stream, b"");
            assert!(answer.contains("retry-after: 1"), "{answer}");
            refused(&answer, 429);
            refusals += 1;
            false
        });
        (refusals > 0).then_some(())
    });
    daemon.signal(rustix::process::Signal::TERM);
    wait_for("a 503", || {
        let answer = send_to(address, "", &body);
        (status(&answer) == 503).then(|| {
            assert!(answer.contains("retry-after: 5"), "{answer}");
            refused(&answer, 503);
        })
    });
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).expect("UTF-8");
        text.lines().count()
    });
    let mut taken = 0;
    for mut stream in waiting {
        match parts(&talk(&mut stream, b"")) {
            (200, answer) => taken += answer["accepted"].as_u64().expect("a number"),
            (429 | 503, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(daemon.wait().success());
    assert!(taken > 0);
    assert_eq!(inspect(&state)["records"], taken);
    assert_eq!(reading.join().expect("a reader") as u64, taken);
}

#[test]
fn a_body_takes_a_token_with_the_scope_ingest() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ingest, predict) = ("ingest-0123456789abcdef", "predict-0123456789abcdef");
    secret(dir.path(), "ingest.tokens", ingest);
    secret(dir.path(), "predict.tokens", predict);
    let server = "[server]\nlisten = \"127.0.0.1:0\"\ntokens = [\
                  { file = \"ingest.tokens\", scopes = [\"ingest\"] }, \
                  { file = \"predict.tokens\", scopes = [\"predict\"] }]\n";
    let daemon = Daemon::start(dir.path(), &format!("{server}{SOURCE}{MODEL}"));
    let send = |headers: &str| send_to(daemon.http(), headers, &lines(0..3));
    refused(&send(""), 401);
    refused(&send(&bearer("nobody-0123456789abcdef")), 401);
    refused(&send(&bearer(predict)), 403);
    assert_eq!(status(&send(&bearer(ingest))), 200);
    assert_eq!(counted(&daemon, "records"), 3.0);
}

#[test]
fn check_says_where_no_body_could_come_in() {
    let dir = tempfile::tempdir().expect("a folder");
    secret(dir.path(), "predict.tokens", "predict-0123456789abcdef");
    let check = |scopes: &str| {
        let tokens = format!("tokens = [{{ file = \"predict.tokens\", scopes = {scopes} }}]\n");
        let server = format!("[server]\nlisten = \"127.0.0.1:0\"\n{tokens}");
        write(
            &dir.path().join("c.toml"),
            format!("{server}{SOURCE}{MODEL}"),
        );
        let mut command = learnd();
        let output = command.current_dir(dir.path()).args(["check", "c.toml"]);
        let output = output.output().expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(check("[\"predict\", \"ingest\"]").0, Some(0));
    let (code, text) = check("[\"predict\"]");
    assert_eq!(code, Some(2));
    assert!(
        text.contains("no token of [server] has the scope `ingest`"),
        "{text}"
    );
}
