//! p-values: what share of ordinary records would be as strange as this one?
//!
//! Invariant: a p-value is a rank among earlier scores (conformal: Vovk, Gammerman & Shafer 2005,
//! with every tie counted against the record); what lies below the reach of ranks comes from a
//! tail fitted to the largest of them (generalized Pareto, as in SPOT: Siffer et al., KDD 2017),
//! and never claims more than 30 peaks can carry.
//!
//! Gated scores are kept apart as well, the last 64 that the ration let in, of consecutive ones the
//! first: what keeps coming back, ten times and more, is as frequent as it is, however far out. That
//! outlives a change of the stream: a tenth change is no more news than a tenth spike.
//!
//! Scores are kept as counts on a logarithmic scale. There a power-law tail is an exponential one,
//! so that one fit with a shape near 0 serves heavy tails, and errs on the safe side for light ones.

use crate::base::{Reader, StateError, Writer};
use crate::math::{exp, ln, ln_1p, pow};

/// Counts per e-fold of the score.
const PER_FOLD: f64 = 48.0;
/// Logarithm of the smallest score told apart (1/20).
const LOWEST: f64 = -3.0;
/// Counts in a block, whose sums make ranks quick.
const BLOCK: usize = 32;
/// Blocks; together they reach to e^15.
const BLOCKS: usize = 27;
const BINS: usize = BLOCK * BLOCKS;
/// One record in the counts, so that halving them keeps single ones for a while.
const UNIT: u64 = 256;
/// At twice this many records all counts are halved: older ones fade.
const MEMORY: u64 = 1 << 19;
/// No tail is fitted before so many records, nor on fewer peaks than `FEW`.
const FIT_FROM: u64 = 256;
const FEW: u64 = 32;
/// The most peaks, and their share of the records.
const MANY: u64 = 1024;
const PEAKS: f64 = 0.02;
/// The largest peaks, whose size is not believed.
const CENSORED_PEAKS: u64 = 2;
/// Peaks that the assumption of a power law is worth.
const SHAPE_PRIOR: f64 = 200.0;
/// Ranks count down to here; beyond it, the tail does.
const RANKED: u64 = 10;
/// Gated scores enter at no more than this share of the records (in thousandths) ...
const RATION: u32 = 2;
/// ... saved up to this many.
const SAVED: u32 = 4;
/// ... and count as no stranger than this p-value.
const CENSORED: f64 = 1e-5;
/// So many gated scores are remembered as they were.
const REMEMBERED: usize = 64;
/// Scores beyond a hundred (their logarithm) are alike: what comes now and then in a column that else
/// stands still is each time stranger than the last, for all the quiet between.
const BEYOND: f64 = 4.605;
/// The least p-value: beyond it the fit says nothing more.
const LEAST: f64 = 1e-18;

/// A generalized Pareto tail above `start`, on the logarithm of the score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tail {
    start: f64,
    /// The share of records above `start`.
    mass: f64,
    scale: f64,
    shape: f64,
}

impl Tail {
    fn p_value(&self, x: f64) -> f64 {
        let y = (x - self.start) / self.scale;
        if y <= 0.0 {
            return self.mass;
        }
        let survival = if self.shape.abs() < 1e-9 {
            exp(-y)
        } else {
            let base = self.shape * y;
            if base <= -1.0 {
                0.0
            } else {
                exp(-ln_1p(base) / self.shape)
            }
        };
        self.mass * survival
    }

    /// The score (its logarithm) with this p-value.
    fn quantile(&self, p: f64) -> f64 {
        let ratio = p / self.mass;
        if ratio >= 1.0 {
            self.start
        } else if self.shape.abs() < 1e-9 {
            self.start - self.scale * ln(ratio)
        } else {
            self.start + self.scale / self.shape * (pow(ratio, -self.shape) - 1.0)
        }
    }
}

/// The scores of normal records so far, faded over about a million.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    bins: Vec<u32>,
    blocks: Vec<u64>,
    total: u64,
    since_fit: u64,
    ration: u32,
    /// Fitted to many peaks, and to few: the larger p-value counts, for a second mode far out may
    /// hold less than the many.
    tails: Option<[Tail; 2]>,
    /// All scores ever offered, and the last gated ones (logarithms) with this number at the time.
    offered: u64,
    gated: Vec<f64>,
    gated_at: Vec<u64>,
    /// The last score was gated: one that follows it is of the same episode.
    episode: bool,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration::new()
    }
}

fn bin(x: f64) -> usize {
    // `as` saturates: below the lowest is bin 0.
    (((x - LOWEST) * PER_FOLD) as usize).min(BINS - 1)
}

fn edge(bin: usize) -> f64 {
    LOWEST + bin as f64 / PER_FOLD
}

impl Calibration {
    /// Without any scores: every p-value is 1.
    pub fn new() -> Calibration {
        Calibration {
            bins: Vec::new(),
            blocks: Vec::new(),
            total: 0,
            since_fit: 0,
            ration: SAVED * 1000,
            tails: None,
            offered: 0,
            gated: Vec::new(),
            gated_at: Vec::new(),
            episode: false,
        }
    }

    /// Bytes it takes once it has seen a score.
    pub fn memory_bytes() -> u64 {
        let bins = BINS * size_of::<u32>() + BLOCKS * size_of::<u64>();
        (size_of::<Calibration>() + bins + REMEMBERED * 16) as u64
    }

    /// How many scores it holds, older ones faded.
    pub fn count(&self) -> u64 {
        self.total / UNIT
    }

    fn at_or_above(&self, bin: usize) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let block = bin / BLOCK;
        let within: u64 = self.bins[bin..(block + 1) * BLOCK]
            .iter()
            .map(|&c| u64::from(c))
            .sum();
        within + self.blocks[block + 1..].iter().sum::<u64>()
    }

    /// The p-value of a score (above 0).
    pub fn p_value(&self, score: f64) -> f64 {
        let x = ln(score.max(f64::MIN_POSITIVE));
        let above = self.at_or_above(bin(x));
        let rank = (above + UNIT) as f64 / (self.total + UNIT) as f64;
        match self.tails {
            Some([many, few]) if above < RANKED * UNIT => {
                let fitted = many.p_value(x).max(few.p_value(x)).min(rank);
                fitted.max(self.returning(x)).max(LEAST)
            }
            _ => rank,
        }
    }

    /// Whether there are enough scores for p-values below 1/n.
    pub fn is_fitted(&self) -> bool {
        self.tails.is_some()
    }

    /// The p-value of a score of a series that may be too young to tell: then by the scores of
    /// `others` like it, unless its own history already has scores as strange, which then say how
    /// frequent they are. Of 100 records alone none could be rarer than one in 101, however strange.
    pub fn p_value_among(&self, others: &Calibration, score: f64) -> f64 {
        let own = self.p_value(score);
        if self.is_fitted() || !others.is_fitted() {
            return own;
        }
        // Half as strange is about as strange: a young series' measure still moves.
        let x = ln(score.max(f64::MIN_POSITIVE)) - std::f64::consts::LN_2;
        if self.at_or_above(bin(x)) > 0 || self.gated.iter().any(|&g| g >= x) {
            own
        } else {
            others.p_value(score).min(own)
        }
    }

    /// How often gated records at least this strange come back; 0 before ten have.
    fn returning(&self, x: f64) -> f64 {
        let x = x.min(BEYOND);
        let as_strange = self.gated.iter().filter(|&&g| g >= x).count() as u64;
        if as_strange < RANKED {
            return 0.0;
        }
        let since = if self.gated.len() < REMEMBERED {
            0
        } else {
            self.gated_at.iter().copied().min().unwrap_or(0)
        };
        as_strange as f64 / (self.offered - since).max(1) as f64
    }

    /// Takes in the score of a normal record.
    pub fn add(&mut self, score: f64) {
        self.ration = (self.ration + RATION).min(SAVED * 1000);
        self.offered += 1;
        self.episode = false;
        self.count_one(ln(score.max(f64::MIN_POSITIVE)));
    }

    /// Takes in the score of a record that did not pass the gate: the strangest thousandth of an
    /// unchanged stream belongs to its tail, but a burst of anomalies does not. So such scores are
    /// rationed, and none counts as stranger than one in 100,000.
    pub fn add_gated(&mut self, score: f64) {
        self.ration = (self.ration + RATION).min(SAVED * 1000);
        self.offered += 1;
        let begins = !std::mem::replace(&mut self.episode, true);
        if self.ration >= 1000 {
            self.ration -= 1000;
            let x = ln(score.max(f64::MIN_POSITIVE));
            if begins {
                self.remember(x);
            }
            let most = self.tails.map_or(x, |[many, _]| many.quantile(CENSORED));
            self.count_one(x.min(most));
        }
    }

    /// Keeps a gated score as it was, in place of the oldest where there is no room.
    fn remember(&mut self, x: f64) {
        if self.gated.len() < REMEMBERED {
            self.gated.push(x);
            self.gated_at.push(self.offered);
        } else if let Some(oldest) = (0..REMEMBERED).min_by_key(|&i| self.gated_at[i]) {
            self.gated[oldest] = x;
            self.gated_at[oldest] = self.offered;
        }
    }

    /// Lets what it holds count as no more than so many scores, after a change of the stream.
    pub fn fade(&mut self, most: u64) {
        while self.count() > most {
            self.halve();
        }
        self.fit();
    }

    fn count_one(&mut self, x: f64) {
        if self.bins.is_empty() {
            self.bins = vec![0; BINS];
            self.blocks = vec![0; BLOCKS];
        }
        let b = bin(x);
        self.bins[b] += UNIT as u32;
        self.blocks[b / BLOCK] += UNIT;
        self.total += UNIT;
        if self.total >= 2 * MEMORY * UNIT {
            self.halve();
        }
        self.since_fit += 1;
        if self.since_fit >= (self.count() / 16).clamp(32, 1024) {
            self.fit();
        }
    }

    fn halve(&mut self) {
        for (block, sum) in self.bins.chunks_mut(BLOCK).zip(&mut self.blocks) {
            *sum = 0;
            for count in block {
                *count /= 2;
                *sum += u64::from(*count);
            }
        }
        self.total = self.blocks.iter().sum();
    }

    fn fit(&mut self) {
        self.since_fit = 0;
        let n = self.count();
        self.tails = (n >= FIT_FROM).then(|| {
            let many = ((n as f64 * PEAKS) as u64).clamp(FEW, MANY);
            [self.fit_to(many), self.fit_to(FEW)]
        });
    }

    /// Fits by moments to the `peaks` largest scores, or to those above 1 where fewer are: the
    /// scale of scores is such that what lies below 1 is ordinary however rare.
    fn fit_to(&self, peaks: u64) -> Tail {
        let ordinary = bin(0.0);
        let mut first = BINS;
        let mut weight = 0;
        while first > ordinary && weight < peaks * UNIT {
            first -= 1;
            weight += u64::from(self.bins[first]);
        }
        let start = edge(first);
        let mass = (weight + UNIT) as f64 / (self.total + UNIT) as f64;
        if weight < FEW * UNIT {
            // Hardly anything ever left the ordinary: assume a tail as of Gaussian noise.
            return Tail {
                start,
                mass,
                scale: 0.15,
                shape: 0.0,
            };
        }
        // One or two peaks far out (anomalies before there was a gate) must not stretch the tail:
        // the two largest count as if they were as large as the third, and are taken off the count
        // (exact for exponential excesses: type-II censoring, Epstein & Sobel 1953).
        let mut above = 0;
        let mut third = BINS;
        while above <= CENSORED_PEAKS * UNIT {
            third -= 1;
            above += u64::from(self.bins[third]);
        }
        let cap = edge(third + 1) - start;
        let (mut sum, mut squares) = (0.0, 0.0);
        for (i, &count) in self.bins[first..].iter().enumerate() {
            let y = ((i as f64 + 0.5) / PER_FOLD).min(cap);
            sum += f64::from(count) * y;
            squares += f64::from(count) * y * y;
        }
        let plain = sum / weight as f64;
        let variance = (squares / weight as f64 - plain * plain).max(1e-12);
        let k = weight as f64 / UNIT as f64;
        let mean = sum / (weight - CENSORED_PEAKS * UNIT) as f64;
        // By moments, drawn towards 0 (a power law) by as much as few peaks say little, and a
        // little up, for a tail taken too short flags too much. 1/k makes it the predictive
        // distribution of an exponential tail whose scale is known from k peaks.
        let by_moments = (0.5 * (1.0 - plain * plain / variance)).max(-0.5);
        let said = k / (k + SHAPE_PRIOR);
        let error = said * (1.0 + by_moments) / k.sqrt();
        let shape = (said * by_moments + error).clamp(-0.3, 0.2) + 1.0 / k;
        Tail {
            start,
            mass,
            scale: (mean * (1.0 - shape)).max(0.02),
            shape,
        }
    }

    /// Writes everything.
    pub fn save(&self, out: &mut Writer) {
        out.u32s("bins", &self.bins);
        let ration = u64::from(self.ration);
        let episode = u64::from(self.episode);
        out.u64s("counters", &[self.since_fit, ration, self.offered, episode]);
        out.f64s("gated", &self.gated);
        out.u64s("gated_at", &self.gated_at);
        let tails: Vec<f64> = self
            .tails
            .iter()
            .flatten()
            .flat_map(|t| [t.start, t.mass, t.scale, t.shape])
            .collect();
        out.f64s("tails", &tails);
    }

    /// Reads it back.
    pub fn load(&mut self, from: &Reader<'_>) -> Result<(), StateError> {
        let bins = from.u32s("bins")?;
        if !bins.is_empty() {
            from.u32s_of("bins", BINS)?;
        }
        let counters = from.counts_of("counters", 4)?;
        let gated = from.f64s("gated")?;
        let gated_at = from.u64s_of("gated_at", gated.len())?;
        if gated.len() > REMEMBERED || gated.iter().any(|g| g.is_nan()) {
            return Err(from.invalid("gated", "too many, or not numbers"));
        }
        if gated_at.iter().any(|&at| at > counters[2]) {
            return Err(from.invalid("gated_at", "later than now"));
        }
        let tails = from.f64s("tails")?;
        let sums = bins
            .chunks(BLOCK)
            .map(|block| block.iter().map(|&c| u64::from(c)).sum::<u64>());
        self.blocks = sums.collect();
        self.total = self.blocks.iter().sum();
        if self.total > 2 * MEMORY * UNIT {
            return Err(from.invalid("bins", "more scores than are ever kept"));
        }
        self.bins = bins.to_vec();
        self.offered = counters[2];
        self.episode = counters[3] != 0;
        self.gated = gated.to_vec();
        self.gated_at = gated_at.to_vec();
        self.since_fit = counters[0];
        self.ration = u32::try_from(counters[1])
            .ok()
            .filter(|&r| r <= SAVED * 1000)
            .ok_or_else(|| from.invalid("counters", "ration out of range"))?;
        self.tails = match tails.as_chunks::<4>() {
            ([], []) => None,
            ([a, b], []) => Some([*a, *b].map(|[start, mass, scale, shape]| Tail {
                start,
                mass,
                scale,
                shape,
            })),
            _ => return Err(from.invalid("tails", "neither none nor two")),
        };
        let sound = |t: &Tail| {
            t.start.is_finite() && t.mass > 0.0 && t.mass <= 1.0 && t.scale > 0.0 && {
                t.scale.is_finite() && t.shape.abs() < 1.0
            }
        };
        if self.tails.iter().flatten().all(sound) {
            Ok(())
        } else {
            Err(from.invalid("tails", "out of range"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    /// Rates of p-values below 1e-2, 1e-3 and 1e-4 over a stream, scores gated as in a monitor.
    fn rates(mut next: impl FnMut() -> f64, n: u64) -> [f64; 3] {
        let mut c = Calibration::new();
        let mut hits = [0u64; 3];
        for _ in 0..n {
            let s = next();
            let p = c.p_value(s);
            for (hit, level) in hits.iter_mut().zip([1e-2, 1e-3, 1e-4]) {
                *hit += u64::from(p < level);
            }
            if p > 1e-3 { c.add(s) } else { c.add_gated(s) }
        }
        hits.map(|h| h as f64 / n as f64)
    }

    fn student3(r: &mut Random) -> f64 {
        let chi: f64 = (0..3).map(|_| r.normal()).map(|z| z * z).sum();
        r.normal() / (chi / 3.0).sqrt()
    }

    #[test]
    fn rates_are_as_promised_for_light_and_heavy_tails() {
        let mut r = Random::new(7);
        let gaussian = rates(|| r.normal().abs(), 200_000);
        let heavy = rates(|| student3(&mut r).abs(), 200_000);
        let shifted = rates(|| 4.0 + r.normal(), 200_000);
        let exponential = rates(|| -ln(1.0 - r.uniform()), 200_000);
        for (name, got) in [
            ("gaussian", gaussian),
            ("t3", heavy),
            ("4 + gaussian", shifted),
            ("exponential", exponential),
        ] {
            println!("{name}: {got:?}");
            for (rate, level) in got.into_iter().zip([1e-2, 1e-3, 1e-4]) {
                assert!(rate < 2.0 * level, "{name}: {rate} at {level}");
                assert!(rate > 0.5 * level, "{name}: {rate} at {level}");
            }
        }
    }

    #[test]
    fn a_far_second_mode_is_no_anomaly_once_it_is_known() {
        let mut r = Random::new(3);
        let mut next = || {
            let far = if r.uniform() < 0.005 { 50.0 } else { 1.0 };
            far * (1.0 + 0.1 * r.normal())
        };
        let [_, _, early] = rates(&mut next, 10_000);
        let [_, _, whole] = rates(&mut next, 100_000);
        assert!(
            early * 1e4 < 100.0 && whole * 1e5 < 100.0,
            "{early} {whole}"
        );
    }

    #[test]
    fn nothing_below_one_over_n_is_claimed_without_peaks() {
        let mut c = Calibration::new();
        let mut r = Random::new(1);
        for n in 0..FIT_FROM - 1 {
            assert!(c.p_value(1e6) >= 1.0 / (n as f64 + 1.0));
            c.add(r.normal().abs());
        }
        for _ in 0..3000 {
            c.add(r.normal().abs());
        }
        assert!(c.p_value(15.0) < 1e-5, "{}", c.p_value(15.0));
        assert!(c.p_value(5.0) > 1e-8);
    }

    #[test]
    fn after_a_constant_series_a_change_is_surprising_and_a_jitter_is_not() {
        let mut c = Calibration::new();
        for _ in 0..1000 {
            c.add(0.0);
        }
        assert_eq!(c.p_value(0.0), 1.0);
        assert!(c.p_value(0.5) > 1e-4);
        assert!(c.p_value(200.0) < 1e-9);
    }

    #[test]
    fn a_flood_of_anomalies_moves_the_tail_no_further_than_its_ration() {
        let mut c = Calibration::new();
        let mut r = Random::new(5);
        for _ in 0..5000 {
            c.add(r.normal().abs());
        }
        let before = c.p_value(8.0);
        for _ in 0..2000 {
            c.add_gated(100.0);
        }
        assert!(c.count() <= 5000 + 4 + 4);
        assert!(c.p_value(8.0) < 20.0 * before.max(1e-9));
    }

    #[test]
    fn what_came_ten_times_is_as_frequent_as_that_and_an_episode_came_once() {
        let mut c = Calibration::new();
        let mut r = Random::new(5);
        for episode in 0..10 {
            assert!(c.count() < 256 || c.p_value(900.0) < 1e-6, "{episode}");
            for _ in 0..1000 {
                c.add(r.normal().abs());
            }
            for i in 0..20 {
                c.add_gated(200.0 + f64::from(i));
            }
            c.fade(1024);
        }
        let p = c.p_value(900.0);
        assert!((p * 1020.0 - 1.0).abs() < 0.01, "{p}");
    }

    #[test]
    fn resumes_bit_for_bit() {
        let mut r = Random::new(2);
        let mut a = Calibration::new();
        for _ in 0..1000 {
            a.add(r.normal().abs());
        }
        let mut w = Writer::new();
        a.save(&mut w);
        let map = w
            .into_sections()
            .into_iter()
            .map(|s| (s.name, s.data))
            .collect();
        let mut b = Calibration::new();
        b.load(&Reader::new(&map)).unwrap();
        assert_eq!(a, b);
        for _ in 0..100 {
            let s = r.normal().abs();
            a.add(s);
            b.add(s);
        }
        assert_eq!(a, b);
    }
}
