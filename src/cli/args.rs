//! The command line: every command and option of the contract.
//!
//! Invariant: what is only about the shape of the command line is refused here, with exit code 2.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::base::Micros;
use crate::engine::Exclusion;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint};

/// The revision the program was built from, where that was told to the build; else empty.
pub const REVISION: &str = match option_env!("LEARND_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// The version with the revision.
static VERSION: LazyLock<String> = LazyLock::new(|| match REVISION {
    "" => env!("CARGO_PKG_VERSION").to_owned(),
    revision => format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
});

/// The daemon that learns from a stream while it runs.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "learnd",
    version = VERSION.as_str(),
    propagate_version = false,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 clean stop, 1 failed while running, 2 wrong usage or configuration, \
                  3 state that cannot be read or does not fit, 4 storage that keeps failing, \
                  5 state directory in use."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses a command line, program name first.
    ///
    /// The parser keeps a repeatable option of every command only from behind the command, where
    /// it stands on both sides; here those before it count too, and come first.
    pub fn from_command_line(args: &[OsString]) -> Result<Cli, clap::Error> {
        let mut cli = Cli::try_parse_from(args)?;
        let command = Cli::command()
            .subcommand_required(false)
            .arg_required_else_help(false);
        let is_command = |arg: &OsString| command.get_subcommands().any(|c| arg == c.get_name());
        let head = args.iter().position(is_command).unwrap_or(args.len());
        let matches = command.clone().try_get_matches_from(&args[..head])?;
        let before = matches.get_many::<(String, String)>("set");
        let before: Vec<(String, String)> = before.unwrap_or_default().cloned().collect();
        if cli.global.set != before {
            cli.global.set.splice(..0, before);
        }
        Ok(cli)
    }
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The least severe messages that are logged, on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info, value_name = "LEVEL")]
    pub log_level: LogLevel,
    /// How log messages are written [default: text on a terminal, else json]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Sets a key of the configuration: a TOML value, else a string (repeatable)
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

/// Severities of log messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something needs attention.
    Warn,
    /// Something happened.
    Info,
    /// Everything.
    Debug,
}

/// Formats of log messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Learn from the configured sources until they end or the process is stopped
    Run(RunArgs),
    /// Validate a configuration without binding a port or touching state
    Check(CheckArgs),
    /// Run the pipeline over files at disk speed: predict, score, then learn
    Eval(EvalArgs),
    /// Show what is in a snapshot
    Inspect(InspectArgs),
    /// List the generations of snapshots in a state directory
    Snapshots(SnapshotsArgs),
    /// Print the commented reference configuration
    Reference(ReferenceArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

/// `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration; without one: JSON lines on stdin, anomalies on stdout
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Start this model anew and archive its old state (repeatable)
    #[arg(long, value_name = "MODEL")]
    pub reset: Vec<String>,
    /// Go back to this generation (`learnd snapshots` lists them) and learn again what the journal
    /// has since, even if the journal does not reach back to it
    #[arg(long, value_name = "GENERATION")]
    pub from: Option<u64>,
    /// Leave out what this source received in this time when learning again; an open end is left
    /// empty, times are RFC 3339 or Unix seconds (repeatable)
    #[arg(long, value_name = "SOURCE/TIME..TIME", requires = "from", value_parser = exclusion)]
    pub exclude: Vec<Exclusion>,
}

/// `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The configuration
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Show the effective configuration and the memory each model will take
    #[arg(long)]
    pub print: bool,
}

/// `eval`.
#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
    /// The configuration
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Files that stand in for the source; `-` is stdin, .gz and .zst are read as they are
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// The source that the files stand in for, where the configuration has several
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Print one JSON object on stdout instead of the table
    #[arg(long)]
    pub json: bool,
    /// Then score this file with learning off (repeatable)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub test: Vec<PathBuf>,
    /// Passes over the files; the first is the progressive one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub passes: u32,
    /// Write one prediction or score event a record and model
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub predictions: Option<PathBuf>,
    /// Save what was learned as a snapshot
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub save: Option<PathBuf>,
    /// Begin with what this snapshot has learned
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
}

/// `inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// A snapshot, or a state directory: its newest valid one
    #[arg(value_hint = ValueHint::AnyPath)]
    pub snapshot: PathBuf,
    /// Print the digest alone
    #[arg(long, conflicts_with = "json")]
    pub digest: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// `snapshots`.
#[derive(Args, Clone, Debug)]
pub struct SnapshotsArgs {
    /// The state directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Print an array of JSON objects
    #[arg(long)]
    pub json: bool,
}

/// `reference`.
#[derive(Args, Clone, Debug)]
pub struct ReferenceArgs {
    /// Print a JSON Schema for editors instead
    #[arg(long)]
    pub schema: bool,
}

/// `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

fn exclusion(text: &str) -> Result<Exclusion, String> {
    let wrong =
        || "write SOURCE/TIME..TIME, as in orders/2026-11-23T10:00Z..2026-11-23T11:00Z".to_owned();
    let (source, times) = text.split_once('/').ok_or_else(wrong)?;
    let (from, to) = times.split_once("..").ok_or_else(wrong)?;
    let time = |text: &str, open: Micros| match text {
        "" => Ok(open),
        text => match text.parse::<f64>() {
            Ok(seconds) => Micros::from_scaled(seconds, 1e6).ok_or_else(wrong),
            Err(_) => Micros::parse(text).ok_or_else(wrong),
        },
    };
    let (from, to) = (time(from, Micros(i64::MIN))?, time(to, Micros(i64::MAX))?);
    if source.is_empty() || from >= to {
        return Err(wrong());
    }
    let source = source.to_owned();
    Ok(Exclusion { source, from, to })
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write KEY=VALUE, as in models.churn.hash_bits=22".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_stand_anywhere() {
        let set = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let cli = Cli::from_command_line(&args).unwrap();
            let pairs = cli.global.set.into_iter();
            pairs.map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>()
        };
        assert_eq!(set("learnd run"), Vec::<String>::new());
        assert_eq!(set("learnd --set a.b=1 run c.toml"), ["a.b:1"]);
        assert_eq!(
            set("learnd run --set c=x=y --set d= c.toml"),
            ["c:x=y", "d:"]
        );
        assert_eq!(
            set("learnd --log-level warn --set a=1 check c.toml --set=a=2"),
            ["a:1", "a:2"]
        );
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for wrong in [
            &["learnd"][..],
            &["learnd", "frobnicate"],
            &["learnd", "run", "a", "b"],
            &["learnd", "check"],
            &["learnd", "eval", "c.toml"],
            &["learnd", "eval", "c.toml", "f", "--passes", "0"],
            &["learnd", "run", "--set", "novalue"],
            &["learnd", "inspect", "--json", "--digest", "s"],
            &["learnd", "run", "--exclude", "a/1..2"],
            &["learnd", "run", "--from", "1", "--exclude", "a/2..1"],
            &["learnd", "run", "--from", "1", "--exclude", "a"],
        ] {
            let error = Cli::try_parse_from(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
        let version = Cli::try_parse_from(["learnd", "-V"]).unwrap_err();
        assert_eq!(version.exit_code(), 0);
        assert!(version.to_string().starts_with("learnd 0."));
    }
}
