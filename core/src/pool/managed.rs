//! A pool whose instances we give their runners.

use alloc::vec::Vec;

use super::{Pool, PoolEffect};
use crate::aws::{AwsError, Group, InstanceCall};
use crate::connection::Caller;
use crate::context::Turn;
use crate::github::answer::Answer;
use crate::github::error::CallError;
use crate::notice::PoolFact;
use crate::runners::{MemberId, Origin, RunnersEffect, Target, Wishes};
use crate::time::Instant;

impl Pool {
    pub(super) fn is_managed(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.is_managed)
    }

    /// A call to GitHub about an instance ended.
    pub(super) fn called_runner(
        &mut self,
        cx: &mut Turn<'_>,
        member: MemberId,
        result: Result<Answer, CallError>,
        effects: &mut Vec<PoolEffect>,
    ) {
        let wishes = self.wishes(cx.now);
        let mut out = Vec::new();
        self.runners.called(cx, member, result, &wishes, &mut out);
        self.take_runners_effects(cx.now, out, effects);
    }

    /// The list of all runners of its scope is there, or could not be had.
    pub(crate) fn counted(&mut self, cx: &mut Turn<'_>, result: &Result<Answer, CallError>) {
        if !self.is_managed() {
            return;
        }
        let set = self.scale_set.id().unwrap_or_default();
        match result {
            Ok(Answer::Runners(runners)) => self.runners.counted(cx.now, set, runners),
            Ok(_) | Err(_) => self.runners.not_counted(cx),
        }
    }

    /// A call to AWS about instances ended.
    pub(crate) fn wrote_runner(
        &mut self,
        cx: &mut Turn<'_>,
        target: &Target,
        result: Result<(), AwsError>,
        effects: &mut Vec<PoolEffect>,
    ) {
        let mut out = Vec::new();
        self.runners.wrote(cx, target, result, &mut out);
        self.take_runners_effects(cx.now, out, effects);
    }

    /// Does what is due for instances.
    pub(super) fn reconcile_runners(&mut self, cx: &Turn<'_>, effects: &mut Vec<PoolEffect>) {
        let now = cx.now;
        if !self.is_managed() {
            if !self.runners.is_empty() {
                self.abandon_runners(effects);
            }
            return;
        }
        if self.stopping {
            return;
        }
        let nothing = Group::default();
        let shown = if self.gone { &nothing } else { &self.group };
        // Where none is known, the pool may have only just become managed.
        if self.gone || self.runners.is_empty() {
            let facts = self.runners.described(now, shown, &Origin::default()).into_iter().map(PoolFact::Runner);
            effects.extend(facts.map(PoolEffect::Note));
        }
        let mut out = Vec::new();
        self.count_again(now);
        let wishes = Wishes { may_discard: !cx.discards_wait, may_issue: !cx.configs_wait, ..self.wishes(now) };
        if self.runners.knows_all() {
            effects.push(PoolEffect::KnowsAll);
        }
        if self.runners.wants_census(now, &wishes) {
            effects.push(PoolEffect::Census);
        }
        self.runners.reconcile(now, &wishes, &mut out);
        self.take_runners_effects(now, out, effects);
    }

    /// Lets go of all instances.
    pub(super) fn abandon_runners(&mut self, effects: &mut Vec<PoolEffect>) {
        effects.extend(self.runners.abandon().map(PoolEffect::Drop));
    }

    /// Whether no write of desired capacity is on its way, or in doubt: only then may anything take it down.
    pub(crate) const fn knows_desired(&self) -> bool {
        self.scaler.is_certain()
    }

    /// A termination goes out to AWS: whether desired capacity goes down with it.
    pub(crate) fn ends_instance(&mut self, now: Instant, target: &Target) -> bool {
        self.runners.leaves(target);
        self.count_again(now);
        let wishes = self.wishes(now);
        let decrement = self.runners.ends(target, &wishes);
        if decrement {
            self.scaler.shrinks();
        }
        decrement
    }

    /// When instances want to be looked after by the passage of time alone.
    pub(super) fn runners_due(&self, now: Instant) -> Option<Instant> {
        let looks_after = self.is_managed() && !self.stopping;
        looks_after.then(|| self.runners.poll_timeout(now, &self.wishes(now))).flatten()
    }

    /// Whether something is due for an instance that needs a fresh describe.
    pub(super) fn runners_wait(&self, now: Instant) -> bool {
        self.is_managed() && self.runners.is_due(now, &self.wishes(now))
    }

    fn wishes(&self, now: Instant) -> Wishes {
        let wanted = self.wanted(now);
        let running = self.statistics.map_or(0, |statistics| statistics.running);
        Wishes {
            scale_set: self.scale_set.id().unwrap_or_default(),
            target: self.scaler.target(&wanted),
            serving: self.scaler.counts().ready,
            desired: self.scaler.desired(),
            writes: self.scaler.writes_made(),
            goal: self.scaler.target(&wanted).saturating_add(self.scaler.counts().unusable),
            jobs_wait: running < wanted.assigned,
            idle_grace: wanted.idle_grace,
            boot_deadline: wanted.boot_deadline,
            max_job_time: self.spec.as_ref().and_then(|spec| spec.max_job_time),
            completes_hook: self.spec.as_ref().is_some_and(|spec| spec.launch_hook.is_some()),
            may_act: self.session.is_open() && self.statistics.is_some() && !self.gone && self.scaler.is_fresh(now),
            may_discard: true,
            may_issue: true,
            may_end: self.knows_desired() && self.spec.as_ref().is_some_and(|spec| !spec.paused),
        }
    }

    fn count_again(&mut self, now: Instant) {
        let boot_deadline = self.spec.as_ref().map(|spec| spec.boot_deadline).unwrap_or_default();
        let runners = &self.runners;
        self.scaler.count(now, &self.group, boot_deadline, |instance| runners.judge(instance));
    }

    fn take_runners_effects(&mut self, now: Instant, out: Vec<RunnersEffect>, effects: &mut Vec<PoolEffect>) {
        for effect in out {
            match effect {
                RunnersEffect::Call(member, call) => {
                    effects.push(PoolEffect::Call(Caller::Runner(self.id, member), call));
                }
                RunnersEffect::Aws(target, call) => effects.push(PoolEffect::Aws(target, call)),
                RunnersEffect::CompleteHook(member, instance) => {
                    let hook = self.spec.as_ref().and_then(|spec| spec.launch_hook.clone()).unwrap_or_default();
                    effects
                        .push(PoolEffect::Aws(Target::Member(member), InstanceCall::CompleteHook { instance, hook }));
                }
                RunnersEffect::Drop(slot) => effects.push(PoolEffect::Drop(slot)),
                // What was written since is what desired capacity is, or less by that place: nobody knows.
                RunnersEffect::ShrinkRefused { writes } if writes == self.scaler.writes_made() => {
                    self.scaler.shrink_refused();
                }
                RunnersEffect::ShrinkRefused { .. } => self.scaler.shrink_in_doubt(now),
                RunnersEffect::ShrinkInDoubt => self.scaler.shrink_in_doubt(now),
                RunnersEffect::Note(fact) => effects.push(PoolEffect::Note(PoolFact::Runner(fact))),
            }
        }
    }
}
