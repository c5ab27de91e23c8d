//! Why a call to GitHub failed, and who is at fault.

use alloc::string::{String, ToString};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::github::reply::{Body, Reply, TransportError, TransportErrorKind};
use crate::seal::{ErrorBody, Sealed};
use crate::time::{Duration, unix_s_from_http_date};

/// A peer that asks us to wait longer is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The most characters of a plain-text error that are kept.
const TEXT_CHARS: usize = 200;

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

/// A reply that claims success and makes no sense.
pub(crate) fn misbehaved(status: u16, what: &str) -> CallError {
    CallError {
        kind: CallErrorKind::Misbehaved,
        status: Some(status),
        message: what.into(),
        retry_after: None,
        activity_id: None,
    }
}

impl From<TransportError> for CallError {
    fn from(error: TransportError) -> Self {
        Self { kind: error.kind.into(), status: None, message: error.detail, retry_after: None, activity_id: None }
    }
}

impl CallError {
    /// We called it off.
    pub(crate) const fn cancelled() -> Self {
        Self {
            kind: CallErrorKind::Cancelled,
            status: None,
            message: String::new(),
            retry_after: None,
            activity_id: None,
        }
    }

    /// Reads a reply that is no success.
    #[must_use]
    pub fn from_reply(reply: &Reply) -> Self {
        let (type_name, message) = describe(&reply.body);
        let retry_after = wait_asked_for(reply);
        let limited = reply.status == 429
            || (reply.status == 403 && (retry_after.is_some() || message.to_ascii_lowercase().contains("rate limit")));
        let kind = if limited { CallErrorKind::RateLimited } else { kind(reply.status, &type_name) };
        let activity_id = reply.headers.activity_id.clone().or_else(|| reply.headers.github_request_id.clone());
        Self { kind, status: Some(reply.status), message, retry_after, activity_id }
    }
}

fn kind(status: u16, type_name: &str) -> CallErrorKind {
    const BY_TYPE: [(&str, CallErrorKind); 5] = [
        ("AgentExistsException", CallErrorKind::RunnerExists),
        ("AgentNotFoundException", CallErrorKind::RunnerNotFound),
        ("JobStillRunningException", CallErrorKind::JobStillRunning),
        ("RunnerScaleSetSessionConflictException", CallErrorKind::SessionConflict),
        ("RunnerScaleSetNotFoundException", CallErrorKind::ScaleSetNotFound),
    ];
    // A redirect or a success that names an exception comes from something between GitHub and us: it proves nothing.
    if let Some((_, kind)) = BY_TYPE.iter().find(|(name, _)| status >= 400 && type_name.contains(name)) {
        return *kind;
    }
    match status {
        401 | 403 => CallErrorKind::Denied,
        404 | 410 => CallErrorKind::NotFound,
        409 => CallErrorKind::Conflict,
        400..=499 => CallErrorKind::Refused,
        500..=599 => CallErrorKind::ServerError,
        _ => CallErrorKind::Misbehaved,
    }
}

fn describe(body: &Body) -> (String, String) {
    match body {
        Body::Sealed(Sealed::Error { type_name, message }) => (type_name.clone(), message.clone()),
        Body::Sealed(_) => (String::new(), String::new()),
        Body::Raw(bytes) => match ErrorBody::parse(&bytes.0) {
            Some(error) => (error.type_name, error.message),
            None => (String::new(), plain_text(&bytes.0)),
        },
    }
}

fn plain_text(bytes: &[u8]) -> String {
    let start = bytes.get(..bytes.len().min(TEXT_CHARS * 4)).unwrap_or(bytes);
    let text: String = String::from_utf8_lossy(start).chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect();
    text.trim().to_string()
}

/// `Retry-After`, or the time until `X-RateLimit-Reset` when nothing remains; both by the peer's own clock.
fn wait_asked_for(reply: &Reply) -> Option<Duration> {
    let headers = &reply.headers;
    let date_s = headers.date.as_deref().and_then(unix_s_from_http_date);
    let wait_s = match headers.retry_after.as_deref() {
        Some(text) => match text.trim().parse::<u64>() {
            Ok(seconds) => Some(seconds),
            Err(_) => unix_s_from_http_date(text).zip(date_s).map(|(end, date)| end.saturating_sub(date)),
        },
        None if headers.rate_limit_remaining.as_deref() == Some("0") && matches!(reply.status, 403 | 429) => {
            let reset_s = headers.rate_limit_reset.as_deref().and_then(|text| text.trim().parse::<u64>().ok());
            reset_s.zip(date_s).map(|(reset, date)| reset.saturating_sub(date))
        }
        None => None,
    };
    wait_s.map(|s| Duration::from_secs(s).min(LONGEST_WAIT))
}
