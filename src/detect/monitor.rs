//! The monitor of one series: detector, p-values, gate and warm-up together.
//!
//! Invariant: judging changes nothing; a record is judged before it is absorbed, and absorbed by
//! what the judgement said.

use super::gate::{self, Gate};
use super::{Calibration, Detector, DetectorConfig, Gauss, Metric, Rows, Score, Share, start};
use crate::base::{Micros, Reader, Row, Scratch, StateError, Writer};

/// Records after which the detector is decided and started from them.
const START: usize = 64;
/// Scores of before that still count after a change of the stream.
const CARRIED: u64 = 1024;
/// The rate of the mean score that a change is reported against.
const MEAN_RATE: f64 = 0.01;

/// What is said of one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// On the detector's own scale.
    pub raw: f64,
    /// In [0, 1): the more the stranger.
    pub score: f64,
    /// The share of normal records that would be as strange; 1 while warming up.
    pub p_value: f64,
    /// Whether enough was seen to say anything.
    pub ready: bool,
    rank: f64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absorbed {
    /// It is part of what is normal.
    Learned,
    /// Too strange for that.
    Gated,
    /// Said to be not healthy.
    Unhealthy,
}

/// The stream has changed for good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Mean score of records before.
    pub before: f64,
    /// Mean score of those that made the change, by what was normal before.
    pub after: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// The first records wait; the detector is not decided.
    Waiting(Rows),
    Metric(Metric),
    Gauss(Gauss),
}

/// One series under watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    config: DetectorConfig,
    stage: Stage,
    calibration: Calibration,
    gate: Gate,
    /// Records still to be learned before anything is said.
    warming: u64,
    seen: u64,
    mean_score: f64,
}

impl Monitor {
    /// Knows nothing.
    pub fn new(config: DetectorConfig) -> Monitor {
        Monitor {
            config,
            stage: Stage::Waiting(Rows::default()),
            calibration: Calibration::new(),
            gate: Gate::default(),
            warming: START as u64,
            seen: 0,
            mean_score: 0.0,
        }
    }

    fn detector(&self) -> Option<&dyn Detector> {
        match &self.stage {
            Stage::Waiting(_) => None,
            Stage::Metric(metric) => Some(metric),
            Stage::Gauss(gauss) => Some(gauss),
        }
    }

    fn detector_mut(&mut self) -> Option<&mut dyn Detector> {
        match &mut self.stage {
            Stage::Waiting(_) => None,
            Stage::Metric(metric) => Some(metric),
            Stage::Gauss(gauss) => Some(gauss),
        }
    }

    /// Judges a record by what came before it. Changes nothing.
    pub fn judge(&self, x: Row<'_>, time: Micros, s: &mut Scratch) -> Judgement {
        let ready = self.ready();
        let (score, Score { raw, rank }) = match self.detector() {
            Some(detector) => {
                let score = detector.score_one(x, time, s);
                (detector.squash(score.raw), score)
            }
            None => (0.0, Score::default()),
        };
        let p_value = if ready {
            self.calibration.p_value(rank)
        } else {
            1.0
        };
        Judgement {
            raw,
            score,
            p_value,
            ready,
            rank,
        }
    }

    /// Takes a record in, as it was just judged. `healthy`, where known, overrules the gate.
    pub fn absorb(
        &mut self,
        x: Row<'_>,
        time: Micros,
        j: &Judgement,
        healthy: Option<bool>,
        s: &mut Scratch,
    ) -> (Absorbed, Option<Shift>) {
        self.seen += 1;
        if healthy == Some(false) {
            return (Absorbed::Unhealthy, None);
        }
        if let Stage::Waiting(rows) = &mut self.stage {
            rows.push(x.dense, time);
            self.warming -= 1;
            if rows.len() == START {
                let rows = std::mem::take(rows);
                self.decide(&rows, s);
            }
            return (Absorbed::Learned, None);
        }
        let warming = self.warming > 0;
        let normal = warming || healthy == Some(true) || j.p_value > gate::LEVEL;
        if let Some(detector) = self.detector_mut() {
            detector.learn_one(x, time, normal, s);
        }
        if warming {
            self.warming -= 1;
        } else if normal {
            self.calibration.add(j.rank);
            self.mean_score += MEAN_RATE * (j.score - self.mean_score);
        } else {
            self.calibration.add_gated(j.rank);
        }
        if normal {
            self.gate.passed();
            (Absorbed::Learned, None)
        } else {
            let changed = self.gate.kept_out(x.dense, time, j.score);
            (Absorbed::Gated, changed.then(|| self.change(s)))
        }
    }

    /// Decides the detector by the first records and starts it with them, in order.
    fn decide(&mut self, rows: &Rows, s: &mut Scratch) {
        let metric = match self.config {
            DetectorConfig::Metric => Some(Metric::new()),
            DetectorConfig::Gauss => None,
            DetectorConfig::Auto => start::only_varying(rows).map(Metric::of_column),
        };
        let warm_up = if let Some(mut metric) = metric {
            for (dense, time) in rows.iter() {
                let row = Row {
                    dense,
                    columns: &[],
                    index: &[],
                    value: &[],
                };
                metric.learn_one(row, time, true, s);
            }
            let warm_up = metric.warm_up();
            self.stage = Stage::Metric(metric);
            warm_up
        } else {
            let mut gauss = Gauss::new();
            gauss.relearn(rows, s);
            let warm_up = gauss.warm_up();
            self.stage = Stage::Gauss(gauss);
            warm_up
        };
        self.warming = warm_up.saturating_sub(START as u64);
    }

    /// What was kept out becomes what is normal; a warm-up follows.
    fn change(&mut self, s: &mut Scratch) -> Shift {
        let (rows, after) = self.gate.release();
        let before = self.mean_score;
        if let Some(detector) = self.detector_mut() {
            detector.relearn(&rows, s);
            self.warming = detector.warm_up();
        }
        self.calibration.fade(CARRIED);
        Shift { before, after }
    }

    /// The features that made the score, strongest first, at most `n`.
    pub fn explain(&self, x: Row<'_>, time: Micros, n: usize, s: &mut Scratch) -> Vec<Share> {
        self.detector()
            .map(|detector| detector.explain(x, time, n, s))
            .unwrap_or_default()
    }

    /// The detector in use, once decided.
    pub fn chosen(&self) -> Option<&'static str> {
        match self.stage {
            Stage::Waiting(_) => None,
            Stage::Metric(_) => Some("metric"),
            Stage::Gauss(_) => Some("gauss"),
        }
    }

    /// Whether enough was seen to say anything.
    pub fn ready(&self) -> bool {
        self.warming == 0
    }

    /// Records absorbed, whatever became of them.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes a monitor of rows of this width comes to.
    pub fn memory_bytes(config: DetectorConfig, columns: usize) -> u64 {
        let metric = Metric::memory_bytes(if config == DetectorConfig::Metric {
            columns.max(1)
        } else {
            1
        });
        let gauss = Gauss::memory_bytes(columns);
        let detector = match config {
            DetectorConfig::Metric => metric,
            DetectorConfig::Gauss => gauss,
            DetectorConfig::Auto if columns <= 1 => metric,
            DetectorConfig::Auto => gauss.max(metric),
        };
        let waiting = (START * (columns * 8 + 12)) as u64;
        size_of::<Monitor>() as u64
            + (detector + Gate::memory_bytes(columns) + Calibration::memory_bytes()).max(waiting)
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        out.u64s("counts", &[self.seen, self.warming]);
        out.f64("mean_score", self.mean_score);
        match &self.stage {
            Stage::Waiting(rows) => {
                out.text("stage", "waiting");
                out.nested("start", |w| rows.save(w));
            }
            Stage::Metric(metric) => {
                out.text("stage", "metric");
                out.nested("metric", |w| metric.save(w));
            }
            Stage::Gauss(gauss) => {
                out.text("stage", "gauss");
                out.nested("gauss", |w| gauss.save(w));
            }
        }
        out.nested("calibration", |w| self.calibration.save(w));
        out.nested("gate", |w| self.gate.save(w));
    }

    /// Reads it back into a monitor of the same configuration.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let counts = from.u64s_of("counts", 2)?;
        [self.seen, self.warming] = [counts[0], counts[1]];
        self.mean_score = from.finite("mean_score")?;
        let stage = from.text("stage")?;
        let fits = match self.config {
            DetectorConfig::Auto => true,
            DetectorConfig::Metric => stage != "gauss",
            DetectorConfig::Gauss => stage != "metric",
        };
        if !fits {
            return Err(from.invalid("stage", format!("a {stage} detector, configured otherwise")));
        }
        self.stage = match stage {
            "waiting" => {
                let mut rows = Rows::default();
                from.nested("start", |r| rows.load(r))?;
                if rows.len() + self.warming as usize != START {
                    return Err(from.invalid("counts", "warm-up does not fit the rows waiting"));
                }
                Stage::Waiting(rows)
            }
            "metric" => {
                let mut metric = Metric::new();
                from.nested("metric", |r| metric.load(r))?;
                Stage::Metric(metric)
            }
            "gauss" => {
                let mut gauss = Gauss::new();
                from.nested("gauss", |r| gauss.load(r))?;
                Stage::Gauss(gauss)
            }
            other => return Err(from.invalid("stage", format!("unknown: {other}"))),
        };
        from.nested("calibration", |r| self.calibration.load(r))?;
        from.nested("gate", |r| self.gate.load(r))
    }
}
