//! No allocation a record in the steady state: counted, per format and learner, in a binary of its
//! own because the counter replaces the allocator.
//!
//! Method: a pipeline sees a stream once, so that every name, class and buffer is known; then the
//! same lines again, counted. What is left must not grow with the number of records.

#[path = "../benches/support.rs"]
mod support;

use learnd::base::{Event, EventKind, EventKinds, EventSink, Micros, RenderOptions, Writer};
use learnd::engine::{Output, Pipeline, Rejection};
use learnd::math::Random;
use learnd::model::{Mode, Model};
use learnd::state::{ENGINE, Snapshot};

use support::{Nobody, config, cut};

/// Has every prediction and score written, as a sink that asks for them does.
#[derive(Default)]
struct Everything {
    options: RenderOptions,
    bytes: Vec<u8>,
}

impl EventSink for Everything {
    fn wants(&self, _model: usize) -> EventKinds {
        let kinds = EventKinds::default().with(EventKind::Prediction);
        kinds.with(EventKind::Score)
    }
    fn emit(&mut self, _model: usize, event: &Event<'_>) {
        event.render(&self.options, &mut self.bytes);
    }
}

impl Output for Everything {
    fn rejected(&mut self, rejection: &Rejection<'_>) {
        panic!("{:?}", rejection.reject);
    }
    fn record_done(&mut self, _models: &[Model]) {
        self.bytes.clear();
    }
}

fn json(lines: usize) -> String {
    let mut random = Random::new(1);
    let mut out = String::new();
    for i in 0..lines {
        let (x, z) = (random.normal(), random.normal());
        out.push_str(&format!(
            "{{\"x\":{x},\"deep\":{{\"z\":{z}}},\"word\":\"w{}\",\"list\":[1,2,{i}],\"host\":\"h{}\",\
             \"y\":{},\"kind\":\"k{}\",\"text\":\"a\\tb\"}}\n",
            random.below(100),
            random.below(5),
            u8::from(x > z),
            random.below(3),
        ));
    }
    out
}

fn csv(lines: usize) -> String {
    let mut random = Random::new(1);
    let mut out = String::from("x,z,word,host,y,kind\n");
    for _ in 0..lines {
        let (x, z) = (random.normal(), random.normal());
        out.push_str(&format!(
            "{x},{z},\"w \"\"{}\"\"\",h{},{},k{}\n",
            random.below(100),
            random.below(5),
            u8::from(x > z),
            random.below(3)
        ));
    }
    out
}

fn vw(lines: usize) -> String {
    let mut random = Random::new(1);
    let mut out = String::new();
    for i in 0..lines {
        let (x, z) = (random.normal(), random.normal());
        out.push_str(&format!(
            "{} 'id{} |a x:{x} z:{z} word:w{} |b:0.5 f{} :1.5 {}\n",
            if x > z { 1 } else { -1 },
            i % 100,
            random.below(100),
            random.below(50),
            random.below(50),
        ));
    }
    out
}

fn svmlight(lines: usize) -> String {
    let mut random = Random::new(1);
    let line = |x: f64, z: f64| format!("{} 1:{x} 7:{z}\n", u8::from(x > z));
    let lines = (0..lines).map(|_| line(random.normal(), random.normal()));
    lines.collect()
}

/// Allocations of 4,000 further records.
fn allocations(format: &str, model: &str) -> u64 {
    allocations_into(&mut Nobody, format, model)
}

fn allocations_into(out: &mut dyn Output, format: &str, model: &str) -> u64 {
    let config = config(format, model);
    let text = match format {
        "json" => json(4000),
        "csv" => csv(4000),
        "vw" => vw(4000),
        _ => svmlight(4000),
    };
    let first = cut(&config, &text);
    let again = cut(&config, text.split_once('\n').expect("lines").1);
    let mut pipeline = Pipeline::new(&config);
    pipeline.chunk(&first, Mode::Learn, out);
    pipeline.models_mut()[0].tally().clear();
    let counted = allocation_counter::measure(|| {
        pipeline.chunk(&again, Mode::Learn, out);
    });
    counted.count_total
}

#[test]
fn no_record_of_any_format_or_learner_allocates() {
    for format in ["json", "csv"] {
        for model in [
            "task = \"binary\"\nlabel = \"y\"\ninteractions = [[\"word\", \"kind\"], [\"x\", \"host\"]]",
            "task = \"regression\"\nlabel = \"y\"",
            "task = \"multiclass\"\nlabel = \"kind\"",
            "task = \"binary\"\nlabel = \"y\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }",
            "task = \"binary\"\nlabel = \"y\"\nlearner = { type = \"linear\", optimizer = \"vw\" }",
            "task = \"binary\"\nlabel = \"y\"\nkey = [\"host\"]\nmax_keys = 100",
            "task = \"binary\"\nlabel = \"y\"\nupdate = { mode = \"minibatch\", records = 32 }",
            "task = \"regression\"\nlabel = \"y\"\nupdate = { mode = \"minibatch\", records = 32 }",
            "task = \"multiclass\"\nlabel = \"kind\"\nupdate = { mode = \"minibatch\", records = 32 }",
            "task = \"binary\"\nlabel = \"y\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }\n\
             update = { mode = \"minibatch\", records = 32 }",
            "task = \"multiclass\"\nlabel = \"kind\"\nlearner = { type = \"linear\", optimizer = \"sgd\" }\n\
             update = { mode = \"minibatch\", records = 32 }",
            "task = \"binary\"\nlabel = \"y\"\nlearner = { type = \"linear\", optimizer = \"vw\" }\n\
             update = { mode = \"minibatch\", records = 32 }",
            "task = \"anomaly\"\nfeatures = [\"x\", \"z\", \"deep.z\"]",
            "task = \"anomaly\"\nfeatures = [\"x\"]\nkey = [\"host\"]",
        ] {
            let count = allocations(format, model);
            // Calibration refits and the alerts themselves may allocate, a record may not.
            assert!(
                count < 40,
                "{format}, {model}: {count} allocations in 4,000 records"
            );
        }
    }
}

#[test]
fn no_line_with_its_own_label_allocates() {
    for format in ["vw", "svmlight"] {
        for model in [
            "task = \"binary\"\ninteractions = [[\"a\", \"b\"], [\"a\", \"a\", \"b\"]]\nlearner = \"linear\"",
            "task = \"regression\"\nlearner = \"linear\"",
            "task = \"binary\"\nlearner = { type = \"linear\", loss = \"hinge\", optimizer = \"sgd\" }",
            "task = \"binary\"",
        ] {
            let count = allocations(format, model);
            assert!(
                count < 40,
                "{format}, {model}: {count} allocations in 4,000 records"
            );
        }
    }
}

#[test]
fn no_event_that_is_written_allocates() {
    for (format, model) in [
        ("vw", "task = \"regression\"\nlearner = \"linear\""),
        (
            "json",
            "task = \"binary\"\nlabel = \"y\"\nid = \"word\"\nkey = [\"host\"]\nmax_keys = 100",
        ),
        (
            "json",
            "task = \"multiclass\"\nlabel = \"kind\"\nid = \"host\"",
        ),
        ("csv", "task = \"anomaly\"\nfeatures = [\"x\"]"),
    ] {
        let count = allocations_into(&mut Everything::default(), format, model);
        assert!(
            count < 40,
            "{format}, {model}: {count} allocations in 4,000 records"
        );
    }
}

#[test]
fn a_snapshot_from_elsewhere_takes_no_more_memory_than_its_file() {
    let config = config("json", "task = \"binary\"\nlabel = \"y\"");
    let mut pipeline = Pipeline::new(&config);
    pipeline.chunk(&cut(&config, &json(200)), Mode::Learn, &mut Nobody);
    let mut writer = Writer::new();
    pipeline.models()[0].save(&mut writer);
    let snapshot = Snapshot {
        engine: ENGINE,
        version: "0.1.0".into(),
        taken: Micros(0),
        order: 200,
        ledger_seq: 0,
        requests: Vec::new(),
        sources: Vec::new(),
        streams: Vec::new(),
        models: Vec::new(),
        sections: writer.into_sections(),
    };
    let good = snapshot.encode();
    let mut random = Random::new(1);
    for round in 0..300 {
        let mut bad = good.clone();
        let at = random.below(bad.len() as u64) as usize;
        match round % 3 {
            0 => bad.truncate(at),
            1 => bad[at] ^= 1 << random.below(8),
            // The lengths stand at the beginning.
            _ => bad[at % 8] = 0xff,
        }
        let counted = allocation_counter::measure(|| {
            assert!(Snapshot::decode(&bad).is_err(), "round {round} at {at}");
        });
        assert!(counted.bytes_max < 1 << 20, "{} bytes", counted.bytes_max);
    }
}
