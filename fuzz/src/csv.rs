//! CSV beside the `csv` crate: of every record that is accepted, each column is what it reads.

use csv::{ReaderBuilder, StringRecord};
use learnd::base::Cutter;
use learnd::decode::{CsvConfig, Decoded, FormatConfig};

use crate::told::{Told, bits, read, record, wide};

/// One record as the `csv` crate reads it.
fn strict(line: &[u8], delimiter: u8) -> Option<StringRecord> {
    // A byte order mark is one only at the start of a stream, which this line is not.
    let after_blank = [b"\n", line].concat();
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        // The framer has cut the record; a carriage return within it is a character like others.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(&after_blank[..]);
    let mut record = StringRecord::new();
    let found = reader.read_record(&mut record).ok()?;
    found.then_some(record)
}

/// Whether a column may be told so.
fn agrees(told: &Told, column: &str) -> bool {
    let trimmed = column.trim_ascii();
    match told {
        Told::Null => trimmed.is_empty(),
        Told::Number(x) => trimmed.parse().is_ok_and(|y| bits(y) == *x),
        Told::Boolean(x) => trimmed.eq_ignore_ascii_case(if *x { "true" } else { "false" }),
        Told::Text(x) => x == column,
        Told::Vector(_) | Told::Other => false,
    }
}

/// The first byte chooses delimiter and header, the rest is a stream.
pub fn check(data: &[u8]) {
    let [kind, data @ ..] = data else {
        return;
    };
    let delimiter = [b',', b';', b'\t'][usize::from(*kind) % 3];
    let header = kind & 128 != 0;
    let config = CsvConfig {
        delimiter,
        header,
        columns: if header {
            vec![]
        } else {
            vec!["a".into(), "b".into(), "c".into()]
        },
        ..CsvConfig::default()
    };
    let format = FormatConfig::Csv(config);
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    let mut cutter = Cutter::new(format.framer(), 1 << 20, 0);
    cutter.push(data, &mut bytes, &mut spans);
    cutter.finish(&mut bytes, &mut spans);

    let limits = wide();
    let mut decoders = [(); 3].map(|()| {
        let mut decoder = format.decoder(&limits);
        decoder.start(None);
        decoder
    });
    let mut records = [record(1 << 16), record(1)];
    for span in spans {
        let line = &bytes[span.start as usize..span.end as usize];
        let shown = line.escape_ascii();
        let (got, recorder) = read(&mut decoders, &mut records, line);
        match got {
            Ok(Decoded::Record) => {
                let want = strict(line, delimiter).expect("a record");
                assert_eq!(recorder.fields.len(), want.len(), "{shown}");
                for ((name, told), column) in recorder.fields.iter().zip(&want) {
                    assert!(
                        agrees(told, column),
                        "{shown}: {name} is {column:?}, told {told:?}"
                    );
                }
            }
            Ok(Decoded::Blank) => assert!(line.trim_ascii().is_empty(), "{shown}"),
            Ok(Decoded::Header) => assert!(header, "{shown}"),
            Err(_) => {
                // Three columns of plain letters are always a record.
                let plain = |b: &u8| b.is_ascii_lowercase() || *b == delimiter;
                let columns = line.iter().filter(|b| **b == delimiter).count();
                let nonfinite = line
                    .split(|b| *b == delimiter)
                    .any(|x| [b"nan".as_slice(), b"inf", b"infinity"].contains(&x));
                let simple = !header && columns == 2 && line.iter().all(plain) && !nonfinite;
                assert!(!simple, "{shown} was refused");
            }
        }
    }
}
