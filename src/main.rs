//! The program: everything happens in `learnd::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    learnd::cli::main()
}
