//! Why an engine could not start or go on, and the exit code that says so.
//!
//! Invariant: every error names what, where, and the way out.

use std::path::PathBuf;

use crate::base::StateError;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::state::StoreError;

/// Why an engine could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A source could not be opened or read.
    #[error("source {name}: {error}")]
    Source {
        /// The source.
        name: String,
        /// Why.
        error: SourceError,
    },
    /// A sink could not be opened.
    #[error("sink {name}: {error}")]
    Sink {
        /// The sink.
        name: String,
        /// Why.
        error: SinkError,
    },
    /// A sink's storage kept failing.
    #[error("sink {name} failed: {error}; the events that it did not take are lost")]
    SinkFailed {
        /// The sink.
        name: String,
        /// The last failure.
        error: std::io::Error,
    },
    /// A dead-letter file could not be opened.
    #[error("dead letters of source {name} at {}: {error}", path.display())]
    DeadLetters {
        /// The source.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// State and configuration disagree.
    #[error(
        "model {model}: the state in {from} does not fit: {differences}\n\
         hint: change the configuration back, or start this model anew with --reset {model} \
         (its old state is archived)"
    )]
    Misfit {
        /// The model.
        model: String,
        /// The snapshot.
        from: String,
        /// What differs.
        differences: String,
    },
    /// A model's state makes no sense.
    #[error(
        "model {model}: the state in {from} cannot be read: {error}\n\
         hint: move this file away to go on from the snapshot before it, or start this model anew \
         with --reset {model}"
    )]
    Unreadable {
        /// The model.
        model: String,
        /// The snapshot.
        from: String,
        /// Why.
        error: StateError,
    },
    /// `--reset` names no model.
    #[error("--reset {name}: the configuration has no model of this name; it has {known}")]
    NoSuchModel {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// `--from` without a state directory.
    #[error("--from goes back to a generation of a state directory: no [state] is configured")]
    NothingToGoBackTo,
    /// `--exclude` names a source that the journal does not keep.
    #[error("--exclude {name}: the journal keeps no source of this name; it keeps {known}")]
    NotInJournal {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A file named on the command line.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file named on the command line cannot take more.
    #[error("{}: cannot write: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A thread or the runtime could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The learner panicked; the last good snapshot is untouched.
    #[error("the learner failed; nothing was written over the last good snapshot")]
    Learner,
    /// The last snapshot could not be written.
    #[error("the last snapshot could not be written; the one before it is intact")]
    LastSnapshot,
    /// The drain took too long.
    #[error("not everything was learned within shutdown_timeout; what was left unread is lost")]
    Deadline,
}

impl EngineError {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Store(error) => error.exit_code(),
            EngineError::Misfit { .. } | EngineError::Unreadable { .. } => 3,
            EngineError::NoSuchModel { .. }
            | EngineError::NothingToGoBackTo
            | EngineError::NotInJournal { .. }
            | EngineError::File { .. }
            | EngineError::Source {
                error: SourceError::Unusable(_),
                ..
            } => 2,
            EngineError::LastSnapshot
            | EngineError::SinkFailed { .. }
            | EngineError::Write { .. } => 4,
            EngineError::Source { .. }
            | EngineError::Sink { .. }
            | EngineError::DeadLetters { .. }
            | EngineError::Thread(_)
            | EngineError::Learner
            | EngineError::Deadline => 1,
        }
    }
}
