//! The made-up shop: what is asked of it, how fast it answers, who buys.
//!
//! Invariant: the same seed gives the same bytes for ever, on every machine.
//!
//! What can be learned: `latency_ms` is linear in `load`, `items` and a part per path and host,
//! with noise of 4 ms; `bought` follows a logistic teacher whose taste in prices turns once in
//! eight days; both and the rate of requests have a daily rhythm.

use std::f64::consts::TAU;
use std::io::{self, Write};

use crate::base::Micros;
use crate::math::{Random, exp, ln, sigmoid};

/// 2026-01-05T09:00:00Z, a Monday morning.
const EPOCH: i64 = 1_767_603_600;
const DAY: f64 = 86_400.0;

/// Path, how often it is asked for, milliseconds, and mean bytes of its answer.
const PATHS: [(&str, f64, f64, f64); 8] = [
    ("/", 0.25, 12.0, 18_000.0),
    ("/search", 0.20, 35.0, 24_000.0),
    ("/product", 0.25, 18.0, 30_000.0),
    ("/category", 0.12, 22.0, 26_000.0),
    ("/cart", 0.08, 15.0, 9_000.0),
    ("/checkout", 0.05, 48.0, 7_000.0),
    ("/login", 0.03, 28.0, 4_000.0),
    ("/api/stock", 0.02, 8.0, 2_000.0),
];
const HOSTS: [(&str, f64); 4] = [
    ("web-1", 0.0),
    ("web-2", 2.0),
    ("web-3", -1.0),
    ("web-4", 4.0),
];
const COUNTRIES: [(&str, f64); 6] = [
    ("DE", 0.4),
    ("FR", 0.1),
    ("US", 0.0),
    ("GB", -0.2),
    ("PL", 0.2),
    ("JP", -0.5),
];
const PLANS: [(&str, f64); 3] = [("free", -0.8), ("plus", 0.3), ("business", 1.1)];
const AGENTS: [(&str, f64); 4] = [
    ("firefox", 0.2),
    ("chrome", 0.0),
    ("safari", 0.3),
    ("mobile", -0.4),
];

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// Nothing.
    Normal,
    /// It took twenty times as long.
    Latency,
    /// It sent forty times as much.
    Bytes,
    /// One of a burst of failures of one host.
    Errors,
    /// Many items in the basket at the price of few: each value is usual, both together are not.
    Basket,
}

impl Truth {
    /// One line about record `seq`.
    pub(super) fn write(self, seq: u64, out: &mut impl Write) -> io::Result<()> {
        let (kind, field) = match self {
            Truth::Normal => return writeln!(out, "{{\"seq\":{seq},\"anomaly\":false}}"),
            Truth::Latency => ("latency", "latency_ms"),
            Truth::Bytes => ("bytes", "bytes"),
            Truth::Errors => ("errors", "status"),
            Truth::Basket => ("basket", "basket"),
        };
        writeln!(
            out,
            "{{\"seq\":{seq},\"anomaly\":true,\"kind\":\"{kind}\",\"field\":\"{field}\"}}"
        )
    }
}

/// The shop.
pub(super) struct Shop {
    random: Random,
    /// Seconds since the epoch of the stream.
    seconds: f64,
    /// Mean seconds between requests.
    gap: f64,
    anomaly_every: u64,
    made: u64,
    next_anomaly: u64,
    /// Failures that the burst going on still has, and the host that fails.
    burst: (u64, usize),
}

impl Shop {
    /// A shop with so many seconds between requests on average; no anomalies if `anomaly_every`
    /// is 0.
    pub(super) fn new(seed: u64, gap: f64, anomaly_every: u64) -> Shop {
        let mut shop = Shop {
            random: Random::new(seed),
            seconds: 0.0,
            gap,
            anomaly_every,
            made: 0,
            next_anomaly: 0,
            burst: (0, 0),
        };
        shop.plan_anomaly();
        shop
    }

    /// The stream's own time of the last record, in seconds since its beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Records made.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// The next comes half to one and a half times `anomaly_every` records on.
    fn plan_anomaly(&mut self) {
        let every = self.anomaly_every;
        if every > 0 {
            self.next_anomaly = self.made + (every / 2).max(1) + self.random.below(every);
        }
    }

    /// Appends the next record, as JSON without a line end.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Truth {
        let random = &mut self.random;
        // Busiest at three in the afternoon, quietest at three at night.
        let hour = libm::sin(TAU * (self.seconds / DAY));
        let busy = 1.0 + 0.6 * hour;
        self.seconds += -ln(1.0 - random.uniform()) * self.gap / busy;
        let days = self.seconds / DAY;

        let (path, _, path_ms, path_bytes) = PATHS[pick(random, &PATHS.map(|p| p.1))];
        let host_index = random.below(HOSTS.len() as u64) as usize;
        let (mut host, mut host_ms) = HOSTS[host_index];
        let (country, country_taste) = COUNTRIES[pick(random, &[0.3, 0.15, 0.25, 0.12, 0.1, 0.08])];
        let (plan, plan_taste) = PLANS[pick(random, &[0.6, 0.3, 0.1])];
        let (agent, agent_taste) = AGENTS[pick(random, &[0.2, 0.35, 0.15, 0.3])];
        let load = (40.0 * busy + 8.0 * random.normal()).max(1.0);
        let mut items = (-ln(1.0 - random.uniform()) * 2.5).min(14.0).round();
        let mut price = (20.0 + 3.0 * random.normal()).max(5.0);
        let noise = 4.0 * random.normal();
        let mut bytes = path_bytes * exp(0.25 * random.normal()) + 600.0 * items;
        let failed = random.uniform() < 0.004;
        let (buys, kind) = (random.uniform(), random.below(4));

        // The taste for prices turns in the course of days: what was learned goes stale.
        let taste = 1.5 * libm::cos(TAU * days / 8.0);
        let z = -1.2 + plan_taste + country_taste + agent_taste + 0.3 * items
            - taste * (price - 20.0) / 3.0;
        let bought = buys < sigmoid(z);

        let mut truth = Truth::Normal;
        self.made += 1;
        if self.burst.0 > 0 {
            self.burst.0 -= 1;
            truth = Truth::Errors;
        } else if self.anomaly_every > 0 && self.made >= self.next_anomaly {
            truth = [Truth::Latency, Truth::Bytes, Truth::Errors, Truth::Basket][kind as usize];
            if truth == Truth::Errors {
                self.burst = (9 + self.random.below(10), host_index);
            }
            self.plan_anomaly();
        }
        let mut status = if failed { 404 } else { 200 };
        let mut slower = 1.0;
        match truth {
            Truth::Normal => {}
            Truth::Latency => slower = 20.0,
            Truth::Bytes => bytes *= 40.0,
            Truth::Errors => {
                (host, host_ms) = HOSTS[self.burst.1];
                status = 503;
                bytes = 180.0;
            }
            Truth::Basket => {
                items = 12.0;
                price = 2.0;
            }
        }
        let latency = slower * (path_ms + host_ms + 0.5 * load + 2.0 * items + noise).max(1.0);
        let method = if matches!(path, "/cart" | "/checkout" | "/login") {
            "POST"
        } else {
            "GET"
        };
        let time = Micros((EPOCH * 1_000_000).saturating_add((self.seconds * 1e6) as i64));
        write!(
            out,
            "{{\"ts\":\"{time}\",\"host\":\"{host}\",\"path\":\"{path}\",\"method\":\"{method}\",\
             \"status\":{status},\"latency_ms\":{latency:.1},\"bytes\":{bytes:.0},\"load\":{load:.1},\
             \"items\":{items},\"basket\":{:.2},\"user_agent\":\"{agent}\",\"country\":\"{country}\",\
             \"plan\":\"{plan}\",\"bought\":{}}}",
            items * price,
            u8::from(bought),
        )
        .expect("writing into memory does not fail");
        truth
    }
}

/// An index, each with its share of the whole.
fn pick(random: &mut Random, shares: &[f64]) -> usize {
    let mut left = random.uniform();
    for (i, share) in shares.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return i;
        }
    }
    shares.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(n: usize, every: u64) -> Vec<(serde_json::Value, Truth)> {
        let mut shop = Shop::new(1, 0.6, every);
        (0..n)
            .map(|_| {
                let mut line = Vec::new();
                let truth = shop.next(&mut line);
                (serde_json::from_slice(&line).unwrap(), truth)
            })
            .collect()
    }

    #[test]
    fn the_first_record_never_changes() {
        let mut line = Vec::new();
        Shop::new(42, 0.6, 2000).next(&mut line);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text, FIRST);
    }

    const FIRST: &str = concat!(
        r#"{"ts":"2026-01-05T09:00:00.230358Z","host":"web-3","path":"/api/stock","method":"GET","#,
        r#""status":200,"latency_ms":43.7,"bytes":5342,"load":43.7,"items":7,"basket":144.12,"#,
        r#""user_agent":"firefox","country":"GB","plan":"free","bought":1}"#
    );

    #[test]
    fn every_record_is_json_with_a_rising_time() {
        let records = records(5000, 100);
        let times: Vec<&str> = records
            .iter()
            .map(|r| r.0["ts"].as_str().unwrap())
            .collect();
        assert!(times.is_sorted() && times[0] < times[4999]);
        assert!(times.iter().all(|t| Micros::parse(t).is_some()));
    }

    #[test]
    fn anomalies_of_every_kind_come_as_often_as_asked() {
        let many = records(100_000, 500);
        for kind in [Truth::Latency, Truth::Bytes, Truth::Errors, Truth::Basket] {
            assert!(many.iter().any(|r| r.1 == kind), "{kind:?}");
        }
        let mut starts = 0;
        for pair in many.windows(2) {
            starts += i32::from(pair[0].1 == Truth::Normal && pair[1].1 != Truth::Normal);
        }
        assert!((150..250).contains(&starts), "{starts}");
        assert!(records(5000, 0).iter().all(|r| r.1 == Truth::Normal));
    }

    #[test]
    fn both_labels_are_common_and_latency_is_usual_unless_made_strange() {
        let records = records(20_000, 500);
        let bought = records.iter().filter(|r| r.0["bought"] == 1).count();
        assert!((4000..16_000).contains(&bought), "{bought}");
        for (record, truth) in &records {
            let latency = record["latency_ms"].as_f64().unwrap();
            assert_eq!(latency > 200.0, *truth == Truth::Latency, "{record}");
        }
    }
}
