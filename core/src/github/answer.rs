//! What GitHub's calls answer, as types: shapes on the wire and facts for the machine.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::github::message::{Message, Statistics};
use crate::github::request::Slot;
use crate::short_text::ShortText;

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The runner group of that name, if there is one.
    RunnerGroup(Option<RunnerGroup>),
    /// All scale sets the scope has.
    ScaleSets(Vec<ScaleSet>),
    /// The scale set of that name, if there is one, or the one created, updated or asked for by id.
    ScaleSet(Option<ScaleSet>),
    /// A session was created or refreshed.
    Session(OpenedSession),
    /// The queue's next message; `None` when there was nothing to say.
    Message(Option<Message>),
    /// A success of the queue without a word.
    EmptyReply,
    /// The request ids that were acquired.
    Acquired(Vec<u64>),
    /// The request ids of jobs that wait to be acquired.
    AcquirableJobs(Vec<u64>),
    /// A runner was registered, and its config went into a slot.
    JitConfig {
        /// The runner.
        runner: Runner,
        /// Where its config is.
        config: Slot,
    },
    /// The runner of that name, if there is one, or the one asked for by id.
    Runner(Option<Runner>),
    /// All runners of the scope.
    Runners(Vec<Runner>),
    /// Done, with nothing to tell.
    Done,
}

/// A runner group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerGroup {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// A runner scale set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleSet {
    /// Its id.
    #[serde(default)]
    pub id: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The runner group it belongs to.
    #[serde(default)]
    pub runner_group_id: u64,
    /// That group's name.
    #[serde(default)]
    pub runner_group_name: String,
    /// The labels jobs ask for it by.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// How its runners behave.
    #[serde(default, rename = "RunnerSetting", alias = "runnerSetting")]
    pub runner_setting: RunnerSetting,
    /// Its counts, where the call tells them.
    #[serde(default)]
    pub statistics: Option<Statistics>,
}

/// A label of a scale set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Its type, `System` unless said otherwise.
    #[serde(rename = "type", default = "system")]
    pub kind: String,
}

impl Label {
    /// A label of type `System`.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self { name: name.into(), kind: system() }
    }
}

fn system() -> String {
    "System".into()
}

/// How a scale set's runners behave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerSetting {
    /// Whether runners must not update themselves.
    #[serde(default)]
    pub disable_update: bool,
}

/// A runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// Its id.
    pub id: u64,
    /// Its name.
    #[serde(default)]
    pub name: ShortText,
    /// The scale set it belongs to.
    #[serde(default)]
    pub runner_scale_set_id: u64,
    /// Whether it is connected, where the call tells it.
    #[serde(default, skip_serializing_if = "RunnerStatus::is_unknown")]
    pub status: RunnerStatus,
    /// Whether it is at work, where the call tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<bool>,
}

/// Whether a runner is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerStatus {
    /// It is.
    Online,
    /// It is not.
    Offline,
    /// The call does not tell.
    #[default]
    #[serde(other)]
    Unknown,
}

impl RunnerStatus {
    /// The status as GitHub names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }

    const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// A message session just created or refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// Its id, a UUID.
    pub id: String,
    /// The queue.
    pub queue: Queue,
    /// How long the queue's token lives, as far as the reply told.
    pub lifetime_s: Option<u64>,
    /// The counts at that moment: the first scaling signal.
    pub statistics: Option<Statistics>,
}

/// A message queue and the secret that opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its URL, which may have a path and a query of its own.
    pub url: String,
    /// Where its token is kept.
    pub token: Slot,
}

/// A list as the service wraps it.
#[derive(Deserialize)]
pub(crate) struct List<T> {
    pub(crate) value: Vec<T>,
}
