//! Carries requests to GitHub and brings back sealed replies.

mod clients;
mod fault;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::{Reply, ReplyHeaders, TransportError};
use poolkeeper_core::github::request::{CallKind, Header, Method, Request, RequestId};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_shell::clock;
use poolkeeper_shell::config::GitHubSettings;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::transport::{ConnectionProblem, not_sent, outcome, reply_headers, too_large};
use poolkeeper_shell::vault::{Authorization, Vault};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::task::AbortHandle;

use crate::inbox::Promise;
use clients::Clients;
use fault::transport_error;
use queue::{Queue, QueueCall};

/// A body is read into memory as it comes, beginning with no more than this.
const FIRST_BODY_BYTES: usize = 16 * 1024;

/// The transport to every GitHub in the config.
#[derive(Clone)]
pub struct GitHub {
    connections: Arc<BTreeMap<String, Clients>>,
    vault: Arc<Vault>,
    telemetry: Arc<Telemetry>,
}

impl GitHub {
    /// Makes the HTTP clients of every connection.
    ///
    /// # Errors
    /// When a `ca_file` cannot be read or a proxy is no URL.
    pub fn open(
        settings: &BTreeMap<String, GitHubSettings>,
        vault: Arc<Vault>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, ConnectionProblem> {
        let mut connections = BTreeMap::new();
        for (name, settings) in settings {
            let clients =
                Clients::build(settings).map_err(|problem| ConnectionProblem { connection: name.clone(), problem })?;
            connections.insert(name.clone(), clients);
        }
        Ok(Self { connections: Arc::new(connections), vault, telemetry })
    }

    /// Starts a call; aborting it answers the promise with `Cancelled`.
    #[must_use]
    pub fn start(&self, id: RequestId, call: CallKind, request: Box<Request>, promise: Promise) -> AbortHandle {
        let github = self.clone();
        if matches!(call, CallKind::Poll | CallKind::Acknowledge) {
            return self.start_at_queue(id, call, request, promise);
        }
        // The machine may drop the slot before the task has its turn.
        let kept = self.vault.kept_authorization(&request);
        let task = async move {
            let result = github.exchange_with(id, call, request, kept).await;
            promise.keep(Event::GitHubReply { id, result });
        };
        tokio::spawn(task).abort_handle()
    }

    /// A held poll is all that an idle listener costs: its task keeps what it needs, and nothing else. A message's
    /// acknowledgement goes over a connection that a poll has just left.
    fn start_at_queue(&self, id: RequestId, call: CallKind, request: Box<Request>, promise: Promise) -> AbortHandle {
        let github = self.clone();
        let connection = request.connection.clone();
        match self.prepare_at_queue(request) {
            Ready::AtQueue(queue, call_at_queue) => {
                let sent = call_at_queue.sent.clone();
                let started = Instant::now();
                let held = Box::pin(queue.exchange(call_at_queue));
                let task = async move {
                    let result =
                        held.await.map(|raw| github.vault.seal(call, id, &connection, raw, &sent, clock::unix_s()));
                    github.count(call, &connection, &result, started);
                    promise.keep(Event::GitHubReply { id, result });
                };
                tokio::spawn(task).abort_handle()
            }
            Ready::Other(request) => {
                let kept = self.vault.kept_authorization(&request);
                let task = async move {
                    let result = github.exchange_with(id, call, request, kept).await;
                    promise.keep(Event::GitHubReply { id, result });
                };
                tokio::spawn(task).abort_handle()
            }
        }
    }

    /// The call for the queue's client, unless a proxy is in the way or it cannot be sent at all.
    fn prepare_at_queue(&self, request: Box<Request>) -> Ready {
        let queue = self.connections.get(&request.connection).and_then(|clients| clients.queue.as_ref());
        let Ok(uri) = request.url.parse::<hyper::Uri>() else { return Ready::Other(request) };
        let Some(queue) = queue.filter(|queue| queue.reaches(&uri)) else { return Ready::Other(request) };
        let Ok(authorization) = self.vault.authorization(&request, clock::unix_s()) else {
            return Ready::Other(request);
        };
        let Ok(headers) = wire_headers(&request.headers, &authorization.header) else { return Ready::Other(request) };
        let mut wire = hyper::Request::new(http_body_util::Empty::new());
        *wire.method_mut() = wire_method(request.method);
        *wire.uri_mut() = uri;
        *wire.headers_mut() = headers;
        let timeout = std::time::Duration::from_millis(request.timeout.as_millis());
        let call =
            QueueCall { request: Box::new(wire), timeout, max_body: request.max_body, sent: authorization.secret };
        Ready::AtQueue(queue.clone(), Box::new(call))
    }

    /// Carries one request there and its reply back.
    ///
    /// # Errors
    /// When no reply came, or it was longer than the request allows.
    pub async fn exchange(
        &self,
        id: RequestId,
        call: CallKind,
        request: Box<Request>,
    ) -> Result<Reply, TransportError> {
        let kept = self.vault.kept_authorization(&request);
        self.exchange_with(id, call, request, kept).await
    }

    async fn exchange_with(
        &self,
        id: RequestId,
        call: CallKind,
        request: Box<Request>,
        kept: Result<Option<Authorization>, String>,
    ) -> Result<Reply, TransportError> {
        let started = Instant::now();
        let connection = request.connection.clone();
        let result = match self.prepare(call, request, kept) {
            Ok(prepared) => {
                let Prepared { client, request, max_body, sent } = prepared;
                receive(client, request, max_body, &sent)
                    .await
                    .map(|raw| self.vault.seal(call, id, &connection, raw, &sent, clock::unix_s()))
            }
            Err(error) => Err(error),
        };
        self.count(call, &connection, &result, started);
        result
    }

    fn prepare(
        &self,
        call: CallKind,
        request: Box<Request>,
        kept: Result<Option<Authorization>, String>,
    ) -> Result<Prepared, TransportError> {
        let clients = self
            .connections
            .get(&request.connection)
            .ok_or_else(|| not_sent("the connection is not in the config any more"))?;
        let client = if call.is_poll() { &clients.proxied_polls } else { &clients.calls };
        let authorization = match kept.map_err(not_sent)? {
            Some(kept) => kept,
            None => self.vault.authorization(&request, clock::unix_s()).map_err(not_sent)?,
        };
        let max_body = request.max_body;
        let built = wire(*request, &authorization.header)?;
        Ok(Prepared { client: client.clone(), request: built, max_body, sent: authorization.secret })
    }

    fn count(&self, call: CallKind, connection: &str, result: &Result<Reply, TransportError>, started: Instant) {
        let outcome = outcome(result.as_ref().map(|reply| reply.status).map_err(|error| error.kind));
        self.telemetry.github_call(call, connection, &outcome, started.elapsed());
    }
}

enum Ready {
    AtQueue(Queue, Box<QueueCall>),
    Other(Box<Request>),
}

struct Prepared {
    client: reqwest::Client,
    request: reqwest::Request,
    max_body: u32,
    sent: Secret,
}

/// The request as the HTTP client wants it: the core's headers, `Authorization`, and none of our own.
fn wire(request: Request, authorization: &str) -> Result<reqwest::Request, TransportError> {
    let Request { method, url, headers, body, timeout, .. } = request;
    let url = reqwest::Url::parse(&url).map_err(|error| not_sent(format!("bad URL: {error}")))?;
    let mut built = reqwest::Request::new(wire_method(method), url);
    *built.timeout_mut() = Some(std::time::Duration::from_millis(timeout.as_millis()));
    *built.body_mut() = body.map(Into::into);
    *built.headers_mut() = wire_headers(&headers, authorization)?;
    Ok(built)
}

fn wire_headers(headers: &[Header], authorization: &str) -> Result<HeaderMap, TransportError> {
    let mut map = HeaderMap::with_capacity(headers.len().saturating_add(1));
    for header in headers {
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| not_sent(format!("header {} is illegal", header.name.as_str())))?;
        map.insert(HeaderName::from_static(header.name.as_str()), value);
    }
    let mut secret = HeaderValue::from_str(authorization)
        .map_err(|_| not_sent("the credential holds characters that no header may hold"))?;
    secret.set_sensitive(true);
    map.insert(AUTHORIZATION, secret);
    Ok(map)
}

const fn wire_method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

async fn receive(
    client: reqwest::Client,
    request: reqwest::Request,
    max_body: u32,
    sent: &Secret,
) -> Result<RawReply, TransportError> {
    let fault = |error| transport_error(error, sent);
    let mut response = client.execute(request).await.map_err(fault)?;
    drop(client);
    let limit = usize::try_from(max_body).unwrap_or(usize::MAX);
    let announced = response.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if announced > limit {
        return Err(too_large(max_body));
    }
    let mut body = Vec::with_capacity(announced.min(FIRST_BODY_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(fault)? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(too_large(max_body));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawReply { status: response.status().as_u16(), headers: allowed(response.headers()), body })
}

fn allowed(headers: &HeaderMap) -> ReplyHeaders {
    reply_headers(|name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned))
}
