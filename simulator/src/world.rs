//! GitHub, AWS, the runners between them and the demand on them, under one clock.

pub mod fault;
pub mod ledger;
mod life;
mod troubled;

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Instant, Now};
use serde::Serialize;

use crate::aws::{self, Aws, AwsConfig, GroupSpec, Rate};
use crate::github::{Call, GitHub, GitHubConfig, JobId, QueueFull, Route, SetKey, SetState};
use crate::http::{HttpRequest, HttpResponse, Served, Ticket};
use crate::runners::{Agents, RunnersConfig};
use crate::store::{self, ConfigStore};
use crate::workload::{JobPlan, Workload, WorkloadConfig};
pub use fault::{Fault, FaultAction, WaitHeader, Weather};
use fault::{Faults, Verdict};
pub use ledger::{ConfigLatency, JobRecord, Ledger, PoolCounts, Starts, Totals, Victim};
use life::Timer;
use troubled::Lingering;

/// Sets the numbers drawn for faults apart from the others, so that a fault less changes nothing else by itself.
const FAULTS: u64 = 0x5eed_fa17;

/// What a world is made of.
#[derive(Clone, Debug, Default)]
pub struct WorldConfig {
    /// GitHub.
    pub github: GitHubConfig,
    /// AWS.
    pub aws: AwsConfig,
    /// The groups there are from the start.
    pub groups: Vec<GroupSpec>,
    /// The runners.
    pub runners: RunnersConfig,
    /// The rate of calls of each kind of the store that configs go through; `None`: unlimited.
    pub store_rate: Option<Rate>,
}

/// What the world's clocks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldNow {
    /// In milliseconds.
    pub now: Now,
    /// The monotonic clock in microseconds, for latencies.
    pub us: u64,
}

impl WorldNow {
    /// A moment of virtual time, which has no finer grain than milliseconds.
    #[must_use]
    pub const fn virtual_time(now: Now) -> Self {
        Self { now, us: now.mono.as_millis().saturating_mul(1000) }
    }
}

/// GitHub, AWS, runners and demand.
#[derive(Debug)]
pub struct World {
    github: GitHub,
    aws: Aws,
    store: ConfigStore,
    runners: RunnersConfig,
    agents: Agents,
    workloads: Vec<Workload>,
    timers: BTreeSet<(Instant, Timer)>,
    faults: Faults,
    /// What is drawn for faults by chance.
    fault_rng: Rng,
    /// Replies that are late.
    late: BTreeMap<(Instant, Ticket), HttpResponse>,
    /// Requests that are carried out when nobody waits for them any more.
    lingering: BTreeMap<(Instant, u64), Lingering>,
    lingered: u64,
    /// Faults that wait for the end of a held poll.
    bent: BTreeMap<Ticket, FaultAction>,
    ledger: Ledger,
    /// The group that serves each set.
    servants: BTreeMap<SetKey, ShortText>,
    servants_known: bool,
    rng: Rng,
    seed: u64,
    hung: u64,
    at: WorldNow,
}

/// A world at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct WorldState {
    /// Scale sets.
    pub sets: Vec<SetState>,
    /// Groups.
    pub groups: Vec<GroupState>,
    /// What was counted.
    pub totals: Totals,
}

/// What is there although nobody needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// Instances beyond their groups' least sizes, while no job is open.
    pub instances: usize,
    /// Runners without their instances.
    pub runners: usize,
    /// Configs that nobody took.
    pub configs: usize,
}

/// One group as it truly is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupState {
    /// Its name.
    pub name: ShortText,
    /// The scale set its tags name.
    pub set: Option<SetKey>,
    /// `MinSize`.
    pub min_size: u32,
    /// `MaxSize`.
    pub max_size: u32,
    /// `DesiredCapacity`.
    pub desired: u32,
    /// Instances `InService`.
    pub in_service: usize,
    /// Instances on their way there.
    pub pending: usize,
}

impl World {
    /// A world at its beginning. The seed decides everything that chance decides.
    ///
    /// Groups that AWS would refuse are left out.
    #[must_use]
    pub fn new(config: WorldConfig, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut aws = Aws::new(config.aws, rng.next());
        for group in config.groups {
            // A group that the model refuses simply does not exist, as in AWS.
            drop(aws.create_group(Now::default(), group));
        }
        Self {
            github: GitHub::new(config.github, rng.next()),
            aws,
            store: ConfigStore::new(config.store_rate),
            runners: config.runners,
            agents: Agents::default(),
            workloads: Vec::new(),
            timers: BTreeSet::new(),
            faults: Faults::default(),
            fault_rng: Rng::new(seed ^ FAULTS),
            late: BTreeMap::new(),
            lingering: BTreeMap::new(),
            lingered: 0,
            bent: BTreeMap::new(),
            ledger: Ledger::default(),
            servants: BTreeMap::new(),
            servants_known: false,
            rng,
            seed,
            hung: 0,
            at: WorldNow::default(),
        }
    }

    /// One request to GitHub.
    pub fn github(&mut self, at: WorldNow, request: HttpRequest) -> Served {
        self.settle(at);
        let route = Route::parse(&request);
        let call = Call::of(&route);
        self.ledger.count_call("github", call.as_str());
        match self.verdict(call.as_str(), "github") {
            Verdict::Answer(reply) => Served::Reply(reply),
            Verdict::Hang => Served::Held(self.hang()),
            Verdict::Close => Served::Close,
            Verdict::Linger(span) => Served::Held(self.linger(span, Lingering::GitHub(request))),
            Verdict::Carry(fault) => {
                let served = self.github.serve_routed(at.now, &request, route);
                self.bend(served, fault)
            }
        }
    }

    /// One request to AWS.
    pub fn aws(&mut self, at: WorldNow, request: HttpRequest) -> Served {
        self.settle(at);
        let of_store = store::wire::action_name(&request).map(str::to_owned);
        let action = of_store.or_else(|| aws::query::action_name(&request)).unwrap_or_else(|| "unknown".to_owned());
        self.ledger.count_call("aws", &action);
        if !action.starts_with("Describe") && !action.ends_with("Parameter") && action != "SetDesiredCapacity" {
            self.servants_known = false;
        }
        match self.verdict(&action, "aws") {
            Verdict::Answer(reply) => Served::Reply(reply),
            Verdict::Hang => Served::Held(self.hang()),
            Verdict::Close => Served::Close,
            Verdict::Linger(span) => Served::Held(self.linger(span, Lingering::Aws(request))),
            Verdict::Carry(fault) => {
                let reply = self.serve_aws(at, &request);
                self.settle(at);
                self.bend(Served::Reply(reply), fault)
            }
        }
    }

    /// One of the core's calls to AWS, in memory.
    ///
    /// # Errors
    /// As AWS refuses, or as a fault has it.
    pub fn aws_call(&mut self, at: WorldNow, call: &AwsCall) -> Result<AwsReply, AwsError> {
        self.aws_call_in_time(at, call, None).1
    }

    /// Brings the world to `at` and hands out the replies of held requests that became ready.
    pub fn advance(&mut self, at: WorldNow) -> Vec<(Ticket, HttpResponse)> {
        self.settle(at);
        let mut replies = self.github.advance(at.now);
        // What expired may have made facts, and what was said may be news to held polls.
        while self.digest() {
            replies.append(&mut self.github.advance(at.now));
        }
        if !self.bent.is_empty() {
            replies = replies.into_iter().filter_map(|(ticket, reply)| self.unbend(ticket, reply)).collect();
        }
        while let Some(entry) = self.late.first_entry()
            && entry.key().0 <= at.now.mono
        {
            let (_, ticket) = *entry.key();
            replies.push((ticket, entry.remove()));
        }
        replies
    }

    /// When [`World::advance`] next has something to do; the past when it has something to do now.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        let own = self.timers.first().map(|(at, _)| *at);
        let late = self.late.keys().next().map(|(at, _)| *at);
        let lingering = self.lingering.keys().next().map(|(at, _)| *at);
        let jobs = self.workloads.iter().filter_map(Workload::next_at).min();
        [own, late, lingering, jobs, self.github.next_wakeup(), self.aws.next_wakeup()].into_iter().flatten().min()
    }

    /// The client of a held request is gone.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.bent.remove(&ticket);
        self.late.retain(|(_, late), _| *late != ticket);
        self.github.cancel(ticket);
    }

    /// A workflow asks for a runner of a scale set, which need not exist yet.
    ///
    /// # Errors
    /// When too many jobs have not ended.
    pub fn queue_job(&mut self, at: WorldNow, key: &SetKey, plan: JobPlan) -> Result<JobId, QueueFull> {
        self.settle(at);
        let job = self.start_job(key, plan)?;
        self.digest();
        Ok(job)
    }

    /// Somebody calls a job off; false when it has ended already.
    pub fn cancel_job(&mut self, at: WorldNow, job: JobId) -> bool {
        self.settle(at);
        let canceled = self.github.cancel_job(job);
        self.digest();
        canceled
    }

    /// Lets demand begin now.
    pub fn start_workload(&mut self, at: WorldNow, config: WorkloadConfig) {
        let seed = self.rng.next();
        self.start_seeded_workload(at, config, seed);
    }

    /// Lets demand begin now that is drawn from a seed of its own.
    pub fn start_seeded_workload(&mut self, at: WorldNow, config: WorkloadConfig, seed: u64) {
        self.settle(at);
        self.workloads.retain(|workload| workload.next_at().is_some());
        self.workloads.push(Workload::new(config, seed, at.now.mono));
        self.settle(at);
    }

    /// The jobs that workloads will still make, the first so many of each, and when.
    pub fn jobs_to_come(&self, most: usize) -> impl Iterator<Item = (Instant, SetKey, JobPlan)> {
        self.workloads.iter().flat_map(move |workload| workload.to_come().take(most))
    }

    /// Calls off every job of a scale set that has not ended, and those that would come.
    pub fn abandon_set(&mut self, at: WorldNow, key: &SetKey) {
        self.settle(at);
        for workload in &mut self.workloads {
            workload.leave_out(key);
        }
        let of_set = self.ledger.jobs().filter(|(_, record)| record.ended_us.is_none() && record.key == *key);
        let open: Vec<JobId> = of_set.map(|(job, _)| job).collect();
        for job in open {
            self.ledger.job_called_off(job);
            self.github.cancel_job(job);
        }
        self.digest();
    }

    /// Whether messages and sessions carry the statistics of the one before.
    pub const fn lag_statistics(&mut self, lag: bool) {
        self.github.lag_statistics(lag);
    }

    /// Whether unacknowledged messages are delivered again although `lastMessageId` names them.
    pub const fn redeliver(&mut self, redeliver: bool) {
        self.github.redeliver(redeliver);
    }

    /// Lets so many of a hundred runners never come up.
    pub const fn break_runners(&mut self, percent: u64) {
        self.runners.broken_percent = percent;
    }

    /// Whether every workload has made all its jobs, and every job has ended.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.workloads.iter().all(|w| w.next_at().is_none()) && self.github.open_jobs() == 0
    }

    /// Whether a poll is held for each of the sets.
    #[must_use]
    pub fn is_listened_to(&self, sets: &[SetKey]) -> bool {
        sets.iter().all(|key| self.github.set(key).is_some_and(|set| set.polls > 0))
    }

    /// Breaks the next calls of a kind; false when too many faults wait already.
    pub fn inject(&mut self, fault: Fault) -> bool {
        self.faults.add(fault)
    }

    /// Breaks calls by chance until then; false when there are too many kinds of faults already.
    pub fn set_weather(&mut self, until: Instant, weather: Weather) -> bool {
        self.faults.add_weather(until, weather)
    }

    /// Forgets the faults that have not yet hit.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    /// How many calls faults have hit.
    #[must_use]
    pub const fn fault_hits(&self) -> u64 {
        self.faults.hits
    }

    /// Ends a set's session, as an eviction does; false when there is none.
    pub fn end_session(&mut self, at: WorldNow, key: &SetKey) -> bool {
        self.settle(at);
        self.github.end_session(key)
    }

    /// Deletes a scale set, as GitHub's retention does; false when there is none.
    pub fn retire_set(&mut self, at: WorldNow, key: &SetKey) -> bool {
        self.settle(at);
        let retired = self.github.retire_set(key);
        self.digest();
        retired
    }

    /// Ends every token of GitHub at once.
    pub fn expire_tokens(&mut self, at: WorldNow) {
        self.settle(at);
        self.github.expire_tokens();
    }

    /// The model of GitHub.
    #[must_use]
    pub const fn github_model(&self) -> &GitHub {
        &self.github
    }

    /// The model of GitHub, to change it behind everybody's back.
    pub const fn github_model_mut(&mut self) -> &mut GitHub {
        &mut self.github
    }

    /// The model of AWS.
    #[must_use]
    pub const fn aws_model(&self) -> &Aws {
        &self.aws
    }

    /// The store that configs go through.
    #[must_use]
    pub const fn store(&self) -> &ConfigStore {
        &self.store
    }

    /// Whether a list may be told to be empty that is not: then a runner that is there may count as gone.
    #[must_use]
    pub fn hides_lists(&self) -> bool {
        self.faults.hide_lists()
    }

    /// Whether an instance has taken a config: it takes no other one.
    #[must_use]
    pub fn has_taken_a_config(&self, instance: &str) -> bool {
        self.agents.by_instance.get(instance).is_some_and(|agent| agent.config.is_some())
    }

    /// The store, to change it behind everybody's back.
    pub const fn store_mut(&mut self) -> &mut ConfigStore {
        &mut self.store
    }

    /// Whether runners wait for configs that the daemon gives them.
    #[must_use]
    pub const fn is_managed(&self) -> bool {
        self.runners.managed
    }

    /// The model of AWS, to change it behind everybody's back.
    pub const fn aws_model_mut(&mut self) -> &mut Aws {
        self.servants_known = false;
        &mut self.aws
    }

    /// What was counted and measured.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The samples of message-to-capacity latency since the last time, in microseconds.
    pub fn take_latencies_us(&mut self) -> Vec<u64> {
        self.ledger.take_latencies()
    }

    /// How long each instance waited for its config that was given one since the last time.
    pub fn take_config_latencies_us(&mut self) -> Vec<ConfigLatency> {
        self.ledger.take_config_latencies()
    }

    /// What is there that nobody needs, once every job has ended.
    #[must_use]
    pub fn left_behind(&self, at: WorldNow) -> LeftBehind {
        let counted = self.aws.groups().map(|group| {
            let least = usize::try_from(group.min_size).unwrap_or(usize::MAX);
            group.instances.len().saturating_sub(least)
        });
        let orphan = |name: &&str| self.aws.group_of(name).is_none();
        LeftBehind {
            instances: counted.sum(),
            runners: self.github.runner_names().filter(orphan).count(),
            configs: self.store.instances(at.now.mono).count(),
        }
    }

    /// The seed the world was made with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

#[cfg(test)]
mod tests;
