//! Recorded traffic: what peers once said becomes a script for a machine of this version, whichever version recorded it.
//!
//! A fresh machine is driven through the recording's time. What it asks is answered as the same call for the same scale
//! set was answered then, in order; polls are answered when their answers came. What it asks more often than it was
//! recorded gets the last good answer again, and a poll beyond the last one says nothing. Judges look at every step:
//! effects are not compared, as another version, or a fault that was drawn, may rightly lead elsewhere.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::{Effect, Event, ExitReason};
use poolkeeper_core::time::{Instant, Now};
use serde::Serialize;

pub use script::{Script, ScriptError};

use judge::{Judge, Look};
use peer::Peer;

mod faults;
mod fleet;
mod judge;
mod key;
mod peer;
mod script;
#[cfg(test)]
mod tests;

/// How long a machine is watched after the recording's end.
const AFTER_MS: u64 = 180_000;
/// The most steps at one moment: more is a busy loop.
const MAX_STEPS_A_MOMENT: u32 = 10_000;
/// The most steps for each recorded one: more is a busy loop.
const MAX_STEPS_EACH: u64 = 20;
/// The most steps beside those.
const MAX_STEPS: u64 = 100_000;
/// So many violations end a run.
const MAX_VIOLATIONS: usize = 20;
/// How long a machine may take to stop.
const STOP_MS: u64 = 15_000;

/// Something that a judge objected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What must hold.
    pub contract: &'static str,
    /// What is wrong.
    pub objection: String,
    /// The machine's step, from 1.
    pub step: u64,
    /// Milliseconds since the script's beginning.
    pub at_ms: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contract, objection, step, at_ms } = self;
        write!(f, "at {at_ms} ms, step {step}: {contract}: {objection}")
    }
}

/// How a machine did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The seed of the faults that were drawn, if any were.
    pub faults: Option<u64>,
    /// The machine's steps.
    pub steps: u64,
    /// Milliseconds that passed for the machine.
    pub millis: u64,
    /// Calls that were answered as recorded.
    pub answered: u64,
    /// Calls that were answered otherwise, as the recording had no more answers to them.
    pub made_up: u64,
    /// Writes of desired capacity.
    pub writes: u64,
    /// What judges objected to.
    pub violations: Vec<Violation>,
}

/// Runs a machine of this version against the script, with faults drawn from a seed or none.
#[must_use]
pub fn run(script: &Script, faults: Option<u64>) -> Verdict {
    Run::new(script, faults).finish(script, faults)
}

/// Edits effects before judges and peers see them, to show that judges can object.
type Saboteur = Box<dyn FnMut(&Machine, &mut Vec<Effect>)>;

struct Run {
    machine: Machine,
    peer: Peer,
    judges: Vec<Box<dyn Judge>>,
    violations: Vec<Violation>,
    at_ms: u64,
    unix_ms: u64,
    jumped_ms: i64,
    steps: u64,
    max_steps: u64,
    writes: u64,
    exit: Option<ExitReason>,
    is_over: bool,
    saboteur: Option<Saboteur>,
}

impl Run {
    fn new(script: &Script, faults: Option<u64>) -> Self {
        Self {
            machine: Machine::new(script.config.clone(), faults.unwrap_or_default()),
            peer: Peer::new(script, faults),
            judges: judge::all(),
            violations: Vec::new(),
            at_ms: 0,
            unix_ms: script.unix_ms,
            jumped_ms: 0,
            steps: 0,
            max_steps: script.steps.saturating_mul(MAX_STEPS_EACH).saturating_add(MAX_STEPS),
            writes: 0,
            exit: None,
            is_over: false,
            saboteur: None,
        }
    }

    fn finish(mut self, script: &Script, faults: Option<u64>) -> Verdict {
        self.step(Event::Start { remembered: script.remembered.clone() });
        self.drive(script);
        Verdict {
            faults,
            steps: self.steps,
            millis: self.at_ms,
            answered: self.peer.answered,
            made_up: self.peer.made_up,
            writes: self.writes,
            violations: self.violations,
        }
    }

    /// Through the script, and somewhat further.
    fn drive(&mut self, script: &Script) {
        let mut outside = script.outside.clone();
        let mut told_to_stop = None;
        let end_ms = script.end_ms + AFTER_MS;
        while !self.is_over && self.at_ms < end_ms {
            let due = self.machine.poll_timeout().map(|(at, _)| at.as_millis());
            let next = [due, self.peer.next_ms(), outside.front().map(|(at, _)| *at)].into_iter().flatten().min();
            let Some(next) = next else { break };
            self.at_ms = next.max(self.at_ms);
            if let Some((_, event)) = outside.pop_front_if(|(at, _)| *at <= self.at_ms) {
                if matches!(event, Event::Stop) {
                    told_to_stop.get_or_insert(self.at_ms);
                }
                self.step(event);
            }
            self.moment();
            if told_to_stop.is_some_and(|at| self.at_ms > at + STOP_MS) && self.exit.is_none() {
                self.object("a daemon that is told to stop does so in time", "it has not stopped".to_owned());
                return;
            }
        }
    }

    /// All that happens at the present moment.
    fn moment(&mut self) {
        for _ in 0..MAX_STEPS_A_MOMENT {
            if self.is_over {
                return;
            }
            if let Some(event) = self.peer.arrival(self.at_ms) {
                self.step(event);
            } else if self.machine.poll_timeout().is_some_and(|(at, _)| at.as_millis() <= self.at_ms) {
                self.step(Event::Tick);
            } else {
                return;
            }
        }
        self.object("the machine comes to rest at every moment", format!("{MAX_STEPS_A_MOMENT} steps"));
        self.is_over = true;
    }

    fn step(&mut self, event: Event) {
        if self.steps >= self.max_steps {
            self.object("the machine's steps are bounded by what happens", format!("{} steps", self.steps));
            self.is_over = true;
            return;
        }
        self.steps += 1;
        self.jumped_ms += self.peer.jump_ms();
        let unix_ms = (self.unix_ms + self.at_ms).saturating_add_signed(self.jumped_ms);
        let now = Now { mono: Instant::from_millis(self.at_ms), unix_ms };
        let mut effects = Vec::new();
        let (machine, taken) = (&mut self.machine, event.clone());
        if catch_unwind(AssertUnwindSafe(|| machine.handle(now, taken, &mut effects))).is_err() {
            let event = serde_json::to_string(&event).unwrap_or_default();
            self.object("the machine does not panic", event);
            self.is_over = true;
            return;
        }
        if let Some(saboteur) = &mut self.saboteur {
            saboteur(&self.machine, &mut effects);
        }
        let look = Look { now, event: &event, effects: &effects, machine: &self.machine };
        let objections: Vec<_> = self
            .judges
            .iter_mut()
            .filter_map(|judge| judge.step(&look).err().map(|objection| (judge.contract(), objection)))
            .collect();
        for (contract, objection) in objections {
            self.object(contract, objection);
        }
        for effect in effects {
            if let Effect::Exit(reason) = effect {
                self.exit = Some(reason);
                self.is_over = true;
            }
            self.writes += u64::from(matches!(effect, Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. }));
            self.peer.execute(self.at_ms, effect);
        }
    }

    fn object(&mut self, contract: &'static str, objection: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { contract, objection, step: self.steps, at_ms: self.at_ms });
        }
        self.is_over = self.is_over || self.violations.len() >= MAX_VIOLATIONS;
    }
}
