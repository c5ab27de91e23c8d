//! What both loops share: one step of the machine, journalled and told.
//!
//! ```text
//! loop {
//!     driver.step(now, event, &mut effects);   // the event is journalled, the machine takes it
//!     for effect in effects.drain(..) { … }    // the shell carries its effects out
//!     driver.tell();                           // then there is time for logs and metrics
//!     // wait for a completion, a signal, a status query, or driver.poll_timeout()
//! }
//! ```

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::notice::Notice;
use poolkeeper_core::time::{Instant, Now};

use crate::journal::Journal;
use crate::status::{Page, Query};
use crate::telemetry::Telemetry;

/// The exit code of a process whose machine found an assertion broken.
const EXIT_FAILED: i32 = 1;

/// The machine with its journal and its telemetry.
#[derive(Debug)]
pub struct Driver {
    machine: Machine,
    seed: u64,
    journal: Option<Journal>,
    telemetry: Arc<Telemetry>,
    steps: u64,
    untold: Vec<(Now, Notice)>,
}

impl Driver {
    /// A driver of a fresh machine that was made with `seed`.
    #[must_use]
    pub const fn new(machine: Machine, seed: u64, journal: Option<Journal>, telemetry: Arc<Telemetry>) -> Self {
        Self { machine, seed, journal, telemetry, steps: 0, untold: Vec::new() }
    }

    /// Takes one event and appends what the shell is to carry out, notices left out.
    ///
    /// Notices wait until [`Driver::tell`], so that effects can be carried out first. Should the machine panic, the
    /// process ends here with exit code 1, after a log line that names the step; its event is the journal's last line.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        self.steps += 1;
        let begun =
            self.journal.as_mut().map_or(Ok(()), |journal| journal.begin(now, &event, self.seed, &self.machine));
        self.keep_journal_if(begun);
        let name = describe(&event);
        let before = effects.len();
        let machine = &mut self.machine;
        if let Err(panic) = guarded(|| machine.handle(now, event, effects)) {
            let text = panic_text(panic.as_ref());
            self.telemetry.machine_panicked(self.steps, &name.to_string(), &text);
            std::process::exit(EXIT_FAILED);
        }
        let new = effects.get(before..).unwrap_or_default();
        let ended = self.journal.as_mut().map_or(Ok(()), |journal| journal.end(new));
        self.keep_journal_if(ended);
        let notes = effects.extract_if(before.., |effect| matches!(effect, Effect::Note(_)));
        for note in notes {
            if let Effect::Note(notice) = note {
                self.untold.push((now, notice));
            }
        }
    }

    /// Logs and counts the notices of the steps so far; call it when their effects are on their way.
    pub fn tell(&mut self) {
        for (now, notice) in self.untold.drain(..) {
            self.telemetry.notice(&notice, now);
        }
    }

    /// When [`Event::Tick`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout().map(|(at, _)| at)
    }

    /// Answers a query of the status server.
    pub fn answer(&self, query: Query, now: Now) {
        let Query { after, limit, reply } = query;
        let mut pools: Vec<_> = self.machine.pools(after, limit.saturating_add(1)).into_iter().collect();
        let more = pools.len() > limit;
        pools.truncate(limit);
        let next = pools.last().filter(|_| more).map(|pool| pool.id);
        let page = Page { now, summary: self.machine.summary(), pools, next };
        // Whoever asked may have given up waiting.
        let _ = reply.try_send(page);
    }

    /// The machine, to look at.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The journal file being written.
    #[must_use]
    pub fn journal_path(&self) -> Option<&Path> {
        self.journal.as_ref().and_then(Journal::path)
    }

    /// Tells what is untold and completes the journal's file.
    pub fn close(mut self) {
        self.tell();
        if let Some(Err(error)) = self.journal.take().map(Journal::close) {
            self.telemetry.journal_closed(&error);
        }
    }

    /// A daemon without a journal is worth more than no daemon: a full disk must not stop scaling.
    fn keep_journal_if(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.journal = None;
            self.telemetry.journal_closed(&error);
        }
    }
}

fn guarded(handle: impl FnOnce()) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(handle))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}

/// An event's name, made without a copy of the event.
enum EventName {
    Plain(&'static str),
    Reply(&'static str, u64),
}

impl std::fmt::Display for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::Reply(name, id) => write!(f, "{name} {id}"),
        }
    }
}

const fn describe(event: &Event) -> EventName {
    match event {
        Event::Start { .. } => EventName::Plain("start"),
        Event::Tick => EventName::Plain("tick"),
        Event::GitHubReply { id, .. } => EventName::Reply("reply of GitHub to call", id.0),
        Event::AwsReply { id, .. } => EventName::Reply("reply of AWS to call", id.0),
        Event::Remembered { .. } => EventName::Plain("remembered"),
        Event::Reconfigure(_) => EventName::Plain("reconfigure"),
        Event::Stop => EventName::Plain("stop"),
    }
}

#[cfg(test)]
mod tests;
