//! HTTP at its edges: whatever comes is answered with JSON and a fitting status, and nobody holds a
//! connection by being slow.

use std::io::Write as _;
use std::net::Shutdown;

use crate::network::{connect, denied, get, post, refused, status, talk};
use crate::support::{Daemon, wait_for};

const MODEL: &str = "[models.y]\ntask = \"regression\"\nlabel = \"y\"\n";
const STDIN: &str = "[sources.in]\ntype = \"stdin\"\nformat = \"json\"\n";

#[test]
fn every_refusal_of_http_is_json() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &format!("{STDIN}{MODEL}"));
    let ask = |request: &[u8]| talk(&mut connect(daemon.http()), request);
    let long = format!("a: {}\r\n", "x".repeat(20 << 10));
    let many = (0..100).map(|i| format!("a{i}: 1\r\n")).collect::<String>();
    for (request, want) in [
        (get("/nowhere", ""), 404),
        (post("/metrics", "", ""), 405),
        (get("/v1/predict/y", ""), 405),
        (post("/v1/predict/nobody", "", ""), 404),
        (get("/v1/models/%ff", ""), 400),
        (get("/v1/models/nobody", ""), 404),
        (
            post("/v1/predict/y", "content-encoding: zstd\r\n", "x"),
            415,
        ),
        (
            post("/v1/predict/y", "content-encoding: gzip, gzip\r\n", "x"),
            415,
        ),
        (
            post("/v1/predict/y", "content-encoding: gzip\r\n", "x"),
            400,
        ),
        (
            post("/v1/predict/y", "content-type: image/png\r\n", "x"),
            415,
        ),
        (get("/metrics", &long), 431),
        (get("/metrics", &many), 431),
        ("nonsense\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\na b: c\r\n\r\n".into(), 400),
        (
            "POST /v1/predict/y HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
                .into(),
            400,
        ),
        (
            "POST /v1/predict/y HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\nab".into(),
            400,
        ),
    ] {
        let answer = ask(request.as_bytes());
        assert_eq!(status(&answer), want, "{request:.80}\n{answer}");
        refused(&answer, want);
    }
    denied(&daemon, "server", "protocol", 6.0);
}

#[test]
fn bodies_beyond_the_limit_are_refused_however_they_come() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &format!("{STDIN}{MODEL}"));
    let head = "POST /v1/predict/y HTTP/1.1\r\nhost: x\r\n";
    // Announced: refused before a byte of it is read.
    let announced = format!("{head}content-length: {}\r\n\r\n", 9 << 20);
    refused(
        &talk(&mut connect(daemon.http()), announced.as_bytes()),
        413,
    );
    // Not announced.
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(9)
    );
    refused(&talk(&mut connect(daemon.http()), chunked.as_bytes()), 413);
    // Within it, in one piece and cut short.
    let fits = format!(
        "{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{{\"x\":1}}\n\r\n0\r\n\r\n"
    );
    assert_eq!(
        status(&talk(&mut connect(daemon.http()), fits.as_bytes())),
        200
    );
    let mut stream = connect(daemon.http());
    let cut = format!("{head}content-length: 100\r\n\r\n{{\"x\":1}}\n");
    stream.write_all(cut.as_bytes()).expect("it reads");
    stream.shutdown(Shutdown::Write).expect("a socket");
    refused(&talk(&mut stream, b""), 400);
}

#[test]
fn who_says_nothing_or_half_a_header_is_cut_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &format!("{STDIN}{MODEL}"));
    let mut silent = connect(daemon.http());
    let mut halting = connect(daemon.http());
    let mut idle = connect(daemon.http());
    halting
        .write_all(b"GET / HTTP/1.1\r\nhost")
        .expect("it reads");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("it reads");
    refused(&talk(&mut halting, b""), 408);
    assert_eq!(talk(&mut idle, b"").matches("HTTP/1.1").count(), 1);
    refused(&talk(&mut silent, b""), 408);
    denied(&daemon, "server", "timeout", 2.0);
}

#[test]
fn http_connections_have_a_limit_that_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nmax_connections = 2\n";
    let daemon = Daemon::start(dir.path(), &format!("{server}{STDIN}{MODEL}"));
    let mut first = connect(daemon.http());
    let second = connect(daemon.http());
    wait_for("a refusal", || {
        let answer = talk(&mut connect(daemon.http()), get("/metrics", "").as_bytes());
        (status(&answer) == 503).then(|| refused(&answer, 503))
    });
    drop(second);
    // Requests that come in one go are answered one after the other.
    let three = [get("/healthz", ""), get("/readyz", ""), get("/healthz", "")];
    let pipelined = three.concat().replace("connection: close\r\n", "");
    first.write_all(pipelined.as_bytes()).expect("it reads");
    first.shutdown(Shutdown::Write).expect("a socket");
    let answers = talk(&mut first, b"");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
    let one = "learnd_server_connections";
    wait_for("room", || (daemon.metric(one) == Some(1.0)).then_some(()));
    let refused = daemon.metric("learnd_denied_total{listener=\"server\",reason=\"limit\"}");
    assert!(refused >= Some(1.0));
}
