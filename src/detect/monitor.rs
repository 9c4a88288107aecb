//! The monitor of one series: detector, p-values, gate and warm-up together.
//!
//! Invariant: judging changes nothing; a record is judged before it is absorbed, and absorbed by
//! what the judgement said.

use super::gate::Gate;
use super::{Calibration, Detector, DetectorConfig, Gauss, Metric, Rows, Score, Share};
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

    /// Judges a record by what came before it. Changes nothing. `others` are the scores of other
    /// young series, where there are any: see [`Calibration::p_value_among`].
    pub fn judge(
        &self,
        x: Row<'_>,
        time: Micros,
        others: Option<&Calibration>,
        s: &mut Scratch,
    ) -> Judgement {
        let ready = self.ready();
        let (score, Score { raw, rank }) = match self.detector() {
            Some(detector) => {
                let score = detector.score_one(x, time, s);
                (detector.squash(score.raw), score)
            }
            None => (0.0, Score::default()),
        };
        let p_value = if ready {
            match others {
                Some(others) => self.calibration.p_value_among(others, rank),
                None => self.calibration.p_value(rank),
            }
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

    /// Takes a record in, as it was just judged. `healthy`, where known, overrules the gate. While
    /// the series is young, `others` get its score as well.
    pub fn absorb(
        &mut self,
        x: Row<'_>,
        time: Micros,
        j: &Judgement,
        healthy: Option<bool>,
        others: Option<&mut Calibration>,
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
        let admitted = self.gate.admits(j.p_value);
        let normal = warming || healthy == Some(true) || admitted;
        if let Some(detector) = self.detector_mut() {
            detector.learn_one(x, time, normal, s);
        }
        let others = others.filter(|_| !warming && !self.calibration.is_fitted());
        if let Some(others) = others {
            if normal {
                others.add(j.rank);
            } else {
                others.add_gated(j.rank);
            }
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
            // Not by which columns vary: one that stands still for 64 records may count errors.
            DetectorConfig::Auto => (rows.width() == 1).then(Metric::new),
        };
        let warm_up = if let Some(mut metric) = metric {
            for (dense, time) in rows.iter() {
                let row = Row {
                    base: 0.0,
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
        let counts = from.counts_of("counts", 2)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    fn row(dense: &[f64]) -> Row<'_> {
        Row {
            base: 0.0,
            dense,
            columns: &[],
            index: &[],
            value: &[],
        }
    }

    fn step(
        m: &mut Monitor,
        dense: &[f64],
        i: i64,
        healthy: Option<bool>,
    ) -> (Judgement, Absorbed) {
        let mut s = Scratch::default();
        let time = Micros(i * Micros::SECOND.0);
        let j = m.judge(row(dense), time, None, &mut s);
        let (what, _) = m.absorb(row(dense), time, &j, healthy, None, &mut s);
        (j, what)
    }

    fn restored(m: &Monitor) -> Monitor {
        let mut w = Writer::new();
        m.save(&mut w);
        let map = w
            .into_sections()
            .into_iter()
            .map(|s| (s.name, s.data))
            .collect();
        let mut other = Monitor::new(m.config);
        other.load(&Reader::new(&map)).unwrap();
        other
    }

    #[test]
    fn auto_decides_after_64_records_and_says_so() {
        let mut r = Random::new(1);
        for (width, chosen) in [(1, "metric"), (3, "gauss")] {
            let mut m = Monitor::new(DetectorConfig::Auto);
            for i in 0..64 {
                assert_eq!((m.chosen(), m.ready()), (None, false));
                let dense: Vec<f64> = (0..width).map(|_| r.normal()).collect();
                let (j, what) = step(&mut m, &dense, i, None);
                assert_eq!((j.p_value, j.ready, what), (1.0, false, Absorbed::Learned));
            }
            assert_eq!((m.chosen(), m.ready()), (Some(chosen), true));
            assert_eq!(m.seen(), 64);
        }
    }

    #[test]
    fn a_column_that_stands_still_at_the_start_is_watched_all_the_same() {
        let mut r = Random::new(1);
        let mut m = Monitor::new(DetectorConfig::Auto);
        for i in 0..1000 {
            step(&mut m, &[r.normal(), 0.0], i, None);
        }
        assert_eq!(m.chosen(), Some("gauss"));
        assert!(step(&mut m, &[0.0, 15.0], 1000, None).0.p_value < 1e-4);
    }

    #[test]
    fn a_young_series_is_judged_among_others_unless_it_knows_better() {
        let mut r = Random::new(1);
        let mut others = Calibration::new();
        let mut s = Scratch::default();
        let mut run = |i: i64, m: &mut Monitor, x: f64| {
            let (dense, time) = ([x], Micros(i * Micros::SECOND.0));
            let j = m.judge(row(&dense), time, Some(&others), &mut s);
            m.absorb(row(&dense), time, &j, None, Some(&mut others), &mut s);
            j.p_value
        };
        for _ in 0..40 {
            let mut m = Monitor::new(DetectorConfig::Metric);
            for i in 0..120 {
                assert!(run(i, &mut m, r.normal()) > 1e-6);
            }
        }
        // Alone it could say no less than 1/57.
        let mut m = Monitor::new(DetectorConfig::Metric);
        for i in 0..120 {
            run(i, &mut m, r.normal());
        }
        assert!(run(120, &mut m, 40.0) < 1e-6);
        // One that jumps every tenth time is used to it.
        let mut m = Monitor::new(DetectorConfig::Metric);
        for i in 0..120 {
            let p = run(i, &mut m, if i % 10 == 9 { 40.0 } else { r.normal() });
            assert!(i < 90 || p > 0.01, "{i}: {p}");
        }
    }

    #[test]
    fn wide_rows_warm_up_for_four_records_a_column() {
        let mut r = Random::new(1);
        let mut m = Monitor::new(DetectorConfig::Auto);
        for i in 0..200 {
            assert!(!m.ready(), "{i}");
            let dense: Vec<f64> = (0..50).map(|_| r.normal()).collect();
            step(&mut m, &dense, i, None);
        }
        assert!(m.ready());
    }

    /// A stream with gaps, anomalies, columns that come late and a change of level.
    fn eventful(r: &mut Random, i: i64) -> Vec<f64> {
        let width = if i < 40 { 2 } else { 3 };
        let level = if i > 1500 { 8.0 } else { 0.0 };
        (0..width)
            .map(|_| match r.below(200) {
                0 => f64::NAN,
                1 => 30.0,
                _ => level + r.normal(),
            })
            .collect()
    }

    #[test]
    fn resumes_bit_for_bit_wherever_it_is_cut() {
        for config in [
            DetectorConfig::Auto,
            DetectorConfig::Metric,
            DetectorConfig::Gauss,
        ] {
            for cut in [0, 33, 64, 100, 700, 1520, 1560] {
                let mut r = Random::new(9);
                let mut a = Monitor::new(config);
                for i in 0..cut {
                    step(&mut a, &eventful(&mut r, i), i, None);
                }
                let mut b = restored(&a);
                for i in cut..2000 {
                    let dense = eventful(&mut r, i);
                    assert_eq!(step(&mut a, &dense, i, None), step(&mut b, &dense, i, None));
                }
                // Debug tells NaN in waiting rows apart from nothing; equality would not hold.
                assert_eq!(format!("{a:?}"), format!("{b:?}"));
            }
        }
    }

    #[test]
    fn what_is_not_healthy_is_never_learned_and_what_is_always() {
        let mut r = Random::new(2);
        let mut m = Monitor::new(DetectorConfig::Auto);
        for i in 0..1000 {
            step(&mut m, &[r.normal()], i, None);
        }
        let before = m.clone();
        assert_eq!(
            step(&mut m, &[0.1], 1000, Some(false)).1,
            Absorbed::Unhealthy
        );
        assert_eq!(
            (&m.stage, &m.calibration),
            (&before.stage, &before.calibration)
        );
        assert_eq!(step(&mut m, &[50.0], 1001, None).1, Absorbed::Gated);
        assert_eq!(step(&mut m, &[50.0], 1002, Some(true)).1, Absorbed::Learned);
    }

    #[test]
    fn scores_rise_with_strangeness_and_stay_below_one() {
        let mut r = Random::new(2);
        for width in [1, 3] {
            let mut m = Monitor::new(DetectorConfig::Auto);
            for i in 0..1000 {
                let dense: Vec<f64> = (0..width).map(|_| r.normal()).collect();
                step(&mut m, &dense, i, None);
            }
            let mut s = Scratch::default();
            let mut last = -1.0;
            for x in [4.0, 5.0, 10.0, 100.0, 1e4, 1e5] {
                let dense = vec![x; width];
                let j = m.judge(row(&dense), Micros(1000 * Micros::SECOND.0), None, &mut s);
                assert!(j.score > last && j.score < 1.0, "{x}: {j:?}");
                last = j.score;
            }
        }
    }

    #[test]
    fn a_change_of_a_constant_series_is_surprising() {
        for width in [1, 3] {
            let mut m = Monitor::new(DetectorConfig::Auto);
            for i in 0..1000 {
                let (j, _) = step(&mut m, &vec![5.0; width], i, None);
                assert!(j.p_value > 0.05);
            }
            let mut changed = vec![5.0; width];
            changed[0] = 6.0;
            let (j, what) = step(&mut m, &changed, 1000, None);
            assert!(j.p_value < 1e-6, "{j:?}");
            assert_eq!(what, Absorbed::Gated);
        }
    }

    #[test]
    fn state_that_makes_no_sense_is_an_error() {
        let mut r = Random::new(2);
        let mut m = Monitor::new(DetectorConfig::Auto);
        for i in 0..300 {
            step(&mut m, &[r.normal(), r.normal()], i, None);
        }
        let mut w = Writer::new();
        m.save(&mut w);
        let sections = w.into_sections();
        for skip in 0..sections.len() {
            let kept = sections.iter().enumerate().filter(|&(i, _)| i != skip);
            let map = kept
                .map(|(_, s)| (s.name.clone(), s.data.clone()))
                .collect();
            assert!(Monitor::new(m.config).load(&Reader::new(&map)).is_err());
        }
        let map = sections.into_iter().map(|s| (s.name, s.data)).collect();
        assert!(
            Monitor::new(DetectorConfig::Metric)
                .load(&Reader::new(&map))
                .is_err()
        );
    }

    #[test]
    fn a_monitor_of_one_value_stays_small() {
        assert!(Monitor::memory_bytes(DetectorConfig::Auto, 1) < 10_000);
        assert!(Monitor::memory_bytes(DetectorConfig::Gauss, 8) < 16 * 1024);
    }
}
