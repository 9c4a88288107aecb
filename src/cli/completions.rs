//! `learnd completions SHELL`.
//!
//! Invariant: made from the same definition as the parser.

use std::io::{self, Write};

use clap::CommandFactory as _;

use super::args::{Cli, CompletionsArgs};

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics where it cannot write, so it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "learnd", &mut text);
    out.write_all(&text)?;
    out.flush()
}
