//! Requests by their idempotency keys, and what the learner does with the bodies of HTTP.
//!
//! Invariant: a key is remembered exactly where the lines that came under it are learned: both go
//! into the same frame of the ledger and into the same snapshot. A body is framed once it is learned,
//! since only then its counts are known, and before anyone hears of it; one that crashes the learner
//! is therefore never met again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::base::{Chunk, Micros};
use crate::source::{Answer, Delivery, MAX_KEY, Outcome, Request, Taken};
use crate::state::{MAX_REQUESTS, RequestState, ledger};

use super::pipeline::LineCounts;
use super::worker::Worker;

/// Keys that a source remembers at most.
const MOST_KEYS: usize = 100_000;
/// How long it remembers a key.
const REMEMBERED: i64 = Micros::DAY.0;

const _: () = assert!(MAX_KEY <= ledger::MAX_KEY, "every key fits in a frame");

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) accepted: u32,
    pub(crate) rejected: u32,
    /// The entry of the ledger that holds it; 0 for one of an earlier run.
    pub(crate) entry: u64,
    pub(crate) received: Micros,
}

/// Whether a key was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No; from now on its request is under way.
    New,
    /// Its request waits to be learned.
    UnderWay,
    /// Its request was learned.
    Known(Known),
}

/// The keys of one source.
#[derive(Debug, Default)]
struct Window {
    known: HashMap<Arc<str>, Known>,
    /// Their order, the oldest first.
    order: VecDeque<Arc<str>>,
    under_way: HashSet<String>,
}

impl Window {
    fn drop_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }

    /// Forgets what is too old at this time.
    fn expire(&mut self, now: Micros) {
        let too_old = |known: &Known| now.0.saturating_sub(known.received.0) > REMEMBERED;
        while self
            .order
            .front()
            .is_some_and(|key| too_old(&self.known[key]))
        {
            self.drop_oldest();
        }
    }
}

/// The keys of all sources, by name.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    windows: BTreeMap<String, Window>,
}

impl Requests {
    /// A request comes in.
    pub(crate) fn begin(&mut self, source: &str, key: &str, received: Micros) -> Seen {
        let window = self.window(source);
        window.expire(received);
        if let Some(known) = window.known.get(key) {
            return Seen::Known(*known);
        }
        if window.under_way.insert(key.to_owned()) {
            Seen::New
        } else {
            Seen::UnderWay
        }
    }

    /// A request was learned.
    pub(crate) fn learned(&mut self, source: &str, key: &str, known: Known) {
        let window = self.window(source);
        window.under_way.remove(key);
        window.expire(known.received);
        let key: Arc<str> = key.into();
        if window.known.insert(Arc::clone(&key), known).is_none() {
            window.order.push_back(key);
        }
        if window.order.len() > MOST_KEYS {
            window.drop_oldest();
        }
        // No snapshot has room for more.
        while self.windows.values().map(|w| w.order.len()).sum::<usize>() > MAX_REQUESTS {
            let fullest = self.windows.values_mut().max_by_key(|w| w.order.len());
            fullest.expect("there is one").drop_oldest();
        }
    }

    /// What a snapshot holds of them, those of sources that are configured no longer included.
    pub(crate) fn save(&self) -> Vec<RequestState> {
        let of_window = |(source, window): (&String, &Window)| {
            let state = |key: &Arc<str>| {
                let known = &window.known[key];
                RequestState {
                    source: source.clone(),
                    key: key.to_string(),
                    accepted: known.accepted,
                    rejected: known.rejected,
                    received: known.received.0,
                }
            };
            window.order.iter().map(state).collect::<Vec<_>>()
        };
        self.windows.iter().flat_map(of_window).collect()
    }

    /// Takes up those of an earlier run.
    pub(crate) fn load(&mut self, states: &[RequestState]) {
        for state in states {
            let known = Known {
                accepted: state.accepted,
                rejected: state.rejected,
                entry: 0,
                received: Micros(state.received),
            };
            self.learned(&state.source, &state.key, known);
        }
    }

    fn window(&mut self, source: &str) -> &mut Window {
        if !self.windows.contains_key(source) {
            self.windows.insert(source.to_owned(), Window::default());
        }
        self.windows.get_mut(source).expect("it was just put there")
    }
}

impl Worker {
    /// Takes in what a source delivers. A request that was learned before is answered at once, and
    /// one that is being learned is told so; anything else waits its turn.
    pub(super) fn take_in(&mut self, delivery: Delivery) {
        let Delivery { chunk, reply } = delivery;
        let reply = match reply {
            Some(Answer::Outcome(request)) => match self.begin_request(&chunk, request) {
                None => return,
                Some(request) => Some(Answer::Outcome(request)),
            },
            other => other,
        };
        self.lookahead.push(chunk, reply);
    }

    /// Gives a request back unless it is answered already.
    fn begin_request(&mut self, chunk: &Chunk, request: Request) -> Option<Request> {
        let Some(key) = &request.key else {
            return Some(request);
        };
        let source = chunk.source as usize;
        let requests = self.pipeline.requests_mut();
        let outcome = match requests.begin(&self.sources[source], key, chunk.received) {
            Seen::New => return Some(request),
            Seen::UnderWay => Outcome::UnderWay,
            Seen::Known(known) => {
                self.pipeline.duplicate(chunk);
                self.publisher.count_lines(&self.pipeline, source);
                Outcome::Taken(Taken {
                    accepted: u64::from(known.accepted),
                    rejected: u64::from(known.rejected),
                    errors: Vec::new(),
                    duplicate: true,
                    entry: known.entry,
                })
            }
        };
        // Whoever asked may be gone; that changes nothing.
        drop(request.to.send(outcome));
        None
    }

    /// A request was learned, and the lines of its source were counted thus before it. Gives what
    /// there is to say to whom.
    pub(super) fn request_learned(
        &mut self,
        chunk: &Chunk,
        request: Request,
        before: &LineCounts,
    ) -> (oneshot::Sender<Outcome>, Outcome) {
        let source = chunk.source as usize;
        let new = self.pipeline.counts(source).since(before);
        let (accepted, rejected) = (new.records, new.rejected_total());
        let mut known = Known {
            accepted: accepted as u32,
            rejected: rejected as u32,
            entry: 0,
            received: chunk.received,
        };
        if self.journaled[source]
            && let Some(ledger) = &mut self.ledger
        {
            let key = request.key.as_deref().map(|key| ledger::Request {
                key,
                accepted: known.accepted,
                rejected: known.rejected,
            });
            known.entry = ledger.record(&self.sources[source], chunk, key);
        }
        if let Some(key) = &request.key {
            let requests = self.pipeline.requests_mut();
            requests.learned(&self.sources[source], key, known);
        }
        let taken = Taken {
            accepted,
            rejected,
            errors: self.outbox.take_errors(),
            duplicate: false,
            entry: known.entry,
        };
        (request.to, Outcome::Taken(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(accepted: u32, received: i64) -> Known {
        Known {
            accepted,
            rejected: 1,
            entry: 0,
            received: Micros(received),
        }
    }

    #[test]
    fn a_key_is_new_then_under_way_then_known_to_its_source_alone() {
        let mut requests = Requests::default();
        let now = Micros(5);
        assert_eq!(requests.begin("a", "k", now), Seen::New);
        assert_eq!(requests.begin("a", "k", now), Seen::UnderWay);
        assert_eq!(requests.begin("b", "k", now), Seen::New);
        requests.learned("a", "k", known(3, 5));
        assert_eq!(requests.begin("a", "k", now), Seen::Known(known(3, 5)));
        assert_eq!(requests.begin("b", "k", now), Seen::UnderWay);
    }

    #[test]
    fn a_snapshot_holds_what_is_known_and_nothing_that_is_under_way() {
        let mut requests = Requests::default();
        requests.learned("b", "2", known(2, 5));
        requests.learned("b", "1", known(1, 6));
        requests.learned("a", "1", known(9, 7));
        requests.begin("a", "later", Micros(8));
        let saved = requests.save();
        let keys: Vec<_> = saved.iter().map(|s| (&*s.source, &*s.key)).collect();
        assert_eq!(keys, [("a", "1"), ("b", "2"), ("b", "1")]);
        let mut again = Requests::default();
        again.load(&saved);
        assert_eq!(again.save(), saved);
        assert_eq!(
            again.begin("b", "2", Micros(9)),
            Seen::Known(known(2, 5)),
            "in its order or not"
        );
    }

    #[test]
    fn keys_are_forgotten_after_a_day_or_behind_a_hundred_thousand_others() {
        let mut requests = Requests::default();
        requests.learned("a", "first", known(1, 0));
        let day = Micros(REMEMBERED);
        assert!(matches!(requests.begin("a", "first", day), Seen::Known(_)));
        let later = Micros(REMEMBERED + 1);
        assert_eq!(requests.begin("a", "first", later), Seen::New);
        for i in 0..=MOST_KEYS {
            requests.learned("a", &i.to_string(), known(1, 1));
        }
        assert_eq!(requests.save().len(), MOST_KEYS);
        assert_eq!(requests.begin("a", "0", Micros(2)), Seen::New);
        assert!(matches!(
            requests.begin("a", "1", Micros(2)),
            Seen::Known(_)
        ));
    }
}
