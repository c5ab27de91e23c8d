//! From journal files to a report's data.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use poolkeeper_core::Machine;
use poolkeeper_core::recording::{Header, Step, Text, VERSION};
use poolkeeper_core::time::{Instant, Now};
use poolkeeper_shell::journal::{ReadError, Segment};

use super::model::{Collector, Told};

/// A wall clock that is off by more than this has jumped.
const JUMP_MS: u64 = 5_000;
/// The most oddities of a recording that are told.
const MAX_NOTES: usize = 20;

/// Whether reading is to stop before a step: its number, and the step.
pub type Reached<'a> = dyn Fn(u64, &Step<Text>) -> bool + 'a;

/// What came of reading.
#[derive(Debug)]
pub struct Reading {
    /// All that could be read.
    pub report: Collector,
    /// The first thing that could not be read.
    pub unreadable: Option<ReadError>,
    /// Steps that were taken in.
    pub steps: u64,
}

/// Reads journal files, in the order in which they were written, until `reached` says that it is enough.
///
/// `reached` is asked before each step, with the step's number, counted from 1 over all files.
pub fn read(files: &[PathBuf], reached: &Reached<'_>) -> Reading {
    let mut reader =
        Reader { report: Collector::default(), unreadable: None, steps: 0, life: None, last_at: 0, notes: 0 };
    for file in files {
        if reader.file(file, reached) {
            break;
        }
    }
    Reading { report: reader.report, unreadable: reader.unreadable, steps: reader.steps }
}

/// One life of the daemon, and how its clock relates to the recording's beginning.
#[derive(Clone, Copy, Debug)]
struct Life {
    seed: u64,
    segment: u32,
    /// The monotonic clock when `at` had gone by.
    mono: Instant,
    at: u64,
    /// What the wall clock says beyond the time that went by, in milliseconds since 1970.
    unix_ms: u64,
}

struct Reader {
    report: Collector,
    unreadable: Option<ReadError>,
    steps: u64,
    life: Option<Life>,
    last_at: u64,
    notes: usize,
}

impl Reader {
    /// Reads one file; whether it is enough.
    fn file(&mut self, file: &Path, reached: &Reached<'_>) -> bool {
        let mut segment: Segment<Machine, Text> = match Segment::open(file) {
            Ok(segment) => segment,
            Err(error) => {
                self.unreadable.get_or_insert(error);
                return false;
            }
        };
        let header = segment.header.clone();
        self.begin_segment(&header);
        let same_version = header.version == VERSION;
        let mut machine = header.state;
        let mut is_first = true;
        while let Some(step) = segment.next() {
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    self.unreadable.get_or_insert(error);
                    return false;
                }
            };
            if reached(self.steps + 1, &step) {
                return true;
            }
            let at = self.clock(step.now, header.seed, header.segment);
            if is_first {
                self.report.look_at_all(at, &machine);
                is_first = false;
            }
            self.steps += 1;
            let place = ReadError { file: file.to_owned(), line: segment.line(), problem: String::new() };
            if !self.step(at, &mut machine, step, same_version, place) {
                return false;
            }
        }
        if let Some(cut) = segment.cut() {
            let cut = ReadError { file: file.to_owned(), line: segment.line(), problem: cut.to_owned() };
            if segment.is_torn() {
                self.unreadable.get_or_insert(cut);
            } else {
                self.note(format!("{cut}: the daemon runs still, or ended without a word"));
            }
        }
        false
    }

    fn begin_segment(&mut self, header: &Header) {
        let about = &mut self.report.about;
        about.segments += 1;
        about.versions.insert(header.version.clone());
        let (stack, owner) = (&header.config.stack, &header.config.owner);
        about.stack.clone_from(stack);
        about.owner.clone_from(owner);
        if header.version != VERSION {
            let theirs = &header.version;
            self.note(format!("version {theirs} wrote this and version {VERSION} read it: lines may differ a little"));
        }
    }

    /// When a step was, in milliseconds since the recording began. A later life begins where its wall clock says.
    fn clock(&mut self, now: Now, seed: u64, segment: u32) -> u64 {
        let follows = self.life.filter(|life| life.seed == seed && segment >= life.segment && now.mono >= life.mono);
        let life = match follows {
            Some(life) => life,
            None => {
                let first = self.report.about.lives == 0;
                if first {
                    self.report.about.from_ms = now.unix_ms;
                }
                let at = now.unix_ms.saturating_sub(self.report.about.from_ms).max(self.last_at);
                self.report.begin_life(self.last_at, at, "the daemon was not running, or not recorded");
                Life { seed, segment, mono: now.mono, at, unix_ms: now.unix_ms }
            }
        };
        let gone = now.mono.since(life.mono).as_millis();
        let at = life.at + gone;
        let expected = life.unix_ms + gone;
        if now.unix_ms.abs_diff(expected) > JUMP_MS {
            let by = i128::from(now.unix_ms) - i128::from(expected);
            self.report.clock_jumped(at, i64::try_from(by).unwrap_or(i64::MAX));
        }
        self.life = Some(Life { segment, mono: now.mono, at, unix_ms: now.unix_ms, ..life });
        self.last_at = at;
        at
    }

    /// Takes one step in; whether the segment can go on.
    fn step(&mut self, at: u64, machine: &mut Machine, step: Step<Text>, same_version: bool, place: ReadError) -> bool {
        let Step { now, event, effects: recorded } = step;
        let timer = machine.poll_timeout().filter(|(due, _)| *due <= now.mono).map(|(_, kind)| kind);
        let told = event.clone();
        let mut replayed = Vec::new();
        let handled = catch_unwind(AssertUnwindSafe(|| machine.handle(now, event, &mut replayed)));
        if handled.is_err() {
            self.report.broke(at, &told, timer);
            return false;
        }
        // What was recorded is what happened, whatever this machine would do.
        let mut effects = replayed;
        if let Some(recorded) = recorded
            && serde_json::to_string(&effects).is_ok_and(|text| text != recorded.get())
        {
            effects = match serde_json::from_str(recorded.get()) {
                Ok(effects) => effects,
                Err(error) => {
                    let problem = format!("effects do not parse: {error}");
                    self.unreadable.get_or_insert(ReadError { problem, ..place });
                    return false;
                }
            };
            if same_version {
                let (file, line) = (place.file.display(), place.line);
                self.note(format!("{file}:{line}: this machine acts otherwise than the recorded one: see replay"));
            }
        }
        self.report.step(&Told { at, event: &told, timer, effects: &effects }, machine);
        true
    }

    fn note(&mut self, note: String) {
        if self.notes < MAX_NOTES {
            self.notes += 1;
            self.report.note(note);
        }
    }
}
