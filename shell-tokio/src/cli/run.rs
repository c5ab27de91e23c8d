//! `poolkeeper run`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use poolkeeper_core::event::ExitReason;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::failure::EXIT_FAILED;
use poolkeeper_shell::systemd;
use poolkeeper_shell::{logging, start};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigArgs, Failure, VERSION, runtime};
use crate::daemon::{Daemon, Ended, Handle, Options};

/// How long a dry run may take.
const DRY_RUN_MAX: Duration = Duration::from_secs(60);

/// Options of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Read groups and scale sets, print one plan, change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: RunArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    logging::init().map_err(Failure::Config)?;
    let options =
        Options { config_file: args.config.config, seed: start::seed(), dry_run: args.dry_run, credentials: None };
    runtime::block_on(async move {
        if options.dry_run { plan(config, options).await } else { serve(config, options).await }
    })
}

async fn serve(config: DaemonConfig, options: Options) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let (daemon, handle) = Daemon::open(config, options).await?;
    tracing::info!("poolkeeper {}", *VERSION);
    systemd::ready();
    let watch = tokio::spawn(signals.pass_on(handle));
    let ended = daemon.run().await;
    watch.abort();
    match ended {
        Ended::Stopped(ExitReason::Stopped | ExitReason::StoppedAtDeadline) | Ended::Planned(_) => Ok(()),
    }
}

async fn plan(config: DaemonConfig, options: Options) -> Result<(), Failure> {
    let (daemon, _handle) = Daemon::open(config, options).await?;
    let late = || {
        let waited = DRY_RUN_MAX.as_secs();
        Failure::Failed(format!("no plan after {waited} s: GitHub or AWS did not answer (see above)"))
    };
    match tokio::time::timeout(DRY_RUN_MAX, daemon.run()).await.map_err(|_| late())? {
        Ended::Planned(plan) => Ok(write!(std::io::stdout().lock(), "{plan}")?),
        Ended::Stopped(_) => Err(Failure::Failed("stopped before the plan was complete".into())),
    }
}

/// The signals the daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The first SIGTERM or SIGINT stops in order, the second at once; SIGHUP reads the config again.
    async fn pass_on(mut self, handle: Handle) {
        let mut stopping = false;
        loop {
            let stop = tokio::select! {
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
                _ = self.hang_up.recv() => false,
            };
            if stop && stopping {
                tracing::warn!("told to stop twice: ending at once, sessions stay open");
                std::process::exit(i32::from(EXIT_FAILED));
            }
            let taken = if stop {
                stopping = true;
                systemd::stopping();
                handle.stop()
            } else {
                handle.reload()
            };
            if !taken {
                tracing::error!("the daemon's loop takes no more requests: the signal is lost");
            }
        }
    }
}
