//! What is done next, and to whom.

use alloc::vec::Vec;

use super::member::{Absence, Doing, Member, Seen, Stage};
use super::{MemberId, PROTECT_AT_ONCE, Runners, RunnersEffect, Target, Wishes};
use crate::aws::InstanceCall;
use crate::github::call::Call;
use crate::time::{Duration, Instant};

/// Jobs that wait for so long, although there are enough runners, make a candidate of each that came online.
pub(super) const JOBS_WAIT: Duration = Duration::from_secs(120);
/// Protection that AWS refused is asked for again after this.
pub(super) const PROTECT_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The most configs of one pool that GitHub is asked for at once.
const ISSUE_AT_ONCE: usize = 8;
/// A stored config that nobody took is deleted after this.
pub(super) const DISCARD_AFTER: Duration = Duration::from_secs(900);

impl Runners {
    /// Asks for what is due now. What is left of an instance that is gone is tidied up in any case.
    pub fn reconcile(&mut self, now: Instant, wishes: &Wishes, effects: &mut Vec<RunnersEffect>) {
        let mut chosen = Vec::new();
        if wishes.may_act {
            self.protect(now, effects);
            chosen = self.candidates(now, wishes);
        }
        let mut issuing = self.members.values().filter(|member| member.doing == Some(Doing::Issue)).count();
        for (id, member) in &mut self.members {
            effects.extend(member.runs_too_long(now, wishes).map(RunnersEffect::Note));
            let waits = member.doing.is_some() || now < member.not_before;
            if waits || !(wishes.may_act || member.is_gone) {
                continue;
            }
            let wishes = &Wishes { may_issue: wishes.may_issue && issuing < ISSUE_AT_ONCE, ..*wishes };
            if let Some((doing, act)) = member.next(now, wishes, chosen.contains(id), effects) {
                member.begins(doing);
                issuing += usize::from(doing == Doing::Issue);
                effects.push(match act {
                    Act::Call(call) => RunnersEffect::Call(*id, call),
                    Act::Aws(call) => RunnersEffect::Aws(Target::Member(*id), call),
                    Act::CompleteHook => RunnersEffect::CompleteHook(*id, member.instance.clone()),
                });
            }
        }
        self.members.retain(|_, member| !member.is_done());
        self.reap(now, wishes, effects);
    }

    fn protect(&mut self, now: Instant, effects: &mut Vec<RunnersEffect>) {
        if !self.protecting.is_empty() || now < self.protect_at {
            return;
        }
        let bare = |member: &Member| !matches!(member.stage, Stage::Free) && member.is_in_service();
        let due = self.members.iter().filter(|(_, member)| bare(member) && !member.is_protected());
        self.protecting = due.map(|(id, _)| *id).take(PROTECT_AT_ONCE).collect();
        if self.protecting.is_empty() {
            return;
        }
        let names = self.protecting.iter().filter_map(|id| self.members.get(id)).map(|member| member.instance.clone());
        let call = InstanceCall::Protect { instances: names.collect() };
        effects.push(RunnersEffect::Aws(Target::Unprotected, call));
    }

    /// Those that serve though fewer would do, or though jobs wait: first those that are not online yet, those at work last.
    fn candidates(&mut self, now: Instant, wishes: &Wishes) -> Vec<MemberId> {
        let Wishes { serving, target, .. } = *wishes;
        let surplus = serving.saturating_sub(target);
        since(&mut self.surplus_since, now, surplus > 0);
        // Those that wait for their configs run nothing yet: for them the jobs wait.
        let bare = self.members.values().filter(|member| member.waits_for_config()).count();
        let enough = serving.saturating_sub(u32::try_from(bare).unwrap_or(u32::MAX)) >= target;
        since(&mut self.waiting_since, now, wishes.jobs_wait && enough);
        let lasts = |since: Option<Instant>, long: Duration| since.is_some_and(|at| now.since(at) >= long);
        // Whoever still comes up is waited for until its own deadline: jobs wait for nothing else.
        let (many, least) = if lasts(self.waiting_since, JOBS_WAIT) {
            (self.members.len(), Seen::Online)
        } else if lasts(self.surplus_since, wishes.idle_grace) {
            (usize::try_from(surplus).unwrap_or(usize::MAX), Seen::Nothing)
        } else {
            return Vec::new();
        };
        let mut able: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| {
                matches!(member.stage, Stage::Served { .. }) && !member.is_gone && member.seen >= least
            })
            .filter(|(_, member)| member.doing.is_some() || now >= member.not_before)
            .map(|(id, member)| (member.seen, *id))
            .collect();
        able.sort_unstable();
        able.into_iter().map(|(_, id)| id).take(many).collect()
    }

    /// Ends those that are proven free: the only rule that ends any.
    fn reap(&mut self, now: Instant, wishes: &Wishes, effects: &mut Vec<RunnersEffect>) {
        if !wishes.may_act || !wishes.may_end {
            return;
        }
        for (id, member) in &mut self.members {
            if member.may_end(now) {
                member.begins(Doing::Terminate);
                let call = InstanceCall::Terminate { instance: member.instance.clone(), decrement: false };
                effects.push(RunnersEffect::Aws(Target::Member(*id), call));
            }
        }
    }

    /// A termination goes out to AWS: its instance takes up no place any more.
    pub fn leaves(&mut self, target: &Target) {
        let Target::Member(id) = target else { return };
        if let Some(member) = self.members.get_mut(id).filter(|member| member.doing == Some(Doing::Terminate)) {
            member.doing = Some(Doing::Terminating);
        }
    }

    /// After [`Self::leaves`]: whether desired capacity goes down with it, as no other is wanted in its place.
    pub fn ends(&mut self, target: &Target, wishes: &Wishes) -> bool {
        let Target::Member(id) = target else { return false };
        let Some(member) = self.members.get_mut(id) else { return false };
        member.took_desired = wishes.desired > wishes.goal && !member.keeps_desired;
        member.shrunk_in = wishes.writes;
        member.took_desired
    }
}

/// What a member asks for.
enum Act {
    Call(Call),
    Aws(InstanceCall),
    CompleteHook,
}

impl Member {
    fn next(
        &mut self,
        now: Instant,
        wishes: &Wishes,
        chosen: bool,
        effects: &mut Vec<RunnersEffect>,
    ) -> Option<(Doing, Act)> {
        if self.is_gone {
            return self.tidies(wishes, effects);
        }
        let look_up = || Act::Call(Call::RunnerByName { name: self.instance.clone() });
        match self.stage {
            Stage::Unknown | Stage::Lost => Some((Doing::LookUp, look_up())),
            Stage::Bare if wishes.may_issue && self.is_in_service() && self.healthy && self.is_protected() => {
                let call = Call::JitConfig { scale_set: wishes.scale_set, runner: self.instance.clone() };
                Some((Doing::Issue, Act::Call(call)))
            }
            Stage::Bare if wishes.completes_hook && self.is_held(now) => Some((Doing::Hook, Act::CompleteHook)),
            Stage::Useless { runner } => Some((Doing::Tidy, Act::Call(Call::RemoveRunner { id: runner }))),
            Stage::Issued { config, .. } => {
                let call = InstanceCall::PutConfig { instance: self.instance.clone(), config };
                Some((Doing::Store, Act::Aws(call)))
            }
            // It ends already: what is left of it is tidied up once it is gone.
            Stage::Served { .. } if !self.is_alive() => None,
            Stage::Served { .. } if self.absence.is_some_and(Absence::wants_a_look) => {
                Some((Doing::Confirm, look_up()))
            }
            Stage::Served { runner, .. } if chosen || self.is_candidate() => {
                Some((Doing::Prove, Act::Call(Call::RemoveRunner { id: runner })))
            }
            Stage::Served { .. } if now >= self.check_at(wishes) => Some((Doing::Check, look_up())),
            Stage::Served { .. } if wishes.may_discard && self.discards(now) => Some((Doing::Discard, self.discard())),
            Stage::Bare | Stage::Served { .. } | Stage::Stranger | Stage::Free => None,
        }
    }

    /// Removes what is left of an instance that is gone: its runner, and its config.
    fn tidies(&mut self, wishes: &Wishes, effects: &mut Vec<RunnersEffect>) -> Option<(Doing, Act)> {
        effects.extend(self.take_slot().map(RunnersEffect::Drop));
        match self.stage {
            Stage::Unknown | Stage::Lost => {
                Some((Doing::LookUp, Act::Call(Call::RunnerByName { name: self.instance.clone() })))
            }
            Stage::Useless { runner } | Stage::Served { runner, .. } => {
                Some((Doing::Tidy, Act::Call(Call::RemoveRunner { id: runner })))
            }
            Stage::Bare | Stage::Stranger | Stage::Free | Stage::Issued { .. }
                if wishes.may_discard && self.stored_at.is_some() =>
            {
                Some((Doing::Discard, self.discard()))
            }
            Stage::Bare | Stage::Stranger | Stage::Free | Stage::Issued { .. } => None,
        }
    }

    fn discard(&self) -> Act {
        Act::Aws(InstanceCall::DeleteConfig { instance: self.instance.clone() })
    }

    /// Whether its stored config is of no use any more: its runner has it, or never came for it.
    fn discards(&self, now: Instant) -> bool {
        self.stored_at.is_some_and(|at| self.seen >= Seen::Online || now.since(at) >= DISCARD_AFTER)
    }

    /// Whether nothing of it is left.
    fn is_done(&self) -> bool {
        let stands = matches!(self.stage, Stage::Bare | Stage::Stranger | Stage::Free);
        self.is_gone && self.doing.is_none() && stands && self.stored_at.is_none()
    }

    fn may_end(&self, now: Instant) -> bool {
        let free = self.stage == Stage::Free && self.is_alive() && !self.is_ending();
        free && self.doing.is_none() && now >= self.not_before
    }
}

/// Notes since when something is so.
fn since(at: &mut Option<Instant>, now: Instant, is_so: bool) {
    if is_so {
        at.get_or_insert(now);
    } else {
        *at = None;
    }
}
