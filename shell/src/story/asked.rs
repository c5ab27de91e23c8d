//! What is asked about one instance, of GitHub and of AWS, and what they answer.

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, InstanceCall};
use poolkeeper_core::github::answer::{Runner, RunnerStatus};
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::reply::{Body, Reply, TransportError};
use poolkeeper_core::github::request::{CallKind, Request};
use poolkeeper_core::seal::Sealed;
use serde::Deserialize;

use crate::notice_text::aws_error;

/// A call about the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Protect,
    Store,
    Discard,
    Terminate,
    CompleteHook,
    /// Looks for the runner of its name.
    LookUp,
    /// Lists all runners.
    List,
    Issue,
    Remove {
        runner: u64,
    },
}

impl Call {
    /// The call to AWS, when it is about the instance.
    pub(super) fn of_aws(call: &AwsCall, name: &str) -> Option<Self> {
        let AwsCall::Instances { call, .. } = call else { return None };
        let (of, call) = match call {
            InstanceCall::Protect { instances } => {
                return instances.iter().any(|instance| instance == name).then_some(Self::Protect);
            }
            InstanceCall::Terminate { instance, .. } => (instance, Self::Terminate),
            InstanceCall::PutConfig { instance, .. } => (instance, Self::Store),
            InstanceCall::DeleteConfig { instance } => (instance, Self::Discard),
            InstanceCall::CompleteHook { instance, .. } => (instance, Self::CompleteHook),
            InstanceCall::WarmMembers { .. } => return None,
        };
        (of == name).then_some(call)
    }

    /// The call to GitHub, when it may be about the instance: one that removes a runner names the runner alone.
    pub(super) fn of_github(kind: CallKind, request: &Request, name: &str) -> Option<Self> {
        let path = request.url.split('?').next().unwrap_or_default();
        if kind == CallKind::RunnerByName {
            let query = request.url.split_once('?').map(|(_, query)| query).unwrap_or_default();
            let is_it = |pair: &str| pair.split_once('=') == Some(("agentName", name));
            return query.split('&').any(is_it).then_some(Self::LookUp);
        }
        if kind == CallKind::JitConfig {
            #[derive(Deserialize)]
            struct Wanted {
                name: String,
            }
            let wanted: Wanted = serde_json::from_str(request.body.as_deref()?).ok()?;
            return (wanted.name == name).then_some(Self::Issue);
        }
        if kind == CallKind::RemoveRunner {
            let runner = path.rsplit('/').next()?.parse().ok()?;
            return Some(Self::Remove { runner });
        }
        (kind == CallKind::Runners).then_some(Self::List)
    }

    /// What the call was to do.
    pub(super) fn words(self) -> String {
        match self {
            Self::Protect => "AWS was asked to protect it from scale-in".to_owned(),
            Self::Store => "AWS was asked to store its config".to_owned(),
            Self::Discard => "AWS was asked to delete its stored config".to_owned(),
            Self::Terminate => "AWS was asked to terminate it".to_owned(),
            Self::CompleteHook => "AWS was asked to complete its launch hook".to_owned(),
            Self::LookUp => "GitHub was asked for the runner of its name".to_owned(),
            Self::List => "GitHub was asked for all runners".to_owned(),
            Self::Issue => "GitHub was asked to register a runner for it".to_owned(),
            Self::Remove { runner } => format!("GitHub was asked to remove runner {runner}"),
        }
    }
}

/// What AWS made of a call.
pub(super) fn aws_answer(call: Call, result: &Result<AwsReply, AwsError>) -> String {
    let done = match call {
        Call::Protect => "protected from scale-in",
        Call::Store => "its config is stored where it finds it",
        Call::Discard => "its stored config is deleted",
        Call::Terminate => "AWS took the termination",
        Call::CompleteHook => "the launch hook that held it is completed",
        Call::LookUp | Call::List | Call::Issue | Call::Remove { .. } => "answered",
    };
    match result {
        Ok(_) => done.to_owned(),
        Err(error) => format!("{}, and it failed: {}; it is tried again", call.words(), aws_error(error)),
    }
}

/// What GitHub made of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// The runner of its name, if there is one.
    Found(Option<Runner>),
    /// A runner was registered, and its config made.
    Issued { runner: u64 },
    /// The runner was removed: no job runs on it.
    Removed,
    /// A job runs on the runner.
    AtWork,
    /// There is no such runner.
    NoRunner,
    /// It failed, which proves nothing.
    Failed(String),
}

/// Reads what GitHub answered.
pub(super) fn github_answer(call: Call, name: &str, result: &Result<Reply, TransportError>) -> Answered {
    let reply = match result {
        Ok(reply) if (200..300).contains(&reply.status) => reply,
        Ok(reply) => return refused(&CallError::from_reply(reply)),
        Err(error) => return refused(&CallError::from(error.clone())),
    };
    match (call, &reply.body) {
        (Call::LookUp | Call::List, Body::Raw(bytes)) => {
            #[derive(Deserialize)]
            struct List {
                value: Vec<Runner>,
            }
            match serde_json::from_slice::<List>(&bytes.0) {
                Ok(list) => Answered::Found(list.value.into_iter().find(|runner| runner.name == name)),
                Err(_) => Answered::Failed("the answer makes no sense".to_owned()),
            }
        }
        (Call::Issue, Body::Sealed(Sealed::JitConfig { runner, .. })) => Answered::Issued { runner: runner.id },
        (Call::Remove { .. }, _) => Answered::Removed,
        (_, _) => Answered::Failed("the answer makes no sense".to_owned()),
    }
}

fn refused(error: &CallError) -> Answered {
    if error.kind == CallErrorKind::JobStillRunning {
        Answered::AtWork
    } else if error.kind == CallErrorKind::RunnerNotFound {
        Answered::NoRunner
    } else {
        Answered::Failed(error.to_string())
    }
}

/// A runner as GitHub shows it.
pub(super) fn shown(runner: &Runner) -> String {
    let status = match runner.status {
        RunnerStatus::Online => ", online",
        RunnerStatus::Offline => ", offline",
        RunnerStatus::Unknown => "",
    };
    let busy = match runner.busy {
        Some(true) => ", at work",
        Some(false) => ", without work",
        None => "",
    };
    format!("runner {}{status}{busy}", runner.id)
}
