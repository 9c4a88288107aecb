//! The learner's thread: takes chunks in order, lets the pipeline process them, hands events and
//! answers on, publishes figures, takes snapshots.
//!
//! Invariant: one thread owns all models; a snapshot is taken between two chunks, so positions
//! and learning always belong together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::{Clock, Micros};
use crate::model::{Mode, Model};
use crate::sink::SinkQueue;
use crate::source::{Answer, Delivery, Kept};

use crate::state::StoreError;

use super::handle::Ask;
use super::ledger::Ledger;
use super::lookahead::Lookahead;
use super::outbox::Outbox;
use super::pipeline::Pipeline;
use super::predict::Predictor;
use super::publish::Publisher;
use super::recover::{self, KeptAside};
use super::snapshots::{Snapshots, Written};

/// Figures are published at least so often while records flow.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);

/// Everything the learner's thread owns.
pub(crate) struct Worker {
    pub(crate) pipeline: Pipeline,
    pub(crate) lookahead: Lookahead<Option<Answer>>,
    /// What cannot be read again goes there first.
    pub(crate) ledger: Option<Ledger>,
    /// The names of the sources.
    pub(crate) sources: Vec<String>,
    /// Which of them are kept in the ledger.
    pub(crate) journaled: Vec<bool>,
    pub(crate) outbox: Outbox,
    pub(crate) queues: Vec<SinkQueue>,
    pub(crate) predictor: Predictor,
    pub(crate) publisher: Publisher,
    pub(crate) snapshots: Option<Snapshots>,
    pub(crate) aside: KeptAside,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) heartbeat: Arc<AtomicI64>,
}

/// How the learner ended.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Everything is learned and on disk.
    Complete,
    /// The last snapshot is not on disk.
    Unwritten,
    /// The ledger could not be written.
    Broken(StoreError),
}

/// Why the loop woke.
enum Woken {
    Chunk,
    End,
    Ask(Option<Ask>),
    Tick,
}

impl Worker {
    /// Runs until every source has ended and everything they gave is learned; then takes the last
    /// snapshot.
    pub(crate) fn run(
        mut self,
        runtime: &tokio::runtime::Handle,
        mut inbox: mpsc::Receiver<Delivery>,
        mut asks: mpsc::Receiver<Ask>,
    ) -> Stopped {
        self.publisher.start_from(&self.pipeline);
        self.publisher.publish(&mut self.pipeline);
        let mut next_publish = self.clock.now();
        let mut asks_open = true;
        loop {
            self.heartbeat.store(self.clock.now().0, Ordering::Relaxed);
            let woken = self.wait(runtime, &mut inbox, &mut asks, asks_open);
            let idle = matches!(woken, Woken::Tick);
            match woken {
                Woken::Chunk => self.learn_first(),
                Woken::End => break,
                Woken::Ask(Some(ask)) => self.answer(ask),
                Woken::Ask(None) => asks_open = false,
                Woken::Tick => {}
            }
            let now = self.clock.now();
            if idle || now >= next_publish {
                self.publisher.publish(&mut self.pipeline);
                next_publish = Micros(now.0 + PUBLISH_EVERY.as_micros() as i64);
            }
            let entry = self.entry();
            if let Some(snapshots) = &mut self.snapshots
                && snapshots.due(now, self.pipeline.order())
            {
                let snapshot = recover::save(&self.pipeline, &self.aside, entry, now);
                snapshots.take(snapshot, None);
            }
        }
        self.publisher.publish(&mut self.pipeline);
        self.flush_sinks();
        let now = self.clock.now();
        let last = recover::save(&self.pipeline, &self.aside, self.entry(), now);
        // What was taken down is brought to disk first: the snapshot waits for it.
        let kept = self.ledger.take().map_or(Ok(()), Ledger::finish);
        let written = self.snapshots.take().is_none_or(|s| s.finish(last));
        match kept {
            Err(error) => Stopped::Broken(error),
            Ok(()) if written => Stopped::Complete,
            Ok(()) => Stopped::Unwritten,
        }
    }

    /// The last entry of the ledger that was learned.
    fn entry(&self) -> u64 {
        self.ledger
            .as_ref()
            .map_or(self.pipeline.entry(), Ledger::last)
    }

    /// Takes in what has come and tells what there is to do; waits if there is nothing.
    fn wait(
        &mut self,
        runtime: &tokio::runtime::Handle,
        inbox: &mut mpsc::Receiver<Delivery>,
        asks: &mut mpsc::Receiver<Ask>,
        asks_open: bool,
    ) -> Woken {
        if let Ok(ask) = asks.try_recv() {
            return Woken::Ask(Some(ask));
        }
        while self.lookahead.has_room()
            && let Ok(delivery) = inbox.try_recv()
        {
            self.take_in(delivery);
        }
        if !self.lookahead.is_empty() {
            return Woken::Chunk;
        }
        let first = runtime.block_on(async {
            tokio::select! {
                biased;
                ask = asks.recv(), if asks_open => Err(Woken::Ask(ask)),
                delivery = inbox.recv() => delivery.ok_or(Woken::End),
                () = tokio::time::sleep(PUBLISH_EVERY) => Err(Woken::Tick),
            }
        });
        match first {
            Ok(delivery) => {
                self.take_in(delivery);
                Woken::Chunk
            }
            Err(woken) => woken,
        }
    }

    /// Learns from the first chunk that waits.
    fn learn_first(&mut self) {
        let Some((chunk, answer)) = self.lookahead.first() else {
            return;
        };
        let source = chunk.source as usize;
        if let Some(Answer::Lines(_)) = answer {
            let (model, plain) = self.pipeline.answering(source);
            self.outbox.answer_with(model, plain);
        }
        let before = *self.pipeline.counts(source);
        let mut entry = 0;
        if let Some(Answer::Outcome(_)) = answer {
            // Framed when its counts are known.
            self.outbox.list_errors();
        } else if self.journaled[source]
            && let Some(ledger) = &mut self.ledger
        {
            entry = ledger.record(&self.sources[source], chunk, None);
        }
        let (pipeline, outbox) = (&mut self.pipeline, &mut self.outbox);
        let Some((chunk, answer)) = self.lookahead.process(pipeline, Mode::Learn, outbox) else {
            return;
        };
        let mut learned = None;
        if let Some(answer) = answer {
            // The connection's reader lets no more lines in than its queue has room for answers,
            // so this fails only when the client is gone.
            let full = match answer {
                Answer::Lines(to) => finds_no_room(&to, self.outbox.take_replies()),
                Answer::Entry { to, lines } => finds_no_room(&to, Kept { entry, lines }),
                Answer::Outcome(request) => {
                    learned = Some(self.request_learned(&chunk, request, &before));
                    false
                }
            };
            if full {
                tracing::error!(
                    source,
                    "a client's queue of answers is full: answers are lost"
                );
            }
        }
        if let Some(letters) = &mut self.outbox.rejected[source]
            && let Err(error) = letters.flush()
        {
            tracing::warn!(source, %error, "dead letters cannot be written");
        }
        if let Some(letters) = &self.outbox.rejected[source] {
            self.publisher
                .dead_letters_dropped(source, letters.dropped());
        }
        self.publisher.after_chunk(
            &mut self.pipeline,
            &mut self.outbox,
            &chunk,
            self.clock.now(),
        );
        if let Some((to, outcome)) = learned {
            // What it has been told the metrics show. It may be gone, and can ask again.
            drop(to.send(outcome));
        }
        // Last, because a sink may hold learning up here for long, and what was counted is true.
        self.flush_sinks();
    }

    pub(super) fn flush_sinks(&mut self) {
        for (sink, queue) in self.outbox.sinks.iter_mut().zip(&self.queues) {
            if sink.count > 0 {
                // A sink that has ended counts what it does not take.
                queue.push(&sink.bytes, sink.count);
                sink.bytes.clear();
                sink.count = 0;
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        // An asker that has given up is no error: its channel is simply closed.
        match ask {
            Ask::Describe(reply) => {
                drop(reply.send(self.pipeline.models().iter().map(Model::describe).collect()));
            }
            Ask::Predict {
                model,
                lines,
                reply,
            } => {
                let now = self.clock.now();
                let answer = self
                    .predictor
                    .predict(self.pipeline.models_mut(), model, &lines, now);
                drop(reply.send(answer));
            }
            Ask::Reopen => {
                for letters in self.outbox.rejected.iter_mut().flatten() {
                    if let Err(error) = letters.reopen() {
                        tracing::warn!(%error, "dead letters cannot be reopened");
                    }
                }
            }
            Ask::Snapshot(reply) => self.snapshot_now(reply),
        }
    }

    fn snapshot_now(&mut self, reply: oneshot::Sender<Result<String, String>>) {
        let entry = self.entry();
        let Some(snapshots) = &mut self.snapshots else {
            drop(reply.send(Err("no [state] is configured".to_owned())));
            return;
        };
        let snapshot = recover::save(&self.pipeline, &self.aside, entry, self.clock.now());
        snapshots.take(snapshot, Some(Written(reply)));
    }
}

/// Sends an answer to a connection's writer, unless its queue is full; one that is gone takes none.
fn finds_no_room<T>(to: &mpsc::Sender<T>, answer: T) -> bool {
    matches!(to.try_send(answer), Err(mpsc::error::TrySendError::Full(_)))
}
