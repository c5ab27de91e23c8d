//! Launches that come to nothing: a bad image must not burn money.

use serde::{Deserialize, Serialize};

use crate::notice::RunnerFact;
use crate::time::{Duration, Instant};

/// So many instances in a row that never came up hold launches back.
const FAILURES: u32 = 3;
const HOLD_FIRST: Duration = Duration::from_secs(60);
const HOLD_CAP: Duration = Duration::from_secs(1800);
/// Beyond this many doublings the cap is long reached.
const MOST_DOUBLINGS: u32 = 10;

/// How launches went of late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Launches {
    failures: u32,
    held_until: Option<Instant>,
}

impl Launches {
    pub(super) fn are_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    pub(super) const fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// An instance came up.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
        self.held_until = None;
    }

    /// An instance never came up: what is to be told, when it was one too many.
    pub(super) fn failed(&mut self, now: Instant, instance: &str) -> Option<RunnerFact> {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.checked_sub(FAILURES)?.min(MOST_DOUBLINGS);
        let hold = HOLD_FIRST.times(1 << doublings).min(HOLD_CAP);
        self.held_until = Some(now + hold);
        Some(RunnerFact::LaunchesHeld { failures: self.failures, last: instance.into(), hold })
    }
}
