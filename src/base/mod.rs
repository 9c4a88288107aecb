//! The nouns every other module speaks: chunks of input, rows of features, labels, predictions,
//! events, time, and the codec of saved state.
//!
//! Invariant: pure data. Nothing here reads a clock, opens a file or knows a learner.

mod chunk;
mod codec;
mod event;
mod field;
mod frame;
mod row;
mod text;
mod time;

pub use chunk::{Chunk, LineSpan, StreamName};
pub use codec::{Part, Reader, Section, SectionData, StateError, Writer, pack, unpack};
pub use event::{Event, EventHead, EventKind, EventKinds, EventSink, Reason, RenderOptions};
pub use field::{Example, FieldSink, ForeseenName, HashedFeature, Reject, RejectReason};
pub use frame::{Cutter, Framer};
pub use row::{Column, Label, Prediction, Row, Scale, Scratch, SkipReason, Task};
pub use text::fixed_six;
pub use time::{Clock, Micros};
