//! What a record takes beyond decoding: the whole pipeline and the decoder alone over the same
//! lines in turns, the least time of each.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

use std::time::Instant;

use learnd::engine::Pipeline;
use learnd::feature::{FieldLimits, FieldReader, Record};
use learnd::model::Mode;

use super::support::{Nobody, config, cut};

const ROUNDS: usize = 15;
const LINES: usize = 20_000;

/// Microseconds a record: of decoding, of all, and the difference.
pub fn run(format: &str, file: &str, model: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)?;
    let end = memchr::memchr_iter(b'\n', text.as_bytes())
        .take(LINES)
        .last();
    let text = &text[..=end.unwrap_or(text.len() - 1)];
    let config = config(format, model);
    // The first line may be a header; it is read once, the others in every round.
    let (first, rest) = text.split_at(text.find('\n').map_or(0, |end| end + 1));
    let (head, chunk) = (cut(&config, first), cut(&config, rest));
    let source = &config.sources[0];
    let mut reader = FieldReader::new(&FieldLimits::default());
    let mut record = Record::new();
    let mut decoder = source.format.decoder(&source.limits);
    decoder.start(None);
    let decoded = decoder.decode(first.trim_end().as_bytes(), &mut reader.sink(&mut record));
    anyhow::ensure!(decoded.is_ok(), "the first line was refused: {decoded:?}");
    let mut pipeline = Pipeline::new(&config);
    pipeline.chunk(&head, Mode::Learn, &mut Nobody);
    let (mut least_decode, mut least_whole) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for span in &chunk.lines {
            let decoded = decoder.decode(chunk.line(*span), &mut reader.sink(&mut record));
            anyhow::ensure!(decoded.is_ok(), "a line was refused: {decoded:?}");
        }
        let decoded = Instant::now();
        pipeline.chunk(&chunk, Mode::Learn, &mut Nobody);
        pipeline.models_mut()[0].tally().clear();
        let whole = decoded.elapsed().as_secs_f64();
        least_decode = least_decode.min(decoded.duration_since(began).as_secs_f64());
        least_whole = least_whole.min(whole);
    }
    let each = 1e6 / chunk.lines.len() as f64;
    Ok(format!(
        "{{\"decode_us\":{:.3},\"whole_us\":{:.3},\"rest_us\":{:.3}}}",
        least_decode * each,
        least_whole * each,
        (least_whole - least_decode) * each
    ))
}
