//! The demo source: a made-up stream of web-shop requests at a chosen rate.
//!
//! Invariant: the records depend on the settings alone; offsets count records, so the stream is
//! taken up after a restart by making it again up to there.

mod shop;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use self::shop::Shop;
use super::{DemoConfig, SourceContext, SourceError};
use crate::base::{Chunk, LineSpan, StreamName};
use crate::math::hash128;

/// Records of one chunk at most.
const CHUNK_RECORDS: u64 = 512;
/// How often records that are due are sent.
const TICK: Duration = Duration::from_millis(10);
/// The rate that sets the stream's own clock when records are given as fast as they are taken.
const NOMINAL_RATE: f64 = 1000.0;

/// The source.
pub(super) struct DemoSource {
    config: DemoConfig,
    context: SourceContext,
    shop: Shop,
    truth: Option<BufWriter<File>>,
    stream: Arc<StreamName>,
    /// Records delivered.
    made: u64,
}

impl DemoSource {
    /// Opens the file of truth and finds the place to begin.
    pub(super) fn open(
        config: DemoConfig,
        context: SourceContext,
    ) -> Result<DemoSource, SourceError> {
        let truth = match &config.truth {
            Some(path) => Some(BufWriter::new(
                File::create(path).map_err(|error| file_error(path, error))?,
            )),
            None => None,
        };
        let rate = if config.rate > 0.0 {
            config.rate
        } else {
            NOMINAL_RATE
        };
        let shop = Shop::new(config.seed, config.speedup / rate, config.anomaly_every);
        let identity = identity(&config, rate);
        let known = context.resume.iter().position(|r| r.identity == identity);
        let number = known.unwrap_or(context.resume.len()) as u64;
        Ok(DemoSource {
            made: known.map_or(0, |i| context.resume[i].offset),
            stream: Arc::new(StreamName {
                number,
                name: "demo".into(),
                identity,
            }),
            config,
            context,
            shop,
            truth,
        })
    }

    /// Makes records until there are enough or it is stopped.
    pub(super) async fn run(mut self) -> Result<(), SourceError> {
        let mut line = Vec::new();
        for _ in 0..self.made {
            line.clear();
            self.make(&mut line)?;
        }
        let begin = Instant::now();
        let begin_seconds = self.shop.seconds();
        loop {
            let mut bytes = Vec::new();
            let mut lines = Vec::new();
            let start = self.made;
            let due = begin_seconds + begin.elapsed().as_secs_f64() * self.config.speedup;
            let in_time = |shop: &Shop| self.config.rate <= 0.0 || shop.seconds() <= due;
            let enough = |made| self.config.records > 0 && made >= self.config.records;
            let mut last = enough(self.made);
            while !last && self.made - start < CHUNK_RECORDS && in_time(&self.shop) {
                let from = bytes.len() as u32;
                let truth = self.shop.next(&mut bytes);
                let end = bytes.len() as u32;
                lines.push(LineSpan {
                    start: from,
                    end,
                    too_long: false,
                });
                bytes.push(b'\n');
                self.made += 1;
                if let (Some(file), Some(path)) = (&mut self.truth, &self.config.truth) {
                    truth
                        .write(self.made, file)
                        .map_err(|error| file_error(path, error))?;
                }
                last = enough(self.made);
            }
            self.flush_truth()?;
            if last || !lines.is_empty() {
                let full = lines.len() as u64 == CHUNK_RECORDS;
                let length = bytes.len() as u64;
                self.context
                    .stats
                    .bytes
                    .fetch_add(length, Ordering::Relaxed);
                let chunk = Chunk {
                    source: self.context.index,
                    received: self.context.clock.now(),
                    stream: Arc::clone(&self.stream),
                    start,
                    end: self.made,
                    last,
                    bytes,
                    lines,
                };
                if self.context.deliver(chunk, None).await.is_err() || last {
                    return Ok(());
                }
                if full {
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.context.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Makes one record that was delivered before.
    fn make(&mut self, line: &mut Vec<u8>) -> Result<(), SourceError> {
        let truth = self.shop.next(line);
        if let (Some(file), Some(path)) = (&mut self.truth, &self.config.truth) {
            let number = self.shop.made();
            truth
                .write(number, file)
                .map_err(|error| file_error(path, error))?;
        }
        Ok(())
    }

    fn flush_truth(&mut self) -> Result<(), SourceError> {
        if let (Some(file), Some(path)) = (&mut self.truth, &self.config.truth) {
            file.flush().map_err(|error| file_error(path, error))?;
        }
        Ok(())
    }
}

/// Everything that the records depend on.
fn identity(config: &DemoConfig, rate: f64) -> Vec<u8> {
    let settings = [
        config.speedup.to_bits().to_le_bytes(),
        rate.to_bits().to_le_bytes(),
        config.anomaly_every.to_le_bytes(),
    ];
    let mut identity = b"demo".to_vec();
    identity.extend_from_slice(&config.seed.to_le_bytes());
    identity.extend_from_slice(&hash128(&settings.concat(), 0).to_le_bytes());
    identity
}

fn file_error(path: &Path, error: std::io::Error) -> SourceError {
    SourceError::File {
        path: path.to_path_buf(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::Harness;
    use super::*;

    fn config(records: u64) -> DemoConfig {
        DemoConfig {
            seed: 7,
            rate: 0.0,
            speedup: 600.0,
            records,
            anomaly_every: 100,
            truth: None,
        }
    }

    async fn collect(harness: &mut Harness, chunks: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..chunks {
            all.extend(harness.lines().await);
        }
        all
    }

    #[tokio::test]
    async fn a_restart_goes_on_with_the_next_record() {
        let (mut harness, context) = Harness::new(Vec::new());
        let whole = DemoSource::open(config(2000), context).unwrap();
        let (all, ()) = tokio::join!(collect(&mut harness, 4), async {
            whole.run().await.unwrap();
        });
        assert_eq!(all.len(), 2000);

        let (mut harness, context) = Harness::new(Vec::new());
        let cut = DemoSource::open(config(2000), context).unwrap();
        let stop = harness.stop.clone();
        let (mut before, ()) = tokio::join!(
            async {
                let lines = collect(&mut harness, 2).await;
                stop.cancel();
                lines
            },
            async {
                cut.run().await.unwrap();
            }
        );
        let (mut again, context) = Harness::new(harness.resume());
        let rest = DemoSource::open(config(2000), context).unwrap();
        let (after, ()) = tokio::join!(collect(&mut again, 2), async { rest.run().await.unwrap() });
        before.extend(after);
        assert!(before == all);
    }

    #[tokio::test]
    async fn the_truth_has_a_line_for_every_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.jsonl");
        let (mut harness, context) = Harness::new(Vec::new());
        let mut config = config(1000);
        config.truth = Some(path.clone());
        let source = DemoSource::open(config, context).unwrap();
        let (_, ()) = tokio::join!(collect(&mut harness, 2), async {
            source.run().await.unwrap();
        });
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.starts_with("{\"seq\":1,\"anomaly\":false}\n"));
        assert!(text.contains("\"anomaly\":true,\"kind\":\""));
    }
}
