//! The command line: one file a command. Data goes to stdout, everything else to stderr.
//!
//! Invariant: every error is reported once, here, and its exit code is the contract's.

mod args;
mod check;
mod completions;
mod eval;
mod inspect;
mod man;
mod reference;
mod run;
mod snapshots;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::config::{self, Config, Overrides};
use crate::telemetry;

use args::{Cli, Command, Global, LogLevel};

/// Why a command failed, for people, and the exit code that says so to scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
        }
    }
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::from_command_line(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are answers, not errors: clap knows where each goes.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            let mut stderr = io::stderr().lock();
            // Without a stderr there is nobody left to tell.
            drop(writeln!(stderr, "{}", failure.message.trim_end()));
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let global = &cli.global;
    let overrides = Overrides::from_process(&global.set);
    let color = colored(&io::stderr());
    let loaded = |config: Result<Config, config::Report>| {
        config.map_err(|report| Failure::new(2, report.render(color)))
    };
    match cli.command {
        Command::Run(args) => {
            let config = loaded(match &args.config {
                Some(path) => config::load(path, &overrides),
                None => Config::default_run(&overrides),
            })?;
            start_logging(global, color);
            run::run(&config, args)
        }
        Command::Check(args) => {
            let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
            written(check::check(&args, &overrides, color, &mut out, &mut err))
        }
        Command::Eval(args) => {
            let config = loaded(config::load(&args.config, &overrides))?;
            start_logging(global, color);
            eval::eval(config, &args)
        }
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Snapshots(args) => snapshots::snapshots(&args),
        Command::Reference(args) => {
            written(reference::reference(&args, &mut io::stdout().lock()).map(|()| 0))
        }
        Command::Completions(args) => {
            written(completions::completions(&args, &mut io::stdout().lock()).map(|()| 0))
        }
        Command::Man => written(man::man(&mut io::stdout().lock()).map(|()| 0)),
    }
}

/// Whether a stream takes colors.
fn colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn start_logging(global: &Global, color: bool) {
    let format = match global.log_format {
        Some(args::LogFormat::Text) => telemetry::LogFormat::Text,
        None if io::stderr().is_terminal() => telemetry::LogFormat::Text,
        Some(args::LogFormat::Json) | None => telemetry::LogFormat::Json,
    };
    let level = match global.log_level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    // It is started once, here; a second start would be the only way to fail.
    drop(telemetry::init(level.into(), format, color));
}

/// What writing data came to: a reader that went away is a clean end.
fn written(outcome: io::Result<u8>) -> Result<ExitCode, Failure> {
    match outcome {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(1, format!("stdout: {error}"))),
    }
}

/// Writes data to stdout.
fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    written(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map(|()| 0),
    )
}
