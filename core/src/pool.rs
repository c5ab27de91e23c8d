//! One pool: a group, its scale set, its session, and the capacity between them.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::aws::{AwsError, Group, Instance, InstanceCall, LifecycleState};
use crate::config::Config;
use crate::connection::Caller;
use crate::context::Turn;
use crate::github::call::Call;
use crate::github::message::Statistics;
use crate::machine::ConnectionId;
use crate::notice::{Decision, PoolFact, PoolId, Verdict};
use crate::rng::Rng;
use crate::runners::{Origin, Runners, Target};
use crate::scale_set::ScaleSetKeeper;
use crate::scaler::{Changed, Scaler, Shown, Wanted};
use crate::session::{Session, SessionEvent};
use crate::spec::{Fault, PoolSpec, SetKey, resolve, scale_out_only};
use crate::time::{Duration, Instant};

mod grounds;
mod managed;
mod news;
mod view;
mod warm;

use warm::Warm;

/// How long the last target is held when statistics all zero come beside assigned jobs.
const HOLD_TARGET: Duration = Duration::from_secs(60);
/// How long an instance may take to leave after its job, while its group is described often.
const LEAVING: Duration = Duration::from_secs(60);
/// How soon doubtful counts are read again.
const RE_READ_SOON: Duration = Duration::from_secs(2);

/// What a pool wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PoolEffect {
    /// Make this call on the pool's connection.
    Call(Caller, Call),
    /// None of its instances has a runner that nobody knows of.
    KnowsAll,
    /// Tell it which runners there are.
    Census,
    /// Make this call to AWS about its instances.
    Aws(Target, InstanceCall),
    /// Give up the session's poll, or its creation if that was not sent.
    Cancel,
    /// Keep the id of the open session, or forget it.
    Remember(Option<String>),
    /// A secret is no longer needed.
    Drop(crate::github::request::Slot),
    /// A message was absorbed: capacity is to be set before anything else is done.
    Absorbed,
    /// A fact.
    Note(PoolFact),
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) group: Group,
    pub(crate) verdict: Verdict,
    pub(crate) spec: Option<PoolSpec>,
    pub(crate) listed_in: u64,
    pub(crate) missed: u32,
    pub(crate) missed_since: Instant,
    pub(crate) gone: bool,
    /// Whether another group is there in its place, which may want the scale set.
    #[serde(default)]
    is_replaced: bool,
    /// Whether lowering desired capacity can pick no victim, by the group's own settings.
    may_lower: bool,
    /// Whether its group and the config in force were looked at together.
    pub(crate) resolved_in: u64,
    /// Capacity that the organization's wall leaves to this pool.
    pub(crate) room: u32,
    /// The connection its calls go through, once it made one.
    pub(crate) connection: Option<ConnectionId>,
    /// Its share in the organization's sum.
    pub(crate) counted: u32,
    /// Whether it stands in the machine's list of groups in motion.
    pub(crate) is_moving: bool,
    /// What it is to become once its group is empty and its session closed.
    pub(crate) retag: Option<PoolSpec>,
    session: Session,
    scale_set: ScaleSetKeeper,
    scaler: Scaler,
    /// Its instances, where we give them their runners.
    #[serde(default)]
    runners: Runners,
    /// The members of its group's warm pool.
    #[serde(default)]
    pub(crate) warm: Warm,
    /// When AWS last took more capacity from us.
    #[serde(default)]
    raised_at: Option<Instant>,
    statistics: Option<Statistics>,
    held: Option<Held>,
    /// Until when an instance may leave by itself, as a job ended.
    #[serde(default)]
    leaving_until: Option<Instant>,
    stopping: bool,
    messages: u64,
    /// What had come when the counts were asked for: anything newer is newer than the answer.
    read_at_news: u64,
    error: Option<String>,
}

/// A target that is held against statistics nobody believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    assigned: u32,
    until: Instant,
}

/// What a describe asks of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing changed.
    Unchanged,
    /// The group may not be served.
    Refused(Fault),
    /// The group wants this pool.
    Wants(Box<PoolSpec>),
}

impl Pool {
    pub(crate) fn new(id: PoolId, group: Group, owner: &str) -> Self {
        Self {
            id,
            group,
            verdict: Verdict::Refused { problem: "it has not been looked at".into(), mend: "wait".into() },
            spec: None,
            listed_in: 0,
            missed: 0,
            missed_since: Instant::default(),
            gone: false,
            is_replaced: false,
            may_lower: false,
            resolved_in: 0,
            room: u32::MAX,
            connection: None,
            counted: 0,
            is_moving: false,
            retag: None,
            session: Session::new(owner),
            scale_set: ScaleSetKeeper::new(),
            scaler: Scaler::default(),
            runners: Runners::default(),
            warm: Warm::default(),
            raised_at: None,
            statistics: None,
            held: None,
            leaving_until: None,
            stopping: false,
            messages: 0,
            read_at_news: 0,
            error: None,
        }
    }

    /// The set it is bound to.
    pub(crate) fn key(&self) -> Option<&SetKey> {
        self.spec.as_ref().map(|spec| &spec.key)
    }

    /// Whether a describe that shows nothing new means nothing.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        let lacks = self.session.is_open() && self.scaler.lacks(&self.wanted(now));
        let waits = self.scaler.waits_for_describe() || self.runners.is_busy() || self.runners_wait(now);
        self.scaler.described_at().is_some() && !waits && !lacks
    }

    pub(crate) const fn desired(&self) -> u32 {
        self.scaler.desired()
    }

    /// Whether a session may be asked for in the next reconcile.
    pub(crate) const fn may_open(&self) -> bool {
        self.session.is_closed()
    }

    /// Whether nothing of it is left open.
    pub(crate) fn is_closed(&self) -> bool {
        let tidied = !self.gone || (self.runners.is_empty() && (!self.deletes_set() || self.scale_set.is_deleted()));
        self.session.is_closed() && (self.stopping || tidied)
    }

    /// Its group is gone, and another one has taken its place.
    pub(crate) const fn replaced(&mut self) {
        self.gone = true;
        self.is_replaced = true;
    }

    /// Whether a describe that was asked for then is older than what is known.
    pub(crate) fn is_outdated(&self, asked_at: Instant) -> bool {
        self.scaler.described_at().is_some_and(|at| asked_at < at)
    }

    /// Takes in a describe that is not outdated, without a group when it shows what the last one did; `asked_at` is when it was asked for.
    pub(crate) fn described(
        &mut self,
        now: Instant,
        asked_at: Instant,
        shown: Option<Group>,
        config: &Config,
        must_resolve: bool,
        effects: &mut Vec<PoolEffect>,
    ) -> Claim {
        let group = shown.as_ref().unwrap_or(&self.group);
        let same_wishes = (shown.is_none() || same_wishes(&self.group, group)) && self.scaler.described_at().is_some();
        let left = if shown.is_some() { members_left(&self.group, group) } else { 0 };
        let boot_deadline = self.spec.as_ref().map_or(config.pool.boot_deadline, |spec| spec.boot_deadline);
        if self.spec.as_ref().is_some_and(|spec| spec.is_managed) {
            let origin = Origin { warm: Some(self.warm.members()), raised_at: self.raised_at };
            let facts = self.runners.described(now, group, &origin).into_iter().map(PoolFact::Runner);
            effects.extend(facts.map(PoolEffect::Note));
        }
        self.scaler.count(now, group, boot_deadline, |instance| self.runners.judge(instance));
        let unseen_decrements = self.runners.unseen_decrements();
        let described = Shown { group, asked_at, member_left: left > 0, unseen_decrements };
        let changed = self.scaler.described(now, &described, config.defences);
        // An instance that leaves by itself takes desired with it: that is how every job of an external runner ends.
        let explained = |Changed { from, to }: &Changed| (1..=left).contains(&from.saturating_sub(*to));
        if let Some(Changed { from, to }) = changed.filter(|changed| self.spec.is_some() && !explained(changed)) {
            effects.push(PoolEffect::Note(PoolFact::DesiredChanged { from, to }));
        }
        if let Some(group) = shown {
            self.group = group;
        }
        if same_wishes && !must_resolve {
            return Claim::Unchanged;
        }
        self.may_lower = scale_out_only(&self.group).is_none();
        match resolve(&self.group, config) {
            Ok(spec) => Claim::Wants(Box::new(spec)),
            Err(fault) => Claim::Refused(fault),
        }
    }

    /// Whether it may become another pool now.
    pub(crate) fn may_rebind(&self) -> bool {
        self.spec.is_none()
            || (self.group.instances.is_empty()
                && self.runners.is_empty()
                && self.session.is_closed()
                && !self.scale_set.is_calling())
    }

    /// The pool is to be this; `was_ours` says whether it was this already when the daemon last lived.
    pub(crate) fn adopt(&mut self, spec: PoolSpec, was_ours: bool, effects: &mut Vec<PoolEffect>) {
        if self.key() != Some(&spec.key) {
            self.scale_set = ScaleSetKeeper::new();
            self.statistics = None;
            self.held = None;
            self.abandon_runners(effects);
        } else if self.spec.as_ref().is_some_and(|before| before.labels != spec.labels) {
            self.scale_set.wishes_changed();
        }
        self.runners.trust(was_ours);
        self.retag = None;
        self.spec = Some(spec);
        let verdict = match scale_out_only(&self.group) {
            Some(Fault { problem, mend }) => Verdict::ScaleOutOnly { problem, mend },
            None => Verdict::Driven,
        };
        self.judge(verdict, effects);
    }

    /// The pool may not be served: a pool that was served drains.
    pub(crate) fn refuse(&mut self, fault: Fault, effects: &mut Vec<PoolEffect>) {
        let Fault { problem, mend } = fault;
        let verdict = match self.spec {
            Some(_) => Verdict::Draining { problem, mend },
            None => Verdict::Refused { problem, mend },
        };
        self.judge(verdict, effects);
    }

    /// The tags ask for another set: that waits until the group is empty.
    pub(crate) fn wait_for_retag(&mut self, spec: PoolSpec, effects: &mut Vec<PoolEffect>) {
        if self.retag.is_none() {
            effects.push(PoolEffect::Note(PoolFact::RetagWaits));
        }
        self.retag = Some(spec);
        let problem = "its tags changed to another scale set while it has instances".to_string();
        let mend = "wait until its instances are gone, or take the change back".to_string();
        self.judge(Verdict::Draining { problem, mend }, effects);
    }

    fn judge(&mut self, verdict: Verdict, effects: &mut Vec<PoolEffect>) {
        if self.verdict != verdict {
            effects.push(PoolEffect::Note(PoolFact::Verdict(verdict.clone())));
            self.verdict = verdict;
        }
    }

    /// The daemon stops: nothing new is begun.
    pub(crate) const fn stop(&mut self) {
        self.stopping = true;
    }

    /// Compares what is observed with what is wanted, and asks GitHub for what is missing.
    pub(crate) fn reconcile(
        &mut self,
        cx: &mut Turn<'_>,
        left: Option<String>,
        config: &Config,
        effects: &mut Vec<PoolEffect>,
    ) {
        if self.held.is_some_and(|held| cx.now >= held.until) {
            self.held = None;
        }
        if self.leaving_until.is_some_and(|until| cx.now >= until) {
            self.leaving_until = None;
        }
        if !self.wants_session() && !self.session.is_closed() {
            self.session_event(cx, SessionEvent::Close, config, effects);
        }
        if self.session.poll_timeout().is_some_and(|at| at <= cx.now) {
            self.session_event(cx, SessionEvent::Tick, config, effects);
        }
        if self.gone && self.deletes_set() && self.session.is_closed() {
            self.scale_set.delete();
        }
        let wants_session = self.wants_session();
        if wants_session
            && self.session.is_closed()
            && let Some(scale_set) = self.scale_set.id()
        {
            self.session_event(cx, SessionEvent::Open { scale_set, left }, config, effects);
        }
        if let Some(spec) = &self.spec
            && (wants_session || self.gone)
            && !self.stopping
        {
            let call = self.scale_set.next(cx.now, spec, self.session.is_open(), config.defences);
            if call.is_some() {
                self.read_at_news = self.news();
            }
            effects.extend(call.map(|call| PoolEffect::Call(Caller::Pool(self.id), call)));
        }
        self.reconcile_runners(cx, effects);
        let wanted = self.wanted(cx.now);
        self.scaler.watch_surplus(cx.now, &wanted);
    }

    /// Counts whatever changes the counts: messages, and jobs acquired.
    const fn news(&self) -> u64 {
        self.messages + self.session.acquires()
    }

    fn wants_session(&self) -> bool {
        let rebinds = self.retag.is_some() && self.group.instances.is_empty();
        self.spec.is_some() && !self.gone && !self.stopping && !rebinds && self.scale_set_stands()
    }

    /// While a vanished set is looked for again, its session is given up.
    fn scale_set_stands(&self) -> bool {
        self.session.is_closed() || self.scale_set.id().is_some()
    }

    fn deletes_set(&self) -> bool {
        let configured =
            self.spec.as_ref().is_some_and(|spec| spec.on_group_gone == crate::config::OnGroupGone::Delete);
        configured && !self.is_replaced
    }

    /// What AWS is to be told now, if anything.
    pub(crate) fn decide(&self, now: Instant) -> Option<Decision> {
        if !self.session.is_open() || self.statistics.is_none() {
            return None;
        }
        self.scaler.decide(now, &self.wanted(now))
    }

    pub(crate) fn writes(&mut self, decision: Decision) {
        self.scaler.writes(decision);
    }

    pub(crate) fn wrote(&mut self, now: Instant, result: &Result<(), AwsError>, rng: &mut Rng) -> Option<PoolFact> {
        let desired = self.scaler.desired();
        match result {
            Ok(()) => {
                if self.scaler.wrote(now) {
                    self.raised_at = Some(now);
                }
                None
            }
            Err(error) => {
                self.scaler.refused(now, error, rng);
                let error = error.clone();
                self.error = Some(alloc::format!("SetDesiredCapacity({desired}): {error:?}"));
                Some(PoolFact::ScalingFailed { desired, error })
            }
        }
    }

    /// Whether the group is to be described often: it changes, or jobs wait for what has to change.
    pub(crate) fn in_motion(&self, now: Instant) -> bool {
        let jobs_wait = self.statistics.is_some_and(|statistics| statistics.running < self.assigned(now));
        let restless = jobs_wait || self.leaving_until.is_some() || self.runners.is_busy();
        let moves = restless || self.scaler.in_motion(&self.wanted(now));
        self.session.is_open() && !self.gone && moves
    }

    /// Whether capacity is missing that may not be raised now: a fresh describe may be all that it waits for.
    pub(crate) fn needs_describe(&self, now: Instant) -> bool {
        self.session.is_open() && self.scaler.lacks(&self.wanted(now)) && self.decide(now).is_none()
    }

    /// When the pool is to be reconciled again. What is due already was just done, or waits for an answer.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let keeper = if self.spec.is_some() && !self.stopping { self.scale_set.poll_timeout() } else { None };
        let scaler = if self.session.is_open() { self.scaler.poll_timeout(now, &self.wanted(now)) } else { None };
        let held = self.held.map(|held| held.until);
        [self.session.poll_timeout(), keeper, scaler, held, self.leaving_until, self.runners_due(now)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    fn assigned(&self, now: Instant) -> u32 {
        let told = self.statistics.map_or(0, |statistics| statistics.assigned);
        match self.held {
            Some(held) if now < held.until => held.assigned.max(told),
            Some(_) | None => told,
        }
    }

    fn is_paused(&self) -> bool {
        self.spec.as_ref().is_none_or(|spec| spec.paused) || matches!(self.verdict, Verdict::Draining { .. })
    }

    fn wanted(&self, now: Instant) -> Wanted {
        let Some(spec) = &self.spec else { return Wanted::default() };
        let draining = matches!(self.verdict, Verdict::Draining { .. });
        let held = self.runners.holds_launches(now);
        let may_raise =
            !self.is_paused() && !held && matches!(self.verdict, Verdict::Driven | Verdict::ScaleOutOnly { .. });
        Wanted {
            assigned: self.assigned(now),
            idle: if draining { 0 } else { spec.idle },
            size_min: if draining { 0 } else { spec.size_min },
            size_max: spec.size_max.min(self.room),
            room: self.room,
            idle_grace: spec.idle_grace,
            boot_deadline: spec.boot_deadline,
            may_raise,
            may_lower: self.may_lower && !spec.paused,
            is_managed: spec.is_managed,
        }
    }

    /// Whether its organization's wall leaves it less than it wants.
    pub(crate) fn is_cramped(&self, now: Instant) -> bool {
        let Some(spec) = &self.spec else { return false };
        let wanted = self.wanted(now);
        let free = Wanted { size_max: spec.size_max, room: u32::MAX, ..wanted };
        self.scaler.goal(&wanted) < self.scaler.goal(&free)
    }

    /// How many runners there can be: what GitHub is told.
    fn capacity(&self, now: Instant) -> u32 {
        if self.is_paused() {
            return 0;
        }
        let Some(spec) = &self.spec else { return 0 };
        let wanted = Wanted { size_max: spec.size_max.min(self.room), ..Wanted::default() };
        let most = self.scaler.bounds(&wanted).1;
        // While nothing comes up, jobs beyond what is there would wait in vain.
        if self.runners.holds_launches(now) { most.min(self.scaler.counts().ready) } else { most }
    }

    /// Checks what must always hold.
    pub(crate) fn check(&self) {
        assert!(self.spec.is_some() || self.session.is_closed(), "a session belongs to a pool that is served");
        assert!(
            !self.session.is_open() || self.session.poll_timeout().is_some() || self.session.is_calling(),
            "an open session has a call in flight or a timer"
        );
        assert!(
            self.spec.is_some() || matches!(self.verdict, Verdict::Refused { .. }),
            "a pool without a spec is refused"
        );
    }
}

/// Whether a describe shows the same wishes: all but instances and numbers.
fn same_wishes(old: &Group, new: &Group) -> bool {
    old.tags == new.tags
        && old.suspended_processes == new.suspended_processes
        && old.new_instances_protected == new.new_instances_protected
        && old.weighted == new.weighted
        && old.warm_pool == new.warm_pool
        && old.name == new.name
}

/// How many instances that lived left by themselves: desired may have moved with them.
fn members_left(old: &Group, new: &Group) -> u32 {
    let lives = |state: &LifecycleState| matches!(state, LifecycleState::Pending | LifecycleState::InService);
    let left = |(place, was): &(usize, &Instance)| {
        let same_place = new.instances.get(*place).filter(|is| is.id == was.id);
        let stayed = same_place.or_else(|| new.instances.iter().find(|is| is.id == was.id));
        lives(&was.state) && !stayed.is_some_and(|is| lives(&is.state))
    };
    u32::try_from(old.instances.iter().enumerate().filter(left).count()).unwrap_or(u32::MAX)
}
