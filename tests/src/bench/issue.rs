//! An instance in service → its config received by the parameter store.
//!
//! The sandbox's own clock takes both ends: of the first span from the reply that first shows the instance in service, of
//! the second from the moment at which it came there. The store has no limit here, so no pace is subtracted. A few
//! instances come up at a time, in pools that are otherwise at rest.

use std::time::{Duration, Instant};

use poolkeeper_core::time::Duration as CoreDuration;
use poolkeeper_simulator::github::SetKey;
use poolkeeper_simulator::workload::JobPlan;
use poolkeeper_simulator::world::ConfigLatency;
use serde::Serialize;

use super::daemon::Daemon;
use super::report::{Judge, Miss, Spread, ms, table};
use super::stage::Stage;
use super::{BenchError, pause};

/// Pools in which instances come up in turn.
const POOLS: usize = 15;
/// Instances that come up at a time, each in a pool of its own.
const AT_A_TIME: usize = 5;
/// How often, unless the caller says otherwise: so many samples each time.
pub const ROUNDS: usize = 60;
/// Jobs run for longer than the benchmark lasts.
const JOB: CoreDuration = CoreDuration::from_secs(3600);
/// How long a round may take: an instance boots, and a describe shows it.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether samples have come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const SHOWN_P99_MAX_US: u64 = 50_000;
const IN_SERVICE_P99_MAX_US: u64 = 2_500_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct IssueReport {
    pools: usize,
    at_a_time: usize,
    /// From the reply that first shows an instance in service until its config is received.
    shown: Spread,
    /// From the moment at which it came into service.
    in_service: Spread,
    /// Figures that miss their bounds.
    pub misses: Vec<Miss>,
}

/// Lets instances come up, so many times a few of them.
///
/// # Errors
/// When the daemon or the sandbox fails, or a config does not come.
pub fn run(rounds: usize) -> Result<IssueReport, BenchError> {
    let stage = Stage::managed(POOLS)?;
    let mut daemon = stage.daemon()?;
    stage.all_polls_held(&mut daemon)?;
    let sets: Vec<SetKey> = stage.sets.iter().cycle().take(rounds.saturating_mul(AT_A_TIME)).cloned().collect();
    // The first of all makes connections and warms caches.
    come_up(&stage, &mut daemon, stage.sets.get(..1).unwrap_or_default())?;
    let mut samples = Vec::new();
    for sets in sets.chunks(AT_A_TIME) {
        samples.append(&mut come_up(&stage, &mut daemon, sets)?);
    }
    Ok(IssueReport::of(&samples))
}

/// Queues a job for each of the sets; what its instance waited for its config.
fn come_up(stage: &Stage, daemon: &mut Daemon, sets: &[SetKey]) -> Result<Vec<ConfigLatency>, BenchError> {
    stage
        .sandbox
        .with(|world, at| sets.iter().try_for_each(|set| world.queue_job(at, set, JobPlan::success(JOB)).map(drop)))
        .map_err(|_| BenchError::Failed("the sandbox takes no more jobs".to_owned()))?;
    let started = Instant::now();
    let mut samples = Vec::with_capacity(sets.len());
    while started.elapsed() < ROUND_MAX {
        pause(LOOK_EVERY);
        samples.append(&mut stage.sandbox.with(|world, _| world.take_config_latencies_us()));
        if samples.len() >= sets.len() {
            return Ok(samples);
        }
        daemon.check()?;
    }
    let what = format!("{} of {} configs came in {} s", samples.len(), sets.len(), ROUND_MAX.as_secs());
    Err(daemon.trouble(&what))
}

impl IssueReport {
    fn of(samples: &[ConfigLatency]) -> Self {
        let shown = Spread::of(samples.iter().filter_map(|sample| sample.shown_us).collect());
        let in_service = Spread::of(samples.iter().map(|sample| sample.in_service_us).collect());
        let mut judge = Judge::default();
        judge.at_most("issue: p99 from the describe that shows an instance", shown.p99_us, SHOWN_P99_MAX_US, ms);
        judge.at_most("issue: p99 from in service", in_service.p99_us, IN_SERVICE_P99_MAX_US, ms);
        Self { pools: POOLS, at_a_time: AT_A_TIME, shown, in_service, misses: judge.verdict() }
    }
}

impl std::fmt::Display for IssueReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pools, at_a_time, shown, in_service, .. } = self;
        let head = format!("{pools} pools, {at_a_time} instances at a time: config received");
        let mut heads = vec![head];
        heads.extend(["samples", "p50", "p95", "p99", "max"].map(str::to_owned));
        let mut lines = vec![heads];
        for (name, spread) in [("after a describe first showed it in service", shown), ("after it was", in_service)] {
            let Spread { samples, p50_us, p95_us, p99_us, max_us } = *spread;
            lines.push(vec![name.to_owned(), samples.to_string(), ms(p50_us), ms(p95_us), ms(p99_us), ms(max_us)]);
        }
        f.write_str(&table(&lines))
    }
}
