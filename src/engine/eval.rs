//! `eval`: the pipeline over files at disk speed, without the daemon around it.
//!
//! Invariant: the same pipeline as `run`; without a clock, so that the same files give the same
//! figures: records without a time of their own all bear the time of the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde_json::{Map, Value, json};

use crate::base::{Chunk, Clock, Event, EventKind, EventKinds, EventSink, Micros, RenderOptions};
use crate::config::Config;
use crate::model::{Mode, Model};
use crate::source::{SourceError, eval_reader};
use crate::state::Snapshot;

use super::EngineError;
use super::background::BackgroundFile;
use super::lookahead::{self, Lookahead};
use super::pipeline::{Output, Pipeline, Rejection};
use super::recover::{self, KeptAside};

/// Chunks that were read and wait at most.
const CHUNKS_READ: usize = 2;

/// What `eval` is asked to do.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Files to learn from, in order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Files scored afterwards with learning off.
    pub tests: Vec<PathBuf>,
    /// Passes over the files; the first is the progressive one.
    pub passes: usize,
    /// Predictions and scores go here.
    pub predictions: Option<PathBuf>,
    /// What was learned goes here, as a snapshot.
    pub save: Option<PathBuf>,
    /// The digest of what was learned is asked for, which costs as much as saving it.
    pub digest: bool,
    /// Learning starts from this snapshot.
    pub model: Option<PathBuf>,
}

impl EvalOptions {
    /// Whether every file can be read, and those asked for can be written.
    fn check_files(&self) -> Result<(), EngineError> {
        let failed = |path: &Path, error| EngineError::File {
            path: path.to_owned(),
            error,
        };
        let read = self.files.iter().chain(&self.tests);
        for path in read.filter(|path| path.as_os_str() != "-") {
            std::fs::File::open(path).map_err(|error| failed(path, error))?;
        }
        if let Some(path) = &self.save {
            // Learned for hours and then not saved would be a pity.
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let is_folder = std::fs::metadata(folder).and_then(|about| {
                if about.is_dir() && !path.is_dir() {
                    Ok(())
                } else {
                    Err(std::io::ErrorKind::NotADirectory.into())
                }
            });
            is_folder.map_err(|error| failed(folder, error))?;
        }
        Ok(())
    }
}

/// How far an evaluation has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes read of the current file.
    pub bytes: u64,
    /// Its size; 0 where it is not known.
    pub size: u64,
    /// Records so far.
    pub records: u64,
}

/// The result.
#[derive(Clone, Debug)]
pub struct EvalReport {
    /// The JSON object of the contract.
    pub json: Value,
    /// Lines read in the first pass, and how many of them were refused.
    pub lines: u64,
    /// Refused lines.
    pub rejected: u64,
    /// The first refused line and its place.
    pub first_rejection: Option<String>,
    /// Digest of what was learned, if it was asked for.
    pub digest: Option<String>,
}

impl EvalReport {
    /// Whether there were lines and none was accepted.
    pub fn nothing_accepted(&self) -> bool {
        self.lines > 0 && self.rejected == self.lines
    }
}

/// Where an evaluation shows itself while it runs.
pub trait Watcher {
    /// One row of the doubling table.
    fn row(&mut self, row: &TableRow<'_>);
    /// How far it has come.
    fn progress(&mut self, progress: Progress);
}

/// One row of the doubling table.
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    /// The model.
    pub model: &'a str,
    /// Mean loss so far (supervised) or share of flagged records (anomaly).
    pub average: f64,
    /// The same since the row before.
    pub since_last: f64,
    /// Records of the source.
    pub counter: u64,
    /// Their weight.
    pub weight: f64,
    /// Label of the last record.
    pub label: &'a str,
    /// What was predicted of it.
    pub prediction: &'a str,
    /// Its features, with the constant.
    pub features: usize,
}

/// Evaluates one source of a configuration over files.
///
/// `config` has that source alone and the models that take it.
pub fn eval(
    config: &Config,
    options: &EvalOptions,
    clock: &Arc<dyn Clock>,
    watcher: &mut dyn Watcher,
) -> Result<EvalReport, EngineError> {
    let mut pipeline = Pipeline::with_decoders(config, lookahead::decoders());
    let mut chunks = Lookahead::start(&pipeline).map_err(EngineError::Thread)?;
    if let Some(path) = &options.model {
        let (snapshot, path) = crate::state::load_path(path)?;
        let from = path.display().to_string();
        // Its positions are of other files: only what was learned is taken over.
        let snapshot = Snapshot {
            streams: Vec::new(),
            sources: Vec::new(),
            ..snapshot
        };
        recover::load(&mut pipeline, snapshot, &from, &[], &[])?;
        for model in pipeline.models_mut() {
            model.restart_figures();
        }
    }
    let before: Vec<u64> = pipeline.models().iter().map(records_of).collect();
    options.check_files()?;
    let began = clock.now();
    let mut output = EvalOutput::new(&pipeline, options.predictions.as_deref())?;
    let mut passes: Vec<Vec<Value>> = vec![Vec::new(); config.models.len()];
    let mut first_pass = super::LineCounts::default();
    let mut first: Vec<(u64, u64)> = Vec::new();
    for pass in 0..options.passes.max(1) {
        if pass > 0 {
            for model in pipeline.models_mut() {
                model.restart_figures();
            }
            output.predictions = None;
            output.table.off = true;
        }
        for path in &options.files {
            read(
                config,
                path,
                &mut chunks,
                &mut pipeline,
                Mode::Learn,
                began,
                &mut output,
                watcher,
            )?;
        }
        for (model, figures) in pipeline.models().iter().zip(&mut passes) {
            figures.push(model.figures());
        }
        if pass == 0 {
            first_pass = *pipeline.counts(0);
            let models = pipeline.models().iter().zip(&before);
            first = models
                .map(|(m, before)| (records_of(m) - before, m.labelled()))
                .collect();
            output.flush()?;
        }
    }
    let trained = pipeline.counts(0).records;
    let elapsed = (clock.now().0 - began.0) as f64 / 1e6;
    if !options.tests.is_empty() {
        output.table.off = true;
        output.reopen(options.predictions.as_deref())?;
        for path in &options.tests {
            read(
                config,
                path,
                &mut chunks,
                &mut pipeline,
                Mode::Test,
                began,
                &mut output,
                watcher,
            )?;
        }
        output.flush()?;
    }
    let mut digest = None;
    if options.save.is_some() || options.digest {
        let snapshot = recover::save(&pipeline, &KeptAside::default(), 0, began);
        digest = options.digest.then(|| snapshot.digest());
        if let Some(path) = &options.save {
            let streams = Vec::new();
            let snapshot = Snapshot {
                streams,
                ..snapshot
            };
            crate::state::write_file(path, &snapshot.encode())?;
        }
    }
    let models: Map<String, Value> = pipeline
        .models()
        .iter()
        .zip(first.iter().zip(passes))
        .map(|(model, (counts, passes))| {
            let name = model.config().name.clone();
            (name, model_json(model, *counts, &passes))
        })
        .collect();
    let rate = if elapsed > 0.0 {
        trained as f64 / elapsed
    } else {
        0.0
    };
    let json = json!({
        "lines": first_pass.lines,
        "records": first_pass.records,
        "rejected": first_pass.rejected_total(),
        "elapsed_seconds": elapsed,
        "records_per_second": rate.round(),
        "models": models,
    });
    Ok(EvalReport {
        json,
        lines: first_pass.lines - first_pass.blank,
        rejected: first_pass.rejected_total(),
        first_rejection: output.first_rejection,
        digest,
    })
}

/// Records of its sources that a model has had.
fn records_of(model: &Model) -> u64 {
    model.counts().records
}

/// What the contract says of one model; records and labelled ones of the first pass.
fn model_json(model: &Model, (records, labelled): (u64, u64), passes: &[Value]) -> Value {
    let mut test = model.test_figures();
    if test["records"] == 0 {
        test = json!({"records": 0});
    }
    json!({
        "task": model.config().task.as_str(),
        "records": records,
        "labelled": labelled,
        "progressive": passes.first().cloned().unwrap_or(Value::Null),
        "passes": passes,
        "test": test,
    })
}

fn read(
    config: &Config,
    path: &Path,
    chunks: &mut Lookahead<u64>,
    pipeline: &mut Pipeline,
    mode: Mode,
    time: Micros,
    output: &mut EvalOutput,
    watcher: &mut dyn Watcher,
) -> Result<(), EngineError> {
    let source = &config.sources[0];
    let failed = |error| EngineError::File {
        path: path.to_owned(),
        error,
    };
    let number = output.streams;
    output.streams += 1;
    let opened = eval_reader(path, source.format.framer(), source.max_line, 0, number);
    let mut reader = opened.map_err(|error| match error {
        SourceError::File { path, error } => EngineError::File { path, error },
        error => EngineError::Source {
            name: source.name.clone(),
            error,
        },
    })?;
    let size = reader.size().unwrap_or(0);
    let (sender, ready) = sync_channel(CHUNKS_READ);
    std::thread::Builder::new()
        .name("read".into())
        .spawn(move || {
            loop {
                let chunk = reader.next_chunk().transpose();
                let Some(chunk) = chunk.map(|chunk| Ok((chunk?, reader.bytes_read()))) else {
                    return;
                };
                let failed = chunk.is_err();
                if sender.send(chunk).is_err() || failed {
                    return;
                }
            }
        })
        .map_err(EngineError::Thread)?;
    let mut outcome = Ok(());
    loop {
        while outcome.is_ok() && chunks.has_room() {
            let next = if chunks.is_empty() {
                ready.recv().ok()
            } else {
                ready.try_recv().ok()
            };
            match next {
                Some(Ok((chunk, bytes))) => {
                    let received = time;
                    chunks.push(Chunk { received, ..chunk }, bytes);
                }
                Some(Err(error)) => outcome = Err(failed(error)),
                None => break,
            }
        }
        let Some((_, bytes)) = chunks.process(pipeline, mode, output) else {
            return outcome;
        };
        output.write_predictions()?;
        output.table.show(pipeline.models(), watcher);
        watcher.progress(Progress {
            bytes,
            size,
            records: pipeline.counts(0).records,
        });
    }
}

/// Takes predictions to a file and rows to the table.
struct EvalOutput {
    predictions: Option<BackgroundFile>,
    path: PathBuf,
    bytes: Vec<u8>,
    render: RenderOptions,
    first_rejection: Option<String>,
    table: Table,
    /// Streams opened so far: each file of each pass is one.
    streams: u64,
}

impl EvalOutput {
    fn new(pipeline: &Pipeline, predictions: Option<&Path>) -> Result<EvalOutput, EngineError> {
        let path = predictions.unwrap_or(Path::new("")).to_owned();
        let create = |path: &Path| {
            let file = std::fs::File::create(path).map_err(|error| EngineError::File {
                path: path.to_owned(),
                error,
            })?;
            BackgroundFile::new(file).map_err(EngineError::Thread)
        };
        Ok(EvalOutput {
            predictions: predictions.map(create).transpose()?,
            path,
            bytes: Vec::new(),
            render: RenderOptions::default(),
            first_rejection: None,
            table: Table::new(pipeline),
            streams: 0,
        })
    }

    /// Goes on writing at the end of the predictions, after passes that wrote none.
    fn reopen(&mut self, predictions: Option<&Path>) -> Result<(), EngineError> {
        let Some(path) = predictions else {
            return Ok(());
        };
        let file = std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|error| EngineError::File {
                path: path.to_owned(),
                error,
            })?;
        self.predictions = Some(BackgroundFile::new(file).map_err(EngineError::Thread)?);
        Ok(())
    }

    fn write_predictions(&mut self) -> Result<(), EngineError> {
        let Some(file) = &mut self.predictions else {
            return Ok(());
        };
        file.write(&mut self.bytes)
            .map_err(|error| EngineError::Write {
                path: self.path.clone(),
                error,
            })
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let Some(file) = &mut self.predictions else {
            return Ok(());
        };
        file.flush().map_err(|error| EngineError::Write {
            path: self.path.clone(),
            error,
        })
    }
}

impl EventSink for EvalOutput {
    fn wants(&self, _model: usize) -> EventKinds {
        let none = EventKinds::default();
        if self.predictions.is_some() || self.table.is_due() {
            none.with(EventKind::Prediction).with(EventKind::Score)
        } else {
            none
        }
    }

    fn emit(&mut self, model: usize, event: &Event<'_>) {
        if self.predictions.is_some() {
            event.render(&self.render, &mut self.bytes);
        }
        if self.table.is_due() {
            self.table.keep(model, event);
        }
    }
}

impl Output for EvalOutput {
    fn rejected(&mut self, rejection: &Rejection<'_>) {
        if self.first_rejection.is_none() {
            self.first_rejection = Some(format!(
                "{}:{}:{}: {}",
                rejection.stream,
                rejection.line_number,
                rejection.reject.at + 1,
                rejection.reject.reason
            ));
        }
    }

    fn record_done(&mut self, models: &[Model]) {
        self.table.count(models);
    }
}

/// The doubling table: rows at record 1, 2, 4, 8 … as Vowpal Wabbit prints them.
struct Table {
    off: bool,
    records: u64,
    next: u64,
    /// Label and prediction of the record that a row is about, by model.
    last: Vec<(String, String)>,
    /// Sum and weight of the losses at the row before, by model.
    before: Vec<(f64, f64)>,
    /// Rows that have come due within a chunk: model, sum, weight, counter.
    rows: Vec<Row>,
}

struct Row {
    model: usize,
    average: f64,
    since_last: f64,
    counter: u64,
    weight: f64,
    said: (String, String),
    features: usize,
}

impl Table {
    fn new(pipeline: &Pipeline) -> Table {
        let models = pipeline.models().len();
        Table {
            off: false,
            records: 0,
            next: 1,
            last: vec![Default::default(); models],
            before: vec![(0.0, 0.0); models],
            rows: Vec::new(),
        }
    }

    /// Whether the record being processed is one for a row.
    fn is_due(&self) -> bool {
        !self.off && self.records + 1 == self.next
    }

    fn count(&mut self, models: &[Model]) {
        self.records += 1;
        if self.off || self.records != self.next {
            return;
        }
        self.next *= 2;
        for (i, model) in models.iter().enumerate() {
            let (sum, weight) = model.loss_so_far();
            let (sum_before, weight_before) = std::mem::replace(&mut self.before[i], (sum, weight));
            self.rows.push(Row {
                model: i,
                average: sum / weight,
                since_last: (sum - sum_before) / (weight - weight_before),
                counter: self.records,
                weight,
                said: std::mem::take(&mut self.last[i]),
                features: model.features_of_last(),
            });
        }
    }

    fn keep(&mut self, model: usize, event: &Event<'_>) {
        self.last[model] = match event {
            Event::Prediction {
                prediction, label, ..
            } => (
                label.map_or_else(|| "unknown".to_owned(), |y| format!("{y:.4}")),
                format!("{prediction:.4}"),
            ),
            Event::Class {
                prediction, label, ..
            } => (
                label.unwrap_or("unknown").to_owned(),
                prediction.unwrap_or("none").to_owned(),
            ),
            Event::Score { score, anomaly, .. } => (
                if *anomaly { "flagged" } else { "" }.to_owned(),
                format!("{score:.4}"),
            ),
            _ => Default::default(),
        };
    }

    /// Shows the rows that have come due.
    fn show(&mut self, models: &[Model], watcher: &mut dyn Watcher) {
        for row in self.rows.drain(..) {
            watcher.row(&TableRow {
                model: &models[row.model].config().name,
                average: row.average,
                since_last: row.since_last,
                counter: row.counter,
                weight: row.weight,
                label: &row.said.0,
                prediction: &row.said.1,
                features: row.features,
            });
        }
    }
}
