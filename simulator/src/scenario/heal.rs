//! The end of everything that goes wrong, and how long it may take until nothing is left of it.

use poolkeeper_core::aws::Group;
use poolkeeper_core::notice::Verdict;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use super::run::Stage;
use super::{Knobs, PoolPlan, What};
use crate::aws::action::{GroupChange, GroupTag};
use crate::github::SetKey;
use crate::workload::JobPlan;

/// What the longest waits add up to: a missing set proven so, standbys, backoffs, limits that reset, counts read again.
const RECOVERY: Duration = Duration::from_secs(2400);
/// A limit by the hour is waited out.
const RATE_WINDOW: Duration = Duration::from_secs(3660);
/// A daemon stops within 10 s.
const STOPS_IN: Duration = Duration::from_secs(11);
/// The longest until a daemon has seen tags that changed, and what it launched by the old ones has come up or not.
const SEES_TAGS: Duration = Duration::from_secs(180);
/// The most pools of a scenario, and more.
const MOST_POOLS: usize = 1000;
/// The most jobs of one stream that are looked at.
const MOST_TO_COME: usize = 10_000;
/// The longest from an instance in service to its config, and from its job's end to its own.
const HAND_OVER_MS: u64 = 10_000;
/// A job of the probe runs this long.
const PROBE_RUNS: Duration = Duration::from_secs(20);

impl Stage<'_> {
    /// Peers are well, humans stop, and the daemon runs.
    pub(super) fn heal(&mut self) {
        let usual = self.scenario.knobs.aws_rate();
        self.simulation.act(|world, _| {
            world.heal();
            world.lag_statistics(false);
            world.redeliver(false);
            world.break_runners(0);
            let aws = world.aws_model_mut();
            aws.show_all();
            aws.set_rate(usual);
            aws.set_failed_boots(0);
        });
        if self.is_walled() {
            self.plans.iter_mut().for_each(give_up_standby);
        }
        for plan in self.plans.clone() {
            self.restore(&plan);
        }
        self.simulation.set_writable(true);
        self.simulation.spare_all();
        // A daemon that stops is not started before it has.
        if self.simulation.machine().is_some_and(|machine| machine.summary().stopping) {
            self.simulation.run_for(STOPS_IN);
        }
        self.simulation.start();
        self.empty_again();
        self.call_off_the_hopeless();
    }

    /// Makes a group such that its jobs can run: its bounds may stay as somebody left them.
    fn restore(&mut self, plan: &PoolPlan) {
        let name = &plan.group;
        let Some(group) = self.simulation.world().aws_model().group(name).cloned() else { return };
        let max = if group.max_size == 0 { plan.max.max(plan.min) } else { group.max_size };
        let min_size = self.is_walled().then_some(0);
        let bounds = GroupChange { name: name.clone(), min_size, max_size: Some(max), ..GroupChange::default() };
        let on = |tag| GroupTag { group: name.clone(), tag };
        let wanted: Vec<_> = plan.tags().into_iter().map(on).collect();
        let keeps = |key: &str| wanted.iter().any(|tag| tag.tag.key == key);
        let extra: Vec<_> = group.tags.into_iter().filter(|tag| !keeps(&tag.key)).map(on).collect();
        let suspended = group.suspended_processes.into_iter().filter(|process| process != "AZRebalance");
        let suspended: Vec<_> = suspended.collect();
        self.aws(|aws, now| {
            aws.set_room(now, name, None);
            // The group is there, and nothing in here is refused.
            drop(aws.update_group(now, &bounds));
            drop(aws.set_tags(now, &wanted));
            drop(aws.delete_tags(now, &extra));
            if !suspended.is_empty() {
                drop(aws.resume(now, name, &suspended));
            }
        });
        self.protect(name, !plan.unprotected, !plan.unprotected);
        if self.was_retagged(name) {
            self.empty(name);
        }
    }

    /// Whether pools share a bound.
    const fn is_walled(&self) -> bool {
        self.scenario.knobs.max_runners > 0
    }

    fn was_retagged(&self, name: &str) -> bool {
        let binds = |key: &str| matches!(key, "runs-on-pool" | "runs-on-org");
        let retags = |what: &What| matches!(what, What::SetTag { group, key, .. } if group == name && binds(key));
        self.scenario.events.iter().any(|event| retags(&event.what))
    }

    /// By tags that it had not yet seen to be changed back, the daemon may have launched more: they are seen to as well.
    fn empty_again(&mut self) {
        let retagged = |plan: &&PoolPlan| self.was_retagged(&plan.group);
        let retagged: Vec<_> = self.plans.iter().filter(retagged).map(|plan| plan.group.clone()).collect();
        if retagged.is_empty() {
            return;
        }
        self.simulation.run_for(SEES_TAGS);
        let pools = self.simulation.machine().map(|machine| machine.pools(None, MOST_POOLS)).unwrap_or_default();
        let waits = |name: &ShortText| {
            pools.iter().any(|pool| pool.group == *name && matches!(pool.verdict, Verdict::Draining { .. }))
        };
        retagged.iter().filter(|name| waits(name)).for_each(|name| self.empty(name));
    }

    /// A re-tag takes effect when the group has no instances: whoever retags sees to that.
    fn empty(&mut self, name: &str) {
        let Some(group) = self.simulation.world().aws_model().group(name).cloned() else { return };
        let change = GroupChange { name: name.into(), min_size: Some(0), desired: Some(0), ..GroupChange::default() };
        self.aws(|aws, now| {
            // The group is there, and nothing in here is refused.
            drop(aws.update_group(now, &change));
            group.instances.iter().for_each(|instance| aws.reclaim(now, &instance.id));
        });
    }

    /// Jobs for which no group is left are called off, as their owners would.
    fn call_off_the_hopeless(&mut self) {
        let served = self.served();
        for plan in self.plans.clone() {
            let key = plan.key();
            if !served.iter().any(|plan| plan.key() == key) {
                self.simulation.act(|world, at| world.abandon_set(at, &key));
            }
        }
    }

    /// The pools whose jobs can run.
    fn served(&self) -> Vec<PoolPlan> {
        let aws = self.simulation.world().aws_model();
        self.plans.iter().filter(|plan| aws.group(&plan.group).is_some() && plan.size_max > 0).cloned().collect()
    }

    /// One more job for each scale set that is served.
    pub(super) fn probe(&mut self) {
        let mut keys: Vec<_> = self.served().iter().map(PoolPlan::key).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            // A full model has objected long since.
            self.simulation.act(|world, at| world.queue_job(at, &key, JobPlan::success(PROBE_RUNS)).ok());
        }
    }

    /// How long the last jobs take: behind a wall they may run one after the other.
    pub(super) fn time_to_probe(&self) -> Duration {
        let jobs = if self.is_walled() { u64::try_from(self.served().len()).unwrap_or(1).max(1) } else { 1 };
        time_for_a_job(&self.scenario.knobs, PROBE_RUNS.as_millis()).times(jobs) + late_boots(&self.scenario.knobs)
    }

    /// How long it may take until all that was left behind is made up for.
    pub(super) fn time_to_recover(&self) -> Duration {
        let knobs = &self.scenario.knobs;
        let hour = if knobs.rest_calls_per_hour > 0 { RATE_WINDOW } else { Duration::ZERO };
        let served = self.served();
        let backlog = served.iter().map(|plan| self.time_to_drain(plan));
        // Behind a wall one pool may wait for all the others.
        let backlog =
            if self.is_walled() { backlog.fold(Duration::ZERO, |sum, span| sum + span) } else { longest(backlog) };
        let last_comes = longest(self.jobs_to_come().map(|(at, _, _)| at.since(self.simulation.at())));
        let usual =
            RECOVERY + hour + last_comes + backlog + late_boots(knobs) + time_for_a_job(knobs, knobs.idle_grace_ms);
        self.scenario.recovers_ms.map_or(usual, |most| Duration::from_millis(most).min(usual))
    }

    fn jobs_to_come(&self) -> impl Iterator<Item = (Instant, SetKey, JobPlan)> {
        self.simulation.world().jobs_to_come(MOST_TO_COME)
    }

    /// How long a pool's jobs take, one after the other on each of its instances.
    fn time_to_drain(&self, plan: &PoolPlan) -> Duration {
        let world = self.simulation.world();
        let key = plan.key();
        let open = world.ledger().jobs().filter(|(_, job)| job.ended_us.is_none() && job.key == key);
        let come = self.jobs_to_come().filter(|(_, of, _)| *of == key).map(|(_, _, job)| job.duration);
        let runs = open.map(|(_, job)| job.plan.duration).chain(come);
        let each = runs.map(|runs| time_for_a_job(&self.scenario.knobs, runs.as_millis()));
        let total = each.fold(Duration::ZERO, |sum, span| sum + span);
        let most = |group: &Group| group.max_size.min(plan.size_max).max(1);
        let side_by_side = if self.is_walled() { 1 } else { world.aws_model().group(&plan.group).map_or(1, most) };
        Duration::from_millis(total.as_millis() / u64::from(side_by_side))
    }
}

/// Behind a wall, runners that stand by, or that nobody may take away, can leave no room for jobs: their owners give
/// them up.
fn give_up_standby(plan: &mut PoolPlan) {
    (plan.min, plan.size_min, plan.idle, plan.unprotected) = (0, 0, 0, false);
}

fn longest(spans: impl Iterator<Item = Duration>) -> Duration {
    spans.max().unwrap_or_default()
}

/// What takes longer than its deadline is replaced, comes up all the same, and is then one too many.
fn late_boots(knobs: &Knobs) -> Duration {
    let late = knobs.managed && knobs.boot_ms.1 > 2 * knobs.boot_deadline_ms;
    Duration::from_millis(if late { 3 * (knobs.boot_ms.1 + knobs.idle_grace_ms) } else { 0 })
}

/// The longest that an instance takes to come, serve one job, and leave.
pub(super) fn time_for_a_job(knobs: &Knobs, runs_ms: u64) -> Duration {
    let (_, boot_ms) = knobs.boot_ms;
    let whole = boot_ms + knobs.register_ms + knobs.leave_ms + knobs.shutdown_ms + knobs.describe_lag_ms;
    let whole = if knobs.managed { whole + HAND_OVER_MS } else { whole };
    Duration::from_millis(whole + runs_ms + knobs.idle_grace_ms)
}
