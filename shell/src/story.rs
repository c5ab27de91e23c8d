//! The story of one instance, pool or job, as a journal tells it, in plain words.
//!
//! The steps of the journal run through the machine once more, and what concerns the [`Subject`] is kept: what the machine
//! noted, what it asked of GitHub and AWS and what they answered, and each change of capacity with the numbers behind it.

use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::notice::Notice;
use poolkeeper_core::time::Now;
use serde::Serialize;

pub use self::change::{Before, Change};
use self::log::Log;
pub use self::standing::standing;
pub use self::subject::{Names, Subject, is_named};
pub use self::telling::{Told, tell};
pub use self::words::utc;

mod asked;
mod cause;
mod change;
mod instance;
mod job;
mod log;
mod pool;
mod standing;
mod subject;
mod telling;
#[cfg(test)]
mod tests;
mod wait;
mod words;

/// A story from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    title: String,
    source: String,
    #[serde(flatten)]
    log: Log,
    closing: Vec<String>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n", self.title, self.source)?;
        if self.log.left_out() > 0 {
            writeln!(f, "({} older entries are left out)", self.log.left_out())?;
        }
        for entry in self.log.entries() {
            let mut lines = entry.text.lines();
            writeln!(f, "{}  {}", utc(entry.unix_ms), lines.next().unwrap_or_default())?;
            lines.try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        if !self.closing.is_empty() {
            writeln!(f)?;
        }
        self.closing.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Whoever collects what concerns one subject.
trait Teller {
    /// Something happened, which the machine is about to be told.
    fn hear(&mut self, now: Now, event: &Event, log: &mut Log);

    /// What the machine made of it.
    fn see(&mut self, step: &Taken<'_>, log: &mut Log);

    /// Whom the story is about, or the names that were met instead.
    fn title(&self) -> Result<String, &Names>;

    /// What is to be said at the end of the journal.
    fn closing(&self, end: Now, machine: Option<&Machine>) -> Vec<String>;
}

/// A step that the machine has taken.
struct Taken<'a> {
    now: Now,
    effects: &'a [Effect],
    changes: &'a [Change],
    machine: &'a Machine,
}

impl<'a> Taken<'a> {
    fn notices(&self) -> impl Iterator<Item = &'a Notice> + use<'a> {
        notices(self.effects)
    }
}

fn notices(effects: &[Effect]) -> impl Iterator<Item = &Notice> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Note(notice) => Some(notice),
        Effect::GitHub { .. }
        | Effect::Aws { .. }
        | Effect::Cancel { .. }
        | Effect::Remember { .. }
        | Effect::Drop(_)
        | Effect::Exit(_) => None,
    })
}
