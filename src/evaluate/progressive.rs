//! Loss and the task's own figures over several windows, and beside them what baselines that see no
//! features would have had.
//!
//! A window of W records is a fading mean: each record weighs 1 − 1/W times as much as the one after
//! it (Gama, Sebastião & Rodrigues 2013), which needs no memory of the records.
//!
//! Invariant: only finite numbers are taken in, so every figure is finite.

use crate::base::{Label, Prediction, Reader, StateError, Task, Writer};
use crate::math;

use super::auc::Histogram;
use super::baseline::Baseline;
use super::confusion::{Confusion, MAX_CLASSES};

/// How far back a figure looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// About 100 records.
    Last100,
    /// About 1,000.
    Last1000,
    /// About 10,000.
    Last10000,
    /// Everything.
    All,
}

impl Window {
    /// Every window, from the shortest.
    pub const ALL: [Window; 4] = [
        Window::Last100,
        Window::Last1000,
        Window::Last10000,
        Window::All,
    ];

    /// The label value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Window::Last100 => "100",
            Window::Last1000 => "1000",
            Window::Last10000 => "10000",
            Window::All => "all",
        }
    }

    fn alpha(self) -> f64 {
        match self {
            Window::Last100 => 1.0 - 1e-2,
            Window::Last1000 => 1.0 - 1e-3,
            Window::Last10000 => 1.0 - 1e-4,
            Window::All => 1.0,
        }
    }
}

/// The figures of one window; `None` where the task has no such figure, or nothing to take it from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Mean loss, weighted, in the learner's own loss function.
    pub loss: Option<f64>,
    /// Of always saying the mean label, or the classes' rates, so far.
    pub baseline_constant_loss: Option<f64>,
    /// Of always saying what was last.
    pub baseline_last_loss: Option<f64>,
    /// Part of the records whose class was said (binary: at one half).
    pub accuracy: Option<f64>,
    /// Of always saying the most frequent class so far.
    pub baseline_constant_accuracy: Option<f64>,
    /// Of always saying the last class.
    pub baseline_last_accuracy: Option<f64>,
    /// Area under the ROC curve (binary), to within about half a percent.
    pub auc: Option<f64>,
    /// F1 of "yes" (binary).
    pub f1: Option<f64>,
    /// Mean F1 of the classes (multiclass).
    pub macro_f1: Option<f64>,
    /// Mean absolute error (regression).
    pub mae: Option<f64>,
    /// Root of the mean squared error (regression).
    pub rmse: Option<f64>,
    /// 1 − squared error over squared deviation from the window's mean (regression).
    pub r2: Option<f64>,
}

/// The sums that every window keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums([f64; SUMS]);

const SUMS: usize = 14;
const WEIGHT: usize = 0;
const LOSS: usize = 1;
const CONSTANT: usize = 2;
const LAST: usize = 3;
const RIGHT: usize = 4;
const CONSTANT_RIGHT: usize = 5;
const LAST_RIGHT: usize = 6;
const HITS: usize = 7;
const FALSE_ALARMS: usize = 8;
const MISSES: usize = 9;
const ABSOLUTE: usize = 10;
const SQUARED: usize = 11;
const LABEL: usize = 12;
const LABEL_SQUARED: usize = 13;

/// Lets the `N` sums from `FROM` on fade, and adds to them.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "it becomes vector instructions where it is called"
)]
fn fade<const FROM: usize, const N: usize>(
    sums: &mut Sums,
    v: &[f64; SUMS],
    alpha: f64,
    weight: f64,
) {
    let mut faded = [0.0; N];
    for i in 0..N {
        faded[i] = alpha * sums.0[FROM + i] + weight * v[FROM + i];
    }
    // One by one, which becomes the same vector instructions; a copy of a slice can become a call.
    for (i, sum) in faded.into_iter().enumerate() {
        sums.0[FROM + i] = sum;
    }
}

/// Bins of the scores for the area under the ROC curve.
const BINS: usize = 512;
/// Log odds at which a quarter of the bins lies beyond.
const HALF: f64 = 4.0;

/// The quality of one model so far.
#[derive(Clone, Debug)]
pub struct Progressive {
    task: Task,
    raw: bool,
    count: u64,
    baseline: Baseline,
    sums: [Sums; 4],
    /// Binary only.
    scores: Vec<Histogram>,
    /// Multiclass only.
    classes: Vec<Confusion>,
    /// The first label, taken off the others so that their squares keep their digits.
    origin: Option<f64>,
}

impl Progressive {
    /// Nothing observed yet. Binary predictions are probabilities.
    pub fn new(task: Task) -> Self {
        let alphas = Window::ALL.map(Window::alpha);
        let scores = if task == Task::Binary {
            alphas.map(|a| Histogram::new(BINS, a)).to_vec()
        } else {
            Vec::new()
        };
        let classes = if task == Task::Multiclass {
            alphas.map(Confusion::new).to_vec()
        } else {
            Vec::new()
        };
        Progressive {
            task,
            raw: false,
            count: 0,
            baseline: Baseline::default(),
            sums: [Sums::default(); 4],
            scores,
            classes,
            origin: None,
        }
    }

    /// As [`Progressive::new`], for binary predictions that are raw scores: above 0 is "yes".
    pub fn of_raw_scores(task: Task) -> Self {
        Progressive {
            raw: true,
            ..Progressive::new(task)
        }
    }

    /// Takes in what was said of a record before it was learned, the truth, its weight (above 0) and
    /// the loss. A record whose prediction, loss, weight or label is not finite (or whose class is
    /// beyond 1,024) counts, but has no part in the figures.
    pub fn observe(&mut self, prediction: &Prediction, y: Label, weight: f64, loss: f64) {
        self.count += 1;
        if matches!(y, Label::Class(c) if c as usize >= MAX_CLASSES) {
            return;
        }
        let number = match y {
            Label::Number(y) => y,
            Label::Binary(_) | Label::Class(_) => 0.0,
        };
        let error = prediction.value - number;
        if !(weight.is_finite() && loss.is_finite() && (error * error).is_finite()) {
            return;
        }
        let fared = self.baseline.observe(y, weight);
        let mut v = [0.0; SUMS];
        v[WEIGHT] = 1.0;
        v[LOSS] = loss;
        v[CONSTANT] = fared.constant_loss;
        v[LAST] = fared.last_loss;
        v[CONSTANT_RIGHT] = f64::from(u8::from(fared.constant_right));
        v[LAST_RIGHT] = f64::from(u8::from(fared.last_right));
        match y {
            Label::Number(y) => {
                let label = y - *self.origin.get_or_insert(y);
                v[ABSOLUTE] = error.abs();
                v[SQUARED] = error * error;
                v[LABEL] = label;
                v[LABEL_SQUARED] = label * label;
            }
            Label::Binary(y) => {
                let yes = prediction.value > if self.raw { 0.0 } else { 0.5 };
                v[RIGHT] = f64::from(u8::from(yes == y));
                v[HITS] = f64::from(u8::from(yes && y));
                v[FALSE_ALARMS] = f64::from(u8::from(yes && !y));
                v[MISSES] = f64::from(u8::from(!yes && y));
                let bin = self.bin(prediction.value);
                for scores in &mut self.scores {
                    scores.add(bin, y, weight);
                }
            }
            Label::Class(class) => {
                v[RIGHT] = f64::from(u8::from(prediction.class == class));
                for classes in &mut self.classes {
                    classes.add(prediction.class as usize, class as usize, weight);
                }
            }
        }
        for (sums, window) in self.sums.iter_mut().zip(Window::ALL) {
            let alpha = window.alpha();
            fade::<0, RIGHT>(sums, &v, alpha, weight);
            // The sums of the other kind of label stay 0.
            if let Label::Number(_) = y {
                fade::<ABSOLUTE, { SUMS - ABSOLUTE }>(sums, &v, alpha, weight);
            } else {
                fade::<RIGHT, { ABSOLUTE - RIGHT }>(sums, &v, alpha, weight);
            }
        }
    }

    /// The bin of a score: fine around even odds, coarse where all but certain.
    fn bin(&self, score: f64) -> usize {
        let odds = if self.raw {
            score
        } else {
            let p = score.clamp(1e-15, 1.0 - 1e-15);
            math::ln(p / (1.0 - p))
        };
        let place = odds / (HALF + odds.abs());
        let half = (BINS / 2) as f64;
        (((place + 1.0) * half) as usize).min(BINS - 1)
    }

    /// The figures of a window.
    pub fn summary(&self, window: Window) -> Summary {
        let at = window as usize;
        let s = &self.sums[at].0;
        if s[WEIGHT] <= 0.0 {
            return Summary::default();
        }
        let mean = |i: usize| Some(s[i] / s[WEIGHT]);
        let (labels, quantity) = (
            matches!(self.task, Task::Binary | Task::Multiclass),
            self.task == Task::Regression,
        );
        let of_labels = |i: usize| mean(i).filter(|_| labels);
        let of_quantity = |i: usize| mean(i).filter(|_| quantity);
        let doubled = 2.0 * s[HITS];
        let relevant = doubled + s[FALSE_ALARMS] + s[MISSES];
        let deviation = s[LABEL_SQUARED] - s[LABEL] * s[LABEL] / s[WEIGHT];
        Summary {
            loss: mean(LOSS),
            baseline_constant_loss: mean(CONSTANT),
            baseline_last_loss: mean(LAST),
            accuracy: of_labels(RIGHT),
            baseline_constant_accuracy: of_labels(CONSTANT_RIGHT),
            baseline_last_accuracy: of_labels(LAST_RIGHT),
            auc: self.scores.get(at).and_then(Histogram::auc),
            f1: (self.task == Task::Binary && relevant > 0.0).then(|| doubled / relevant),
            macro_f1: self.classes.get(at).and_then(Confusion::macro_f1),
            mae: of_quantity(ABSOLUTE),
            rmse: of_quantity(SQUARED).map(f64::sqrt),
            r2: (quantity && deviation > 0.0).then(|| 1.0 - s[SQUARED] / deviation),
        }
    }

    /// Records observed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Σ weight · loss over all records.
    pub fn loss_sum(&self) -> f64 {
        self.sums[Window::All as usize].0[LOSS]
    }

    /// Σ weight over all records.
    pub fn loss_weight(&self) -> f64 {
        self.sums[Window::All as usize].0[WEIGHT]
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        out.u64("count", self.count);
        let sums: Vec<f64> = self.sums.iter().flat_map(|s| s.0).collect();
        out.f64s("sums", &sums);
        let origin: Vec<f64> = self.origin.into_iter().collect();
        out.f64s("origin", &origin);
        self.baseline.save(out);
        for (scores, window) in self.scores.iter().zip(Window::ALL) {
            scores.save(&format!("scores_{}", window.as_str()), out);
        }
        for (classes, window) in self.classes.iter().zip(Window::ALL) {
            classes.save(&format!("classes_{}", window.as_str()), out);
        }
    }

    /// Reads it back.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        self.count = from.count("count")?;
        let sums = from.f64s_of("sums", 4 * SUMS)?;
        let origin = from.f64s("origin")?;
        if sums.iter().chain(origin).any(|x| !x.is_finite()) || origin.len() > 1 {
            return Err(from.invalid("sums", "not finite"));
        }
        for (sums, from) in self.sums.iter_mut().zip(sums.as_chunks::<SUMS>().0) {
            sums.0 = *from;
        }
        self.origin = origin.first().copied();
        self.baseline.load(MAX_CLASSES, from)?;
        for (scores, window) in self.scores.iter_mut().zip(Window::ALL) {
            scores.load(&format!("scores_{}", window.as_str()), from)?;
        }
        for (classes, window) in self.classes.iter_mut().zip(Window::ALL) {
            classes.load(&format!("classes_{}", window.as_str()), from)?;
        }
        Ok(())
    }
}
