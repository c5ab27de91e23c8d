//! `serve`: the sandbox for any client.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration as StdDuration;

use clap::Args;
use poolkeeper_core::time::Duration;
use poolkeeper_simulator::aws::AwsConfig;
use poolkeeper_simulator::github::GitHubConfig;
use poolkeeper_simulator::sandbox::scenery::{REGION, Scenery, write_daemon_files};
use poolkeeper_simulator::sandbox::{Sandbox, SandboxConfig};
use poolkeeper_simulator::workload::WorkloadConfig;
use poolkeeper_simulator::world::{Totals, World, WorldConfig};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DONE, FAILED, Failure};

/// How often the workload is looked at.
const GLANCE: StdDuration = StdDuration::from_millis(100);
/// The file of the certificate authority, where no directory for the daemon's files is named.
const CA_FILE: &str = "poolkeeper-sandbox-ca.pem";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The address of the GitHub port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = loopback())]
    listen: SocketAddr,
    /// The address of the AWS port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = loopback())]
    listen_aws: SocketAddr,
    /// Queue jobs, once a daemon listens to every pool
    #[arg(long)]
    workload: bool,
    /// Groups to make, of three organizations in turn
    #[arg(long, value_name = "N", default_value_t = 8)]
    pools: usize,
    /// Jobs of the workload; without it, jobs come for ever
    #[arg(long, value_name = "N", requires = "workload")]
    jobs: Option<u64>,
    /// Mean time between two jobs of the workload
    #[arg(long, value_name = "MS", default_value_t = 100)]
    gap_ms: u64,
    /// End when the workload has, instead of serving on
    #[arg(long, requires = "jobs")]
    once: bool,
    /// Speak TLS on the GitHub port
    #[arg(long)]
    tls: bool,
    /// Decides everything that chance decides
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Write a daemon's config and token here
    #[arg(long, value_name = "DIR")]
    write_config: Option<PathBuf>,
    /// Shortest and longest boot of an instance
    #[arg(long, value_name = "MS..MS", default_value = "1000..3000", value_parser = range)]
    boot_ms: (Duration, Duration),
    /// How long a poll is held
    #[arg(long, value_name = "S", default_value_t = 50)]
    poll_hold_s: u64,
    /// How long a session lives without a poll
    #[arg(long, value_name = "S", default_value_t = 60)]
    session_idle_s: u64,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
}

const fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

fn range(text: &str) -> Result<(Duration, Duration), String> {
    let bounds =
        text.split_once("..").and_then(|(shortest, longest)| Some((shortest.parse().ok()?, longest.parse().ok()?)));
    match bounds {
        Some((shortest, longest)) if shortest <= longest => {
            Ok((Duration::from_millis(shortest), Duration::from_millis(longest)))
        }
        Some(_) | None => Err("is no range of milliseconds like 1000..3000".to_owned()),
    }
}

/// Serves until told to stop, and says whether the workload went as it should.
pub(crate) fn run(options: &Options) -> Result<u8, Failure> {
    // Thousands of held polls need as many descriptors; where more cannot be had, fewer must do.
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let scenery = Scenery::new(options.pools);
    let github = GitHubConfig {
        poll_hold: Duration::from_secs(options.poll_hold_s),
        session_idle: Duration::from_secs(options.session_idle_s),
        ..GitHubConfig::default()
    };
    let pat = github.pat.clone().unwrap_or_default();
    let aws = AwsConfig { boot: options.boot_ms, region: REGION.to_owned(), ..AwsConfig::default() };
    let groups = scenery.groups.clone();
    let world = World::new(WorldConfig { github, aws, groups, ..WorldConfig::default() }, options.seed);
    let sandbox = start(options, world)?;
    announce(options, &sandbox, &pat)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(watch(options, &sandbox, &scenery));
    sandbox.stop();
    code
}

fn start(options: &Options, world: World) -> Result<Sandbox, Failure> {
    let ca_file = options.tls.then(|| match &options.write_config {
        Some(dir) => dir.join("ca.pem"),
        None => std::env::temp_dir().join(CA_FILE),
    });
    if let Some(dir) = options.write_config.as_ref().filter(|_| options.tls) {
        std::fs::create_dir_all(dir).map_err(|e| Failure::Usage(format!("cannot make {}: {e}", dir.display())))?;
    }
    let config = SandboxConfig {
        github: options.listen,
        aws: options.listen_aws,
        ca_file,
        threads: options.threads,
        ..SandboxConfig::default()
    };
    Sandbox::start(config, world).map_err(|error| Failure::Usage(error.to_string()))
}

/// What a client needs to know.
#[derive(Serialize)]
struct Announcement<'a> {
    github_url: &'a str,
    aws_url: &'a str,
    ca_file: Option<&'a PathBuf>,
    token: &'a str,
    orgs: [&'a str; 3],
    region: &'a str,
    config: Option<&'a PathBuf>,
    journal: Option<&'a PathBuf>,
}

fn announce(options: &Options, sandbox: &Sandbox, pat: &str) -> Result<(), Failure> {
    let files = match &options.write_config {
        Some(dir) => Some(
            write_daemon_files(dir, sandbox, pat)
                .map_err(|error| Failure::Usage(format!("cannot write into {}: {error}", dir.display())))?,
        ),
        None => None,
    };
    let (config, journal) = files.as_ref().map(|f| (&f.config, &f.journal)).unzip();
    let Sandbox { github_url, aws_url, ca_file, .. } = sandbox;
    let mut out = io::stdout().lock();
    if options.json {
        let orgs = poolkeeper_simulator::sandbox::scenery::ORGS;
        let announcement = Announcement {
            github_url,
            aws_url,
            ca_file: ca_file.as_ref(),
            token: pat,
            orgs,
            region: REGION,
            config,
            journal,
        };
        print_json(&mut out, &announcement)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "GitHub   {github_url}")?;
    writeln!(out, "AWS      {aws_url}   (region {REGION}, any key)")?;
    writeln!(out, "token    {pat}")?;
    if let Some(ca_file) = ca_file {
        writeln!(out, "CA       {}", ca_file.display())?;
    }
    let keys = "AWS_ACCESS_KEY_ID=sandbox AWS_SECRET_ACCESS_KEY=sandbox";
    match config {
        Some(config) => {
            writeln!(out, "daemon   {keys} poolkeeper run --config {}", config.display())?;
        }
        None => writeln!(out, "daemon   add --write-config DIR for a config that points here")?,
    }
    Ok(out.flush()?)
}

/// Waits for the end, and lets the workload begin and end meanwhile.
async fn watch(options: &Options, sandbox: &Sandbox, scenery: &Scenery) -> Result<u8, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut phase = if options.workload { Phase::Waiting } else { Phase::Idle };
    loop {
        let stopped = tokio::select! {
            () = received(&mut terminate, &mut interrupt) => true,
            () = tokio::time::sleep(GLANCE), if phase.is_open() => false,
        };
        phase = phase.next(options, sandbox, scenery)?;
        match phase {
            Phase::Idle if stopped => return Ok(DONE),
            Phase::Done { well } if stopped || options.once => {
                return Ok(if well { DONE } else { FAILED });
            }
            Phase::Waiting | Phase::Running if stopped => {
                // A workload without an end is not at fault when it is ended.
                return Ok(if options.jobs.is_none() { DONE } else { FAILED });
            }
            Phase::Idle | Phase::Waiting | Phase::Running | Phase::Done { .. } => (),
        }
    }
}

async fn received(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}

/// Where the workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Idle,
    /// Not every pool is listened to yet.
    Waiting,
    Running,
    Done {
        /// Whether every job ended as it should.
        well: bool,
    },
}

impl Phase {
    const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }

    fn next(self, options: &Options, sandbox: &Sandbox, scenery: &Scenery) -> Result<Self, Failure> {
        match self {
            Self::Idle | Self::Done { .. } => Ok(self),
            Self::Waiting => {
                let began = sandbox.with(|world, at| {
                    let ready = world.is_listened_to(&scenery.sets);
                    if ready {
                        world.start_workload(at, workload(options, scenery));
                    }
                    ready
                });
                if !began {
                    return Ok(self);
                }
                let progress = Progress { workload: "begun", totals: None };
                print(options, "workload  every pool is listened to: jobs come", &progress)?;
                Ok(Self::Running)
            }
            Self::Running => {
                let totals = sandbox.with(|world, _| world.is_quiet().then(|| world.ledger().totals()));
                let Some(totals) = totals else { return Ok(self) };
                tell(options, &totals)?;
                Ok(Self::Done { well: totals.ended_well == totals.queued })
            }
        }
    }
}

fn workload(options: &Options, scenery: &Scenery) -> WorkloadConfig {
    WorkloadConfig {
        sets: scenery.sets.clone(),
        jobs: options.jobs,
        gap: Duration::from_millis(options.gap_ms),
        ..WorkloadConfig::default()
    }
}

/// What the workload came to, for machines.
#[derive(Serialize)]
struct Progress<'a> {
    workload: &'a str,
    totals: Option<&'a Totals>,
}

fn tell(options: &Options, totals: &Totals) -> Result<(), Failure> {
    let Totals { queued, ended, ended_well, .. } = totals;
    let (github, aws) = (totals.calls_to("github"), totals.calls_to("aws"));
    let line = format!(
        "workload  done: {queued} jobs queued, {ended} ended, {ended_well} as they should; \
         {github} calls to GitHub, {aws} to AWS"
    );
    print(options, &line, &Progress { workload: "done", totals: Some(totals) })
}

fn print<T: Serialize>(options: &Options, line: &str, object: &T) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if options.json {
        print_json(&mut out, object)?;
    } else {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn print_json<T: Serialize>(out: &mut dyn Write, object: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(object).map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(writeln!(out, "{text}")?)
}
