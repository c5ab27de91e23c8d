//! Recordings: a header with config and state, then one line for each step.
//!
//! Lines are JSON. Where they are kept, and how they are compressed, is the shell's business.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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

/// One line of a segment after its header. Its first half is written before the machine takes it, so that a crash
/// leaves its cause behind.
///
/// [`Text`] as `Effects` leaves them unread: whoever only compares them has no need of more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step<Effects = Vec<Effect>> {
    /// What the clocks said.
    pub now: Now,
    /// What happened.
    pub event: Event,
    /// What the machine wanted done; absent from the last line of a recording that was cut short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effects: Option<Effects>,
}

/// Effects as they stand in the recording.
pub type Text = Box<RawValue>;

/// Runs a recording again, step by step, and holds the machine to what it did then.
#[derive(Clone, Debug)]
pub struct Replay {
    machine: Machine,
    steps: u64,
    compares_notices: bool,
    effects: Vec<Effect>,
}

/// A step whose effects are not those of the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which step, counted from 0.
    pub step: u64,
    /// What the machine wanted done then.
    pub recorded: Vec<Effect>,
    /// What it wants done now.
    pub replayed: Vec<Effect>,
}

/// Why a step that was read as [`Text`] is not as recorded.
#[derive(Debug)]
pub enum Unlike {
    /// Its effects are others.
    Differs(Box<Difference>),
    /// What the recording holds are no effects.
    NoEffects(serde_json::Error),
}

impl Replay {
    /// Begins where the segment begins.
    #[must_use]
    pub const fn new(state: Machine) -> Self {
        Self { machine: state, steps: 0, compares_notices: true, effects: Vec::new() }
    }

    /// Leaves notices out of the comparison: another version may word them otherwise, and they change nothing.
    #[must_use]
    pub const fn without_notices(mut self) -> Self {
        self.compares_notices = false;
        self
    }

    /// Takes one step whatever its effects were: what the machine wants done now.
    ///
    /// # Panics
    /// When the machine does: then the recording is of a machine that behaved otherwise, or of a bug.
    pub fn take(&mut self, now: Now, event: Event) -> &[Effect] {
        self.effects.clear();
        self.steps += 1;
        self.machine.handle(now, event, &mut self.effects);
        &self.effects
    }

    /// Takes one recorded step; a line that was cut before its effects is taken and not compared.
    ///
    /// # Errors
    /// When the effects are not those of the recording.
    ///
    /// # Panics
    /// As [`Self::take`].
    pub fn step(&mut self, step: Step) -> Result<&[Effect], Box<Difference>> {
        self.take(step.now, step.event);
        if let Some(recorded) = step.effects {
            self.compare(recorded)?;
        }
        Ok(&self.effects)
    }

    /// As [`Self::step`], and faster: effects are compared as text, and read only when that differs.
    ///
    /// # Errors
    /// When the effects are not those of the recording, or do not parse.
    ///
    /// # Panics
    /// As [`Self::take`].
    pub fn step_text(&mut self, step: Step<Text>) -> Result<&[Effect], Unlike> {
        self.take(step.now, step.event);
        let Some(recorded) = step.effects else { return Ok(&self.effects) };
        if serde_json::to_string(&self.effects).is_ok_and(|text| text == recorded.get()) {
            return Ok(&self.effects);
        }
        let recorded = serde_json::from_str(recorded.get()).map_err(Unlike::NoEffects)?;
        self.compare(recorded).map_err(Unlike::Differs)?;
        Ok(&self.effects)
    }

    /// What the machine wanted done in the last step.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
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

    /// The machine as it is after the steps so far, for good.
    #[must_use]
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    fn compare(&self, recorded: Vec<Effect>) -> Result<(), Box<Difference>> {
        let counts = |effect: &&Effect| self.compares_notices || !matches!(effect, Effect::Note(_));
        if recorded.iter().filter(counts).eq(self.effects.iter().filter(counts)) {
            return Ok(());
        }
        let replayed = self.effects.iter().filter(counts).cloned().collect();
        let recorded = recorded.into_iter().filter(|effect| counts(&effect)).collect();
        Err(Box::new(Difference { step: self.steps - 1, recorded, replayed }))
    }
}
