//! Lines in, events and figures out, through the real program.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Daemon, learnd, wait_for, write};

/// A stream of requests with one record that is far from all others.
fn requests(lines: usize, outlier_at: usize) -> String {
    let mut random = learnd::math::Random::new(7);
    let mut out = String::new();
    for i in 0..lines {
        let ms = 40.0 + 5.0 * random.normal();
        let bytes = 2000.0 + 300.0 * random.normal();
        let ms = if i == outlier_at { 900.0 } else { ms };
        out.push_str(&format!(
            "{{\"user\":\"u{}\",\"latency_ms\":{ms:.2},\"bytes\":{bytes:.0},\"n\":{}}}\n",
            random.below(50),
            random.below(10)
        ));
    }
    out
}

fn events(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

#[test]
fn a_pipe_without_configuration_flags_the_planted_outlier_and_says_why() {
    let mut child = learnd()
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(requests(3000, 2500).as_bytes())
        .expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let events = events(&output.stdout);
    assert!(events.len() < 20, "{} events", events.len());
    let outlier = events
        .iter()
        .find(|e| e["record"]["latency_ms"] == 900.0)
        .expect("an alert");
    assert_eq!(outlier["event"], "anomaly");
    assert_eq!(outlier["seq"], 2501);
    assert_eq!(outlier["reasons"][0]["feature"], "latency_ms");
}

#[test]
fn every_line_is_counted_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut daemon = Daemon::start(
        dir.path(),
        r#"
        [sources.in]
        type = "stdin"
        format = "json"
        dead_letters = "dead.jsonl"
        [models.y]
        task = "binary"
        label = "y"
        where = { field = "kind", equals = "a" }
        "#,
    );
    let mut stdin = daemon.stdin();
    let lines = [
        r#"{"kind":"a","x":1,"y":1}"#,
        r#"{"kind":"a","x":2}"#,
        r#"{"kind":"b","x":2,"y":0}"#,
        r#"{"kind":"a","x":2,"y":"perhaps"}"#,
        "",
        "not json",
        r#"{"kind":"a","x":1e999,"y":1}"#,
        "[1]",
        r#"{"kind":"a","kind":"a"}"#,
    ];
    stdin
        .write_all((lines.join("\n") + "\n").as_bytes())
        .expect("it reads");
    daemon.wait_metric("learnd_lines_total{source=\"in\"}", 9.0);
    for (series, value) in [
        ("learnd_blank_total{source=\"in\"}", 1.0),
        ("learnd_records_total{source=\"in\"}", 4.0),
        (
            "learnd_rejected_total{reason=\"syntax\",source=\"in\"}",
            1.0,
        ),
        (
            "learnd_rejected_total{reason=\"number_range\",source=\"in\"}",
            1.0,
        ),
        (
            "learnd_rejected_total{reason=\"not_object\",source=\"in\"}",
            1.0,
        ),
        (
            "learnd_rejected_total{reason=\"dup_key\",source=\"in\"}",
            1.0,
        ),
        ("learnd_learned_total{model=\"y\"}", 1.0),
        ("learnd_unlabelled_total{model=\"y\"}", 1.0),
        ("learnd_skipped_total{model=\"y\",reason=\"where\"}", 1.0),
        ("learnd_skipped_total{model=\"y\",reason=\"label\"}", 1.0),
    ] {
        assert_eq!(daemon.metric(series), Some(value), "{series}");
    }
    drop(stdin);
    let (status, _) = daemon.finish();
    assert!(status.success());
    let dead = std::fs::read_to_string(dir.path().join("dead.jsonl")).expect("dead letters");
    let letters = events(dead.as_bytes());
    assert_eq!(letters.len(), 4);
    assert_eq!(letters[0]["reason"], "syntax");
    assert_eq!(letters[0]["line"], 6);
    assert_eq!(letters[0]["text"], "not json");
}

#[test]
fn clients_get_one_answer_a_line_in_order_from_one_model() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(
        dir.path(),
        r#"
        [sources.in]
        type = "tcp"
        listen = "127.0.0.1:0"
        format = "json"
        reply = "prediction"
        max_connections = 2
        [models.y]
        task = "regression"
        label = "y"
        id = "id"
        "#,
    );
    let connect = || std::net::TcpStream::connect(daemon.tcp()).expect("it listens");
    let mut clients = [connect(), connect()];
    // While both are open: one that has all its answers makes room.
    let mut third = String::new();
    BufReader::new(connect())
        .read_line(&mut third)
        .expect("an answer");
    assert!(third.contains("\"error\""), "{third}");
    for (c, client) in clients.iter_mut().enumerate() {
        let mut lines = String::new();
        for i in 0..500 {
            lines.push_str(&format!(
                "{{\"id\":\"{c}-{i}\",\"x\":{i},\"y\":{}}}\n",
                2 * i
            ));
            if i % 100 == 7 {
                lines.push_str("nonsense\n\n");
            }
        }
        client.write_all(lines.as_bytes()).expect("it reads");
        client
            .shutdown(std::net::Shutdown::Write)
            .expect("a connection");
    }
    for (c, client) in clients.into_iter().enumerate() {
        let answers: Vec<Value> = BufReader::new(client)
            .lines()
            .map(|l| serde_json::from_str(&l.expect("a line")).expect("JSON"))
            .collect();
        assert_eq!(answers.len(), 505);
        let ids: Vec<&str> = answers.iter().filter_map(|a| a["id"].as_str()).collect();
        let want: Vec<String> = (0..500).map(|i| format!("{c}-{i}")).collect();
        assert_eq!(ids, want);
        assert_eq!(answers.iter().filter(|a| a["error"].is_string()).count(), 5);
    }
    daemon.wait_metric("learnd_learned_total{model=\"y\"}", 1000.0);
}

#[test]
fn a_stalled_reader_of_stdout_that_goes_away_is_a_clean_stop() {
    let mut child = learnd()
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let lines = requests(3000, 2500);
    let status = wait_for("the program to end", || {
        // Once it is gone its input is a broken pipe too.
        drop(stdin.write_all(lines.as_bytes()));
        child.try_wait().expect("a child")
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_line_is_answered_without_waiting_for_another() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(
        dir.path(),
        r#"
        [sources.in]
        type = "tcp"
        listen = "127.0.0.1:0"
        format = "json"
        reply = "prediction"
        [models.y]
        task = "regression"
        label = "y"
        "#,
    );
    let client = std::net::TcpStream::connect(daemon.tcp()).expect("it listens");
    client
        .set_read_timeout(Some(super::support::DEADLINE))
        .expect("a connection");
    let mut answers = BufReader::new(client.try_clone().expect("a connection")).lines();
    for i in 1..=50 {
        // The beginning of the next line comes along and must not hold this one up.
        let text = if i == 1 { "{\"x\"" } else { "" };
        let line = format!("{text}:{i},\"y\":{i}}}\n{{\"x\"");
        (&client).write_all(line.as_bytes()).expect("it reads");
        let answer = answers.next().expect("an answer").expect("in time");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["seq"], i);
    }
}

#[test]
fn errors_over_http_are_json() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(
        dir.path(),
        r#"
        [sources.in]
        type = "stdin"
        format = "json"
        [models.y]
        task = "regression"
        label = "y"
        "#,
    );
    let large = "x".repeat((8 << 20) + 1);
    for ((status, body), want) in [
        (daemon.get("/v1/models/%ff"), 400),
        (daemon.post("/v1/predict/%ff", ""), 400),
        (daemon.post("/v1/predict/y", &large), 413),
    ] {
        assert_eq!(status, want, "{body}");
        let error: Value = serde_json::from_str(&body).expect("JSON");
        assert!(error["error"].is_string(), "{body}");
    }
}

#[test]
fn predictions_over_http_change_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut daemon = Daemon::start(
        dir.path(),
        r#"
        [sources.in]
        type = "stdin"
        format = "json"
        [models.y]
        task = "regression"
        label = "y"
        "#,
    );
    let mut stdin = daemon.stdin();
    let lines: String = (0..200)
        .map(|i| format!("{{\"x\":{},\"y\":{}}}\n", i % 10, i % 10))
        .collect();
    stdin.write_all(lines.as_bytes()).expect("it reads");
    daemon.wait_metric("learnd_learned_total{model=\"y\"}", 200.0);
    let body = "{\"x\":3}\n\nbroken\n{\"x\":9,\"new\":1}\n";
    let (status, first) = daemon.post("/v1/predict/y", body);
    assert_eq!(status, 200);
    let answers: Vec<Value> = first
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), 3);
    assert!((answers[0]["prediction"].as_f64().expect("a number") - 3.0).abs() < 0.5);
    assert!(answers[1]["error"].is_string());
    assert_eq!(daemon.post("/v1/predict/y", body).1, first);
    assert_eq!(daemon.post("/v1/predict/nobody", body).0, 404);
    assert_eq!(daemon.get("/nowhere").0, 404);
    assert_eq!(daemon.get("/readyz").0, 200);
    let (_, models) = daemon.get("/v1/models");
    let models: Value = serde_json::from_str(&models).expect("JSON");
    assert_eq!(models["models"][0]["learned"], 200);
    let weights = models["models"][0]["weights"].as_array().expect("weights");
    assert!(weights.iter().any(|w| w["feature"] == "x"), "{weights:?}");
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let path = dir.path().join("c.toml");
    write(
        &path,
        format!(
            "[server]\nlisten = \"{address}\"\n[sources.in]\ntype = \"stdin\"\n[models.m]\ntask = \"anomaly\"\n"
        ),
    );
    let output = learnd().arg("run").arg(&path).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&address.to_string()), "{stderr}");
}
