//! One managed instance, from the first describe that shows it until nothing of it is left.

use alloc::string::ToString;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::launches::Launches;
use super::{Judgement, Origin, RunnersEffect, Wishes};
use crate::aws::{Instance, LifecycleState};
use crate::backoff::Backoff;
use crate::context::Turn;
use crate::github::answer::{Answer, Runner, RunnerStatus};
use crate::github::error::{CallError, CallErrorKind};
use crate::github::request::Slot;
use crate::notice::{Proof, RunnerFact};
use crate::short_text::ShortText;
use crate::time::{Duration, Instant};

mod life;
mod proof;
mod writes;

use life::Life;
pub(super) use proof::Absence;

/// An instance that leaves so long after it got its config, and was not seen online, never came up.
const UP_BY: Duration = Duration::from_secs(300);
/// A terminated instance that describes still show as alive is terminated again.
const END_AGAIN_AFTER: Duration = Duration::from_secs(180);
/// A runner that nothing was heard of for so long is looked up again.
const CHECK_EVERY: Duration = Duration::from_secs(600);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// Denied or refused terminations.
const END_FIRST: Duration = Duration::from_secs(10);
const END_CAP: Duration = Duration::from_secs(300);
/// Whoever was at work when asked is asked again after this, and then twice as long each time.
const ASK_FIRST: Duration = Duration::from_secs(30);
const ASK_CAP: Duration = Duration::from_secs(600);
/// What is left of an instance that is gone is tidied up for so many tries.
const TIDY_TRIES: u32 = 10;

/// The call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Doing {
    LookUp,
    Issue,
    Store,
    Check,
    Prove,
    /// Looks by name once more for a runner that was gone: another process may have given the instance another one.
    Confirm,
    /// Removes the runner of a config that was lost, or of an instance that is gone.
    Tidy,
    /// Its termination waits for its turn: until then it takes up a place.
    Terminate,
    /// Its termination is on its way.
    Terminating,
    /// Deletes the stored config.
    Discard,
    /// Completes the launch hook that holds it.
    Hook,
}

/// What is known of the runner on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Whether one of its name is registered is not known.
    Unknown,
    /// None is.
    Bare,
    /// One was asked for, and the answer was lost.
    Lost,
    /// The one that was lost is registered: it is removed, as nobody has its config.
    Useless { runner: u64 },
    /// Its config waits to be stored.
    Issued { runner: u64, config: Slot },
    /// Its config was stored, by this process or an earlier one.
    Served { runner: u64, at: Instant },
    /// None of its name is, and what runs on it nobody knows: it is left alone.
    Stranger,
    /// It was removed, or is gone, with nothing to do any more.
    Free,
}

/// What the runner was seen to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// It came online.
    Online,
    /// A job began.
    Started,
    /// Its job ended, as GitHub says.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) instance: ShortText,
    pub(super) is_shown: bool,
    pub(super) state: LifecycleState,
    pub(super) healthy: bool,
    pub(super) protected: bool,
    /// AWS has protected it since the newest describe.
    pub(super) was_protected: bool,
    pub(super) stage: Stage,
    pub(super) seen: Seen,
    /// When GitHub last told of its runner.
    heard_at: Instant,
    pub(super) doing: Option<Doing>,
    /// Nothing is tried before.
    pub(super) not_before: Instant,
    pub(super) retries: Backoff,
    asked: Backoff,
    /// Its runner was not found.
    pub(super) absence: Option<Absence>,
    /// Since when AWS has taken its termination.
    ending_since: Option<Instant>,
    /// Its termination takes desired capacity along.
    pub(super) took_desired: bool,
    /// How many writes of desired capacity had been made when it did.
    #[serde(default)]
    pub(super) shrunk_in: u64,
    /// AWS refused to take desired capacity down with it.
    pub(super) keeps_desired: bool,
    /// When its config was stored, unless it was deleted since.
    pub(super) stored_at: Option<Instant>,
    /// Gone from the group.
    pub(super) is_gone: bool,
    /// It was in service before anybody looked after it.
    pub(super) is_stranger: bool,
    /// The runner that an earlier process gave it had its job, as was told before it was looked up.
    ended_unseen: Option<u64>,
    /// This process stored its config.
    was_served: bool,
    /// The runner of its name is another scale set's: it does not serve this one.
    is_foreign: bool,
    /// Its runner did not come online in time, as a check found.
    is_late: bool,
    /// Terminations that were refused.
    ends: Backoff,
    /// What is told of its way into service and of its job.
    #[serde(default)]
    life: Life,
    /// Tries to remove what is left of it.
    tidied: u32,
}

impl Member {
    pub(super) fn new(instance: &str, now: Instant, origin: &Origin<'_>) -> Self {
        Self {
            instance: instance.into(),
            is_shown: false,
            state: LifecycleState::Pending,
            healthy: true,
            protected: false,
            was_protected: false,
            stage: Stage::Unknown,
            seen: Seen::Nothing,
            heard_at: now,
            doing: None,
            not_before: now,
            retries: Backoff::new(RETRY_FIRST, RETRY_CAP),
            asked: Backoff::new(ASK_FIRST, ASK_CAP),
            absence: None,
            ending_since: None,
            took_desired: false,
            shrunk_in: 0,
            keeps_desired: false,
            stored_at: None,
            is_gone: false,
            is_stranger: false,
            ended_unseen: None,
            was_served: false,
            is_foreign: false,
            is_late: false,
            ends: Backoff::new(END_FIRST, END_CAP),
            life: Life::new(instance, now, origin),
            tidied: 0,
        }
    }

    /// A describe shows it.
    pub(super) fn shown(&mut self, now: Instant, instance: &Instance) {
        self.is_shown = true;
        self.state = instance.state.clone();
        self.healthy = instance.healthy;
        self.protected = instance.protected;
        self.was_protected = false;
        self.life.waits = instance.waits;
        let lives = matches!(self.state, LifecycleState::Pending | LifecycleState::InService);
        if lives && self.ending_since.is_some_and(|since| now.since(since) >= END_AGAIN_AFTER) {
            self.ending_since = None;
        }
    }

    /// A describe shows it no more; whether that is news.
    pub(super) fn vanished(&mut self, now: Instant) -> bool {
        if core::mem::replace(&mut self.is_gone, true) {
            return false;
        }
        self.state = LifecycleState::Terminating;
        self.not_before = now;
        self.retries.reset();
        true
    }

    /// Whether it left long after this process gave it a config, without ever having been of use, though nobody asked it
    /// to.
    pub(super) fn never_served(&self, now: Instant) -> bool {
        self.was_served
            && matches!(self.stage, Stage::Served { at, .. } if now.since(at) >= UP_BY)
            && self.seen == Seen::Nothing
            && self.ending_since.is_none()
    }

    pub(super) const fn judge(&self) -> Judgement {
        if self.ending_since.is_some() || matches!(self.doing, Some(Doing::Terminating)) {
            Judgement::Leaves
        } else if matches!(self.stage, Stage::Free | Stage::Stranger) || self.absence.is_some() || self.is_foreign {
            Judgement::CannotServe
        } else {
            Judgement::Serves
        }
    }

    /// Whether it is to be described often.
    pub(super) fn is_busy(&self) -> bool {
        let asks = !matches!(self.stage, Stage::Served { .. } | Stage::Stranger);
        !self.is_gone && (asks || self.is_candidate() || self.ending_since.is_some())
    }

    /// Whether desired capacity goes down with it, or went, though it was shown as alive.
    pub(super) fn hides_decrement(&self) -> bool {
        let ends = self.ending_since.is_some() || matches!(self.doing, Some(Doing::Terminating));
        self.is_alive() && ends && self.took_desired
    }

    /// Whether the newest describe shows it on its way into service, or there.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, LifecycleState::Pending | LifecycleState::InService) && !self.is_gone
    }

    pub(super) const fn is_ending(&self) -> bool {
        self.ending_since.is_some()
    }

    pub(super) fn is_in_service(&self) -> bool {
        self.state == LifecycleState::InService && !self.is_gone
    }

    /// Whether it is in service to serve, and has not got its config yet.
    pub(super) fn waits_for_config(&self) -> bool {
        let bare = match self.stage {
            Stage::Unknown | Stage::Bare | Stage::Lost | Stage::Useless { .. } | Stage::Issued { .. } => true,
            Stage::Served { .. } | Stage::Stranger | Stage::Free => false,
        };
        bare && self.is_in_service() && self.healthy && self.judge() == Judgement::Serves
    }

    pub(super) const fn is_protected(&self) -> bool {
        self.protected || self.was_protected
    }

    /// The secret that nobody needs any more.
    pub(super) fn take_slot(&mut self) -> Option<Slot> {
        let Stage::Issued { runner, config } = self.stage else { return None };
        self.stage = Stage::Useless { runner };
        Some(config)
    }

    pub(super) fn started(&mut self, now: Instant, runner: u64) {
        if matches!(self.stage, Stage::Served { runner: ours, .. } | Stage::Issued { runner: ours, .. } if ours == runner)
        {
            self.seen = self.seen.max(Seen::Started);
            self.life.works(now);
            self.heard_at = now;
            self.absence = None;
        }
    }

    /// A job ended on it, as GitHub says: that makes a candidate of it, and proves nothing.
    pub(super) fn ended(&mut self, now: Instant, runner: u64) {
        match self.stage {
            Stage::Served { runner: ours, .. } if ours == runner => {
                self.seen = Seen::Ended;
                self.asked.reset();
                self.not_before = now;
            }
            Stage::Unknown => self.ended_unseen = Some(runner),
            Stage::Served { .. }
            | Stage::Bare
            | Stage::Lost
            | Stage::Useless { .. }
            | Stage::Issued { .. }
            | Stage::Stranger
            | Stage::Free => {}
        }
    }

    /// When time alone may bring something to do.
    pub(super) fn due(&self, wishes: &Wishes) -> Option<Instant> {
        if self.doing.is_some() {
            return None;
        }
        let late = match self.stage {
            Stage::Served { .. } if !self.is_alive() => return None,
            Stage::Served { .. } if self.is_candidate() => None,
            Stage::Served { .. } => Some(self.check_at(wishes)),
            Stage::Unknown
            | Stage::Bare
            | Stage::Lost
            | Stage::Useless { .. }
            | Stage::Issued { .. }
            | Stage::Stranger
            | Stage::Free => None,
        };
        let discard = self.stored_at.map(|at| at + super::rules::DISCARD_AFTER);
        let at = [late, discard].into_iter().flatten().min();
        Some(at.map_or(self.not_before, |at| at.max(self.not_before)))
    }

    pub(super) fn begins(&mut self, doing: Doing) {
        assert!(self.doing.is_none(), "one call at a time about an instance");
        self.doing = Some(doing);
    }

    /// A call to GitHub ended.
    pub(super) fn called(
        &mut self,
        cx: &mut Turn<'_>,
        result: Result<Answer, CallError>,
        wishes: &Wishes,
        launches: &mut Launches,
        effects: &mut Vec<RunnersEffect>,
    ) {
        let Some(doing) = self.doing.take() else { return };
        match (doing, result) {
            (Doing::LookUp, Ok(Answer::Runner(found))) => self.looked_up(cx.now, found, wishes, effects),
            (Doing::Issue, Ok(Answer::JitConfig { runner, config })) => {
                self.retries.reset();
                self.stage = Stage::Issued { runner: runner.id, config };
            }
            (Doing::Issue, Err(error)) => self.not_issued(cx, error, effects),
            (Doing::Check, Ok(Answer::Runner(found))) => self.checked(cx.now, found, launches),
            (Doing::Prove, Ok(Answer::Done)) => self.proven(Proof::Removed, launches, cx.now, effects),
            (Doing::Prove, Err(error)) => self.not_removed(cx, error, launches, effects),
            (Doing::Confirm, Ok(Answer::Runner(found))) => self.confirmed(cx.now, found, wishes, launches, effects),
            (Doing::Tidy, Ok(Answer::Done)) => self.tidy(),
            (Doing::Tidy, Err(error)) => self.not_tidied(cx, error, effects),
            (_, Err(error)) if self.is_gone => self.not_tidied(cx, error, effects),
            (_, Ok(_)) => self.retry(cx, None),
            (_, Err(error)) => self.retry(cx, error.retry_after),
        }
    }

    fn looked_up(&mut self, now: Instant, found: Option<Runner>, wishes: &Wishes, effects: &mut Vec<RunnersEffect>) {
        self.retries.reset();
        let lost = self.stage == Stage::Lost;
        self.is_foreign = false;
        let instance = || self.instance.clone();
        match found {
            // Nobody would take another config there: that it is gone is to be proven as ever.
            None if let Some(runner) = self.ended_unseen => {
                self.stage = Stage::Served { runner, at: now };
                self.seen = Seen::Ended;
            }
            None if self.is_stranger => {
                effects.push(RunnersEffect::Note(RunnerFact::Stranger { instance: instance() }));
                self.stage = Stage::Stranger;
            }
            None => self.stage = Stage::Bare,
            // Whosever it is, its machine is gone.
            Some(runner) if self.is_gone => self.stage = Stage::Useless { runner: runner.id },
            Some(runner) if runner.runner_scale_set_id != wishes.scale_set => {
                self.is_foreign = true;
                let scale_set = runner.runner_scale_set_id;
                effects.push(RunnersEffect::Note(RunnerFact::Foreign { instance: instance(), scale_set }));
                self.not_before = now + ASK_CAP;
            }
            Some(runner) if lost && runner.busy != Some(true) => self.stage = Stage::Useless { runner: runner.id },
            Some(runner) => {
                effects.push(RunnersEffect::Note(RunnerFact::Adopted { instance: instance(), runner: runner.id }));
                self.stage = Stage::Served { runner: runner.id, at: now };
                self.heard_at = now;
                self.seen = signs(&runner).max(self.seen);
                if self.seen == Seen::Started {
                    self.life.works(now);
                }
            }
        }
    }

    fn not_issued(&mut self, cx: &mut Turn<'_>, error: CallError, effects: &mut Vec<RunnersEffect>) {
        self.stage = match error.kind {
            // A name that we never asked for is another process's: its config counts as delivered.
            CallErrorKind::RunnerExists => Stage::Unknown,
            CallErrorKind::OutcomeUnknown | CallErrorKind::ServerError | CallErrorKind::Misbehaved => Stage::Lost,
            CallErrorKind::Unreachable
            | CallErrorKind::RateLimited
            | CallErrorKind::Denied
            | CallErrorKind::ScaleSetNotFound
            | CallErrorKind::NotFound
            | CallErrorKind::SessionConflict
            | CallErrorKind::Conflict
            | CallErrorKind::JobStillRunning
            | CallErrorKind::RunnerNotFound
            | CallErrorKind::Refused
            | CallErrorKind::Cancelled => Stage::Bare,
        };
        self.retry(cx, error.retry_after);
        let what = error.to_string();
        effects.push(RunnersEffect::Note(RunnerFact::NotIssued { instance: self.instance.clone(), what }));
    }

    /// When it is to be asked whether its runner is still there: by the boot deadline at first, and then once in a while,
    /// as a message that says so may be lost.
    pub(super) fn check_at(&self, wishes: &Wishes) -> Instant {
        match self.stage {
            Stage::Served { at, .. } if self.seen == Seen::Nothing => at + wishes.boot_deadline,
            Stage::Unknown
            | Stage::Bare
            | Stage::Lost
            | Stage::Useless { .. }
            | Stage::Issued { .. }
            | Stage::Served { .. }
            | Stage::Stranger
            | Stage::Free => self.heard_at + CHECK_EVERY,
        }
    }

    /// Whether what was seen of it makes a candidate of it.
    pub(super) fn is_candidate(&self) -> bool {
        self.seen == Seen::Ended || self.is_late || self.absence.is_some()
    }

    /// The runner that nobody needs is gone.
    fn tidy(&mut self) {
        self.retries.reset();
        self.stage = if self.is_gone { Stage::Free } else { Stage::Bare };
    }

    fn not_tidied(&mut self, cx: &mut Turn<'_>, error: CallError, effects: &mut Vec<RunnersEffect>) {
        match (error.kind, self.stage) {
            (CallErrorKind::RunnerNotFound, _) => self.tidy(),
            // Somebody has its config after all.
            (CallErrorKind::JobStillRunning, Stage::Useless { runner }) if !self.is_gone => {
                effects.push(RunnersEffect::Note(RunnerFact::Adopted { instance: self.instance.clone(), runner }));
                self.stage = Stage::Served { runner, at: cx.now };
                self.seen = Seen::Started;
            }
            (_, _) => {
                self.tidied += 1;
                if self.is_gone && self.tidied >= TIDY_TRIES {
                    let what = error.to_string();
                    effects.push(RunnersEffect::Note(RunnerFact::LeftBehind { instance: self.instance.clone(), what }));
                    self.stage = Stage::Free;
                }
                self.retry(cx, error.retry_after);
            }
        }
    }

    fn retry(&mut self, cx: &mut Turn<'_>, asked: Option<Duration>) {
        self.not_before = cx.now + self.retries.fail(cx.rng, asked);
    }
}

fn signs(runner: &Runner) -> Seen {
    if runner.busy == Some(true) {
        Seen::Started
    } else if runner.status == RunnerStatus::Online {
        Seen::Online
    } else {
        Seen::Nothing
    }
}

#[cfg(test)]
mod tests;
