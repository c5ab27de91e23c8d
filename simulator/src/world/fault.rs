//! Faults: what goes wrong with the next calls of a kind.

use std::collections::BTreeMap;

use poolkeeper_core::aws::AwsError;
use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

use crate::aws::query;
use crate::github::http_date;
use crate::http::{HttpResponse, Served};

/// The body of [`FaultAction::Big`].
const BIG_BODY: usize = 10 * 1024 * 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";
const LIST: &[u8] = b"{\"count\":0,\"value\":[]}";
const HTML: &[u8] = b"<!DOCTYPE html><html><body><h1>Unicorn!</h1></body></html>";
/// The most faults that wait at once.
const MAX_FAULTS: usize = 1000;

/// What goes wrong, with which calls, how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The call: a name of [`Call`](crate::github::Call) such as `poll`, an AWS action such as `SetDesiredCapacity`,
    /// `github` for every call to GitHub, or `aws` for every call to AWS.
    pub call: String,
    /// How many calls it hits.
    pub times: u32,
    /// What happens to them.
    pub action: FaultAction,
}

/// Faults that hit calls by chance, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// The calls, as in [`Fault::call`].
    pub call: String,
    /// How many of a thousand calls are hit.
    pub per_mille: u64,
    /// What happens to them.
    pub action: FaultAction,
}

/// How a rate limit says how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitHeader {
    /// Not at all: the text alone says that it is one.
    None,
    /// `Retry-After` in seconds.
    RetryAfter,
    /// `X-RateLimit-Remaining: 0` and `X-RateLimit-Reset`.
    Reset,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// It is refused: a JSON or text body for GitHub; for AWS the body is the error's code.
    Status {
        /// The status code.
        code: u16,
        /// The body.
        #[serde(default)]
        body: String,
        /// More headers; names in lower case.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// A 200 with nothing in it; the call is not carried out.
    EmptyOk,
    /// A 200 with a web page in it; the call is not carried out.
    Html,
    /// The call is carried out; its reply is complete HTTP with half of the body.
    Truncated,
    /// The call is carried out; its reply begins with a byte order mark.
    Bom,
    /// The call is carried out; the message in its reply has a type nobody knows.
    UnknownMessageType,
    /// The call is carried out; the statistics in its reply are all zero.
    ZeroStatistics,
    /// A 200 of 10 MB; the call is not carried out.
    Big,
    /// No reply comes, ever; the call is not carried out.
    Hang,
    /// The connection is closed at once; the call is not carried out.
    Close,
    /// The call is carried out; the connection is closed without a reply.
    LoseReply,
    /// The call is carried out; the connection is closed in the middle of the reply.
    CutShort,
    /// The call is carried out; its reply is late.
    Delay {
        /// By so much.
        ms: u64,
    },
    /// No reply comes, ever; the call is carried out, but only then.
    Linger {
        /// After so long.
        ms: u64,
    },
    /// GitHub says that it is too much; of AWS it is throttling.
    RateLimit {
        /// The status code.
        code: u16,
        /// How long is to be waited.
        wait_s: u64,
        /// How that is said.
        header: WaitHeader,
    },
    /// A 200 with an empty list; the call is not carried out.
    EmptyList,
    /// The call is carried out; the session in its reply has no queue.
    NoQueue,
}

/// Faults that wait for their calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    waiting: Vec<Fault>,
    weather: Vec<(Instant, Weather)>,
    pub(super) hits: u64,
}

/// What a fault makes of a call before it is carried out.
pub(super) enum Verdict {
    /// Carry it out, then let [`FaultAction::bend`] have the reply.
    Carry(Option<FaultAction>),
    /// Answer this, and carry nothing out.
    Answer(HttpResponse),
    Hang,
    Close,
    /// Carry it out then, and answer nothing.
    Linger(Duration),
}

impl Faults {
    /// Adds a fault; false when too many wait already.
    pub(super) fn add(&mut self, fault: Fault) -> bool {
        let room = self.waiting.len() < MAX_FAULTS;
        if room {
            self.waiting.push(fault);
        }
        room
    }

    /// Adds faults by chance; false when there are too many kinds of them already.
    /// Whether lists may be told to be empty that are not.
    pub(super) fn hide_lists(&self) -> bool {
        self.weather.iter().any(|(_, weather)| weather.action == FaultAction::EmptyList)
    }

    pub(super) fn add_weather(&mut self, until: Instant, weather: Weather) -> bool {
        let room = self.weather.len() < MAX_FAULTS;
        if room {
            self.weather.push((until, weather));
        }
        room
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.weather.clear();
    }

    /// The fault that hits this call, if any.
    pub(super) fn hit(&mut self, now: Instant, rng: &mut Rng, call: &str, peer: &str) -> Option<FaultAction> {
        if self.waiting.is_empty() && self.weather.is_empty() {
            return None;
        }
        let hit = self.hit_in_turn(call, peer).or_else(|| self.hit_by_chance(now, rng, call, peer));
        self.hits += u64::from(hit.is_some());
        hit
    }

    fn hit_by_chance(&mut self, now: Instant, rng: &mut Rng, call: &str, peer: &str) -> Option<FaultAction> {
        self.weather.retain(|(until, _)| now < *until);
        let mut over = self.weather.iter().map(|(_, weather)| weather).filter(|w| w.call == call || w.call == peer);
        over.find(|weather| rng.below(1000) < weather.per_mille).map(|weather| weather.action.clone())
    }

    /// Each hit uses one up.
    fn hit_in_turn(&mut self, call: &str, peer: &str) -> Option<FaultAction> {
        let at = self.waiting.iter().position(|f| f.call == call || f.call == peer)?;
        let fault = self.waiting.get_mut(at)?;
        let action = fault.action.clone();
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.waiting.remove(at);
        }
        Some(action)
    }
}

impl FaultAction {
    /// Whether it is what a true answer that ends the matter looks like: of a peer that says so and does nothing nobody can tell.
    pub(super) fn is_success_of(&self, call: &str) -> bool {
        let Self::Status { code, body, .. } = self else { return false };
        match call {
            "acknowledge" | "delete_session" | "delete_scale_set" => *code == 204,
            // The gate: that it tells no lies is what everything rests on.
            "remove_runner" => *code == 204 || body.contains("AgentNotFound"),
            _ => false,
        }
    }

    pub(super) fn before(self, aws: bool, unix_ms: u64) -> Verdict {
        match self {
            Self::RateLimit { .. } if aws => Verdict::Answer(refusal(400, "Throttling", BTreeMap::new(), true)),
            Self::RateLimit { code, wait_s, header } => Verdict::Answer(rate_limit(code, wait_s, header, unix_ms)),
            Self::Linger { ms } => Verdict::Linger(Duration::from_millis(ms)),
            Self::EmptyList => Verdict::Answer(HttpResponse { status: 200, headers: Vec::new(), body: LIST.to_vec() }),
            Self::Status { code, body, headers } => Verdict::Answer(refusal(code, &body, headers, aws)),
            Self::EmptyOk => Verdict::Answer(HttpResponse { status: 200, ..HttpResponse::default() }),
            Self::Html => Verdict::Answer(page(HTML.to_vec())),
            Self::Big => Verdict::Answer(page(vec![b' '; BIG_BODY])),
            Self::Hang => Verdict::Hang,
            Self::Close => Verdict::Close,
            Self::Truncated
            | Self::Bom
            | Self::UnknownMessageType
            | Self::ZeroStatistics
            | Self::LoseReply
            | Self::Delay { .. }
            | Self::NoQueue
            | Self::CutShort => Verdict::Carry(Some(self)),
        }
    }

    /// What a fault makes of the reply of a call that was carried out.
    pub(super) fn bend(&self, mut reply: HttpResponse) -> Served {
        match self {
            Self::Truncated => reply.body.truncate(reply.body.len() / 2),
            Self::Bom => reply.body = [BOM, &reply.body].concat(),
            Self::UnknownMessageType => set_field(&mut reply.body, "messageType", "Unheard".into()),
            Self::ZeroStatistics => zero_statistics(&mut reply.body),
            Self::LoseReply => return Served::Close,
            Self::CutShort => return Served::CutShort(reply),
            Self::NoQueue => set_field(&mut reply.body, "messageQueueUrl", "".into()),
            Self::Status { .. }
            | Self::EmptyOk
            | Self::Html
            | Self::Big
            | Self::Hang
            | Self::Close
            | Self::Delay { .. }
            | Self::Linger { .. }
            | Self::RateLimit { .. }
            | Self::EmptyList => {}
        }
        Served::Reply(reply)
    }

    /// Whether the bent reply can be handed out when a held poll ends.
    pub(super) const fn keeps_the_reply(&self) -> bool {
        !matches!(self, Self::LoseReply | Self::CutShort)
    }
}

/// How the core's AWS client would see a reply, or the lack of one.
pub(super) fn as_aws_error(verdict: &Verdict) -> Option<AwsError> {
    let message = "a fault".to_owned();
    match verdict {
        Verdict::Carry(_) => None,
        Verdict::Answer(reply) => {
            let body = String::from_utf8_lossy(&reply.body);
            Some(match reply.status {
                200 => AwsError::Misbehaved { message },
                429 => AwsError::Throttled,
                _ if body.contains("Throttling") => AwsError::Throttled,
                _ if body.contains("ResourceContention") => AwsError::Contention,
                400 => AwsError::Validation { message },
                401 | 403 => AwsError::Denied { message },
                _ => AwsError::Misbehaved { message },
            })
        }
        Verdict::Hang | Verdict::Close | Verdict::Linger(_) => Some(AwsError::Transport { message }),
    }
}

fn refusal(status: u16, body: &str, headers: BTreeMap<String, String>, aws: bool) -> HttpResponse {
    let mut reply = if aws {
        let code = match body {
            "Throttling" => "Throttling",
            "AccessDenied" => "AccessDenied",
            "ResourceContention" => "ResourceContention",
            "ScalingActivityInProgress" => "ScalingActivityInProgress",
            "ValidationError" => "ValidationError",
            "ExpiredToken" => "ExpiredToken",
            _ => "InternalFailure",
        };
        query::error_reply(status, code, "A fault was injected.")
    } else {
        let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
        HttpResponse { status, headers: vec![("content-type".into(), kind.into())], body: body.as_bytes().to_vec() }
    };
    reply.headers.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
    reply
}

fn rate_limit(code: u16, wait_s: u64, header: WaitHeader, unix_ms: u64) -> HttpResponse {
    let mut reply = refusal(code, "You have exceeded a secondary rate limit.", BTreeMap::new(), false);
    reply.headers.push(("date".into(), http_date(unix_ms).into()));
    match header {
        WaitHeader::None => {}
        WaitHeader::RetryAfter => reply.headers.push(("retry-after".into(), wait_s.to_string().into())),
        WaitHeader::Reset => reply.headers.extend([
            ("x-ratelimit-remaining".into(), "0".into()),
            ("x-ratelimit-reset".into(), (unix_ms / 1000 + wait_s).to_string().into()),
        ]),
    }
    reply
}

fn page(body: Vec<u8>) -> HttpResponse {
    let headers = vec![("content-type".into(), "text/html".into())];
    HttpResponse { status: 200, headers, body }
}

fn set_field(body: &mut Vec<u8>, key: &str, value: serde_json::Value) {
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    if let Some(field) = json.get_mut(key) {
        *field = value;
        *body = json.to_string().into_bytes();
    }
}

fn zero_statistics(body: &mut Vec<u8>) {
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    if let Some(counts) = json.get_mut("statistics").and_then(|s| s.as_object_mut()) {
        for count in counts.values_mut() {
            *count = 0.into();
        }
        *body = json.to_string().into_bytes();
    }
}
