//! The command line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::thread::Builder;

use clap::{Args, Parser, Subcommand};
use poolkeeper_core::event::ExitReason;
use poolkeeper_shell::config;
use poolkeeper_shell::control::Control;
use poolkeeper_shell::failure::{self, EXIT_FAILED, Failure};
use poolkeeper_shell::{PROTOCOL, logging, systemd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::Daemon;
use crate::inbox::Inbox;

/// Files and sockets wanted: one for each poll, and room for the rest. The system's own limit may be lower.
const OPEN_FILES: u64 = 65_536;
const SIGNALS_STACK_BYTES: usize = 128 << 10;
static VERSION: LazyLock<String> = LazyLock::new(|| format!("{} (protocol {PROTOCOL})", env!("CARGO_PKG_VERSION")));

/// Keeps pools of self-hosted GitHub Actions runners at the level GitHub asks for, on a minimal host.
#[derive(Debug, Parser)]
#[command(
    name = "poolkeeper-blocking",
    version = VERSION.as_str(),
    after_help = "Example:\n  poolkeeper-blocking run --config /etc/poolkeeper/poolkeeper.toml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    #[command(after_help = "Example:\n  poolkeeper-blocking run --config /etc/poolkeeper/poolkeeper.toml")]
    Run(RunArgs),
}

/// Options of `run`.
#[derive(Debug, Args)]
struct RunArgs {
    /// The config file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

/// Runs the command that the process was called with.
pub(crate) fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    failure::exit("poolkeeper-blocking", run(args))
}

fn run(args: RunArgs) -> Result<(), Failure> {
    let config = config::load(&args.config, config::environment())?;
    logging::init().map_err(Failure::Config)?;
    if let Err(error) = rlimit::increase_nofile_limit(OPEN_FILES) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (daemon, inbox) = Daemon::open(config, args.config)?;
    Builder::new()
        .name("signals".to_owned())
        .stack_size(SIGNALS_STACK_BYTES)
        .spawn(move || pass_on(signals, &inbox))?;
    tracing::info!("poolkeeper {}", *VERSION);
    systemd::ready();
    // A panic has told of itself.
    match catch_unwind(AssertUnwindSafe(|| daemon.run())).map_err(|_| Failure::Told)? {
        ExitReason::Stopped | ExitReason::StoppedAtDeadline => Ok(()),
    }
}

/// The first SIGTERM or SIGINT stops in order, the second at once; SIGHUP reads the config again.
fn pass_on(mut signals: Signals, inbox: &Inbox) {
    let mut stopping = false;
    for signal in signals.forever() {
        let stop = signal != SIGHUP;
        if stop && stopping {
            tracing::warn!("told to stop twice: ending at once, sessions stay open");
            std::process::exit(i32::from(EXIT_FAILED));
        }
        if stop {
            stopping = true;
            systemd::stopping();
        }
        if !inbox.ask(if stop { Control::Stop } else { Control::Reload }) {
            tracing::error!("the daemon's loop takes no more requests: the signal is lost");
        }
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
}
