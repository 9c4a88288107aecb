//! Parts of JSON text appended to a buffer, without the formatting machinery of the standard
//! library: an event is rendered for every record.
//!
//! Invariant: byte for byte what `serde_json` and `format!` write of the same value; the tests hold
//! the two side by side.

use std::io::Write as _;

use super::Micros;

/// The bytes that stand for themselves in a JSON string.
const PLAIN: [bool; 256] = {
    let mut out = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        out[byte] = false;
        byte += 1;
    }
    out[b'"' as usize] = false;
    out[b'\\' as usize] = false;
    out
};

/// As many parts as [`fixed_six`] writes decimals of.
const MILLION: u64 = 1_000_000;

/// Two hexadecimal digits for each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut out = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        out[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    out
};

/// The shortest decimal that reads back as the same double; null for what JSON cannot say.
pub(super) fn number(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// A whole number.
pub(super) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A string in its quotes.
pub(super) fn string(value: &str, out: &mut Vec<u8>) {
    if value.bytes().all(|b| PLAIN[b as usize]) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, value).expect("writing to memory cannot fail");
    }
}

/// 32 hexadecimal digits.
pub(super) fn hex(value: u128, out: &mut Vec<u8>) {
    let mut digits = [[0; 2]; 16];
    for (pair, byte) in digits.iter_mut().zip(value.to_be_bytes()) {
        *pair = HEX[byte as usize];
    }
    out.extend_from_slice(digits.as_flattened());
}

/// As [`Micros`] displays itself.
pub(super) fn time(time: Micros, out: &mut Vec<u8>) {
    match time.rfc3339() {
        Some((text, length)) => out.extend_from_slice(&text[..length]),
        None => write!(out, "{time}").expect("writing to memory cannot fail"),
    }
}

/// A number as C's `%f` and `format!("{:.6}")` write it: six decimals, exactly rounded, half to
/// even.
pub fn fixed_six(value: f32, out: &mut Vec<u8>) {
    /// Explicit bits of the fraction, and the exponent's bias with them.
    const FRACTION: u32 = 23;
    const BIAS: u32 = 127 + FRACTION;
    let bits = value.to_bits();
    let exponent = bits >> FRACTION & 0xff;
    if exponent >= BIAS {
        // Whole and large, or no number at all: rare enough for the long way.
        write!(out, "{value:.6}").expect("writing to memory cannot fail");
        return;
    }
    // The value is `significand` / 2^`shift`, so its millionths are whole and below 2^44 before
    // the division, and the remainder decides the rounding exactly.
    let fraction = u64::from(bits & ((1 << FRACTION) - 1));
    let (significand, shift) = if exponent == 0 {
        (fraction, BIAS - 1)
    } else {
        (fraction | 1 << FRACTION, BIAS - exponent)
    };
    let scaled = significand * MILLION;
    let millionths = if shift < 64 {
        let (whole, rest, half) = (
            scaled >> shift,
            scaled & ((1 << shift) - 1),
            1 << (shift - 1),
        );
        whole + u64::from(rest > half || (rest == half && whole & 1 == 1))
    } else {
        0
    };
    if value.is_sign_negative() {
        out.push(b'-');
    }
    integer(millionths / MILLION, out);
    // A leading one keeps the zeros; it gives its place to the point.
    let start = out.len();
    integer(millionths % MILLION + MILLION, out);
    out[start] = b'.';
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn numbers_are_what_serde_json_writes_and_read_back_as_themselves(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let written = text(|out| number(value, out));
            prop_assert_eq!(&written, &serde_json::to_string(&value).unwrap());
            if value.is_finite() {
                prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits);
            }
        }

        #[test]
        fn strings_are_what_serde_json_writes(value in "\\PC*|[\u{0}-\u{30}\"\\\\]{0,40}|[a-z]*") {
            prop_assert_eq!(text(|out| string(&value, out)), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn ids_are_32_digits(value in any::<u128>()) {
            prop_assert_eq!(text(|out| hex(value, out)), format!("{value:032x}"));
        }

        #[test]
        fn times_are_what_they_display(
            micros in prop_oneof![-62_135_596_800_000_000i64..253_402_300_800_000_000, any::<i64>()],
        ) {
            for micros in [micros, micros / 1000 * 1000, micros / 1_000_000 * 1_000_000] {
                let at = Micros(micros);
                prop_assert_eq!(text(|out| time(at, out)), at.to_string());
            }
        }

        #[test]
        fn six_decimals_are_what_the_standard_library_writes(
            bits in any::<u32>(), near in -1e9f32..1e9, small in -4f32..4.0,
        ) {
            for value in [f32::from_bits(bits), near, small, small / 1e6] {
                prop_assert_eq!(text(|out| fixed_six(value, out)), format!("{value:.6}"));
            }
        }
    }

    #[test]
    fn six_decimals_at_the_edges() {
        // Halves of a millionth are exact only with seven factors of two: 1/128 = 0.0078125.
        let halves = (0..4096).map(|i| i as f32 / 128.0);
        let edges = [
            0.0,
            -0.0,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            8_388_607.5,
            8_388_608.0,
            16_777_216.0,
            0.999_999_9,
            -0.999_999_94,
            5e-7,
            4.999_999_6e-7,
        ];
        for value in edges.into_iter().chain(halves) {
            let (up, down) = (value.next_up(), value.next_down());
            for value in [value, -value, up, down] {
                assert_eq!(text(|out| fixed_six(value, out)), format!("{value:.6}"));
            }
        }
    }
}
