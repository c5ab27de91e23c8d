//! What tests, checkers and people may see of the model, and do to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::GitHub;
use super::scale_set::ScaleSet;

/// Names a scale set by its scope and name, both in lower case. As text it is `SCOPE:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SetKey {
    /// An organization, `owner/repository` or `enterprises/name`.
    pub scope: String,
    /// The set's name.
    pub name: String,
}

impl SetKey {
    /// The key of a set; upper case is made lower.
    #[must_use]
    pub fn new(scope: &str, name: &str) -> Self {
        Self { scope: scope.to_lowercase(), name: name.to_lowercase() }
    }
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, self.name)
    }
}

impl From<SetKey> for String {
    fn from(key: SetKey) -> Self {
        key.to_string()
    }
}

impl FromStr for SetKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((scope, name)) if !scope.is_empty() && !name.is_empty() => Ok(Self::new(scope, name)),
            Some(_) | None => Err(format!("\"{text}\" is no SCOPE:NAME of a scale set")),
        }
    }
}

impl TryFrom<String> for SetKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// One scale set as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetState {
    /// The set.
    pub key: SetKey,
    /// Its id.
    pub id: u64,
    /// Its labels.
    pub labels: Vec<String>,
    /// The owner of its session, if one lives.
    pub session_owner: Option<String>,
    /// How many sessions it has had.
    pub sessions: u64,
    /// Polls held now.
    pub polls: usize,
    /// The newest `X-ScaleSetMaxCapacity`.
    pub capacity: Option<u64>,
    /// Jobs that wait for capacity, or to be acquired.
    pub queued: usize,
    /// Jobs that wait for a runner.
    pub assigned: usize,
    /// Jobs that run.
    pub running: usize,
    /// Registered runners.
    pub runners: usize,
    /// Runners online and without work.
    pub idle: usize,
    /// Messages and elements that were not acknowledged.
    pub unacknowledged: usize,
    /// Messages that were.
    pub acknowledged: u64,
}

impl ScaleSet {
    pub(super) fn key_of(&self) -> SetKey {
        SetKey::new(&self.scope, &self.name)
    }

    fn state(&self) -> SetState {
        SetState {
            key: self.key_of(),
            id: self.id,
            labels: self.labels.clone(),
            session_owner: self.session.as_ref().map(|session| session.owner.clone()),
            sessions: self.last_session,
            polls: self.polls.len(),
            capacity: self.capacity,
            queued: self.queued.len(),
            assigned: self.assigned.len(),
            running: self.running.len(),
            runners: self.runners.len(),
            idle: self.idle.len(),
            unacknowledged: self.queue.len() + self.outbox.len(),
            acknowledged: self.acknowledged,
        }
    }
}

impl GitHub {
    /// All scale sets, by id.
    pub fn sets(&self) -> impl Iterator<Item = SetState> + '_ {
        self.sets.values().map(ScaleSet::state)
    }

    /// One scale set.
    #[must_use]
    pub fn set(&self, key: &SetKey) -> Option<SetState> {
        self.sets.get(&self.find_set(key)?).map(ScaleSet::state)
    }

    /// How many polls are held.
    #[must_use]
    pub fn held_polls(&self) -> usize {
        self.polls.len()
    }

    /// How many jobs have not ended.
    #[must_use]
    pub fn open_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Requests served.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Ends a set's session, as an eviction does; false when there is none.
    pub fn end_session(&mut self, key: &SetKey) -> bool {
        self.find_set(key).is_some_and(|set| self.drop_session(set))
    }

    /// Deletes a scale set, as GitHub's retention does; false when there is none.
    pub fn retire_set(&mut self, key: &SetKey) -> bool {
        self.find_set(key).is_some_and(|set| self.delete_set(set).status == 204)
    }

    pub(super) fn find_set(&self, key: &SetKey) -> Option<u64> {
        let sets = &self.tenants.get(&key.scope)?.sets;
        let from = (key.name.clone(), 0);
        sets.range(from..).next().filter(|((name, _), _)| *name == key.name).map(|(_, id)| *id)
    }
}
