//! From a snapshot to a pipeline and back.
//!
//! Invariant: state that does not fit the configuration stops the start; it is never reset unless
//! a model is named to be. State of models and sources that the configuration no longer names is
//! kept aside and saved again.

use crate::base::{Reader, Section, Writer};
use crate::model::Shape;
use crate::state::{ENGINE, ModelEntry, Snapshot, SourceState, StreamState};

use super::EngineError;
use super::pipeline::Pipeline;

/// What a snapshot holds that the configuration does not name.
#[derive(Debug, Default)]
pub(crate) struct KeptAside {
    models: Vec<ModelEntry>,
    sections: Vec<Section>,
    sources: Vec<SourceState>,
    streams: Vec<StreamState>,
}

impl KeptAside {
    /// The names of the models kept aside.
    pub(crate) fn model_names(&self) -> Vec<&str> {
        self.models.iter().map(|m| m.name.as_str()).collect()
    }
}

/// Loads a snapshot into a fresh pipeline; models in `reset` start anew.
pub(crate) fn load(
    pipeline: &mut Pipeline,
    snapshot: Snapshot,
    from: &str,
    reset: &[String],
    source_names: &[String],
) -> Result<KeptAside, EngineError> {
    let sections = snapshot.reader_sections();
    let reader = Reader::new(&sections);
    for model in pipeline.models_mut() {
        let name = model.config().name.clone();
        let Some(entry) = snapshot.models.iter().find(|m| m.name == name) else {
            continue;
        };
        if reset.contains(&name) {
            continue;
        }
        let differences = model.shape().differences(&Shape::from_text(&entry.shape));
        if !differences.is_empty() {
            return Err(EngineError::Misfit {
                model: name,
                from: from.to_owned(),
                differences: differences.join("; "),
            });
        }
        reader
            .nested("models", |r| r.nested(&name, |r| model.load(r)))
            .map_err(|error| EngineError::Unreadable {
                model: name.clone(),
                from: from.to_owned(),
                error,
            })?;
    }
    pipeline.resume(snapshot.order, &snapshot.sources, &snapshot.streams);
    pipeline.learned_entry(snapshot.ledger_seq);
    pipeline.requests_mut().load(&snapshot.requests);
    let known = |name: &String| pipeline.models().iter().any(|m| m.config().name == *name);
    let models: Vec<ModelEntry> = snapshot
        .models
        .into_iter()
        .filter(|m| !known(&m.name))
        .collect();
    let belongs = |section: &Section| {
        models
            .iter()
            .any(|m| section.name.starts_with(&format!("models/{}/", m.name)))
    };
    let aside = snapshot.sections.into_iter().filter(belongs).collect();
    Ok(KeptAside {
        sections: aside,
        models,
        sources: snapshot
            .sources
            .into_iter()
            .filter(|s| !source_names.contains(&s.name))
            .collect(),
        streams: snapshot
            .streams
            .into_iter()
            .filter(|s| !source_names.contains(&s.source))
            .collect(),
    })
}

/// Everything a pipeline knows. A pure observation: nothing is flushed, no bit changes.
/// `entry` is the last one of the ledger that was learned.
pub(crate) fn save(
    pipeline: &Pipeline,
    aside: &KeptAside,
    entry: u64,
    taken: crate::base::Micros,
) -> Snapshot {
    let mut writer = Writer::new();
    writer.nested("models", |w| {
        for model in pipeline.models() {
            w.nested(&model.config().name, |w| model.save(w));
        }
    });
    let mut sections = writer.into_sections();
    sections.extend(aside.sections.iter().cloned());
    let mut models: Vec<ModelEntry> = pipeline
        .models()
        .iter()
        .map(|model| ModelEntry {
            name: model.config().name.clone(),
            task: model.config().task.as_str().to_owned(),
            shape: model.shape().to_text(),
            records: model.counts().records,
            counts: Vec::new(),
            summary: model.describe().to_string(),
        })
        .collect();
    models.extend(aside.models.iter().cloned());
    let (mut sources, mut streams) = pipeline.positions();
    sources.extend(aside.sources.iter().cloned());
    streams.extend(aside.streams.iter().cloned());
    Snapshot {
        engine: ENGINE,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken,
        order: pipeline.order(),
        ledger_seq: entry,
        requests: pipeline.requests().save(),
        sources,
        streams,
        models,
        sections,
    }
}
