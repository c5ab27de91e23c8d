//! HTTP replies as data, after sealing: nothing in here is a secret.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::seal::Sealed;

/// One HTTP reply, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers the core may see.
    #[serde(default, skip_serializing_if = "ReplyHeaders::is_empty")]
    pub headers: ReplyHeaders,
    /// The body.
    pub body: Body,
}

/// The reply headers on the allow-list; all others stay at the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyHeaders {
    /// `Date`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// `X-RateLimit-Remaining`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_remaining: Option<String>,
    /// `X-RateLimit-Reset`, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_reset: Option<String>,
    /// `ActivityId`, by which GitHub's support finds a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_id: Option<String>,
    /// `X-GitHub-Request-Id`, by which GitHub's support finds a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_request_id: Option<String>,
}

impl ReplyHeaders {
    /// Whether no header on the list was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A reply's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The bytes as they came, of a call whose reply holds no secret.
    Raw(Bytes),
    /// What remains of a body that holds secrets.
    Sealed(Sealed),
}

/// Bytes of a body: in a recording they are text when they are UTF-8, else base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Recorded<T> {
    Text(T),
    Base64(T),
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match core::str::from_utf8(&self.0) {
            Ok(text) => Recorded::Text(text).serialize(serializer),
            Err(_) => Recorded::Base64(STANDARD.encode(&self.0)).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Recorded::<String>::deserialize(deserializer)? {
            Recorded::Text(text) => Ok(Self(text.into_bytes())),
            Recorded::Base64(text) => STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Why no reply came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportError {
    /// The kind of failure.
    pub kind: TransportErrorKind,
    /// What the HTTP client said, without any secret.
    pub detail: String,
}

/// The ways in which a request can end without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportErrorKind {
    /// No connection: name look-up, refusal or TLS failure. The request was not carried out.
    Connect,
    /// The reply did not come in time. Whether the request was carried out is unknown.
    TimedOut,
    /// The connection broke, or what came was not HTTP. Whether the request was carried out is unknown.
    Broken,
    /// The body was longer than the request allowed.
    TooLarge,
    /// The core called the request off.
    Cancelled,
    /// The shell could not send it: the credential cannot be read, or a slot is empty.
    NotSent,
}

impl TransportError {
    /// The shell did not answer in time.
    pub(crate) fn overdue() -> Self {
        Self { kind: TransportErrorKind::TimedOut, detail: "no reply, and no word from the HTTP client".into() }
    }
}
