//! What the configuration says of each name: whether it is a feature, and how it is read.
//!
//! Invariant: the label is never a feature, under `*`, by name or in an interaction: a model that
//! reads it would look perfect and know nothing.

use super::{FeatureKind, FeatureSpec, PlanConfig};
use crate::base::Scale;
use crate::math::NameHash;

/// How one field is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// `None`: by the type of each value.
    pub kind: Option<FeatureKind>,
    /// How its numbers are scaled.
    pub scale: Scale,
    /// Largest absolute value after scaling.
    pub clip: f64,
    /// H(name, 0).
    pub hash: u32,
}

/// The configuration, compiled as far as names are not needed.
#[derive(Debug)]
pub(super) struct Rules {
    /// The specs of fields by name.
    named: Vec<FeatureSpec>,
    /// The spec of `*`.
    star: Option<FeatureSpec>,
    default_scale: Scale,
    label: Option<String>,
    /// What `*` leaves out because it plays another part.
    parts: Vec<String>,
    exclude: Vec<String>,
    /// Lists of fields.
    pub interactions: Vec<Vec<String>>,
    /// H.
    pub names: NameHash,
    /// Cuts a hash to a slot.
    pub mask: u32,
}

impl Rules {
    pub fn new(config: &PlanConfig) -> Rules {
        let (star, named): (Vec<_>, Vec<_>) = config
            .features
            .iter()
            .cloned()
            .partition(|spec| spec.field == "*");
        let parts = config
            .label
            .iter()
            .chain(&config.weight)
            .chain(&config.id)
            .chain(&config.key)
            .chain(config.time.iter().map(|time| &time.field))
            .chain(config.healthy.iter().map(|condition| &condition.field))
            .cloned()
            .collect();
        let label = config.label.clone();
        Rules {
            named,
            star: star.into_iter().next_back(),
            default_scale: config.default_scale,
            parts,
            exclude: config.exclude.clone(),
            interactions: config
                .interactions
                .iter()
                .filter(|fields| {
                    !fields.is_empty() && fields.iter().all(|f| Some(f) != label.as_ref())
                })
                .cloned()
                .collect(),
            label,
            names: NameHash::new(config.hash_seed),
            mask: (1u64 << config.hash_bits.min(32)).wrapping_sub(1) as u32,
        }
    }

    /// How the field of this name is read; `None` if it is no feature.
    pub fn reading(&self, name: &[u8]) -> Option<Reading> {
        if self.label.as_ref().is_some_and(|l| l.as_bytes() == name) {
            return None;
        }
        match self.spec(name) {
            Some(spec) => Some(self.compile(spec, name)),
            None => match &self.star {
                Some(star) if !self.is_left_out(name) => Some(self.compile(star, name)),
                _ => None,
            },
        }
    }

    /// As above, of a field that was a feature when its column was made.
    pub fn reading_or_default(&self, name: &[u8]) -> Reading {
        self.reading(name).unwrap_or_else(|| Reading {
            kind: None,
            scale: self.default_scale,
            clip: f64::INFINITY,
            hash: self.names.hash(name, 0),
        })
    }

    /// How the field of this name is read in an interaction, feature of its own or not.
    pub fn kind(&self, name: &[u8]) -> Option<FeatureKind> {
        self.spec(name).or(self.star.as_ref())?.kind
    }

    fn spec(&self, name: &[u8]) -> Option<&FeatureSpec> {
        self.named
            .iter()
            .rev()
            .find(|spec| spec.field.as_bytes() == name)
    }

    fn is_left_out(&self, name: &[u8]) -> bool {
        let within = |outer: &String| {
            name.strip_prefix(outer.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'.')))
        };
        self.parts.iter().any(|part| part.as_bytes() == name) || self.exclude.iter().any(within)
    }

    /// What a spec leaves open is as for `*`, and else as for the whole model.
    fn compile(&self, spec: &FeatureSpec, name: &[u8]) -> Reading {
        let star = self.star.as_ref();
        Reading {
            kind: spec.kind,
            scale: spec
                .scale
                .or(star.and_then(|s| s.scale))
                .unwrap_or(self.default_scale),
            clip: spec
                .clip
                .or(star.and_then(|s| s.clip))
                .unwrap_or(f64::INFINITY),
            hash: self.names.hash(name, 0),
        }
    }
}
