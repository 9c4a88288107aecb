//! What each model will take at most, before anything is allocated.
//!
//! Invariant: the estimate never falls as a setting rises, and its arithmetic can be printed.

use crate::base::Task;
use crate::detect::Monitor;
use crate::learn::LearnerContext;
use crate::model::ModelConfig;

use super::values::rough_size;

/// Columns of a detector where the features are not named one by one.
const COLUMNS: usize = 8;
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

/// Bytes of a monitor, by the detector's own account.
fn detector(model: &ModelConfig) -> u64 {
    let features = &model.plan.features;
    let columns = if features.iter().any(|f| f.field == "*") {
        COLUMNS.max(features.len())
    } else {
        features.len()
    };
    Monitor::memory_bytes(model.detector, columns)
}

/// Bytes of a learner, by its own account, and how they divide into slots and the rest.
fn learner(model: &ModelConfig) -> (u64, String) {
    let bits = model.plan.hash_bits;
    let with_bits = |hash_bits: u32| {
        model.learner.memory_bytes(&LearnerContext {
            task: model.task,
            hash_bits,
            max_classes: model.max_classes,
        })
    };
    let bytes = with_bits(bits);
    let slot = with_bits(bits + 1).saturating_sub(bytes) >> bits;
    let rest = bytes.saturating_sub(slot << bits);
    let classes = if model.task == Task::Multiclass {
        format!(" of {} classes", model.max_classes)
    } else {
        String::new()
    };
    let arithmetic = format!(
        "2^{bits} slots{classes} × {slot} B + {} for named columns = {}",
        rough_size(rest),
        rough_size(bytes)
    );
    (bytes, arithmetic)
}
