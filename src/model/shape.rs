//! What saved state and a configuration must agree on.
//!
//! Invariant: two configurations of the same shape can share state; what is not in the shape (a
//! learning rate, a budget, a limit) may change and the learning stays.

use std::collections::BTreeMap;

use crate::base::Task;
use crate::detect::DetectorConfig;
use crate::learn::{LearnerConfig, UpdateMode};

use super::ModelConfig;

/// Settings by name, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(BTreeMap<String, String>);

/// Tells two keys apart without giving either away.
fn hash_key_id(key: u64) -> String {
    if key == 0 {
        // As it was written before there were keys.
        return format!("{:016x}", crate::math::hash64(&[0; 8], 0x5eed));
    }
    let id = blake3::derive_key("learnd 2026-11-25 id of a hash key", &key.to_le_bytes());
    blake3::Hash::from(id).to_hex()[..16].to_owned()
}

impl Shape {
    /// The shape that a configuration asks for.
    pub fn of(config: &ModelConfig) -> Shape {
        let mut parts = BTreeMap::new();
        let mut put = |name: &str, value: String| parts.insert(name.to_owned(), value);
        put("task", config.task.as_str().to_owned());
        put("key", format!("{:?}", config.plan.key));
        put("hash_bits", config.plan.hash_bits.to_string());
        put("hash key", hash_key_id(config.plan.hash_seed));
        if config.task == Task::Anomaly {
            let detector = match config.detector {
                DetectorConfig::Auto => "auto",
                DetectorConfig::Metric => "metric",
                DetectorConfig::Gauss => "gauss",
            };
            put("detector", detector.to_owned());
        } else {
            put("label", config.plan.label.clone().unwrap_or_default());
            put("positive", config.positive.clone().unwrap_or_default());
            let learner = match &config.learner {
                LearnerConfig::Race => "race".to_owned(),
                LearnerConfig::Linear(linear) => {
                    format!(
                        "linear {:?} {:?} {:?}",
                        linear.optimizer, linear.loss, linear.link
                    )
                }
            };
            put("learner", learner);
            let update = match config.update {
                UpdateMode::Online => "online",
                UpdateMode::Minibatch { .. } => "minibatch",
            };
            put("update", update.to_owned());
        }
        Shape(parts)
    }

    /// As one line of text.
    pub fn to_text(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(k, v)| format!("{k}\u{1f}{v}"))
            .collect();
        parts.join("\u{1e}")
    }

    /// From that text.
    pub fn from_text(text: &str) -> Shape {
        let part = |part: &str| part.split_once('\u{1f}').map(|(k, v)| (k.into(), v.into()));
        Shape(text.split('\u{1e}').filter_map(part).collect())
    }

    /// What differs, each as `hash_bits = 20 in the configuration, 18 in the state`.
    pub fn differences(&self, saved: &Shape) -> Vec<String> {
        let value = |shape: &Shape, name: &str| match shape.0.get(name).map(String::as_str) {
            None | Some("") => "nothing".to_owned(),
            Some(value) => value.to_owned(),
        };
        let names: std::collections::BTreeSet<&String> =
            self.0.keys().chain(saved.0.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != saved.0.get(*name))
            .map(|name| {
                let (here, there) = (value(self, name), value(saved, name));
                format!("{name} is {here} in the configuration, {there} in the state")
            })
            .collect()
    }
}
