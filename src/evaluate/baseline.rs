//! What somebody would lose who never looks at the features: who always says what was so far (the
//! mean, the rates of the classes), or what was last.
//!
//! Invariant: a baseline knows only the records before the one it is judged on.

use crate::base::{Label, Reader, StateError, Writer};
use crate::math;

/// The baselines' memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Baseline {
    weight: f64,
    mean: f64,
    last: Option<f64>,
    /// Weight of each class (binary: no, yes).
    classes: Vec<f64>,
    major: usize,
    /// Weight of records that were as the last one, and that had one before.
    same: f64,
    pairs: f64,
}

/// How the two baselines fared on a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fared {
    pub(super) constant_loss: f64,
    pub(super) last_loss: f64,
    pub(super) constant_right: bool,
    pub(super) last_right: bool,
}

impl Baseline {
    /// Judges the baselines on a label, then takes it in.
    pub(super) fn observe(&mut self, y: Label, weight: f64) -> Fared {
        match y {
            Label::Number(y) => self.number(y, weight),
            Label::Binary(y) => self.class(usize::from(y), 2, weight),
            Label::Class(c) => self.class(c as usize, 0, weight),
        }
    }

    fn number(&mut self, y: f64, weight: f64) -> Fared {
        let last = self.last.unwrap_or(0.0);
        let fared = Fared {
            constant_loss: (y - self.mean) * (y - self.mean),
            last_loss: (y - last) * (y - last),
            ..Fared::default()
        };
        self.weight += weight;
        self.mean += (y - self.mean) * weight / self.weight;
        self.last = Some(y);
        fared
    }

    /// Log losses, smoothed after Laplace. Of `fixed` classes, or (0) of those seen so far and one
    /// more.
    fn class(&mut self, class: usize, fixed: usize, weight: f64) -> Fared {
        let kinds = if fixed > 0 {
            fixed
        } else {
            self.classes.len() + 1
        };
        let seen = self.classes.get(class).copied().unwrap_or(0.0);
        let share = (seen + 1.0) / (self.weight + kinds as f64);
        let last = self.last.map(|last| last as usize);
        let persists = (self.same + 1.0) / (self.pairs + 2.0);
        let same = last == Some(class);
        let likely = match last {
            None => 1.0 / kinds as f64,
            Some(_) if same => persists,
            Some(_) => (1.0 - persists) / (kinds - 1) as f64,
        };
        let fared = Fared {
            constant_loss: -math::ln(share),
            last_loss: -math::ln(likely),
            constant_right: !self.classes.is_empty() && self.major == class,
            last_right: same,
        };
        if class >= self.classes.len() {
            self.classes.resize(class + 1, 0.0);
        }
        self.classes[class] += weight;
        if self.classes[class] > self.classes[self.major] {
            self.major = class;
        }
        self.weight += weight;
        if last.is_some() {
            self.pairs += weight;
            self.same += if same { weight } else { 0.0 };
        }
        self.last = Some(class as f64);
        fared
    }

    pub(super) fn save(&self, out: &mut Writer) {
        out.nested("baseline", |w| {
            let known = f64::from(u8::from(self.last.is_some()));
            let last = self.last.unwrap_or(0.0);
            let numbers = [self.weight, self.mean, self.same, self.pairs, known, last];
            w.f64s("numbers", &numbers);
            w.f64s("classes", &self.classes);
            w.u64("major", self.major as u64);
        });
    }

    pub(super) fn load(&mut self, max_classes: usize, from: &Reader<'_>) -> Result<(), StateError> {
        from.nested("baseline", |r| {
            let v = r.f64s_of("numbers", 6)?;
            let classes = r.f64s("classes")?;
            let major = r.u64("major")? as usize;
            if v.iter().chain(classes).any(|x| !x.is_finite()) || v[0] < 0.0 {
                return Err(r.invalid("numbers", "not finite"));
            }
            if classes.len() > max_classes || (major >= classes.len() && major > 0) {
                return Err(r.invalid("classes", "do not fit together"));
            }
            *self = Baseline {
                weight: v[0],
                mean: v[1],
                same: v[2],
                pairs: v[3],
                last: (v[4] != 0.0).then_some(v[5]),
                classes: classes.to_vec(),
                major,
            };
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_before() {
        let mut b = Baseline::default();
        assert_eq!(b.observe(Label::Number(4.0), 1.0).constant_loss, 16.0);
        assert_eq!(b.observe(Label::Number(6.0), 1.0).constant_loss, 4.0);
        let fared = b.observe(Label::Number(8.0), 1.0);
        assert_eq!((fared.constant_loss, fared.last_loss), (9.0, 4.0));
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let mut b = Baseline::default();
        for i in 0..50u32 {
            let mut sums = (0.0, 0.0);
            // Every class seen and one not seen.
            for c in 0..=b.classes.len() as u32 {
                let fared = b.clone().observe(Label::Class(c), 1.0);
                sums.0 += math::exp(-fared.constant_loss);
                sums.1 += math::exp(-fared.last_loss);
            }
            assert!((sums.0 - 1.0).abs() < 1e-12 && (sums.1 - 1.0).abs() < 1e-12);
            b.observe(Label::Class((i / 3) % 4), 1.0);
        }
        let mut b = Baseline::default();
        for i in 0..50 {
            let yes = b.clone().observe(Label::Binary(true), 1.0);
            let no = b.clone().observe(Label::Binary(false), 1.0);
            let sum = math::exp(-yes.last_loss) + math::exp(-no.last_loss);
            assert!((sum - 1.0).abs() < 1e-12);
            b.observe(Label::Binary(i % 5 == 0), 1.0);
        }
    }
}
