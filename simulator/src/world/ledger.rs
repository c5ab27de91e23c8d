//! What happened, for checkers, reports and benchmarks.

use std::collections::{BTreeMap, VecDeque};

use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Duration;
use serde::Serialize;

use crate::aws::{Actor, Cause};
use crate::github::{JobId, JobResult, SetKey};
use crate::workload::{Cancel, JobPlan};

/// The most jobs that are remembered after their end: the oldest are forgotten first.
const MAX_ENDED: usize = 100_000;
/// The newest victims that are kept.
const MAX_VICTIMS: usize = 1000;
/// The most latency samples of a kind that wait to be taken: the oldest are forgotten first.
const MAX_SAMPLES: usize = 100_000;

/// One job's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRecord {
    /// The scale set it asked for.
    pub key: SetKey,
    /// What it was to do.
    pub plan: JobPlan,
    /// When it was queued, in microseconds.
    pub queued_us: u64,
    /// When it was first assigned to the set, in microseconds.
    pub assigned_us: Option<u64>,
    /// When a runner took it, in microseconds.
    pub started_us: Option<u64>,
    /// When it ended, in microseconds.
    pub ended_us: Option<u64>,
    /// The runner that took it.
    pub runner: Option<ShortText>,
    /// How it ended.
    pub result: Option<JobResult>,
    /// Why its instance was terminated under it.
    pub lost_to: Option<Cause>,
}

impl JobRecord {
    /// How long it waited for its runner.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let us = self.started_us?.saturating_sub(self.queued_us);
        Some(Duration::from_millis(us / 1000))
    }

    /// Whether it ended as it should.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.result.is_some_and(|result| self.plan.expects(result))
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Jobs queued.
    pub queued: u64,
    /// Jobs ended, in whatever way.
    pub ended: u64,
    /// Of those, as they should.
    pub ended_well: u64,
    /// Jobs whose instance was picked as a victim of the caller's own change of desired capacity.
    pub killed: u64,
    /// Jobs ended, by how.
    pub results: BTreeMap<JobResult, u64>,
    /// Calls by peer and kind: peers are `github`, `aws` and `agent`, the instances' own.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
    /// Times that desired capacity was set.
    pub capacity_writes: u64,
    /// Instances that came into service.
    pub starts: Starts,
    /// How long instances were in service that are not any more, in milliseconds: what is paid for.
    pub paid_ms: u64,
}

/// Instances that came into service, by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Starts {
    /// A warm pool.
    pub warm: u64,
    /// They were launched.
    pub cold: u64,
}

impl Totals {
    /// All calls to a peer.
    #[must_use]
    pub fn calls_to(&self, peer: &str) -> u64 {
        self.calls.get(peer).map_or(0, |kinds| kinds.values().sum())
    }

    /// Calls of one kind.
    #[must_use]
    pub fn calls_of(&self, peer: &str, kind: &str) -> u64 {
        self.calls.get(peer).and_then(|kinds| kinds.get(kind)).copied().unwrap_or(0)
    }
}

/// One scale set's jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolCounts {
    /// Jobs that wait for a runner, or for capacity.
    pub waiting: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that ended.
    pub ended: u64,
}

/// A job whose instance was picked as a victim of the caller's own change of desired capacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The group.
    pub group: ShortText,
    /// Whether somebody had left the group unprotected at any time.
    pub released: bool,
}

/// How long an instance was without its config when that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigLatency {
    /// Since it came into service, in microseconds.
    pub in_service_us: u64,
    /// Since a describe first showed it there, in microseconds; none where none had.
    pub shown_us: Option<u64>,
}

/// All that was counted and measured.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    totals: Totals,
    jobs: BTreeMap<JobId, JobRecord>,
    ended: VecDeque<JobId>,
    pools: BTreeMap<SetKey, PoolCounts>,
    /// By group, jobs whose capacity has not been asked for: the capacity that covers them, and since when.
    wanted: BTreeMap<ShortText, VecDeque<(JobId, u32, u64)>>,
    wanted_in: BTreeMap<JobId, ShortText>,
    samples: VecDeque<u64>,
    /// Instances in service that no config was stored for: since when, and since when a describe has shown that.
    bare: BTreeMap<ShortText, (u64, Option<u64>)>,
    config_samples: VecDeque<ConfigLatency>,
    victims: VecDeque<Victim>,
}

impl Ledger {
    /// What was counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals.clone()
    }

    /// What was counted, to look at.
    #[must_use]
    pub const fn totals_ref(&self) -> &Totals {
        &self.totals
    }

    /// All jobs that are remembered, oldest first.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &JobRecord)> {
        self.jobs.iter().map(|(id, record)| (*id, record))
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&JobRecord> {
        self.jobs.get(&id)
    }

    /// The jobs of each scale set.
    #[must_use]
    pub const fn pools(&self) -> &BTreeMap<SetKey, PoolCounts> {
        &self.pools
    }

    /// Jobs whose capacity has not been asked for yet.
    #[must_use]
    pub fn uncovered(&self) -> usize {
        self.wanted_in.len()
    }

    pub(super) fn take_latencies(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.samples).into()
    }

    pub(super) fn take_config_latencies(&mut self) -> Vec<ConfigLatency> {
        std::mem::take(&mut self.config_samples).into()
    }

    pub(super) fn config_wanted(&mut self, instance: &str, us: u64) {
        self.bare.insert(instance.into(), (us, None));
    }

    pub(super) fn instance_shown(&mut self, instance: &str, us: u64) {
        if let Some((_, shown)) = self.bare.get_mut(instance) {
            shown.get_or_insert(us);
        }
    }

    pub(super) fn config_stored(&mut self, instance: &str, us: u64) {
        let Some((in_service, shown)) = self.bare.remove(instance) else { return };
        let since = |then: u64| us.saturating_sub(then);
        let sample = ConfigLatency { in_service_us: since(in_service), shown_us: shown.map(since) };
        self.config_samples.push_back(sample);
        if self.config_samples.len() > MAX_SAMPLES {
            self.config_samples.pop_front();
        }
    }

    pub(super) fn config_no_longer_wanted(&mut self, instance: &str) {
        self.bare.remove(instance);
    }

    pub(super) fn count_call(&mut self, peer: &str, kind: &str) {
        if let Some(count) = self.totals.calls.get_mut(peer).and_then(|kinds| kinds.get_mut(kind)) {
            *count += 1;
        } else {
            self.totals.calls.entry(peer.to_owned()).or_default().insert(kind.to_owned(), 1);
        }
    }

    /// A job is called off by its owner: an end by that is a planned one.
    pub(super) fn job_called_off(&mut self, id: JobId) {
        if let Some(record) = self.jobs.get_mut(&id) {
            record.plan.cancel.get_or_insert(Cancel::Queued(Duration::ZERO));
        }
    }

    pub(super) fn plan(&self, id: JobId) -> Option<JobPlan> {
        self.jobs.get(&id).map(|record| record.plan)
    }

    pub(super) fn job_queued(&mut self, id: JobId, key: &SetKey, plan: JobPlan, us: u64) {
        self.totals.queued += 1;
        self.pools.entry(key.clone()).or_default().waiting += 1;
        let record = JobRecord {
            key: key.clone(),
            plan,
            queued_us: us,
            assigned_us: None,
            started_us: None,
            ended_us: None,
            runner: None,
            result: None,
            lost_to: None,
        };
        self.jobs.insert(id, record);
    }

    pub(super) fn job_assigned(&mut self, id: JobId, us: u64) {
        if let Some(record) = self.jobs.get_mut(&id) {
            record.assigned_us.get_or_insert(us);
        }
    }

    pub(super) fn job_started(&mut self, id: JobId, runner: &str, us: u64) {
        self.no_longer_wanted(id);
        let Some(record) = self.jobs.get_mut(&id) else { return };
        record.started_us = Some(us);
        record.runner = Some(runner.into());
        let counts = self.pools.entry(record.key.clone()).or_default();
        counts.waiting = counts.waiting.saturating_sub(1);
        counts.running += 1;
    }

    /// The instance of a job that runs is being terminated, in a group that somebody may once have left unprotected.
    pub(super) fn job_loses_instance(&mut self, id: JobId, cause: Cause, group: &str, released: bool) {
        let Some(record) = self.jobs.get_mut(&id).filter(|record| record.ended_us.is_none()) else { return };
        record.lost_to = Some(cause);
        let picked = cause == (Cause::ScaleIn { by: Actor::Caller });
        let asked_for = cause == (Cause::Asked { by: Actor::Caller });
        if picked || asked_for {
            self.totals.killed += 1;
            let released = released && picked;
            self.victims.push_back(Victim { group: group.into(), released });
            while self.victims.len() > MAX_VICTIMS {
                self.victims.pop_front();
            }
        }
    }

    /// The newest of the jobs that the caller's own changes of desired capacity ended, oldest first.
    pub fn victims(&self) -> impl DoubleEndedIterator<Item = &Victim> {
        self.victims.iter()
    }

    pub(super) fn job_ended(&mut self, id: JobId, result: JobResult, us: u64) {
        self.no_longer_wanted(id);
        let Some(record) = self.jobs.get_mut(&id) else { return };
        record.ended_us = Some(us);
        record.result = Some(result);
        self.totals.ended += 1;
        let well = record.ended_well();
        self.totals.ended_well += u64::from(well);
        *self.totals.results.entry(result).or_default() += 1;
        let counts = self.pools.entry(record.key.clone()).or_default();
        let before = if record.started_us.is_some() { &mut counts.running } else { &mut counts.waiting };
        *before = before.saturating_sub(1);
        counts.ended += 1;
        self.ended.push_back(id);
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.jobs.remove(&oldest);
        }
    }

    pub(super) fn capacity_wanted(&mut self, id: JobId, group: &str, cover: u32, us: u64) {
        if self.wanted_in.contains_key(&id) {
            return;
        }
        self.wanted_in.insert(id, group.into());
        self.wanted.entry(group.into()).or_default().push_back((id, cover, us));
    }

    pub(super) const fn instance_left(&mut self, after: Duration) {
        self.totals.paid_ms = self.totals.paid_ms.saturating_add(after.as_millis());
    }

    pub(super) const fn instance_started(&mut self, warm: bool) {
        if warm {
            self.totals.starts.warm += 1;
        } else {
            self.totals.starts.cold += 1;
        }
    }

    pub(super) fn capacity_set(&mut self, group: &str, desired: u32, us: u64) {
        self.totals.capacity_writes += 1;
        let Some(wanted) = self.wanted.get_mut(group) else { return };
        let (covered, open): (VecDeque<_>, VecDeque<_>) = wanted.drain(..).partition(|(_, cover, _)| *cover <= desired);
        *wanted = open;
        for (id, _, since) in covered {
            self.wanted_in.remove(&id);
            self.samples.push_back(us.saturating_sub(since));
        }
        while self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
    }

    fn no_longer_wanted(&mut self, id: JobId) {
        let Some(group) = self.wanted_in.remove(&id) else { return };
        if let Some(wanted) = self.wanted.get_mut(&group) {
            wanted.retain(|(job, _, _)| *job != id);
        }
    }
}
