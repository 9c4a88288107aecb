//! One model whole: plan, learner or detector, evaluation, alerts, keyed pools.
//!
//! Invariant: nothing is learned from a record that was not first predicted.

use crate::alert::AlertConfig;
use crate::base::Task;
use crate::detect::DetectorConfig;
use crate::feature::PlanConfig;
use crate::learn::{LearnerConfig, UpdateMode};

/// A model's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Its name.
    pub name: String,
    /// Indices of its sources.
    pub inputs: Vec<u16>,
    /// What it is for.
    pub task: Task,
    /// What it asks of the fields.
    pub plan: PlanConfig,
    /// The most distinct keys.
    pub max_keys: usize,
    /// At the limit the least recently used key goes; else new ones are refused.
    pub evict: bool,
    /// The label that means "yes" (binary), where it is not 1 or true.
    pub positive: Option<String>,
    /// The most classes (multiclass).
    pub max_classes: usize,
    /// The learner (supervised tasks).
    pub learner: LearnerConfig,
    /// When it learns.
    pub update: UpdateMode,
    /// The detector (anomaly).
    pub detector: DetectorConfig,
    /// When to alert (anomaly).
    pub alerts: AlertConfig,
}
