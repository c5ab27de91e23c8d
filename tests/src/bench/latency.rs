//! Message queued in the sandbox → `SetDesiredCapacity` received by it.
//!
//! The sandbox's own clock takes both ends of a sample. One pool, a hundred pools one at a time, and a hundred pools at
//! once; a bare exchange with the same sandbox is measured in turns with the daemon. CPU time is counted from a round's
//! begin until every poll is held again.

use std::time::{Duration, Instant};

use poolkeeper_core::time::Duration as CoreDuration;
use poolkeeper_simulator::github::SetKey;
use poolkeeper_simulator::workload::JobPlan;
use serde::Serialize;

use super::bare::Bare;
use super::cpu::used_us;
use super::daemon::Daemon;
use super::report::{Judge, Miss, Spread, ms, ratio, table, times};
use super::stage::Stage;
use super::{BenchError, pause};
use crate::programs::Shell;

/// The daemon and the bare exchange have so many samples each in turn.
const TURN: usize = 25;
const TURNS: usize = 16;
/// Between two samples: below the rate of calls to AWS that the daemon allows itself.
const GAP: Duration = Duration::from_millis(25);
/// Pools of the larger setting.
const MANY: usize = 100;
/// Rounds in which all of them are hit at once.
pub const ROUNDS: usize = 20;
/// Between two rounds: in it the daemon regains the calls to AWS that a round took.
const ROUND_GAP: Duration = Duration::from_millis(2500);
/// Jobs before anything is measured.
const WARM_UP: usize = 20;
/// How long a sample may take.
const SAMPLE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether samples have come: rarely enough not to disturb them.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Jobs run for longer than the benchmark lasts.
const JOB: CoreDuration = CoreDuration::from_secs(3600);

const P50_MAX_US: u64 = 1200;
const P99_MAX_US: u64 = 4000;
const AT_ONCE_P99_MAX_US: u64 = 12_000;
const BLOCKING_P99_MAX_US: u64 = 8000;
/// In hundredths of the bare exchange.
const BARE_RATIO_MAX: u64 = 300;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyReport {
    rows: Vec<Row>,
    /// Figures that miss their bounds.
    pub misses: Vec<Miss>,
}

/// One setting.
#[derive(Clone, Debug, Serialize)]
struct Row {
    pools: usize,
    at_once: bool,
    daemon: Spread,
    bare: Spread,
    /// In hundredths of the bare exchange, of the medians and of the 99th percentiles.
    ratio_p50: u64,
    ratio_p99: u64,
    /// For a message and all that follows from it; none where it was not counted.
    cpu: Option<Cpu>,
}

/// CPU time, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Cpu {
    daemon_us: u64,
    sandbox_us: u64,
}

/// Measures all settings.
///
/// # Errors
/// When the daemon or the sandbox fails, or a capacity write does not come.
pub fn run(shell: Shell) -> Result<LatencyReport, BenchError> {
    let mut rows = vec![one_at_a_time(&mut Scene::set(shell, 1)?)?];
    let mut many = Scene::set(shell, MANY)?;
    rows.push(one_at_a_time(&mut many)?);
    rows.push(at_once(&mut many, ROUNDS)?);
    let misses = judge(shell, &rows);
    Ok(LatencyReport { rows, misses })
}

/// Measures only the pools that are hit at once, so many rounds of them.
///
/// # Errors
/// When the daemon or the sandbox fails, or a capacity write does not come.
pub fn run_at_once(shell: Shell, rounds: usize) -> Result<LatencyReport, BenchError> {
    let rows = vec![at_once(&mut Scene::set(shell, MANY)?, rounds)?];
    let misses = judge(shell, &rows);
    Ok(LatencyReport { rows, misses })
}

struct Scene {
    stage: Stage,
    daemon: Daemon,
    bare: Bare,
}

impl Scene {
    fn set(shell: Shell, pools: usize) -> Result<Self, BenchError> {
        let stage = Stage::set(shell, pools, false)?;
        let mut daemon = stage.daemon()?;
        stage.all_polls_held(&mut daemon)?;
        let bare = Bare::spawn(&stage.sandbox.github_url)?;
        let mut scene = Self { stage, daemon, bare };
        let sets: Vec<SetKey> = scene.stage.sets.iter().cycle().take(WARM_UP.max(pools)).cloned().collect();
        for set in sets {
            scene.sample(std::slice::from_ref(&set))?;
            pause(GAP);
        }
        Ok(scene)
    }

    fn cpu(&self) -> Result<Cpu, BenchError> {
        Ok(Cpu { daemon_us: used_us(self.daemon.id())?, sandbox_us: used_us(std::process::id())? })
    }

    /// Queues a job for each of the sets at one moment; how long each took until there was capacity for it.
    fn sample(&mut self, sets: &[SetKey]) -> Result<Vec<u64>, BenchError> {
        self.stage
            .sandbox
            .with(|world, at| sets.iter().try_for_each(|set| world.queue_job(at, set, JobPlan::success(JOB)).map(drop)))
            .map_err(|_| BenchError::Failed("the sandbox takes no more jobs".to_owned()))?;
        let started = Instant::now();
        let mut samples = Vec::with_capacity(sets.len());
        while started.elapsed() < SAMPLE_MAX {
            pause(LOOK_EVERY);
            samples.append(&mut self.stage.sandbox.with(|world, _| world.take_latencies_us()));
            if samples.len() >= sets.len() {
                return Ok(samples);
            }
            self.daemon.check()?;
        }
        let what = format!("{} of {} capacity writes came in {} s", samples.len(), sets.len(), SAMPLE_MAX.as_secs());
        Err(self.daemon.trouble(&what))
    }
}

fn one_at_a_time(scene: &mut Scene) -> Result<Row, BenchError> {
    let (mut daemon, mut bare) = (Vec::new(), Vec::new());
    let mut sets = scene.stage.sets.clone().into_iter().cycle();
    for _ in 0..TURNS {
        for set in sets.by_ref().take(TURN) {
            let due = Instant::now() + GAP;
            daemon.append(&mut scene.sample(&[set])?);
            pause(due.saturating_duration_since(Instant::now()));
        }
        bare.append(&mut scene.bare.measure(TURN, GAP)?);
    }
    Ok(Row::new(scene.stage.sets.len(), false, daemon, bare))
}

fn at_once(scene: &mut Scene, rounds: usize) -> Result<Row, BenchError> {
    let (mut daemon, mut bare, mut cpu) = (Vec::new(), Vec::new(), Cpu::default());
    let sets = scene.stage.sets.clone();
    for _ in 0..rounds {
        pause(ROUND_GAP);
        let before = scene.cpu()?;
        daemon.append(&mut scene.sample(&sets)?);
        scene.stage.all_polls_held(&mut scene.daemon)?;
        let after = scene.cpu()?;
        cpu.daemon_us += after.daemon_us.saturating_sub(before.daemon_us);
        cpu.sandbox_us += after.sandbox_us.saturating_sub(before.sandbox_us);
        bare.append(&mut scene.bare.measure(TURN, GAP)?);
    }
    let messages = u64::try_from(daemon.len()).unwrap_or(u64::MAX).max(1);
    let each = Cpu { daemon_us: cpu.daemon_us / messages, sandbox_us: cpu.sandbox_us / messages };
    Ok(Row { cpu: Some(each), ..Row::new(sets.len(), true, daemon, bare) })
}

impl Row {
    fn new(pools: usize, at_once: bool, daemon: Vec<u64>, bare: Vec<u64>) -> Self {
        let (daemon, bare) = (Spread::of(daemon), Spread::of(bare));
        let ratio_p50 = ratio(daemon.p50_us, bare.p50_us);
        let ratio_p99 = ratio(daemon.p99_us, bare.p99_us);
        Self { pools, at_once, daemon, bare, ratio_p50, ratio_p99, cpu: None }
    }

    fn name(&self) -> String {
        let Self { pools, at_once, .. } = self;
        let how = if *at_once { "at once" } else { "one at a time" };
        format!("{pools} pools, {how}")
    }
}

fn judge(shell: Shell, rows: &[Row]) -> Vec<Miss> {
    let mut judge = Judge::default();
    for row in rows {
        let figure = |what: &str| format!("latency, {}: {what}", row.name());
        if shell == Shell::Blocking {
            // What it takes when all are hit at once is told, and has no bound.
            if !row.at_once {
                judge.at_most(&figure("p99"), row.daemon.p99_us, BLOCKING_P99_MAX_US, ms);
            }
        } else if row.at_once {
            judge.at_most(&figure("p99"), row.daemon.p99_us, AT_ONCE_P99_MAX_US, ms);
        } else {
            judge.at_most(&figure("p50"), row.daemon.p50_us, P50_MAX_US, ms);
            judge.at_most(&figure("p99"), row.daemon.p99_us, P99_MAX_US, ms);
            judge.at_most(&figure("p99 beside the bare exchange's"), row.ratio_p99, BARE_RATIO_MAX, times);
        }
    }
    judge.verdict()
}

impl std::fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = vec![
            ["message queued -> SetDesiredCapacity received", "samples", "p50", "p95", "p99", "max"]
                .map(str::to_owned)
                .to_vec(),
        ];
        let line = |name: String, spread: &Spread| {
            let Spread { samples, p50_us, p95_us, p99_us, max_us } = *spread;
            vec![name, samples.to_string(), ms(p50_us), ms(p95_us), ms(p99_us), ms(max_us)]
        };
        for row in &self.rows {
            lines.push(line(row.name(), &row.daemon));
            lines.push(line("  a bare exchange beside it".to_owned(), &row.bare));
            let [p50, p99] = [row.ratio_p50, row.ratio_p99].map(times);
            lines.push(vec!["  ratio".to_owned(), String::new(), p50, String::new(), p99]);
        }
        f.write_str(&table(&lines))?;
        for row in &self.rows {
            if let Some(Cpu { daemon_us, sandbox_us }) = row.cpu {
                let name = row.name();
                writeln!(
                    f,
                    "{name}: CPU time for a message {daemon_us} us in the daemon, {sandbox_us} us in the sandbox"
                )?;
            }
        }
        Ok(())
    }
}
