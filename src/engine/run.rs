//! `run`: the daemon, from start to stop.
//!
//! Invariant: everything that can fail at the start fails before the first byte is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::Clock;
use crate::config::Config;
use crate::sink::{self, DeadLetters, SinkControl, SinkEnd, SinkQueue, WhenFull};
use crate::source::{self, Delivery, Intake, Opened, Resume, SourceContext, SourceStats};
use crate::telemetry::Metrics;

use super::EngineError;
use super::handle::{Ask, Handle, end_serving};
use super::ledger::Standing;
use super::lookahead::{self, Lookahead};
use super::outbox::Outbox;
use super::pipeline::Pipeline;
use super::predict::Predictor;
use super::publish::{EdgePublisher, Publisher};
use super::replay::Exclusion;
use super::restore::{open_ledger, restore};
use super::snapshots::Snapshots;
use super::worker::{Stopped, Worker};

/// Chunks that wait for the learner at most; with 256 KiB a chunk this is the memory bound.
const INBOX_CHUNKS: usize = 32;
/// Questions that wait for the learner at most.
const ASKS: usize = 64;

/// What `run` is told beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Models to start anew.
    pub reset: Vec<String>,
    /// The generation to go back to.
    pub from: Option<u64>,
    /// What is left out when the journal is learned again.
    pub exclude: Vec<Exclusion>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was learned and written.
    Clean,
    /// A second signal asked to stop at once.
    AtOnce(u8),
}

/// What serves HTTP beside the engine, given the running engine.
pub type Serve =
    Box<dyn FnOnce(Handle) -> Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>> + Send>;

/// Runs until every source has ended or a signal asks to stop.
pub fn run(
    config: &Config,
    options: &RunOptions,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    serve: Option<Serve>,
) -> Result<Ended, EngineError> {
    let mut pipeline = Pipeline::with_decoders(config, lookahead::decoders());
    let (store, aside) = restore(config, options, &mut pipeline)?;
    let stop = CancellationToken::new();
    let sinks = start_sinks(config, &stop)?;
    let dead_letters = open_dead_letters(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(EngineError::Thread)?;
    let heartbeat = Arc::new(AtomicI64::new(clock.now().0));
    let stats: Vec<Arc<SourceStats>> = config
        .sources
        .iter()
        .map(|_| Arc::new(SourceStats::default()))
        .collect();
    let mut worker = Worker {
        outbox: Outbox::new(config, dead_letters),
        queues: sinks.queues,
        predictor: Predictor::new(config, &pipeline),
        lookahead: Lookahead::start(&pipeline).map_err(EngineError::Thread)?,
        publisher: Publisher::new(config, Arc::clone(metrics)),
        snapshots: None,
        ledger: None,
        journaled: config.sources.iter().map(|s| s.journal).collect(),
        sources: config.sources.iter().map(|s| s.name.clone()).collect(),
        aside,
        clock: Arc::clone(clock),
        heartbeat: Arc::clone(&heartbeat),
        pipeline,
    };
    let standing = Standing {
        durable: watch::channel(0).0,
        failing: Arc::default(),
    };
    if let (Some((mut store, newest)), Some(state)) = (store, &config.state) {
        let before = worker.pipeline.entry();
        worker.ledger = open_ledger(
            &mut store,
            &standing,
            options,
            &mut worker,
            metrics,
            clock,
            &stop,
        )?;
        let snapshots = Snapshots::start(
            store,
            state.snapshot_every,
            newest,
            worker.ledger.as_ref().map(|l| (l.control(), before)),
            waits_for(config, &sinks.controls),
            metrics.snapshot.clone(),
            Arc::clone(clock),
        );
        worker.snapshots = Some(snapshots.map_err(EngineError::Thread)?);
    }
    let parts = Parts {
        standing: &standing,
        config,
        clock,
        metrics,
        stop: &stop,
        heartbeat: &heartbeat,
        stats: &stats,
        sink_stats: &sinks.stats,
        controls: &sinks.controls,
    };
    let ended = runtime.block_on(supervise(parts, worker, serve));
    // What still reads standard input cannot be interrupted; it goes with the process.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Clean) => sinks_ended(config, sinks.threads),
        other => other,
    }
}

/// The sinks that take every event, however long that takes.
fn waits_for(config: &Config, controls: &[SinkControl]) -> Vec<SinkControl> {
    let all = config.sinks.iter().zip(controls);
    let patient = all.filter(|(sink, _)| sink.when_full == WhenFull::Block);
    patient.map(|(_, control)| control.clone()).collect()
}

/// Waits until the sinks have written everything.
fn sinks_ended(config: &Config, threads: Vec<JoinHandle<SinkEnd>>) -> Result<Ended, EngineError> {
    let mut failed = None;
    for (thread, sink) in threads.into_iter().zip(&config.sinks) {
        // A sink that panicked has counted nothing more; the run itself is complete.
        if let Ok(SinkEnd::Failed(error)) = thread.join() {
            failed.get_or_insert(EngineError::SinkFailed {
                name: sink.name.clone(),
                error,
            });
        }
    }
    failed.map_or(Ok(Ended::Clean), Err)
}

struct Parts<'a> {
    standing: &'a Standing,
    config: &'a Config,
    clock: &'a Arc<dyn Clock>,
    metrics: &'a Arc<Metrics>,
    stop: &'a CancellationToken,
    heartbeat: &'a Arc<AtomicI64>,
    stats: &'a [Arc<SourceStats>],
    sink_stats: &'a [Arc<sink::SinkStats>],
    controls: &'a [SinkControl],
}

struct Sinks {
    queues: Vec<SinkQueue>,
    controls: Vec<SinkControl>,
    stats: Vec<Arc<sink::SinkStats>>,
    threads: Vec<JoinHandle<SinkEnd>>,
}

fn start_sinks(config: &Config, stop: &CancellationToken) -> Result<Sinks, EngineError> {
    let (mut queues, mut controls) = (Vec::new(), Vec::new());
    let (mut all_stats, mut threads) = (Vec::new(), Vec::new());
    for sink in &config.sinks {
        let writer = sink::open(&sink.kind).map_err(|error| EngineError::Sink {
            name: sink.name.clone(),
            error,
        })?;
        let stats = Arc::new(sink::SinkStats::default());
        let (queue, receiver) = sink::queue(sink.queue, sink.when_full, Arc::clone(&stats));
        let (stop, name) = (stop.clone(), sink.name.clone());
        let thread = std::thread::Builder::new()
            .name(format!("sink {name}"))
            .spawn(move || {
                let end = sink::run(writer, receiver);
                match &end {
                    SinkEnd::Closed => {}
                    SinkEnd::Failed(error) => {
                        tracing::error!(sink = %name, %error, "the sink failed: stopping");
                        stop.cancel();
                    }
                    SinkEnd::ReaderGone => {
                        tracing::info!(sink = %name, "the reader went away: stopping");
                        stop.cancel();
                    }
                }
                end
            })
            .map_err(EngineError::Thread)?;
        controls.push(queue.control());
        queues.push(queue);
        all_stats.push(stats);
        threads.push(thread);
    }
    Ok(Sinks {
        queues,
        controls,
        stats: all_stats,
        threads,
    })
}

fn open_dead_letters(config: &Config) -> Result<Vec<Option<DeadLetters>>, EngineError> {
    config
        .sources
        .iter()
        .map(|source| {
            let Some(path) = &source.dead_letters else {
                return Ok(None);
            };
            DeadLetters::open(path, source.dead_letters_max)
                .map(Some)
                .map_err(|error| EngineError::DeadLetters {
                    name: source.name.clone(),
                    path: path.clone(),
                    error,
                })
        })
        .collect()
}

/// The signals that matter.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The exit code of the next one that asks to stop; the others are handled on the way.
    async fn next(&mut self, controls: &[SinkControl], asks: &mpsc::Sender<Ask>) -> u8 {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return 143,
                _ = self.interrupt.recv() => return 130,
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: reopening the files of sinks and dead letters");
                    for sink in controls {
                        sink.reopen();
                    }
                    // Its queue is full only while the learner is far behind; it can be asked again.
                    if asks.try_send(Ask::Reopen).is_err() {
                        tracing::warn!("dead letters were not reopened: the learner is busy");
                    }
                }
            }
        }
    }
}

async fn supervise(
    parts: Parts<'_>,
    worker: Worker,
    serve: Option<Serve>,
) -> Result<Ended, EngineError> {
    let Parts {
        config,
        clock,
        metrics,
        stop,
        heartbeat,
        ..
    } = &parts;
    let mut signals = Signals::listen().map_err(EngineError::Thread)?;
    let (inbox, delivered) = mpsc::channel::<Delivery>(INBOX_CHUNKS);
    let (asks, asked) = mpsc::channel(ASKS);
    let questions = asks.clone();
    let (readiness, not_ready) = watch::channel(vec!["starting".to_owned()]);
    let tracker = TaskTracker::new();
    let opened = open_sources(&parts, &worker.pipeline, &inbox, &tracker)?;
    let edges = EdgePublisher::new(
        Arc::clone(metrics),
        parts.stats.to_vec(),
        parts.sink_stats.to_vec(),
        inbox.downgrade(),
    );
    drop(inbox);

    let (served, serving) = (CancellationToken::new(), TaskTracker::new());
    tokio::spawn(edges.run(served.clone()));
    let handle = Handle {
        metrics: Arc::clone(metrics),
        asks,
        not_ready,
        ended: served.clone(),
        heartbeat: Arc::clone(heartbeat),
        clock: Arc::clone(clock),
        models: Arc::new(config.models.iter().map(|m| m.name.clone()).collect()),
        intakes: Arc::new(intakes(&opened)),
        admin: config.admin,
        spawn: {
            let serving = serving.clone();
            Arc::new(move |task| {
                serving.spawn(task);
            })
        },
    };
    if let Some(serve) = serve {
        let server = serve(handle);
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
    }
    let (ended, mut worker_ended) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("learner".into())
        .spawn(move || {
            let complete = worker.run(&runtime, delivered, asked);
            // Whoever waited may have given up at the deadline.
            let _ = ended.send(complete);
        })
        .map_err(EngineError::Thread)?;
    // The first failure of a source is the one that the end tells of.
    let failed = Arc::new(Mutex::new(None));
    for (name, source) in opened {
        let failed = Arc::clone(&failed);
        tracker.spawn(async move {
            if let Err(error) = source.run().await {
                let (source, said) = (name.clone(), error.to_string());
                let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(EngineError::Source { name, error });
                drop(first);
                // Told once it is kept: whoever reads of it may stop the daemon at once.
                tracing::error!(source, error = said, "source failed");
            }
        });
    }
    readiness.send_replace(Vec::new());
    tell_init(&[sd_notify::NotifyState::Ready]);
    tokio::spawn(watchdog(
        Arc::clone(clock),
        Arc::clone(heartbeat),
        served.clone(),
    ));
    tracing::info!(
        sources = config.sources.len(),
        models = config.models.len(),
        sinks = config.sinks.len(),
        "ready"
    );

    tokio::select! {
        complete = &mut worker_ended => {
            end_serving(&served, &serving).await;
            let ended = worker_outcome(complete)?;
            // The tasks of the sources have ended, or the learner would not have.
            tracker.close();
            tracker.wait().await;
            return first_failure(&failed).map_or(Ok(ended), Err);
        }
        code = signals.next(parts.controls, &questions) => tracing::info!(code, "stopping: draining what was read"),
        () = stop.cancelled() => {}
    }
    readiness.send_replace(vec!["stopping".to_owned()]);
    tell_init(&[sd_notify::NotifyState::Stopping]);
    stop.cancel();
    let outcome = tokio::select! {
        complete = &mut worker_ended => worker_outcome(complete),
        code = signals.next(parts.controls, &questions) => Ok(Ended::AtOnce(code)),
        () = tokio::time::sleep(config.shutdown_timeout) => {
            parts.controls.iter().for_each(SinkControl::give_up);
            Err(EngineError::Deadline)
        }
    };
    if matches!(outcome, Ok(Ended::AtOnce(_))) {
        served.cancel();
    } else {
        end_serving(&served, &serving).await;
    }
    match outcome {
        Ok(Ended::Clean) => first_failure(&failed).map_or(Ok(Ended::Clean), Err),
        other => other,
    }
}

fn first_failure(failed: &Mutex<Option<EngineError>>) -> Option<EngineError> {
    failed.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn worker_outcome(
    stopped: Result<Stopped, oneshot::error::RecvError>,
) -> Result<Ended, EngineError> {
    match stopped {
        Ok(Stopped::Complete) => Ok(Ended::Clean),
        Ok(Stopped::Unwritten) => Err(EngineError::LastSnapshot),
        Ok(Stopped::Broken(error)) => Err(EngineError::Store(error)),
        Err(_) => Err(EngineError::Learner),
    }
}

fn open_sources(
    parts: &Parts<'_>,
    pipeline: &Pipeline,
    inbox: &mpsc::Sender<Delivery>,
    tracker: &TaskTracker,
) -> Result<Vec<(String, Opened)>, EngineError> {
    let mut opened = Vec::new();
    for (i, source) in parts.config.sources.iter().enumerate() {
        let format = source.format.clone();
        let tracker = tracker.clone();
        let context = SourceContext {
            index: i as u16,
            name: source.name.clone(),
            max_line: source.max_line,
            framer: Arc::new(move || format.framer()),
            clock: Arc::clone(parts.clock),
            stop: parts.stop.clone(),
            out: inbox.clone(),
            resume: pipeline
                .resumable(i)
                .map(|s| Resume {
                    identity: s.identity.clone(),
                    offset: s.offset,
                    lines: s.lines,
                    finished: s.finished,
                })
                .collect(),
            durable: parts.standing.durable.subscribe(),
            failing: if source.journal {
                Arc::clone(&parts.standing.failing)
            } else {
                Arc::default()
            },
            stats: Arc::clone(&parts.stats[i]),
            spawn: Arc::new(move |task| {
                tracker.spawn(task);
            }),
        };
        let open = source::open(&source.kind, context).map_err(|error| EngineError::Source {
            name: source.name.clone(),
            error,
        })?;
        if let Some(address) = open.local_addr() {
            tracing::info!(source = %source.name, %address, "listening");
        }
        opened.push((source.name.clone(), open));
    }
    Ok(opened)
}

/// Where bodies go in, by source.
fn intakes(opened: &[(String, Opened)]) -> Vec<(String, Intake)> {
    opened
        .iter()
        .filter_map(|(name, source)| Some((name.clone(), source.intake()?)))
        .collect()
}

/// Tells the service manager; without one nothing happens.
fn tell_init(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Feeds the service manager's watchdog while the learner moves.
async fn watchdog(clock: Arc<dyn Clock>, heartbeat: Arc<AtomicI64>, ended: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let period = (period / 3).max(Duration::from_millis(100));
    while tokio::time::timeout(period, ended.cancelled())
        .await
        .is_err()
    {
        let idle = clock.now().0 - heartbeat.load(std::sync::atomic::Ordering::Relaxed);
        if idle < 2 * period.as_micros() as i64 {
            tell_init(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}
