//! What notices say to people: what happened, to what, and what to do.

use poolkeeper_core::aws::AwsError;
use poolkeeper_core::notice::{AwsFact, ConnectionFact, Notice};
use poolkeeper_core::time::Duration;
use tracing::Level;

pub(crate) use runner::words as proof_words;

mod pool;
mod runner;
#[cfg(test)]
mod tests;

/// One fact, ready to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How loud.
    pub level: Level,
    /// What kind of fact, as metrics and logs name it.
    pub kind: &'static str,
    /// The sentence.
    pub text: String,
}

impl Told {
    fn new(level: Level, kind: &'static str, text: impl Into<String>) -> Self {
        Self { level, kind, text: text.into() }
    }
}

/// Puts a notice into words.
#[must_use]
pub fn tell(notice: &Notice) -> Told {
    match notice {
        Notice::Pool { fact, .. } => pool::tell(fact),
        Notice::Connection { fact, .. } => connection(fact),
        Notice::Aws(fact) => aws(fact),
        Notice::StrayReply { id } => Told::new(
            Level::WARN,
            "stray_reply",
            format!("a reply to call {id}, which nobody waits for, is passed over"),
        ),
        Notice::NotRemembered { key } => Told::new(
            Level::WARN,
            "not_remembered",
            format!(
                "{key} could not be written to the state directory: a restart may have to wait \
                 for an old session to end; free or mend its disk"
            ),
        ),
        Notice::Reconfigured => Told::new(Level::INFO, "reconfigured", "the new config is in force"),
        Notice::Stopping => {
            Told::new(Level::INFO, "stopping", "stopping: sessions are closed, groups and scale sets stay as they are")
        }
    }
}

fn connection(fact: &ConnectionFact) -> Told {
    match fact {
        ConnectionFact::Connected { lifetime } => {
            Told::new(Level::INFO, "connected", format!("connected to GitHub; the token lives {}", span(*lifetime)))
        }
        ConnectionFact::TokenFailed { call, error, retry_in } => Told::new(
            Level::ERROR,
            "token_failed",
            format!(
                "no token from GitHub, {} failed: {error}; tried again in {}; check the \
                 credential and what it may do",
                call.as_str(),
                span(*retry_in)
            ),
        ),
        ConnectionFact::RateLimited { wait } => Told::new(
            Level::WARN,
            "rate_limited",
            format!("GitHub says that it is too much: nothing is sent for {}", span(*wait)),
        ),
        ConnectionFact::Overdue { call } => Told::new(
            Level::ERROR,
            "overdue",
            format!("{} has had no end for too long and counts as lost; report this", call.as_str()),
        ),
    }
}

fn aws(fact: &AwsFact) -> Told {
    match fact {
        AwsFact::Listed { groups: 0 } => Told::new(
            Level::WARN,
            "listed",
            "no group is ours yet: tag one with runs-on-stack, runs-on-org and runs-on-pool",
        ),
        AwsFact::Listed { groups } => Told::new(Level::INFO, "listed", format!("{groups} groups are ours")),
        AwsFact::DescribeFailed { error, retry_in } => Told::new(
            Level::WARN,
            "describe_failed",
            format!("groups cannot be described: {}; tried again in {}", aws_error(error), span(*retry_in)),
        ),
        AwsFact::MassDisappearance { missing, of } => Told::new(
            Level::ERROR,
            "mass_disappearance",
            format!(
                "{missing} of {of} groups vanished at once: nothing is closed; check the tag \
                 runs-on-stack, the region and the account"
            ),
        ),
        AwsFact::Throttled { calls_per_min } => Told::new(
            Level::WARN,
            "throttled",
            format!("AWS throttles: at most {calls_per_min} calls a minute for a while"),
        ),
        AwsFact::NamedGroupMissing { group } => Told::new(
            Level::WARN,
            "named_group_missing",
            format!("group {group} of the config does not exist; create it or remove its entry"),
        ),
    }
}

/// An AWS error with what to do about it.
pub(crate) fn aws_error(error: &AwsError) -> String {
    match error {
        AwsError::Throttled => "AWS throttles".to_owned(),
        AwsError::Denied { message } => {
            format!("AWS denies it ({message}); check the role's permissions and the credentials")
        }
        AwsError::Contention => "another change is under way".to_owned(),
        AwsError::Validation { message } => format!("AWS finds it invalid ({message})"),
        AwsError::Misbehaved { message } => format!("AWS answered with an error ({message})"),
        AwsError::Transport { message } => format!("AWS cannot be reached ({message})"),
    }
}

fn span(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000.. => format!("{} h", ms / 3_600_000),
    }
}
