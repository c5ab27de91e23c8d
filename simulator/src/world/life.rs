//! What the world does by itself: jobs come, instances boot and register, jobs end, instances leave.

use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use super::{GroupState, World, WorldNow, WorldState};
use crate::aws::AwsEvent;
use crate::github::{Fact, JobId, QueueFull, SetKey};
use crate::runners::{Agent, set_of};
use crate::workload::{Cancel, JobPlan, Workload};

/// The most rounds of cause and effect at one moment.
const MAX_ROUNDS: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An instance's runner registers.
    Connect(ShortText),
    /// An instance looks whether its config is there.
    Fetch(ShortText),
    /// An instance has waited long enough for its config.
    GiveUp(ShortText),
    /// A job that runs comes to its end.
    Finish(JobId),
    /// A job is called off.
    Cancel(JobId),
    /// An instance whose job has ended terminates itself.
    Leave(ShortText),
}

impl World {
    /// Brings the world to `at`, all but the replies of held polls.
    pub(super) fn settle(&mut self, at: WorldNow) {
        if at.now.mono >= self.at.now.mono {
            self.at = at;
        }
        for _ in 0..MAX_ROUNDS {
            let moved = self.fire_timers() | self.carry_out_lingering() | self.run_workloads() | self.digest();
            if !moved {
                break;
            }
        }
    }

    /// Absorbs what happened in GitHub and in AWS; whether anything did.
    pub(super) fn digest(&mut self) -> bool {
        let facts = self.github.take_facts();
        let events = self.aws.advance(self.at.now);
        if facts.is_empty() && events.is_empty() {
            return false;
        }
        for fact in facts {
            self.absorb_fact(fact);
        }
        for event in events {
            self.absorb_event(event);
        }
        true
    }

    /// Puts a job with a plan into GitHub.
    pub(super) fn start_job(&mut self, key: &SetKey, plan: JobPlan) -> Result<JobId, QueueFull> {
        let us = self.at.us;
        self.github.set_time(self.at.now);
        let job = self.github.queue_job(key)?;
        self.ledger.job_queued(job, key, plan, us);
        if let Some(Cancel::Queued(after)) = plan.cancel {
            self.timers.insert((self.at.now.mono + after, Timer::Cancel(job)));
        }
        Ok(job)
    }

    /// The whole world as it is.
    #[must_use]
    pub fn state(&self) -> WorldState {
        WorldState {
            sets: self.github.sets().collect(),
            groups: self.aws.groups().map(group_state).collect(),
            totals: self.ledger.totals(),
        }
    }

    fn fire_timers(&mut self) -> bool {
        let mut fired = false;
        while self.timers.first().is_some_and(|(due, _)| *due <= self.at.now.mono)
            && let Some((_, timer)) = self.timers.pop_first()
        {
            self.github.set_time(self.at.now);
            fired = true;
            match timer {
                Timer::Connect(instance) if self.runners.managed => self.start_with_config(instance),
                Timer::Connect(instance) => self.connect(instance),
                Timer::Fetch(instance) => self.fetch(instance),
                Timer::GiveUp(instance) => self.give_up(instance),
                Timer::Finish(job) => self.finish(job),
                Timer::Cancel(job) => drop(self.github.cancel_job(job)),
                Timer::Leave(instance) => self.leave(&instance),
            }
        }
        fired
    }

    fn run_workloads(&mut self) -> bool {
        let now = self.at.now.mono;
        let due = |workload: &Workload| workload.next_at().is_some_and(|at| at <= now);
        if !self.workloads.iter().any(due) {
            return false;
        }
        let mut jobs = Vec::new();
        for workload in &mut self.workloads {
            while due(workload)
                && let Some(job) = workload.take()
            {
                jobs.push(job);
            }
        }
        for (key, plan) in jobs {
            if self.start_job(&key, plan).is_err() {
                // The model is full: the job never was.
                break;
            }
        }
        true
    }

    fn connect(&mut self, instance: ShortText) {
        let Some(agent) = self.agents.by_instance.get_mut(&instance) else { return };
        let key = self.aws.group(&agent.group).and_then(|group| set_of(&group.tags));
        match key.filter(|key| self.github.connect_runner(key, &instance)) {
            Some(key) => agent.set = Some(key),
            None if self.at.now.mono.since(agent.since) >= self.runners.gives_up => self.leave(&instance),
            None => self.at_in(self.runners.retry, Timer::Connect(instance)),
        }
    }

    /// A config was stored.
    pub(super) fn config_stored(&mut self, instance: &str) {
        self.ledger.config_stored(instance, self.at.us);
        self.look_for_config(instance);
    }

    /// An instance looks for its config again and again, and will find it.
    fn look_for_config(&mut self, instance: &str) {
        if self.agents.by_instance.get(instance).is_some_and(|agent| agent.config.is_none()) {
            let spread = self.runners.retry.as_millis().max(1);
            let wait = Duration::from_millis(self.rng.below(spread));
            self.at_in(wait, Timer::Fetch(instance.into()));
        }
    }

    fn fetch(&mut self, instance: ShortText) {
        let Some(agent) = self.agents.by_instance.get_mut(&instance).filter(|agent| agent.config.is_none()) else {
            return;
        };
        if let Some(config) = self.store.take(self.at.now.mono, &instance) {
            agent.config = Some(config);
            self.at_in(self.runners.register, Timer::Connect(instance));
        }
    }

    fn give_up(&mut self, instance: ShortText) {
        if self.agents.by_instance.get(&instance).is_some_and(|agent| agent.config.is_none()) {
            self.at_in(self.runners.lingers(), Timer::Leave(instance));
        }
    }

    fn start_with_config(&mut self, instance: ShortText) {
        let Some(agent) = self.agents.by_instance.get_mut(&instance) else { return };
        match agent.config.as_deref().and_then(|config| self.github.start_runner(config)) {
            Some(key) => agent.set = Some(key),
            // GitHub knows no such runner any more.
            None => self.at_in(self.runners.lingers(), Timer::Leave(instance)),
        }
    }

    fn finish(&mut self, job: JobId) {
        if let Some(plan) = self.ledger.plan(job) {
            self.github.finish_job(job, plan.result);
        }
    }

    /// An instance ends itself: with decrement, or without where the group's least size forbids it.
    fn leave(&mut self, instance: &str) {
        let now = self.at.now;
        self.ledger.count_call("agent", "TerminateInstanceInAutoScalingGroup");
        if self.aws.terminate_instance(now, instance, true).is_err() {
            // Refused again, the instance is gone already.
            drop(self.aws.terminate_instance(now, instance, false));
        }
    }

    fn absorb_fact(&mut self, fact: Fact) {
        let us = self.at.us;
        match fact {
            Fact::SetCreated { .. } => {}
            Fact::SetDeleted { key } => self.dismiss(&key),
            Fact::Assigned { job, key, assigned } => {
                self.ledger.job_assigned(job, us);
                self.expect_capacity(job, &key, assigned);
            }
            Fact::Started { job, runner } => {
                self.ledger.job_started(job, &runner, us);
                let Some(plan) = self.ledger.plan(job) else { return };
                self.at_in(plan.duration, Timer::Finish(job));
                if let Some(Cancel::Running(after)) = plan.cancel {
                    self.at_in(after, Timer::Cancel(job));
                }
                if let Some(agent) = self.agents.by_instance.get_mut(&runner) {
                    agent.job = Some(job);
                }
            }
            Fact::Ended { job, result, runner } => {
                self.ledger.job_ended(job, result, us);
                if let Some(runner) = runner
                    && self.agents.by_instance.contains_key(&runner)
                {
                    self.at_in(self.runners.lingers(), Timer::Leave(runner));
                }
            }
            Fact::RunnerRemoved { runner } => {
                if self.agents.by_instance.get(&runner).is_some_and(|agent| agent.config.is_some()) {
                    self.at_in(self.runners.lingers(), Timer::Leave(runner));
                }
            }
        }
    }

    /// The runners of a scale set that is gone end themselves, and their instances.
    fn dismiss(&mut self, key: &SetKey) {
        let of_set = self.agents.by_instance.iter().filter(|(_, agent)| agent.set.as_ref() == Some(key));
        let instances: Vec<ShortText> = of_set.map(|(instance, _)| instance.clone()).collect();
        for instance in instances {
            self.at_in(self.runners.lingers(), Timer::Leave(instance));
        }
    }

    fn absorb_event(&mut self, event: AwsEvent) {
        match event {
            AwsEvent::DesiredCapacitySet { group, desired, .. } => {
                self.ledger.capacity_set(&group, desired, self.at.us);
            }
            AwsEvent::InstanceShown { id } => self.ledger.instance_shown(&id, self.at.us),
            AwsEvent::InstanceInService { group, id, warm } => {
                self.ledger.instance_started(warm);
                if self.rng.below(100) < self.runners.broken_percent {
                    return self.at_in(self.runners.gives_up, Timer::Leave(id));
                }
                let agent = Agent { group, since: self.at.now.mono, set: None, job: None, config: None };
                self.agents.by_instance.insert(id.clone(), agent);
                if self.runners.managed {
                    self.ledger.config_wanted(&id, self.at.us);
                    self.at_in(self.runners.gives_up, Timer::GiveUp(id.clone()));
                    self.look_for_config(&id);
                } else {
                    self.at_in(self.runners.register, Timer::Connect(id));
                }
            }
            AwsEvent::InstanceTerminating { id, cause, group } => {
                self.ledger.config_no_longer_wanted(&id);
                let Some(agent) = self.agents.by_instance.remove(&id) else { return };
                self.ledger.instance_left(self.at.now.mono.since(agent.since));
                if let Some(job) = agent.job {
                    let released = self.aws.was_released(&group);
                    self.ledger.job_loses_instance(job, cause, &group, released);
                }
                if let Some(key) = agent.set {
                    self.github.set_time(self.at.now);
                    if self.runners.managed {
                        self.github.lose_machine(&key.scope, &id);
                    } else {
                        self.github.lose_runner(&key.scope, &id);
                    }
                }
            }
            AwsEvent::InstanceGone { .. } => {}
        }
    }

    /// Begins a sample of message-to-capacity latency, when the job needs capacity that is not there.
    fn expect_capacity(&mut self, job: JobId, key: &SetKey, assigned: u32) {
        if !self.servants_known {
            let served = self.aws.groups().filter_map(|group| Some((set_of(&group.tags)?, group.name.clone())));
            self.servants = served.collect();
            self.servants_known = true;
        }
        let Some(group) = self.servants.get(key).and_then(|name| self.aws.group(name)) else {
            return;
        };
        let cover = assigned.min(group.max_size);
        if cover > group.desired {
            let name = group.name.clone();
            self.ledger.capacity_wanted(job, &name, cover, self.at.us);
        }
    }

    fn at_in(&mut self, after: Duration, timer: Timer) {
        let due: Instant = self.at.now.mono + after;
        self.timers.insert((due, timer));
    }
}

fn group_state(group: &poolkeeper_core::aws::Group) -> GroupState {
    use poolkeeper_core::aws::LifecycleState;
    let count = |state: &LifecycleState| group.instances.iter().filter(|i| i.state == *state).count();
    GroupState {
        name: group.name.clone(),
        set: set_of(&group.tags),
        min_size: group.min_size,
        max_size: group.max_size,
        desired: group.desired,
        in_service: count(&LifecycleState::InService),
        pending: count(&LifecycleState::Pending),
    }
}
