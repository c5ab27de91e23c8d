//! Which event made the machine change a pool's capacity, and what was new in it.

use std::fmt;

use poolkeeper_core::aws::{AwsError, AwsReply};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::explain::Grounds;
use poolkeeper_core::github::message::{JobMessage, JobMessageKind, Statistics};
use poolkeeper_core::machine::TimerKind;
use poolkeeper_core::notice::{Notice, PoolFact, PoolId};
use poolkeeper_core::scaler::Counts;
use serde::Serialize;

use super::notices;

/// The event behind a change of capacity.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Cause {
    /// The pool's session brought a message.
    Message { message: u64, jobs: Jobs, statistics: Option<Statistics>, before: Option<Statistics>, distrusted: bool },
    /// The pool's session was opened.
    Session { session: String, statistics: Option<Statistics>, before: Option<Statistics> },
    /// The scale set was read again.
    Counts { statistics: Option<Statistics>, before: Option<Statistics> },
    /// Another call to GitHub ended.
    Call { id: u64, ended_well: bool },
    /// A describe showed groups.
    Describe { groups: usize, before: Group, now: Group },
    /// A write ended.
    Write { error: Option<String> },
    /// A describe failed.
    DescribeFailed { error: String },
    /// Time passed; the first timer that was due.
    Timer { timer: Option<TimerKind> },
    /// The operator changed the config.
    Config,
    /// The daemon started, is to stop, or a memory was written.
    Daemon { event: &'static str },
}

/// How many job messages of each kind a message brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Jobs {
    offered: usize,
    assigned: usize,
    started: usize,
    completed: usize,
}

/// What a describe tells of a group's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Group {
    min: u32,
    max: u32,
    desired: u32,
    #[serde(flatten)]
    counts: Counts,
}

impl Cause {
    /// Finds the cause of a change of this pool's capacity in the step that made it.
    pub(super) fn find(
        event: &Event,
        timer: Option<TimerKind>,
        effects: &[Effect],
        before: &Grounds,
        after: &Grounds,
    ) -> Self {
        match event {
            Event::GitHubReply { id, result } => {
                said(effects, before, after).unwrap_or(Self::Call { id: id.0, ended_well: result.is_ok() })
            }
            Event::AwsReply { result: Ok(AwsReply::Groups { groups, .. }), .. } => {
                let (was, is) = (Group::of(before), Group::of(after));
                // What we took desired to be before this write is what the describe left it at.
                let desired = decided_from(effects, after.pool).unwrap_or(is.desired);
                Self::Describe { groups: groups.len(), before: was, now: Group { desired, ..is } }
            }
            Event::AwsReply { result: Ok(AwsReply::Done | AwsReply::WarmMembers { .. }), .. } => {
                Self::Write { error: None }
            }
            Event::AwsReply { result: Err(error), .. } if describe_failed(effects) => {
                Self::DescribeFailed { error: words(error) }
            }
            Event::AwsReply { result: Err(error), .. } => Self::Write { error: Some(words(error)) },
            Event::Tick => Self::Timer { timer },
            Event::Reconfigure(_) => Self::Config,
            Event::Start { .. } => Self::Daemon { event: "the daemon started" },
            Event::Remembered { .. } => Self::Daemon { event: "a memory was written" },
            Event::Stop => Self::Daemon { event: "the daemon was told to stop" },
        }
    }
}

/// What GitHub said to the pool in this step.
fn said(effects: &[Effect], was: &Grounds, is: &Grounds) -> Option<Cause> {
    let (statistics, before) = (is.statistics, was.statistics);
    let distrusted = facts(effects, is.pool).any(|fact| *fact == PoolFact::StatisticsDistrusted);
    let told = facts(effects, is.pool).find_map(|fact| match fact {
        PoolFact::Message { message, jobs, .. } => {
            Some(Cause::Message { message: *message, jobs: Jobs::count(jobs), statistics, before, distrusted })
        }
        PoolFact::SessionOpened { session } => Some(Cause::Session { session: session.clone(), statistics, before }),
        PoolFact::Verdict(_)
        | PoolFact::Gone
        | PoolFact::RetagWaits
        | PoolFact::ScaleSetReady { .. }
        | PoolFact::LabelsDiffer { .. }
        | PoolFact::ScaleSetUpdated
        | PoolFact::ScaleSetMissing { .. }
        | PoolFact::ScaleSetDeleted
        | PoolFact::Standby { .. }
        | PoolFact::SessionLost(_)
        | PoolFact::SessionClosed
        | PoolFact::Redelivered { .. }
        | PoolFact::EmptyReply
        | PoolFact::StatisticsDistrusted
        | PoolFact::Acquired { .. }
        | PoolFact::Scaling(_)
        | PoolFact::ScalingFailed { .. }
        | PoolFact::DesiredChanged { .. }
        | PoolFact::WarmPoolDenied { .. }
        | PoolFact::CallFailed { .. }
        | PoolFact::Runner(_) => None,
    });
    told.or_else(|| (statistics != before).then_some(Cause::Counts { statistics, before }))
}

fn facts(effects: &[Effect], id: PoolId) -> impl Iterator<Item = &PoolFact> {
    notices(effects).filter_map(move |notice| {
        let Notice::Pool { pool, fact, .. } = notice else { return None };
        (*pool == id).then_some(fact)
    })
}

fn decided_from(effects: &[Effect], id: PoolId) -> Option<u32> {
    facts(effects, id).find_map(|fact| if let PoolFact::Scaling(decision) = fact { Some(decision.from) } else { None })
}

fn describe_failed(effects: &[Effect]) -> bool {
    use poolkeeper_core::notice::AwsFact;
    effects.iter().any(|effect| matches!(effect, Effect::Note(Notice::Aws(AwsFact::DescribeFailed { .. }))))
}

fn words(error: &AwsError) -> String {
    match error {
        AwsError::Throttled => "throttled".to_owned(),
        AwsError::Denied { message } => format!("denied: {message}"),
        AwsError::Contention => "another change is under way".to_owned(),
        AwsError::Validation { message } => format!("invalid: {message}"),
        AwsError::Misbehaved { message } => format!("an error of AWS: {message}"),
        AwsError::Transport { message } => format!("no answer: {message}"),
    }
}

impl Jobs {
    fn count(jobs: &[JobMessage]) -> Self {
        let count = |kind| jobs.iter().filter(|job| job.kind == kind).count();
        Self {
            offered: count(JobMessageKind::Available),
            assigned: count(JobMessageKind::Assigned),
            started: count(JobMessageKind::Started),
            completed: count(JobMessageKind::Completed),
        }
    }
}

impl Group {
    const fn of(grounds: &Grounds) -> Self {
        let Grounds { group_min: min, group_max: max, desired, counts, .. } = *grounds;
        Self { min, max, desired, counts }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { message, jobs, statistics, before, distrusted } => {
                write!(f, "message {message}{jobs}")?;
                if *distrusted {
                    return write!(f, "; its counts were all zero beside an assigned job, and are not believed");
                }
                counts(f, *before, *statistics)
            }
            Self::Session { session, statistics, before } => {
                write!(f, "session {session} was opened")?;
                counts(f, *before, *statistics)
            }
            Self::Counts { statistics, before } => {
                write!(f, "the scale set was read again")?;
                counts(f, *before, *statistics)
            }
            Self::Call { id, ended_well } => {
                let how = if *ended_well { "was answered" } else { "got no answer" };
                write!(f, "call {id} to GitHub {how}, which is about no counts of this pool")
            }
            Self::Describe { groups, before, now } => {
                write!(f, "a describe of {groups} groups showed ")?;
                describe(f, before, now)
            }
            Self::Write { error: None } => write!(f, "AWS took a write, so the next may go out"),
            Self::Write { error: Some(error) } => write!(f, "a write failed ({error})"),
            Self::DescribeFailed { error } => write!(f, "a describe failed ({error})"),
            Self::Timer { timer } => f.write_str(timer_words(*timer)),
            Self::Config => write!(f, "the operator changed the config"),
            Self::Daemon { event } => f.write_str(event),
        }
    }
}

const fn timer_words(timer: Option<TimerKind>) -> &'static str {
    match timer {
        Some(TimerKind::Pool(_)) => "the pool's timer: a grace, a wait or a held count came to its end",
        Some(TimerKind::Aws) => "a timer: the rate of calls to AWS had room again, or a call was overdue",
        Some(TimerKind::Connection(_)) => "a timer of the connection to GitHub",
        Some(TimerKind::Listing | TimerKind::Motion) => "the timer of the next describe",
        Some(TimerKind::Stop) | None => "time passed",
    }
}

fn counts(f: &mut fmt::Formatter<'_>, before: Option<Statistics>, now: Option<Statistics>) -> fmt::Result {
    let Some(now) = now else { return write!(f, "; it told no counts") };
    write!(f, "; counts: {} assigned, {} running, {} offered", now.assigned, now.running, now.available)?;
    match before {
        Some(before) if before == now => write!(f, " (as before)"),
        Some(before) => {
            write!(
                f,
                " (before: {} assigned, {} running, {} offered)",
                before.assigned, before.running, before.available
            )
        }
        None => write!(f, " (the first)"),
    }
}

fn describe(f: &mut fmt::Formatter<'_>, before: &Group, now: &Group) -> fmt::Result {
    let numbers = |group: &Group| {
        let Group { min, max, desired, counts } = group;
        [
            ("MinSize", *min),
            ("MaxSize", *max),
            ("desired", *desired),
            ("in service", counts.in_service),
            ("unprotected", counts.unprotected),
            ("pending", counts.pending),
            ("unable to serve", counts.unusable),
            ("terminating", counts.terminating),
        ]
    };
    let changed: Vec<String> = numbers(before)
        .iter()
        .zip(numbers(now))
        .filter(|((_, was), (_, is))| was != is)
        .map(|((what, was), (_, is))| format!("{what} {was} -> {is}"))
        .collect();
    if changed.is_empty() {
        return write!(f, "the group as it was, and newer");
    }
    f.write_str(&changed.join(", "))
}

impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.offered, "offered"),
            (self.assigned, "assigned"),
            (self.started, "started"),
            (self.completed, "completed"),
        ];
        let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({} jobs)", parts.join(", ")) }
    }
}
