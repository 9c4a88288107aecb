//! The commented reference configuration, and what its comments say of each key.
//!
//! Invariant: it passes `check`, and it has exactly the keys that the walk knows.

/// The text of `learnd reference`.
pub const REFERENCE: &str = include_str!("reference.toml");

/// The kind of table that a header of the reference opens.
fn kind_of(header: &str) -> &'static str {
    let parts: Vec<&str> = header.split('.').collect();
    match parts.as_slice() {
        ["server"] => "server",
        ["state"] => "state",
        ["sources", _] => "source",
        ["models", _] => "model",
        ["sinks", _] => "sink",
        [_, _, "tls"] => "tls",
        [_, _, "tokens"] => "token",
        [_, _, "where" | "healthy"] => "condition",
        [_, _, "features"] => "feature",
        [_, _, "time"] => "time",
        [_, _, "detector"] => "detector",
        [_, _, "learner"] => "learner",
        [_, _, "update"] => "update",
        _ => "top",
    }
}

/// What the reference says of a key: the first comment beside it.
pub(super) fn describe(kind: &str, name: &str) -> Option<String> {
    let mut open = "top";
    for line in REFERENCE.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_start_matches('[').split(']').next()?;
            open = kind_of(header);
        }
        let Some((key, rest)) = line.split_once(" = ") else {
            continue;
        };
        if open == kind
            && key == name
            && let Some((_, comment)) = rest.split_once(" # ").or_else(|| rest.split_once("  # "))
        {
            let comment = comment.trim();
            let comment = comment.strip_prefix("e.g.").unwrap_or(comment).trim();
            if !comment.is_empty() {
                return Some(comment.to_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::load::walk;
    use super::super::{Overrides, learners, models, sinks, sources};
    use super::*;

    #[test]
    fn the_reference_passes_check_and_has_exactly_the_known_keys() {
        let (walk, config) = walk("reference.toml", REFERENCE, &Overrides::default());
        config.unwrap_or_else(|report| panic!("{report}"));
        let known: BTreeSet<_> = walk.known.keys().copied().collect();
        let missing: Vec<_> = known.difference(&walk.present).collect();
        assert!(missing.is_empty(), "not in the reference: {missing:?}");
    }

    #[test]
    fn the_reference_states_every_default() {
        let (walk, _) = walk("reference.toml", REFERENCE, &Overrides::default());
        let squeezed: Vec<String> = REFERENCE
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let text = squeezed.join("\n");
        for ((kind, name), known) in &walk.known {
            if let Some(default) = known.default.as_ref().filter(|d| !d.is_empty()) {
                let plain = default.replace("'\"'", "\"\\\"\"");
                let stated = text.contains(&format!("{name} = {plain}"))
                    || text.contains(&format!("{plain} for one"))
                    || text.contains(&format!("{plain} (the default)"));
                assert!(stated, "{kind}.{name}: {default}");
            }
        }
    }

    #[test]
    fn every_key_is_explained() {
        let (walk, _) = walk("reference.toml", REFERENCE, &Overrides::default());
        for (kind, name) in walk.known.keys() {
            let is_table = *kind == "top" && describe(kind, name).is_none();
            let explained = is_table || describe(kind, name).is_some();
            assert!(
                explained || *kind == "condition" || *kind == "time",
                "{kind}.{name}"
            );
        }
    }

    #[test]
    fn keys_of_one_type_are_known_keys() {
        let (walk, _) = walk("reference.toml", REFERENCE, &Overrides::default());
        for (kind, keys) in [
            ("source", sources::ELSEWHERE),
            ("model", models::ELSEWHERE),
            ("sink", sinks::ELSEWHERE),
            ("learner", learners::LEARNER_ELSEWHERE),
            ("update", learners::UPDATE_ELSEWHERE),
        ] {
            for (name, _) in keys {
                assert!(walk.known.contains_key(&(kind, *name)), "{kind}.{name}");
            }
        }
    }
}
