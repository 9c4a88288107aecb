//! The anomaly half of a model: score, alert, then take in what may become normal.
//!
//! Invariant: the score is of the state before the record; what is learned depends on the gate
//! alone, never on the budget.

use crate::alert::Alerter;
use crate::base::{
    Event, EventKind, EventSink, Label, Micros, Reader, Reason, SkipReason, StateError, Writer,
};
use crate::detect::{Absorbed, Calibration, Judgement, Monitor, Share, Shift};
use crate::evaluate::Ranking;
use crate::feature::{Plan, RowBuffer};

use super::label::{self, Classes, Read};
use super::pool::{Entry, Instance, Pool};
use super::{Input, Mode, ModelConfig, Outcome, Parts, Tally, key_hash};

/// Features named in an alert at most.
const REASONS: usize = 3;

impl Instance for Monitor {
    fn save(&self, out: &mut Writer) {
        Monitor::save(self, out);
    }
    fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        Monitor::load(self, from)
    }
}

/// Monitors by key, and the alerts of all of them.
pub(crate) struct Anomaly {
    pub(crate) monitors: Pool<Monitor>,
    /// Scores of young keys, by which young keys are judged; of models with keys alone.
    young: Option<Calibration>,
    pub(crate) alerter: Alerter,
    /// How well scores and flags tell what a label says, where the model names one.
    pub(crate) ranking: Ranking,
    /// What this pass of an evaluation came to, and the test; no state.
    pub(crate) pass: Scored,
    pub(crate) tested: Scored,
    pub(crate) flagged: u64,
    pub(crate) alerts: u64,
    pub(crate) drifts: u64,
}

/// What an evaluation counts.
#[derive(Debug, Default)]
pub(crate) struct Scored {
    pub(crate) records: u64,
    pub(crate) flagged: u64,
    pub(crate) alerts: u64,
    /// Of these records alone, where that is asked for.
    pub(crate) ranking: Option<Ranking>,
}

impl Scored {
    /// Nothing yet, and a ranking of its own.
    pub(crate) fn ranked() -> Scored {
        Scored {
            ranking: Some(Ranking::new()),
            ..Scored::default()
        }
    }

    fn count(&mut self, score: f64, truth: Option<bool>, flagged: bool, alert: bool) {
        if let (Some(ranking), Some(positive)) = (&mut self.ranking, truth) {
            ranking.observe(score, positive, flagged);
        }
        self.records += 1;
        self.flagged += u64::from(flagged);
        self.alerts += u64::from(alert);
    }
}

impl Anomaly {
    pub(crate) fn new(config: &ModelConfig) -> Anomaly {
        Anomaly {
            monitors: Pool::new(config.max_keys, config.evict),
            young: (!config.plan.key.is_empty()).then(Calibration::new),
            alerter: Alerter::new(config.alerts),
            ranking: Ranking::new(),
            pass: Scored::default(),
            tested: Scored::ranked(),
            flagged: 0,
            alerts: 0,
            drifts: 0,
        }
    }

    /// One record of the model, of which `where` holds and the key is there.
    pub(crate) fn process(
        &mut self,
        parts: &mut Parts<'_>,
        input: &Input<'_>,
        mode: Mode,
        now: Micros,
        out: &mut dyn EventSink,
    ) -> Outcome {
        let Parts {
            config,
            plan,
            row,
            scratch,
            tally,
            index,
        } = parts;
        let index = *index;
        let learn = mode == Mode::Learn;
        let Some(monitor) = find(&mut self.monitors, config, row, learn, tally) else {
            return Outcome::Skipped(SkipReason::Key);
        };
        let x = row.row(plan);
        // Without a time of its own a record is judged without time of day: the time of reception
        // would make what is learned depend on when a file was read.
        let has_time = config.plan.time.is_some();
        let time = if has_time {
            row.time.unwrap_or(now)
        } else {
            Micros(0)
        };
        let shown = if has_time { time } else { input.received };
        let judged = monitor.judge(x, time, self.young.as_ref(), scratch);
        let Judgement {
            score,
            p_value,
            ready,
            ..
        } = judged;
        // Only what is flagged can open an incident, so only that needs an id.
        let may_alert = ready && p_value < self.alerter.level();
        let (flagged, alert) = if learn {
            let id = if may_alert {
                input.event_id(config, EventKind::Anomaly)
            } else {
                0
            };
            let verdict = self
                .alerter
                .observe(now, key_hash(&row.key), p_value, ready, id);
            (verdict.flagged, verdict.alert)
        } else {
            (may_alert, None)
        };
        let wanted = out.wants(index);
        if wanted.contains(EventKind::Score) {
            let head = input.head(config, row, EventKind::Score);
            out.emit(
                index,
                &Event::Score {
                    head,
                    score,
                    p_value,
                    anomaly: flagged,
                },
            );
        }
        if let Some(alert) = &alert {
            tally.alert(alert.severity);
            self.alerts += 1;
            if wanted.contains(EventKind::Anomaly) {
                let reasons = name_reasons(plan, &monitor.explain(x, time, REASONS, scratch));
                let mut head = input.head(config, row, EventKind::Anomaly);
                head.time = Some(shown);
                let event = Event::Anomaly {
                    head,
                    score,
                    p_value,
                    severity: alert.severity,
                    state: alert.state,
                    incident: alert.incident,
                    records: alert.records,
                    suppressed: alert.suppressed,
                    reasons: &reasons,
                    record: input.line,
                    record_is_json: input.is_json,
                };
                out.emit(index, &event);
            }
        }
        let truth = truth(config, row);
        match mode {
            Mode::Learn => {
                if let Some(positive) = truth {
                    self.ranking.observe(score, positive, flagged);
                }
                self.pass.count(score, truth, flagged, alert.is_some());
            }
            Mode::Test => self.tested.count(score, truth, flagged, false),
            Mode::Predict => {}
        }
        if !learn {
            return Outcome::Learned;
        }
        self.flagged += u64::from(flagged);
        tally.flagged += u64::from(flagged);
        tally.scores.push(score);
        let young = self.young.as_mut();
        let (absorbed, shift) = monitor.absorb(x, time, &judged, row.healthy, young, scratch);
        if let Some(Shift { before, after }) = shift {
            self.drifts += 1;
            tally.drifts += 1;
            if wanted.contains(EventKind::Drift) {
                let mut head = input.head(config, row, EventKind::Drift);
                head.time = Some(shown);
                out.emit(
                    index,
                    &Event::Drift {
                        head,
                        detector: "gate",
                        before,
                        after,
                    },
                );
            }
        }
        match absorbed {
            Absorbed::Learned => Outcome::Learned,
            Absorbed::Gated => Outcome::Skipped(SkipReason::Gate),
            Absorbed::Unhealthy => Outcome::Skipped(SkipReason::Unhealthy),
        }
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        out.nested("monitors", |w| self.monitors.save(w));
        if let Some(young) = &self.young {
            out.nested("young", |w| young.save(w));
        }
        out.u64("drifts", self.drifts);
        // What was flagged depends on the budget, so it is no part of what was learned.
        out.operations(|w| {
            w.nested("ranking", |w| self.ranking.save(w));
            w.nested("alerter", |w| self.alerter.save(w));
            w.u64s("alerted", &[self.flagged, self.alerts]);
        });
    }

    pub(crate) fn load(
        &mut self,
        from: &Reader<'_>,
        config: &ModelConfig,
    ) -> Result<(), StateError> {
        from.nested("monitors", |r| {
            self.monitors
                .load(r, config.plan.key.len(), || Monitor::new(config.detector))
        })?;
        if let Some(young) = &mut self.young {
            from.nested("young", |r| young.load(r))?;
        }
        from.nested("ranking", |r| self.ranking.load(r))?;
        self.drifts = from.u64("drifts")?;
        from.nested("alerter", |r| self.alerter.load(r))?;
        let alerted = from.u64s_of("alerted", 2)?;
        (self.flagged, self.alerts) = (alerted[0], alerted[1]);
        Ok(())
    }
}

/// The monitor of a record's key; a new key gets one if `learn` and there is room.
fn find<'a>(
    monitors: &'a mut Pool<Monitor>,
    config: &ModelConfig,
    row: &RowBuffer,
    learn: bool,
    tally: &mut Tally,
) -> Option<&'a mut Monitor> {
    if !learn {
        return monitors.peek(&row.key);
    }
    match monitors.entry(&row.key, || Monitor::new(config.detector)) {
        Entry::Found(found, evicted) => {
            tally.evictions += u64::from(evicted);
            Some(found)
        }
        Entry::Full => None,
    }
}

/// Shares in the user's words.
fn name_reasons(plan: &Plan, shares: &[Share]) -> Vec<Reason> {
    let names = plan.column_names();
    shares
        .iter()
        .map(|share| Reason {
            feature: names[share.column as usize].clone(),
            value: share.value,
            expected: share.expected,
            share: share.share,
        })
        .collect()
}

/// What the record's label says of it, where the model names one.
fn truth(config: &ModelConfig, row: &RowBuffer) -> Option<bool> {
    let positive = config.positive.as_deref();
    match label::read(
        row.label(),
        config.task,
        positive,
        &mut Classes::default(),
        0,
        false,
    ) {
        Read::Label(Label::Binary(positive)) => Some(positive),
        _ => None,
    }
}
