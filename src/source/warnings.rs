//! Warnings that cannot flood the log.
//!
//! Invariant: at most one line of a kind in ten seconds; how many were held back is said.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time in which a kind of warning is given once.
const QUIET: Duration = Duration::from_secs(10);

/// One source's warnings.
#[derive(Debug)]
pub(super) struct Warnings {
    source: String,
    kinds: Mutex<BTreeMap<&'static str, (Instant, u64)>>,
}

impl Warnings {
    /// Warnings that name `source`.
    pub(super) fn new(source: String) -> Warnings {
        Warnings {
            source,
            kinds: Mutex::new(BTreeMap::new()),
        }
    }

    /// Logs a warning of a kind unless one was logged just before.
    pub(super) fn warn(&self, kind: &'static str, message: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let held_back = match kinds.get_mut(kind) {
            Some((last, held_back)) if now.duration_since(*last) < QUIET => {
                *held_back += 1;
                return;
            }
            Some((_, held_back)) => *held_back,
            None => 0,
        };
        kinds.insert(kind, (now, 0));
        drop(kinds);
        if held_back == 0 {
            tracing::warn!(source = %self.source, "{}", message());
        } else {
            tracing::warn!(source = %self.source, held_back, "{}", message());
        }
    }
}
