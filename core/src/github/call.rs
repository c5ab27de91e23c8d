//! The calls of the scale set service: how each is asked and what its reply means.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::github::answer::{Answer, Label, List, OpenedSession, Queue, Runner, RunnerGroup, RunnerSetting, ScaleSet};
use crate::github::error::{CallError, CallErrorKind, misbehaved};
use crate::github::message::{Message, id, place};
use crate::github::reply::{Body, Reply};
use crate::github::request::{CallKind, DIGITS, Header, HeaderName, Method, Slot, push_number};
use crate::github::scope::encode;
use crate::seal::Sealed;
use crate::short_text::ShortText;
use crate::time::Duration;

/// A poll is held for about 50 s by the service.
const POLL_TIMEOUT: Duration = Duration::from_secs(75);
const TIMEOUT: Duration = Duration::from_secs(30);
/// A message holds at most 50 jobs of a few kB each; anything beyond is garbage.
const MAX_BODY: u32 = 4 << 20;
const API_VERSION: &str = "api-version=6.0-preview";
const QUEUE_ACCEPT: &str = "application/json; api-version=6.0-preview";
/// The folder below the runner's home that jobs work in.
const WORK_FOLDER: &str = "_work";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// One call to the scale set service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the call of that name in the protocol, and its fields are the call's own")]
pub enum Call {
    RunnerGroup { name: String },
    ScaleSets,
    ScaleSetByName { runner_group_id: u64, name: String },
    ScaleSet { id: u64 },
    CreateScaleSet { set: NewScaleSet },
    UpdateScaleSet { id: u64, set: NewScaleSet },
    DeleteScaleSet { id: u64 },
    CreateSession { scale_set: u64, owner: String },
    RefreshSession { scale_set: u64, session: String },
    DeleteSession { scale_set: u64, session: String },
    Poll { scale_set: u64, queue: Queue, last_message: u64, max_capacity: u32 },
    Acknowledge { scale_set: u64, queue: Queue, message: u64 },
    Acquire { scale_set: u64, token: Slot, request_ids: Vec<u64> },
    AcquirableJobs { scale_set: u64 },
    JitConfig { scale_set: u64, runner: ShortText },
    RunnerByName { name: ShortText },
    Runner { id: u64 },
    Runners,
    RemoveRunner { id: u64 },
}

/// A scale set as it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewScaleSet {
    /// Its name.
    pub name: String,
    /// Its runner group.
    pub runner_group_id: u64,
    /// Its labels.
    pub labels: Vec<Label>,
    /// How its runners behave.
    #[serde(rename = "RunnerSetting")]
    pub runner_setting: RunnerSetting,
}

/// A request before the connection adds its base URL, its token and its user agent.
pub(crate) struct Draft {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// The slot the call brings itself; `None`: the connection's admin token.
    pub(crate) token: Option<Slot>,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) max_body: u32,
}

pub(crate) enum Target {
    /// Below the Actions Service's base URL, with a query of its own or none.
    Service(String),
    /// A whole URL.
    Queue(String),
}

impl Call {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> CallKind {
        match self {
            Self::RunnerGroup { .. } => CallKind::RunnerGroup,
            Self::ScaleSets => CallKind::ScaleSets,
            Self::ScaleSetByName { .. } => CallKind::ScaleSetByName,
            Self::ScaleSet { .. } => CallKind::ScaleSet,
            Self::CreateScaleSet { .. } => CallKind::CreateScaleSet,
            Self::UpdateScaleSet { .. } => CallKind::UpdateScaleSet,
            Self::DeleteScaleSet { .. } => CallKind::DeleteScaleSet,
            Self::CreateSession { .. } => CallKind::CreateSession,
            Self::RefreshSession { .. } => CallKind::RefreshSession,
            Self::DeleteSession { .. } => CallKind::DeleteSession,
            Self::Poll { .. } => CallKind::Poll,
            Self::Acknowledge { .. } => CallKind::Acknowledge,
            Self::Acquire { .. } => CallKind::Acquire,
            Self::AcquirableJobs { .. } => CallKind::AcquirableJobs,
            Self::JitConfig { .. } => CallKind::JitConfig,
            Self::RunnerByName { .. } => CallKind::RunnerByName,
            Self::Runner { .. } => CallKind::Runner,
            Self::Runners => CallKind::Runners,
            Self::RemoveRunner { .. } => CallKind::RemoveRunner,
        }
    }

    /// Whether others may wait for it: what listens and what jobs depend on goes first.
    pub(crate) const fn is_urgent(&self) -> bool {
        matches!(self, Self::Acknowledge { .. } | Self::Acquire { .. } | Self::RefreshSession { .. })
    }

    /// Whether it goes to the queue, with the queue's own token: the Actions Service is not asked.
    pub(crate) const fn brings_its_token(&self) -> bool {
        matches!(self, Self::Acknowledge { .. } | Self::Poll { .. })
    }

    /// The scale set it is about; 0 when about none.
    pub(crate) const fn scale_set(&self) -> u64 {
        match self {
            Self::RunnerGroup { .. }
            | Self::ScaleSets
            | Self::ScaleSetByName { .. }
            | Self::CreateScaleSet { .. }
            | Self::RunnerByName { .. }
            | Self::Runner { .. }
            | Self::Runners
            | Self::RemoveRunner { .. } => 0,
            Self::ScaleSet { id } | Self::UpdateScaleSet { id, .. } | Self::DeleteScaleSet { id } => *id,
            Self::CreateSession { scale_set, .. }
            | Self::RefreshSession { scale_set, .. }
            | Self::DeleteSession { scale_set, .. }
            | Self::Poll { scale_set, .. }
            | Self::Acknowledge { scale_set, .. }
            | Self::Acquire { scale_set, .. }
            | Self::AcquirableJobs { scale_set }
            | Self::JitConfig { scale_set, .. } => *scale_set,
        }
    }

    pub(crate) fn draft(&self) -> Draft {
        const SETS: &str = "_apis/runtime/runnerscalesets";
        const RUNNERS: &str = "_apis/distributedtask/pools/0/agents";
        match self {
            Self::RunnerGroup { name } => Draft::get(format!("_apis/runtime/runnergroups/?groupName={}", encode(name))),
            Self::ScaleSets => Draft::get(SETS.to_string()),
            Self::ScaleSetByName { runner_group_id, name } => {
                Draft::get(format!("{SETS}?runnerGroupId={runner_group_id}&name={}", encode(name)))
            }
            Self::ScaleSet { id } => Draft::get(format!("{SETS}/{id}")),
            Self::CreateScaleSet { set } => Draft::send(Method::Post, SETS.to_string(), Some(json(set))),
            Self::UpdateScaleSet { id, set } => Draft::send(Method::Patch, format!("{SETS}/{id}"), Some(json(set))),
            Self::DeleteScaleSet { id } => Draft::send(Method::Delete, format!("{SETS}/{id}"), None),
            Self::CreateSession { scale_set, owner } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Body<'a> {
                    owner_name: &'a str,
                }
                let body = json(&Body { owner_name: owner });
                Draft::send(Method::Post, format!("{SETS}/{scale_set}/sessions"), Some(body))
            }
            Self::RefreshSession { scale_set, session } => {
                Draft::send(Method::Patch, format!("{SETS}/{scale_set}/sessions/{}", encode(session)), None)
            }
            Self::DeleteSession { scale_set, session } => {
                Draft::send(Method::Delete, format!("{SETS}/{scale_set}/sessions/{}", encode(session)), None)
            }
            Self::Poll { queue, last_message, max_capacity, .. } => Draft::poll(queue, *last_message, *max_capacity),
            Self::Acknowledge { queue, message, .. } => Draft::acknowledge(queue, *message),
            Self::Acquire { scale_set, token, request_ids } => {
                let target = format!("{SETS}/{scale_set}/acquirejobs");
                Draft { token: Some(*token), ..Draft::send(Method::Post, target, Some(json(request_ids))) }
            }
            Self::AcquirableJobs { scale_set } => Draft::get(format!("{SETS}/{scale_set}/acquirablejobs")),
            Self::JitConfig { scale_set, runner } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Body<'a> {
                    name: &'a str,
                    work_folder: &'a str,
                }
                let body = json(&Body { name: runner, work_folder: WORK_FOLDER });
                Draft::send(Method::Post, format!("{SETS}/{scale_set}/generatejitconfig"), Some(body))
            }
            Self::RunnerByName { name } => Draft::get(format!("{RUNNERS}?agentName={}", encode(name))),
            Self::Runner { id } => Draft::get(format!("{RUNNERS}/{id}")),
            Self::Runners => Draft::get(RUNNERS.to_string()),
            Self::RemoveRunner { id } => Draft::send(Method::Delete, format!("{RUNNERS}/{id}"), None),
        }
    }

    /// Reads a success: its body must make sense, or it is none.
    pub(crate) fn answer(&self, reply: Reply) -> Result<Answer, CallError> {
        let status = reply.status;
        match (self, reply.body) {
            (Self::RunnerGroup { .. }, Body::Raw(bytes)) => {
                let List { value } = read::<List<RunnerGroup>>(&bytes.0, status)?;
                only(value, status).map(Answer::RunnerGroup)
            }
            (Self::ScaleSets, Body::Raw(bytes)) => {
                read::<List<ScaleSet>>(&bytes.0, status).map(|list| Answer::ScaleSets(list.value))
            }
            (Self::ScaleSetByName { .. }, Body::Raw(bytes)) => {
                let List { value } = read::<List<ScaleSet>>(&bytes.0, status)?;
                match only(value, status)? {
                    Some(set) if set.id == 0 => Err(misbehaved(status, "a scale set without an id")),
                    found => Ok(Answer::ScaleSet(found)),
                }
            }
            (Self::ScaleSet { .. } | Self::CreateScaleSet { .. } | Self::UpdateScaleSet { .. }, Body::Raw(bytes)) => {
                let set: ScaleSet = read(&bytes.0, status)?;
                if set.id == 0 {
                    return Err(misbehaved(status, "a scale set without an id"));
                }
                Ok(Answer::ScaleSet(Some(set)))
            }
            (Self::CreateSession { .. } | Self::RefreshSession { .. }, Body::Sealed(sealed)) => session(sealed, status),
            (Self::Poll { .. }, Body::Raw(bytes)) => message(status, &bytes.0),
            (Self::Acquire { .. }, Body::Raw(bytes)) => {
                read::<List<u64>>(&bytes.0, status).map(|list| Answer::Acquired(list.value))
            }
            (Self::AcquirableJobs { .. }, Body::Raw(bytes)) => acquirable(status, &bytes.0),
            (Self::JitConfig { .. }, Body::Sealed(Sealed::JitConfig { runner, config })) => {
                Ok(Answer::JitConfig { runner, config: config.slot })
            }
            (Self::RunnerByName { .. }, Body::Raw(bytes)) => {
                only(read::<List<Runner>>(&bytes.0, status)?.value, status).and_then(|found| runner(found, status))
            }
            (Self::Runner { .. }, Body::Raw(bytes)) => runner(Some(read(&bytes.0, status)?), status),
            (Self::Runners, Body::Raw(bytes)) => {
                read::<List<Runner>>(&bytes.0, status).map(|list| Answer::Runners(list.value))
            }
            (
                Self::DeleteScaleSet { .. }
                | Self::DeleteSession { .. }
                | Self::Acknowledge { .. }
                | Self::RemoveRunner { .. },
                _,
            ) if status == 204 => Ok(Answer::Done),
            (_, Body::Raw(_) | Body::Sealed(_)) => Err(misbehaved(status, "a body that does not parse")),
        }
    }
}

fn session(sealed: Sealed, status: u16) -> Result<Answer, CallError> {
    let Sealed::Session { session_id, message_queue_url, token, statistics } = sealed else {
        return Err(misbehaved(status, "a session that does not parse"));
    };
    let queue = Queue { url: message_queue_url, token: token.slot };
    Ok(Answer::Session(OpenedSession { id: session_id, queue, lifetime_s: token.lifetime_s, statistics }))
}

fn runner(found: Option<Runner>, status: u16) -> Result<Answer, CallError> {
    match found {
        Some(runner) if runner.id == 0 => Err(misbehaved(status, "a runner without an id")),
        found => Ok(Answer::Runner(found)),
    }
}

fn message(status: u16, bytes: &[u8]) -> Result<Answer, CallError> {
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes);
    if status == 202 {
        return Ok(Answer::Message(None));
    }
    if text.trim_ascii().is_empty() {
        return Ok(Answer::EmptyReply);
    }
    Message::parse(text).map(|m| Answer::Message(Some(m))).map_err(|e| misbehaved(status, &e))
}

fn acquirable(status: u16, bytes: &[u8]) -> Result<Answer, CallError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Job {
        #[serde(default, deserialize_with = "id")]
        runner_request_id: u64,
    }
    if status == 204 || bytes.trim_ascii().is_empty() {
        return Ok(Answer::AcquirableJobs(Vec::new()));
    }
    let jobs = read::<List<Job>>(bytes, status)?.value;
    Ok(Answer::AcquirableJobs(jobs.iter().map(|job| job.runner_request_id).filter(|id| *id != 0).collect()))
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], status: u16) -> Result<T, CallError> {
    serde_json::from_slice(bytes.strip_prefix(BOM).unwrap_or(bytes)).map_err(|e| misbehaved(status, &place(&e)))
}

fn only<T>(mut found: Vec<T>, status: u16) -> Result<Option<T>, CallError> {
    if found.len() > 1 {
        return Err(misbehaved(status, "more than one of that name"));
    }
    Ok(found.pop())
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("our own structs serialise: {e}"))
}

impl Draft {
    fn get(target: String) -> Self {
        Self::send(Method::Get, target, None)
    }

    fn send(method: Method, mut target: String, body: Option<String>) -> Self {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(API_VERSION);
        let mut headers = Vec::with_capacity(3);
        headers.push(Header { name: HeaderName::ContentType, value: Cow::Borrowed("application/json") });
        if !matches!(method, Method::Get) {
            headers.push(content_length(body.as_deref()));
        }
        let target = Target::Service(target);
        Self { method, target, token: None, headers, body, timeout: TIMEOUT, max_body: MAX_BODY }
    }

    fn poll(queue: &Queue, last_message: u64, max_capacity: u32) -> Self {
        const LAST_MESSAGE: &str = "lastMessageId=";
        let mut url = String::with_capacity(queue.url.len() + 1 + LAST_MESSAGE.len() + DIGITS);
        url.push_str(&queue.url);
        if last_message > 0 {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(LAST_MESSAGE);
            push_number(&mut url, last_message);
        }
        let mut headers = Vec::with_capacity(3);
        headers.push(Header { name: HeaderName::Accept, value: Cow::Borrowed(QUEUE_ACCEPT) });
        headers.push(Header { name: HeaderName::MaxCapacity, value: Cow::Owned(max_capacity.to_string()) });
        Self {
            method: Method::Get,
            target: Target::Queue(url),
            token: Some(queue.token),
            headers,
            body: None,
            timeout: POLL_TIMEOUT,
            max_body: MAX_BODY,
        }
    }

    fn acknowledge(queue: &Queue, message: u64) -> Self {
        let (path, query) = match queue.url.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (queue.url.as_str(), None),
        };
        let mut url = String::with_capacity(queue.url.len() + 1 + DIGITS);
        url.push_str(path.trim_end_matches('/'));
        url.push('/');
        push_number(&mut url, message);
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        let mut headers = Vec::with_capacity(3);
        headers.push(Header { name: HeaderName::Accept, value: Cow::Borrowed(QUEUE_ACCEPT) });
        headers.push(content_length(None));
        Self {
            method: Method::Delete,
            target: Target::Queue(url),
            token: Some(queue.token),
            headers,
            body: None,
            timeout: TIMEOUT,
            max_body: MAX_BODY,
        }
    }
}

pub(crate) fn content_length(body: Option<&str>) -> Header {
    let value = match body {
        Some(body) => Cow::Owned(body.len().to_string()),
        None => Cow::Borrowed("0"),
    };
    Header { name: HeaderName::ContentLength, value }
}

/// A `NotFound` of a call whose success is that something is gone.
pub(crate) const fn already_gone(error: &CallError) -> bool {
    matches!(error.kind, CallErrorKind::NotFound | CallErrorKind::ScaleSetNotFound)
}
