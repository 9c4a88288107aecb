//! The learners beside independent ones: Vowpal Wabbit itself, and second implementations in Python
//! (`tests/reference`, whose scripts wrote the numbers read here).

use crate::base::{Column, Label, Row, Scale, Scratch, Task};

use super::{
    Learner, LearnerConfig, LearnerContext, LinearConfig, Link, Loss, Optimizer, UpdateMode, build,
};

fn learner(config: &LearnerConfig, task: Task) -> Box<dyn Learner> {
    let context = LearnerContext {
        task,
        hash_bits: 8,
        max_classes: 8,
    };
    build(config, UpdateMode::Online, &context)
}

fn adaptive(loss: Loss) -> LearnerConfig {
    LearnerConfig::Linear(LinearConfig {
        optimizer: Optimizer::NormalizedAdaptive,
        loss,
        link: Link::Identity,
        learning_rate: 0.5,
        power_t: 0.5,
        initial_t: 0.0,
        l2: 0.0,
        l1: 0.0,
        bias: true,
        label_range: None,
    })
}

/// The fields of each line.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(',').collect())
}

fn number(field: &str) -> f64 {
    field.parse().expect("a number")
}

fn sparse(fields: &[&str]) -> (Vec<u32>, Vec<f32>) {
    let pair = |f: &&str| {
        let (slot, value) = f.split_once(':').expect("slot:value");
        (slot.parse::<u32>().expect("a slot"), number(value) as f32)
    };
    fields.iter().map(pair).unzip()
}

fn close(got: f64, want: f64, tolerance: f64, place: &str) {
    let gap = (got - want).abs();
    assert!(
        gap <= tolerance * (1.0 + want.abs()),
        "{place}: {got} instead of {want}"
    );
}

#[test]
fn normalized_adaptive_predicts_what_vowpal_wabbit_predicts() {
    let LearnerConfig::Linear(squared) = adaptive(Loss::Squared) else {
        return;
    };
    let logistic = LinearConfig {
        loss: Loss::Logistic,
        ..squared.clone()
    };
    let penalized = LinearConfig {
        l1: 1e-3,
        l2: 1e-3,
        bias: false,
        ..logistic.clone()
    };
    let power = LinearConfig {
        power_t: 0.4,
        learning_rate: 0.3,
        initial_t: 1.0,
        ..squared.clone()
    };
    for (config, task, text) in [
        (
            squared,
            Task::Regression,
            include_str!("../../tests/reference/normalized_adaptive_squared.csv"),
        ),
        (
            logistic,
            Task::Binary,
            include_str!("../../tests/reference/normalized_adaptive_logistic.csv"),
        ),
        (
            penalized,
            Task::Binary,
            include_str!("../../tests/reference/normalized_adaptive_penalized.csv"),
        ),
        (
            power,
            Task::Regression,
            include_str!("../../tests/reference/normalized_adaptive_power.csv"),
        ),
    ] {
        let name = format!("{config:?}");
        let mut learner = learner(&LearnerConfig::Linear(config), task);
        let mut s = Scratch::default();
        for (i, f) in lines(text).enumerate() {
            let (index, value) = sparse(&f[3..]);
            let x = Row {
                base: 0.0,
                dense: &[],
                columns: &[],
                index: &index,
                value: &value,
            };
            let y = match task {
                Task::Binary => Label::Binary(f[0] == "1"),
                _ => Label::Number(number(f[0])),
            };
            let p = learner.predict_one(x, &mut s);
            let p = learner.labelled(p, y, &s);
            close(
                p.value,
                number(f[2]),
                1e-4,
                &format!("{name} line {}", i + 1),
            );
            learner.learn_one(x, y, number(f[1]), &mut s);
        }
    }
}

#[test]
fn the_race_predicts_what_its_second_implementation_predicts() {
    for (task, tolerance, text) in [
        (
            Task::Binary,
            1e-9,
            include_str!("../../tests/reference/race_binary.csv"),
        ),
        (
            Task::Regression,
            1e-9,
            include_str!("../../tests/reference/race_regression.csv"),
        ),
    ] {
        let mut learner = learner(&LearnerConfig::Race, task);
        let mut s = Scratch::default();
        for (i, f) in lines(text).enumerate() {
            let dense: Vec<f64> = f[2..].iter().map(|x| number(x)).collect();
            let column = Column {
                scale: Scale::Standard,
                clip: f64::INFINITY,
            };
            let x = Row {
                base: 0.0,
                dense: &dense,
                columns: &vec![column; dense.len()],
                index: &[],
                value: &[],
            };
            let y = match task {
                Task::Binary => Label::Binary(number(f[0]) > 0.0),
                _ => Label::Number(number(f[0])),
            };
            let p = learner.predict_one(x, &mut s);
            close(
                p.value,
                number(f[1]),
                tolerance,
                &format!("{task:?} line {}", i + 1),
            );
            learner.learn_one(x, y, 1.0, &mut s);
        }
    }
}

#[test]
fn softmax_predicts_what_its_second_implementation_predicts() {
    let mut learner = learner(&adaptive(Loss::Softmax), Task::Multiclass);
    let mut s = Scratch::default();
    let text = include_str!("../../tests/reference/softmax.csv");
    for (i, f) in lines(text).enumerate() {
        let (index, value) = sparse(&f[4..]);
        let x = Row {
            base: 0.0,
            dense: &[],
            columns: &[],
            index: &index,
            value: &value,
        };
        learner.predict_one(x, &mut s);
        for (p, want) in s.probabilities.iter().zip(&f[1..4]) {
            close(*p, number(want), 1e-4, &format!("line {}", i + 1));
        }
        let y = Label::Class(f[0].parse().expect("a class"));
        learner.learn_one(x, y, 1.0, &mut s);
    }
}
