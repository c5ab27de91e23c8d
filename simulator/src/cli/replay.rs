//! Replays: the same events through the same machine, effects compared one by one.

use std::fmt::Display;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::Args;
use poolkeeper_core::Machine;
use poolkeeper_core::event::Effect;
use poolkeeper_core::recording::{self, Header, Step, Text, Unlike, VERSION};
use poolkeeper_core::time::Now;
use poolkeeper_shell::journal::{self, Segment, Until, expand, until};
use poolkeeper_shell::story::Before;

use self::reading::{Read, Reading};
use self::scope::Scope;
use self::tell::{Tell, Telling};
use super::{DONE, FAILED, Failure, diff};

mod reading;
mod scope;
mod tell;
#[cfg(test)]
mod tests;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Journal files, or directories of them, in the order in which they were written
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Stop before this step, counted from 1 over all files, or before this time (RFC 3339), and print the machine
    #[arg(long, value_name = "STEP|TIME", value_parser = until)]
    until: Option<Until>,
    /// Compare and explain only from this step or time on
    #[arg(long, value_name = "STEP|TIME", value_parser = until)]
    from: Option<Until>,
    /// Compare, explain and print only what concerns this pool: its number, group, ARN or scale set
    #[arg(long, value_name = "NAME|ID")]
    pool: Option<String>,
    /// Tell of each change of capacity: what caused it, the numbers, and the rule
    #[arg(long)]
    explain: bool,
    /// Replay what another version wrote, without comparing notices
    #[arg(long)]
    other_version: bool,
    /// Print a line of JSON for each thing that is told
    #[arg(long)]
    json: bool,
}

/// Replays the files and says whether all was as recorded.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Failure> {
    let files = expand(&options.files).map_err(Failure::Usage)?;
    let mut run = Run {
        telling: Telling { out, json: options.json },
        options,
        scope: options.pool.as_deref().map(Scope::new),
        steps: 0,
        differences: 0,
        bad: None,
        before: None,
        stopped: false,
    };
    for file in &files {
        run.file(file)?;
        if run.stopped {
            break;
        }
    }
    run.finish(files.len())
}

/// Where a life of a daemon stood when its last segment ended.
struct End {
    file: PathBuf,
    segment: u32,
    seed: u64,
    machine: Machine,
}

struct Run<'a> {
    telling: Telling<'a>,
    options: &'a Options,
    scope: Option<Scope>,
    /// Steps of all files.
    steps: u64,
    differences: u64,
    /// The first file that is no recording, or not wholly one, with its line and why.
    bad: Option<String>,
    before: Option<End>,
    /// Whether the end that was asked for was reached.
    stopped: bool,
}

/// Whether a segment can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

impl Run<'_> {
    /// Replays one segment by itself, from the state in its header to its end or its first difference.
    fn file(&mut self, file: &Path) -> Result<(), Failure> {
        let segment: Segment<Machine, Text> = match Segment::open(file) {
            Ok(segment) => segment,
            Err(error) => return self.bad(&error),
        };
        let header = segment.header.clone();
        if !self.takes_version(file, &header)? {
            return Ok(());
        }
        self.check_start(file, &header)?;
        let Header { version, segment: number, seed, state, .. } = header;
        let mut replay = recording::Replay::new(state);
        if version != VERSION {
            replay = replay.without_notices();
        }
        self.look(replay.machine());
        for read in Reading::begin(segment)? {
            match read {
                Read::Step(line, step) => {
                    if self.is_reached(&step) {
                        self.stopped = true;
                        break;
                    }
                    self.steps += 1;
                    if self.step(&Place { file, line }, &mut replay, *step)? == Go::Stop {
                        self.look(replay.machine());
                        return Ok(());
                    }
                }
                Read::Bad(error) => {
                    self.bad(&error)?;
                    break;
                }
                Read::End(Some(cut)) => self.telling.tell(&Tell::Cut { file, cut })?,
                Read::End(None) => {}
            }
        }
        self.look(replay.machine());
        let machine = replay.into_machine();
        self.before = Some(End { file: file.to_owned(), segment: number, seed, machine });
        Ok(())
    }

    /// Whether a recording of that version is replayed.
    fn takes_version(&mut self, file: &Path, header: &Header) -> Result<bool, Failure> {
        let (theirs, file) = (&header.version, file.display());
        if *theirs == VERSION {
            return Ok(true);
        }
        if !self.options.other_version {
            let mend = "replay it with that version, judge it with `traffic`, or add --other-version";
            self.bad(&format!("{file}:1: was written by version {theirs}, and this is {VERSION}: {mend}"))?;
        }
        Ok(self.options.other_version || self.options.until.is_some())
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
        let differences = diff::between("state", &header.state, &expected);
        self.telling.tell(&Tell::State { file, whence: &whence, differences })
    }

    /// Replays one step; whether the segment can go on.
    fn step(&mut self, place: &Place<'_>, replay: &mut recording::Replay, step: Step<Text>) -> Result<Go, Failure> {
        let is_compared = self.options.from.is_none_or(|from| from.is_reached(self.steps, &step));
        let explains = self.options.explain && is_compared;
        let before = if explains { Before::look(replay.machine(), &step) } else { None };
        let (now, was_cut) = (step.now, step.effects.is_none());
        let handled = catch_unwind(AssertUnwindSafe(|| {
            if is_compared {
                return replay.step_text(step).map(|_| ());
            }
            replay.take(step.now, step.event);
            Ok(())
        }));
        let told = match handled {
            Ok(Ok(())) => Go::On,
            Ok(Err(Unlike::NoEffects(error))) => {
                self.bad(&format!("{place}: the effects do not parse: {error}"))?;
                Go::Stop
            }
            Ok(Err(Unlike::Differs(difference))) => self.differs(place, replay.machine(), now, &difference)?,
            Err(_) => {
                self.differences += 1;
                self.telling.tell(&Tell::Panic { place, step: self.steps, event: place.event(), was_cut })?;
                return Ok(Go::Stop);
            }
        };
        if let Some(before) = before {
            for change in before.explain(replay.machine(), replay.effects(), self.steps, &place.to_string()) {
                if self.scope.as_ref().is_none_or(|scope| scope.holds(replay.machine(), change.pool())) {
                    self.telling.tell(&Tell::Change(Box::new(change)))?;
                }
            }
        }
        Ok(told)
    }

    /// Tells of effects that differ, unless they are of no concern.
    fn differs(
        &mut self,
        place: &Place<'_>,
        machine: &Machine,
        now: Now,
        difference: &recording::Difference,
    ) -> Result<Go, Failure> {
        let recording::Difference { recorded, replayed, .. } = difference;
        let all = |effects| Vec::from_iter::<&'_ [Effect]>(effects);
        let (recorded, replayed) = match &self.scope {
            Some(scope) => (scope.concerned(machine, recorded), scope.concerned(machine, replayed)),
            None => (all(recorded), all(replayed)),
        };
        if recorded == replayed {
            return Ok(Go::On);
        }
        self.differences += 1;
        let differences = diff::between("effects", &recorded, &replayed);
        self.telling.tell(&Tell::Effects { place, step: self.steps, now, event: place.event(), differences })?;
        Ok(Go::Stop)
    }

    fn is_reached(&self, step: &Step<Text>) -> bool {
        self.options.until.is_some_and(|until| until.is_reached(self.steps + 1, step))
    }

    fn look(&mut self, machine: &Machine) {
        if let Some(scope) = &mut self.scope {
            scope.look(machine);
        }
    }

    fn bad(&mut self, error: &dyn Display) -> Result<(), Failure> {
        let error = error.to_string();
        if self.bad.is_some() {
            return self.telling.tell(&Tell::Bad { error: &error });
        }
        self.bad = Some(error);
        Ok(())
    }

    fn finish(mut self, segments: usize) -> Result<u8, Failure> {
        let Options { until, .. } = self.options;
        if until.is_some()
            && let Some(End { machine, .. }) = &self.before
        {
            match &self.scope {
                Some(scope) => self.telling.state(&scope.pools(machine))?,
                None => self.telling.state(machine)?,
            }
        } else {
            let (steps, differences) = (self.steps, self.differences);
            self.telling.tell(&Tell::Result { steps, segments, differences })?;
        }
        if let Some(error) = self.bad.or_else(|| self.scope.and_then(|scope| scope.complaint())) {
            return Err(Failure::Usage(error));
        }
        Ok(if self.differences == 0 { DONE } else { FAILED })
    }
}

/// A line of a file.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    file: &'a Path,
    line: u64,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Place<'_> {
    /// The line's event as text, read again: the machine consumed the one that was read first.
    fn event(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Half<'a> {
            #[serde(borrow)]
            event: Option<&'a serde_json::value::RawValue>,
        }
        let nth = usize::try_from(self.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let line = journal::read(self.file).ok().and_then(|mut lines| lines.nth(nth)?.ok());
        let text = line.map(|line| line.text).unwrap_or_default();
        let half: Option<Half<'_>> = serde_json::from_str(&text).ok();
        half.and_then(|half| half.event).map_or_else(|| text.clone(), |event| event.get().to_owned())
    }
}
