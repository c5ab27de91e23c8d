//! Checkers: objects beside the world that know what must never happen, and what must have happened in the end.

mod calls;
mod capacity;
mod jobs;
mod secrecy;

use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::time::{Instant, Now};

use crate::world::World;
pub use calls::{BoundedEffects, OneCreation};
pub use capacity::{Bounds, IdleCapacity};
pub use jobs::{AllAcknowledged, JobsEnd, Listening};
pub use secrecy::{NoSecret, holds_secret};

/// What is so at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Simulated time.
    pub at: Instant,
    /// The world.
    pub world: &'a World,
    /// Which daemon this is about: 0 is the first, 1 a second one that was started by mistake. Each has checkers of
    /// its own.
    pub daemon: usize,
    /// The machine, while the daemon lives.
    pub machine: Option<&'a Machine>,
    /// How many secrets the shell keeps.
    pub secrets: usize,
}

/// One step of the machine, before its effects are carried out.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What the daemon's clocks say.
    pub now: Now,
    /// What happened.
    pub event: &'a Event,
    /// What the machine wants done.
    pub effects: &'a [Effect],
    /// What is so.
    pub observed: Observed<'a>,
}

/// Knows one thing that must hold.
pub trait Checker: fmt::Debug {
    /// What must hold, in one sentence.
    fn contract(&self) -> &'static str;

    /// The daemon begins another life.
    fn started(&mut self) {}

    /// Looks at one step.
    ///
    /// # Errors
    /// Says what is wrong.
    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let _ = moment;
        Ok(())
    }

    /// What must still happen, once everything is healthy; `None` when nothing must.
    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let _ = observed;
        None
    }
}

/// All checkers that hold in every scenario.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(JobsEnd),
        Box::new(AllAcknowledged::default()),
        Box::new(Listening),
        Box::new(Bounds),
        Box::new(IdleCapacity),
        Box::new(OneCreation::default()),
        Box::new(BoundedEffects::default()),
        Box::new(NoSecret),
    ]
}
