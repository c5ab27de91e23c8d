//! Whether no job runs on an instance any more.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Member, Seen, Stage, signs};
use crate::context::Turn;
use crate::github::answer::Runner;
use crate::github::error::{CallError, CallErrorKind};
use crate::notice::{Proof, RunnerFact};
use crate::runners::launches::Launches;
use crate::runners::{RunnersEffect, Wishes};
use crate::time::{Duration, Instant};

/// A runner that is gone twice, this far apart…
const GONE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// One whose job ended, as GitHub says, is to be gone twice only this far apart.
const ENDED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// …and so long after its config was stored, has no job.
const GONE_NO_SOONER: Duration = Duration::from_secs(120);

/// A runner that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runners) struct Absence {
    /// Since when.
    since: Instant,
    /// A look by name found none either.
    by_name: bool,
    /// Nor does the gate know it.
    at_the_gate: bool,
}

impl Absence {
    /// Whether it is to be looked for by name; else the gate is to be asked.
    pub(in crate::runners) const fn wants_a_look(self) -> bool {
        !self.by_name
    }
}

impl Member {
    pub(super) fn checked(&mut self, now: Instant, found: Option<Runner>, launches: &mut Launches) {
        match found {
            Some(runner) => {
                self.absence = None;
                self.heard_at = now;
                self.seen = signs(&runner).max(self.seen);
                if self.seen > Seen::Nothing {
                    launches.succeeded();
                } else {
                    self.is_late = true;
                }
            }
            None => {
                self.absence = Some(Absence { since: now, by_name: false, at_the_gate: false });
                self.not_before = now + self.asked_again_after();
            }
        }
    }

    /// GitHub removes a runner that had its one job: then a second look is soon enough.
    const fn asked_again_after(&self) -> Duration {
        match self.seen {
            Seen::Ended => ENDED_AGAIN_AFTER,
            Seen::Nothing | Seen::Online | Seen::Started => GONE_AGAIN_AFTER,
        }
    }

    pub(super) fn not_removed(
        &mut self,
        cx: &mut Turn<'_>,
        error: CallError,
        launches: &mut Launches,
        effects: &mut Vec<RunnersEffect>,
    ) {
        match error.kind {
            CallErrorKind::JobStillRunning => {
                self.seen = Seen::Started;
                self.life.works(cx.now);
                self.is_late = false;
                self.heard_at = cx.now;
                self.absence = None;
                launches.succeeded();
                self.not_before = cx.now + self.asked.fail(cx.rng, error.retry_after);
            }
            CallErrorKind::RunnerNotFound => self.not_at_the_gate(cx.now, launches, effects),
            CallErrorKind::Unreachable
            | CallErrorKind::OutcomeUnknown
            | CallErrorKind::RateLimited
            | CallErrorKind::ServerError
            | CallErrorKind::Misbehaved
            | CallErrorKind::Denied
            | CallErrorKind::ScaleSetNotFound
            | CallErrorKind::NotFound
            | CallErrorKind::SessionConflict
            | CallErrorKind::Conflict
            | CallErrorKind::RunnerExists
            | CallErrorKind::Refused
            | CallErrorKind::Cancelled => self.retry(cx, error.retry_after),
        }
    }

    /// The gate knows no such runner: a last look by name, where there was none, shows whether it has got another one.
    fn not_at_the_gate(&mut self, now: Instant, launches: &mut Launches, effects: &mut Vec<RunnersEffect>) {
        let unseen = Absence { since: now, by_name: false, at_the_gate: false };
        self.absence.get_or_insert(unseen).at_the_gate = true;
        self.judge_absence(now, launches, effects);
    }

    /// A runner that was not found was looked for by name once more.
    pub(super) fn confirmed(
        &mut self,
        now: Instant,
        found: Option<Runner>,
        wishes: &Wishes,
        launches: &mut Launches,
        effects: &mut Vec<RunnersEffect>,
    ) {
        let (Stage::Served { runner, .. }, Some(absence)) = (self.stage, &mut self.absence) else { return };
        match found {
            None => {
                absence.by_name = true;
                self.judge_absence(now, launches, effects);
            }
            Some(found) if found.id == runner => {
                self.absence = None;
                self.not_before = now;
            }
            Some(other) => {
                self.absence = None;
                self.stage = Stage::Unknown;
                self.seen = Seen::Nothing;
                self.is_late = false;
                self.looked_up(now, Some(other), wishes, effects);
            }
        }
    }

    /// Gone is who is not found by name and not at the gate, once so much time has passed between the first look and the
    /// last.
    fn judge_absence(&mut self, now: Instant, launches: &mut Launches, effects: &mut Vec<RunnersEffect>) {
        let (Stage::Served { at, .. }, Some(absence)) = (self.stage, self.absence) else { return };
        let due = absence.since + self.asked_again_after();
        if now < due {
            self.not_before = due;
        } else if !absence.by_name || !absence.at_the_gate {
            self.not_before = now;
        } else if self.seen == Seen::Ended {
            self.proven(Proof::Ended, launches, now, effects);
        } else if now.since(at) >= GONE_NO_SOONER {
            self.proven(Proof::GoneTwice, launches, now, effects);
        } else {
            self.absence = None;
            self.not_before = at + GONE_NO_SOONER;
        }
    }

    pub(super) fn proven(
        &mut self,
        proof: Proof,
        launches: &mut Launches,
        now: Instant,
        effects: &mut Vec<RunnersEffect>,
    ) {
        if self.is_late && self.seen == Seen::Nothing {
            effects.extend(launches.failed(now, &self.instance).map(RunnersEffect::Note));
        }
        self.retries.reset();
        self.absence = None;
        self.stage = Stage::Free;
        self.not_before = now;
        effects.push(RunnersEffect::Note(RunnerFact::Free { instance: self.instance.clone(), proof }));
    }
}
