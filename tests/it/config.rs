//! Configurations good and bad: every bad file of `tests/data/config` beside the exact text of its
//! problems (`UPDATE_GOLDEN=1` writes it), every good one printed and read back, overrides, the
//! secret key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use learnd::config::{Config, Overrides, REFERENCE, load, parse, print};

/// The files of the folder with this ending, by name without it.
fn files(ending: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let mut out: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .expect("a folder of configurations")
        .map(|entry| entry.expect("a readable entry").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
            Some((name, path))
        })
        .collect();
    out.sort();
    out
}

fn problems(text: &str) -> String {
    parse("a.toml", text, &Overrides::default())
        .expect_err("a bad configuration")
        .render(false)
}

fn with_set(text: &str, set: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Config, String> {
    let own = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let overrides = Overrides {
        set: own(set),
        env: own(env),
    };
    parse("a.toml", text, &overrides).map_err(|report| report.render(false))
}

#[test]
fn every_bad_file_is_refused_with_exactly_these_words() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let bad = files(".bad.toml");
    assert!(bad.len() >= 40, "only {} bad files", bad.len());
    let mut wrong = Vec::new();
    for (name, path) in bad {
        let shown = format!("{name}.bad.toml");
        let text = fs::read_to_string(&path).unwrap();
        let found = match parse(&shown, &text, &Overrides::default()) {
            Ok(_) => "accepted\n".to_owned(),
            Err(report) => report.render(false),
        };
        let golden = path.with_file_name(format!("{name}.bad.txt"));
        if update {
            #[expect(clippy::disallowed_methods, reason = "a test's own golden file")]
            fs::write(&golden, &found).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("--- {name}\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_problem_begins_with_its_place() {
    for (name, path) in files(".bad.txt") {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let rest = first.strip_prefix(&format!("{name}.bad.toml:")).unwrap();
        let mut parts = rest.splitn(3, ':');
        for what in ["line", "column"] {
            let number: usize = parts.next().unwrap().parse().unwrap();
            assert!(number > 0, "{name}: {what}");
        }
        assert!(parts.next().unwrap().starts_with(' '), "{name}");
        assert!(text.contains("   | ") && text.contains('^'), "{name}");
        let (problems, helps) = (
            text.matches("^\n").count(),
            text.matches("\n   help: ").count(),
        );
        assert_eq!(problems, helps, "{name}: a problem without a suggestion");
    }
}

#[test]
fn every_good_file_is_accepted_and_prints_to_itself() {
    let mut texts: Vec<(String, String)> = files(".good.toml")
        .into_iter()
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    texts.push(("reference".into(), REFERENCE.into()));
    assert!(texts.len() >= 5);
    let none = Overrides::default();
    for (name, text) in texts {
        let config = parse(&name, &text, &none).unwrap_or_else(|report| panic!("{report}"));
        let printed = print(&config);
        let again = parse("printed", &printed, &none).unwrap_or_else(|r| panic!("{r}\n{printed}"));
        assert_eq!(config, again, "{name}:\n{printed}");
        assert!(printed.contains("# Memory: at most "), "{printed}");
    }
}

#[test]
fn without_a_configuration_there_is_one() {
    let none = Overrides::default();
    let config = Config::default_run(&none).unwrap();
    assert!(config.listen_is_default);
    assert_eq!(config.listen.port(), 7654);
    let names = (
        config.sources[0].name.as_str(),
        config.models[0].name.as_str(),
        config.sinks[0].name.as_str(),
    );
    assert_eq!(names, ("stdin", "anomaly", "stdout"));
    assert_eq!(parse("printed", &print(&config), &none), Ok(config));
}

const SMALL: &str = "[sources.s]\ntype = \"stdin\"\n[models.My-Model]\ntask = \"binary\"\nlabel = \"y\"\nhash_bits = 10\n";

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let env = [("LEARND_MODELS__MY_MODEL__HASH_BITS", "11")];
    let set = [("models.My-Model.hash_bits", "12")];
    let bits = |config: Result<Config, String>| config.unwrap().models[0].plan.hash_bits;
    assert_eq!(bits(with_set(SMALL, &[], &[])), 10);
    assert_eq!(bits(with_set(SMALL, &[], &env)), 11);
    assert_eq!(bits(with_set(SMALL, &set, &env)), 12);
}

#[test]
fn an_override_is_a_toml_value_or_else_a_string() {
    let config = with_set(
        SMALL,
        &[
            ("state.dir", "/var/x"),
            ("state.keep", "5"),
            (
                "models.My-Model.features",
                "[\"a\", { field = \"b\", as = \"category\" }]",
            ),
            ("models.My-Model.learner.type", "linear"),
            ("models.My-Model.id", "7"),
            ("sinks.out.type", "file"),
            ("sinks.out.path", "\"x.jsonl\""),
        ],
        &[("LEARND_SHUTDOWN_TIMEOUT", "3s")],
    )
    .unwrap();
    let state = config.state.unwrap();
    assert_eq!((state.dir, state.keep), (PathBuf::from("/var/x"), 5));
    assert_eq!(config.models[0].plan.features.len(), 2);
    assert_eq!(config.models[0].plan.id.as_deref(), Some("7"));
    assert_eq!(config.shutdown_timeout.as_secs(), 3);
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn a_wrong_override_is_shown_at_its_own_place() {
    let found = with_set(
        SMALL,
        &[("models.My-Model.hash_bits", "77")],
        &[("LEARND_SERVER__LISTNE", "1")],
    )
    .unwrap_err();
    assert_eq!(
        found,
        "LEARND_SERVER__LISTNE: unknown key `listne` in [server]\n   \
         | LEARND_SERVER__LISTNE=1\n   |                ^^^^^^\n   \
         help: did you mean `listen`?\n\
         --set models.My-Model.hash_bits: `hash_bits` must be from 1 to 30\n   \
         | models.My-Model.hash_bits=77\n   |                           ^^\n   \
         help: the default is 18\n2 problems\n"
    );
}

#[test]
fn overrides_of_what_does_not_exist_are_refused() {
    for set in [
        "models.My-Modle.hash_bits",
        "modles.x.y",
        "a..b",
        "",
        "models",
        "\"unclosed",
    ] {
        assert!(with_set(SMALL, &[(set, "12")], &[]).is_err(), "{set}");
    }
    for env in [
        "LEARND_MODELS__M__HASH_BITS",
        "LEARND_X__Y",
        "LEARND_MEMORY_LIMITS",
    ] {
        assert!(with_set(SMALL, &[], &[(env, "12")]).is_err(), "{env}");
    }
}

#[test]
fn variables_that_others_set_are_left_alone() {
    let env = [
        ("LEARND_PORT", "tcp://10.0.0.1:7654"),
        ("LEARND_PORT_7654_TCP_ADDR", "10.0.0.1"),
        ("LEARND_SERVICE_HOST", "10.0.0.1"),
        ("LEARND_DATA", "/data"),
        ("PATH", "/bin"),
    ];
    assert!(with_set(SMALL, &[], &env).is_ok());
}

#[test]
fn strings_of_the_file_take_variables() {
    let text = format!("{SMALL}[state]\ndir = \"${{ROOT}}/state\"\n");
    let config = with_set(&text, &[], &[("ROOT", "/srv")]).unwrap();
    assert_eq!(config.state.unwrap().dir, PathBuf::from("/srv/state"));
    let found = with_set(&text, &[], &[]).unwrap_err();
    assert!(
        found.starts_with("a.toml:8:8: the environment variable `ROOT` is not set"),
        "{found}"
    );
}

#[test]
fn the_default_of_max_keys_yields_to_the_memory_limit_and_no_more() {
    let text = "memory_limit = \"100MiB\"\n[sources.s]\ntype = \"stdin\"\n[models.m]\ntask = \"anomaly\"\nkey = [\"k\"]\n";
    let config = with_set(text, &[], &[]).unwrap();
    let keys = config.models[0].max_keys;
    assert!((1000..100_000).contains(&keys), "{keys}");
    let found = with_set(text, &[("models.m.max_keys", "100000")], &[]).unwrap_err();
    assert!(found.contains("100000 keys × "), "{found}");
    let found = with_set(text, &[("memory_limit", "1MiB")], &[]).unwrap_err();
    assert!(found.contains("memory_limit is 1 MiB"), "{found}");
}

#[test]
fn the_hash_key_is_secret_and_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("hash.key");
    let text = format!("hash_key_file = \"{}\"\n{SMALL}", key.display());
    let write = |bytes: &[u8], mode: u32| {
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&key, bytes).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(problems(&text).contains("cannot be read"));
    write(b"0123456789abcdef", 0o644);
    assert!(problems(&text).contains("open to every user"));
    write(b"0123456789abcde", 0o600);
    assert!(problems(&text).contains("15 bytes"));
    write(b"0123456789abcdef", 0o600);
    let first = with_set(&text, &[], &[]).unwrap();
    assert_ne!(first.models[0].plan.hash_seed, 0);
    assert_eq!(
        parse("printed", &print(&first), &Overrides::default()),
        Ok(first.clone())
    );
    write(b"0123456789abcdeF", 0o640);
    let second = with_set(&text, &[], &[]).unwrap();
    assert_ne!(
        first.models[0].plan.hash_seed,
        second.models[0].plan.hash_seed
    );
}

#[test]
fn files_that_cannot_be_configurations_are_refused_with_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let none = Overrides::default();
    let missing = dir.path().join("missing.toml");
    let report = load(&missing, &none).unwrap_err();
    assert!(
        report
            .to_string()
            .starts_with(&format!("{}: cannot be read", missing.display()))
    );
    assert!(load(dir.path(), &none).is_err());
    let path = dir.path().join("a.toml");
    for (bytes, place) in [
        (b"# ok\n[a\xffb]\n".to_vec(), ":2:3: this is not UTF-8"),
        (vec![b' '; (1 << 20) + 1], ": is larger than 1 MiB"),
    ] {
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&path, bytes).unwrap();
        let report = load(&path, &none).unwrap_err().to_string();
        assert!(
            report.starts_with(&format!("{}{place}", path.display())),
            "{report}"
        );
    }
}

#[test]
fn depth_and_size_are_no_danger() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}", "{a=".repeat(100_000)),
        format!("{}x = 1", "a.".repeat(100_000)),
        format!("[{}x]", "a.".repeat(100_000)),
        "[a\n".repeat(100_000),
        format!("models.m.zz = [{}]", "1,".repeat(100_000)),
        format!("sinks.m.redact = [{}]", "\"\",".repeat(100_000)),
    ] {
        assert!(problems(&text).lines().count() <= 201);
    }
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_refused_or_accepted_but_never_panics(text: String, path: String, value: String) {
            let set = [(path.as_str(), value.as_str())];
            let _ = with_set(&text, &[], &[]);
            let _ = with_set(SMALL, &set, &[(&format!("LEARND_{path}"), &value)]);
        }

        #[test]
        fn a_reference_with_a_hole_is_refused_in_good_order(at in 0usize..REFERENCE.len(), width in 1usize..40, put in "[a-z0-9\"\\[\\]{}=.,$\n]{0,3}") {
            let mut text = REFERENCE.to_owned();
            if text.is_char_boundary(at) && text.is_char_boundary((at + width).min(text.len())) {
                text.replace_range(at..(at + width).min(REFERENCE.len()), &put);
                if let Err(report) = parse("a.toml", &text, &Overrides::default()) {
                    let places: Vec<_> = report.diagnostics.iter().map(|d| (d.line, d.column)).collect();
                    prop_assert!(places.is_sorted(), "{}", report);
                    prop_assert!(!places.is_empty());
                    let lines = text.split('\n').count();
                    prop_assert!(places.iter().all(|(line, _)| (1..=lines).contains(line)));
                }
            }
        }
    }
}
