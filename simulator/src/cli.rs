//! The command line.

mod diff;
mod fuzz;
mod parse_fuzz;
mod record;
mod replay;
mod report;
mod serve;
mod shrink;
mod traffic;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "poolkeeper-sim", version, about = "poolkeeper's sandbox and replays")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve GitHub's scale set service and AWS Auto Scaling on loopback, for any client
    #[command(after_help = "Example:\n  poolkeeper-sim serve --workload --jobs 200 --write-config /tmp/sandbox")]
    Serve(serve::Options),
    /// Run many scenarios in which things go wrong, and tell of each that does not end well
    #[command(
        after_help = "Examples:\n  poolkeeper-sim fuzz --seeds 0..20000\n  poolkeeper-sim fuzz simulator/incidents/*.json\n  poolkeeper-sim fuzz --without-defence simulator/incidents/empty-success.json"
    )]
    Fuzz(fuzz::Options),
    /// Make a failing scenario as small as it goes, and print it as a file
    #[command(after_help = "Example:\n  poolkeeper-sim shrink 4711 > story.json")]
    Shrink(shrink::Options),
    /// Replay a daemon's journal and compare every effect
    #[command(
        after_help = "Examples:\n  poolkeeper-sim replay /var/lib/poolkeeper/journal\n  poolkeeper-sim replay --explain --pool acme-linux --from 2026-05-01T10:00:00Z /var/lib/poolkeeper/journal"
    )]
    Replay(replay::Options),
    /// Run this version against what peers said in recordings, and judge what it does
    #[command(after_help = "Example:\n  poolkeeper-sim traffic --faults 0..100 /var/lib/poolkeeper/journal")]
    Traffic(traffic::Options),
    /// Make a recording one page for people: what every pool did, when and why
    #[command(after_help = "Example:\n  poolkeeper-sim report /var/lib/poolkeeper/journal -o report.html")]
    Report(report::Options),
    /// Record a simulated daemon at work, with some troubles, as a sample for the other commands
    #[command(after_help = "Example:\n  poolkeeper-sim record --pools 50 --hours 24 -o /tmp/journal")]
    Record(record::Options),
    /// Throw inputs, changed and senseless, at everything that reads what a peer or a user wrote
    #[command(after_help = "Example:\n  poolkeeper-sim parse-fuzz --inputs 10000000 --seed 7")]
    ParseFuzz(parse_fuzz::Options),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
enum Failure {
    /// The request itself was wrong.
    Usage(String),
    /// It was tried and failed.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(format!("cannot write the output: {error}"))
    }
}

/// Runs the command and says how it ended.
pub(crate) fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(options) => serve::run(&options),
        Command::Fuzz(options) => fuzz::run(&options, &mut io::stdout().lock()),
        Command::Shrink(options) => shrink::run(&options, &mut io::stdout().lock()),
        Command::Replay(options) => replay::run(&options, &mut io::stdout().lock()),
        Command::Traffic(options) => traffic::run(&options, &mut io::stdout().lock()),
        Command::Report(options) => report::run(&options, &mut io::stdout().lock()),
        Command::ParseFuzz(options) => parse_fuzz::run(&options, &mut io::stdout().lock()),
        Command::Record(options) => record::run(&options, &mut io::stdout().lock()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Nobody listens to standard error any more when this fails.
            drop(writeln!(io::stderr().lock(), "poolkeeper-sim: {failure}"));
            match failure {
                Failure::Usage(_) => ExitCode::from(USAGE),
                Failure::Failed(_) => ExitCode::from(FAILED),
            }
        }
    }
}
