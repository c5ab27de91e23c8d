//! Facts about instances that get their runners from us.

use poolkeeper_core::notice::{Proof, RunnerFact};
use tracing::Level;

use super::{Told, aws_error, span};

/// Puts a fact about a managed instance into words.
pub(super) fn tell(fact: &RunnerFact) -> Told {
    match fact {
        RunnerFact::Adopted { instance, runner } => Told::new(
            Level::INFO,
            "runner_adopted",
            format!("{instance} has runner {runner} already: it counts as served"),
        ),
        RunnerFact::Foreign { instance, scale_set } => Told::new(
            Level::ERROR,
            "runner_foreign",
            format!(
                "the runner named {instance} belongs to scale set {scale_set}, not to this one: the instance gets no \
                 config; remove that runner with `poolkeeper runner remove`"
            ),
        ),
        RunnerFact::Stranger { instance } => Told::new(
            Level::WARN,
            "runner_stranger",
            format!(
                "{instance} was in service before this pool was looked after, and has no runner of its name: what runs \
                 on it is not known, so it gets no config and is not ended; another one is launched in its place; end \
                 it once it is idle"
            ),
        ),
        RunnerFact::Up { instance, warm, took } => Told::new(
            Level::INFO,
            "instance_up",
            format!(
                "{instance} is in service, {} start, after {}",
                if *warm { "a warm" } else { "a cold" },
                span(*took)
            ),
        ),
        RunnerFact::HookCompleted { instance } => Told::new(
            Level::INFO,
            "hook_completed",
            format!("{instance} was held by the launch hook, which is completed"),
        ),
        RunnerFact::JobTooLong { instance, runs } => Told::new(
            Level::WARN,
            "job_too_long",
            format!(
                "a job has run on {instance} for {}, longer than max_job_time: look at it, or cancel it",
                span(*runs)
            ),
        ),
        RunnerFact::Served { instance, runner } => {
            Told::new(Level::INFO, "runner_served", format!("the config of runner {runner} waits for {instance}"))
        }
        RunnerFact::NotIssued { instance, what } => Told::new(
            Level::WARN,
            "runner_not_issued",
            format!("no config could be made for {instance}: {what}; it is tried again"),
        ),
        RunnerFact::Free { instance, proof } => {
            Told::new(Level::INFO, "runner_free", format!("{instance} has no job: {}; it is ended", words(*proof)))
        }
        RunnerFact::NotEnded { instance, error } => Told::new(
            Level::WARN,
            "instance_not_ended",
            format!("AWS did not end {instance}: {}; it is tried again", aws_error(error)),
        ),
        RunnerFact::AwsFailed { instance, error } => Told::new(
            Level::WARN,
            "instance_call_failed",
            format!("a call about {instance} failed: {}; it is tried again", aws_error(error)),
        ),
        RunnerFact::ProtectionFailed { error } => Told::new(
            Level::WARN,
            "protection_failed",
            format!(
                "instances could not be protected from scale-in: {}; they get no config until they are",
                aws_error(error)
            ),
        ),
        RunnerFact::Vanished { instance } => {
            Told::new(Level::INFO, "instance_gone", format!("{instance} has left its group"))
        }
        RunnerFact::LeftBehind { instance, what } => Told::new(
            Level::WARN,
            "runner_left_behind",
            format!(
                "the runner of {instance}, which is gone, could not be removed: {what}; GitHub removes it in a day"
            ),
        ),
        RunnerFact::LaunchesHeld { failures, last, hold } => Told::new(
            Level::ERROR,
            "launches_held",
            format!(
                "{failures} instances in a row never came up, {last} the last of them: none is launched for {}; look \
                 at the image, and at the log of its agent",
                span(*hold)
            ),
        ),
    }
}

/// Why no job runs on an instance.
pub(crate) const fn words(proof: Proof) -> &'static str {
    match proof {
        Proof::Removed => "GitHub removed its runner, which it does only while no job runs on it",
        Proof::Ended => "its job ended, and GitHub knew its runner no more, twice",
        Proof::GoneTwice => "GitHub knew no such runner twice, a minute apart and long after its config was stored",
    }
}
