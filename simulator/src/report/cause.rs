//! What happened, in words for people: the cause of all that one step did.

use poolkeeper_core::aws::{AwsError, AwsReply};
use poolkeeper_core::event::Event;
use poolkeeper_core::github::message::{JobMessage, JobMessageKind};
use poolkeeper_core::github::reply::TransportErrorKind;
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::machine::TimerKind;

/// Words with at most one number in them, written `{n}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) words: String,
    pub(super) number: u64,
}

impl Cause {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), number: 0 }
    }

    /// The same for a change that waited for `waited_ms`, as capacity that is too much does.
    pub(super) fn after_surplus(&self, waited_ms: u64) -> Self {
        let last = self.words.replace("{n}", &self.number.to_string());
        Self::with(format!("more was desired than needed for {{n}} s; then {last}"), waited_ms / 1000)
    }

    fn with(words: impl Into<String>, number: u64) -> Self {
        Self { words: words.into(), number }
    }
}

/// The call that an event ends, when it ends one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) github: Option<CallKind>,
    pub(super) aws: Option<&'static str>,
}

/// Tells an event; `timer` is the one that was due first.
pub(super) fn tell(event: &Event, ended: Ended, timer: Option<TimerKind>) -> Cause {
    match event {
        Event::Start { remembered } if remembered.is_empty() => Cause::new("the daemon started, with no memory"),
        Event::Start { remembered } => {
            Cause::with("the daemon started, with {n} memories of its last life", size(remembered.len()))
        }
        Event::Tick => Cause::new(timer.map_or("a timer was due", timer_words)),
        Event::GitHubReply { result, .. } => {
            let call = ended.github.map_or("a call", CallKind::as_str);
            match result {
                Ok(reply) => Cause::with(format!("GitHub answered {call} with HTTP {{n}}"), reply.status.into()),
                Err(error) => {
                    Cause::new(format!("{call} to GitHub ended without a reply: {}", transport_words(error.kind)))
                }
            }
        }
        Event::AwsReply { result, .. } => aws_reply(ended.aws.unwrap_or("a call"), result),
        Event::Remembered { ok: true, .. } => Cause::new("a memory was written"),
        Event::Remembered { ok: false, .. } => Cause::new("a memory could not be written"),
        Event::Reconfigure(_) => Cause::new("the operator changed the config"),
        Event::Stop => Cause::new("the operator stopped the daemon"),
    }
}

fn aws_reply(call: &str, result: &Result<AwsReply, AwsError>) -> Cause {
    match result {
        Ok(AwsReply::Groups { groups, .. }) => {
            Cause::with(format!("AWS answered {call} with {{n}} groups"), size(groups.len()))
        }
        Ok(AwsReply::WarmMembers { members, .. }) => {
            Cause::with(format!("AWS answered {call} with {{n}} instances"), size(members.len()))
        }
        Ok(AwsReply::Done) => Cause::new(format!("AWS accepted {call}")),
        Err(error) => Cause::new(format!("AWS refused or lost {call}: {}", aws_words(error))),
    }
}

/// Tells a message by what it said of jobs.
pub(super) fn tell_message(message: u64, jobs: &[JobMessage]) -> Cause {
    let kinds = [
        (JobMessageKind::Available, "offered"),
        (JobMessageKind::Assigned, "assigned"),
        (JobMessageKind::Started, "started"),
        (JobMessageKind::Completed, "completed"),
    ];
    let counts: Vec<String> = kinds
        .into_iter()
        .map(|(kind, name)| (jobs.iter().filter(|job| job.kind == kind).count(), name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let said = if counts.is_empty() { "counts only".to_owned() } else { counts.join(", ") };
    Cause::with(format!("GitHub sent message {{n}}: {said}"), message)
}

/// What a job message says of its job.
pub(super) fn job_words(job: &JobMessage) -> String {
    match job.kind {
        JobMessageKind::Available => "offered".to_owned(),
        JobMessageKind::Assigned => "assigned".to_owned(),
        JobMessageKind::Started => "started".to_owned(),
        JobMessageKind::Completed if job.result.is_empty() => "completed".to_owned(),
        JobMessageKind::Completed => format!("completed, {}", job.result),
    }
}

pub(super) const fn aws_words(error: &AwsError) -> &'static str {
    match error {
        AwsError::Throttled => "throttled",
        AwsError::Denied { .. } => "denied",
        AwsError::Contention => "contention",
        AwsError::Validation { .. } => "invalid",
        AwsError::Misbehaved { .. } => "server error",
        AwsError::Transport { .. } => "no answer",
    }
}

pub(super) const fn transport_words(kind: TransportErrorKind) -> &'static str {
    match kind {
        TransportErrorKind::Connect => "no connection",
        TransportErrorKind::TimedOut => "timed out",
        TransportErrorKind::Broken => "connection broken",
        TransportErrorKind::TooLarge => "reply too large",
        TransportErrorKind::Cancelled => "called off by us",
        TransportErrorKind::NotSent => "not sent",
    }
}

const fn timer_words(timer: TimerKind) -> &'static str {
    match timer {
        TimerKind::Listing => "the listing of all groups was due",
        TimerKind::Motion => "the look at groups in motion was due",
        TimerKind::Aws => "calls to AWS could go on",
        TimerKind::Connection(_) => "a connection's timer was due",
        TimerKind::Pool(_) => "a pool's timer was due",
        TimerKind::Stop => "the time for stopping was over",
    }
}

fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
