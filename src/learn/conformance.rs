//! What every learner must do, run over every kind of learner, task and mode.

use std::collections::BTreeMap;

use crate::base::{Column, Label, Micros, Reader, Row, Scale, Scratch, SectionData, Task, Writer};
use crate::math::Random;

use super::{
    Learner, LearnerConfig, LearnerContext, LinearConfig, Link, Loss, Optimizer, Update,
    UpdateMode, build,
};

/// One record of a made-up stream.
#[derive(Clone, Debug)]
struct Record {
    dense: Vec<f64>,
    index: Vec<u32>,
    value: Vec<f32>,
    y: Label,
    weight: f64,
}

/// A kind of learner with the stream it is tried on.
struct Case {
    name: String,
    config: LearnerConfig,
    mode: UpdateMode,
    context: LearnerContext,
    scale: Scale,
}

const BITS: u32 = 6;

fn linear(optimizer: Optimizer, loss: Loss, link: Link) -> LinearConfig {
    let sgd = optimizer != Optimizer::NormalizedAdaptive;
    LinearConfig {
        optimizer,
        loss,
        link,
        learning_rate: match loss {
            // Its slope does not grow with the distance.
            Loss::Quantile { .. } if sgd => 1.0,
            _ if sgd => 0.05,
            _ => 0.5,
        },
        power_t: if sgd { 0.1 } else { 0.5 },
        initial_t: if sgd { 1.0 } else { 0.0 },
        l2: 0.0,
        l1: 0.0,
        bias: true,
        label_range: None,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (task, loss) in [
        (Task::Regression, Loss::Squared),
        (Task::Regression, Loss::Quantile { tau: 0.3 }),
        (Task::Binary, Loss::Logistic),
        (Task::Binary, Loss::Hinge),
        (Task::Multiclass, Loss::Softmax),
    ] {
        let link = if task == Task::Regression || loss == Loss::Hinge {
            Link::Identity
        } else {
            Link::Logistic
        };
        let mut configs = vec![("race", LearnerConfig::Race)];
        if matches!(loss, Loss::Quantile { .. } | Loss::Hinge) {
            // The race has losses of its own.
            configs.clear();
        }
        for optimizer in [
            Optimizer::NormalizedAdaptive,
            Optimizer::Sgd,
            Optimizer::SgdInRange,
        ] {
            if optimizer == Optimizer::SgdInRange && task == Task::Multiclass {
                continue;
            }
            let plain = linear(optimizer, loss, link);
            let penalized = LinearConfig {
                l1: 1e-4,
                l2: 1e-3,
                ..plain.clone()
            };
            let name = match optimizer {
                Optimizer::NormalizedAdaptive => ["adaptive", "adaptive penalized"],
                Optimizer::Sgd => ["sgd", "sgd penalized"],
                Optimizer::SgdInRange => ["sgd in range", "sgd in range penalized"],
            };
            configs.push((name[0], LearnerConfig::Linear(plain)));
            configs.push((name[1], LearnerConfig::Linear(penalized)));
        }
        let modes = [
            UpdateMode::Online,
            UpdateMode::Minibatch {
                records: 7,
                every_micros: 0,
            },
        ];
        for (name, config) in configs {
            for mode in modes {
                cases.push(Case {
                    name: format!("{loss:?} {name} {} {mode:?}", task.as_str()).to_lowercase(),
                    scale: config.default_scale(),
                    config: config.clone(),
                    mode,
                    context: LearnerContext {
                        task,
                        hash_bits: BITS,
                        max_classes: 5,
                    },
                });
            }
        }
    }
    cases
}

impl Case {
    fn build(&self) -> Box<dyn Learner> {
        build(&self.config, self.mode, &self.context)
    }

    /// A stream with missing numbers, repeated slots, weights, and columns and classes that come
    /// late.
    fn stream(&self, seed: u64, n: usize) -> Vec<Record> {
        let mut random = Random::new(seed);
        (0..n)
            .map(|i| {
                let width = if i < n / 3 { 2 } else { 4 };
                let mut dense: Vec<f64> = (0..width).map(|_| 3.0 + random.normal()).collect();
                let index: Vec<u32> = (0..3).map(|_| random.below(20) as u32).collect();
                let value = vec![1.0, 0.5, 2.0];
                let signal = 2.0 * (dense[0] - 3.0) - (dense[1] - 3.0) + f64::from(index[0] % 2);
                if random.below(10) == 0 {
                    dense[1] = f64::NAN;
                }
                let noisy = signal + 0.3 * random.normal();
                let y = match self.context.task {
                    Task::Regression => Label::Number(100.0 + 10.0 * noisy),
                    Task::Binary => Label::Binary(noisy > 0.5),
                    _ => Label::Class(((noisy + 1.0).clamp(0.0, 2.9) as u32).min(i as u32 / 20)),
                };
                let weight = if random.below(5) == 0 { 2.5 } else { 1.0 };
                Record {
                    dense,
                    index,
                    value,
                    y,
                    weight,
                }
            })
            .collect()
    }

    fn columns(&self) -> Vec<Column> {
        let clip = f64::INFINITY;
        vec![
            Column {
                scale: self.scale,
                clip
            };
            8
        ]
    }
}

impl Record {
    fn row<'a>(&'a self, columns: &'a [Column]) -> Row<'a> {
        Row {
            base: 0.0,
            dense: &self.dense,
            columns: &columns[..self.dense.len()],
            index: &self.index,
            value: &self.value,
        }
    }
}

/// Predicts, takes the loss, learns; returns the loss.
fn feed(learner: &mut dyn Learner, case: &Case, r: &Record, s: &mut Scratch) -> (f64, Update) {
    let columns = case.columns();
    let row = r.row(&columns);
    let p = learner.predict_one(row, s);
    let p = learner.labelled(p, r.y, s);
    assert!(p.value.is_finite(), "{}", case.name);
    let loss = learner.loss(&p, r.y, s);
    assert!(loss >= 0.0, "{}: loss {loss}", case.name);
    (loss, learner.learn_one(row, r.y, r.weight, s))
}

fn saved(learner: &dyn Learner) -> BTreeMap<String, SectionData> {
    let mut w = Writer::new();
    learner.save(&mut w);
    let sections = w.into_sections();
    let n = sections.len();
    let map: BTreeMap<_, _> = sections.into_iter().map(|s| (s.name, s.data)).collect();
    assert_eq!(map.len(), n, "a section name is used twice");
    map
}

/// Equal bit for bit, NaN and signs of zero included.
fn same(a: &BTreeMap<String, SectionData>, b: &BTreeMap<String, SectionData>) -> bool {
    let bits = |m: &BTreeMap<String, SectionData>| -> Vec<(String, Vec<u64>)> {
        m.iter()
            .map(|(name, data)| {
                let bits = match data {
                    SectionData::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
                    SectionData::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
                    SectionData::U32(v) => v.iter().map(|x| u64::from(*x)).collect(),
                    SectionData::U64(v) => v.clone(),
                    SectionData::U8(v) => v.iter().map(|x| u64::from(*x)).collect(),
                };
                (name.clone(), bits)
            })
            .collect()
    };
    bits(a) == bits(b)
}

#[test]
fn every_learner_learns() {
    for case in cases() {
        let mut learner = case.build();
        let mut s = Scratch::default();
        let stream = case.stream(1, 1500);
        let losses: Vec<f64> = stream
            .iter()
            .map(|r| {
                let (loss, update) = feed(&mut *learner, &case, r, &mut s);
                assert!(
                    matches!(update, Update::Learned { norm } if norm.is_finite() && norm >= 0.0)
                );
                loss
            })
            .collect();
        let late = losses[1000..].iter().sum::<f64>() / 500.0;
        // What a constant would lose: the variance, or about the entropy.
        let bound = match case.context.task {
            // Vowpal Wabbit's rule creeps towards a mean of 100 from 0.
            Task::Regression if case.name.starts_with("quantile") => 29.0,
            Task::Regression if case.scale == Scale::None => 5000.0,
            Task::Regression => 150.0,
            Task::Binary if case.name.starts_with("hinge") => 0.75,
            Task::Binary => 0.62,
            _ => 0.8,
        };
        assert!(late < bound, "{}: {late}", case.name);
        let report = learner.report();
        assert!(report.weight_norm > 0.0 && report.weight_norm.is_finite());
        let heaviest = learner.heaviest(5);
        assert_eq!(heaviest.len(), 5);
        assert!(
            heaviest
                .windows(2)
                .all(|w| w[0].weight.abs() >= w[1].weight.abs())
        );
    }
}

#[test]
fn predicting_changes_nothing() {
    for case in cases() {
        let mut learner = case.build();
        let mut s = Scratch::default();
        let stream = case.stream(2, 100);
        let columns = case.columns();
        for r in &stream {
            feed(&mut *learner, &case, r, &mut s);
        }
        let before = saved(&*learner);
        for r in &case.stream(3, 50) {
            learner.predict_one(r.row(&columns), &mut s);
        }
        assert!(same(&before, &saved(&*learner)), "{}", case.name);
    }
}

#[test]
fn resumes_as_if_it_had_never_stopped() {
    for case in cases() {
        let stream = case.stream(4, 120);
        let mut never = case.build();
        let mut s = Scratch::default();
        for (i, r) in stream.iter().enumerate() {
            feed(&mut *never, &case, r, &mut s);
            if i % 37 != 10 {
                continue;
            }
            let state = saved(&*never);
            let mut resumed = case.build();
            resumed.load(&Reader::new(&state)).expect(&case.name);
            let mut copy = case.build();
            copy.load(&Reader::new(&state)).expect(&case.name);
            assert_eq!(resumed.held(), never.held());
            let mut fresh = Scratch::default();
            for r in &stream[i + 1..] {
                feed(&mut *resumed, &case, r, &mut fresh);
            }
            let mut straight = copy;
            for r in &stream[i + 1..] {
                feed(&mut *straight, &case, r, &mut s);
            }
            assert!(same(&saved(&*resumed), &saved(&*straight)), "{}", case.name);
        }
        let mut again = case.build();
        for (i, r) in stream.iter().enumerate() {
            if i == 60 {
                let state = saved(&*again);
                again = case.build();
                again.load(&Reader::new(&state)).expect(&case.name);
            }
            feed(&mut *again, &case, r, &mut s);
        }
        assert!(same(&saved(&*again), &saved(&*never)), "{}", case.name);
    }
}

#[test]
fn damaged_state_is_an_error() {
    for case in cases() {
        let mut learner = case.build();
        let mut s = Scratch::default();
        for r in &case.stream(5, 100) {
            feed(&mut *learner, &case, r, &mut s);
        }
        let state = saved(&*learner);
        for name in state.keys() {
            let refuses = |data: Option<SectionData>| {
                let mut damaged = state.clone();
                damaged.remove(name);
                damaged.extend(data.map(|d| (name.clone(), d)));
                case.build().load(&Reader::new(&damaged)).is_err()
            };
            assert!(refuses(None), "{}: without {name}", case.name);
            let other = SectionData::U8(vec![1, 2, 3]);
            if !matches!(state[name], SectionData::U8(_)) {
                assert!(refuses(Some(other)), "{}: other type {name}", case.name);
            }
            let (shorter, poisoned) = match &state[name] {
                SectionData::F32(v) if !v.is_empty() => (
                    Some(SectionData::F32(v[1..].to_vec())),
                    Some(SectionData::F32(vec![f32::NAN; v.len()])),
                ),
                SectionData::F64(v) if !v.is_empty() => (
                    Some(SectionData::F64(v[1..].to_vec())),
                    Some(SectionData::F64(vec![f64::NAN; v.len()])),
                ),
                SectionData::U32(v) if !v.is_empty() => (
                    Some(SectionData::U32(v[1..].to_vec())),
                    Some(SectionData::U32(vec![u32::MAX; v.len()])),
                ),
                SectionData::U64(v) if name.ends_with("outputs") || name.ends_with("columns") => {
                    (None, Some(SectionData::U64(vec![u64::MAX; v.len()])))
                }
                _ => (None, None),
            };
            if let Some(shorter) = shorter {
                assert!(refuses(Some(shorter)), "{}: shorter {name}", case.name);
            }
            // Missing numbers are NaN by right; a clip may be anything.
            if let Some(poisoned) = poisoned
                && !name.ends_with("held/dense")
                && !name.ends_with("clips")
                && name != "held/index"
            {
                assert!(refuses(Some(poisoned)), "{}: poisoned {name}", case.name);
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_refused_and_changes_nothing() {
    for case in cases() {
        let mut learner = case.build();
        let mut s = Scratch::default();
        let stream = case.stream(6, 100);
        for r in &stream {
            feed(&mut *learner, &case, r, &mut s);
        }
        let before = saved(&*learner);
        let good = &stream[99];
        let mut bad = Vec::new();
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut r = good.clone();
            r.value[1] = x;
            bad.push(r);
        }
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            bad.push(Record {
                weight,
                ..good.clone()
            });
        }
        for x in [f64::INFINITY, f64::NEG_INFINITY] {
            let mut r = good.clone();
            r.dense[0] = x;
            bad.push(r);
        }
        let labels = match case.context.task {
            Task::Regression => vec![
                Label::Number(f64::NAN),
                Label::Number(f64::INFINITY),
                Label::Number(1e308),
                Label::Binary(true),
            ],
            Task::Binary => vec![Label::Number(1.0), Label::Class(0)],
            _ => vec![Label::Class(5), Label::Class(u32::MAX), Label::Binary(true)],
        };
        bad.extend(labels.into_iter().map(|y| Record { y, ..good.clone() }));
        for r in &bad {
            let columns = case.columns();
            learner.predict_one(r.row(&columns), &mut s);
            let update = learner.learn_one(r.row(&columns), r.y, r.weight, &mut s);
            assert_eq!(update, Update::NonFinite, "{}: {r:?}", case.name);
            assert!(same(&before, &saved(&*learner)), "{}: {r:?}", case.name);
        }
    }
}

#[test]
fn extreme_values_never_poison() {
    for case in cases() {
        let mut learner = case.build();
        let mut s = Scratch::default();
        let extremes = [
            1e308, -1e308, 1e154, 1e99, 1e30, 1e15, 1e-308, 5e-324, 0.0, -0.0,
        ];
        let mut stream = case.stream(7, 400);
        for (i, r) in stream.iter_mut().enumerate() {
            if i % 3 == 0 {
                r.dense[0] = extremes[i / 3 % extremes.len()];
                r.value[0] = extremes[(i / 3 + 1) % extremes.len()] as f32;
                if case.context.task == Task::Regression && i % 2 == 0 {
                    r.y = Label::Number(extremes[(i / 3 + 2) % extremes.len()]);
                }
                r.weight = [1.0, 1e-300, 1e14][i % 3];
            }
            feed(&mut *learner, &case, r, &mut s);
            if i % 50 == 49 {
                let state = saved(&*learner);
                case.build().load(&Reader::new(&state)).expect(&case.name);
            }
        }
    }
}

#[test]
fn a_weight_of_two_is_learning_twice() {
    for case in cases() {
        let adaptive = matches!(&case.config, LearnerConfig::Linear(c) if c.optimizer == Optimizer::NormalizedAdaptive);
        if !(adaptive && case.mode == UpdateMode::Online) {
            continue;
        }
        let (mut twice, mut double) = (case.build(), case.build());
        let mut s = Scratch::default();
        for r in &case.stream(8, 300) {
            let double_record = Record {
                weight: 2.0,
                ..r.clone()
            };
            let once = Record {
                weight: 1.0,
                ..r.clone()
            };
            feed(&mut *double, &case, &double_record, &mut s);
            feed(&mut *twice, &case, &once, &mut s);
            feed(&mut *twice, &case, &once, &mut s);
        }
        let (a, b) = (twice.report().weight_norm, double.report().weight_norm);
        assert!((a - b).abs() < 0.25 * a, "{}: {a} {b}", case.name);
    }
}

#[test]
fn a_batch_of_one_is_the_online_step() {
    for case in cases() {
        let exact = matches!(case.config, LearnerConfig::Race)
            || (case.context.task == Task::Multiclass && !case.name.contains("sgd"));
        if case.mode != UpdateMode::Online || !exact {
            continue;
        }
        let unscaled = Case {
            scale: Scale::None,
            name: case.name.clone(),
            config: case.config.clone(),
            mode: UpdateMode::Online,
            context: case.context.clone(),
        };
        let one = UpdateMode::Minibatch {
            records: 1,
            every_micros: 0,
        };
        let mut online = unscaled.build();
        let mut batch = build(&case.config, one, &case.context);
        let (mut s, mut t) = (Scratch::default(), Scratch::default());
        let mut stream = unscaled.stream(9, 300);
        // The first batch may use its own labels, so give both the same start.
        for r in &mut stream {
            r.index = vec![1, 2, 3];
        }
        for (i, r) in stream.iter().enumerate() {
            let (a, _) = feed(&mut *online, &unscaled, r, &mut s);
            let (b, _) = feed(&mut *batch, &unscaled, r, &mut t);
            if case.context.task != Task::Regression {
                assert!(
                    (a - b).abs() < 1e-3 * (1.0 + a),
                    "{} {i}: {a} {b}",
                    case.name
                );
            }
        }
        let (a, b) = (online.report(), batch.report());
        let gap = (a.weight_norm - b.weight_norm).abs();
        assert!(gap < 0.05 * a.weight_norm, "{}: {a:?} {b:?}", case.name);
    }
}

#[test]
fn held_rows_are_learned_when_their_time_is_up() {
    let context = LearnerContext {
        task: Task::Binary,
        hash_bits: BITS,
        max_classes: 2,
    };
    let mode = UpdateMode::Minibatch {
        records: 100,
        every_micros: 5_000_000,
    };
    let mut learner = build(&LearnerConfig::Race, mode, &context);
    let mut s = Scratch::default();
    let row = Row {
        base: 0.0,
        dense: &[],
        columns: &[],
        index: &[3],
        value: &[1.0],
    };
    let empty = learner.predict_one(row, &mut s);
    assert_eq!(learner.tick(Micros(1_000_000), &mut s), None);
    for _ in 0..3 {
        learner.predict_one(row, &mut s);
        learner.learn_one(row, Label::Binary(true), 1.0, &mut s);
    }
    assert_eq!(learner.held(), 3);
    assert_eq!(learner.tick(Micros(5_999_999), &mut s), None);
    assert_eq!(learner.predict_one(row, &mut s), empty);
    assert!(learner.tick(Micros(6_000_000), &mut s).is_some());
    assert_eq!(learner.held(), 0);
    assert!(learner.predict_one(row, &mut s).value > empty.value);
}
