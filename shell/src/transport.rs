//! Why an exchange with a peer ended without a reply, in words that hold no secret.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write};
use std::path::Path;

use poolkeeper_core::aws::AwsError;
use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::{ReplyHeaders, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::RequestId;
use poolkeeper_core::seal::Secret;

use crate::config::ConfigProblem;

/// The most characters of an HTTP client's words that are kept.
const DETAIL_CHARS: usize = 300;
/// The most causes that are told.
const CAUSES_MAX: usize = 6;
/// Shorter texts are no secrets.
const SHORTEST_SECRET: usize = 8;

/// Why no transport can be made, and for which connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionProblem {
    /// The connection, by its name in the config.
    pub connection: String,
    /// What is wrong with its `ca_file` or `proxy`.
    pub problem: String,
}

impl fmt::Display for ConnectionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "github.{}: {}; mend ca_file or proxy", self.connection, self.problem)
    }
}

impl Error for ConnectionProblem {}

impl ConnectionProblem {
    /// The same as a problem of the config that was read from `source`.
    #[must_use]
    pub fn in_config(&self, source: &Path) -> ConfigProblem {
        ConfigProblem {
            place: source.display().to_string(),
            key: format!("github.{}", self.connection),
            problem: self.problem.clone(),
            mend: "mend its ca_file or proxy".to_owned(),
        }
    }
}

/// The peer of a call, and the call's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A call to GitHub.
    GitHub(RequestId),
    /// A call to AWS.
    Aws(RequestId),
}

impl Peer {
    /// The answer to a call that got none from its peer.
    #[must_use]
    pub fn unanswered(self, kind: TransportErrorKind, detail: &str) -> Event {
        match self {
            Self::GitHub(id) => {
                Event::GitHubReply { id, result: Err(TransportError { kind, detail: detail.to_owned() }) }
            }
            Self::Aws(id) => Event::AwsReply { id, result: Err(AwsError::Transport { message: detail.to_owned() }) },
        }
    }
}

/// An error's words, without what was sent and cut short.
#[must_use]
pub fn redacted(error: &dyn Error, sent: &Secret) -> String {
    redacted_text(all_words(error), sent)
}

/// A text without what was sent, cut short. It is cut last: a secret across the cut would leave its beginning.
#[must_use]
pub fn redacted_text(detail: String, sent: &Secret) -> String {
    if sent.reveal().len() < SHORTEST_SECRET { cut(&detail) } else { cut(&detail.replace(sent.reveal(), "[redacted]")) }
}

/// The body was longer than the request allows.
#[must_use]
pub fn too_large(max_body: u32) -> TransportError {
    TransportError { kind: TransportErrorKind::TooLarge, detail: format!("the body is longer than {max_body} bytes") }
}

/// The request cannot be sent at all.
#[must_use]
pub fn not_sent(detail: impl Into<String>) -> TransportError {
    TransportError { kind: TransportErrorKind::NotSent, detail: detail.into() }
}

/// The headers of a reply that the machine may see; `text` looks one up by its name in lower case.
#[must_use]
pub fn reply_headers(text: impl Fn(&str) -> Option<String>) -> ReplyHeaders {
    ReplyHeaders {
        date: text("date"),
        retry_after: text("retry-after"),
        rate_limit_remaining: text("x-ratelimit-remaining"),
        rate_limit_reset: text("x-ratelimit-reset"),
        activity_id: text("activityid"),
        github_request_id: text("x-github-request-id"),
    }
}

/// An error that holds no secret and its causes in one line, cut short.
#[must_use]
pub fn words(error: &dyn Error) -> String {
    cut(&all_words(error))
}

/// An error and its causes in one line. It may hold what was sent: [`redacted_text`] has to see it before anybody else.
#[must_use]
pub fn all_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(inner) = cause else { break };
        let said = inner.to_string();
        if !text.ends_with(&said) {
            let _infallible = write!(text, ": {said}");
        }
        cause = inner.source();
    }
    text
}

fn cut(text: &str) -> String {
    text.chars().take(DETAIL_CHARS).collect()
}

/// How an exchange ended, as metrics name it: its status code, or why none came.
#[must_use]
pub fn outcome(result: Result<u16, TransportErrorKind>) -> Cow<'static, str> {
    match result {
        Ok(200) => Cow::Borrowed("200"),
        Ok(202) => Cow::Borrowed("202"),
        Ok(204) => Cow::Borrowed("204"),
        Ok(other) => Cow::Owned(other.to_string()),
        Err(kind) => Cow::Borrowed(error_text(kind)),
    }
}

const fn error_text(kind: TransportErrorKind) -> &'static str {
    match kind {
        TransportErrorKind::Connect => "connect",
        TransportErrorKind::TimedOut => "timed_out",
        TransportErrorKind::Broken => "broken",
        TransportErrorKind::TooLarge => "too_large",
        TransportErrorKind::Cancelled => "cancelled",
        TransportErrorKind::NotSent => "not_sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_across_the_cut_leaves_nothing() {
        let sent = Secret::new("ghp_MARKED0123456789".to_owned());
        let before = "x".repeat(DETAIL_CHARS - 6);
        let error = std::io::Error::other(format!("{before}{} and more", sent.reveal()));

        let text = redacted(&error, &sent);

        assert!(!text.contains("ghp_"), "{text}");
        assert_eq!(text.chars().count(), DETAIL_CHARS);
    }
}
