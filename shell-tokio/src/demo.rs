//! `poolkeeper demo`: a GitHub, an AWS and a workload on loopback, and the daemon at work between them.

mod report;
mod screen;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use clap::{Args, ValueEnum};
use poolkeeper_shell::clock;
use poolkeeper_shell::config::{self, DaemonConfig, JournalSettings};
use poolkeeper_shell::logging;
use poolkeeper_simulator::github::{GitHubConfig, SetKey};
use poolkeeper_simulator::runners::RunnersConfig;
use poolkeeper_simulator::sandbox::scenery::{Scenery, write_daemon_files};
use poolkeeper_simulator::sandbox::{Sandbox, SandboxConfig};
use poolkeeper_simulator::workload::WorkloadConfig;
use poolkeeper_simulator::world::{LeftBehind, Totals, World, WorldConfig};

use crate::cli::{Failure, runtime};
use crate::daemon::{Daemon, Ended, Handle, Options};
use report::Report;
use screen::Screen;

const POOLS_MAX: u64 = 1000;
const JOBS_MAX: u64 = 100_000;
/// How often the demo looks at the sandbox.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the daemon may take until it polls for every pool.
const LISTENING_MAX: Duration = Duration::from_secs(30);
/// What the last jobs may take, beyond the time in which jobs come.
const LAST_JOBS_MAX: Duration = Duration::from_secs(120);
/// How long the last instances may take to go.
const EMPTY_MAX: Duration = Duration::from_secs(120);
/// How long the daemon may take to stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Where logging is asked for: the demo's own lines are enough otherwise.
const LOG_VARIABLE: &str = "POOLKEEPER_LOG";

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many pools there are, in three organizations.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=POOLS_MAX))]
    pools: u64,
    /// How many jobs come.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=JOBS_MAX))]
    jobs: u64,
    /// Who gives the instances their runners: poolkeeper, or the image.
    #[arg(long, value_enum, default_value = "managed")]
    runners: RunnersArg,
    /// The seed of jobs, boot times and jitter.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End with one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// Where the journal is kept.
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Stay up afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Who gives the instances their runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RunnersArg {
    /// poolkeeper does.
    Managed,
    /// The image does.
    External,
}

/// Runs the demo to its end.
pub(crate) fn run(args: DemoArgs) -> Result<(), Failure> {
    if std::env::var_os(LOG_VARIABLE).is_some() {
        logging::init().map_err(Failure::Config)?;
    }
    runtime::block_on(async move { demo(args).await })
}

async fn demo(args: DemoArgs) -> Result<(), Failure> {
    let stage = Stage::set(&args)?;
    let (daemon, handle) = Daemon::open(stage.config.clone(), stage.options(&args)).await?;
    let daemon = tokio::spawn(daemon.run());
    let screen = Screen::new(args.json);
    let shown = show(&args, &stage, &handle, screen).await;
    let _gone_already = handle.stop();
    let ended = tokio::time::timeout(STOP_MAX, daemon).await;
    if !matches!(ended, Ok(Ok(Ended::Stopped(_)))) {
        return Err(Failure::Failed("the daemon did not stop in order".to_owned()));
    }
    let report = shown?;
    report.print(args.json)?;
    if report.is_good() { Ok(()) } else { Err(Failure::Failed(report.trouble())) }
}

/// The sandbox and the config of the daemon that serves it.
struct Stage {
    sandbox: Sandbox,
    sets: Vec<SetKey>,
    config: DaemonConfig,
    config_file: PathBuf,
    journal: PathBuf,
}

impl Stage {
    fn set(args: &DemoArgs) -> Result<Self, Failure> {
        let pools = usize::try_from(args.pools).unwrap_or(usize::MAX);
        let managed = args.runners == RunnersArg::Managed;
        let scenery = if managed { Scenery::new(pools).prepared() } else { Scenery::new(pools) };
        let github = GitHubConfig::default();
        let pat = github.pat.clone().unwrap_or_default();
        let runners = RunnersConfig { managed, ..RunnersConfig::default() };
        let world = WorldConfig { github, groups: scenery.groups, runners, ..WorldConfig::default() };
        let sandbox = Sandbox::start(SandboxConfig::default(), World::new(world, args.seed))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let dir = std::env::temp_dir().join(format!("poolkeeper-demo-{}-{}", std::process::id(), clock::unix_ms()));
        let files = write_daemon_files(&dir, &sandbox, &pat)
            .map_err(|error| Failure::Failed(format!("{}: {error}", dir.display())))?;
        let mut config = config::load(&files.config, std::iter::empty())?;
        let journal = args.journal.clone().unwrap_or(files.journal);
        config.journal = Some(JournalSettings::in_dir(&journal));
        config.status.listen = Some(([127, 0, 0, 1], 0).into());
        Ok(Self { sandbox, sets: scenery.sets, config, config_file: files.config, journal })
    }

    fn options(&self, args: &DemoArgs) -> Options {
        let credentials = Credentials::new("sandbox", "sandbox", None, None, "demo");
        Options {
            config_file: self.config_file.clone(),
            seed: args.seed,
            dry_run: false,
            credentials: Some(SharedCredentialsProvider::new(credentials)),
        }
    }

    async fn wait_until_listened_to(&self) -> Result<Duration, Failure> {
        let started = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while started.elapsed() < LISTENING_MAX {
            if self.sandbox.with(|world, _| world.is_listened_to(&self.sets)) {
                return Ok(started.elapsed());
            }
            look.tick().await;
        }
        let waited = LISTENING_MAX.as_secs();
        Err(Failure::Failed(format!(
            "the daemon did not listen to every pool in {waited} s; run again with {LOG_VARIABLE}=debug"
        )))
    }

    /// Waits until nothing is left of the jobs, or for as long as that may take.
    async fn wait_until_empty(&self) {
        let started = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        while started.elapsed() < EMPTY_MAX
            && self.sandbox.with(|world, now| world.left_behind(now)) != LeftBehind::default()
        {
            look.tick().await;
        }
    }

    fn totals(&self) -> Totals {
        self.sandbox.with(|world, _| world.ledger().totals())
    }

    fn workload(&self, args: &DemoArgs) -> WorkloadConfig {
        WorkloadConfig {
            sets: self.sets.clone(),
            jobs: Some(args.jobs),
            failed_percent: 0,
            ..WorkloadConfig::default()
        }
    }
}

async fn show(args: &DemoArgs, stage: &Stage, handle: &Handle, mut screen: Screen) -> Result<Report, Failure> {
    screen.say(&format!(
        "A GitHub at {}, an AWS at {}, {} pools. Config: {}",
        stage.sandbox.github_url,
        stage.sandbox.aws_url,
        args.pools,
        stage.config_file.display()
    ))?;
    if let Some(status) = handle.status_addr() {
        screen.say(&format!("Status page: http://{status}/"))?;
    }
    let took = stage.wait_until_listened_to().await?;
    screen.say(&format!(
        "All pools are listened to after {} ms; {} jobs begin to come.",
        took.as_millis(),
        args.jobs
    ))?;
    let before = stage.totals();
    let started = Instant::now();
    let workload = stage.workload(args);
    let coming = Duration::from_millis(workload.gap.as_millis().saturating_mul(args.jobs));
    stage.sandbox.with(|world, now| world.start_workload(now, workload));
    watch(stage, &mut screen, coming.saturating_mul(2) + LAST_JOBS_MAX).await?;
    let took = started.elapsed();
    stage.wait_until_empty().await;
    let report = Report::of(args, stage, &before, took);
    if args.keep {
        screen.say(&format!("{report}"))?;
        screen.say("Staying up until Ctrl-C.")?;
        tokio::signal::ctrl_c().await?;
    }
    Ok(report)
}

/// Shows how it goes until all jobs have ended, or for as long as they may take.
async fn watch(stage: &Stage, screen: &mut Screen, limit: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    let mut look = tokio::time::interval(LOOK_EVERY);
    while started.elapsed() < limit {
        tokio::select! {
            _ = look.tick() => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Err(Failure::Failed("interrupted".to_owned()));
            }
        }
        let (quiet, state, pools) =
            stage.sandbox.with(|world, _| (world.is_quiet(), world.state(), world.ledger().pools().clone()));
        screen.draw(started.elapsed(), &state, &pools, quiet)?;
        if quiet {
            break;
        }
    }
    Ok(())
}

/// The journal's files and the command that replays them.
fn replay_command(journal: &Path) -> String {
    let program = if std::env::var_os("CARGO").is_some() {
        "cargo run --release -p poolkeeper-simulator --"
    } else {
        "poolkeeper-sim"
    };
    format!("{program} replay {}", journal.display())
}
