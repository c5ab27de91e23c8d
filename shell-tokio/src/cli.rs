//! The command line.

mod explain;
mod run;
mod runner;
pub(crate) mod runtime;
mod scale_set;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use poolkeeper_shell::PROTOCOL;
use poolkeeper_shell::config::{self, DaemonConfig};
use poolkeeper_shell::failure;
pub(crate) use poolkeeper_shell::failure::Failure;

static VERSION: LazyLock<String> = LazyLock::new(|| format!("{} (protocol {PROTOCOL})", env!("CARGO_PKG_VERSION")));

/// Keeps pools of self-hosted GitHub Actions runners at the level GitHub asks for.
#[derive(Debug, Parser)]
#[command(name = "poolkeeper", version = VERSION.as_str(), after_help = "Example:\n  poolkeeper run --dry-run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    #[command(after_help = "Example:\n  poolkeeper run --config /etc/poolkeeper/poolkeeper.toml")]
    Run(run::RunArgs),
    /// Tell the story of one instance, pool or job, from the journal.
    #[command(
        after_help = "Examples:\n  poolkeeper explain i-0123456789abcdef0\n  poolkeeper explain acme-linux --until 2026-05-01T10:00:00Z\n  poolkeeper explain acme/linux --url http://127.0.0.1:9464"
    )]
    Explain(explain::ExplainArgs),
    /// Look at scale sets.
    #[command(subcommand, after_help = "Example:\n  poolkeeper scale-set get acme-linux --org acme")]
    ScaleSet(scale_set::ScaleSetCommand),
    /// Look at runners, and remove idle ones.
    #[command(subcommand, after_help = "Example:\n  poolkeeper runner list --org acme")]
    Runner(runner::RunnerCommand),
    /// Watch the daemon at work against a GitHub and an AWS of its own.
    #[cfg(feature = "demo")]
    #[command(after_help = "Example:\n  poolkeeper demo --pools 8 --jobs 200")]
    Demo(crate::demo::DemoArgs),
}

/// Where the config is.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// The config file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Explain(args) => explain::run(args),
        Command::ScaleSet(command) => scale_set::run(command),
        Command::Runner(command) => runner::run(command),
        #[cfg(feature = "demo")]
        Command::Demo(args) => crate::demo::run(args),
    };
    failure::exit("poolkeeper", done)
}

impl ConfigArgs {
    fn load(&self) -> Result<DaemonConfig, Failure> {
        Ok(config::load(&self.config, config::environment())?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
            for sub in command.get_subcommands() {
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
