//! Reading a journal for one story.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use poolkeeper_core::Machine;
use poolkeeper_core::event::Effect;
use poolkeeper_core::recording::{Replay, Step, Text, VERSION};
use poolkeeper_core::time::Now;

use super::instance::InstanceTeller;
use super::job::JobTeller;
use super::log::Log;
use super::pool::PoolTeller;
use super::words::{count, utc};
use super::{Before, Story, Subject, Taken, Teller};
use crate::journal::{ReadError, Segment, Until};

/// What a journal tells of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The story; where nothing is known of the subject, what was looked for, where, and what there is instead.
    pub story: Result<Story, String>,
    /// The first place that is not as a daemon wrote it.
    pub bad: Option<ReadError>,
    /// How many steps were read.
    pub steps: u64,
}

/// Tells the story of a subject from journal files, in the order in which they were written, up to a place.
#[must_use]
pub fn tell(files: &[PathBuf], subject: &Subject, until: Option<Until>) -> Told {
    let teller: Box<dyn Teller> = match subject {
        Subject::Instance(id) => Box::new(InstanceTeller::new(id)),
        Subject::Job(id) => Box::new(JobTeller::new(id)),
        Subject::Pool(name) => Box::new(PoolTeller::new(name)),
    };
    let mut run = Run { until, teller, log: Log::default(), steps: 0, span: None, stopped: false, machine: None };
    let mut bad = None;
    for file in files {
        if let Err(error) = run.file(file) {
            bad.get_or_insert(error);
        }
        if run.stopped {
            break;
        }
    }
    let steps = run.steps;
    Told { story: run.finish(files, subject), bad, steps }
}

struct Run {
    until: Option<Until>,
    teller: Box<dyn Teller>,
    log: Log,
    /// Steps of all files.
    steps: u64,
    /// The first moment and the last.
    span: Option<(Now, Now)>,
    /// Whether the end that was asked for was reached.
    stopped: bool,
    /// The machine as the newest file left it.
    machine: Option<Machine>,
}

impl Run {
    /// Goes through one segment, from the state in its header.
    fn file(&mut self, file: &Path) -> Result<(), ReadError> {
        let mut segment: Segment<Machine, Text> = Segment::open(file)?;
        let same_version = segment.header.version == VERSION;
        let mut replay = Replay::new(segment.header.state.clone());
        while let Some(step) = segment.next() {
            let step = step?;
            if self.until.is_some_and(|until| until.is_reached(self.steps + 1, &step)) {
                self.stopped = true;
                break;
            }
            let place = ReadError { file: file.to_owned(), line: segment.line(), problem: String::new() };
            self.step(&mut replay, step, same_version, place)?;
        }
        self.machine = Some(replay.into_machine());
        if self.stopped {
            return Ok(());
        }
        segment.end().map(|_| ())
    }

    fn step(
        &mut self,
        replay: &mut Replay,
        step: Step<Text>,
        same_version: bool,
        place: ReadError,
    ) -> Result<(), ReadError> {
        let now = step.now;
        self.steps += 1;
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.teller.hear(now, &step.event, &mut self.log);
        let before = Before::look(replay.machine(), &step);
        let Step { event, effects: recorded, .. } = step;
        let bad = |problem: String| ReadError { problem, ..place.clone() };
        if catch_unwind(AssertUnwindSafe(|| replay.take(now, event).len())).is_err() {
            return Err(bad(
                "the machine panics on this event: it was edited, or shows a bug that wants a report".into()
            ));
        }
        let recorded = recorded.map(|text| other_effects(replay.effects(), &text)).transpose();
        let other = recorded.map_err(|error| bad(format!("the effects do not parse: {error}")))?.flatten();
        if other.is_some() && same_version {
            let problem = "the effects are not what the machine makes of this event: it was edited, or shows a bug; \
                           `poolkeeper-sim replay` shows the difference";
            return Err(bad(problem.to_owned()));
        }
        let effects = other.as_deref().unwrap_or(replay.effects());
        let machine = replay.machine();
        let where_it_is = format!("{}:{}", place.file.display(), place.line);
        let changes = before.map(|before| before.explain(machine, effects, self.steps, &where_it_is));
        let changes = changes.unwrap_or_default();
        self.teller.see(&Taken { now, effects, changes: &changes, machine }, &mut self.log);
        Ok(())
    }

    fn finish(self, files: &[PathBuf], subject: &Subject) -> Result<Story, String> {
        let place = match files {
            [] => "no file".to_owned(),
            [one] => one.display().to_string(),
            [first, ..] => {
                let dir = first.parent().unwrap_or(first);
                format!("{} ({})", dir.display(), count(size(files.len()), "file"))
            }
        };
        let steps = count(self.steps, "step");
        let source = match self.span {
            Some((first, last)) => format!("{place}: {steps} from {} to {}", utc(first.unix_ms), utc(last.unix_ms)),
            None => format!("{place}: no step"),
        };
        match self.teller.title() {
            Ok(title) => {
                let end = self.span.map(|(_, last)| last).unwrap_or_default();
                let closing = self.teller.closing(end, self.machine.as_ref());
                Ok(Story { title, source: format!("from {source}"), log: self.log, closing })
            }
            Err(names) => {
                let name = match subject {
                    Subject::Instance(name) | Subject::Job(name) | Subject::Pool(name) => name,
                };
                Err(format!("nothing is known of {subject} in {source}{}", names.nearest(name)))
            }
        }
    }
}

/// The recorded effects, where they are not those that the machine wants now.
fn other_effects(effects: &[Effect], recorded: &Text) -> Result<Option<Vec<Effect>>, serde_json::Error> {
    if serde_json::to_string(effects).is_ok_and(|text| text == recorded.get()) {
        return Ok(None);
    }
    let recorded: Vec<Effect> = serde_json::from_str(recorded.get())?;
    Ok((recorded != effects).then_some(recorded))
}

fn size(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
