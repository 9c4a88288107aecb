//! Bearer tokens from files: one a line, several at once so that they can be exchanged.
//!
//! Invariant: every token known is compared with, whichever fits, so that the time tells nothing; a
//! changed file is taken over within a second, and a bad one changes nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::files::{self, Fingerprint, Readers, Unusable, Wrong};
use super::secret::Secret;
use super::stats::GuardStats;
use super::{Scopes, TokenFile};

/// A token has as many bytes at least; 16 random ones are out of reach of guessing.
const FEWEST_BYTES: usize = 16;
/// And at most.
pub(super) const MOST_BYTES: usize = 512;
/// Files are looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The tokens of a listener.
pub(super) struct Tokens {
    files: Vec<TokenFile>,
    state: Mutex<State>,
    stats: Arc<GuardStats>,
}

struct State {
    /// By file.
    known: Vec<Known>,
    looked: Instant,
}

/// What is known of one file.
struct Known {
    fingerprint: Option<Fingerprint>,
    secrets: Arc<[Secret]>,
}

impl Tokens {
    /// Reads every file.
    pub(super) fn open(files: &[TokenFile], stats: &Arc<GuardStats>) -> Result<Tokens, Unusable> {
        let mut known = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let fingerprint = files::fingerprint(&file.file);
            let unusable = |(message, help): Wrong| Unusable {
                key: "file",
                index,
                message,
                help,
            };
            let secrets = load(file).map_err(unusable)?;
            if secrets.is_empty() {
                let shown = file.file.display();
                return Err(unusable((
                    format!("{shown} has no token in it"),
                    format!("head -c 32 /dev/urandom | base64 > {shown}"),
                )));
            }
            known.push(Known {
                fingerprint,
                secrets: secrets.into(),
            });
        }
        Ok(Tokens {
            files: files.to_vec(),
            state: Mutex::new(State {
                known,
                looked: Instant::now(),
            }),
            stats: Arc::clone(stats),
        })
    }

    /// What any token may allow.
    pub(super) fn declared(&self) -> Scopes {
        let none = Scopes::default();
        self.files.iter().fold(none, |all, f| all.and(f.scopes))
    }

    /// What a token allows; nothing if it is none of ours.
    pub(super) fn scopes_of(&self, presented: &[u8]) -> Scopes {
        self.look();
        let presented = Secret::of(presented);
        let mut scopes = Scopes::default();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, known) in self.files.iter().zip(&state.known) {
            for secret in known.secrets.iter() {
                if secret.is(&presented) {
                    scopes = scopes.and(file.scopes);
                }
            }
        }
        scopes
    }

    /// Takes over what has changed.
    fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK_EVERY {
            return;
        }
        state.looked = Instant::now();
        for (file, known) in self.files.iter().zip(&mut state.known) {
            let now = files::fingerprint(&file.file);
            if now == known.fingerprint {
                continue;
            }
            known.fingerprint = now;
            let shown = file.file.display();
            match load(file) {
                Ok(secrets) => {
                    tracing::info!(file = %shown, tokens = secrets.len(), "tokens were read again");
                    if secrets.is_empty() {
                        tracing::warn!(file = %shown, "no token is left in it");
                    }
                    known.secrets = secrets.into();
                }
                Err((message, help)) => {
                    let failures = &self.stats.token_reload_failures;
                    failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(help, "the tokens read before stay: {message}");
                }
            }
        }
    }
}

/// The tokens of one file.
fn load(file: &TokenFile) -> Result<Vec<Secret>, Wrong> {
    let bytes = files::read(&file.file, Readers::OwnerAndGroup)?;
    let shown = file.file.display();
    let mut secrets = Vec::new();
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let number = index + 1;
        if line.len() < FEWEST_BYTES || line.len() > MOST_BYTES {
            let message = format!(
                "the token in line {number} of {shown} has {} bytes; it takes {FEWEST_BYTES} to {MOST_BYTES}",
                line.len()
            );
            return Err((message, "head -c 32 /dev/urandom | base64 makes one".into()));
        }
        if !line.iter().all(u8::is_ascii_graphic) {
            let message = format!(
                "the token in line {number} of {shown} has other characters than visible ASCII"
            );
            return Err((message, "head -c 32 /dev/urandom | base64 makes one".into()));
        }
        secrets.push(Secret::of(line));
    }
    Ok(secrets)
}
