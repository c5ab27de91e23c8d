//! Sabotage: somebody between the machine and its shell who breaks what the machine does, to show that checkers can
//! fail.

mod capacity;
mod catalog;
mod managed;
mod messages;
mod traffic;

use std::fmt;

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::request::RequestId;
use poolkeeper_core::time::Instant;

pub use catalog::{Sabotage, all, by_name};

/// Edits what the machine hears and says. Checkers see the event as it truly was, and the effects as they were edited.
pub trait Saboteur: fmt::Debug + Send {
    /// Edits an event on its way to the machine; false keeps it from the machine altogether.
    fn event(&mut self, at: Instant, event: &mut Event) -> bool {
        let _ = (at, event);
        true
    }

    /// Edits the effects of a step before they are carried out.
    fn effects(&mut self, at: Instant, effects: &mut Vec<Effect>) {
        let _ = (at, effects);
    }

    /// When a timer that is due at `due` is honoured.
    fn due(&self, due: Instant) -> Instant {
        due
    }
}

/// Numbers of calls that the machine never made begin here.
const FORGED: u64 = 1 << 60;

/// Makes numbers for calls that the machine never made.
#[derive(Clone, Copy, Debug, Default)]
struct Forger(u64);

impl Forger {
    const fn id(&mut self) -> RequestId {
        self.0 += 1;
        RequestId(FORGED + self.0)
    }
}

/// Several at once, one after the other.
#[derive(Debug)]
pub struct Together(pub Vec<Box<dyn Saboteur>>);

impl Saboteur for Together {
    fn event(&mut self, at: Instant, event: &mut Event) -> bool {
        let mut goes_on = true;
        for one in &mut self.0 {
            // Each of them sees the event, even when one keeps it from the machine.
            goes_on &= one.event(at, event);
        }
        goes_on
    }

    fn effects(&mut self, at: Instant, effects: &mut Vec<Effect>) {
        for one in &mut self.0 {
            one.effects(at, effects);
        }
    }

    fn due(&self, due: Instant) -> Instant {
        self.0.iter().fold(due, |due, one| one.due(due))
    }
}

#[cfg(test)]
mod tests;
