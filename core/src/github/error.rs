//! Why a call to GitHub failed, and who is at fault.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::github::reply::TransportErrorKind;
use crate::time::Duration;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// What kind of failure.
    pub kind: CallErrorKind,
    /// The status, when a reply came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The peer's or the HTTP client's own words, cut short.
    pub message: String,
    /// How long the peer asked us to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// GitHub's id of the failed call, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_id: Option<String>,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallErrorKind {
    /// World: no connection; the request was not carried out.
    Unreachable,
    /// World: the request may or may not have been carried out.
    OutcomeUnknown,
    /// World: GitHub says it is too much.
    RateLimited,
    /// Peer: a server error.
    ServerError,
    /// Peer: a success whose body makes no sense, or a status nobody expects.
    Misbehaved,
    /// Operator: the credential is missing, wrong or may not do this.
    Denied,
    /// `RunnerScaleSetNotFoundException`: the scale set is gone.
    ScaleSetNotFound,
    /// Another 404.
    NotFound,
    /// `RunnerScaleSetSessionConflictException`: another session lives.
    SessionConflict,
    /// Another 409: it exists already.
    Conflict,
    /// `AgentExistsException`: a runner of that name exists.
    RunnerExists,
    /// `JobStillRunningException`: the runner is at work.
    JobStillRunning,
    /// `AgentNotFoundException`: no such runner.
    RunnerNotFound,
    /// Another refusal of the request as it is.
    Refused,
    /// We called it off.
    Cancelled,
}

impl CallErrorKind {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Misbehaved => "misbehaved",
            Self::Denied => "denied",
            Self::ScaleSetNotFound => "scale_set_not_found",
            Self::NotFound => "not_found",
            Self::SessionConflict => "session_conflict",
            Self::Conflict => "conflict",
            Self::RunnerExists => "runner_exists",
            Self::JobStillRunning => "job_still_running",
            Self::RunnerNotFound => "runner_not_found",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<TransportErrorKind> for CallErrorKind {
    fn from(kind: TransportErrorKind) -> Self {
        match kind {
            TransportErrorKind::Connect => Self::Unreachable,
            TransportErrorKind::TimedOut | TransportErrorKind::Broken => Self::OutcomeUnknown,
            TransportErrorKind::TooLarge => Self::Misbehaved,
            TransportErrorKind::Cancelled => Self::Cancelled,
            TransportErrorKind::NotSent => Self::Denied,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(id) = &self.activity_id {
            write!(f, " [activity {id}]")?;
        }
        Ok(())
    }
}
