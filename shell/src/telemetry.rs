//! Logs and metrics, made from notices and from what the shell counts.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poolkeeper_core::github::message::{Job, JobMessage, JobMessageKind};
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::notice::{Notice, PoolFact, Proof, RunnerFact};
use poolkeeper_core::time::Now;
use tracing::Level;

use self::metrics::Metrics;
use crate::notice_text::{Told, tell};

pub(crate) mod exposition;
mod metrics;
#[cfg(test)]
mod tests;

/// Logs and metrics of one daemon; share it in an `Arc`.
#[derive(Debug)]
pub struct Telemetry {
    stack: String,
    metrics: Mutex<Metrics>,
}

impl Telemetry {
    /// Telemetry of the daemon of a stack, with nothing counted yet.
    #[must_use]
    pub fn new(stack: &str) -> Self {
        Self { stack: stack.to_owned(), metrics: Mutex::new(Metrics::default()) }
    }

    /// The stack, which is the namespace of ARC's metrics.
    #[must_use]
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// Logs and counts one fact; `now` is when it was found.
    pub fn notice(&self, notice: &Notice, now: Now) {
        let told = tell(notice);
        log(notice, &told, now);
        let mut metrics = self.lock();
        metrics.notices.add(&[told.kind], 1);
        if let Notice::Pool { group, fact, .. } = notice {
            count_pool_fact(&mut metrics, group, fact);
        }
    }

    /// Counts one finished call to GitHub; `outcome` is a status such as `200` or a transport error's kind.
    pub fn github_call(&self, call: CallKind, connection: &str, outcome: &str, took: Duration) {
        let mut metrics = self.lock();
        metrics.github_calls.add(&[connection, call.as_str(), outcome], 1);
        if !call.is_poll() {
            metrics.github_durations.record(&[call.as_str()], took);
        }
    }

    /// Counts one finished call to AWS; `outcome` is `ok` or the error's kind.
    pub fn aws_call(&self, call: &'static str, outcome: &str, took: Duration) {
        let mut metrics = self.lock();
        metrics.aws_calls.add(&[call, outcome], 1);
        metrics.aws_durations.record(&[call], took);
    }

    /// Says that the journal ended early.
    pub fn journal_closed(&self, error: &io::Error) {
        self.lock().journal_failures.add(&[], 1);
        tracing::error!(
            %error,
            "the journal cannot be written and is closed; the daemon goes on without it: free or \
             mend its disk, then restart"
        );
    }

    /// Says that the machine found an assertion broken; the process is about to end.
    pub fn machine_panicked(&self, step: u64, event: &str, text: &str) {
        tracing::error!(
            step,
            event,
            "the machine found an assertion of its own broken: {text}; the daemon ends now: \
             report this with the journal's last file"
        );
    }

    /// All counters and histograms in Prometheus's text format.
    pub fn render(&self, out: &mut String) {
        self.lock().render(out);
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(notice: &Notice, told: &Told, now: Now) {
    let Told { level, kind, text } = told;
    macro_rules! at_level {
        ($($field:tt)*) => {
            match *level {
                Level::ERROR => tracing::error!($($field)*),
                Level::WARN => tracing::warn!($($field)*),
                Level::INFO => tracing::info!($($field)*),
                Level::DEBUG => tracing::debug!($($field)*),
                Level::TRACE => tracing::trace!($($field)*),
            }
        };
    }
    let at_ms = now.mono.as_millis();
    match notice {
        Notice::Pool { pool, group, fact } => {
            at_level!(group = group.as_str(), pool = pool.0, fact = kind, at_ms, "{text}");
            if let PoolFact::Message { jobs, .. } = fact {
                for job in jobs {
                    log_job(group, job);
                }
            }
        }
        Notice::Connection { connection, scope, .. } => {
            at_level!(connection, scope, fact = kind, at_ms, "{text}");
        }
        Notice::Aws(_)
        | Notice::StrayReply { .. }
        | Notice::NotRemembered { .. }
        | Notice::Reconfigured
        | Notice::Stopping => at_level!(fact = kind, at_ms, "{text}"),
    }
}

fn log_job(group: &str, message: &JobMessage) {
    let JobMessage { kind, job, runner_name, result, .. } = message;
    tracing::debug!(
        group,
        what = ?kind,
        job = job.job_id,
        request = job.request_id,
        repository = job.repository,
        run = job.workflow_run_id,
        runner = runner_name.as_str(),
        result = result.as_str(),
        "job \"{}\"",
        job.display_name
    );
}

fn count_pool_fact(metrics: &mut Metrics, group: &str, fact: &PoolFact) {
    match fact {
        PoolFact::EmptyReply => metrics.failed_calls.add(&[CallKind::Poll.as_str(), "empty_reply"], 1),
        PoolFact::Message { jobs, unknown, .. } => {
            metrics.messages.add(&[group], 1);
            if *unknown > 0 {
                metrics.failed_calls.add(&[CallKind::Poll.as_str(), "unknown_message"], u64::from(*unknown));
            }
            for message in jobs {
                count_job(metrics, message);
            }
        }
        PoolFact::Scaling(decision) => {
            let direction = if decision.to > decision.from { "out" } else { "in" };
            metrics.capacity_changes.add(&[group, direction], 1);
        }
        PoolFact::Acquired { got, .. } => {
            metrics.acquired.add(&[group], u64::from(*got));
        }
        PoolFact::CallFailed { call, error, .. } => {
            metrics.failed_calls.add(&[call.as_str(), error.kind.as_str()], 1);
        }
        PoolFact::Verdict(_)
        | PoolFact::Gone
        | PoolFact::RetagWaits
        | PoolFact::ScaleSetReady { .. }
        | PoolFact::LabelsDiffer { .. }
        | PoolFact::ScaleSetUpdated
        | PoolFact::ScaleSetMissing { .. }
        | PoolFact::ScaleSetDeleted
        | PoolFact::SessionOpened { .. }
        | PoolFact::Standby { .. }
        | PoolFact::SessionLost(_)
        | PoolFact::SessionClosed
        | PoolFact::Redelivered { .. }
        | PoolFact::StatisticsDistrusted
        | PoolFact::ScalingFailed { .. }
        | PoolFact::DesiredChanged { .. }
        | PoolFact::WarmPoolDenied { .. } => {}
        PoolFact::Runner(fact) => count_runner_fact(metrics, group, fact),
    }
}

fn count_runner_fact(metrics: &mut Metrics, group: &str, fact: &RunnerFact) {
    match fact {
        RunnerFact::Up { warm, took, .. } => {
            let start = if *warm { "warm" } else { "cold" };
            metrics.instance_starts.record(&[group, start], Duration::from_millis(took.as_millis()));
        }
        RunnerFact::Served { .. } => metrics.configs.add(&[group], 1),
        RunnerFact::Free { proof, .. } => {
            let proof = match proof {
                Proof::Removed => "removed",
                Proof::Ended => "ended",
                Proof::GoneTwice => "gone_twice",
            };
            metrics.freed.add(&[group, proof], 1);
        }
        RunnerFact::Adopted { .. }
        | RunnerFact::Foreign { .. }
        | RunnerFact::Stranger { .. }
        | RunnerFact::HookCompleted { .. }
        | RunnerFact::JobTooLong { .. }
        | RunnerFact::NotIssued { .. }
        | RunnerFact::NotEnded { .. }
        | RunnerFact::AwsFailed { .. }
        | RunnerFact::ProtectionFailed { .. }
        | RunnerFact::Vanished { .. }
        | RunnerFact::LeftBehind { .. }
        | RunnerFact::LaunchesHeld { .. } => {}
    }
}

fn count_job(metrics: &mut Metrics, message: &JobMessage) {
    let JobMessage { kind, job, result, .. } = message;
    let (organization, repository) = job.repository.split_once('/').unwrap_or(("", ""));
    // A job's messages do not tell its enterprise.
    let labels = ["", organization, repository, job.event_name.as_str()];
    let [enterprise, organization, repository, event] = labels;
    let with_result = [enterprise, organization, repository, event, result.as_str()];
    match kind {
        JobMessageKind::Started => {
            metrics.started_jobs.add(&labels, 1);
            if let Some(took) = startup(job) {
                metrics.job_startup.record(&labels, took);
            }
        }
        JobMessageKind::Completed => {
            metrics.completed_jobs.add(&with_result, 1);
            if let Some(took) = execution(job) {
                metrics.job_execution.record(&with_result, took);
            }
        }
        JobMessageKind::Available | JobMessageKind::Assigned => {}
    }
}

fn startup(job: &Job) -> Option<Duration> {
    let waited_ms = job.runner_assigned_ms?.checked_sub(job.scale_set_assigned_ms?)?;
    Some(Duration::from_millis(waited_ms))
}

fn execution(job: &Job) -> Option<Duration> {
    Some(Duration::from_millis(job.finished_ms?.checked_sub(job.runner_assigned_ms?)?))
}
