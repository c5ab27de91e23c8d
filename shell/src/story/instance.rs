//! The story of one instance.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, AwsReply, Group, Instance, InstanceCall, LifecycleState};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::answer::{Runner, RunnerStatus};
use poolkeeper_core::github::message::{JobMessage, JobMessageKind};
use poolkeeper_core::github::request::RequestId;
use poolkeeper_core::notice::{Decision, Notice, PoolFact, Proof, RunnerFact};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Now;
use poolkeeper_core::view::PoolView;

use super::asked::{Answered, Call, aws_answer, github_answer, shown};
use super::job::named;
use super::log::Log;
use super::subject::Names;
use super::words::{proof_told, span, termination, utc};
use super::{Taken, Teller};
use crate::notice_text::{proof_words, tell};

/// The most pools a machine has.
const MAX_POOLS: usize = 20_000;
/// The most runners that one instance is told to have had.
const MAX_RUNNERS: usize = 64;

/// Collects what concerns one instance.
pub(super) struct InstanceTeller {
    name: String,
    names: Names,
    first_ms: Option<u64>,
    group: ShortText,
    scale_set: Option<String>,
    was_described: bool,
    /// The runners that were registered for it.
    runners: BTreeSet<u64>,
    calls: BTreeMap<RequestId, (Call, u64)>,
    state: Option<State>,
    looked: Option<Answered>,
    proof: Option<(Proof, u64)>,
    job: JobSeen,
    /// When its termination was asked for last.
    ended_ms: Option<u64>,
    gone_ms: Option<u64>,
    /// What made each group launch an instance last, and when.
    launches: BTreeMap<ShortText, (u64, String)>,
}

/// The instance as a describe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    state: LifecycleState,
    healthy: bool,
    protected: bool,
}

/// What was heard of jobs on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct JobSeen {
    started_ms: Option<u64>,
    ended: bool,
    /// Its runner was not online when that was looked at.
    late: bool,
}

impl InstanceTeller {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            names: Names::default(),
            first_ms: None,
            group: ShortText::default(),
            scale_set: None,
            was_described: false,
            runners: BTreeSet::new(),
            calls: BTreeMap::new(),
            state: None,
            looked: None,
            proof: None,
            job: JobSeen::default(),
            ended_ms: None,
            gone_ms: None,
            launches: BTreeMap::new(),
        }
    }

    fn known(&mut self, now: Now) {
        if self.first_ms.is_none() {
            self.first_ms = Some(now.unix_ms);
            self.names.forget();
        }
    }

    fn described(&mut self, now: Now, groups: &[Group], log: &mut Log) {
        for group in groups {
            match group.instances.iter().find(|instance| instance.id == self.name) {
                Some(instance) => self.shown(now, group, instance, log),
                None if group.name == self.group && self.state.is_some() => {
                    self.state = None;
                    self.gone_ms = Some(now.unix_ms);
                    log.tell(now.unix_ms, "gone: its group is described without it");
                }
                None => {}
            }
            if self.first_ms.is_none() {
                group.instances.iter().for_each(|instance| self.names.meet(&instance.id));
            }
        }
    }

    fn shown(&mut self, now: Now, group: &Group, instance: &Instance, log: &mut Log) {
        let Instance { state, healthy, protected, .. } = instance.clone();
        let is = State { state, healthy, protected };
        if self.state.as_ref() == Some(&is) {
            return;
        }
        let is_new = !std::mem::replace(&mut self.was_described, true);
        self.known(now);
        self.group.clone_from(&group.name);
        let health = if healthy { "" } else { ", not healthy" };
        let protection = if protected { ", protected from scale-in" } else { "" };
        let as_is = format!("{}{health}{protection}", is.state.as_str());
        let why = self.launches.get(&group.name).filter(|_| is_new).map(|(at_ms, why)| {
            let ago = span(now.unix_ms.saturating_sub(*at_ms));
            format!("; {why}, {ago} before")
        });
        let seen = if is_new { "first seen in a describe" } else { "described as" };
        log.tell(now.unix_ms, format!("{seen}: {as_is}{}", why.unwrap_or_default()));
        self.state = Some(is);
        self.gone_ms = None;
    }

    fn answered(&mut self, now: Now, call: Call, answer: Answered, log: &mut Log) {
        let text = match (call, &answer) {
            (Call::List, Answered::Found(None) | Answered::Failed(_)) => return,
            (Call::LookUp | Call::List, Answered::Found(found)) => {
                let is_up = found.as_ref().is_some_and(|runner| runner.status != RunnerStatus::Offline);
                self.job.late = !is_up && !self.runners.is_empty();
                let is_news = self.looked.as_ref() != Some(&answer);
                if !is_news && found.is_some() {
                    return;
                }
                match found {
                    Some(runner) => format!("GitHub knows {} of its name", shown(runner)),
                    None if is_news => "GitHub knows no runner of its name".to_owned(),
                    None => "GitHub knows no runner of its name, again".to_owned(),
                }
            }
            (_, Answered::Found(_)) => return,
            (_, Answered::Issued { runner }) => format!("config issued: GitHub registered runner {runner} for it"),
            (Call::Remove { runner }, Answered::Removed) => {
                format!("GitHub removed runner {runner}: it does that only while no job runs on it")
            }
            (Call::Remove { runner }, Answered::AtWork) => {
                format!("GitHub refused to remove runner {runner}: a job runs on it, so the instance stays")
            }
            (Call::Remove { runner }, Answered::NoRunner) => format!("GitHub knows no runner {runner} any more"),
            (_, Answered::Removed | Answered::AtWork | Answered::NoRunner) => call.words(),
            (_, Answered::Failed(why)) => format!("{}, and it failed: {why}; that proves nothing", call.words()),
        };
        if let Answered::Issued { runner } | Answered::Found(Some(Runner { id: runner, .. })) = answer {
            self.has_runner(runner);
        }
        self.looked = matches!(answer, Answered::Found(_)).then_some(answer);
        self.known(now);
        log.tell(now.unix_ms, text);
    }

    fn has_runner(&mut self, runner: u64) {
        if self.runners.len() < MAX_RUNNERS {
            self.runners.insert(runner);
        }
    }

    /// Whether a call that is made concerns the instance; what is told of it at once.
    fn asks(&mut self, step: &Taken<'_>, effect: &Effect, log: &mut Log) {
        let (id, call) = match effect {
            Effect::Aws { id, call } => (*id, Call::of_aws(call, &self.name)),
            Effect::GitHub { id, call, request } => (*id, Call::of_github(*call, request, &self.name)),
            Effect::Cancel { .. } | Effect::Remember { .. } | Effect::Drop(_) | Effect::Note(_) | Effect::Exit(_) => {
                return;
            }
        };
        self.replaces(step.now, effect);
        let Some(call) = call else { return };
        match call {
            Call::Remove { runner } if !self.runners.contains(&runner) => return,
            Call::Remove { runner } => {
                let pool = step.machine.pool_of_call(id).and_then(|pool| step.machine.pool(pool));
                let why = self.reason(pool.as_ref());
                log.tell(step.now.unix_ms, format!("GitHub is asked to remove runner {runner}, {why}"));
            }
            Call::Terminate => self.terminates(step.now, effect, log),
            Call::Protect
            | Call::Store
            | Call::Discard
            | Call::CompleteHook
            | Call::LookUp
            | Call::List
            | Call::Issue => {}
        }
        self.calls.insert(id, (call, step.now.unix_ms));
    }

    /// Whether another instance is ended and its place is kept.
    fn replaces(&mut self, now: Now, effect: &Effect) {
        if let Effect::Aws { call: AwsCall::Instances { group, call }, .. } = effect
            && let InstanceCall::Terminate { instance, decrement: false } = call
        {
            let why = format!("{instance} was ended and its place kept");
            self.launches.insert(group.clone(), (now.unix_ms, why));
        }
    }

    fn reason(&self, pool: Option<&PoolView>) -> &'static str {
        if self.gone_ms.is_some() {
            "as its instance is gone"
        } else if self.job.ended {
            "as its job ended"
        } else if self.job.late {
            "as it was not online when it should have been"
        } else if pool.is_some_and(|pool| pool.in_service > pool.target) {
            "as there is one too many"
        } else {
            "as jobs wait although there are enough instances"
        }
    }

    fn terminates(&mut self, now: Now, effect: &Effect, log: &mut Log) {
        let decrement = matches!(
            effect,
            Effect::Aws { call: AwsCall::Instances { call: InstanceCall::Terminate { decrement: true, .. }, .. }, .. }
        );
        self.ended_ms = Some(now.unix_ms);
        log.tell(now.unix_ms, termination("it", decrement, self.proof));
    }

    fn noted(&mut self, now: Now, notice: &Notice, log: &mut Log) {
        let Notice::Pool { group, fact, .. } = notice else { return };
        if let PoolFact::Message { jobs, .. } = fact {
            let name = self.name.clone();
            for job in jobs.iter().filter(|job| job.runner_name == name) {
                self.group.clone_from(group);
                self.heard(now, job, log);
            }
        }
        let PoolFact::Runner(fact) = fact else { return };
        if instance_of(fact).is_none_or(|instance| *instance != self.name) {
            return;
        }
        self.known(now);
        if let RunnerFact::Free { proof, .. } = fact {
            self.proof = Some((*proof, now.unix_ms));
            return log.tell(now.unix_ms, format!("it is proven that no job runs on it: {}", proof_words(*proof)));
        }
        if let RunnerFact::Adopted { runner, .. } | RunnerFact::Served { runner, .. } = fact {
            self.has_runner(*runner);
        }
        if !is_answer(fact) {
            log.tell(now.unix_ms, tell(notice).text);
        }
    }

    fn heard(&mut self, now: Now, message: &JobMessage, log: &mut Log) {
        self.known(now);
        self.has_runner(message.runner_id);
        let job = named(&message.job);
        match message.kind {
            JobMessageKind::Started => {
                self.job = JobSeen { started_ms: Some(now.unix_ms), ..JobSeen::default() };
                log.tell(now.unix_ms, format!("runner {} is up and started {job}", message.runner_id));
            }
            JobMessageKind::Completed => {
                let ran = self.job.started_ms.map(|at| span(now.unix_ms.saturating_sub(at)));
                let ran = ran.map(|ran| format!(", {ran} after it started")).unwrap_or_default();
                self.job.ended = true;
                log.tell(now.unix_ms, format!("{job} ended: {}{ran}", message.result));
            }
            JobMessageKind::Available | JobMessageKind::Assigned => {}
        }
    }
}

impl Teller for InstanceTeller {
    fn hear(&mut self, now: Now, event: &Event, log: &mut Log) {
        match event {
            Event::Start { .. } => {
                self.calls.clear();
                if self.first_ms.is_some() && self.gone_ms.is_none() {
                    log.tell(now.unix_ms, "the daemon starts again");
                }
            }
            Event::AwsReply { result: Ok(AwsReply::Groups { groups, .. }), .. } => self.described(now, groups, log),
            Event::AwsReply { id, result } => {
                if let Some((call, _)) = self.calls.remove(id) {
                    self.known(now);
                    log.tell(now.unix_ms, aws_answer(call, result));
                }
            }
            Event::GitHubReply { id, result } => {
                if let Some((call, _)) = self.calls.remove(id) {
                    let answer = github_answer(call, &self.name, result);
                    self.answered(now, call, answer, log);
                }
            }
            Event::Tick | Event::Remembered { .. } | Event::Reconfigure(_) | Event::Stop => {}
        }
    }

    fn see(&mut self, step: &Taken<'_>, log: &mut Log) {
        for change in step.changes {
            let decision = change.decision();
            if decision.to > decision.from {
                let Decision { from, to, .. } = decision;
                let why = format!("desired capacity went {from} -> {to}");
                self.launches.insert(change.group().clone(), (step.now.unix_ms, why));
            }
        }
        for notice in step.notices() {
            self.noted(step.now, notice, log);
        }
        for effect in step.effects {
            self.asks(step, effect, log);
        }
        if self.scale_set.is_none() && !self.group.is_empty() {
            let pools = step.machine.pools(None, MAX_POOLS);
            let own = pools.into_iter().find(|pool| pool.group == self.group);
            self.scale_set = Some(own.map(|pool| pool.scale_set).unwrap_or_default());
        }
    }

    fn title(&self) -> Result<String, &Names> {
        if self.first_ms.is_none() {
            return Err(&self.names);
        }
        let Self { name, group, .. } = self;
        let scale_set = self.scale_set.as_deref().unwrap_or_default();
        Ok(match (group.is_empty(), scale_set.is_empty()) {
            (true, _) => format!("instance {name}"),
            (false, true) => format!("instance {name} of group {group}"),
            (false, false) => format!("instance {name} of group {group}, scale set {scale_set}"),
        })
    }

    fn closing(&self, end: Now, _machine: Option<&Machine>) -> Vec<String> {
        let own = self.calls.values().filter(|(call, _)| *call != Call::List);
        let mut lines: Vec<String> = own
            .map(|(call, at_ms)| format!("{} at {}; this journal has no answer.", call.words(), utc(*at_ms)))
            .collect();
        let first_ms = self.first_ms.unwrap_or_default();
        let Some(gone_ms) = self.gone_ms else {
            let age = span(end.unix_ms.saturating_sub(first_ms));
            lines.push(format!("As the journal ends, {age} after it was first seen, it is not gone."));
            return lines;
        };
        let lived = span(gone_ms.saturating_sub(first_ms));
        lines.push(match (self.ended_ms, self.proof) {
            (Some(_), _) => {
                format!("It was there for {lived}, and was terminated on this proof: {}.", proof_told(self.proof))
            }
            (None, _) => format!("It was there for {lived}; poolkeeper did not ask for its termination."),
        });
        lines
    }
}

/// The instance a fact is about, when it is about one.
pub(super) const fn instance_of(fact: &RunnerFact) -> Option<&ShortText> {
    match fact {
        RunnerFact::Adopted { instance, .. }
        | RunnerFact::Foreign { instance, .. }
        | RunnerFact::Stranger { instance }
        | RunnerFact::Up { instance, .. }
        | RunnerFact::HookCompleted { instance }
        | RunnerFact::JobTooLong { instance, .. }
        | RunnerFact::Served { instance, .. }
        | RunnerFact::NotIssued { instance, .. }
        | RunnerFact::Free { instance, .. }
        | RunnerFact::NotEnded { instance, .. }
        | RunnerFact::AwsFailed { instance, .. }
        | RunnerFact::Vanished { instance }
        | RunnerFact::LeftBehind { instance, .. }
        | RunnerFact::LaunchesHeld { last: instance, .. } => Some(instance),
        RunnerFact::ProtectionFailed { .. } => None,
    }
}

/// Whether a fact says what the answer to a call says already.
const fn is_answer(fact: &RunnerFact) -> bool {
    match fact {
        RunnerFact::Served { .. }
        | RunnerFact::HookCompleted { .. }
        | RunnerFact::NotIssued { .. }
        | RunnerFact::NotEnded { .. }
        | RunnerFact::AwsFailed { .. }
        | RunnerFact::ProtectionFailed { .. }
        | RunnerFact::Vanished { .. } => true,
        RunnerFact::Adopted { .. }
        | RunnerFact::Foreign { .. }
        | RunnerFact::Stranger { .. }
        | RunnerFact::Up { .. }
        | RunnerFact::JobTooLong { .. }
        | RunnerFact::Free { .. }
        | RunnerFact::LeftBehind { .. }
        | RunnerFact::LaunchesHeld { .. } => false,
    }
}
