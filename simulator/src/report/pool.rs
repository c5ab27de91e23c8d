//! What a report knows of one pool.

use poolkeeper_core::github::message::{JobMessage, JobMessageKind};
use poolkeeper_core::notice::{Decision, Verdict};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::view::{PoolView, SessionView};
use serde::Serialize;

use super::cause::job_words;
use super::columns::{Deltas, Dictionary, Line};
use super::summary::{Counted, Spread};

/// The most jobs that are named with one change of capacity.
const JOBS_NAMED: usize = 5;

/// What a marker stands for; its number is its place in [`MarkerClass::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MarkerClass {
    /// Capacity is raised.
    Raise,
    /// Capacity is lowered.
    Lower,
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Anomaly,
    /// Something worth knowing.
    Info,
}

impl MarkerClass {
    pub(super) const ALL: [Self; 5] = [Self::Raise, Self::Lower, Self::Error, Self::Anomaly, Self::Info];

    fn number(self) -> u64 {
        let place = Self::ALL.iter().position(|class| *class == self).unwrap_or(0);
        u64::try_from(place).unwrap_or(0)
    }
}

/// One marker, its texts as places in the dictionary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marker {
    pub(super) at: u64,
    pub(super) class: MarkerClass,
    pub(super) step: u64,
    /// The name of the fact.
    pub(super) kind: u64,
    /// What happened: a text, or for a change of capacity a decision.
    pub(super) what: u64,
    pub(super) cause: u64,
    pub(super) number: u64,
}

/// Markers in columns.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Markers {
    t: Deltas,
    class: Vec<u64>,
    step: Deltas,
    kind: Vec<u64>,
    what: Vec<u64>,
    cause: Vec<u64>,
    number: Deltas,
    /// Jobs named with a marker: the marker's place, what the message said, the job's name, and a number behind it.
    jobs: Jobs,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Jobs {
    marker: Deltas,
    said: Vec<u64>,
    name: Vec<u64>,
    number: Deltas,
}

impl Markers {
    pub(super) fn push(&mut self, marker: Marker) {
        self.t.push(marker.at);
        self.class.push(marker.class.number());
        self.step.push(marker.step);
        self.kind.push(marker.kind);
        self.what.push(marker.what);
        self.cause.push(marker.cause);
        self.number.push(marker.number);
    }

    /// Names the jobs behind the marker that was pushed last.
    pub(super) fn name_jobs(&mut self, jobs: &[JobMessage], dictionary: &mut Dictionary) {
        let Some(marker) = self.class.len().checked_sub(1) else { return };
        for message in jobs.iter().take(JOBS_NAMED) {
            let full = format!("{} · {}", message.job.repository, message.job.display_name);
            let (name, number) = split_number(&full);
            self.jobs.marker.push(u64::try_from(marker).unwrap_or(u64::MAX));
            self.jobs.said.push(dictionary.place(&job_words(message)));
            self.jobs.name.push(dictionary.place(name));
            // One more than the number, so that 0 says that there is none.
            self.jobs.number.push(number.map_or(0, |number| number + 1));
        }
    }

    pub(super) fn count(&self, class: MarkerClass) -> usize {
        self.class.iter().filter(|of| **of == class.number()).count()
    }
}

/// A name that counts up is kept as its words and its number.
fn split_number(text: &str) -> (&str, Option<u64>) {
    let words = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_prefix(words).unwrap_or_default();
    match digits.parse::<u64>() {
        Ok(number) if !digits.starts_with('0') && digits.len() < 12 => (words, Some(number)),
        Ok(_) | Err(_) => (text, None),
    }
}

/// Stretches of time in which something was so.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Bands {
    from: Deltas,
    len: Vec<u64>,
    what: Vec<u64>,
    #[serde(skip)]
    open: Option<(u64, u64)>,
}

impl Bands {
    /// From `at` on it is `what`, or nothing.
    pub(super) fn set(&mut self, at: u64, what: Option<u64>) {
        if self.open.map(|(_, what)| what) == what {
            return;
        }
        if let Some((from, before)) = self.open.take().filter(|(from, _)| at > *from) {
            self.add(from, at, before);
        }
        self.open = what.map(|what| (at, what));
    }

    /// It is so still, whatever it is.
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// From `from` until `to` it was `what`.
    pub(super) fn add(&mut self, from: u64, to: u64, what: u64) {
        self.from.push(from);
        self.len.push(to.saturating_sub(from));
        self.what.push(what);
    }
}

/// One pool's part of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Pool {
    name: ShortText,
    scope: String,
    set: String,
    verdict: u64,
    min: u32,
    max: u32,
    pub(super) assigned: Line,
    pub(super) running: Line,
    pub(super) desired: Line,
    pub(super) in_service: Line,
    /// What the session was: a place in the dictionary.
    session: Bands,
    /// While something failed: what.
    failing: Bands,
    pub(super) markers: Markers,
    pub(super) counted: Counted,
    pub(super) waits: Option<Spread>,
    #[serde(skip)]
    pub(super) waits_ms: Vec<u64>,
    /// Since when more capacity is wanted than was asked for.
    #[serde(skip)]
    pub(super) wanting_since: Option<u64>,
    #[serde(skip)]
    pub(super) below_target: bool,
    /// Since when more is desired than wanted, and the same before the last look.
    #[serde(skip)]
    surplus_since: Option<u64>,
    #[serde(skip)]
    pub(super) surplus_before: Option<u64>,
}

impl Pool {
    /// The pool looks like this from `at` on.
    pub(super) fn look(&mut self, at: u64, view: &PoolView, dictionary: &mut Dictionary) {
        if self.name != view.group {
            self.name.clone_from(&view.group);
        }
        if !view.scale_set.is_empty() && self.set != view.scale_set {
            self.scope.clone_from(&view.scope);
            self.set.clone_from(&view.scale_set);
        }
        self.verdict = dictionary.place(verdict_words(&view.verdict));
        (self.min, self.max) = (view.size_min.max(view.group_min), view.size_max.min(view.group_max));
        let statistics = view.statistics.unwrap_or_default();
        self.assigned.set(at, statistics.assigned.into());
        self.running.set(at, statistics.running.into());
        self.desired.set(at, view.desired.into());
        self.in_service.set(at, view.in_service.into());
        self.surplus_before = self.surplus_since;
        self.surplus_since = (view.desired > view.target).then(|| self.surplus_since.unwrap_or(at));
        self.session.set(at, Some(dictionary.place(view.session.as_str())));
        let failing = view.error.as_deref().map(|error| dictionary.place(error));
        if failing.is_none() || !self.failing.is_open() {
            self.failing.set(at, failing);
        }
        let follows = matches!(view.verdict, Verdict::Driven | Verdict::ScaleOutOnly { .. }) && !view.paused;
        self.below_target = follows && view.session == SessionView::Open && view.target > view.desired;
    }

    /// Nothing is known of it from `at` on.
    pub(super) fn lose_sight(&mut self, at: u64) {
        for line in [&mut self.assigned, &mut self.running, &mut self.desired, &mut self.in_service] {
            line.set(at, 0);
        }
        self.close(at);
        self.wanting_since = None;
        self.below_target = false;
    }

    /// The recording ends, for good or for a while.
    pub(super) fn close(&mut self, at: u64) {
        self.session.set(at, None);
        self.failing.set(at, None);
    }

    /// Counts what a message says of jobs.
    pub(super) fn count_jobs(&mut self, jobs: &[JobMessage]) {
        for message in jobs {
            match message.kind {
                JobMessageKind::Available | JobMessageKind::Assigned => {}
                JobMessageKind::Started => {
                    self.counted.started += 1;
                    let (assigned, started) = (message.job.scale_set_assigned_ms, message.job.runner_assigned_ms);
                    self.waits_ms.extend(started.zip(assigned).map(|(end, start)| end.saturating_sub(start)));
                }
                JobMessageKind::Completed => self.counted.complete(&message.result),
            }
        }
    }

    pub(super) fn points(&self) -> usize {
        [&self.assigned, &self.running, &self.desired, &self.in_service].map(Line::len).iter().sum()
    }

    pub(super) fn thin(&mut self, most_a_line: usize) {
        for line in [&mut self.assigned, &mut self.running, &mut self.desired, &mut self.in_service] {
            line.thin(most_a_line);
        }
    }
}

const fn verdict_words(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Refused { .. } => "refused",
        Verdict::ScaleOutOnly { .. } => "scale-out only",
        Verdict::Driven => "driven",
        Verdict::Draining { .. } => "draining",
    }
}

/// A decision's numbers, in the order in which the page reads them.
pub(super) const fn numbers(decision: &Decision) -> [u32; 10] {
    let Decision { from, to, assigned, idle, lo, hi, target, unusable, in_service, pending } = *decision;
    [from, to, assigned, idle, lo, hi, target, unusable, in_service, pending]
}
