//! Rows of many columns of which most are missing take a way of their own through scaler and
//! learner. What comes out must not show it.

use crate::base::{Column, Label, Row, Scale, Scratch, Task, Writer};
use crate::math::Random;

use super::{
    LearnerConfig, LearnerContext, LinearConfig, Link, Loss, Optimizer, UpdateMode, build,
};

/// Columns that occur.
const USED: usize = 9;
/// Columns that a wide row has; those beyond `USED` are always missing.
const WIDTH: usize = 40;

/// Everything that a learner said (of whole batches of three) and, at the end, its state, over rows so wide.
fn course(config: &LearnerConfig, task: Task, update: UpdateMode, width: usize) -> String {
    let context = LearnerContext {
        task,
        hash_bits: 4,
        max_classes: 2,
    };
    let mut learner = build(config, update, &context);
    let mut s = Scratch::default();
    let mut random = Random::new(7);
    let scales = [Scale::Standard, Scale::MinMax, Scale::MaxAbs, Scale::None];
    let columns: Vec<Column> = (0..width)
        .map(|j| Column {
            scale: scales[j % 4],
            clip: if j % 5 == 4 { 1.5 } else { f64::INFINITY },
        })
        .collect();
    let mut out = String::new();
    for i in 0..399 {
        let mut dense = vec![f64::NAN; width];
        let mut sum = 0.0;
        for x in &mut dense[..USED] {
            if random.below(3) > 0 {
                *x = random.normal() * if i % 97 == 96 { 1e9 } else { 1.0 };
                sum += *x;
            }
        }
        let index = [random.below(16) as u32, random.below(16) as u32];
        let x = Row {
            dense: &dense,
            columns: &columns,
            index: &index,
            value: &[1.0, -0.5],
            base: 0.0,
        };
        let y = match task {
            Task::Binary => Label::Binary(sum > 0.0),
            _ => Label::Number(sum.clamp(-9.0, 9.0)),
        };
        let p = learner.predict_one(x, &mut s);
        let loss = learner.loss(&p, y, &s);
        let update = learner.learn_one(x, y, 1.0, &mut s);
        out.push_str(&format!("{p:?} {loss:?} {update:?}\n"));
    }
    let mut w = Writer::new();
    learner.save(&mut w);
    for section in w.into_sections() {
        // The wide one also knows of the columns that never came, which are all alike.
        if !section.name.starts_with("scaler") && section.name != "dense" {
            out.push_str(&format!("{} {:?}\n", section.name, section.data));
        }
    }
    out
}

fn adaptive(loss: Loss, link: Link, l2: f64) -> LearnerConfig {
    LearnerConfig::Linear(LinearConfig {
        optimizer: Optimizer::NormalizedAdaptive,
        loss,
        link,
        learning_rate: 0.5,
        power_t: 0.5,
        initial_t: 0.0,
        l2,
        l1: 0.0,
        bias: true,
        label_range: None,
    })
}

#[test]
fn columns_that_never_come_change_no_bit() {
    let batches = UpdateMode::Minibatch {
        records: 3,
        every_micros: 0,
    };
    for update in [UpdateMode::Online, batches] {
        for (task, config) in [
            (
                Task::Regression,
                adaptive(Loss::Squared, Link::Identity, 0.0),
            ),
            (Task::Binary, adaptive(Loss::Logistic, Link::Logistic, 1e-3)),
            (Task::Regression, LearnerConfig::Race),
            (Task::Binary, LearnerConfig::Race),
        ] {
            let narrow = course(&config, task, update, USED);
            let wide = course(&config, task, update, WIDTH);
            let differ = narrow.lines().zip(wide.lines()).find(|(a, b)| a != b);
            assert!(
                differ.is_none(),
                "{task:?} {update:?} {config:?}: {differ:?}"
            );
        }
    }
}
