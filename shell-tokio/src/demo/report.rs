//! What the demo tells at its end.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use poolkeeper_simulator::world::{Starts, Totals};
use serde::Serialize;

use super::{DemoArgs, Stage, replay_command};
use crate::cli::Failure;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pools: u64,
    jobs: Jobs,
    wait_ms: Waits,
    capacity_latency_ms: Latencies,
    api_calls_per_min: Calls,
    /// Instances that came into service, from the warm pool or launched.
    starts: Starts,
    /// Jobs whose instance was ended by the daemon.
    jobs_killed: u64,
    instances_leaked: usize,
    runners_left: usize,
    configs_left: usize,
    peak_rss_kb: Option<u64>,
    journal: PathBuf,
    #[serde(skip)]
    ended_well: u64,
    #[serde(skip)]
    took: Duration,
}

#[derive(Clone, Debug, Serialize)]
struct Jobs {
    total: u64,
    completed: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Waits {
    p50: u64,
    p95: u64,
    p99: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Latencies {
    p50: f64,
    p99: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Calls {
    github: u64,
    aws: u64,
}

impl Report {
    /// Takes what the sandbox measured since `before`.
    pub(super) fn of(args: &DemoArgs, stage: &Stage, before: &Totals, took: Duration) -> Self {
        let (totals, waits, latencies, left) = stage.sandbox.with(|world, now| {
            let waits: Vec<u64> =
                world.ledger().jobs().filter_map(|(_, job)| job.wait()).map(|wait| wait.as_millis()).collect();
            (world.ledger().totals(), waits, world.take_latencies_us(), world.left_behind(now))
        });
        let per_min = |peer: &str| {
            let calls = totals.calls_to(peer).saturating_sub(before.calls_to(peer));
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            calls.saturating_mul(60_000) / ms
        };
        let waits = sorted(waits);
        let latencies = sorted(latencies);
        Self {
            pools: args.pools,
            jobs: Jobs { total: args.jobs, completed: totals.ended },
            wait_ms: Waits { p50: percentile(&waits, 50), p95: percentile(&waits, 95), p99: percentile(&waits, 99) },
            capacity_latency_ms: Latencies { p50: ms(percentile(&latencies, 50)), p99: ms(percentile(&latencies, 99)) },
            api_calls_per_min: Calls { github: per_min("github"), aws: per_min("aws") },
            starts: totals.starts,
            jobs_killed: totals.killed,
            instances_leaked: left.instances,
            runners_left: left.runners,
            configs_left: left.configs,
            peak_rss_kb: peak_rss_kb(),
            journal: stage.journal.clone(),
            ended_well: totals.ended_well,
            took,
        }
    }

    /// Whether every job ended as it should, and nothing is left.
    pub(super) const fn is_good(&self) -> bool {
        let ended = self.ended_well == self.jobs.total && self.jobs.completed == self.jobs.total;
        let left = self.instances_leaked + self.runners_left + self.configs_left;
        ended && self.jobs_killed == 0 && left == 0
    }

    /// What went wrong.
    pub(super) fn trouble(&self) -> String {
        let Jobs { total, completed } = self.jobs;
        format!(
            "{completed} of {total} jobs ended, {} as they should; {} killed; left behind: {} instances, {} runners, {} configs",
            self.ended_well, self.jobs_killed, self.instances_leaked, self.runners_left, self.configs_left
        )
    }

    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{self}")?;
        if json {
            let line = serde_json::to_string(self).map_err(|error| Failure::Failed(error.to_string()))?;
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, wait_ms, capacity_latency_ms, api_calls_per_min, .. } = self;
        writeln!(
            f,
            "{} of {} jobs ended, {} as they should, in {:.1} s",
            jobs.completed,
            jobs.total,
            self.ended_well,
            self.took.as_secs_f64()
        )?;
        let Waits { p50, p95, p99 } = wait_ms;
        writeln!(f, "wait for a runner, boot included: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms")?;
        let Latencies { p50, p99 } = capacity_latency_ms;
        writeln!(f, "message queued to desired capacity set: p50 {p50:.2} ms, p99 {p99:.2} ms")?;
        let Calls { github, aws } = api_calls_per_min;
        writeln!(f, "API calls a minute: {github} to GitHub, {aws} to AWS")?;
        let Starts { warm, cold } = self.starts;
        writeln!(f, "instances started: {warm} from a warm pool, {cold} launched")?;
        writeln!(
            f,
            "killed: {} jobs; left behind: {} instances, {} runners, {} configs",
            self.jobs_killed, self.instances_leaked, self.runners_left, self.configs_left
        )?;
        if let Some(peak) = self.peak_rss_kb {
            writeln!(f, "peak memory, sandbox included: {peak} kB")?;
        }
        writeln!(f, "journal: {}", self.journal.display())?;
        write!(f, "replay it: {}", replay_command(&self.journal))
    }
}

fn sorted(mut values: Vec<u64>) -> Vec<u64> {
    values.sort_unstable();
    values
}

/// The nearest-rank percentile of sorted values; 0 when there are none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// The most memory this process ever held, where the system tells.
fn peak_rss_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Written with no more digits than microseconds have.
fn ms(us: u64) -> f64 {
    f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=200).collect();

        assert_eq!(percentile(&values, 50), 100);
        assert_eq!(percentile(&values, 99), 198);
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn milliseconds_have_three_digits_at_most() {
        for us in 0..100_000 {
            let text = ms(us).to_string();
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            assert!(digits <= 3, "{us} us: {text}");
        }
    }

    #[test]
    fn the_json_object_has_the_fields_that_are_promised() {
        let report = Report {
            pools: 8,
            jobs: Jobs { total: 200, completed: 200 },
            wait_ms: Waits { p50: 1, p95: 2, p99: 3 },
            capacity_latency_ms: Latencies { p50: 0.5, p99: 1.5 },
            api_calls_per_min: Calls { github: 10, aws: 20 },
            starts: Starts { warm: 4, cold: 5 },
            jobs_killed: 0,
            instances_leaked: 0,
            runners_left: 0,
            configs_left: 0,
            peak_rss_kb: Some(30_000),
            journal: "/tmp/journal".into(),
            ended_well: 200,
            took: Duration::from_secs(30),
        };

        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"pools":8,"jobs":{"total":200,"completed":200},"wait_ms":{"p50":1,"p95":2,"p99":3},"capacity_latency_ms":{"p50":0.5,"p99":1.5},"api_calls_per_min":{"github":10,"aws":20},"starts":{"warm":4,"cold":5},"jobs_killed":0,"instances_leaked":0,"runners_left":0,"configs_left":0,"peak_rss_kb":30000,"journal":"/tmp/journal"}"#
        );
        assert!(report.is_good());
        assert!(!Report { ended_well: 199, ..report }.is_good());
    }
}
