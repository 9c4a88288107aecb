//! The ports against strangers: TLS, tokens, scopes, what `check` refuses, and no secret anywhere.
//! Real sockets, certificates made for each test.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::network::{
    Authority, bearer, connect, denied, get, post, refused, secret, status, talk, tls,
};
use crate::support::{Daemon, inspect, learnd, state_dir, wait_for, write};

const TOKEN: &str = "CANARY-0123456789abcdef";
const SCRAPE: &str = "CANARY-scrape-0123456789";
const MODEL: &str = "[models.y]\ntask = \"regression\"\nlabel = \"y\"\n";
const STDIN: &str = "[sources.in]\ntype = \"stdin\"\nformat = \"json\"\n";
const TCP: &str = "[sources.in]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"json\"\n";
const TLS: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n";

#[test]
fn https_speaks_both_versions_and_follows_its_certificates() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, second) = (Authority::new(), Authority::new());
    first.serve(dir.path());
    let server = format!("[server]\nlisten = \"127.0.0.1:0\"\n{TLS}");
    let daemon = Daemon::start(dir.path(), &format!("{server}{STDIN}{MODEL}"));
    let address = daemon.http();
    let scrape = get("/metrics", "");
    for version in [&TLS12, &TLS13] {
        let answer = talk(
            &mut tls(address, &first.client(&[version], None)),
            scrape.as_bytes(),
        );
        assert_eq!(status(&answer), 200, "{answer}");
    }
    let metrics = |authority: &Authority| {
        talk(
            &mut tls(address, &authority.client(&[&TLS13], None)),
            scrape.as_bytes(),
        )
    };
    let metric = |authority: &Authority, series: &str| {
        metrics(authority).lines().find_map(|line| {
            let value = line
                .strip_prefix(series)?
                .strip_prefix("{listener=\"server\"} ")?;
            value.parse::<f64>().ok()
        })
    };
    // Half of a new pair: the old one stays, and that is counted.
    secret(dir.path(), "cert.pem", second.sign().0);
    wait_for("a failure", || {
        (metric(&first, "learnd_tls_reload_failures_total")? >= 1.0).then_some(())
    });
    second.serve(dir.path());
    wait_for("the new certificate", || {
        (metric(&second, "learnd_tls_reloads_total")? >= 1.0).then_some(())
    });
    // What is no TLS is closed without an answer and counted.
    assert_eq!(
        talk(&mut connect(address), scrape.as_bytes()).len(),
        7,
        "an alert"
    );
    let text = metrics(&second);
    let line = "learnd_denied_total{listener=\"server\",reason=\"tls\"}";
    assert!(
        text.lines()
            .any(|l| l.starts_with(line) && !l.ends_with(" 0")),
        "{text}"
    );
}

#[test]
fn a_client_without_the_right_certificate_does_not_get_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ours, other) = (Authority::new(), Authority::new());
    ours.serve(dir.path());
    write(&dir.path().join("ca.pem"), &ours.pem);
    let server = "[server]\nlisten = \"127.0.0.1:0\"\n\
                  tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }\n";
    let daemon = Daemon::start(dir.path(), &format!("{server}{STDIN}{MODEL}"));
    let ask = |own| {
        talk(
            &mut tls(daemon.http(), &ours.client(&[&TLS13], own)),
            get("/metrics", "").as_bytes(),
        )
    };
    assert_eq!(ask(None), "");
    assert_eq!(ask(Some(other.sign())), "");
    assert_eq!(status(&ask(Some(ours.sign()))), 200);
}

#[test]
fn every_path_asks_for_its_scope() {
    let dir = tempfile::tempdir().expect("a folder");
    secret(dir.path(), "admin.tokens", format!("# both\n{TOKEN}\n"));
    secret(dir.path(), "scrape.tokens", SCRAPE);
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = true\ntokens = [\
                  { file = \"admin.tokens\", scopes = [\"admin\", \"predict\"] }, \
                  { file = \"scrape.tokens\", scopes = [\"metrics\"] }]\n";
    let daemon = Daemon::start(dir.path(), &format!("{server}{STDIN}{MODEL}"));
    let ask = |request: String| talk(&mut connect(daemon.http()), request.as_bytes());
    let predict = |headers: &str| ask(post("/v1/predict/y", headers, "{\"x\":1}\n"));
    assert_eq!(status(&predict(&bearer(TOKEN))), 200);
    refused(&predict(&bearer(SCRAPE)), 403);
    let without = predict("");
    refused(&without, 401);
    assert!(without.contains("www-authenticate: Bearer"), "{without}");
    refused(&predict(&bearer("CANARY-not-the-right-one")), 401);
    refused(&ask(post("/-/snapshot", "", "")), 401);
    for path in ["/metrics", "/", "/v1/models", "/v1/models/y"] {
        refused(&ask(get(path, "")), 401);
        refused(&ask(get(path, &bearer(TOKEN))), 403);
        assert_eq!(status(&ask(get(path, &bearer(SCRAPE)))), 200, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(&ask(get(path, ""))), 200, "{path}");
    }
    // A token that was given up is worth nothing, the one that takes its place is.
    secret(dir.path(), "scrape.tokens", "CANARY-next-0123456789");
    wait_for("the old token to end", || {
        (status(&ask(get("/metrics", &bearer(SCRAPE)))) == 401).then_some(())
    });
    let next = bearer("CANARY-next-0123456789");
    assert_eq!(status(&ask(get("/metrics", &next))), 200);
    // Guessing ends soon.
    wait_for("the limit", || {
        let answer = predict(&bearer("CANARY-guess-guess-guess"));
        (status(&answer) == 429).then(|| assert!(answer.contains("retry-after: "), "{answer}"))
    });
    refused(&predict(&bearer(TOKEN)), 429);
}

#[test]
fn an_open_address_answers_read_only_paths_alone_unless_it_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    for (allow, want) in [("", 403), ("allow_insecure_listen = true\n", 200)] {
        let server = format!("[server]\nlisten = \"0.0.0.0:0\"\nadmin = true\n{allow}");
        let daemon = Daemon::start(dir.path(), &format!("{server}{STDIN}{MODEL}"));
        let mut address = daemon.http();
        address.set_ip([127, 0, 0, 1].into());
        let ask = |request: String| talk(&mut connect(address), request.as_bytes());
        for path in ["/metrics", "/healthz", "/readyz", "/", "/v1/models"] {
            assert_eq!(status(&ask(get(path, ""))), 200, "{path}");
        }
        let answer = ask(post("/v1/predict/y", "", "{\"x\":1}\n"));
        assert_eq!(status(&answer), want, "{answer}");
        if want == 403 {
            refused(&answer, 403);
            assert!(answer.contains("allow_insecure_listen"), "{answer}");
            refused(&ask(post("/-/snapshot", "", "")), 403);
        }
        let warned = daemon.message("allow_insecure_listen").is_some();
        assert_eq!(warned, want == 200);
    }
}

#[test]
fn a_web_page_cannot_post_to_this_machine() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &format!("{STDIN}{MODEL}"));
    let ask = |headers: &str| {
        let request = post("/v1/predict/y", headers, "{\"x\":1}\n");
        talk(&mut connect(daemon.http()), request.as_bytes())
    };
    refused(&ask("origin: https://example.com\r\n"), 403);
    assert_eq!(status(&ask("")), 200);
}

#[test]
fn a_tcp_source_hears_nobody_without_a_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    authority.serve(dir.path());
    secret(dir.path(), "in.tokens", TOKEN);
    let tokens = "tokens = [{ file = \"in.tokens\", scopes = [\"ingest\"] }]\n";
    let daemon = Daemon::start(
        dir.path(),
        &format!("{TCP}reply = \"prediction\"\n{TLS}{tokens}{MODEL}"),
    );
    let client = authority.client(&[&TLS13], None);
    let say = |text: String| talk(&mut tls(daemon.tcp(), &client), text.as_bytes());
    assert_eq!(say("{\"x\":1,\"y\":2}\n".into()), "ERR unauthorized\n");
    assert_eq!(
        say("AUTH CANARY-wrong-wrong-wrong\n".into()),
        "ERR unauthorized\n"
    );
    assert_eq!(say("x".repeat(100_000)), "ERR unauthorized\n");
    denied(&daemon, "sources.in", "unauthorized", 3.0);
    // Lines that come together with the token are not lost.
    let mut stream = tls(daemon.tcp(), &client);
    let lines = format!("AUTH {TOKEN}\r\n{{\"x\":1,\"y\":2}}\n{{\"x\":1,\"y\":2}}\n");
    stream.write_all(lines.as_bytes()).expect("it reads");
    let mut answers = String::new();
    wait_for("two predictions", || {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).expect("it answers");
        answers += std::str::from_utf8(&buffer[..n]).expect("UTF-8");
        (answers.lines().count() == 3).then_some(())
    });
    assert!(
        answers.starts_with("OK\n{\"event\":\"prediction\""),
        "{answers}"
    );
    daemon.wait_metric("learnd_learned_total{model=\"y\"}", 2.0);
    assert_eq!(
        daemon.metric("learnd_lines_total{source=\"in\"}"),
        Some(2.0)
    );
}

#[test]
fn tls_on_a_plain_port_is_closed_and_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(dir.path(), &format!("{TCP}{MODEL}"));
    let client = Authority::new().client(&[&TLS13], None);
    assert_eq!(talk(&mut tls(daemon.tcp(), &client), b"hello\n"), "");
    denied(&daemon, "sources.in", "tls", 1.0);
    assert_eq!(
        daemon.metric("learnd_lines_total{source=\"in\"}"),
        Some(0.0)
    );
    assert_eq!(talk(&mut tls(daemon.http(), &client), b"hello\n"), "");
    denied(&daemon, "server", "tls", 1.0);
}

#[test]
fn check_refuses_ports_open_by_oversight_and_secrets_open_to_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    authority.serve(dir.path());
    write(&dir.path().join("other.pem"), authority.sign().1);
    std::fs::set_permissions(dir.path().join("other.pem"), Permissions::from_mode(0o600))
        .expect("it is ours");
    secret(dir.path(), "tokens", TOKEN);
    write(&dir.path().join("open"), TOKEN);
    std::fs::set_permissions(dir.path().join("open"), Permissions::from_mode(0o644))
        .expect("it is ours");
    let path = dir.path().join("c.toml");
    let check = |source: &str| {
        let source = format!("[sources.in]\ntype = \"tcp\"\n{source}\n");
        write(&path, format!("{source}{MODEL}"));
        let output = learnd()
            .current_dir(dir.path())
            .args(["check", "c.toml"])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("CANARY"), "{said}");
        (output.status.code(), said)
    };
    let open = "listen = \"0.0.0.0:7655\"\n";
    let tokens = "tokens = [{ file = \"tokens\", scopes = [\"ingest\"] }]\n";
    for good in [
        format!("{open}allow_insecure_listen = true"),
        format!("{open}{TLS}{tokens}"),
    ] {
        let (code, said) = check(&good);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{good}");
    }
    for (bad, place, words) in [
        (open.to_owned(), "c.toml:3:10:", "open to the network"),
        (
            format!("{open}{TLS}"),
            "c.toml:3:10:",
            "allow_insecure_listen",
        ),
        (
            format!("{open}{tokens}"),
            "c.toml:3:10:",
            "open to the network",
        ),
        (
            "listen = \"127.0.0.1:1\"\ntokens = [{ file = \"open\", scopes = [\"ingest\"] }]"
                .into(),
            "c.toml:4:20:",
            "open to every user",
        ),
        (
            "listen = \"127.0.0.1:1\"\ntokens = [{ file = \"tokens\", scopes = [\"admin\"] }]"
                .into(),
            "c.toml:4:39:",
            "`ingest`",
        ),
        (
            "listen = \"127.0.0.1:1\"\ntls = { cert = \"cert.pem\", key = \"other.pem\" }".into(),
            "c.toml:4:34:",
            "do not go together",
        ),
        (
            "listen = \"127.0.0.1:1\"\ntls = { cert = \"tokens\", key = \"key.pem\" }".into(),
            "c.toml:4:16:",
            "no certificate",
        ),
        (
            "listen = \"127.0.0.1:1\"\ntls = { cert = \"cert.pem\", key = \"open\" }".into(),
            "c.toml:4:34:",
            "open to every user",
        ),
        (
            "listen = \"127.0.0.1:1\"\ntls = { cert = \"cert.pem\" }".into(),
            "c.toml:4:",
            "no `key`",
        ),
    ] {
        let (code, said) = check(&bad);
        assert_eq!(code, Some(2), "{bad}\n{said}");
        assert!(said.starts_with(place), "{bad}\n{said}");
        assert!(
            said.contains(words) && said.contains("help: "),
            "{bad}\n{said}"
        );
    }
}

#[test]
fn no_secret_shows_anywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    let authority = Authority::new();
    let (cert, key) = authority.sign();
    write(&dir.path().join("cert.pem"), cert);
    secret(dir.path(), "key.pem", &key);
    secret(dir.path(), "server.tokens", TOKEN);
    secret(dir.path(), "in.tokens", format!("{SCRAPE}\n"));
    secret(dir.path(), "hash.key", "CANARY-hash-key-0123456789");
    let config = format!(
        "hash_key_file = \"hash.key\"\n[state]\ndir = \"state\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\nadmin = true\n\
         tokens = [{{ file = \"server.tokens\", scopes = [\"predict\", \"admin\"] }}]\n\
         {TCP}{TLS}tokens = [{{ file = \"in.tokens\", scopes = [\"ingest\"] }}]\n{MODEL}"
    );
    let daemon = Daemon::start_with(dir.path(), &config, &["--log-level", "debug"]);
    let mut seen = String::new();
    let mut client = tls(daemon.tcp(), &authority.client(&[&TLS13], None));
    let lines = format!("AUTH {SCRAPE}\n{{\"x\":\"a\",\"y\":1}}\n");
    client.write_all(lines.as_bytes()).expect("it reads");
    daemon.wait_metric("learnd_learned_total{model=\"y\"}", 1.0);
    client
        .write_all(format!("AUTH {SCRAPE}\n").as_bytes())
        .expect("it reads");
    for request in [
        post("/v1/predict/y", &bearer(TOKEN), "{\"x\":1}\n"),
        post("/v1/predict/y", &bearer("CANARY-wrong-wrong-wrong"), ""),
        post("/v1/predict/y", "authorization: Basic CANARY-basic\r\n", ""),
        post("/-/snapshot", &bearer(TOKEN), ""),
        get("/v1/models", &bearer(TOKEN)),
        get("/", ""),
        format!("GET / HTTP/1.1\r\n{}bad header\r\n\r\n", bearer(TOKEN)),
    ] {
        seen += &talk(&mut connect(daemon.http()), request.as_bytes());
    }
    // A bad file while running: told of, not quoted.
    secret(dir.path(), "server.tokens", "CANARY-2\n");
    wait_for("the complaint", || {
        seen += &talk(
            &mut connect(daemon.http()),
            post("/v1/predict/y", &bearer(TOKEN), "").as_bytes(),
        );
        daemon.message("the tokens read before stay")
    });
    seen += &daemon.get("/metrics").1;
    seen += &daemon
        .log()
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    let pid_log = daemon.log().len();
    assert!(pid_log > 3, "a log that says something");
    drop(daemon.stop());
    seen += &inspect(&state).to_string();
    secret(dir.path(), "server.tokens", TOKEN);
    for arguments in [
        &["check", "--print", "learnd.toml"][..],
        &["check", "learnd.toml"],
    ] {
        let output = learnd()
            .current_dir(dir.path())
            .args(arguments)
            .output()
            .expect("it runs");
        assert!(output.status.success());
        seen += &String::from_utf8_lossy(&output.stdout);
        seen += &String::from_utf8_lossy(&output.stderr);
    }
    for entry in std::fs::read_dir(&state).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // The journal has lines as they came, so the token that was sent as a line, once.
        let journal = path.extension().is_some_and(|e| e == "log");
        let as_data = format!("AUTH {SCRAPE}");
        seen += &text.replacen(&as_data, "", usize::from(journal));
    }
    assert!(
        !seen.contains("CANARY"),
        "{}",
        &seen[seen.find("CANARY").unwrap_or(0)..][..200]
    );
    let inner = key.lines().nth(1).expect("a key has lines");
    assert!(!seen.contains(inner), "the private key shows");
    assert!(seen.contains("server.tokens"), "their names may show");
}

#[test]
fn state_under_one_hash_key_does_not_fit_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = state_dir(dir.path());
    secret(dir.path(), "hash.key", "CANARY-hash-key-0123456789");
    let config = format!(
        "hash_key_file = \"hash.key\"\n[state]\ndir = \"state\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n{STDIN}{MODEL}"
    );
    write(&dir.path().join("c.toml"), config);
    let run = || {
        let output = learnd()
            .current_dir(dir.path())
            .args(["run", "c.toml"])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    assert_eq!(run().0, Some(0));
    assert_eq!(run().0, Some(0), "the same key");
    secret(dir.path(), "hash.key", "another-hash-key-0123456789");
    let (code, said) = run();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("hash key is ") && said.contains("--reset y"),
        "{said}"
    );
    // The file tells two keys apart and gives neither away: the key in use is the first 64 bits of
    // the hash of the file's bytes.
    let key = blake3::hash(b"CANARY-hash-key-0123456789");
    let key = &key.as_bytes()[..8];
    let number = u64::from_le_bytes(*key.first_chunk().expect("8 bytes"));
    for entry in std::fs::read_dir(&state).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!bytes.windows(8).any(|w| w == key));
        assert!(!text.contains(&number.to_string()) && !text.contains(&format!("{number:016x}")));
    }
}
