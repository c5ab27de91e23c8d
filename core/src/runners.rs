//! The managed instances of one pool: each gets the config of a runner that runs one job, and none is ended without
//! proof that no job runs on it.
//!
//! The proof is GitHub's own: it removes a runner only while that has no job, decided together with assigning jobs.
//!
//! | rule | of an instance that | does |
//! |---|---|---|
//! | LOOK UP | is seen for the first time | asks for the runner of its name: one that is there is adopted |
//! | PROTECT | is in service, unprotected, without a config | protects it from scale-in |
//! | ISSUE | is in service, healthy, protected, without a runner | has a config made, and stored where it finds it |
//! | CHECK | has had its config for the boot deadline, or was not heard of for long | asks whether its runner is there |
//! | PROVE | is a candidate | removes its runner: done is proof, gone twice is proof, at work is none, all else neither |
//! | REAP | is proven free | terminates it, and desired capacity goes with it where it is not needed |
//!
//! Gone twice: the gate knows no such runner, and none of its name is found, a minute apart, or 5 s when its job ended,
//! as GitHub removes the runner with it.
//!
//! An instance that was in service before the pool was ours, without a runner of its name, may have one that nobody knows
//! of: it gets none, is replaced, and is left to end by itself.
//!
//! Candidates: its job ended · it is one too many for the grace · it did not come online in time · jobs wait although
//! there are enough like it.
//!
//! Runners of instances that went while nobody looked are found in the list of all runners, which is asked for once in a while.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::aws::{AwsError, Group, InstanceCall, LifecycleState};
use crate::context::Turn;
use crate::github::answer::Answer;
use crate::github::call::Call;
use crate::github::error::CallError;
use crate::github::message::{JobMessage, JobMessageKind};
use crate::github::request::Slot;
use crate::notice::RunnerFact;
use crate::short_text::ShortText;
use crate::time::{Duration, Instant};

mod census;
mod launches;
mod member;
mod rules;

use census::Census;
use launches::Launches;
use member::{Member, Stage};

/// The most instances one call protects.
const PROTECT_AT_ONCE: usize = 50;

/// Names a managed instance for as long as its pool lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u32);

/// Whom a call to AWS is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// One instance.
    Member(MemberId),
    /// Those that are being protected.
    Unprotected,
}

/// What is wanted of the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// The scale set whose runners they are.
    pub scale_set: u64,
    /// How many should be able to serve.
    pub target: u32,
    /// How many are: those that still come up serve nobody yet.
    pub serving: u32,
    /// Desired capacity as we know it.
    pub desired: u32,
    /// How many writes of desired capacity were made.
    pub writes: u64,
    /// The target, and a place for each that cannot serve and stays, whatever the group may hold.
    pub goal: u32,
    /// Whether jobs wait for a runner.
    pub jobs_wait: bool,
    /// How long one too many is borne.
    pub idle_grace: Duration,
    /// How long an instance may take from its config to its first sign of life.
    pub boot_deadline: Duration,
    /// A job that runs for longer is told of.
    pub max_job_time: Option<Duration>,
    /// Whether instances that a launch hook holds are let go.
    pub completes_hook: bool,
    /// Whether anything may be done to those that are there: the pool listens, and was described just now.
    pub may_act: bool,
    /// Whether stored configs may be deleted: who waits for that can be neither asked about nor ended.
    pub may_discard: bool,
    /// Whether configs may be made: those that wait for the store are lost with this process.
    pub may_issue: bool,
    /// Whether any may be ended: no write of capacity is on its way, or in doubt.
    pub may_end: bool,
}

/// Where new instances come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The lifecycle states of those that stood by in the warm pool.
    pub warm: Option<&'a BTreeMap<ShortText, ShortText>>,
    /// When AWS last took more capacity from us.
    pub raised_at: Option<Instant>,
}

/// What an instance is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It serves, or will.
    Serves,
    /// It is there and serves nobody: it is to be replaced.
    CannotServe,
    /// It is on its way out.
    Leaves,
}

/// What the instances want done.
#[derive(Clone, Debug, PartialEq)]
pub enum RunnersEffect {
    /// Make this call to GitHub.
    Call(MemberId, Call),
    /// Make this call to AWS.
    Aws(Target, InstanceCall),
    /// Complete the pool's launch hook for this instance.
    CompleteHook(MemberId, ShortText),
    /// A secret is no longer needed.
    Drop(Slot),
    /// Desired capacity did not go down with an instance after all: AWS refused.
    ShrinkRefused {
        /// How many writes of it had been made when it was taken down.
        writes: u64,
    },
    /// Whether it did is not known.
    ShrinkInDoubt,
    /// A fact.
    Note(RunnerFact),
}

/// Whether instances were looked after before, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Begun {
    /// Nothing was described yet; those that are in service then may have runners that nobody knows of…
    #[default]
    Nowhere,
    /// …or were looked after by an earlier process.
    Here,
    /// They were described.
    Yes,
    /// None of them is a stranger, and that was told.
    Known,
}

/// The managed instances of one pool. In: [`Self::described`], [`Self::heard`], [`Self::called`], [`Self::wrote`]; out:
/// [`Self::reconcile`], [`Self::ends`]; getters: [`Self::judge`], [`Self::poll_timeout`], [`Self::is_busy`], [`Self::holds_launches`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Runners {
    next: u32,
    members: BTreeMap<MemberId, Member>,
    by_instance: BTreeMap<ShortText, MemberId>,
    /// Those that the call in flight protects.
    protecting: Vec<MemberId>,
    protect_at: Instant,
    surplus_since: Option<Instant>,
    waiting_since: Option<Instant>,
    launches: Launches,
    census: Census,
    begun: Begun,
}

impl Runners {
    /// What an instance is good for, as far as is known.
    #[must_use]
    pub fn judge(&self, instance: &str) -> Judgement {
        self.by_instance.get(instance).and_then(|id| self.members.get(id)).map_or(Judgement::Serves, Member::judge)
    }

    /// Whether launches are held back, as too many instances in a row never came up.
    #[must_use]
    pub fn holds_launches(&self, now: Instant) -> bool {
        self.launches.are_held(now)
    }

    /// Whether anything is under way that a fresh describe is needed for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.surplus_since.is_some() || self.members.values().any(Member::is_busy)
    }

    /// Whether something is due for one that serves, which [`Self::reconcile`] does once it may act.
    #[must_use]
    pub fn is_due(&self, now: Instant, wishes: &Wishes) -> bool {
        let serving = self.members.values().filter(|member| matches!(member.stage, Stage::Served { .. }));
        serving.filter_map(|member| member.due(wishes)).any(|at| at <= now)
    }

    /// How many of those that are ended, and take desired capacity along, the newest describe still shows as alive: so
    /// much is desired capacity below what it says.
    #[must_use]
    pub fn unseen_decrements(&self) -> u32 {
        let unseen = self.members.values().filter(|member| member.hides_decrement()).count();
        u32::try_from(unseen).unwrap_or(u32::MAX)
    }

    /// Whether nothing is left of any instance.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// When [`Self::reconcile`] may have something new to do by the passage of time alone.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant, wishes: &Wishes) -> Option<Instant> {
        let members = self.members.values().filter_map(|member| member.due(wishes));
        let surplus = self.surplus_since.map(|since| since + wishes.idle_grace);
        let waiting = self.waiting_since.map(|since| since + rules::JOBS_WAIT);
        let held = self.launches.held_until();
        let alarms = self.members.values().filter_map(|member| member.too_long_at(wishes));
        members
            .chain(alarms)
            .chain([surplus, waiting, held, self.census.due()].into_iter().flatten())
            .filter(|at| *at > now)
            .min()
    }

    /// Before the first describe: whether those in service were looked after by an earlier process, so that one without
    /// a runner of its name has none.
    pub const fn trust(&mut self, was_ours: bool) {
        if matches!(self.begun, Begun::Nowhere | Begun::Here) {
            self.begun = if was_ours { Begun::Here } else { Begun::Nowhere };
        }
    }

    /// Whether it is news that none of them can have a runner that nobody knows of.
    pub fn knows_all(&mut self) -> bool {
        let news = self.begun == Begun::Yes && !self.members.values().any(|member| member.is_stranger);
        if news {
            self.begun = Begun::Known;
        }
        news
    }

    /// Takes in a describe of the group: what it shows to have happened.
    pub fn described(&mut self, now: Instant, group: &Group, origin: &Origin<'_>) -> Vec<RunnerFact> {
        let mut facts = Vec::new();
        let is_first = self.begun < Begun::Yes;
        for member in self.members.values_mut() {
            member.is_shown = false;
        }
        for instance in &group.instances {
            if matches!(instance.state, LifecycleState::Other(_)) {
                continue;
            }
            let (id, is_new) = match self.by_instance.get(&instance.id) {
                Some(id) => (*id, false),
                None => (self.add(now, &instance.id, origin), true),
            };
            if let Some(member) = self.members.get_mut(&id) {
                let served_elsewhere = self.begun == Begun::Nowhere && instance.state != LifecycleState::Pending;
                member.is_stranger |= is_new && served_elsewhere;
                member.shown(now, instance);
                if is_new && is_first {
                    member.was_up_before();
                }
                facts.extend(member.comes_up(now));
            }
        }
        if self.begun != Begun::Known {
            self.begun = Begun::Yes;
        }
        let mut failed = None;
        for member in self.members.values_mut() {
            if !member.is_shown && member.vanished(now) {
                self.by_instance.remove(&member.instance);
                if member.never_served(now) {
                    failed = Some(member.instance.clone());
                }
                facts.push(RunnerFact::Vanished { instance: member.instance.clone() });
            }
        }
        // Many that go together were taken by one hand.
        if let Some(instance) = failed {
            facts.extend(self.launches.failed(now, &instance));
        }
        facts
    }

    /// Lets go of them all, as others look after them now: the secrets that nobody needs any more.
    pub fn abandon(&mut self) -> impl Iterator<Item = Slot> + use<> {
        let next = self.next;
        let members = core::mem::replace(self, Self { next, ..Self::default() }).members;
        members.into_values().filter_map(|mut member| member.take_slot())
    }

    fn add(&mut self, now: Instant, instance: &str, origin: &Origin<'_>) -> MemberId {
        self.next += 1;
        let id = MemberId(self.next);
        self.by_instance.insert(instance.into(), id);
        self.members.insert(id, Member::new(instance, now, origin));
        id
    }

    /// Takes in what happened to a job.
    pub fn heard(&mut self, now: Instant, message: &JobMessage) {
        let Some(member) = self.by_instance.get(&message.runner_name).and_then(|id| self.members.get_mut(id)) else {
            return;
        };
        match message.kind {
            JobMessageKind::Started => {
                member.started(now, message.runner_id);
                self.launches.succeeded();
            }
            JobMessageKind::Completed => member.ended(now, message.runner_id),
            JobMessageKind::Available | JobMessageKind::Assigned => {}
        }
    }

    /// A call to GitHub about an instance ended.
    pub fn called(
        &mut self,
        cx: &mut Turn<'_>,
        id: MemberId,
        result: Result<Answer, CallError>,
        wishes: &Wishes,
        effects: &mut Vec<RunnersEffect>,
    ) {
        let Some(member) = self.members.get_mut(&id) else {
            if let Ok(Answer::JitConfig { config, .. }) = result {
                effects.push(RunnersEffect::Drop(config));
            }
            return;
        };
        let told = effects.len();
        member.called(cx, result, wishes, &mut self.launches, effects);
        let left = |effect: &RunnersEffect| matches!(effect, RunnersEffect::Note(RunnerFact::LeftBehind { .. }));
        if effects.iter().skip(told).any(left) {
            self.census.again(cx.now + census::LEFT_BEHIND);
        }
    }

    /// A call to AWS ended.
    pub fn wrote(
        &mut self,
        cx: &mut Turn<'_>,
        target: &Target,
        result: Result<(), AwsError>,
        effects: &mut Vec<RunnersEffect>,
    ) {
        match target {
            Target::Member(id) => {
                if let Some(member) = self.members.get_mut(id) {
                    member.wrote(cx, result, effects);
                }
            }
            Target::Unprotected => self.protected(cx.now, result, effects),
        }
    }

    fn protected(&mut self, now: Instant, result: Result<(), AwsError>, effects: &mut Vec<RunnersEffect>) {
        let ids = core::mem::take(&mut self.protecting);
        match result {
            Ok(()) => {
                for id in ids {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.was_protected = true;
                    }
                }
            }
            Err(error) => {
                self.protect_at = now + rules::PROTECT_AGAIN_AFTER;
                effects.push(RunnersEffect::Note(RunnerFact::ProtectionFailed { error }));
            }
        }
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When something does not: that is a bug of this crate.
    pub fn check(&self) {
        for (instance, id) in &self.by_instance {
            assert_eq!(
                self.members.get(id).map(|member| &member.instance),
                Some(instance),
                "a member is found by name"
            );
        }
    }
}
