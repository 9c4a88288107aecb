//! The checked configuration, defaults filled in and names resolved to indices.
//!
//! Invariant: every index is valid, every limit above zero.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::{EventKinds, RenderOptions};
use crate::decode::{FormatConfig, Limits};
use crate::model::ModelConfig;
use crate::net::Protection;
use crate::sink::{SinkKind, WhenFull};
use crate::source::SourceKind;

/// Everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How long a stop may take.
    pub shutdown_timeout: Duration,
    /// Models that would take more bytes are refused.
    pub memory_limit: u64,
    /// The file with the secret key of feature hashes; its seed is in every plan.
    pub hash_key_file: Option<PathBuf>,
    /// Where metrics, health and the API are served.
    pub listen: SocketAddr,
    /// The address was not asked for: if it is taken, the daemon runs without (with a warning).
    pub listen_is_default: bool,
    /// Admin requests are allowed.
    pub admin: bool,
    /// How that address is protected.
    pub protection: Protection,
    /// The most HTTP connections at once.
    pub max_connections: usize,
    /// Where state is kept; nothing is kept without.
    pub state: Option<StateConfig>,
    /// The sources, in the order of the file.
    pub sources: Vec<SourceConfig>,
    /// The models, in the order of the file.
    pub models: Vec<ModelConfig>,
    /// The sinks, in the order of the file.
    pub sinks: Vec<SinkConfig>,
}

/// Where and how often state is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StateConfig {
    /// The directory.
    pub dir: PathBuf,
    /// Between snapshots.
    pub snapshot_every: Duration,
    /// Generations kept.
    pub keep: usize,
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// Where its bytes come from.
    pub kind: SourceKind,
    /// Its format.
    pub format: FormatConfig,
    /// Limits within a line.
    pub limits: Limits,
    /// Longest line, in bytes.
    pub max_line: usize,
    /// Where refused lines go.
    pub dead_letters: Option<PathBuf>,
    /// The dead-letter file never grows beyond this.
    pub dead_letters_max: u64,
    /// What is read goes into the journal before it is learned.
    pub journal: bool,
}

/// One sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// Where its events go.
    pub kind: SinkKind,
    /// Indices of its models.
    pub inputs: Vec<usize>,
    /// The kinds of event it takes.
    pub events: EventKinds,
    /// What happens when its queue is full.
    pub when_full: WhenFull,
    /// How its events are written.
    pub render: RenderOptions,
    /// Events that its queue holds at most.
    pub queue: usize,
}
