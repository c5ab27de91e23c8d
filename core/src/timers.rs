//! Who wants to be woken when.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::machine::TimerKind;
use crate::time::Instant;

/// At most one deadline for each kind of timer, ordered by time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeSet<(Instant, TimerKind)>", into = "BTreeSet<(Instant, TimerKind)>")]
pub(crate) struct Timers {
    by_time: BTreeSet<(Instant, TimerKind)>,
    by_kind: BTreeMap<TimerKind, Instant>,
}

impl Timers {
    pub(crate) fn set(&mut self, kind: TimerKind, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_kind.insert(kind, at),
            None => self.by_kind.remove(&kind),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, kind));
        }
        if let Some(at) = at {
            self.by_time.insert((at, kind));
        }
    }

    pub(crate) fn first(&self) -> Option<(Instant, TimerKind)> {
        self.by_time.first().copied()
    }

    /// Takes the timers that are due; one that is set anew while they ring waits for the next step.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<TimerKind> {
        let mut due = Vec::new();
        while let Some((at, kind)) = self.first().filter(|(at, _)| *at <= now) {
            self.by_time.remove(&(at, kind));
            self.by_kind.remove(&kind);
            due.push(kind);
        }
        due
    }
}

impl From<BTreeSet<(Instant, TimerKind)>> for Timers {
    fn from(by_time: BTreeSet<(Instant, TimerKind)>) -> Self {
        let by_kind = by_time.iter().map(|(at, kind)| (*kind, *at)).collect();
        Self { by_time, by_kind }
    }
}

impl From<Timers> for BTreeSet<(Instant, TimerKind)> {
    fn from(timers: Timers) -> Self {
        timers.by_time
    }
}
