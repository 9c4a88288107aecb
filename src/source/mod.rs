//! Bytes from outside, cut into chunks of whole lines with the place they came from.
//!
//! Invariant: nothing is parsed here, and a source reads no further than its queue has room.

use std::path::PathBuf;

use crate::net::Protection;

mod chunker;
mod context;
mod decompress;
mod demo;
mod file;
mod http;
mod reader;
mod stdin;
mod tcp;
mod warnings;

pub use context::{
    Answer, BoxFuture, Delivery, Kept, Opened, Resume, SourceContext, SourceError, SourceStats,
    Spawner, open,
};
pub use http::{Intake, LineError, MAX_KEY, Outcome, Refused, Request, Taken};
pub use reader::{FileReader, eval_reader};

/// Where a source's bytes come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// Standard input.
    Stdin,
    /// Files by pattern.
    File(FileConfig),
    /// Connections.
    Tcp(TcpConfig),
    /// Bodies of requests to the server.
    Http,
    /// A made-up stream.
    Demo(DemoConfig),
}

/// Files by pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct FileConfig {
    /// Globs.
    pub paths: Vec<String>,
    /// A file not seen before is read from its start; else from its end.
    pub from_start: bool,
    /// Waits for more; else reads to the end and is done.
    pub follow: bool,
    /// Follows symbolic links.
    pub follow_symlinks: bool,
    /// How often files are looked at, in milliseconds.
    pub poll_interval_ms: u64,
}

/// Connections.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpConfig {
    /// Address and port.
    pub listen: std::net::SocketAddr,
    /// What clients get back.
    pub reply: Reply,
    /// The most connections at once; one more is refused with a line that says so.
    pub max_connections: usize,
    /// How the address is protected.
    pub protection: Protection,
}

/// What a client gets back for each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    None,
    /// The prediction (or score) event, or an error object.
    Prediction,
    /// `ACK` and how many lines of the stream are on disk.
    Ack,
}

/// A made-up stream of web-shop requests.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoConfig {
    /// Of the random numbers.
    pub seed: u64,
    /// Requests a second of wall time; 0 for as fast as they are taken.
    pub rate: f64,
    /// Seconds of the stream's own time that pass in a second.
    pub speedup: f64,
    /// Ends after so many records; 0 for never.
    pub records: u64,
    /// One record in so many is an anomaly.
    pub anomaly_every: u64,
    /// Writes the truth of every record here (JSON lines), for judging.
    pub truth: Option<PathBuf>,
}
