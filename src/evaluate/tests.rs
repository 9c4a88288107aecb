//! The figures beside scikit-learn's (`tests/reference/evaluation.py` wrote them), what windows
//! forget, and that state comes back whole.

use std::collections::BTreeMap;

use crate::base::{Label, Prediction, Reader, SectionData, Task, Writer};
use crate::math::{self, Random};

use super::{Progressive, Ranking, Window};

const REFERENCE: &str = include_str!("../../tests/reference/evaluation.csv");

fn figures() -> BTreeMap<&'static str, f64> {
    REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("figure,")?.split_once(','))
        .map(|(name, value)| (name, value.parse().expect("a number")))
        .collect()
}

fn records() -> Vec<Vec<f64>> {
    let fields = |line: &str| {
        line.split(',')
            .map(|f| f.parse().expect("a number"))
            .collect()
    };
    REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("record,"))
        .map(fields)
        .collect()
}

fn close(got: Option<f64>, want: f64, tolerance: f64) {
    let got = got.expect("a figure");
    assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
}

fn saved(p: &Progressive) -> BTreeMap<String, SectionData> {
    let mut w = Writer::new();
    p.save(&mut w);
    w.into_sections()
        .into_iter()
        .map(|s| (s.name, s.data))
        .collect()
}

#[test]
fn agrees_with_scikit_learn() {
    let want = figures();
    let mut binary = Progressive::new(Task::Binary);
    let mut classes = Progressive::new(Task::Multiclass);
    let mut quantity = Progressive::new(Task::Regression);
    let mut ranking = Ranking::new();
    for r in records() {
        let (y, p, w) = (r[0] > 0.0, r[1], r[6]);
        let say = |value, class| Prediction { value, class };
        let loss = -math::ln(if y { p } else { 1.0 - p });
        binary.observe(&say(p, 0), Label::Binary(y), w, loss);
        classes.observe(&say(0.5, r[3] as u32), Label::Class(r[2] as u32), w, 0.0);
        let loss = (r[4] - r[5]) * (r[4] - r[5]);
        quantity.observe(&say(r[5], 0), Label::Number(r[4]), w, loss);
        ranking.observe(p, y, p > 0.7);
    }
    let s = binary.summary(Window::All);
    close(s.accuracy, want["accuracy"], 1e-12);
    close(s.auc, want["auc"], 5e-3);
    close(s.f1, want["f1"], 1e-12);
    close(s.loss, want["log_loss"], 1e-12);
    let s = classes.summary(Window::All);
    close(s.macro_f1, want["macro_f1"], 1e-12);
    close(s.accuracy, want["class_accuracy"], 1e-12);
    let s = quantity.summary(Window::All);
    close(s.mae, want["mae"], 1e-9);
    close(s.rmse, want["rmse"], 1e-9);
    close(s.r2, want["r2"], 1e-9);
    let s = ranking.summary();
    close(s.auc, want["unweighted_auc"], 2e-3);
    close(s.average_precision, want["average_precision"], 5e-3);
    close(s.precision, want["precision"], 1e-12);
    close(s.recall, want["recall"], 1e-12);
}

#[test]
fn short_windows_forget_and_the_longest_does_not() {
    let mut p = Progressive::new(Task::Binary);
    let say = |value| Prediction { value, class: 0 };
    for i in 0..4000 {
        let right = i >= 3000;
        let y = i % 2 == 0;
        p.observe(
            &say(if y == right { 0.9 } else { 0.1 }),
            Label::Binary(y),
            1.0,
            1.0,
        );
    }
    assert!(p.summary(Window::Last100).accuracy.expect("observed") > 0.999);
    close(p.summary(Window::All).accuracy, 0.25, 1e-12);
    assert!(p.summary(Window::Last100).auc.expect("observed") > 0.999);
    assert_eq!(
        (p.count(), p.loss_sum(), p.loss_weight()),
        (4000, 4000.0, 4000.0)
    );
}

#[test]
fn nothing_observed_has_no_figures_and_what_is_not_finite_spoils_none() {
    for task in [Task::Regression, Task::Binary, Task::Multiclass] {
        let mut p = Progressive::new(task);
        assert_eq!(p.summary(Window::All), super::Summary::default());
        let y = match task {
            Task::Regression => Label::Number(1.0),
            Task::Binary => Label::Binary(true),
            _ => Label::Class(0),
        };
        let fine = Prediction {
            value: 0.5,
            class: 0,
        };
        p.observe(&fine, y, 1.0, 0.7);
        let before = p.summary(Window::All);
        p.observe(&fine, y, 1.0, f64::INFINITY);
        p.observe(&fine, y, f64::NAN, 1.0);
        let value = f64::NAN;
        p.observe(&Prediction { value, class: 0 }, y, 1.0, 1.0);
        p.observe(&fine, Label::Number(1e308), 1.0, 1.0);
        p.observe(&fine, Label::Class(u32::MAX), 1.0, 1.0);
        assert_eq!(p.summary(Window::All), before);
        assert_eq!(p.count(), 6);
    }
}

#[test]
fn raw_scores_are_yes_above_zero() {
    let mut p = Progressive::of_raw_scores(Task::Binary);
    for (value, y) in [(0.2, true), (-0.2, false), (3.0, true), (-50.0, false)] {
        p.observe(&Prediction { value, class: 0 }, Label::Binary(y), 1.0, 0.1);
    }
    let s = p.summary(Window::All);
    assert_eq!((s.accuracy, s.auc, s.f1), (Some(1.0), Some(1.0), Some(1.0)));
}

#[test]
fn state_comes_back_whole_and_damage_is_an_error() {
    for task in [Task::Regression, Task::Binary, Task::Multiclass] {
        let mut random = Random::new(1);
        let mut p = Progressive::new(task);
        let mut feed = |p: &mut Progressive| {
            let value = random.uniform();
            let class = random.below(3) as u32;
            let y = match task {
                Task::Regression => Label::Number(random.normal()),
                Task::Binary => Label::Binary(random.below(2) == 0),
                _ => Label::Class(random.below(4) as u32),
            };
            p.observe(&Prediction { value, class }, y, 1.0 + value, value);
        };
        for _ in 0..500 {
            feed(&mut p);
        }
        let state = saved(&p);
        let mut back = Progressive::new(task);
        back.load(&Reader::new(&state)).expect("good state");
        assert_eq!(saved(&back), state);
        for window in Window::ALL {
            assert_eq!(back.summary(window), p.summary(window));
        }
        for name in state.keys() {
            let mut damaged = state.clone();
            damaged.remove(name);
            let result = Progressive::new(task).load(&Reader::new(&damaged));
            assert!(result.is_err(), "without {name}");
            let SectionData::F64(values) = &state[name] else {
                continue;
            };
            let poison = SectionData::F64(vec![f64::NAN; values.len()]);
            damaged.insert(name.clone(), poison);
            let result = Progressive::new(task).load(&Reader::new(&damaged));
            assert!(result.is_err() || values.is_empty(), "poisoned {name}");
        }
    }
    let mut ranking = Ranking::new();
    ranking.observe(0.9, true, true);
    ranking.observe(f64::NAN, false, false);
    let mut w = Writer::new();
    ranking.save(&mut w);
    let state = w
        .into_sections()
        .into_iter()
        .map(|s| (s.name, s.data))
        .collect();
    let mut back = Ranking::new();
    back.load(&Reader::new(&state)).expect("good state");
    assert_eq!(back, ranking);
}

#[test]
fn average_precision_tells_scores_apart_that_lie_close_together() {
    let mut ranking = Ranking::new();
    // Scores 0.50, 0.502, ...: every fifth of the upper half is an anomaly.
    let (mut exact, mut hits) = (0.0, 0.0);
    for i in (0..100).rev() {
        let positive = i >= 50 && i % 5 == 0;
        ranking.observe(0.5 + 0.002 * f64::from(i), positive, false);
        if positive {
            hits += 1.0;
            exact += hits / f64::from(100 - i);
        }
    }
    let found = ranking.summary().average_precision.unwrap();
    assert!((found - exact / hits).abs() < 1e-9, "{found}");
    ranking.observe(1.0, true, true);
    assert!(ranking.summary().average_precision.unwrap() > found);
}
