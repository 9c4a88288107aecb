//! Files good and bad, and the rule of who may do what where.

use std::fs::Permissions;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;

const RIGHT: &str = "correct-horse-battery";
const OTHER: &str = "another-token-of-ours";

#[expect(
    clippy::disallowed_methods,
    reason = "a test's input need not survive a crash"
)]
fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn with_tokens(dir: &Path, files: &[(&str, &[Scope])]) -> Protection {
    let tokens = files.iter().enumerate().map(|(i, (text, scopes))| {
        let file = dir.join(format!("{i}.tokens"));
        write(&file, text, 0o600);
        let scopes = scopes.iter().fold(Scopes::default(), |all, s| all.with(*s));
        TokenFile { file, scopes }
    });
    Protection {
        tokens: tokens.collect(),
        ..Protection::default()
    }
}

fn open(listen: &str, protection: &Protection) -> Result<Guard, Unusable> {
    let listen: SocketAddr = listen.parse().unwrap();
    Guard::open(listen, protection, &[], Arc::new(GuardStats::default()))
}

fn peer() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

#[test]
fn a_token_allows_its_scopes_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("# ours\n\n{RIGHT}\n  {OTHER}\r\n");
    let files: [(&str, &[Scope]); 2] = [
        (&text, &[Scope::Ingest, Scope::Metrics]),
        (OTHER, &[Scope::Predict]),
    ];
    let guard = open("127.0.0.1:0", &with_tokens(dir.path(), &files)).unwrap();
    let allow = |token: Option<&str>, scope| guard.allow(peer(), token.map(str::as_bytes), scope);
    assert_eq!(allow(Some(RIGHT), Scope::Ingest), Ok(()));
    assert_eq!(allow(Some(RIGHT), Scope::Predict), Err(Denial::Forbidden));
    // A token in two files has the scopes of both.
    assert_eq!(allow(Some(OTHER), Scope::Predict), Ok(()));
    assert_eq!(allow(Some(OTHER), Scope::Ingest), Ok(()));
    // Nobody has this one, so nobody may.
    assert_eq!(allow(Some(RIGHT), Scope::Admin), Err(Denial::Forbidden));
    for wrong in ["", "# ours", &RIGHT[1..], &format!("{RIGHT}x")] {
        let denial = allow(Some(wrong), Scope::Ingest);
        assert_eq!(denial, Err(Denial::Unauthorized), "{wrong}");
    }
    assert_eq!(allow(None, Scope::Metrics), Err(Denial::Unauthorized));
    assert_eq!(guard.stats().denied(Denial::Unauthorized), 5);
}

#[test]
fn figures_take_a_token_only_where_some_token_has_the_scope() {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[Scope]); 1] = [(RIGHT, &[Scope::Ingest])];
    let guard = open("127.0.0.1:0", &with_tokens(dir.path(), &files)).unwrap();
    assert_eq!(guard.allow(peer(), None, Scope::Metrics), Ok(()));
}

#[test]
fn without_tokens_only_this_machine_may_send_data_unless_the_configuration_says_so() {
    let none = Protection::default();
    for (listen, may) in [
        ("127.0.0.1:0", true),
        ("127.9.9.9:0", true),
        ("[::1]:0", true),
        ("[::ffff:127.0.0.1]:0", true),
        ("0.0.0.0:0", false),
        ("[::]:0", false),
        ("192.0.2.1:0", false),
    ] {
        let guard = open(listen, &none).unwrap();
        let denied = (!may).then_some(Denial::Insecure);
        for scope in [Scope::Ingest, Scope::Predict, Scope::Admin] {
            assert_eq!(guard.allow(peer(), None, scope).err(), denied, "{listen}");
        }
        assert_eq!(guard.allow(peer(), None, Scope::Metrics), Ok(()));
    }
    let dir = tempfile::tempdir().unwrap();
    // A token alone would be there for all to read.
    let files: [(&str, &[Scope]); 1] = [(RIGHT, &[Scope::Ingest])];
    let mut protection = with_tokens(dir.path(), &files);
    let token = Some(RIGHT.as_bytes());
    let guard = open("0.0.0.0:0", &protection).unwrap();
    assert_eq!(
        guard.allow(peer(), token, Scope::Ingest),
        Err(Denial::Insecure)
    );
    protection.allow_insecure_listen = true;
    let guard = open("0.0.0.0:0", &protection).unwrap();
    assert_eq!(guard.allow(peer(), token, Scope::Ingest), Ok(()));
    assert_eq!(
        guard.allow(peer(), None, Scope::Ingest),
        Err(Denial::Unauthorized)
    );
}

#[test]
fn after_too_many_wrong_tokens_even_the_right_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[Scope]); 1] = [(RIGHT, &[Scope::Ingest])];
    let guard = open("127.0.0.1:0", &with_tokens(dir.path(), &files)).unwrap();
    for i in 0..20 {
        let wrong = format!("not-the-right-token-{i}");
        let denial = guard.allow(peer(), Some(wrong.as_bytes()), Scope::Ingest);
        assert_eq!(denial, Err(Denial::Unauthorized));
    }
    let right = Some(RIGHT.as_bytes());
    assert_eq!(
        guard.allow(peer(), right, Scope::Ingest),
        Err(Denial::Throttled)
    );
    let elsewhere = "198.51.100.1".parse().unwrap();
    assert_eq!(guard.allow(elsewhere, right, Scope::Ingest), Ok(()));
}

#[test]
fn files_of_tokens_that_are_no_secret_or_no_tokens_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("0.tokens");
    let refused = |text: &str, mode| {
        let mut protection = with_tokens(dir.path(), &[("", &[Scope::Ingest])]);
        write(&file, text, mode);
        protection.tokens[0].file.clone_from(&file);
        let unusable = open("127.0.0.1:0", &protection).err().expect("refused");
        assert!(!unusable.help.is_empty());
        assert_eq!(unusable.key, "file");
        unusable.message
    };
    assert!(refused(RIGHT, 0o644).contains("open to every user"));
    assert!(refused(RIGHT, 0o601).contains("open to every user"));
    assert!(refused("# none\n", 0o600).contains("has no token"));
    let short = refused(&format!("{RIGHT}\nCANARY-5-bytes\n"), 0o600);
    assert!(
        short.contains("line 2") && !short.contains("CANARY"),
        "{short}"
    );
    assert!(refused("CANARY with spaces in it", 0o600).contains("line 1"));
    assert!(refused(&"x".repeat(2 << 20), 0o600).contains("1 MiB"));
    let nowhere = Protection {
        tokens: vec![TokenFile {
            file: PathBuf::from("/nonexistent"),
            scopes: Scopes::default(),
        }],
        ..Protection::default()
    };
    let message = open("127.0.0.1:0", &nowhere).err().unwrap().message;
    assert!(message.contains("cannot be read"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_of_tokens_is_taken_over_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[Scope]); 1] = [(RIGHT, &[Scope::Ingest])];
    let protection = with_tokens(dir.path(), &files);
    let guard = open("127.0.0.1:0", &protection).unwrap();
    let file = &protection.tokens[0].file;
    let allow = |token: &str| guard.allow(peer(), Some(token.as_bytes()), Scope::Ingest);
    let later = || tokio::time::advance(Duration::from_secs(2));
    write(file, &format!("{RIGHT}\n{OTHER}\n"), 0o600);
    later().await;
    assert_eq!((allow(RIGHT), allow(OTHER)), (Ok(()), Ok(())));
    write(file, "short\n", 0o600);
    later().await;
    assert_eq!((allow(RIGHT), allow(OTHER)), (Ok(()), Ok(())));
    let failures = &guard.stats().token_reload_failures;
    assert_eq!(failures.load(Ordering::Relaxed), 1);
    write(file, &format!("{OTHER}\n"), 0o644);
    later().await;
    assert_eq!(allow(RIGHT), Ok(()));
    write(file, &format!("{OTHER}\n"), 0o600);
    later().await;
    assert_eq!(allow(RIGHT), Err(Denial::Unauthorized));
    assert_eq!(allow(OTHER), Ok(()));
    // Emptied: everybody's right is taken back.
    write(file, "", 0o600);
    later().await;
    assert_eq!(allow(OTHER), Err(Denial::Unauthorized));
}
