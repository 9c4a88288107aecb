//! Dense records made as fast as they are read: 20 numbers of six decimals and a linear teacher
//! with noise. The same records every time.

use std::io::Write as _;

use learnd::math::Random;

const NUMBERS: usize = 20;

/// About normal with standard deviation 1, in millionths: the sum of four uniform numbers.
fn draw(random: &mut Random) -> i64 {
    let bits = random.bits();
    let quarter = |i: u32| (bits >> (16 * i)) as i64 & 0xffff;
    ((0..4).map(quarter).sum::<i64>() - 2 * 0xffff) * 26
}

/// Writes millionths as a decimal number.
fn decimal(out: &mut Vec<u8>, millionths: i64) {
    if millionths < 0 {
        out.push(b'-');
    }
    let rest = millionths.unsigned_abs();
    let mut digits = [b'0'; 20];
    let (mut left, mut at) = (rest, digits.len());
    while left > 0 || at > digits.len() - 7 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let whole = digits.len() - 6;
    out.extend_from_slice(&digits[at..whole]);
    out.push(b'.');
    out.extend_from_slice(&digits[whole..]);
}

/// Writes so many records to standard output, until nobody reads it.
pub fn run(format: &str, records: u64) -> anyhow::Result<()> {
    let mut random = Random::new(20_260_101);
    let teacher: [i64; NUMBERS] = std::array::from_fn(|_| draw(&mut random) / 1000);
    let (mut out, mut x) = (Vec::with_capacity(1 << 17), [0; NUMBERS]);
    let mut stdout = std::io::stdout().lock();
    // Before each value.
    let names: Vec<String> = (0..NUMBERS)
        .map(|i| match format {
            "json" => format!(",\"x{i}\":"),
            "csv" => ",".to_owned(),
            _ => format!(" x{i}:"),
        })
        .collect();
    let (head, label_end, tail) = match format {
        "json" => ("{\"_label\":", "", "}\n"),
        "csv" => ("", "", "\n"),
        "vw" => ("", " |", "\n"),
        _ => anyhow::bail!("no format {format}; there are json, csv and vw"),
    };
    if format == "csv" {
        out.extend_from_slice(b"_label");
        (0..NUMBERS).for_each(|i| out.extend_from_slice(format!(",x{i}").as_bytes()));
        out.push(b'\n');
    }
    for record in 1..=records {
        x.fill_with(|| draw(&mut random));
        let y: i64 = x.iter().zip(&teacher).map(|(v, w)| v * w / 1000).sum();
        out.extend_from_slice(head.as_bytes());
        decimal(&mut out, y + draw(&mut random) / 2);
        out.extend_from_slice(label_end.as_bytes());
        for (name, &value) in names.iter().zip(&x) {
            out.extend_from_slice(name.as_bytes());
            decimal(&mut out, value);
        }
        out.extend_from_slice(tail.as_bytes());
        if out.len() > 1 << 16 || record == records {
            if let Err(error) = stdout.write_all(&out) {
                let closed = error.kind() == std::io::ErrorKind::BrokenPipe;
                return if closed { Ok(()) } else { Err(error.into()) };
            }
            out.clear();
        }
    }
    Ok(())
}
