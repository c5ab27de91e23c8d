//! Replays: the same events through the same machine, effects compared one by one.

use std::fmt::Display;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::Args;
use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::recording::{Header, Step, VERSION};
use poolkeeper_shell::journal::Segment;
use serde::Serialize;

use super::files::expand;
use super::until::{Until, until};
use super::{DONE, FAILED, Failure, diff};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Journal files, or directories of them, in the order in which they were written
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Stop before this step, counted from 1 over all files, or before this time (RFC 3339), and print the machine
    #[arg(long, value_name = "STEP|TIME", value_parser = until)]
    until: Option<Until>,
}

/// Replays the files and says whether all was as recorded.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Failure> {
    let files = expand(&options.files)?;
    let mut replay =
        Replay { out, until: options.until, steps: 0, differences: 0, unreadable: None, before: None, stopped: false };
    for file in &files {
        replay.file(file)?;
        if replay.stopped {
            return Ok(if replay.differences == 0 { DONE } else { FAILED });
        }
    }
    let Replay { out, steps, differences, unreadable, .. } = replay;
    let verdict = match differences {
        0 => "every effect as recorded".to_owned(),
        1 => "1 difference".to_owned(),
        n => format!("{n} differences"),
    };
    writeln!(out, "{steps} steps of {} segments replayed: {verdict}", files.len())?;
    match unreadable {
        Some(error) => Err(Failure::Usage(error)),
        None => Ok(if differences == 0 { DONE } else { FAILED }),
    }
}

/// Where a life of a daemon stood when its last segment ended.
struct End {
    file: PathBuf,
    segment: u32,
    seed: u64,
    machine: Machine,
}

struct Replay<'a> {
    out: &'a mut dyn Write,
    until: Option<Until>,
    steps: u64,
    differences: u64,
    /// The first file that is no recording, or not wholly one, with its line and why.
    unreadable: Option<String>,
    before: Option<End>,
    stopped: bool,
}

impl Replay<'_> {
    /// Replays one segment by itself, from the state in its header to its end or its first difference.
    fn file(&mut self, file: &Path) -> Result<(), Failure> {
        let mut segment: Segment = match Segment::open(file) {
            Ok(segment) => segment,
            Err(error) => {
                self.unreadable(&error);
                return Ok(());
            }
        };
        let header = segment.header.clone();
        self.check_start(file, &header)?;
        let same_version = header.version == VERSION;
        if !same_version {
            let (theirs, file) = (&header.version, file.display());
            writeln!(self.out, "{file}: written by version {theirs}, replayed by {VERSION}: notices are not compared")?;
        }
        let mut machine = header.state;
        while let Some(step) = segment.next() {
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    self.unreadable(&error);
                    return Ok(());
                }
            };
            if self.is_reached(&step) {
                return self.show(&machine);
            }
            self.steps += 1;
            let at = format!("{}:{}", file.display(), segment.line());
            if !self.step(&at, &mut machine, step, same_version)? {
                return Ok(());
            }
        }
        if let Some(cut) = segment.cut() {
            writeln!(self.out, "{}: {cut}", file.display())?;
        }
        let (segment, seed) = (header.segment, header.seed);
        self.before = Some(End { file: file.to_owned(), segment, seed, machine });
        Ok(())
    }

    /// A life begins with a fresh machine, and a later segment where the one before it ended.
    fn check_start(&mut self, file: &Path, header: &Header) -> Result<(), Failure> {
        let before = self.before.take();
        let follows =
            before.filter(|end| end.seed == header.seed && end.segment.checked_add(1) == Some(header.segment));
        let (expected, whence) = match follows {
            Some(end) => (end.machine, format!("as {} ended", end.file.display())),
            None if header.segment == 0 => {
                let fresh = Machine::new(header.config.clone(), header.seed);
                (fresh, "a fresh machine".to_owned())
            }
            None => return Ok(()),
        };
        if expected == header.state {
            return Ok(());
        }
        self.differences += 1;
        writeln!(self.out, "{}:1: the state is not {whence} (- expected, + recorded)", file.display())?;
        diff::write(self.out, &pretty(&expected), &pretty(&header.state))?;
        Ok(())
    }

    /// Replays one step; whether the segment can go on.
    fn step(&mut self, at: &str, machine: &mut Machine, step: Step, same_version: bool) -> Result<bool, Failure> {
        let Step { now, event, effects: recorded } = step;
        let told = event.clone();
        let mut effects = Vec::new();
        let handled = catch_unwind(AssertUnwindSafe(|| machine.handle(now, event, &mut effects)));
        if handled.is_err() {
            self.differences += 1;
            let kind = if recorded.is_some() { "" } else { ", and the recording ends here too" };
            writeln!(self.out, "{at}: the machine panics on this event{kind}:")?;
            self.tell_event(&told)?;
            return Ok(false);
        }
        let Some(recorded) = recorded else { return Ok(true) };
        let recorded = comparable(recorded, same_version);
        let replayed = comparable(effects, same_version);
        if line(&recorded) == line(&replayed) {
            return Ok(true);
        }
        self.differences += 1;
        let nth = recorded.iter().zip(&replayed).take_while(|(a, b)| a == b).count() + 1;
        let ms = now.mono.as_millis();
        writeln!(self.out, "{at}: at {ms} ms the effects differ from the {nth}. on (- recorded, + replayed)")?;
        self.tell_event(&told)?;
        let rest = |effects: &[Effect]| pretty(&effects.get(nth - 1..).unwrap_or_default());
        diff::write(self.out, &rest(&recorded), &rest(&replayed))?;
        Ok(false)
    }

    fn tell_event(&mut self, event: &Event) -> Result<(), Failure> {
        /// The most characters shown of an event.
        const SHOWN: usize = 2000;
        let text = line(event);
        let shown: String = text.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { " …" } else { "" };
        writeln!(self.out, "  event: {shown}{more}")?;
        Ok(())
    }

    fn is_reached(&self, step: &Step) -> bool {
        self.until.is_some_and(|until| until.is_reached(self.steps + 1, step))
    }

    fn show(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.stopped = true;
        writeln!(self.out, "{}", pretty(machine))?;
        Ok(())
    }

    fn unreadable(&mut self, error: &dyn Display) {
        self.unreadable.get_or_insert_with(|| error.to_string());
    }
}

/// Notices may be worded otherwise by another version: they change nothing outside the daemon.
fn comparable(mut effects: Vec<Effect>, same_version: bool) -> Vec<Effect> {
    effects.retain(|effect| same_version || !matches!(effect, Effect::Note(_)));
    effects
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| format!("does not serialise: {e}"))
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|e| format!("does not serialise: {e}"))
}

#[cfg(test)]
mod tests;
