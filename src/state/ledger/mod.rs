//! The ledger: everything that came in, in the order in which it was learned, on disk before
//! anyone is told that it was taken.
//!
//! A segment is a file `ledger-{first}.log`: a header, then frames. Every frame has a number
//! (`seq`), from 1 on without a gap, through all segments. A frame's checksum knows the segment it
//! is in, so nothing that lay in the file's blocks before is ever taken for a frame.
//!
//! ```text
//! Encoder (learner's thread) ──Batch──▶ SegmentWriter (ledger's thread) ──▶ segments
//!        ▲                                   │ durable up to seq
//!        └───────────── emptied batches ─────┘
//! recover(disk, from): segments ──frames after `from`, in order──▶ the learner
//! ```
//!
//! Invariants:
//! * A number that [`SegmentWriter::commit`] returned is found again by [`recover`], with every one
//!   before it that no snapshot made superfluous, whatever crashed meanwhile.
//! * Nothing is synced twice on one descriptor: after any failure the segment is left as it is, and
//!   what was not durable is written again to a new one.
//! * Only [`SegmentWriter::remove_before`] deletes frames, and only whole segments, oldest first;
//!   the newest segment always stays, so that a ledger that is gone is noticed.
//! * Recovery cuts only what was never reported durable. Each batch begins with a mark that says
//!   how far the ledger was durable before it: an invalid frame below that mark is damage, and
//!   damage stops the start.

mod encoder;
mod frame;
mod reader;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_crash;
#[cfg(test)]
mod tests_damage;
mod writer;

pub use encoder::{Batch, Encoder, FrameTooLong, GROUP_BYTES, GROUP_RECORDS, MAX_KEY};
pub use frame::{Control, Data, Extent, Frame, MAX_FRAME, Request, Stream};
pub use recover::{Lost, Recovery, recover};
pub use segment::SEGMENT_BYTES;
pub use writer::SegmentWriter;
