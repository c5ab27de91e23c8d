//! Jobs: queued, assigned to a scale set, taken by a runner, ended.

use poolkeeper_core::short_text::ShortText;
use serde::{Deserialize, Serialize};

use super::reply::{UNSET_TIME, timestamp, timestamp_or_unset};
use super::view::SetKey;
use super::wire::WireJob;
use super::{GitHub, Timer};

/// The most jobs that have not ended.
const MAX_JOBS: usize = 1_000_000;

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// It ran to its end.
    Succeeded,
    /// It ran and failed by its own fault.
    Failed,
    /// Somebody called it off.
    Canceled,
    /// No runner picked it up, again and again.
    Abandoned,
    /// Its runner went away in the middle.
    Lost,
}

impl JobResult {
    const fn on_the_wire(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed | Self::Lost => "failed",
            Self::Canceled | Self::Abandoned => "canceled",
        }
    }
}

/// Something that happened inside GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A scale set was created.
    SetCreated {
        /// The set.
        key: SetKey,
    },
    /// A scale set was deleted.
    SetDeleted {
        /// The set.
        key: SetKey,
    },
    /// A job was assigned to a scale set.
    Assigned {
        /// The job.
        job: JobId,
        /// The set.
        key: SetKey,
        /// The set's assigned jobs, this one included.
        assigned: u32,
    },
    /// A runner took a job.
    Started {
        /// The job.
        job: JobId,
        /// The runner's name.
        runner: ShortText,
    },
    /// A runner was removed by a call.
    RunnerRemoved {
        /// The runner's name.
        runner: ShortText,
    },
    /// A job ended.
    Ended {
        /// The job.
        job: JobId,
        /// How.
        result: JobResult,
        /// The name of the runner that had it, if any: it is deregistered now.
        runner: Option<ShortText>,
    },
}

/// There are too many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

#[derive(Clone, Debug)]
pub(super) struct Job {
    scope: String,
    set_name: String,
    pub(super) set: Option<u64>,
    pub(super) state: JobState,
    attempt: u32,
    queued_ms: u64,
    assigned_ms: Option<u64>,
    started_ms: Option<u64>,
    finished_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    Queued,
    Assigned,
    Running { runner: u64 },
}

impl GitHub {
    /// A workflow asks for a runner of a scale set, which need not exist yet.
    ///
    /// # Errors
    /// When too many jobs have not ended.
    pub fn queue_job(&mut self, key: &SetKey) -> Result<JobId, QueueFull> {
        if self.jobs.len() >= MAX_JOBS {
            return Err(QueueFull);
        }
        self.last_job += 1;
        let id = JobId(self.last_job);
        let job = Job {
            scope: key.scope.clone(),
            set_name: key.name.clone(),
            set: None,
            state: JobState::Queued,
            attempt: 0,
            queued_ms: self.now.unix_ms,
            assigned_ms: None,
            started_ms: None,
            finished_ms: None,
        };
        self.jobs.insert(id, job);
        match self.find_set(key) {
            Some(set) => self.house(id, set),
            None => {
                let tenant = self.tenant_mut(&key.scope);
                tenant.homeless.entry(key.name.clone()).or_default().insert(id);
            }
        }
        Ok(id)
    }

    /// Somebody calls a job off; false when it has ended already.
    pub fn cancel_job(&mut self, id: JobId) -> bool {
        self.end_job(id, JobResult::Canceled)
    }

    /// The runner of a job reports its end; false when it was not running.
    pub fn finish_job(&mut self, id: JobId, result: JobResult) -> bool {
        let running = self.jobs.get(&id).is_some_and(|job| matches!(job.state, JobState::Running { .. }));
        running && self.end_job(id, result)
    }

    /// Puts a job into a scale set that exists.
    pub(super) fn house(&mut self, id: JobId, set_id: u64) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.set = Some(set_id);
        }
        if let Some(set) = self.sets.get_mut(&set_id) {
            set.queued.insert(id);
        }
        if self.offers() {
            self.tell(set_id, id, "JobAvailable");
        } else {
            self.assign_jobs(set_id);
        }
    }

    /// Takes a job out of a scale set that is being deleted.
    pub(super) fn unhouse(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            (job.set, job.state, job.assigned_ms) = (None, JobState::Queued, None);
        }
    }

    /// Assigns what waits, as far as the listener's capacity goes, and starts what can start.
    pub(super) fn assign_jobs(&mut self, set_id: u64) {
        if !self.offers() {
            while let Some(set) = self.sets.get_mut(&set_id) {
                let assigned = u64::try_from(set.assigned.len() + set.running.len());
                if set.capacity.is_some_and(|capacity| assigned.is_ok_and(|n| n >= capacity)) {
                    break;
                }
                let Some(job) = set.queued.pop_first() else { break };
                self.assign_job(set_id, job);
            }
        }
        self.start_jobs(set_id);
    }

    /// Assigns one job that was taken out of the queued ones.
    pub(super) fn assign_job(&mut self, set_id: u64, id: JobId) {
        let now = self.now;
        let (Some(set), Some(job)) = (self.sets.get_mut(&set_id), self.jobs.get_mut(&id)) else {
            return;
        };
        set.assigned.insert(id);
        job.state = JobState::Assigned;
        job.assigned_ms = Some(now.unix_ms);
        let timer = Timer::Pickup { job: id, attempt: job.attempt };
        self.timers.insert((now.mono + self.config.pickup, timer));
        let assigned = u32::try_from(set.assigned.len() + set.running.len()).unwrap_or(u32::MAX);
        self.facts.push(Fact::Assigned { job: id, key: set.key_of(), assigned });
        self.tell(set_id, id, "JobAssigned");
    }

    /// Gives assigned jobs to idle runners: each runner takes one, each job has one.
    pub(super) fn start_jobs(&mut self, set_id: u64) {
        while let Some(set) = self.sets.get_mut(&set_id)
            && let (Some(id), Some(runner_id)) = (set.assigned.first().copied(), set.idle.first().copied())
        {
            set.assigned.remove(&id);
            set.idle.remove(&runner_id);
            set.running.insert(id);
            let (Some(job), Some(runner)) = (self.jobs.get_mut(&id), self.runners.get_mut(&runner_id)) else {
                continue;
            };
            job.state = JobState::Running { runner: runner_id };
            job.started_ms = Some(self.now.unix_ms);
            runner.job = Some(id);
            self.facts.push(Fact::Started { job: id, runner: runner.name.clone() });
            self.tell(set_id, id, "JobStarted");
        }
    }

    /// Takes back a job that no runner picked up, and assigns it again, up to a limit.
    pub(super) fn check_pickup(&mut self, id: JobId, attempt: u32) {
        let limit = self.config.reassigns;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(set_id) = job.set.filter(|_| job.state == JobState::Assigned) else { return };
        if job.attempt != attempt {
            return;
        }
        if attempt >= limit {
            self.end_job(id, JobResult::Abandoned);
            return;
        }
        job.attempt += 1;
        job.state = JobState::Queued;
        self.tell_end(set_id, id, JobResult::Canceled, None);
        if let Some(set) = self.sets.get_mut(&set_id) {
            set.assigned.remove(&id);
            set.queued.insert(id);
        }
        if self.offers() {
            self.tell(set_id, id, "JobAvailable");
        }
        self.assign_jobs(set_id);
    }

    /// Ends a job whose runner went away.
    pub(super) fn lose_job(&mut self, id: JobId) {
        self.end_job(id, JobResult::Lost);
    }

    fn end_job(&mut self, id: JobId, result: JobResult) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        job.finished_ms = Some(self.now.unix_ms);
        let (state, set_id) = (job.state, job.set);
        let runner = match state {
            JobState::Running { runner } => self.runners.get(&runner).cloned(),
            JobState::Queued | JobState::Assigned => None,
        };
        if let Some(set_id) = set_id {
            self.tell_end(set_id, id, result, runner.as_ref().map(|r| (r.id, r.name.clone())));
            if let Some(set) = self.sets.get_mut(&set_id) {
                set.queued.remove(&id);
                set.assigned.remove(&id);
                set.running.remove(&id);
            }
        } else if let Some(job) = self.jobs.get(&id) {
            let (scope, name) = (job.scope.clone(), job.set_name.clone());
            if let Some(waiting) = self.tenant_mut(&scope).homeless.get_mut(&name) {
                waiting.remove(&id);
            }
        }
        self.jobs.remove(&id);
        if let Some(runner) = &runner {
            self.forget_runner(runner.id);
        }
        let name = runner.map(|runner| runner.name);
        self.facts.push(Fact::Ended { job: id, result, runner: name });
        if let Some(set_id) = set_id {
            self.assign_jobs(set_id);
        }
        true
    }

    fn tell(&mut self, set_id: u64, id: JobId, kind: &'static str) {
        let Some(element) = self.element(id, kind) else { return };
        if let Some(set) = self.sets.get_mut(&set_id) {
            set.outbox.push_back(element);
            self.stirred.insert(set_id);
        }
    }

    fn tell_end(&mut self, set_id: u64, id: JobId, result: JobResult, by: Option<(u64, ShortText)>) {
        let Some(mut element) = self.element(id, "JobCompleted") else { return };
        let (runner_id, runner_name) = by.unwrap_or_default();
        element.result = Some(result.on_the_wire());
        (element.runner_id, element.runner_name) = (Some(runner_id), Some(runner_name));
        if element.finish_time == UNSET_TIME {
            element.finish_time = timestamp(self.now.unix_ms);
        }
        if let Some(set) = self.sets.get_mut(&set_id) {
            set.outbox.push_back(element);
            self.stirred.insert(set_id);
        }
    }

    /// A job as messages describe it.
    pub(super) fn element(&self, id: JobId, kind: &'static str) -> Option<WireJob> {
        let job = self.jobs.get(&id)?;
        let (owner, repository) = job.scope.split_once('/').unwrap_or((&job.scope, "web"));
        let zero = self.config.zero_request_ids && !self.offers();
        let runner = match job.state {
            JobState::Running { runner } => self.runners.get(&runner),
            JobState::Queued | JobState::Assigned => None,
        };
        Some(WireJob {
            message_type: kind,
            runner_request_id: if zero { 0 } else { id.0 },
            repository_name: repository.to_owned(),
            owner_name: owner.to_owned(),
            job_id: format!("00000000-0000-4000-8000-{:012x}", id.0),
            job_workflow_ref: format!("{owner}/{repository}/.github/workflows/ci.yml@main"),
            job_display_name: format!("build {}", id.0),
            workflow_run_id: 1_000_000 + id.0,
            event_name: "push",
            request_labels: vec![job.set_name.clone()],
            queue_time: timestamp(job.queued_ms),
            scale_set_assign_time: timestamp_or_unset(job.assigned_ms),
            runner_assign_time: timestamp_or_unset(job.started_ms),
            finish_time: timestamp_or_unset(job.finished_ms),
            acquire_job_url: job
                .set
                .filter(|_| kind == "JobAvailable")
                .and_then(|set| Some(self.acquire_url(self.sets.get(&set)?))),
            runner_id: runner.map(|runner| runner.id),
            runner_name: runner.map(|runner| runner.name.clone()),
            result: None,
        })
    }
}
