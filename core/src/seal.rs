//! Sealing: a reply's secrets are taken out before the machine, or anything that records it, sees the reply.
//!
//! Six calls bring secrets. Their bodies are parsed here and written again as our own structs: known fields only,
//! each secret replaced by a [`SealedSecret`]. A body that does not parse leaves nothing but its length.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::github::answer::Runner;
use crate::github::message::Statistics;
use crate::github::reply::{Body, Bytes, Reply, ReplyHeaders};
use crate::github::request::{CallKind, Slot};
use crate::time::{unix_s_from_http_date, unix_s_from_rfc3339};

/// The most characters of a peer's error message that are kept.
const MESSAGE_CHARS: usize = 500;
/// Shorter texts are no secrets, and replacing them would garble bodies.
const SHORTEST_SECRET: usize = 8;
/// `memchr` looks for so many bytes without making tables beforehand.
const ANCHOR_BYTES: usize = 32;
/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";
/// The UTF-8 byte order mark that some replies begin with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What remains of a secret-bearing reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sealed {
    /// An installation access token or a registration token.
    Token {
        /// The token.
        token: SealedSecret,
    },
    /// The admin connection.
    AdminConnection {
        /// The base URL of the Actions Service.
        url: String,
        /// The admin token.
        token: SealedSecret,
    },
    /// A message session, created or refreshed.
    Session {
        /// Its id.
        session_id: String,
        /// The queue's URL.
        message_queue_url: String,
        /// The queue's token.
        token: SealedSecret,
        /// The counts, if they were sent.
        statistics: Option<Statistics>,
    },
    /// A registered runner and its one-job config.
    JitConfig {
        /// The runner.
        runner: Runner,
        /// The config.
        config: SealedSecret,
    },
    /// An error body.
    Error {
        /// Its `typeName`.
        type_name: String,
        /// Its `message`.
        message: String,
    },
    /// A body that did not parse: nothing of it is kept.
    Unparsed {
        /// Its length in bytes.
        len: u64,
    },
}

/// What may be known of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Where the shell keeps it.
    pub slot: Slot,
    /// Its length in bytes.
    pub len: u32,
    /// How long it lives from now, as far as the reply told.
    pub lifetime_s: Option<u64>,
}

/// A secret on its way to the shell's vault. It prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the request that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// A reply as it came from the wire.
#[derive(Clone, Debug)]
pub struct RawReply {
    /// The status code.
    pub status: u16,
    /// The headers on the allow-list.
    pub headers: ReplyHeaders,
    /// The body.
    pub body: Vec<u8>,
}

/// Takes the secrets out of a reply: the reply for the machine, and the secret for the vault.
///
/// `slot` is named by the request, and `sent` is the secret that went out with it: should the peer echo it, it is
/// replaced wherever it stands.
#[must_use]
pub fn seal(call: CallKind, slot: Slot, raw: RawReply, sent: &Secret) -> (Reply, Option<Secret>) {
    let RawReply { status, headers, body } = raw;
    let headers = redact_headers(headers, sent);
    let body = redact(body, sent);
    let Some(parse) = parser(call) else {
        return (Reply { status, headers, body: Body::Raw(Bytes(body)) }, None);
    };
    let text = body.strip_prefix(BOM).unwrap_or(&body);
    let (sealed, secret) = if (200..300).contains(&status) {
        parse(text, Edge { slot, headers: &headers }).map_or((None, None), |(s, secret)| (Some(s), Some(secret)))
    } else {
        (error_body(text), None)
    };
    let sealed = sealed.unwrap_or(Sealed::Unparsed { len: u64::try_from(body.len()).unwrap_or(u64::MAX) });
    (Reply { status, headers, body: Body::Sealed(sealed) }, secret)
}

/// What a parser needs beside the body.
struct Edge<'a> {
    slot: Slot,
    headers: &'a ReplyHeaders,
}

type Parser = fn(&[u8], Edge<'_>) -> Option<(Sealed, Secret)>;

const fn parser(call: CallKind) -> Option<Parser> {
    match call {
        CallKind::AccessToken | CallKind::RegistrationToken => Some(token),
        CallKind::AdminConnection => Some(admin_connection),
        CallKind::CreateSession | CallKind::RefreshSession => Some(session),
        CallKind::JitConfig => Some(jit_config),
        CallKind::Installation
        | CallKind::RunnerGroup
        | CallKind::ScaleSets
        | CallKind::ScaleSetByName
        | CallKind::ScaleSet
        | CallKind::CreateScaleSet
        | CallKind::UpdateScaleSet
        | CallKind::DeleteScaleSet
        | CallKind::DeleteSession
        | CallKind::Poll
        | CallKind::Acknowledge
        | CallKind::Acquire
        | CallKind::AcquirableJobs
        | CallKind::RunnerByName
        | CallKind::Runner
        | CallKind::Runners
        | CallKind::RemoveRunner => None,
    }
}

fn token(body: &[u8], edge: Edge<'_>) -> Option<(Sealed, Secret)> {
    #[derive(Deserialize)]
    struct Wire {
        token: String,
        expires_at: Option<String>,
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    let ends_s = wire.expires_at.as_deref().and_then(unix_s_from_rfc3339);
    let token = edge.sealed(&wire.token, ends_s.and_then(|end| edge.seconds_until(end)))?;
    Some((Sealed::Token { token }, Secret(wire.token)))
}

fn admin_connection(body: &[u8], edge: Edge<'_>) -> Option<(Sealed, Secret)> {
    #[derive(Deserialize)]
    struct Wire {
        url: String,
        token: String,
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    if wire.url.is_empty() {
        return None;
    }
    let token = edge.sealed(&wire.token, edge.jwt_lifetime_s(&wire.token))?;
    Some((Sealed::AdminConnection { url: wire.url, token }, Secret(wire.token)))
}

fn session(body: &[u8], edge: Edge<'_>) -> Option<(Sealed, Secret)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        session_id: String,
        message_queue_url: Option<String>,
        message_queue_access_token: Option<String>,
        #[serde(default)]
        statistics: Option<Statistics>,
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    if wire.session_id.is_empty() {
        return None;
    }
    let secret = wire.message_queue_access_token.unwrap_or_default();
    let token = SealedSecret {
        slot: edge.slot,
        len: u32::try_from(secret.len()).unwrap_or(u32::MAX),
        lifetime_s: edge.jwt_lifetime_s(&secret),
    };
    let message_queue_url = wire.message_queue_url.unwrap_or_default();
    let sealed = Sealed::Session { session_id: wire.session_id, message_queue_url, token, statistics: wire.statistics };
    Some((sealed, Secret(secret)))
}

fn jit_config(body: &[u8], edge: Edge<'_>) -> Option<(Sealed, Secret)> {
    #[derive(Deserialize)]
    struct Wire {
        runner: Runner,
        #[serde(rename = "encodedJITConfig")]
        config: String,
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    let config = edge.sealed(&wire.config, None)?;
    Some((Sealed::JitConfig { runner: wire.runner, config }, Secret(wire.config)))
}

fn error_body(body: &[u8]) -> Option<Sealed> {
    let error = ErrorBody::parse(body)?;
    Some(Sealed::Error { type_name: error.type_name, message: error.message })
}

/// The error body of the Actions Service and of the REST API.
#[derive(Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(rename = "typeName", default)]
    pub(crate) type_name: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl ErrorBody {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let error: Self = serde_json::from_slice(body).ok()?;
        let cut = |mut text: String| {
            if let Some((end, _)) = text.char_indices().nth(MESSAGE_CHARS) {
                text.truncate(end);
            }
            text
        };
        Some(Self { type_name: cut(error.type_name), message: cut(error.message) })
    }
}

impl Edge<'_> {
    fn sealed(&self, secret: &str, lifetime_s: Option<u64>) -> Option<SealedSecret> {
        if secret.is_empty() {
            return None;
        }
        Some(SealedSecret { slot: self.slot, len: u32::try_from(secret.len()).unwrap_or(u32::MAX), lifetime_s })
    }

    /// Seconds from the reply's own `Date` to `end`: two clocks of the same peer, so ours may be wrong.
    fn seconds_until(&self, end_s: u64) -> Option<u64> {
        let date_s = unix_s_from_http_date(self.headers.date.as_deref()?)?;
        Some(end_s.saturating_sub(date_s))
    }

    fn jwt_lifetime_s(&self, jwt: &str) -> Option<u64> {
        #[derive(Deserialize)]
        struct Claims {
            exp: Option<u64>,
            iat: Option<u64>,
        }
        let payload = jwt.split('.').nth(1)?;
        let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: Claims = serde_json::from_slice(&json).ok()?;
        let exp = claims.exp?;
        match claims.iat {
            Some(iat) if iat <= exp => Some(exp - iat),
            Some(_) | None => self.seconds_until(exp),
        }
    }
}

fn redact_headers(mut headers: ReplyHeaders, sent: &Secret) -> ReplyHeaders {
    let ReplyHeaders { date, retry_after, rate_limit_remaining, rate_limit_reset, activity_id, github_request_id } =
        &mut headers;
    for value in [date, retry_after, rate_limit_remaining, rate_limit_reset, activity_id, github_request_id] {
        if let Some(text) = value.take_if(|text| may_hold(text.as_bytes(), sent)) {
            *value = Some(text.replace(&sent.0, REDACTED));
        }
    }
    headers
}

fn redact(body: Vec<u8>, sent: &Secret) -> Vec<u8> {
    if may_hold(&body, sent) { String::from_utf8_lossy(&body).replace(&sent.0, REDACTED).into_bytes() } else { body }
}

/// Whether a text is worth the search for a secret, which is dear before it begins: its last bytes are in there.
fn may_hold(text: &[u8], secret: &Secret) -> bool {
    let secret = secret.0.as_bytes();
    let end = secret.get(secret.len().saturating_sub(ANCHOR_BYTES)..).unwrap_or_default();
    secret.len() >= SHORTEST_SECRET && memmem::find(text, end).is_some()
}

#[cfg(test)]
mod tests;
