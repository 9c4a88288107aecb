//! The program: everything happens in `learnd::cli`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use learnd::cli::args::{Cli, Command};
use learnd::cli::{check, completions, man, reference};
use learnd::config::Overrides;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::from_command_line(&args) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    let overrides = Overrides::from_process(&cli.global.set);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let color = err.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let result = match &cli.command {
        Command::Check(args) => check::check(args, &overrides, color, &mut out, &mut err),
        Command::Reference(args) => reference::reference(args, &mut out).map(|()| 0),
        Command::Completions(args) => completions::completions(args, &mut out).map(|()| 0),
        Command::Man => man::man(&mut out).map(|()| 0),
        Command::Run(_) | Command::Eval(_) | Command::Inspect(_) => Ok(1),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}
