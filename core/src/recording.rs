//! Recordings: a header with config and state, then one line for each step.
//!
//! Lines are JSON. Where they are kept, and how they are compressed, is the shell's business.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Machine;
use crate::config::Config;
use crate::event::{Effect, Event};
use crate::time::Now;

/// The format of recordings: it rises when an old line no longer parses.
pub const FORMAT: u32 = 1;

/// The version of this crate, which wrote the recording.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first line of a segment. Another version reads it with a state of its own choice, for example
/// [`serde::de::IgnoredAny`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header<State = Machine> {
    /// The recording's format.
    pub format: u32,
    /// The version that wrote it.
    pub version: String,
    /// Counts the segments of one life of the daemon, from 0.
    pub segment: u32,
    /// The seed the machine was made with.
    pub seed: u64,
    /// The config in force.
    pub config: Config,
    /// The machine as it was before the segment's first step.
    pub state: State,
}

/// A step's first half, written before the machine takes it, so that a crash leaves its cause behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What the clocks said.
    pub now: Now,
    /// What happened.
    pub event: Event,
    /// What the machine wanted done; absent from the last line of a recording that was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Vec<Effect>>,
}

/// Runs a recording again, step by step, and holds the machine to what it did then.
#[derive(Clone, Debug)]
pub struct Replay {
    machine: Machine,
    steps: u64,
}

/// The first step whose effects are not those of the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which step, counted from 0.
    pub step: u64,
    /// What happened.
    pub event: Event,
    /// What the machine wanted done then.
    pub recorded: Vec<Effect>,
    /// What it wants done now.
    pub replayed: Vec<Effect>,
}

impl Replay {
    /// Begins where the segment begins.
    #[must_use]
    pub const fn new(state: Machine) -> Self {
        Self { machine: state, steps: 0 }
    }

    /// Takes one recorded step; a line that was cut before its effects is taken and not compared.
    ///
    /// # Errors
    /// When the effects are not those of the recording. Notices are compared too: one version says the same words.
    pub fn step(&mut self, step: Step) -> Result<Vec<Effect>, Box<Difference>> {
        let mut replayed = Vec::new();
        self.machine.handle(step.now, step.event.clone(), &mut replayed);
        let number = self.steps;
        self.steps += 1;
        match step.effects {
            Some(recorded) if recorded != replayed => {
                Err(Box::new(Difference { step: number, event: step.event, recorded, replayed }))
            }
            Some(_) | None => Ok(replayed),
        }
    }

    /// How many steps were taken.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The machine as it is after the steps so far.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }
}
