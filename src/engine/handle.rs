//! What the rest of the program holds of a running engine.
//!
//! Invariant: a handle can ask and watch; it cannot touch a model.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::{Clock, Micros};
use crate::source::{BoxFuture, Intake, Spawner};
use crate::telemetry::Metrics;

/// The learner is taken for stuck when it has not been round its loop for so long.
const STALLED_AFTER: Micros = Micros(60 * Micros::SECOND.0);

/// How long the end waits for answers that are being written.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Ends the serving. Who was just told that a body is kept should hear of it.
pub(super) async fn end_serving(ended: &CancellationToken, serving: &TaskTracker) {
    ended.cancel();
    serving.close();
    // Who still holds a connection open has had its answer.
    let _ = tokio::time::timeout(LAST_ANSWERS, serving.wait()).await;
}

/// A question to the learner, answered between two chunks.
pub enum Ask {
    /// Every model as JSON.
    Describe(oneshot::Sender<Vec<Value>>),
    /// Predictions for lines of JSON; nothing is learned.
    Predict {
        /// Index of the model.
        model: usize,
        /// The lines.
        lines: Vec<u8>,
        /// One line for each that is not blank.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// The files of dead letters anew, after others have rotated them.
    Reopen,
    /// A snapshot now: its digest, or why there is none.
    Snapshot(oneshot::Sender<Result<String, String>>),
}

/// A running engine, seen from outside.
#[derive(Clone)]
pub struct Handle {
    pub(super) metrics: Arc<Metrics>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) not_ready: watch::Receiver<Vec<String>>,
    pub(super) ended: CancellationToken,
    pub(super) heartbeat: Arc<AtomicI64>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) models: Arc<Vec<String>>,
    pub(super) intakes: Arc<Vec<(String, Intake)>>,
    pub(super) admin: bool,
    pub(super) spawn: Spawner,
}

impl Handle {
    /// The metrics in Prometheus text format.
    pub fn metrics(&self) -> Vec<u8> {
        self.metrics.render()
    }

    /// Asks the learner, waiting for room in its queue; `None` if it is gone.
    pub async fn ask(&self, ask: Ask) -> Option<()> {
        self.asks.send(ask).await.ok()
    }

    /// Why the daemon is not ready; empty when it is.
    pub fn not_ready(&self) -> Vec<String> {
        self.not_ready.borrow().clone()
    }

    /// Why the learner is taken for stuck.
    pub fn stalled(&self) -> Option<String> {
        let since = self.clock.now().0 - self.heartbeat.load(Ordering::Relaxed);
        (since > STALLED_AFTER.0).then(|| {
            format!(
                "the learner has not moved for {} s",
                since / Micros::SECOND.0
            )
        })
    }

    /// Resolves when the engine has ended; until then, draining included, questions are answered.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.clone().cancelled_owned()
    }

    /// The models by name, in the order of the configuration.
    pub fn model_names(&self) -> &[String] {
        &self.models
    }

    /// A model's index.
    pub fn model_index(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|m| m == name)
    }

    /// Where the bodies of a source go in.
    pub fn intake(&self, source: &str) -> Option<&Intake> {
        let found = self.intakes.iter().find(|(name, _)| name == source);
        found.map(|(_, intake)| intake)
    }

    /// The sources that take bodies.
    pub fn intake_names(&self) -> Vec<&str> {
        self.intakes.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Starts a task: only the engine spawns.
    pub fn spawn(&self, task: BoxFuture<'static, ()>) {
        (self.spawn)(task);
    }

    /// Whether admin requests are allowed.
    pub fn admin(&self) -> bool {
        self.admin
    }
}
