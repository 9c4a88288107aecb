//! The `process_*` metrics that every Prometheus client exports, read from `/proc/self` when
//! asked for.
//!
//! Invariant: reads nothing outside `/proc/self` (a hardened unit hides the rest), and a value
//! that cannot be read is left out.

use std::collections::HashMap;
use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// Ticks a second in `/proc/self/stat`: `USER_HZ`, which is 100 on every architecture that Linux
/// still runs this program on.
const TICKS_PER_SECOND: f64 = 100.0;

const CPU: &str = "process_cpu_seconds_total";
const RESIDENT: &str = "process_resident_memory_bytes";
const VIRTUAL: &str = "process_virtual_memory_bytes";
const OPEN_FILES: &str = "process_open_fds";
const MAX_FILES: &str = "process_max_fds";
const THREADS: &str = "process_threads";
const STARTED: &str = "process_start_time_seconds";

const HELP: [(&str, &str); 7] = [
    (CPU, "User and system CPU time spent in seconds."),
    (RESIDENT, "Resident memory size in bytes."),
    (VIRTUAL, "Virtual memory size in bytes."),
    (OPEN_FILES, "Number of open file descriptors."),
    (MAX_FILES, "Maximum number of open file descriptors."),
    (THREADS, "Number of OS threads in the process."),
    (STARTED, "Start time of the process in Unix seconds."),
];

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    descriptions: Vec<Desc>,
    started: f64,
}

impl ProcessCollector {
    /// `started` in Unix seconds.
    pub(super) fn new(started: f64) -> ProcessCollector {
        let description = |(name, help): (&str, &str)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
                .expect("the names are constants")
        };
        ProcessCollector {
            descriptions: HELP.map(description).into(),
            started,
        }
    }

    fn value(&self, name: &str, sources: &Sources) -> Option<f64> {
        match name {
            CPU => cpu_seconds(&sources.stat),
            RESIDENT => Some(after(&sources.status, "VmRSS:")? * 1024.0),
            VIRTUAL => Some(after(&sources.status, "VmSize:")? * 1024.0),
            OPEN_FILES => sources.open_files,
            MAX_FILES => after(&sources.limits, "Max open files"),
            THREADS => after(&sources.status, "Threads:"),
            _ => Some(self.started),
        }
    }
}

/// What was read for one scrape.
struct Sources {
    stat: String,
    status: String,
    limits: String,
    open_files: Option<f64>,
}

/// Fields 14 and 15 of `stat`, counted after the program's name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The first number on the line that begins with `name`.
fn after(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let read = |name| fs::read_to_string(name).unwrap_or_default();
        let sources = Sources {
            stat: read("/proc/self/stat"),
            status: read("/proc/self/status"),
            limits: read("/proc/self/limits"),
            // Less the one that is open to look.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count().saturating_sub(1) as f64),
        };
        HELP.iter()
            .filter_map(|(name, help)| {
                let value = self.value(name, &sources)?;
                let mut metric = Metric::default();
                let mut family = MetricFamily::default();
                family.set_name((*name).to_owned());
                family.set_help((*help).to_owned());
                if *name == CPU {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                    family.set_field_type(MetricType::COUNTER);
                } else {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                    family.set_field_type(MetricType::GAUGE);
                }
                family.set_metric(vec![metric]);
                Some(family)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let families = ProcessCollector::new(1.5).collect();
        assert_eq!(families.len(), HELP.len());
        let value = |name: &str| {
            let family = families.iter().find(|f| f.name() == name).unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert!(value(RESIDENT) > 100_000.0);
        assert!(value(VIRTUAL) >= value(RESIDENT));
        assert!(value(MAX_FILES) >= value(OPEN_FILES));
        assert!(value(OPEN_FILES) >= 3.0);
        assert!(value(THREADS) >= 1.0);
        assert_eq!(value(STARTED), 1.5);
    }

    #[test]
    fn a_strange_program_name_does_not_mislead_and_nonsense_is_left_out() {
        let stat = "7 (a ) b) R 1 7 7 0 -1 0 1 2 3 4 150 25 0 0 20 0 5 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(1.75));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(after("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(after("Max open files  unlimited", "Max open files"), None);
    }
}
