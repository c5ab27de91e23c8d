//! Checkers: objects beside the world that know what must never happen, and what must have happened in the end.

mod calls;
mod capacity;
mod effort;
mod frugal;
mod jobs;
mod lifecycle;
mod managed;
pub mod model;
mod operator;
mod out_first;
mod secrecy;
mod wire;

use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::Request;
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::{Instant, Now};

use crate::world::World;
pub use calls::{EndsOnce, OneSession, Renewals, Timers};
pub use capacity::{Bounds, HeldTarget, NewsOnly, NoVictim, Passive, SafeLowering, Target};
pub use effort::{Bounded, Effort, Patient};
pub use frugal::Frugal;
pub use jobs::{AckLast, Acquisition, JobsEnd, Listening};
pub use lifecycle::{KeepsPools, ProvedGone, Remembers, StopsQuietly};
#[cfg(test)]
pub(in crate::simulation) use managed::runner_in;
pub use managed::{NothingLeft, ProtectedFirst, ProvenFree};
pub use operator::{StaysUp, TellsLabels};
pub use out_first::OutFirst;
pub use secrecy::{NoSecret, holds_secret};
pub use wire::{Asked, Flight, GroupSeen, SetSeen, Wire};

/// What is so at a moment, for one daemon.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Simulated time.
    pub at: Instant,
    /// The world; none where recorded replies stand for it.
    pub world: Option<&'a World>,
    /// Which daemon this is about: 0 is the first, 1 a second one that was started by mistake. Each has checkers of
    /// its own.
    pub daemon: usize,
    /// The machine, while the daemon lives.
    pub machine: Option<&'a Machine>,
    /// How many secrets the shell keeps.
    pub secrets: usize,
    /// How many memories outlive the daemon.
    pub memories: usize,
}

/// An event, as it truly is, before the machine takes it.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// What the daemon's clocks say.
    pub now: Now,
    /// What happened.
    pub event: &'a Event,
    /// What is so.
    pub observed: Observed<'a>,
    /// What is known from all that went between machine and peers, this event included.
    pub wire: &'a Wire,
}

/// One step of the machine, once it took the event and before its effects are carried out.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What the machine wants done.
    pub effects: &'a [Effect],
    /// What is so.
    pub observed: Observed<'a>,
    /// What is known from all that went between machine and peers, this step's event included.
    pub wire: &'a Wire,
}

/// Knows one thing that must hold.
pub trait Checker: fmt::Debug + Send {
    /// Its name, in one word.
    fn name(&self) -> &'static str;

    /// What must hold, in one sentence.
    fn contract(&self) -> &'static str;

    /// The daemon begins another life.
    fn started(&mut self) {}

    /// Looks at an event.
    ///
    /// # Errors
    /// Says what is wrong.
    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        let _ = heard;
        Ok(())
    }

    /// Looks at what the machine makes of the event.
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

/// What a checker objects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The checker.
    pub checker: &'static str,
    /// What should have held.
    pub contract: &'static str,
    /// What was seen.
    pub what: String,
}

/// Checkers, and what they share: one for each daemon.
#[derive(Debug, Default)]
pub struct Checks {
    checkers: Vec<Box<dyn Checker>>,
    wire: Wire,
    /// Who was the last to wait for something.
    waiting: usize,
}

impl Checks {
    /// These checkers.
    #[must_use]
    pub fn new(checkers: Vec<Box<dyn Checker>>) -> Self {
        Self { checkers, ..Self::default() }
    }

    /// Adds a checker.
    pub fn push(&mut self, checker: Box<dyn Checker>) {
        self.checkers.push(checker);
    }

    /// Keeps only the checker of that name.
    pub fn only(&mut self, name: &str) {
        self.checkers.retain(|checker| checker.name() == name);
    }

    /// The daemon begins another life.
    pub fn started(&mut self) {
        self.wire.started();
        for checker in &mut self.checkers {
            checker.started();
        }
    }

    /// Lets every checker look at an event before the machine takes it: what they object to.
    pub fn hear(&mut self, now: Now, event: &Event, observed: Observed<'_>) -> Vec<Objection> {
        self.wire.event(observed.at, event);
        let heard = Heard { now, event, observed, wire: &self.wire };
        let mut objections = Vec::new();
        for checker in &mut self.checkers {
            if let Err(what) = checker.hear(&heard) {
                objections.push(Objection { checker: checker.name(), contract: checker.contract(), what });
            }
        }
        objections
    }

    /// Lets every checker look at what the machine made of the event: what they object to.
    pub fn step(&mut self, effects: &[Effect], observed: Observed<'_>) -> Vec<Objection> {
        let moment = Moment { effects, observed, wire: &self.wire };
        let mut objections = Vec::new();
        for checker in &mut self.checkers {
            if let Err(what) = checker.step(&moment) {
                objections.push(Objection { checker: checker.name(), contract: checker.contract(), what });
            }
        }
        self.wire.effects(observed.at, effects);
        objections
    }

    /// Whether any checker still waits for something; the last one that did is asked first.
    #[must_use]
    pub fn is_waiting(&mut self, observed: &Observed<'_>) -> bool {
        let waits = |nth: &usize| self.checkers.get(*nth).is_some_and(|checker| checker.pending(observed).is_some());
        let waiting = std::iter::once(self.waiting).chain(0..self.checkers.len()).find(waits);
        self.waiting = waiting.unwrap_or_default();
        waiting.is_some()
    }

    /// What the checkers still wait for.
    #[must_use]
    pub fn pending(&self, observed: &Observed<'_>) -> Vec<Objection> {
        let waits = |checker: &dyn Checker| {
            let what = checker.pending(observed)?;
            Some(Objection { checker: checker.name(), contract: checker.contract(), what })
        };
        self.checkers.iter().filter_map(|checker| waits(checker.as_ref())).collect()
    }
}

/// All checkers that hold in every scenario; those come first that speak of what people would see.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    let mut all = of_the_world();
    all.extend(of_the_machine());
    all
}

/// Those that need nothing but what goes between machine and peers.
#[must_use]
pub fn of_the_machine() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(NoSecret::default()),
        Box::new(EndsOnce::default()),
        Box::new(OneSession::default()),
        Box::new(Renewals::default()),
        Box::new(Timers::default()),
        Box::new(Bounded::default()),
        Box::new(Effort::default()),
        Box::new(Patient::default()),
        Box::new(Bounds),
        Box::new(NewsOnly),
        Box::new(SafeLowering),
        Box::new(Passive),
        Box::new(HeldTarget),
        Box::new(AckLast::default()),
        Box::new(Acquisition::default()),
        Box::new(Remembers),
        Box::new(ProvedGone::default()),
        Box::new(KeepsPools::default()),
        Box::new(StopsQuietly::default()),
        Box::new(StaysUp::default()),
        Box::new(TellsLabels::default()),
        Box::new(ProtectedFirst),
        Box::new(OutFirst::default()),
    ]
}

/// Those that know the truth behind the peers' words.
#[must_use]
pub fn of_the_world() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(NoVictim::default()),
        Box::new(ProvenFree),
        Box::new(JobsEnd),
        Box::new(Target),
        Box::new(Listening),
        Box::new(NothingLeft),
    ]
}

/// What remains of a sealed reply.
fn body_of(reply: &Reply) -> Option<&Sealed> {
    match &reply.body {
        Body::Sealed(sealed) => Some(sealed),
        Body::Raw(_) => None,
    }
}

/// The jobs that an acquire asks for.
fn ids_in(request: &Request) -> Vec<u64> {
    serde_json::from_str(request.body.as_deref().unwrap_or_default()).unwrap_or_default()
}
