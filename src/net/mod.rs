//! What stands between the network and every listener: TLS, tokens, and the rule of who may do what
//! where.
//!
//! Invariant: the text of a token is kept nowhere: what stays is its hash, which has neither `Debug`
//! nor `Display`; no error, log line or metric made here holds a byte of a secret file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

mod auth;
mod files;
mod guard;
mod secret;
mod stats;
mod stream;
mod throttle;
mod tls;
mod tokens;

pub use files::Unusable;
pub use guard::Guard;
pub use stats::{Denial, GuardStats};
pub use stream::{Input, Output, Stream};

/// How a listener is protected, as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Connections are TLS.
    pub tls: Option<TlsFiles>,
    /// Who asks must name one of the tokens in these files.
    pub tokens: Vec<TokenFile>,
    /// An address that others can reach is fine without either.
    pub allow_insecure_listen: bool,
}

/// The files of TLS, each PEM; read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates, our own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Clients must show a certificate signed by one of these.
    pub client_ca: Option<PathBuf>,
}

/// A file of tokens, one a line, and what each of them allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// The file.
    pub file: PathBuf,
    /// What its tokens allow.
    pub scopes: Scopes,
}

/// What a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To hand in records, labels and feedback.
    Ingest,
    /// To ask for predictions.
    Predict,
    /// To order reloads and snapshots.
    Admin,
    /// To read figures. Asked for only where some token has it.
    Metrics,
}

impl Scope {
    /// Every scope, in the order of the reference.
    pub const ALL: [Scope; 4] = [Scope::Ingest, Scope::Predict, Scope::Admin, Scope::Metrics];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Ingest => "ingest",
            Scope::Predict => "predict",
            Scope::Admin => "admin",
            Scope::Metrics => "metrics",
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// With one more.
    pub fn with(self, scope: Scope) -> Scopes {
        Scopes(self.0 | 1 << scope as u8)
    }

    /// With all of another set.
    pub fn and(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Whether a scope is in it.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Its scopes.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |s| self.contains(*s))
    }
}

impl Protection {
    /// Whether whoever reaches the listener has been told apart from the rest of the network:
    /// encrypted, and with a token or a certificate of the client's own.
    pub fn is_private(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| !self.tokens.is_empty() || tls.client_ca.is_some())
    }

    /// Whether a listener on this address may take and answer data.
    pub fn may_take_data(&self, listen: SocketAddr) -> bool {
        is_loopback(listen.ip()) || self.allow_insecure_listen || self.is_private()
    }
}

/// Whether only this machine can reach an address.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
