//! Checks between components: files and ports that two of them want, what one needs of another.
//!
//! Invariant: no file has two writers, none is both written and read, no port is bound twice.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use crate::net::{Protection, Scope};
use crate::source::SourceKind;

use super::dom::Entry;
use super::section::{Claim, Walk};
use super::types::SourceConfig;

/// Checks everything that was claimed, and that stdin has one reader.
pub(super) fn check(walk: &mut Walk, entries: &[&Entry], sources: &[Option<SourceConfig>]) {
    files(walk);
    ports(walk);
    let mut stdin: Option<&SourceConfig> = None;
    for (entry, source) in entries.iter().zip(sources) {
        let Some(source) = source else {
            continue;
        };
        if source.kind != SourceKind::Stdin {
            continue;
        }
        if let Some(first) = stdin {
            let message = format!("stdin is already read by sources.{}", first.name);
            walk.problem(
                entry.key_place,
                message,
                "one source reads it; leave one out",
            );
        } else {
            stdin = Some(source);
        }
    }
}

/// Checks that the server takes bodies where a source waits for them.
pub(super) fn bodies(
    walk: &mut Walk,
    entries: &[&Entry],
    sources: &[Option<SourceConfig>],
    listen: &Claim<SocketAddr>,
    protection: &Protection,
) {
    let scopes = |scope| protection.tokens.iter().any(|t| t.scopes.contains(scope));
    for (entry, source) in entries.iter().zip(sources) {
        if !matches!(source, Some(source) if source.kind == SourceKind::Http) {
            continue;
        }
        let (message, help) = if listen.place.is_none() {
            (
                "the bodies of an http source come to [server], which names no address".to_owned(),
                "add [server] with listen = \"127.0.0.1:7654\"",
            )
        } else if !protection.may_take_data(listen.what) {
            (
                format!(
                    "{} is open to the network without TLS and tokens, so it takes no bodies",
                    listen.what
                ),
                "give [server] `tls` and `tokens`, let it listen on 127.0.0.1, or write \
                 allow_insecure_listen = true where something else keeps strangers away",
            )
        } else if !protection.tokens.is_empty() && !scopes(Scope::Ingest) {
            (
                "no token of [server] has the scope `ingest`, so nobody can send a body".to_owned(),
                "add it to `scopes` of a file of tokens",
            )
        } else {
            continue;
        };
        walk.problem(entry.key_place, message, help);
    }
}

fn files(walk: &mut Walk) {
    let mut wrong = Vec::new();
    for (i, claim) in walk.files.iter().enumerate() {
        let path = plain_path(&claim.what);
        if path == Path::new("/dev/null") {
            continue;
        }
        let first = walk.files[..i].iter().find(|c| plain_path(&c.what) == path);
        if let Some(first) = first {
            let message = format!("{} is already written by {}", path.display(), first.who);
            wrong.push((
                claim.place,
                message,
                "every file has one writer; use another path",
            ));
        }
        for glob in &walk.globs {
            if glob.what.matches_path(&path) {
                let message = format!(
                    "{} is read by {} (`{}`), which would learn what is written here",
                    path.display(),
                    glob.who,
                    glob.what
                );
                wrong.push((
                    claim.place,
                    message,
                    "use a path that the glob does not match",
                ));
            }
        }
    }
    for (place, message, help) in wrong {
        walk.problem(place.unwrap_or_default(), message, help);
    }
}

/// A path without `.`, doubled slashes and, as far as the text goes, `..`.
fn plain_path(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn ports(walk: &mut Walk) {
    let mut wrong = Vec::new();
    for (i, claim) in walk.ports.iter().enumerate() {
        let first = walk.ports[..i].iter().find(|c| collide(c.what, claim.what));
        if let Some(first) = first {
            wrong.push((first.clone(), claim.clone()));
        }
    }
    for (first, second) in wrong {
        let (at, other) = match (first.place, second.place) {
            (Some(a), Some(b)) if a > b => (first, second),
            (Some(_), None) => (first, second),
            _ => (second, first),
        };
        let default = if other.place.is_none() {
            " by default"
        } else {
            ""
        };
        let message = format!(
            "{} is already used by {}{default} ({})",
            at.what, other.who, other.what
        );
        walk.problem(at.place.unwrap_or_default(), message, "use another port");
    }
}

/// Whether two addresses cannot both be bound. Port 0 is any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |x: SocketAddr, y: SocketAddr| {
        // The unspecified IPv6 address takes IPv4 connections too.
        x.ip().is_unspecified() && (x.is_ipv6() || y.is_ipv4())
    };
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || any(a, b) || any(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_as_text_made_plain() {
        assert_eq!(plain_path(Path::new("./a//b/../c")), Path::new("a/c"));
        assert_eq!(plain_path(Path::new("../a")), Path::new("../a"));
        assert_eq!(plain_path(Path::new("/a/./b/")), Path::new("/a/b"));
    }

    #[test]
    fn ports_collide_where_they_cannot_both_be_bound() {
        let collide = |a: &str, b: &str| collide(a.parse().unwrap(), b.parse().unwrap());
        assert!(collide("127.0.0.1:1", "127.0.0.1:1"));
        assert!(collide("0.0.0.0:1", "127.0.0.1:1"));
        assert!(collide("127.0.0.1:1", "[::]:1"));
        assert!(!collide("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!collide("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!collide("0.0.0.0:1", "[::1]:1"));
    }
}
