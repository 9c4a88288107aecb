//! Monitor and alerter together on simulated streams: what a person would have been woken for.
//!
//! Invariant: every stream is seeded; figures are printed, so that a failure says by how much.

use learnd::alert::{AlertConfig, Alerter};
use learnd::base::{Micros, Row, Scratch};
use learnd::detect::{Absorbed, DetectorConfig, Monitor};
use learnd::math::{Random, ln};

const SECOND: i64 = Micros::SECOND.0;
const DAY: i64 = Micros::DAY.0;

struct Watch {
    monitor: Monitor,
    alerter: Alerter,
    scratch: Scratch,
    records: u64,
    flagged: Vec<u64>,
    alerts: Vec<(u64, i64)>,
    drifts: Vec<u64>,
    gated: u64,
    below: [u64; 2],
}

impl Watch {
    fn new(detector: DetectorConfig, per_day: f64) -> Watch {
        Watch {
            monitor: Monitor::new(detector),
            alerter: Alerter::new(AlertConfig::Budget {
                count: per_day,
                period_micros: DAY,
            }),
            scratch: Scratch::default(),
            records: 0,
            flagged: Vec::new(),
            alerts: Vec::new(),
            drifts: Vec::new(),
            gated: 0,
            below: [0; 2],
        }
    }

    fn record(&mut self, dense: &[f64], time: i64) {
        let n = self.records;
        let row = Row {
            base: 0.0,
            dense,
            columns: &[],
            index: &[],
            value: &[],
        };
        let j = self
            .monitor
            .judge(row, Micros(time), None, &mut self.scratch);
        assert!(
            (0.0..1.0).contains(&j.score) && j.p_value > 0.0 && j.p_value <= 1.0,
            "{j:?}"
        );
        for (below, level) in self.below.iter_mut().zip([1e-3, 1e-4]) {
            *below += u64::from(j.p_value < level);
        }
        let v = self
            .alerter
            .observe(Micros(time), 0, j.p_value, j.ready, u128::from(n));
        if v.flagged {
            self.flagged.push(n);
        }
        if v.alert.is_some() {
            self.alerts.push((n, time));
        }
        let (what, shift) =
            self.monitor
                .absorb(row, Micros(time), &j, None, None, &mut self.scratch);
        self.gated += u64::from(what == Absorbed::Gated);
        if shift.is_some() {
            self.drifts.push(n);
        }
        self.records += 1;
    }

    fn most_in_a_day(&self) -> usize {
        let times = || self.alerts.iter().map(|&(_, t)| t);
        times()
            .map(|from| times().filter(|&t| t >= from && t - from <= DAY).count())
            .max()
            .unwrap_or(0)
    }
}

fn student(r: &mut Random, freedom: u32) -> f64 {
    let chi: f64 = (0..freedom).map(|_| r.normal()).map(|z| z * z).sum();
    r.normal() / (chi / f64::from(freedom)).sqrt()
}

/// A kind of noise, and how many units out a value is that no chance brings.
type Noise = (&'static str, fn(&mut Random) -> f64, f64);

const NOISES: [Noise; 3] = [
    ("gaussian", |r| r.normal(), 10.0),
    ("exponential", |r| -ln(1.0 - r.uniform()), 40.0),
    ("t3", |r| student(r, 3), 2000.0),
];

#[test]
fn a_planted_outlier_in_a_pipe_of_a_second_is_alerted_and_little_else() {
    for (name, noise, far) in NOISES {
        for width in [1, 4, 8] {
            let (mut found, mut most, mut total) = (0, 0, 0);
            let seeds = 60;
            for seed in 0..seeds {
                let mut r = Random::new(seed);
                let mut w = Watch::new(DetectorConfig::Auto, 3.0);
                let n = 2000 + 50 * seed as i64;
                let at = n * 3 / 5;
                for i in 0..n {
                    let mut row: Vec<f64> = (0..width)
                        .map(|j| 100.0 * f64::from(j + 1) + noise(&mut r))
                        .collect();
                    if i == at {
                        row[0] = 100.0 + far;
                    }
                    w.record(&row, 1_700_000_000 * SECOND + i * 1_000_000 / n);
                }
                found += u32::from(w.alerts.iter().any(|&(k, _)| k as i64 == at));
                most = most.max(w.alerts.len());
                total += w.alerts.len();
            }
            println!("{name} x {width}: {found} of {seeds} found, {total} alerts, at most {most}");
            assert!(
                f64::from(found) >= 0.95 * seeds as f64,
                "{name} x {width}: {found}"
            );
            assert!(most <= 3, "{name} x {width}: {most}");
        }
    }
}

#[test]
fn counters_clocks_flags_and_gaps_among_the_columns_hide_no_outlier() {
    let seeds = 60;
    let (mut found, mut most, mut named) = (0, 0, 0);
    for seed in 0..seeds {
        let mut r = Random::new(100 + seed);
        let mut w = Watch::new(DetectorConfig::Auto, 3.0);
        let n = 3000 + 20 * seed as i64;
        let at = n * 2 / 3;
        for i in 0..n {
            let latency = 40.0 + 5.0 * r.normal();
            let row = [
                i as f64,
                1.7e9 + (i / 3) as f64,
                if i == at { 250.0 } else { latency },
                (1000.0 * -ln(1.0 - r.uniform())).floor(),
                f64::from(u8::from(r.uniform() < 0.02)),
                7.0,
                if r.uniform() < 0.5 {
                    f64::NAN
                } else {
                    5.0 + r.normal()
                },
                200.0 + 204.0 * f64::from(u8::from(r.uniform() < 0.05)),
            ];
            w.record(&row, 1_700_000_000 * SECOND + i * 1_000_000 / n);
            if i == at {
                let row = Row {
                    base: 0.0,
                    dense: &row,
                    columns: &[],
                    index: &[],
                    value: &[],
                };
                let why = w.monitor.explain(row, Micros(0), 3, &mut w.scratch);
                named += u32::from(why[0].column == 2);
            }
        }
        found += u32::from(w.alerts.iter().any(|&(k, _)| k as i64 == at));
        most = most.max(w.alerts.len());
    }
    println!("awkward columns: {found} of {seeds} found, {named} named, at most {most} alerts");
    assert!(f64::from(found.min(named)) >= 0.95 * seeds as f64 && most <= 3);
}

/// Thirty days of a record each half minute.
fn thirty_days(mut next: impl FnMut(&mut Random, i64) -> f64, width: usize) -> Watch {
    let mut r = Random::new(11);
    let mut w = Watch::new(DetectorConfig::Auto, 3.0);
    for i in 0..30 * 2880 {
        let row: Vec<f64> = (0..width).map(|_| next(&mut r, i)).collect();
        w.record(&row, 1_700_000_000 * SECOND + i * 30 * SECOND);
    }
    w
}

#[test]
fn the_budget_holds_in_any_24_hours_whatever_the_stream() {
    let tau = std::f64::consts::TAU;
    let seasonal =
        move |r: &mut Random, i: i64| 10.0 * (tau * i as f64 / 2880.0).sin() + r.normal();
    let drifting = |r: &mut Random, i: i64| i as f64 / 2880.0 + r.normal();
    for width in [1, 3] {
        for (name, w) in [
            ("gaussian", thirty_days(|r, _| r.normal(), width)),
            ("heavy-tailed", thirty_days(|r, _| student(r, 3), width)),
            ("seasonal", thirty_days(seasonal, width)),
            ("drifting", thirty_days(drifting, width)),
            ("bursty", thirty_days(bursty, width)),
        ] {
            println!(
                "{name} x {width}: {} flagged, {} alerts, {} in a day, {} drifts, {} gated, {} held back",
                w.flagged.len(),
                w.alerts.len(),
                w.most_in_a_day(),
                w.drifts.len(),
                w.gated,
                w.alerter.suppressed_total(),
            );
            assert!(w.most_in_a_day() <= 3, "{name} x {width}");
        }
    }
}

/// A stream, and a value far beyond one in 100,000 under its own law.
type Stream = (&'static str, fn(&mut Random, i64) -> f64, f64);

const STREAMS: [Stream; 4] = [
    ("gaussian", |r, _| r.normal(), 6.5),
    ("heavy-tailed", |r, _| student(r, 3), 150.0),
    ("drifting", |r, i| i as f64 / 2880.0 + r.normal(), 8.0),
    ("bursty", bursty, 60.0),
];

fn bursty(r: &mut Random, i: i64) -> f64 {
    if i / 200 % 37 == 5 {
        20.0 + 5.0 * r.normal()
    } else {
        r.normal()
    }
}

#[test]
fn one_real_incident_a_day_is_alerted_beside_the_noise() {
    for (name, noise, far) in STREAMS {
        let mut r = Random::new(5);
        let mut w = Watch::new(DetectorConfig::Auto, 3.0);
        let mut found = 0;
        for i in 0..30 * 2880i64 {
            // From the second day on, at another hour each day.
            let incident = i > 2880 && i % 2880 == i / 2880 * 90 + 17;
            let x = noise(&mut r, i) + if incident { far } else { 0.0 };
            let before = w.alerts.len();
            w.record(&[x], 1_700_000_000 * SECOND + i * 30 * SECOND);
            found += usize::from(incident && w.alerts.len() > before);
        }
        println!(
            "{name}: {found} of 29 found, {} alerts in all",
            w.alerts.len()
        );
        assert!(found >= 27 && w.most_in_a_day() <= 3, "{name}: {found}");
    }
}

#[test]
fn a_level_shift_is_one_drift_few_alerts_and_then_silence() {
    for (width, shift) in [(1, 10.0), (1, 4.0), (5, 10.0), (5, 4.0)] {
        for seed in 0..20 {
            let mut r = Random::new(seed);
            let mut w = Watch::new(DetectorConfig::Auto, 3.0);
            for i in 0..6000 {
                let level = if i < 3000 { 0.0 } else { shift };
                let row: Vec<f64> = (0..width).map(|_| level + r.normal()).collect();
                w.record(&row, i * 60 * SECOND);
            }
            let after: Vec<u64> = w
                .alerts
                .iter()
                .map(|a| a.0)
                // What chance brings directly before is part of it.
                .filter(|&n| n >= 2999)
                .collect();
            let adapting = after.iter().filter(|&&n| n < 3200).count();
            let what = format!("{width} {shift} {seed}: {:?}, alerts {after:?}", w.drifts);
            assert_eq!(w.drifts.len(), 1, "{what}");
            assert!(w.drifts[0] < 3200, "{what}");
            assert!((1..=3).contains(&adapting), "{what}");
            // Two days follow, each with its budget.
            assert!(after.len() - adapting <= 6, "{what}");
        }
    }
}

#[test]
fn rates_are_as_promised_whatever_the_detector() {
    for (name, noise, _) in NOISES {
        for width in [1, 4] {
            let mut r = Random::new(21);
            let mut w = Watch::new(DetectorConfig::Auto, 3.0);
            let n = 200_000;
            for i in 0..n {
                let row: Vec<f64> = (0..width).map(|_| noise(&mut r)).collect();
                w.record(&row, i * SECOND);
            }
            let rates = w.below.map(|b| b as f64 / n as f64);
            println!("{name} x {width}: {rates:?}, {} drifts", w.drifts.len());
            assert!(
                rates[0] < 2e-3 && rates[1] < 2e-4,
                "{name} x {width}: {rates:?}"
            );
            assert!(
                rates[0] > 5e-4 && rates[1] > 3e-5,
                "{name} x {width}: {rates:?}"
            );
            assert!(w.drifts.is_empty());
        }
    }
}

#[test]
fn a_trend_is_absorbed_and_a_steep_one_is_a_change_a_day_at_most() {
    for (width, seed) in [(1, 0), (1, 1), (1, 2), (3, 3)] {
        let mut r = Random::new(seed);
        let mut w = Watch::new(DetectorConfig::Auto, 3.0);
        for i in 0..26_000 {
            let row: Vec<f64> = (0..width)
                .map(|_| 50.0 + 0.01 * i as f64 + 5.0 * r.normal())
                .collect();
            w.record(&row, 10 * i * SECOND);
        }
        println!("{width}: {} alerts, drifts {:?}", w.alerts.len(), w.drifts);
        // Seventeen deviations from one day to the next, in a detector that knows the day.
        assert!(w.drifts.len() <= 3, "{width}: {:?}", w.drifts);
        assert!(w.most_in_a_day() <= 3);
    }
}

#[test]
fn a_burst_of_twenty_is_one_alert_and_no_change() {
    for width in [1, 3] {
        let mut changed = 0;
        for seed in 0..10 {
            let mut r = Random::new(seed);
            let mut w = Watch::new(DetectorConfig::Auto, 3.0);
            for i in 0..6000 {
                let mut row: Vec<f64> = (0..width).map(|_| 50.0 + 5.0 * r.normal()).collect();
                if (4000..4020).contains(&i) {
                    row[0] = 130.0;
                }
                w.record(&row, 10 * i * SECOND);
            }
            let of_burst = w.alerts.iter().filter(|&&(n, _)| (4000..4040).contains(&n));
            assert_eq!(of_burst.count(), 1, "{width}: {:?}", w.alerts);
            changed += w.drifts.len();
        }
        // Where chance moved the mean of twenty records just before, it may look like one.
        assert!(changed <= 1, "{width}: {changed}");
    }
}

#[test]
fn after_a_month_of_silence_an_outlier_is_alerted_and_little_else() {
    for (width, seed) in [(1, 0), (1, 1), (1, 2), (3, 3), (3, 4)] {
        let mut r = Random::new(seed);
        let mut w = Watch::new(DetectorConfig::Auto, 3.0);
        for i in 0..8000 {
            let mut row: Vec<f64> = (0..width).map(|_| 50.0 + 5.0 * r.normal()).collect();
            if i == 6000 {
                row[0] = 140.0;
            }
            let silence = if i < 4000 { 0 } else { 30 * DAY };
            w.record(&row, 10 * i * SECOND + silence);
        }
        assert!(w.alerts.iter().any(|&(n, _)| n == 6000), "{width}");
        let soon = w.alerts.iter().filter(|&&(n, _)| (4000..4300).contains(&n));
        assert!(soon.count() <= 1, "{width}: {:?}", w.alerts);
    }
}

#[test]
fn plain_noise_at_any_pace_is_no_change() {
    let mut drifts = Vec::new();
    for pace in [1, 10, 60, 300] {
        for seed in 0..20 {
            let mut r = Random::new(seed);
            let mut w = Watch::new(DetectorConfig::Auto, 3.0);
            for i in 0..6000 {
                w.record(&[50.0 + 5.0 * r.normal()], pace * i * SECOND);
            }
            drifts.extend(w.drifts.iter().map(|n| (pace, seed, *n)));
        }
    }
    assert!(drifts.is_empty(), "pace, seed, record: {drifts:?}");
}

#[test]
fn lone_deviations_of_a_field_that_stands_still_are_no_change() {
    for share in [1e-4, 1e-3, 3e-3, 1e-2, 5e-2] {
        for seed in 0..3 {
            let mut r = Random::new(seed);
            let mut w = Watch::new(DetectorConfig::Auto, 3.0);
            for i in 0..40_000 {
                let failed = r.uniform() < share;
                let status = if failed {
                    404.0 + 99.0 * r.below(2) as f64
                } else {
                    200.0
                };
                w.record(&[status], i * 10 * SECOND);
            }
            assert!(w.drifts.is_empty(), "{share}, {seed}: {:?}", w.drifts);
        }
    }
}

type Column = fn(&mut Random, i64) -> f64;

#[test]
fn the_first_change_of_a_field_that_stood_still_is_alerted_whatever_stands_beside_it() {
    let beside: [(&str, Vec<Column>); 5] = [
        ("nothing", vec![]),
        ("another such", vec![|_, _| 3.0]),
        ("noise", vec![|r, _| 50.0 + 5.0 * r.normal()]),
        (
            "a flag",
            vec![|r, _| f64::from(u8::from(r.uniform() < 0.02))],
        ),
        (
            "heavy tails, a counter, gaps",
            vec![|r, _| student(r, 3), |_, i| i as f64, |r, _| {
                if r.uniform() < 0.5 {
                    f64::NAN
                } else {
                    r.normal()
                }
            }],
        ),
    ];
    for (name, columns) in beside {
        for (from, to) in [
            (0.0, 1e-3),
            (5.0, 6.0),
            (1000.0, 1001.0),
            (1e6, 1e6 + 1.0),
            (5.0, 5e6),
        ] {
            for seed in 0..4 {
                let mut r = Random::new(seed);
                let mut w = Watch::new(DetectorConfig::Auto, 3.0);
                for i in 0..2600 {
                    let mut row = vec![if i == 2500 { to } else { from }];
                    row.extend(columns.iter().map(|column| column(&mut r, i)));
                    w.record(&row, 1_700_000_000 * SECOND + i * 1000);
                }
                let what = format!("{name}, {from} to {to}, {seed}: {:?}", w.alerts);
                assert!(w.alerts.iter().any(|&(n, _)| n == 2500), "{what}");
                assert!(w.alerts.len() <= 3, "{what}");
            }
        }
    }
}

/// A field that changes in this share of records, and what it was.
type Rarely = (&'static str, fn(&mut Random, f64, bool) -> f64);

#[test]
fn fields_that_change_now_and_then_make_no_storm() {
    let fields: [Rarely; 5] = [
        ("status", |r, _, changed| {
            if changed {
                404.0 + 99.0 * r.below(2) as f64
            } else {
                200.0
            }
        }),
        ("a size, of which a byte", |_, _, changed| {
            1e6 + f64::from(u8::from(changed))
        }),
        ("version", |_, was, changed| {
            was.max(10.0) + f64::from(u8::from(changed))
        }),
        ("counter", |_, was, changed| {
            was.max(1000.0) + f64::from(u8::from(changed))
        }),
        ("setting", |r, was, changed| {
            if changed || was == 0.0 {
                (1e4 + 100.0 * r.uniform()).floor()
            } else {
                was
            }
        }),
    ];
    for (name, field) in fields {
        for width in [1, 2, 4] {
            let mut r = Random::new(5);
            let mut w = Watch::new(DetectorConfig::Auto, 3.0);
            let (mut x, mut changes) = (0.0, 0);
            // Ten days.
            for i in 0..86_400 {
                let changed = r.uniform() < 5e-4;
                changes += usize::from(changed);
                x = field(&mut r, x, changed);
                let mut row = vec![x];
                row.extend((1..width).map(|_| 50.0 + 5.0 * r.normal()));
                w.record(&row, 1_700_000_000 * SECOND + i * 10 * SECOND);
            }
            let late = w.alerts.iter().filter(|a| a.0 > 60_000).count();
            let drifts = w.drifts.len();
            let alerts = w.alerts.len();
            let what = format!(
                "{name} x {width}: {changes} changes, {drifts} drifts, {alerts} alerts, {late} late"
            );
            println!("{what}");
            // It is known after ten or so, and noise has its own.
            assert!(alerts <= 20 && late <= 5, "{what}");
            assert!(drifts <= changes * 5 / 4, "{what}");
            let returns = name == "status" || name.starts_with("a size");
            assert!(drifts == 0 || !returns, "{what}");
        }
    }
}
