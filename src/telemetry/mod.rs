//! What the operator sees: every metric by name, and the log.
//!
//! Invariant: metrics are handles made from a registry and passed in; there is no global one, and
//! no label value ever comes from a record.
