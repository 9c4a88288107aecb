//! Anomaly detectors: how strange is a record beside what was normal so far?
//!
//! Invariant: scoring takes `&self`; what may become normal is decided by the gate, never by a
//! budget.

use crate::base::{Micros, Reader, Row, Scratch, StateError, Writer};

/// Which detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectorConfig {
    /// Decided once, after 64 records.
    Auto,
    /// Record-ratio with a seasonal residual, for single values.
    Metric,
    /// Online Mahalanobis distance, for several.
    Gauss,
}

/// One feature's share in a raw score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The dense column.
    pub column: u32,
    /// Its value; NaN where missing.
    pub value: f64,
    /// The value expected.
    pub expected: f64,
    /// Its share of the score, 0..1.
    pub share: f64,
}

/// A detector of one series.
pub trait Detector: Send {
    /// How strange the record is: any scale, the more the stranger, never NaN.
    fn score_one(&self, x: Row<'_>, time: Micros, s: &mut Scratch) -> f64;
    /// Takes the record in, as one that may (`normal`) or may not become part of what is normal.
    fn learn_one(&mut self, x: Row<'_>, time: Micros, normal: bool, s: &mut Scratch);
    /// The features that made the score, strongest first, at most `n`; shares sum to at most 1.
    fn explain(&self, x: Row<'_>, time: Micros, n: usize, s: &mut Scratch) -> Vec<Share>;
    /// Maps a raw score to [0, 1), strictly rising, the same for ever (so that scores of one
    /// model compare).
    fn squash(&self, score: f64) -> f64;
    /// Whether enough was seen to say anything.
    fn ready(&self) -> bool;
    /// Writes everything that decides what it will say and learn.
    fn save(&self, out: &mut Writer);
    /// Reads it back; on an error the detector is not to be used.
    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError>;
}
