//! Facts about pools.

use poolkeeper_core::github::message::{JobMessage, JobMessageKind};
use poolkeeper_core::notice::{Decision, PoolFact, Verdict};
use tracing::Level;

use super::{Told, aws_error, runner, span};

/// Puts a fact about a pool into words.
pub(super) fn tell(fact: &PoolFact) -> Told {
    match fact {
        PoolFact::Verdict(verdict) => tell_verdict(verdict),
        PoolFact::Gone => Told::new(Level::INFO, "gone", "the group is gone: its session is closed"),
        PoolFact::RetagWaits => Told::new(
            Level::WARN,
            "retag_waits",
            "the group's tags changed: that takes effect once it has no instances",
        ),
        PoolFact::ScaleSetReady { scale_set, name, created } => {
            let how = if *created { "was created" } else { "was found" };
            let text = format!("scale set {name} ({scale_set}) {how}");
            Told::new(Level::INFO, "scale_set_ready", text)
        }
        PoolFact::LabelsDiffer { missing, extra } => {
            Told::new(Level::WARN, "labels_differ", labels_differ(missing, extra))
        }
        PoolFact::ScaleSetUpdated => Told::new(Level::INFO, "scale_set_updated", "the scale set was updated"),
        PoolFact::ScaleSetMissing { times } => Told::new(
            Level::WARN,
            "scale_set_missing",
            format!("GitHub does not find the scale set ({times} times in a row)"),
        ),
        PoolFact::ScaleSetDeleted => {
            Told::new(Level::INFO, "scale_set_deleted", "the scale set was deleted, as on_group_gone says")
        }
        PoolFact::SessionOpened { session } => {
            Told::new(Level::INFO, "session_opened", format!("session {session} is open: the pool listens"))
        }
        PoolFact::Standby { retry_in } => Told::new(
            Level::WARN,
            "standby",
            format!(
                "another session lives on the scale set: tried again in {}; it ends by itself, \
                 unless another listener serves this set",
                span(*retry_in)
            ),
        ),
        PoolFact::SessionLost(error) => {
            Told::new(Level::WARN, "session_lost", format!("the session was lost: {error}; a new one is asked for"))
        }
        PoolFact::SessionClosed => Told::new(Level::INFO, "session_closed", "the session was closed"),
        PoolFact::Message { message, jobs, unknown } => {
            Told::new(Level::INFO, "message", tell_message(*message, jobs, *unknown))
        }
        PoolFact::Redelivered { message } => {
            Told::new(Level::WARN, "redelivered", format!("message {message} came again: it changes nothing"))
        }
        PoolFact::EmptyReply => Told::new(
            Level::WARN,
            "empty_reply",
            "a poll ended well and said nothing at all: taken for \"nothing new\"",
        ),
        PoolFact::StatisticsDistrusted => Told::new(
            Level::WARN,
            "statistics_distrusted",
            "all counts were zero beside an assigned job: the target is held and they are read \
             again",
        ),
        PoolFact::Acquired { asked, got } => {
            Told::new(Level::INFO, "acquired", format!("{got} of {asked} offered jobs acquired"))
        }
        PoolFact::Scaling(decision) => Told::new(Level::INFO, "scaling", tell_decision(decision)),
        PoolFact::ScalingFailed { desired, error } => Told::new(
            Level::ERROR,
            "scaling_failed",
            format!("desired capacity could not be set to {desired}: {}", aws_error(error)),
        ),
        PoolFact::DesiredChanged { from, to } => Told::new(
            Level::WARN,
            "desired_changed",
            format!(
                "desired capacity went from {from} to {to}, and not by us; if Terraform manages \
                 the group, add ignore_changes = [desired_capacity]"
            ),
        ),
        PoolFact::WarmPoolDenied { error } => Told::new(
            Level::WARN,
            "warm_pool_denied",
            format!("the warm pool's instances may not be listed: {}; tried again every minute", aws_error(error)),
        ),
        PoolFact::CallFailed { call, error, retry_in } => Told::new(
            Level::WARN,
            "call_failed",
            format!("{} failed: {error}; tried again in {}", call.as_str(), span(*retry_in)),
        ),
        PoolFact::Runner(fact) => runner::tell(fact),
    }
}

fn tell_verdict(verdict: &Verdict) -> Told {
    match verdict {
        Verdict::Driven => Told::new(Level::INFO, "driven", "capacity follows demand"),
        Verdict::Refused { problem, mend } => {
            Told::new(Level::ERROR, "refused", format!("nothing is done for this group: {problem}; {mend}"))
        }
        Verdict::ScaleOutOnly { problem, mend } => {
            Told::new(Level::WARN, "scale_out_only", format!("capacity is raised and never lowered: {problem}; {mend}"))
        }
        Verdict::Draining { problem, mend } => Told::new(
            Level::WARN,
            "draining",
            format!("what runs is left to end, nothing new is asked for: {problem}; {mend}"),
        ),
    }
}

fn labels_differ(missing: &[String], extra: &[String]) -> String {
    let mut text = "the scale set's labels differ".to_owned();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        text.push_str(&format!(
            ": jobs that ask for {missing} will wait for ever; delete the scale set to have it \
             made anew, or change the jobs' runs-on"
        ));
    }
    if !extra.is_empty() {
        text.push_str(&format!("; it also has {}", extra.join(", ")));
    }
    text
}

fn tell_message(message: u64, jobs: &[JobMessage], unknown: u32) -> String {
    let count = |kind| jobs.iter().filter(|job| job.kind == kind).count();
    let mut text = format!("message {message}:");
    let parts = [
        (count(JobMessageKind::Available), "offered"),
        (count(JobMessageKind::Assigned), "assigned"),
        (count(JobMessageKind::Started), "started"),
        (count(JobMessageKind::Completed), "completed"),
        (usize::try_from(unknown).unwrap_or(usize::MAX), "of unknown type"),
    ];
    for (n, what) in parts.into_iter().filter(|(n, _)| *n > 0) {
        text.push_str(&format!(" {n} {what},"));
    }
    match text.pop() {
        Some(',') => text,
        _ => format!("{text}: counts only"),
    }
}

fn tell_decision(decision: &Decision) -> String {
    let Decision { from, to, assigned, idle, lo, hi, target, unusable, in_service, pending } = decision;
    format!(
        "desired capacity {from} -> {to}: target {target} for {assigned} jobs and {idle} idle, \
         within {lo} to {hi}; {in_service} in service, {pending} pending, {unusable} unusable"
    )
}
