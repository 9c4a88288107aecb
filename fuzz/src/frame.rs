//! Cutting a stream into records: the sizes in which bytes arrive never matter, nothing is lost.

use learnd::base::{Cutter, LineSpan};
use learnd::decode::{CsvConfig, FormatConfig};

/// The lines with their marks, the place after them, and NUL bytes skipped.
fn cut(
    format: &FormatConfig,
    limit: usize,
    data: &[u8],
    sizes: impl Iterator<Item = usize>,
) -> (Vec<(Vec<u8>, bool)>, u64, u64) {
    let mut cutter = Cutter::new(format.framer(), limit, 0);
    let (mut bytes, mut lines): (Vec<u8>, Vec<LineSpan>) = (Vec::new(), Vec::new());
    let (mut rest, mut before) = (data, 0);
    for size in sizes {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.clamp(1, rest.len()));
        cutter.push(now, &mut bytes, &mut lines);
        assert!(before <= cutter.offset(), "the place never goes back");
        before = cutter.offset();
        rest = later;
    }
    cutter.push(rest, &mut bytes, &mut lines);
    cutter.finish(&mut bytes, &mut lines);
    assert!(!cutter.holds_partial());
    let lines = lines
        .iter()
        .map(|s| (bytes[s.start as usize..s.end as usize].to_vec(), s.too_long))
        .collect();
    (lines, cutter.offset(), cutter.take_skipped())
}

/// The first bytes choose format, limit and sizes; the rest is the stream.
pub fn check(data: &[u8]) {
    let [kind, limit, size, data @ ..] = data else {
        return;
    };
    let format = match kind % 3 {
        0 => FormatConfig::Json,
        1 => FormatConfig::Csv(CsvConfig::default()),
        _ => FormatConfig::Csv(CsvConfig {
            delimiter: b';',
            quote: b'\'',
            ..CsvConfig::default()
        }),
    };
    let limit = usize::from(*limit) + 1;
    let whole = cut(&format, limit, data, std::iter::empty());
    assert_eq!(whole.1, data.len() as u64, "every byte is accounted for");
    assert!(whole.0.iter().all(|line| line.1 || line.0.len() <= limit));
    let seed = usize::from(*size);
    let varied = (0..).map(|i: usize| (i * i + seed) % 13 + 1);
    for (name, other) in [
        (
            "one at a time",
            cut(&format, limit, data, std::iter::repeat(1)),
        ),
        (
            "equal parts",
            cut(&format, limit, data, std::iter::repeat(seed + 1)),
        ),
        ("any parts", cut(&format, limit, data, varied)),
    ] {
        assert_eq!(other, whole, "{name}");
    }
}
