//! Demand: a seeded stream of jobs, some of which are called off.

use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

use crate::github::{JobResult, SetKey};

/// What demand is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadConfig {
    /// The scale sets that jobs ask for.
    pub sets: Vec<SetKey>,
    /// How many jobs come; `None`: for ever.
    pub jobs: Option<u64>,
    /// The mean time between two jobs; each gap is between none and twice that.
    pub gap: Duration,
    /// The shortest and the longest a job runs.
    pub duration: (Duration, Duration),
    /// How many of a hundred jobs are called off.
    pub canceled_percent: u64,
    /// How many of a hundred jobs fail by their own fault.
    pub failed_percent: u64,
    /// After how long, at most, a job that waits for its runner is called off.
    pub cancel_after: Duration,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            jobs: Some(200),
            gap: Duration::from_millis(100),
            duration: (Duration::from_millis(500), Duration::from_secs(8)),
            canceled_percent: 10,
            failed_percent: 5,
            cancel_after: Duration::from_secs(2),
        }
    }
}

/// What a job will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// How long it runs.
    pub duration: Duration,
    /// How it ends unless it is called off.
    pub result: JobResult,
    /// When it is called off, if at all.
    #[serde(default)]
    pub cancel: Option<Cancel>,
}

/// When a job is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// So long after it was queued: mostly before it runs.
    Queued(Duration),
    /// So long after it began to run.
    Running(Duration),
}

impl JobPlan {
    /// A job that runs that long and succeeds.
    #[must_use]
    pub const fn success(duration: Duration) -> Self {
        Self { duration, result: JobResult::Succeeded, cancel: None }
    }

    /// Whether an end is one that was planned.
    #[must_use]
    pub fn expects(&self, result: JobResult) -> bool {
        result == self.result || (self.cancel.is_some() && result == JobResult::Canceled)
    }
}

/// A stream of jobs, made as time goes.
#[derive(Clone, Debug)]
pub struct Workload {
    config: WorkloadConfig,
    rng: Rng,
    made: u64,
    next_at: Instant,
}

impl Workload {
    /// A stream that begins at `start`.
    #[must_use]
    pub const fn new(config: WorkloadConfig, seed: u64, start: Instant) -> Self {
        Self { config, rng: Rng::new(seed), made: 0, next_at: start }
    }

    /// When the next job comes; `None` when none will.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        let more = self.config.jobs.is_none_or(|jobs| self.made < jobs);
        (more && !self.config.sets.is_empty()).then_some(self.next_at)
    }

    /// The jobs that it will still make, and when.
    pub fn to_come(&self) -> impl Iterator<Item = (Instant, SetKey, JobPlan)> + use<> {
        let mut rest = self.clone();
        std::iter::from_fn(move || {
            let at = rest.next_at()?;
            rest.take().map(|(key, plan)| (at, key, plan))
        })
    }

    /// No more jobs for that scale set.
    pub fn leave_out(&mut self, key: &SetKey) {
        self.config.sets.retain(|set| set != key);
    }

    /// Makes the next job.
    pub fn take(&mut self) -> Option<(SetKey, JobPlan)> {
        self.next_at()?;
        let count = u64::try_from(self.config.sets.len()).ok()?;
        let pick = usize::try_from(self.rng.below(count)).ok()?;
        let key = self.config.sets.get(pick)?.clone();
        let plan = self.plan();
        self.made += 1;
        let gap = self.config.gap.times(2).as_millis().saturating_add(1);
        self.next_at = self.next_at + Duration::from_millis(self.rng.below(gap));
        Some((key, plan))
    }

    fn plan(&mut self) -> JobPlan {
        let (shortest, longest) = self.config.duration;
        let duration = shortest + self.up_to(longest - shortest);
        let failed = self.rng.below(100) < self.config.failed_percent;
        let result = if failed { JobResult::Failed } else { JobResult::Succeeded };
        let canceled = self.rng.below(100) < self.config.canceled_percent;
        let early = self.rng.below(2) == 0;
        let cancel = match (canceled, early) {
            (false, _) => None,
            (true, true) => Some(Cancel::Queued(self.up_to(self.config.cancel_after))),
            (true, false) => Some(Cancel::Running(self.up_to(duration))),
        };
        JobPlan { duration, result, cancel }
    }

    fn up_to(&mut self, span: Duration) -> Duration {
        Duration::from_millis(self.rng.below(span.as_millis().saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(seed: u64) -> Workload {
        let sets = vec![SetKey::new("acme", "linux"), SetKey::new("acme", "arm")];
        Workload::new(WorkloadConfig { sets, ..WorkloadConfig::default() }, seed, Instant::default())
    }

    #[test]
    fn a_seed_makes_the_same_jobs_again() {
        let all = |seed| {
            let mut workload = workload(seed);
            std::iter::from_fn(move || Some((workload.next_at()?, workload.take()?))).collect::<Vec<_>>()
        };
        assert_eq!(all(3), all(3));
        assert_ne!(all(3), all(4));
        assert_eq!(all(3).len(), 200);
    }

    #[test]
    fn about_a_tenth_of_the_jobs_is_called_off() {
        let mut workload = workload(1);
        let jobs: Vec<_> = std::iter::from_fn(|| workload.take()).collect();
        let canceled = jobs.iter().filter(|(_, plan)| plan.cancel.is_some()).count();
        assert!((10..=30).contains(&canceled), "{canceled}");
        assert!(jobs.iter().all(|(_, plan)| plan.duration >= Duration::from_millis(500)
            && plan.duration <= Duration::from_secs(8)));
    }

    #[test]
    fn without_scale_sets_no_job_comes() {
        let mut none = Workload::new(WorkloadConfig::default(), 1, Instant::default());
        assert_eq!(none.next_at(), None);
        assert_eq!(none.take(), None);
    }
}
