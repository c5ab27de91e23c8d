//! What is told of an instance's way into service, and of a job that runs for long.

use serde::{Deserialize, Serialize};

use super::{Member, Seen};
use crate::notice::RunnerFact;
use crate::runners::{Origin, Wishes};
use crate::time::{Duration, Instant};

/// An instance that is first seen so soon after capacity was raised was launched for that.
const LAUNCHED_FOR: Duration = Duration::from_secs(10);
/// A hook that was completed, and still holds its instance, is completed again.
const COMPLETE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The times of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Life {
    /// When it was launched, as far as is known.
    begun_at: Instant,
    from_warm: bool,
    /// It has come into service, and that was told.
    is_up: bool,
    /// A launch hook holds it.
    pub(super) waits: bool,
    pub(super) hook_completed_at: Option<Instant>,
    /// Since when a job is known to run on it.
    works_since: Option<Instant>,
    /// That its job runs for long was told.
    told_long: bool,
}

impl Life {
    pub(super) fn new(instance: &str, now: Instant, origin: &Origin<'_>) -> Self {
        let begun_at = origin.raised_at.filter(|at| now.since(*at) <= LAUNCHED_FOR).unwrap_or(now);
        let from_warm = origin.warm.is_some_and(|members| members.contains_key(instance));
        Self { begun_at, from_warm, ..Self::default() }
    }

    /// A job runs on it.
    pub(super) fn works(&mut self, now: Instant) {
        self.works_since.get_or_insert(now);
    }
}

impl Member {
    /// It was in service before anybody looked: how long it took is not known.
    pub(in crate::runners) fn was_up_before(&mut self) {
        self.life.is_up |= self.is_in_service();
    }

    /// Whether it has just come into service.
    pub(in crate::runners) fn comes_up(&mut self, now: Instant) -> Option<RunnerFact> {
        if !self.is_in_service() || core::mem::replace(&mut self.life.is_up, true) {
            return None;
        }
        let took = now.since(self.life.begun_at);
        Some(RunnerFact::Up { instance: self.instance.clone(), warm: self.life.from_warm, took })
    }

    /// Whether a launch hook holds it that is to be completed now.
    pub(in crate::runners) fn is_held(&self, now: Instant) -> bool {
        let again = self.life.hook_completed_at.is_none_or(|at| now.since(at) >= COMPLETE_AGAIN_AFTER);
        self.life.waits && again
    }

    /// When its job will have run for longer than the pool allows, unless that was told.
    pub(in crate::runners) fn too_long_at(&self, wishes: &Wishes) -> Option<Instant> {
        let at_work = self.seen == Seen::Started && !self.is_gone && !self.life.told_long;
        Some(self.life.works_since.filter(|_| at_work)? + wishes.max_job_time?)
    }

    /// That its job runs for longer than the pool allows, once.
    pub(in crate::runners) fn runs_too_long(&mut self, now: Instant, wishes: &Wishes) -> Option<RunnerFact> {
        if self.too_long_at(wishes)? > now {
            return None;
        }
        self.life.told_long = true;
        let runs = now.since(self.life.works_since?);
        Some(RunnerFact::JobTooLong { instance: self.instance.clone(), runs })
    }
}
