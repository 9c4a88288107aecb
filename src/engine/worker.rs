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
use crate::source::Delivery;

use super::handle::Ask;
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
    pub(crate) outbox: Outbox,
    pub(crate) queues: Vec<SinkQueue>,
    pub(crate) predictor: Predictor,
    pub(crate) publisher: Publisher,
    pub(crate) snapshots: Option<Snapshots>,
    pub(crate) aside: KeptAside,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) heartbeat: Arc<AtomicI64>,
}

/// Why the loop woke.
enum Woken {
    Delivery(Option<Delivery>),
    Ask(Option<Ask>),
    Tick,
}

impl Worker {
    /// Runs until every source has ended and everything they gave is learned; then takes the last
    /// snapshot. True if that snapshot is on disk, or none is kept.
    pub(crate) fn run(
        mut self,
        runtime: &tokio::runtime::Handle,
        mut inbox: mpsc::Receiver<Delivery>,
        mut asks: mpsc::Receiver<Ask>,
    ) -> bool {
        self.publisher.start_from(&self.pipeline);
        self.publisher.publish(&mut self.pipeline);
        let mut next_publish = self.clock.now();
        let mut asks_open = true;
        loop {
            self.heartbeat.store(self.clock.now().0, Ordering::Relaxed);
            let woken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    ask = asks.recv(), if asks_open => Woken::Ask(ask),
                    delivery = inbox.recv() => Woken::Delivery(delivery),
                    () = tokio::time::sleep(PUBLISH_EVERY) => Woken::Tick,
                }
            });
            let idle = matches!(woken, Woken::Tick);
            match woken {
                Woken::Delivery(Some(delivery)) => self.deliver(delivery),
                Woken::Delivery(None) => break,
                Woken::Ask(Some(ask)) => self.answer(ask),
                Woken::Ask(None) => asks_open = false,
                Woken::Tick => {}
            }
            let now = self.clock.now();
            if idle || now >= next_publish {
                self.publisher.publish(&mut self.pipeline);
                next_publish = Micros(now.0 + PUBLISH_EVERY.as_micros() as i64);
            }
            if let Some(snapshots) = &mut self.snapshots
                && snapshots.due(now, self.pipeline.order())
            {
                snapshots.take(recover::save(&self.pipeline, &self.aside, now), None);
            }
        }
        self.publisher.publish(&mut self.pipeline);
        self.flush_sinks();
        let now = self.clock.now();
        match self.snapshots.take() {
            Some(snapshots) => snapshots.finish(recover::save(&self.pipeline, &self.aside, now)),
            None => true,
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Delivery { chunk, reply } = delivery;
        let source = chunk.source as usize;
        if reply.is_some() {
            let (model, plain) = self.pipeline.answering(source);
            self.outbox.answer_with(model, plain);
        }
        self.pipeline.chunk(&chunk, Mode::Learn, &mut self.outbox);
        if let Some(reply) = reply {
            // The connection's reader lets no more lines in than its queue has room for answers,
            // so this fails only when the client is gone.
            let answered = reply.try_send(self.outbox.take_replies());
            if let Err(mpsc::error::TrySendError::Full(_)) = answered {
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
        // Last, because a sink may hold learning up here for long, and what was counted is true.
        self.flush_sinks();
    }

    fn flush_sinks(&mut self) {
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
        let Some(snapshots) = &mut self.snapshots else {
            drop(reply.send(Err("no [state] is configured".to_owned())));
            return;
        };
        let snapshot = recover::save(&self.pipeline, &self.aside, self.clock.now());
        snapshots.take(snapshot, Some(Written(reply)));
    }
}
