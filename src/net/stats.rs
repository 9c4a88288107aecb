//! Who was turned away at a listener, and why.
//!
//! Invariant: nobody is turned away uncounted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection or a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The handshake failed, or TLS came to a port that does not speak it.
    Tls,
    /// The handshake, the header or the body did not come in time.
    Timeout,
    /// Not the protocol of this port.
    Protocol,
    /// No token, or a wrong one.
    Unauthorized,
    /// The token does not allow it.
    Forbidden,
    /// Too many wrong tokens from there.
    Throttled,
    /// The listener can be reached by others and has neither TLS nor tokens.
    Insecure,
    /// A web page asked, and it has no token.
    Origin,
    /// As many connections as may be are open.
    Limit,
}

impl Denial {
    /// Every reason.
    pub const ALL: [Denial; 9] = [
        Denial::Tls,
        Denial::Timeout,
        Denial::Protocol,
        Denial::Unauthorized,
        Denial::Forbidden,
        Denial::Throttled,
        Denial::Insecure,
        Denial::Origin,
        Denial::Limit,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Denial::Tls => "tls",
            Denial::Timeout => "timeout",
            Denial::Protocol => "protocol",
            Denial::Unauthorized => "unauthorized",
            Denial::Forbidden => "forbidden",
            Denial::Throttled => "throttled",
            Denial::Insecure => "insecure",
            Denial::Origin => "origin",
            Denial::Limit => "limit",
        }
    }
}

/// Counters of one listener, read by telemetry.
#[derive(Debug, Default)]
pub struct GuardStats {
    denied: [AtomicU64; Denial::ALL.len()],
    /// Times that changed certificates were taken over.
    pub tls_reloads: AtomicU64,
    /// Times that changed certificates were no good, so that the old ones stayed.
    pub tls_reload_failures: AtomicU64,
    /// Times that a changed file of tokens was no good, so that the old ones stayed.
    pub token_reload_failures: AtomicU64,
}

impl GuardStats {
    /// Counts one that was turned away.
    pub fn count(&self, denial: Denial) {
        self.denied[denial as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were turned away for this.
    pub fn denied(&self, denial: Denial) -> u64 {
        self.denied[denial as usize].load(Ordering::Relaxed)
    }
}
