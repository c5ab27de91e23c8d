//! What a replay tells, for people and for machines.

use std::io::Write;
use std::path::Path;

use poolkeeper_core::time::Now;
use poolkeeper_shell::story::{Change, utc};
use serde::Serialize;
use serde_json::json;

use super::{Failure, Place};
use crate::cli::diff::{self, Difference};

/// The most characters shown of an event.
const EVENT_CHARS: usize = 2000;

/// One thing to tell.
#[derive(Debug)]
pub(super) enum Tell<'a> {
    /// A change of capacity.
    Change(Box<Change>),
    /// A segment does not begin as it should.
    State { file: &'a Path, whence: &'a str, differences: Vec<Difference> },
    /// A step's effects differ.
    Effects { place: &'a Place<'a>, step: u64, now: Now, event: String, differences: Vec<Difference> },
    /// The machine panics.
    Panic { place: &'a Place<'a>, step: u64, event: String, was_cut: bool },
    /// A file ends as a crash leaves it.
    Cut { file: &'a Path, cut: String },
    /// Another file is no recording.
    Bad { error: &'a str },
    /// The end.
    Result { steps: u64, segments: usize, differences: u64 },
}

/// Where it is told, and how.
pub(super) struct Telling<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) json: bool,
}

impl Telling<'_> {
    pub(super) fn tell(&mut self, tell: &Tell<'_>) -> Result<(), Failure> {
        if self.json { self.machine(tell) } else { self.person(tell) }
    }

    /// Shows what was asked for at the end.
    pub(super) fn state(&mut self, state: &impl Serialize) -> Result<(), Failure> {
        let text = if self.json { serde_json::to_string(state) } else { serde_json::to_string_pretty(state) };
        let text = text.map_err(|e| Failure::Failed(format!("cannot print the machine: {e}")))?;
        Ok(writeln!(self.out, "{text}")?)
    }

    fn person(&mut self, tell: &Tell<'_>) -> Result<(), Failure> {
        let out = &mut *self.out;
        match tell {
            Tell::Change(change) => writeln!(out, "{change}\n")?,
            Tell::State { file, whence, differences } => {
                writeln!(out, "{}:1: the state is not {whence} (- recorded, + expected)", file.display())?;
                diff::write(out, differences)?;
            }
            Tell::Effects { place, step, now, event, differences } => {
                let at = utc(now.unix_ms);
                writeln!(out, "{place}: step {step} at {at}: the effects differ (- recorded, + replayed)")?;
                writeln!(out, "  event: {}", shown(event))?;
                diff::write(out, differences)?;
            }
            Tell::Panic { place, step, event, was_cut } => {
                let also = if *was_cut { ", and the recording ends here too" } else { "" };
                writeln!(out, "{place}: step {step}: the machine panics on this event{also}:")?;
                writeln!(out, "  event: {}", shown(event))?;
            }
            Tell::Cut { file, cut } => writeln!(out, "{}: {cut}", file.display())?,
            Tell::Bad { error } => writeln!(out, "{error}")?,
            Tell::Result { steps, segments, differences } => {
                let verdict = match differences {
                    0 => "every effect as recorded".to_owned(),
                    1 => "1 difference".to_owned(),
                    n => format!("{n} differences"),
                };
                writeln!(out, "{steps} steps of {segments} segments replayed: {verdict}")?;
            }
        }
        Ok(())
    }

    fn machine(&mut self, tell: &Tell<'_>) -> Result<(), Failure> {
        let line = match tell {
            Tell::Change(change) => json!({ "change": change }),
            Tell::State { file, whence, differences } => {
                json!({ "state": { "file": file, "expected": whence, "differences": differences } })
            }
            Tell::Effects { place, step, now, event, differences } => json!({ "difference": {
                "file": place.file, "line": place.line, "step": step, "at": utc(now.unix_ms),
                "mono_ms": now.mono, "event": shown(event), "differences": differences,
            } }),
            Tell::Panic { place, step, event, .. } => {
                json!({ "panic": { "file": place.file, "line": place.line, "step": step, "event": shown(event) } })
            }
            Tell::Cut { file, cut } => json!({ "cut": { "file": file, "how": cut } }),
            Tell::Bad { error } => json!({ "bad_input": error }),
            Tell::Result { steps, segments, differences } => {
                json!({ "result": { "steps": steps, "segments": segments, "differences": differences } })
            }
        };
        Ok(writeln!(self.out, "{line}")?)
    }
}

fn shown(event: &str) -> String {
    let shown: String = event.chars().take(EVENT_CHARS).collect();
    if shown.len() < event.len() { shown + " …" } else { shown }
}
