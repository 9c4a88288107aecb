//! Learning from many records in one step: rows are held, and predicted with the model as it is,
//! until there are enough of them or the time is up.
//!
//! Invariant: the model does not change between steps; held rows are part of the saved state.

use crate::base::{
    Column, Label, Micros, Prediction, Reader, Row, Scale, Scratch, StateError, Writer,
};

use super::{HeavyWeight, Learner, Report, Update};

/// A learner that can take many records in one step.
pub(crate) trait BatchLearner: Learner {
    /// Whether it would refuse to learn from the record.
    fn refuses(&self, x: &Row<'_>, y: Label, weight: f64) -> bool;
    /// Learns from the rows, all of which it would not refuse, in one step. Where that step would
    /// not be finite no weight changes (statistics of the features may).
    fn learn_batch(&mut self, rows: &HeldRows, s: &mut Scratch) -> Update;
}

/// Owned copies of labelled rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeldRows {
    dense: Vec<f64>,
    dense_ends: Vec<u32>,
    /// Of the widest row; narrower ones have its first columns.
    columns: Vec<Column>,
    index: Vec<u32>,
    value: Vec<f32>,
    hashed_ends: Vec<u32>,
    /// What the scores start from.
    bases: Vec<f64>,
    labels: Vec<Label>,
    weights: Vec<f64>,
}

impl HeldRows {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Adds a copy.
    pub(crate) fn push(&mut self, x: &Row<'_>, y: Label, weight: f64) {
        self.dense.extend_from_slice(x.dense);
        self.dense_ends.push(self.dense.len() as u32);
        if x.columns.len() >= self.columns.len() {
            self.columns.clear();
            self.columns.extend_from_slice(x.columns);
        }
        self.index.extend_from_slice(x.index);
        self.value.extend_from_slice(x.value);
        self.hashed_ends.push(self.index.len() as u32);
        self.bases.push(x.base);
        self.labels.push(y);
        self.weights.push(weight);
    }

    /// Every row with its label and weight, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Row<'_>, Label, f64)> {
        (0..self.len()).map(|i| {
            let span = |ends: &[u32]| {
                let start = if i == 0 { 0 } else { ends[i - 1] as usize };
                start..ends[i] as usize
            };
            let (dense, hashed) = (span(&self.dense_ends), span(&self.hashed_ends));
            let row = Row {
                columns: &self.columns[..dense.len().min(self.columns.len())],
                dense: &self.dense[dense],
                index: &self.index[hashed.clone()],
                value: &self.value[hashed],
                base: self.bases[i],
            };
            (row, self.labels[i], self.weights[i])
        })
    }

    fn clear(&mut self) {
        self.dense.clear();
        self.dense_ends.clear();
        self.columns.clear();
        self.index.clear();
        self.value.clear();
        self.hashed_ends.clear();
        self.bases.clear();
        self.labels.clear();
        self.weights.clear();
    }

    fn save(&self, out: &mut Writer) {
        out.f64s("dense", &self.dense);
        out.u32s("dense_ends", &self.dense_ends);
        let scales: Vec<u8> = self.columns.iter().map(|c| c.scale as u8).collect();
        let clips: Vec<f64> = self.columns.iter().map(|c| c.clip).collect();
        out.bytes("scales", &scales);
        out.f64s("clips", &clips);
        out.u32s("index", &self.index);
        out.f32s("value", &self.value);
        out.u32s("hashed_ends", &self.hashed_ends);
        // State of rows that start from 0 is as it was before rows had a base.
        if self.bases.iter().any(|base| *base != 0.0) {
            out.f64s("bases", &self.bases);
        }
        let kinds: Vec<u8> = self.labels.iter().map(|y| label_parts(*y).0).collect();
        let labels: Vec<f64> = self.labels.iter().map(|y| label_parts(*y).1).collect();
        out.bytes("label_kinds", &kinds);
        out.f64s("labels", &labels);
        out.f64s("weights", &self.weights);
    }

    fn load(from: &Reader<'_>) -> Result<HeldRows, StateError> {
        let labels = from.f64s("labels")?;
        let n = labels.len();
        let kinds = from.bytes_of("label_kinds", n)?;
        let scales = from.bytes("scales")?;
        let clips = from.f64s_of("clips", scales.len())?;
        let mut columns = Vec::with_capacity(scales.len());
        for (scale, clip) in scales.iter().zip(clips) {
            let all = [Scale::Standard, Scale::MinMax, Scale::MaxAbs, Scale::None];
            let scale = all.into_iter().find(|s| *s as u8 == *scale);
            let scale = scale.ok_or_else(|| from.invalid("scales", "an unknown scale"))?;
            columns.push(Column { scale, clip: *clip });
        }
        let index = from.u32s("index")?.to_vec();
        let rows = HeldRows {
            dense: from.f64s("dense")?.to_vec(),
            dense_ends: from.u32s_of("dense_ends", n)?.to_vec(),
            columns,
            value: from.f32s_of("value", index.len())?.to_vec(),
            index,
            hashed_ends: from.u32s_of("hashed_ends", n)?.to_vec(),
            bases: if from.has("bases") {
                from.f64s_of("bases", n)?.to_vec()
            } else {
                vec![0.0; n]
            },
            labels: std::iter::zip(kinds, labels)
                .map(|(kind, y)| label_from(*kind, *y))
                .collect::<Option<_>>()
                .ok_or_else(|| from.invalid("labels", "not labels"))?,
            weights: from.f64s_of("weights", n)?.to_vec(),
        };
        for (name, ends, length) in [
            ("dense_ends", &rows.dense_ends, rows.dense.len()),
            ("hashed_ends", &rows.hashed_ends, rows.index.len()),
        ] {
            let last = ends.last().map_or(0, |e| *e as usize);
            if ends.windows(2).any(|w| w[0] > w[1]) || last != length {
                return Err(from.invalid(name, "the rows do not fit together"));
            }
        }
        Ok(rows)
    }
}

fn label_parts(y: Label) -> (u8, f64) {
    match y {
        Label::Number(y) => (0, y),
        Label::Binary(y) => (1, f64::from(u8::from(y))),
        Label::Class(c) => (2, f64::from(c)),
    }
}

fn label_from(kind: u8, y: f64) -> Option<Label> {
    let whole = y >= 0.0 && y <= f64::from(u32::MAX) && y.trunc() == y;
    match kind {
        0 => Some(Label::Number(y)),
        1 if whole && y <= 1.0 => Some(Label::Binary(y == 1.0)),
        2 if whole => Some(Label::Class(y as u32)),
        _ => None,
    }
}

/// Holds rows in front of a learner.
pub(crate) struct Minibatch<T> {
    inner: T,
    records: usize,
    every: i64,
    held: HeldRows,
    /// The models' clock when the first held row came.
    since: Option<Micros>,
    /// The models' clock as last told.
    clock: Option<Micros>,
}

impl<T: BatchLearner> Minibatch<T> {
    /// A step after `records` rows or `every_micros` (0 for never).
    pub(crate) fn new(inner: T, records: usize, every_micros: i64) -> Self {
        Minibatch {
            inner,
            records: records.max(1),
            every: every_micros,
            held: HeldRows::default(),
            since: None,
            clock: None,
        }
    }

    fn step(&mut self, s: &mut Scratch) -> Update {
        let update = self.inner.learn_batch(&self.held, s);
        self.held.clear();
        self.since = None;
        update
    }
}

impl<T: BatchLearner> Learner for Minibatch<T> {
    fn predict_one(&self, x: Row<'_>, s: &mut Scratch) -> Prediction {
        self.inner.predict_one(x, s)
    }

    fn labelled(&self, prediction: Prediction, y: Label, s: &Scratch) -> Prediction {
        self.inner.labelled(prediction, y, s)
    }

    fn loss(&self, prediction: &Prediction, y: Label, s: &Scratch) -> f64 {
        self.inner.loss(prediction, y, s)
    }

    fn learn_one(&mut self, x: Row<'_>, y: Label, weight: f64, s: &mut Scratch) -> Update {
        if self.inner.refuses(&x, y, weight) {
            return Update::NonFinite;
        }
        if self.held.len() == 0 {
            self.since = self.clock;
        }
        self.held.push(&x, y, weight);
        if self.held.len() >= self.records {
            self.step(s)
        } else {
            Update::Learned { norm: 0.0 }
        }
    }

    fn tick(&mut self, now: Micros, s: &mut Scratch) -> Option<Update> {
        self.clock = Some(now);
        if self.every <= 0 || self.held.len() == 0 {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        (now.0.saturating_sub(since.0) >= self.every).then(|| self.step(s))
    }

    fn held(&self) -> usize {
        self.held.len()
    }

    fn report(&self) -> Report {
        self.inner.report()
    }

    fn heaviest(&self, n: usize) -> Vec<HeavyWeight> {
        self.inner.heaviest(n)
    }

    fn save(&self, out: &mut Writer) {
        self.inner.save(out);
        out.nested("held", |w| {
            self.held.save(w);
            let time = |t: Option<Micros>| t.map_or(u64::MAX, |t| t.0 as u64);
            w.u64s("clock", &[time(self.since), time(self.clock)]);
        });
    }

    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.inner.load(from)?;
        from.nested("held", |r| {
            let held = HeldRows::load(r)?;
            if held.len() >= self.records {
                return Err(r.invalid("labels", "more rows are held than a batch has"));
            }
            for (x, y, weight) in held.iter() {
                if self.inner.refuses(&x, y, weight) {
                    return Err(r.invalid("labels", "a row that would have been refused"));
                }
            }
            let time = |t: u64| (t != u64::MAX).then_some(Micros(t as i64));
            let clock = r.u64s_of("clock", 2)?;
            self.held = held;
            self.since = time(clock[0]);
            self.clock = time(clock[1]);
            Ok(())
        })
    }
}
