//! What each model will take at most, before anything is allocated.
//!
//! Invariant: the estimate never falls as a setting rises, and its arithmetic can be printed.

use crate::base::Task;
use crate::detect::DetectorConfig;
use crate::learn::{LearnerConfig, Optimizer};
use crate::model::ModelConfig;

use super::values::rough_size;

/// Bytes of an anomaly model's calibration and gate.
const CALIBRATION: u64 = 10 << 10;
/// Bytes of one column of the metric detector.
const SERIES: u64 = 1 << 10;
/// Columns where the features are not named one by one.
const COLUMNS: u64 = 16;
/// Bytes of a key: its name, its place in the pool, its evaluation.
const KEY: u64 = 512;

/// What a model will take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes for each key.
    pub bytes_per_key: u64,
    /// How they come about: `2^18 slots × 64 B = 16 MiB`.
    pub arithmetic: String,
}

/// Estimates one model.
pub fn estimate(model: &ModelConfig) -> Estimate {
    let (each, arithmetic) = if model.task == Task::Anomaly {
        let bytes = detector(model);
        (bytes, format!("a detector of {}", rough_size(bytes)))
    } else {
        learner(model)
    };
    if model.plan.key.is_empty() {
        return Estimate {
            bytes: each,
            bytes_per_key: each,
            arithmetic,
        };
    }
    let bytes_per_key = each.saturating_add(KEY);
    let bytes = bytes_per_key.saturating_mul(model.max_keys as u64);
    Estimate {
        bytes,
        bytes_per_key,
        arithmetic: format!(
            "{} keys × ({arithmetic}) = {}",
            model.max_keys,
            rough_size(bytes)
        ),
    }
}

fn detector(model: &ModelConfig) -> u64 {
    let features = &model.plan.features;
    let columns = if features.iter().any(|f| f.field == "*") {
        COLUMNS.max(features.len() as u64)
    } else {
        features.len() as u64
    };
    // The lower triangle of a covariance, and moments.
    let gauss = columns * (columns + 1) / 2 * 8 + columns * 64;
    CALIBRATION
        + match model.detector {
            DetectorConfig::Metric => columns * SERIES,
            DetectorConfig::Gauss => gauss,
            DetectorConfig::Auto => gauss.max(SERIES),
        }
}

fn learner(model: &ModelConfig) -> (u64, String) {
    let bits = model.plan.hash_bits;
    // What the classes share and what each has of its own: weights and accumulators in f32.
    let (single, shared, own) = match &model.learner {
        LearnerConfig::Race => (64u64, 32u64, 32u64),
        LearnerConfig::Linear(linear) => match linear.optimizer {
            Optimizer::NormalizedAdaptive => (16, 8, 8),
            Optimizer::Sgd => (16, 8, 4),
        },
    };
    let slots = 1u64 << bits;
    if model.task == Task::Multiclass {
        let slot = (model.max_classes as u64)
            .saturating_mul(own)
            .saturating_add(shared);
        let bytes = slots.saturating_mul(slot);
        let arithmetic = format!(
            "2^{bits} slots × ({shared} B + {} classes × {own} B) = {}",
            model.max_classes,
            rough_size(bytes)
        );
        return (bytes, arithmetic);
    }
    let bytes = slots.saturating_mul(single);
    let arithmetic = format!("2^{bits} slots × {single} B = {}", rough_size(bytes));
    (bytes, arithmetic)
}
