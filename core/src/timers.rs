//! Who wants to be woken when.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::machine::MOST_IDS;
use crate::machine::{ConnectionId, TimerKind};
use crate::notice::PoolId;
use crate::time::Instant;

/// At most one deadline for each kind of timer, ordered by time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<(Instant, TimerKind)>", into = "BTreeSet<(Instant, TimerKind)>")]
pub(crate) struct Timers {
    by_time: BTreeSet<(Instant, TimerKind)>,
    set: Set,
}

/// Where each timer is set to, as most of them are set again and again to what they are set to already.
#[derive(Clone, Debug, Default)]
struct Set {
    listing: Option<Instant>,
    motion: Option<Instant>,
    aws: Option<Instant>,
    stop: Option<Instant>,
    connections: Vec<Option<Instant>>,
    pools: Vec<Option<Instant>>,
}

impl Set {
    fn of(&mut self, kind: TimerKind) -> &mut Option<Instant> {
        match kind {
            TimerKind::Listing => &mut self.listing,
            TimerKind::Motion => &mut self.motion,
            TimerKind::Aws => &mut self.aws,
            TimerKind::Stop => &mut self.stop,
            TimerKind::Connection(ConnectionId(id)) => at(&mut self.connections, id),
            TimerKind::Pool(PoolId(id)) => at(&mut self.pools, id),
        }
    }
}

fn at(places: &mut Vec<Option<Instant>>, id: u32) -> &mut Option<Instant> {
    let place = usize::try_from(id).unwrap_or(usize::MAX);
    if place >= places.len() {
        places.resize(place + 1, None);
    }
    places.get_mut(place).unwrap_or_else(|| unreachable!("there is room now"))
}

impl Timers {
    pub(crate) fn set(&mut self, kind: TimerKind, at: Option<Instant>) {
        let before = core::mem::replace(self.set.of(kind), at);
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
            *self.set.of(kind) = None;
            due.push(kind);
        }
        due
    }
}

impl PartialEq for Timers {
    fn eq(&self, other: &Self) -> bool {
        self.by_time == other.by_time
    }
}

impl TryFrom<BTreeSet<(Instant, TimerKind)>> for Timers {
    type Error = String;

    fn try_from(by_time: BTreeSet<(Instant, TimerKind)>) -> Result<Self, String> {
        let mut set = Set::default();
        for (at, kind) in &by_time {
            if let TimerKind::Connection(ConnectionId(id)) | TimerKind::Pool(PoolId(id)) = kind
                && *id >= MOST_IDS
            {
                return Err(format!("a timer of number {id}, and there are none from {MOST_IDS}"));
            }
            *set.of(*kind) = Some(*at);
        }
        Ok(Self { by_time, set })
    }
}

impl From<Timers> for BTreeSet<(Instant, TimerKind)> {
    fn from(timers: Timers) -> Self {
        timers.by_time
    }
}
