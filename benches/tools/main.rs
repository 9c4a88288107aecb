//! What the benchmark scripts need and Python is too slow for; each prints one line.
//!
//!     bench-tools scan FILE                     sums the numbers of a CSV file, nothing else
//!     bench-tools generate FORMAT RECORDS       dense records (json, csv or vw) to standard output
//!     bench-tools load ADDRESS FILE CONNECTIONS RATE SECONDS
//!                                               sends lines at a rate (0: as fast as they go) and
//!                                               times the replies
//!     bench-tools rest FORMAT FILE MODEL        a record's time without decoding; MODEL is TOML

mod generate;
mod load;
mod rest;
mod scan;
#[path = "../support.rs"]
mod support;

use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let line = match words[..] {
        ["scan", file] => scan::run(file)?,
        ["generate", format, records] => return generate::run(format, records.parse()?),
        ["load", address, file, connections, rate, seconds] => load::run(
            address,
            file,
            connections.parse()?,
            rate.parse()?,
            seconds.parse()?,
        )?,
        ["rest", format, file, model] => rest::run(format, file, model)?,
        _ => anyhow::bail!("usage: bench-tools scan | generate | load | rest, see benches/tools"),
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
