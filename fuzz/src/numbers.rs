//! Number literals in every format beside `str::parse`: the nearest double, or no number.

use learnd::base::RejectReason;
use learnd::decode::{CsvConfig, Decoded, Decoder, FormatConfig, VwHash};

use crate::told::{Recorder, Told, bits, wide};

/// Whether JSON's grammar has this number.
fn is_json(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

fn decode(decoder: &mut Decoder, line: &str) -> Result<Recorder, RejectReason> {
    let mut recorder = Recorder::default();
    match decoder.decode(line.as_bytes(), &mut recorder) {
        Ok(decoded) => assert_eq!(decoded, Decoded::Record, "{line}"),
        Err(reject) => return Err(reject.reason),
    }
    Ok(recorder)
}

/// Each line of the data whose characters numbers have.
pub fn check(data: &[u8]) {
    let limits = wide();
    let mut json = FormatConfig::Json.decoder(&limits);
    let mut vw = FormatConfig::Vw(VwHash::Strings).decoder(&limits);
    let mut svmlight = FormatConfig::Svmlight.decoder(&limits);
    let columns = CsvConfig {
        header: false,
        columns: vec!["a".into(), "b".into()],
        ..CsvConfig::default()
    };
    let mut csv = FormatConfig::Csv(columns).decoder(&limits);
    for line in data.split(|b| *b == b'\n') {
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        if text.is_empty() || !text.bytes().all(|b| b"0123456789+-.eE".contains(&b)) {
            continue;
        }
        let strict: Option<f64> = text.parse().ok();
        let finite = strict.filter(|x| x.is_finite());

        let got = decode(&mut json, &format!("{{\"a\":{text}}}"));
        match (is_json(text), finite) {
            (true, Some(x)) => {
                let told = got
                    .unwrap_or_else(|reason| panic!("{text}: {reason:?}"))
                    .fields;
                assert_eq!(told, [("a".into(), Told::Number(bits(x)))], "{text}");
            }
            (true, None) => assert_eq!(got.unwrap_err(), RejectReason::NumberRange, "{text}"),
            // Which reason is found first is not the point: `1e999e9` is out of range, too.
            (false, _) => assert!(got.is_err(), "{text}"),
        }

        let got = decode(&mut csv, &format!("{text},1"));
        match (strict, finite) {
            (_, Some(x)) => {
                let told = got
                    .unwrap_or_else(|reason| panic!("{text}: {reason:?}"))
                    .fields;
                assert_eq!(told[0].1, Told::Number(bits(x)), "{text}");
            }
            (Some(_), None) => assert_eq!(got.unwrap_err(), RejectReason::NumberRange, "{text}"),
            (None, None) => assert_eq!(got.unwrap().fields[0].1, Told::Text(text.into())),
        }

        for (decoder, line) in [
            (&mut vw, format!("1 | a:{text}")),
            (&mut svmlight, format!("1 5:{text}")),
        ] {
            let Ok(told) = decode(decoder, &line) else {
                // Refused is always safe, unless it is a plain number.
                let plain = is_json(text) && finite.is_some_and(|x| (x as f32).is_finite());
                assert!(!plain, "{line} was refused");
                continue;
            };
            let Some(x) = finite else {
                // A category of Vowpal Wabbit's.
                assert!(
                    told.hashed.len() == 1 && told.hashed[0].value == 1.0,
                    "{line}"
                );
                continue;
            };
            let want = Some(x as f32).filter(|x| *x != 0.0);
            assert_eq!(told.hashed.first().map(|f| f.value), want, "{line}");
        }
    }
}
