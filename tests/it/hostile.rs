//! Bad input of every kind: each line is refused under its name, the next good one is learned.

use std::io::Write as _;

use crate::support::Daemon;

/// A line (its newline apart) and the reason it is refused for; `None`: it is a record.
fn lines() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let text = |line: &str, reason| (line.as_bytes().to_vec(), reason);
    let fields: Vec<String> = (0..1025).map(|i| format!("\"k{i}\":1")).collect();
    vec![
        text("{\"x\":1", Some("syntax")),
        text("{\"x\":NaN}", Some("syntax")),
        text("{\"x\":01}", Some("syntax")),
        text("{\"x\":1,}", Some("syntax")),
        text("{\"x\":\"\\ud800\"}", Some("syntax")),
        text("\u{feff}{\"x\":1}", Some("syntax")),
        (b"{\"unknown\":\"\xff\"}".to_vec(), Some("utf8")),
        (b"{\"x\":\"\xed\xa0\x80\"}".to_vec(), Some("utf8")),
        text("[1]", Some("not_object")),
        text("null", Some("not_object")),
        text("{\"x\":1}{\"x\":2}", Some("trailing")),
        text(&"{\"a\":".repeat(100_000), Some("depth")),
        text(&format!("{{{}}}", fields.join(",")), Some("fields")),
        text(
            &format!("{{\"{}\":1}}", "k".repeat(10_240)),
            Some("key_len"),
        ),
        text(&format!("{{\"x\":{}}}", "1".repeat(65)), Some("number_len")),
        text("{\"x\":-1e999}", Some("number_range")),
        text(
            &format!("{{\"x\":\"{}\"}}", "a".repeat(10 << 20)),
            Some("too_long"),
        ),
        text("{\"x\":1,\"\\u0078\":2}", Some("dup_key")),
        text("{\"x\":1e-400,\"y\":-0.0}", None),
        text("{\"x\":1e308,\"y\":1}\r", None),
        text("{\"__proto__\":\"\\u0000\",\"\":2,\"y\":1}", None),
        text("\0\0\0{\"x\":1,\"y\":1}", None),
    ]
}

#[test]
fn every_bad_line_is_refused_under_its_name_and_the_next_is_learned() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut daemon = Daemon::start(
        dir.path(),
        "[sources.in]\ntype = \"stdin\"\nformat = \"json\"\n\
         [models.y]\ntask = \"regression\"\nlabel = \"y\"\n",
    );
    let mut stdin = daemon.stdin();
    let lines = lines();
    for (line, _) in &lines {
        for part in [line.as_slice(), b"\n{\"x\":1,\"y\":2}\n \r\n"] {
            stdin.write_all(part).expect("it reads");
        }
    }
    let count = lines.len();
    let accepted = lines.iter().filter(|(_, reason)| reason.is_none()).count();
    daemon.wait_metric("learnd_lines_total{source=\"in\"}", (3 * count) as f64);
    for (_, reason) in &lines {
        let Some(reason) = reason else { continue };
        let want = lines
            .iter()
            .filter(|(_, r)| r.as_ref() == Some(reason))
            .count();
        let series = format!("learnd_rejected_total{{reason=\"{reason}\",source=\"in\"}}");
        assert_eq!(daemon.metric(&series), Some(want as f64), "{series}");
    }
    let records = (count + accepted) as f64;
    for (series, value) in [
        ("learnd_blank_total{source=\"in\"}", count as f64),
        ("learnd_records_total{source=\"in\"}", records),
        ("learnd_learned_total{model=\"y\"}", records),
    ] {
        assert_eq!(daemon.metric(series), Some(value), "{series}");
    }
    daemon.wait_metric("learnd_nul_bytes_skipped_total{source=\"in\"}", 3.0);
    let memory = daemon
        .metric("process_resident_memory_bytes")
        .expect("Linux");
    assert!(memory < 100.0 * 1024.0 * 1024.0, "{memory} bytes");
}
