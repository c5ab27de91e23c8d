//! Runners of instances that went while nobody looked: found once, in the list of all.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::member::{Member, Stage};
use super::{MemberId, Origin, Runners, Wishes};
use crate::backoff::Backoff;
use crate::context::Turn;
use crate::github::answer::{Runner, RunnerStatus};
use crate::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_CAP: Duration = Duration::from_secs(600);
/// The list is asked for again after this: what is late at GitHub may be carried out after all.
const AGAIN_AFTER: Duration = Duration::from_secs(1800);
/// What the ids of instances begin with: runners of other names are somebody else's.
const INSTANCE: &str = "i-";
/// Whoever looked after the instances before has ended by then.
const TAKEN_OVER: Duration = Duration::from_secs(60);
/// The list is asked for again so long after a runner was left behind.
pub(super) const LEFT_BEHIND: Duration = Duration::from_secs(600);
/// The most runners of instances that are gone which one list may name.
const MOST_LEFT: usize = 1000;

/// How far the list of all runners has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Census {
    state: State,
    retries: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Wanted { not_before: Instant },
    Asked,
    Done { at: Instant },
}

impl Default for Census {
    fn default() -> Self {
        Self { state: State::Wanted { not_before: Instant::default() }, retries: Backoff::new(RETRY_FIRST, RETRY_CAP) }
    }
}

impl Census {
    /// The list is asked for once more, after a while.
    pub(super) fn again(&mut self, at: Instant) {
        if matches!(self.state, State::Done { .. }) {
            self.state = State::Wanted { not_before: at };
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Wanted { not_before } => Some(not_before),
            State::Done { at } => Some(at + AGAIN_AFTER),
            State::Asked => None,
        }
    }
}

impl Runners {
    /// Another process may have looked after the instances for a while, and left something behind.
    pub fn took_over(&mut self, now: Instant) {
        self.census.again(now + TAKEN_OVER);
    }

    /// Whether the list of all runners is to be asked for now: then it counts as asked for.
    pub fn wants_census(&mut self, now: Instant, wishes: &Wishes) -> bool {
        let due = self.census.due().is_some_and(|at| at <= now);
        let wants = wishes.may_act && due;
        if wants {
            self.census.state = State::Asked;
        }
        wants
    }

    /// Takes in the list of all runners: those of the set whose instances are not there are removed, and a stranger that
    /// has one after all is looked up again.
    pub fn counted(&mut self, now: Instant, scale_set: u64, runners: &[Runner]) {
        self.census.state = State::Done { at: now };
        let left = |runner: &&Runner| {
            let idle = runner.status != RunnerStatus::Online && runner.busy != Some(true);
            let is_ours = runner.runner_scale_set_id == scale_set && runner.name.starts_with(INSTANCE);
            is_ours && idle && !self.by_instance.contains_key(&runner.name)
        };
        for runner in runners.iter().filter(|runner| runner.runner_scale_set_id == scale_set) {
            let member = self.by_instance.get(&runner.name).and_then(|id| self.members.get_mut(id));
            if let Some(member) = member.filter(|member| member.stage == Stage::Stranger) {
                member.stage = Stage::Unknown;
                member.not_before = now;
            }
        }
        let left: Vec<_> = runners.iter().filter(left).take(MOST_LEFT).collect();
        for runner in left {
            self.next += 1;
            let mut member = Member::new(&runner.name, now, &Origin::default());
            member.is_gone = true;
            member.stage = Stage::Useless { runner: runner.id };
            self.members.insert(MemberId(self.next), member);
        }
    }

    /// The list of all runners could not be had: it is asked for again.
    pub fn not_counted(&mut self, cx: &mut Turn<'_>) {
        if self.census.state == State::Asked {
            self.census.state = State::Wanted { not_before: cx.now + self.census.retries.fail(cx.rng, None) };
        }
    }
}
