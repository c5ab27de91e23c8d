//! Signed requests to one service.

use std::sync::Arc;
use std::time::Instant;

use aws_credential_types::Credentials as Keys;
use poolkeeper_core::aws::AwsError;
use poolkeeper_core::github::reply::TransportErrorKind;
use poolkeeper_core::seal::Secret;
use poolkeeper_shell::aws::query::{FORM_TYPE, Scope, USER_AGENT, sign, xml};
use poolkeeper_shell::aws::{refused, unparsed};
use poolkeeper_shell::transport::redacted_text;
use ureq::Agent;
use ureq::http::{HeaderName, Request, header};

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use crate::http::{Answer, Bounds, Fault, INPUT_BYTES, Wires, exchange};

/// The most bytes of a reply: a page of a hundred groups with thousands of instances.
const BODY_MAX: u32 = 64 << 20;
const OK: u16 = 200;
/// Refusals after which credentials are looked up again.
const ENDED: [&str; 4] =
    ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];

/// The client of one service.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    pub(super) region: String,
    pub(super) credentials: Arc<Credentials>,
    pub(super) wires: Wires,
}

/// A header of a request.
pub(super) type Header = (HeaderName, &'static str);

/// A reply, and the credentials that its request was signed with.
pub(super) struct Reply {
    pub(super) answer: Answer,
    keys: Keys,
}

impl Client {
    /// A new agent for this service.
    pub(super) fn agent(&self) -> Agent {
        self.wires.agent(self.endpoint.is_https(), INPUT_BYTES)
    }

    /// Posts a query; the body of its reply.
    ///
    /// # Errors
    /// When AWS refused, answered nonsense, or nothing came.
    pub(super) fn query(&self, agent: &Agent, body: &str, deadline: Instant) -> Result<String, AwsError> {
        let reply = self.post(agent, &[(header::CONTENT_TYPE, FORM_TYPE)], body.to_owned(), deadline)?;
        let Ok(text) = str::from_utf8(&reply.answer.body) else { return Err(unparsed(reply.answer.status)) };
        if reply.answer.status == OK {
            return Ok(text.to_owned());
        }
        let refusal = xml::refusal(text);
        Err(self.refused(&reply, &refusal.code, refusal.message))
    }

    /// Posts a body, whatever it is.
    ///
    /// # Errors
    /// When there are no credentials, or no reply came.
    pub(super) fn post(
        &self,
        agent: &Agent,
        headers: &[Header],
        body: String,
        deadline: Instant,
    ) -> Result<Reply, AwsError> {
        let unsendable = |message: String| AwsError::Transport { message };
        let mut request =
            Request::builder().method("POST").uri(&self.endpoint.url).header(header::USER_AGENT, USER_AGENT);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(body).map_err(|error| unsendable(error.to_string()))?;
        let keys = self.credentials.current(deadline).map_err(|message| AwsError::Denied { message })?;
        let scope = Scope { region: &self.region, service: self.endpoint.service };
        let request = sign(request, &keys, scope)?.map(|body| Some(body.into_bytes()));
        let timeout = deadline.saturating_duration_since(Instant::now());
        if timeout.is_zero() {
            return Err(unsendable("no answer in time".to_owned()));
        }
        let answer = exchange(agent, request, Bounds { timeout, body_max: BODY_MAX }).map_err(unanswered)?;
        Ok(Reply { answer, keys })
    }

    /// What a refusal means. Credentials that AWS does not take are looked up again.
    pub(super) fn refused(&self, reply: &Reply, code: &str, message: String) -> AwsError {
        if ENDED.contains(&code) {
            self.credentials.refused(&reply.keys);
        }
        // A refused signature comes with what should have been signed, the token included.
        let token = Secret::new(reply.keys.session_token().unwrap_or_default().to_owned());
        refused(reply.answer.status, code, &redacted_text(message, &token))
    }
}

/// What it means that no whole reply came.
fn unanswered(Fault { kind, detail, status }: Fault) -> AwsError {
    match status {
        Some(status) if kind == TransportErrorKind::Broken => unparsed(status),
        Some(_) | None => AwsError::Transport { message: detail },
    }
}
