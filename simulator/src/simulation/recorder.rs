//! The journal of a simulated daemon, written by the shell's own code.

use std::io;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::time::Now;
use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal::Journal;

/// Writes one journal for each life of the daemon.
#[derive(Debug)]
pub(super) struct Recorder {
    settings: JournalSettings,
    journal: Option<Journal>,
    failure: Option<io::Error>,
}

impl Recorder {
    pub(super) const fn new(settings: JournalSettings) -> Self {
        Self { settings, journal: None, failure: None }
    }

    /// The daemon starts at this time; a life before it is over.
    pub(super) fn begin_life(&mut self, unix_ms: u64) {
        self.finish();
        if self.failure.is_none() {
            self.journal = Some(Journal::new(self.settings.clone(), unix_ms));
        }
    }

    pub(super) fn begin(&mut self, now: Now, event: &Event, seed: u64, machine: &Machine) {
        let begun = self.journal.as_mut().map_or(Ok(()), |journal| journal.begin(now, event, seed, machine));
        self.keep_if(begun);
    }

    pub(super) fn end(&mut self, effects: &[Effect]) {
        let ended = self.journal.as_mut().map_or(Ok(()), |journal| journal.end(effects));
        self.keep_if(ended);
    }

    pub(super) fn close(&mut self) -> io::Result<()> {
        self.finish();
        self.failure.take().map_or(Ok(()), Err)
    }

    fn finish(&mut self) {
        if let Some(journal) = self.journal.take() {
            self.keep_if(journal.close());
        }
    }

    fn keep_if(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.journal = None;
            self.failure.get_or_insert(error);
        }
    }
}
