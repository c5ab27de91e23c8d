//! HTTP requests as data. A request names the secret it needs; the shell fills it in as it sends.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Duration;

/// Names one call, to GitHub or to AWS. Ids count up and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// Where the shell keeps a secret: named by the request whose reply brought it, written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub RequestId);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One HTTP request to GitHub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The connection, by its name in the config: it decides credential, proxy and certificate authorities.
    pub connection: String,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// The secret that goes into `Authorization`.
    pub auth: Auth,
    /// The other headers, `Content-Length` included: the shell adds none but `Host` and `Authorization`.
    pub headers: Vec<Header>,
    /// The body, if any.
    pub body: Option<String>,
    /// How long the shell waits for the whole reply before it answers with a time-out.
    pub timeout: Duration,
    /// The most bytes of body the shell reads before it answers `TooLarge`.
    pub max_body: u32,
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// The method as it stands in a request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The most digits of a number in a URL or header.
pub(crate) const DIGITS: usize = 20;

/// Appends a number without a string of its own.
pub(crate) fn push_number(text: &mut String, number: u64) {
    use fmt::Write as _;
    write!(text, "{number}").unwrap_or_else(|_| unreachable!("a string takes all that is written to it"));
}

/// Which secret a request carries in its `Authorization` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auth {
    /// `Bearer` and the connection's own credential: its PAT, or a fresh JWT of its GitHub App.
    Credential,
    /// `Bearer` and the secret in the slot.
    Bearer(Slot),
    /// `RemoteAuth` and the secret in the slot.
    RemoteAuth(Slot),
}

/// One request header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: Cow<'static, str>,
}

/// The request headers the core sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum HeaderName {
    Accept,
    ContentType,
    ContentLength,
    UserAgent,
    /// `X-ScaleSetMaxCapacity`.
    MaxCapacity,
}

impl HeaderName {
    /// The header's name on the wire, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::ContentType => "content-type",
            Self::ContentLength => "content-length",
            Self::UserAgent => "user-agent",
            Self::MaxCapacity => "x-scalesetmaxcapacity",
        }
    }
}

/// What a request is for. It decides how its reply is sealed, and whether it may wait for minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the call of that name in the protocol")]
pub enum CallKind {
    Installation,
    AccessToken,
    RegistrationToken,
    AdminConnection,
    RunnerGroup,
    ScaleSets,
    ScaleSetByName,
    ScaleSet,
    CreateScaleSet,
    UpdateScaleSet,
    DeleteScaleSet,
    CreateSession,
    RefreshSession,
    DeleteSession,
    Poll,
    Acknowledge,
    Acquire,
    AcquirableJobs,
    JitConfig,
    RunnerByName,
    Runner,
    Runners,
    RemoveRunner,
}

impl CallKind {
    /// Every kind there is.
    pub const ALL: [Self; 23] = [
        Self::Installation,
        Self::AccessToken,
        Self::RegistrationToken,
        Self::AdminConnection,
        Self::RunnerGroup,
        Self::ScaleSets,
        Self::ScaleSetByName,
        Self::ScaleSet,
        Self::CreateScaleSet,
        Self::UpdateScaleSet,
        Self::DeleteScaleSet,
        Self::CreateSession,
        Self::RefreshSession,
        Self::DeleteSession,
        Self::Poll,
        Self::Acknowledge,
        Self::Acquire,
        Self::AcquirableJobs,
        Self::JitConfig,
        Self::RunnerByName,
        Self::Runner,
        Self::Runners,
        Self::RemoveRunner,
    ];

    /// The name in logs and metrics, for example `create_session`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::AccessToken => "access_token",
            Self::RegistrationToken => "registration_token",
            Self::AdminConnection => "admin_connection",
            Self::RunnerGroup => "runner_group",
            Self::ScaleSets => "scale_sets",
            Self::ScaleSetByName => "scale_set_by_name",
            Self::ScaleSet => "scale_set",
            Self::CreateScaleSet => "create_scale_set",
            Self::UpdateScaleSet => "update_scale_set",
            Self::DeleteScaleSet => "delete_scale_set",
            Self::CreateSession => "create_session",
            Self::RefreshSession => "refresh_session",
            Self::DeleteSession => "delete_session",
            Self::Poll => "poll",
            Self::Acknowledge => "acknowledge",
            Self::Acquire => "acquire",
            Self::AcquirableJobs => "acquirable_jobs",
            Self::JitConfig => "jit_config",
            Self::RunnerByName => "runner_by_name",
            Self::Runner => "runner",
            Self::Runners => "runners",
            Self::RemoveRunner => "remove_runner",
        }
    }

    /// Whether its reply brings a secret, so that of its body only what is sealed goes on.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        match self {
            Self::AccessToken
            | Self::RegistrationToken
            | Self::AdminConnection
            | Self::CreateSession
            | Self::RefreshSession
            | Self::JitConfig => true,
            Self::Installation
            | Self::RunnerGroup
            | Self::ScaleSets
            | Self::ScaleSetByName
            | Self::ScaleSet
            | Self::CreateScaleSet
            | Self::UpdateScaleSet
            | Self::DeleteScaleSet
            | Self::DeleteSession
            | Self::Poll
            | Self::Acknowledge
            | Self::Acquire
            | Self::AcquirableJobs
            | Self::RunnerByName
            | Self::Runner
            | Self::Runners
            | Self::RemoveRunner => false,
        }
    }

    /// Whether a message session makes it: a session has one of these under way at most.
    #[must_use]
    pub const fn is_of_session(self) -> bool {
        match self {
            Self::CreateSession
            | Self::RefreshSession
            | Self::DeleteSession
            | Self::Poll
            | Self::Acknowledge
            | Self::Acquire
            | Self::AcquirableJobs => true,
            Self::Installation
            | Self::AccessToken
            | Self::RegistrationToken
            | Self::AdminConnection
            | Self::RunnerGroup
            | Self::ScaleSets
            | Self::ScaleSetByName
            | Self::ScaleSet
            | Self::CreateScaleSet
            | Self::UpdateScaleSet
            | Self::DeleteScaleSet
            | Self::JitConfig
            | Self::RunnerByName
            | Self::Runner
            | Self::Runners
            | Self::RemoveRunner => false,
        }
    }

    /// Whether this is the long poll, which has clients and bounds of its own.
    #[must_use]
    pub const fn is_poll(self) -> bool {
        matches!(self, Self::Poll)
    }
}
