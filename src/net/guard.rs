//! The guard of one listener: who gets in, and who may do what.
//!
//! Invariant: where tokens are configured nothing that takes or answers data goes without one, and
//! where others can reach the listener nothing does without TLS as well, unless the configuration
//! says so in so many words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;

use super::files::Unusable;
use super::stats::{Denial, GuardStats};
use super::stream::{Plain, Stream};
use super::throttle::Throttle;
use super::tls::Tls;
use super::tokens::Tokens;
use super::{Protection, Scope};

/// The guard of one listener.
pub struct Guard {
    may_take_data: bool,
    tls: Option<Tls>,
    tokens: Option<Tokens>,
    throttle: Throttle,
    stats: Arc<GuardStats>,
}

impl Guard {
    /// Reads certificates and tokens. `protocols` are the names that TLS clients may ask for
    /// (ALPN), none for any.
    pub fn open(
        listen: SocketAddr,
        protection: &Protection,
        protocols: &[&str],
        stats: Arc<GuardStats>,
    ) -> Result<Guard, Unusable> {
        let tls = protection.tls.as_ref();
        let tls = tls.map(|files| Tls::open(files, protocols, &stats));
        let tokens = (!protection.tokens.is_empty())
            .then(|| Tokens::open(&protection.tokens, &stats))
            .transpose()?;
        Ok(Guard {
            may_take_data: protection.may_take_data(listen),
            tls: tls.transpose()?,
            tokens,
            throttle: Throttle::default(),
            stats,
        })
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<GuardStats> {
        &self.stats
    }

    /// Whether connections are TLS.
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether a connection must begin with a token.
    pub fn wants_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Makes an accepted connection one that can be spoken on. Whoever fails is counted.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream, Denial> {
        match &self.tls {
            None => Ok(Stream::Plain(Plain::new(stream, Arc::clone(&self.stats)))),
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
                Err(denial) => Err(self.denied(denial)),
            },
        }
    }

    /// Whether somebody with this token, or none, may do what takes this scope. Whoever may not is
    /// counted.
    pub fn allow(&self, peer: IpAddr, token: Option<&[u8]>, scope: Scope) -> Result<(), Denial> {
        if scope != Scope::Metrics && !self.may_take_data {
            return Err(self.denied(Denial::Insecure));
        }
        let Some(tokens) = &self.tokens else {
            return Ok(());
        };
        if scope == Scope::Metrics && !tokens.declared().contains(scope) {
            return Ok(());
        }
        // Even the right token waits: an answer would tell that it is the right one.
        if self.throttle.is_full(peer) {
            return Err(self.denied(Denial::Throttled));
        }
        let Some(token) = token else {
            return Err(self.denied(Denial::Unauthorized));
        };
        let scopes = tokens.scopes_of(token);
        if scopes.contains(scope) {
            return Ok(());
        }
        if scopes.iter().next().is_some() {
            return Err(self.denied(Denial::Forbidden));
        }
        self.throttle.wrong(peer);
        Err(self.denied(Denial::Unauthorized))
    }

    fn denied(&self, denial: Denial) -> Denial {
        self.stats.count(denial);
        denial
    }
}
