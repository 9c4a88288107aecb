//! `learnd check`: everything that can be validated without binding a port or touching state.
//!
//! Invariant: goes through `config::load`, as `run` does.

use std::io::{self, Write};

use crate::config::{self, Overrides};

use super::args::CheckArgs;

/// Checks a configuration; the exit code is 0 or 2.
///
/// Prints nothing where all is well (with `--print` the effective configuration on `out`), else
/// every problem on `err`, in colors where `color` says so.
pub fn check(
    args: &CheckArgs,
    overrides: &Overrides,
    color: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    match config::load(&args.config, overrides) {
        Ok(config) => {
            if args.print {
                out.write_all(config::print(&config).as_bytes())?;
                out.flush()?;
            }
            Ok(0)
        }
        Err(report) => {
            err.write_all(report.render(color).as_bytes())?;
            Ok(2)
        }
    }
}
