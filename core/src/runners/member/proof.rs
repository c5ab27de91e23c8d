//! Whether no job runs on an instance any more.

use alloc::vec::Vec;

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

impl Member {
    pub(super) fn checked(&mut self, now: Instant, found: Option<Runner>, launches: &mut Launches) {
        match found {
            Some(runner) => {
                self.absent_since = None;
                self.heard_at = now;
                self.seen = signs(&runner).max(self.seen);
                if self.seen > Seen::Nothing {
                    launches.succeeded();
                } else {
                    self.is_late = true;
                }
            }
            None => self.absent(now),
        }
    }

    /// Its runner is gone: once says little.
    fn absent(&mut self, now: Instant) {
        self.absent_since.get_or_insert(now);
        self.not_before = now + self.asked_again_after();
    }

    /// GitHub removes a runner that had its one job: then a second look is soon enough.
    const fn asked_again_after(&self) -> Duration {
        match self.seen {
            Seen::Ended => ENDED_AGAIN_AFTER,
            Seen::Nothing | Seen::Online | Seen::Started => GONE_AGAIN_AFTER,
        }
    }

    pub(super) fn not_removed(&mut self, cx: &mut Turn<'_>, error: CallError, launches: &mut Launches) {
        match error.kind {
            CallErrorKind::JobStillRunning => {
                self.seen = Seen::Started;
                self.is_late = false;
                self.heard_at = cx.now;
                self.absent_since = None;
                launches.succeeded();
                self.not_before = cx.now + self.asked.fail(cx.rng, error.retry_after);
            }
            CallErrorKind::RunnerNotFound => self.absent(cx.now),
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

    /// A runner that was gone was looked for by name.
    pub(super) fn confirmed(
        &mut self,
        now: Instant,
        found: Option<Runner>,
        wishes: &Wishes,
        launches: &mut Launches,
        effects: &mut Vec<RunnersEffect>,
    ) {
        let (Stage::Served { runner, at }, Some(since)) = (self.stage, self.absent_since) else { return };
        match found {
            Some(found) if found.id == runner => {
                self.absent_since = None;
                self.not_before = now;
            }
            Some(other) => {
                self.absent_since = None;
                self.stage = Stage::Unknown;
                self.seen = Seen::Nothing;
                self.is_late = false;
                self.looked_up(now, Some(other), wishes, effects);
            }
            None if now.since(since) < self.asked_again_after() => self.absent(now),
            None if self.seen == Seen::Ended => self.proven(Proof::Ended, launches, now, effects),
            None if now.since(at) >= GONE_NO_SOONER => {
                self.proven(Proof::GoneTwice, launches, now, effects);
            }
            None => self.absent(now),
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
        self.absent_since = None;
        self.stage = Stage::Free;
        self.not_before = now;
        effects.push(RunnersEffect::Note(RunnerFact::Free { instance: self.instance.clone(), proof }));
    }
}
