//! State of models that is not as it was saved: loading it is an error or works, and if it works
//! the model goes on without a panic. (What it then learns may be worthless: sums near the largest
//! double overflow. The checksum of the file is what tells damage; this is the second line.)

use std::collections::BTreeMap;
use std::sync::OnceLock;

use learnd::base::{Chunk, Micros, Reader, SectionData, Writer};
use learnd::config::Config;
use learnd::engine::Pipeline;
use learnd::model::Mode;

use support::{Nobody, config, cut};

#[path = "../../benches/support.rs"]
mod support;

const MODELS: &[&str] = &[
    "task = \"binary\"\nlabel = \"y\"\nhash_bits = 6",
    "task = \"regression\"\nlabel = \"x\"\nhash_bits = 6\nlearner = { type = \"linear\", optimizer = \"vw\", l1 = 1e-6, l2 = 1e-6 }",
    "task = \"binary\"\nlabel = \"y\"\nhash_bits = 6\nlearner = { type = \"linear\", optimizer = \"sgd\" }\nkey = [\"k\"]",
    "task = \"multiclass\"\nlabel = \"k\"\nhash_bits = 4\nmax_classes = 4",
    "task = \"regression\"\nlabel = \"x\"\nhash_bits = 6\nupdate = { mode = \"minibatch\", records = 7 }",
    "task = \"anomaly\"\nfeatures = [\"x\", \"z\"]\nbudget = \"1/100 records\"",
    "task = \"anomaly\"\nfeatures = [\"x\"]\nkey = [\"k\"]\nlabel = \"y\"",
];

/// A model's configuration, what it had saved, and lines to go on with.
struct Base {
    config: Config,
    sections: BTreeMap<String, SectionData>,
}

fn lines(config: &Config, records: u32) -> Chunk {
    let mut text = String::new();
    for i in 0..records {
        let spread = |m: u32| (i.wrapping_mul(2_654_435_761) >> 7) % m;
        let (x, z) = (f64::from(spread(1000)) / 7.0, f64::from(spread(311)) - 9.5);
        let (k, y) = (spread(3), spread(2));
        text.push_str(&format!(
            "{{\"x\":{x},\"z\":{z},\"w\":\"w{k}\",\"k\":\"k{k}\",\"y\":{y}}}\n"
        ));
    }
    Chunk {
        received: Micros(1_700_000_000_000_000),
        ..cut(config, &text)
    }
}

fn bases() -> &'static Vec<Base> {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let base = |model: &&str| {
            let config = config("json", model);
            let mut pipeline = Pipeline::new(&config);
            pipeline.chunk(&lines(&config, 150), Mode::Learn, &mut Nobody);
            let mut writer = Writer::new();
            pipeline.models()[0].save(&mut writer);
            let sections = writer.into_sections().into_iter();
            Base {
                config,
                sections: sections.map(|s| (s.name, s.data)).collect(),
            }
        };
        MODELS.iter().map(base).collect()
    })
}

/// Sets an entry, or changes the length of an array.
fn damage<T: Copy>(values: &mut Vec<T>, how: u8, at: usize, value: T) {
    match how % 4 {
        0 | 1 => {
            let length = values.len().max(1);
            if let Some(entry) = values.get_mut(at % length) {
                *entry = value;
            }
        }
        2 => values.truncate(at % (values.len() + 1)),
        _ => values.push(value),
    }
}

/// The first byte chooses a model, each twelve after it one damage to a section.
pub fn check(data: &[u8]) {
    let [which, damages @ ..] = data else {
        return;
    };
    let base = &bases()[usize::from(*which) % MODELS.len()];
    let mut sections = base.sections.clone();
    for twelve in damages.as_chunks::<12>().0 {
        let [section, how, low, high, value @ ..] = *twelve;
        let Some(name) = sections
            .keys()
            .nth(usize::from(section) % sections.len().max(1))
            .cloned()
        else {
            return;
        };
        let at = usize::from(low) + 256 * usize::from(high);
        if how == 255 {
            sections.remove(&name);
            continue;
        }
        let bits = u64::from_le_bytes(value);
        match sections.get_mut(&name).expect("it was just found") {
            SectionData::F32(xs) => damage(xs, how, at, f32::from_bits(bits as u32)),
            SectionData::F64(xs) => damage(xs, how, at, f64::from_bits(bits)),
            SectionData::U32(xs) => damage(xs, how, at, bits as u32),
            SectionData::U64(xs) => damage(xs, how, at, bits),
            SectionData::U8(xs) => damage(xs, how, at, bits as u8),
        }
    }
    let mut pipeline = Pipeline::new(&base.config);
    if pipeline.models_mut()[0]
        .load(&Reader::new(&sections))
        .is_ok()
    {
        pipeline.chunk(&lines(&base.config, 60), Mode::Learn, &mut Nobody);
        let mut writer = Writer::new();
        pipeline.models()[0].save(&mut writer);
        if damages.is_empty() {
            let sections = writer.into_sections().into_iter();
            let saved = sections.map(|s| (s.name, s.data)).collect();
            let mut again = Pipeline::new(&base.config);
            again.models_mut()[0]
                .load(&Reader::new(&saved))
                .unwrap_or_else(|error| panic!("what a model saves it can load, but: {error}"));
        }
    }
}
