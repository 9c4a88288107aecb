//! `tls`, `tokens` and `allow_insecure_listen` of a listener.
//!
//! Invariant: what is accepted here can be used: every file is read and refused under its place, and
//! no message holds a byte of what is in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::net::{Guard, GuardStats, Protection, Scope, Scopes, TlsFiles, TokenFile};

use super::dom::{Node, Place, Table, Value};
use super::section::{Section, word_of, wrong_type};
use super::shape::Shape;

/// Reads the keys. Where the listener does one thing alone, its tokens must have that `scope`.
pub(super) fn read(s: &mut Section<'_, '_>, scope: Option<Scope>) -> Protection {
    let tls = tls(s);
    let tokens = tokens(s, scope);
    let allow_insecure_listen = s.boolean("allow_insecure_listen", false);
    let (tls, tls_places) = tls.unzip();
    let (tokens, token_places): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
    let protection = Protection {
        tls,
        tokens,
        allow_insecure_listen,
    };
    // The address plays no part in whether files can be used.
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    for part in [
        Protection {
            tokens: Vec::new(),
            ..protection.clone()
        },
        Protection {
            tls: None,
            ..protection.clone()
        },
    ] {
        let stats = Arc::new(GuardStats::default());
        if let Err(unusable) = Guard::open(anywhere, &part, &[], stats) {
            let place = match (unusable.key, tls_places) {
                ("cert", Some([cert, _, _])) => cert,
                ("key", Some([_, key, _])) => key,
                ("client_ca", Some([_, _, client_ca])) => client_ca,
                _ => token_places.get(unusable.index).copied().unwrap_or(s.place),
            };
            s.walk.problem(place, unusable.message, unusable.help);
        }
    }
    protection
}

/// A listener that takes data is not open to the network by oversight.
pub(super) fn closed_to_others(
    s: &mut Section<'_, '_>,
    listen: SocketAddr,
    protection: &Protection,
) {
    if !protection.may_take_data(listen) {
        let place = s.place_of("listen");
        let message = format!("{listen} is open to the network without TLS and tokens");
        let help = "add `tls` and `tokens`, listen on 127.0.0.1, or write allow_insecure_listen = true \
                    where something else keeps strangers away";
        s.walk.problem(place, message, help);
    }
}

/// The files and the places of their three keys.
fn tls(s: &mut Section<'_, '_>) -> Option<(TlsFiles, [Place; 3])> {
    let entry = s.get("tls", Shape::Table("tls"), None)?;
    let title = format!("`tls` in {}", s.title);
    let example = "tls = { cert = \"server.pem\", key = \"server.key\" }";
    let Value::Table(table) = &entry.node.value else {
        wrong_type(s.walk, "tls", &entry.node, "a table", example);
        return None;
    };
    let mut s = Section::new(s.walk, "tls", title, table, entry.key_place);
    let mut path = |key| {
        let text = s.text(key, Some(""));
        let text = text.filter(|text| !text.text.is_empty());
        text.map(|text| PathBuf::from(text.text))
    };
    let (cert, key, client_ca) = (path("cert"), path("key"), path("client_ca"));
    let places = ["cert", "key", "client_ca"].map(|key| s.place_of(key));
    let found = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles {
            cert,
            key,
            client_ca,
        }),
        (None, None) if client_ca.is_none() => None,
        (cert, _) => {
            let missing = if cert.is_none() { "cert" } else { "key" };
            let place = s.place_of(missing);
            let message = format!("TLS takes a certificate and its key; there is no `{missing}`");
            s.walk.problem(place, message, format!("as in {example}"));
            None
        }
    };
    s.finish(&[], true);
    found.map(|files| (files, places))
}

/// The files and the places of their names.
fn tokens(s: &mut Section<'_, '_>, scope: Option<Scope>) -> Vec<(TokenFile, Place)> {
    let shape = Shape::Array(Box::new(Shape::Table("token")));
    let Some(entry) = s.get("tokens", shape, Some("[]".into())) else {
        return Vec::new();
    };
    let example = "tokens = [{ file = \"learnd.tokens\", scopes = [\"ingest\"] }]";
    let Value::Array(items) = &entry.node.value else {
        wrong_type(s.walk, "tokens", &entry.node, "an array of tables", example);
        return Vec::new();
    };
    let title = format!("`tokens` in {}", s.title);
    let mut out = Vec::new();
    for item in items {
        let Value::Table(table) = &item.value else {
            wrong_type(s.walk, "tokens", item, "an array of tables", example);
            continue;
        };
        out.extend(token(s, &title, item, table, scope));
    }
    out
}

fn token(
    s: &mut Section<'_, '_>,
    title: &str,
    node: &Node,
    table: &Table,
    only: Option<Scope>,
) -> Option<(TokenFile, Place)> {
    let mut s = Section::new(s.walk, "token", title.to_owned(), table, node.place);
    let file = s.text("file", Some(""));
    let shape = Shape::Array(Box::new(Shape::Words(
        Scope::ALL.map(Scope::as_str).to_vec(),
    )));
    let scopes = match s.get("scopes", shape, Some("[]".into())) {
        None => Some(Scopes::default()),
        Some(entry) => scopes_of(&mut s, &entry.node),
    };
    let result = match (file, scopes) {
        (Some(file), Some(scopes)) => named(&mut s, file.text, scopes, only),
        _ => None,
    };
    let place = s.place_of("file");
    s.finish(&[], true);
    result.map(|token| (token, place))
}

fn scopes_of(s: &mut Section<'_, '_>, node: &Node) -> Option<Scopes> {
    let Value::Array(items) = &node.value else {
        let example = "scopes = [\"ingest\"]";
        wrong_type(s.walk, "scopes", node, "an array of words", example);
        return None;
    };
    let words = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let mut scopes = Some(Scopes::default());
    for item in items {
        let scope = word_of(s.walk, "scope", item, &words, &[]);
        scopes = scopes.zip(scope).map(|(all, one)| all.with(one));
    }
    scopes
}

/// The file with its scopes; neither is no token.
fn named(
    s: &mut Section<'_, '_>,
    file: String,
    scopes: Scopes,
    only: Option<Scope>,
) -> Option<TokenFile> {
    let none = scopes == Scopes::default();
    if file.is_empty() && none {
        return None;
    }
    if file.is_empty() {
        let place = s.place_of("file");
        let help = "add file = \"/etc/learnd/learnd.tokens\"";
        s.walk
            .problem(place, "there is no file of these tokens", help);
        return None;
    }
    if none {
        let place = s.place_of("scopes");
        let help = "add scopes = [\"ingest\"]; there are ingest, predict, admin and metrics";
        s.walk.problem(place, "these tokens allow nothing", help);
        return None;
    }
    if let Some(scope) = only.filter(|scope| !scopes.contains(*scope)) {
        let place = s.place_of("scopes");
        let message = format!("tokens of this source take the scope `{}`", scope.as_str());
        let help = format!("write scopes = [\"{}\"]", scope.as_str());
        s.walk.problem(place, message, help);
        return None;
    }
    Some(TokenFile {
        file: PathBuf::from(file),
        scopes,
    })
}
