//! The story of one job.

use std::collections::BTreeSet;

use poolkeeper_core::Machine;
use poolkeeper_core::event::Event;
use poolkeeper_core::github::message::{Job, JobMessage, JobMessageKind};
use poolkeeper_core::notice::{Notice, PoolFact, PoolId};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Now;
use poolkeeper_core::view::PoolView;

use super::instance::instance_of;
use super::log::Log;
use super::standing::hindrances;
use super::subject::{Names, is_job};
use super::wait::{Full, Troubles, Whom, holds_up, queued_ms};
use super::words::{count, span, utc};
use super::{Taken, Teller};
use crate::notice_text::tell;

/// GitHub's word that takes longer to arrive than this is told of.
const LATE_MS: u64 = 2_000;
const UNTIL_RAISED: &str = "until capacity was raised";

/// Collects what concerns one job.
pub(super) struct JobTeller {
    name: String,
    names: Names,
    title: Option<String>,
    pool: Option<PoolId>,
    scale_set: String,
    /// Whom notices are about that concern it.
    concerned: Vec<Whom>,
    /// What held pools up before the job was heard of.
    troubles: Troubles,
    /// Which pools had no room before the job was heard of.
    full: Full,
    /// Kinds of hindrances that were told.
    told: BTreeSet<&'static str>,
    at: Moments,
    /// Whether there was not capacity enough as it came, and capacity was not raised since.
    lacks: bool,
    runner: ShortText,
    result: ShortText,
}

/// When things happened, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    /// It was queued at GitHub, by GitHub's clock.
    queued: Option<u64>,
    /// A message named it first.
    heard: Option<u64>,
    /// GitHub assigned it to the scale set, by GitHub's clock.
    assigned: Option<u64>,
    /// Capacity was raised while it waited.
    raised: Option<u64>,
    started: Option<u64>,
    ended: Option<u64>,
}

impl Moments {
    /// Since when it has waited.
    fn waits_since(&self) -> Option<u64> {
        [self.queued, self.assigned, self.heard].into_iter().flatten().min()
    }

    /// What the wait between two moments was made of.
    fn parts(&self, since: u64, began: u64) -> Vec<String> {
        let parts = [
            (self.assigned, "until GitHub assigned it"),
            (self.heard, "until poolkeeper heard of it"),
            (self.raised, UNTIL_RAISED),
            (self.started, "until a runner took it"),
        ];
        let mut last = since;
        let mut told = Vec::new();
        for (at, what) in parts.into_iter().filter_map(|(at, what)| Some((at?, what))) {
            if at > last && at <= began {
                told.push(format!("{} {what}", span(at - last)));
                last = at;
            } else if what == UNTIL_RAISED {
                told.push("capacity was raised at once".to_owned());
            }
        }
        told
    }
}

impl JobTeller {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            names: Names::default(),
            title: None,
            pool: None,
            scale_set: String::new(),
            concerned: Vec::new(),
            troubles: Troubles::default(),
            full: Full::default(),
            told: BTreeSet::new(),
            at: Moments::default(),
            lacks: false,
            runner: ShortText::default(),
            result: ShortText::default(),
        }
    }

    const fn waits(&self) -> bool {
        self.pool.is_some() && self.at.started.is_none() && self.at.ended.is_none()
    }

    fn heard(&mut self, step: &Taken<'_>, pool: PoolId, message: u64, job: &JobMessage, log: &mut Log) {
        let now_ms = step.now.unix_ms;
        self.at.assigned = self.at.assigned.or(job.job.scale_set_assigned_ms);
        if self.title.is_none() {
            self.begin(step, pool, &job.job, log);
        }
        self.pool = Some(pool);
        match job.kind {
            JobMessageKind::Available => {
                log.tell(now_ms, format!("offered to {} (message {message})", self.scale_set));
            }
            JobMessageKind::Assigned => {
                log.tell(now_ms, format!("assigned to {} (message {message}){}", self.scale_set, self.late(now_ms)));
            }
            JobMessageKind::Started => self.started(now_ms, message, job, log),
            JobMessageKind::Completed => self.ended(now_ms, message, job, log),
        }
        if self.at.heard.is_none() {
            self.at.heard = Some(now_ms);
            if self.waits() {
                self.arrives(step, pool, log);
            }
        }
    }

    /// Tells what there was as it came: before anything was done about it.
    fn arrives(&mut self, step: &Taken<'_>, pool: PoolId, log: &mut Log) {
        let Some(grounds) = step.machine.grounds(pool) else { return };
        let own = step.changes.iter().find(|change| change.pool() == pool);
        let desired = own.map_or(grounds.desired, |change| change.decision().from);
        self.lacks = desired < grounds.goal;
        let counts = grounds.counts;
        let (assigned, running) = grounds.statistics.map_or((0, 0), |counts| (counts.assigned, counts.running));
        let (jobs, min, max) = (count(assigned.into(), "job"), grounds.group_min, grounds.group_max);
        let enough = if self.lacks { "" } else { "; no more are wanted" };
        let text = format!(
            "capacity as it came: desired {desired}, {} in service, {} pending, group {min} to {max}, for {jobs} assigned, \
             it among them, and {running} running{enough}",
            counts.in_service, counts.pending
        );
        log.tell(step.now.unix_ms, text);
    }

    /// It is heard of for the first time.
    fn begin(&mut self, step: &Taken<'_>, pool: PoolId, job: &Job, log: &mut Log) {
        self.names.forget();
        let view = step.machine.pool(pool);
        self.concerned = view.as_ref().map(|view| Whom::concerning(view).to_vec()).unwrap_or_default();
        let bounds = view.as_ref().map(|view| (view.group_max, view.size_max)).unwrap_or_default();
        let (scale_set, group) = view.map(|view| (view.scale_set, view.group)).unwrap_or_default();
        self.title = Some(format!("{} in {scale_set} (group {group})", named(job)));
        self.scale_set = scale_set;
        let now_ms = step.now.unix_ms;
        let since = self.at.queued.or(self.at.assigned).unwrap_or(now_ms).min(now_ms);
        let mut early: Vec<_> =
            self.at.queued.map(|at_ms| (at_ms, "queued at GitHub".to_owned())).into_iter().collect();
        early.extend(self.troubles.since(&self.concerned, since));
        if let Some((at_ms, capacity)) = self.full.within(pool, since, now_ms) {
            early.push((at_ms, held_back(capacity, bounds)));
        }
        self.full.forget();
        early.sort_by_key(|(at_ms, _)| *at_ms);
        early.into_iter().for_each(|(at_ms, text)| log.tell(at_ms, text));
    }

    fn late(&self, now_ms: u64) -> String {
        let lag = self.at.assigned.map_or(0, |at| now_ms.saturating_sub(at));
        if lag < LATE_MS {
            return String::new();
        }
        let at = self.at.assigned.map(utc).unwrap_or_default();
        format!("; GitHub assigned it at {at}, {} before it said so", span(lag))
    }

    fn started(&mut self, now_ms: u64, message: u64, job: &JobMessage, log: &mut Log) {
        self.runner.clone_from(&job.runner_name);
        let at_ms = job.job.runner_assigned_ms.unwrap_or(now_ms).min(now_ms);
        self.at.started = Some(at_ms);
        let waited = self.at.waits_since().map(|since| span(at_ms.saturating_sub(since)));
        let waited = waited.map(|waited| format!(", after {waited}")).unwrap_or_default();
        let JobMessage { runner_name, runner_id, .. } = job;
        log.tell(now_ms, format!("started on {runner_name}, runner {runner_id} (message {message}){waited}"));
    }

    fn ended(&mut self, now_ms: u64, message: u64, job: &JobMessage, log: &mut Log) {
        let at_ms = job.job.finished_ms.unwrap_or(now_ms).min(now_ms);
        self.at.ended = Some(at_ms);
        self.result.clone_from(&job.result);
        let result = &self.result;
        let how = match self.at.started {
            Some(started) => format!("after it ran for {}", span(at_ms.saturating_sub(started))),
            None if job.runner_name.is_empty() => "without ever having had a runner".to_owned(),
            None => format!("on {}; its start is not in this journal", job.runner_name),
        };
        log.tell(now_ms, format!("completed: {result}, {how} (message {message})"));
    }

    fn noted(&mut self, step: &Taken<'_>, notice: &Notice, log: &mut Log) {
        let now_ms = step.now.unix_ms;
        if let Notice::Pool { pool, fact: PoolFact::Message { message, jobs, .. }, .. } = notice {
            for job in jobs {
                if is_job(&job.job, &self.name) {
                    self.heard(step, *pool, *message, job, log);
                } else if self.title.is_none() {
                    self.names.meet(&job.job.job_id);
                }
            }
        } else if self.title.is_none() {
            self.troubles.note(now_ms, notice);
        } else if self.waits() && holds_up(notice) && self.concerned.contains(&Whom::of(notice)) {
            log.tell(now_ms, tell(notice).text);
        } else if let Notice::Pool { fact: PoolFact::Runner(fact), .. } = notice
            && !self.runner.is_empty()
            && instance_of(fact) == Some(&self.runner)
        {
            log.tell(now_ms, tell(notice).text);
        }
    }

    /// What is in the pool's way while the job waits, each kind told once.
    fn look(&mut self, step: &Taken<'_>, log: &mut Log) {
        let Some(pool) = self.pool.filter(|_| self.waits()) else { return };
        let is_touched = step.machine.settled().contains(&pool);
        let Some(view) = step.machine.pool(pool).filter(|_| is_touched) else { return };
        for hindrance in hindrances(&view) {
            if self.told.insert(hindrance.kind) {
                log.tell(step.now.unix_ms, format!("it waits: {}", hindrance.text));
            }
        }
    }
}

impl Teller for JobTeller {
    fn hear(&mut self, now: Now, event: &Event, log: &mut Log) {
        if self.at.queued.is_none() {
            self.at.queued = queued_ms(event, &self.name).filter(|at_ms| *at_ms <= now.unix_ms);
        }
        // Pools of another life have other numbers.
        if matches!(event, Event::Start { .. }) {
            self.troubles.forget();
            self.full.forget();
            self.pool = None;
            if self.title.is_some() && self.at.ended.is_none() {
                log.tell(now.unix_ms, "the daemon starts again");
            }
        }
    }

    fn see(&mut self, step: &Taken<'_>, log: &mut Log) {
        if self.pool.is_none() && self.title.is_some() && self.at.ended.is_none() {
            let mut settled = step.machine.settled().iter().filter_map(|id| step.machine.pool(*id));
            let is_it = |view: &PoolView| {
                let [_, _, connection] = Whom::concerning(view);
                view.scale_set == self.scale_set && self.concerned.contains(&connection)
            };
            if let Some(view) = settled.find(is_it) {
                self.concerned = Whom::concerning(&view).to_vec();
                self.pool = Some(view.id);
            }
        }
        for notice in step.notices() {
            self.noted(step, notice, log);
        }
        let pool = self.pool.filter(|_| self.waits());
        for change in step.changes.iter().filter(|change| Some(change.pool()) == pool) {
            let decision = change.decision();
            if decision.to < decision.from {
                log.tell(step.now.unix_ms, change.told());
            } else if std::mem::take(&mut self.lacks) {
                self.at.raised = Some(step.now.unix_ms);
                log.tell(step.now.unix_ms, change.told());
            }
        }
        self.look(step, log);
        if self.title.is_none() {
            self.full.look(step);
        }
    }

    fn title(&self) -> Result<String, &Names> {
        self.title.clone().ok_or(&self.names)
    }

    fn closing(&self, end: Now, _machine: Option<&Machine>) -> Vec<String> {
        let Moments { started, ended, .. } = self.at;
        let since = self.at.waits_since().unwrap_or_default();
        let Some(began) = started.or(ended) else {
            return vec![format!("As the journal ends it has waited for {}.", span(end.unix_ms.saturating_sub(since)))];
        };
        let waited = span(began.saturating_sub(since));
        let parts = self.at.parts(since, began);
        let parts = if parts.len() > 1 { format!(": {}", parts.join(", ")) } else { String::new() };
        let mut lines = vec![format!("It waited for {waited}{parts}.")];
        lines.push(match (started, ended) {
            (Some(started), Some(ended)) => {
                format!("It ran on {} for {}: {}.", self.runner, span(ended.saturating_sub(started)), self.result)
            }
            (Some(started), None) => {
                let so_far = span(end.unix_ms.saturating_sub(started));
                format!("As the journal ends it has run on {} for {so_far}.", self.runner)
            }
            (None, _) => format!("It ended without a start: {}.", self.result),
        });
        lines
    }
}

/// Why GitHub assigns no more jobs: the room it was told of, and what bounds that.
fn held_back(capacity: u32, (group_max, size_max): (u32, u32)) -> String {
    let told = if capacity == 0 {
        "that there is no room".to_owned()
    } else {
        format!("of room for {} and has assigned them", count(capacity.into(), "job"))
    };
    format!("GitHub holds it back: it was told {told} (MaxSize {group_max}, pool's most {size_max})")
}

/// A job, by what people and GitHub call it.
pub(super) fn named(job: &Job) -> String {
    let Job { job_id, display_name, repository, workflow_run_id, request_id, .. } = job;
    let id = if job_id.is_empty() { format!("of request {request_id}") } else { job_id.clone() };
    format!("job {id} \"{display_name}\" of {repository} (run {workflow_run_id})")
}
