//! What benchmarks, the count of allocations and fuzzing share: a configuration from one line, a
//! text cut into a chunk, an output for nobody.

use std::sync::Arc;

use learnd::base::{Chunk, Cutter, Event, EventKinds, EventSink, Micros, StreamName};
use learnd::config::{Config, Overrides};
use learnd::engine::{Output, Rejection};
use learnd::model::Model;

/// Wants nothing, as a run without sinks for predictions does.
pub struct Nobody;

impl EventSink for Nobody {
    fn wants(&self, _model: usize) -> EventKinds {
        EventKinds::default()
    }
    fn emit(&mut self, _model: usize, _event: &Event<'_>) {}
}

impl Output for Nobody {
    fn rejected(&mut self, rejection: &Rejection<'_>) {
        panic!("{:?}", rejection.reject);
    }
    fn record_done(&mut self, _models: &[Model]) {}
}

/// One source of a format, and one model whose keys are lines of TOML.
pub fn config(format: &str, model: &str) -> Config {
    let text =
        format!("[sources.in]\ntype = \"stdin\"\nformat = \"{format}\"\n[models.m]\n{model}\n");
    learnd::config::parse("bench", &text, &Overrides::default())
        .unwrap_or_else(|report| panic!("{report}"))
}

/// A whole text as one chunk of the configuration's only source.
pub fn cut(config: &Config, text: &str) -> Chunk {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    let mut cutter = Cutter::new(config.sources[0].format.framer(), 1 << 20, 0);
    cutter.push(text.as_bytes(), &mut bytes, &mut lines);
    Chunk {
        source: 0,
        received: Micros(0),
        stream: Arc::new(StreamName {
            number: 0,
            name: String::new(),
            identity: Vec::new(),
        }),
        start: 0,
        end: 0,
        last: false,
        bytes,
        lines,
    }
}
