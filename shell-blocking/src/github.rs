//! Carries requests to GitHub and brings back sealed replies: a thread each for polls, a few for all else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::{Reply, ReplyHeaders, TransportError};
use poolkeeper_core::github::request::{CallKind, Request, RequestId};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_shell::clock;
use poolkeeper_shell::config::GitHubSettings;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::transport::{ConnectionProblem, not_sent, outcome};
use poolkeeper_shell::vault::Vault;
use ureq::Agent;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue};

use crate::crew::{Crew, Hand};
use crate::http::{Bounds, Dns, INPUT_BYTES, LISTENER_INPUT_BYTES, Wires, exchange, of_config, tls_config};
use crate::inbox::Promise;

/// The most listeners, one thread each.
const LISTENERS_MAX: usize = 20_000;
/// More listeners than this are better off with the other daemon.
const LISTENERS_FINE: usize = 1000;
/// Threads for other calls on a connection: as many as the core has under way there.
const WORKERS_MAX: usize = 8;

/// The transport to every GitHub in the config.
pub(crate) struct GitHub {
    lines: BTreeMap<String, Line>,
    warned: AtomicBool,
}

/// The threads of one connection.
struct Line {
    listeners: Crew<Call>,
    workers: Crew<Call>,
}

/// A call under way.
struct Call {
    id: RequestId,
    kind: CallKind,
    request: Box<Request>,
    promise: Promise,
}

impl GitHub {
    /// Makes what connections need; their threads start with their first calls.
    ///
    /// # Errors
    /// When a `ca_file` cannot be read or a proxy is no URL.
    pub(crate) fn open(
        settings: &BTreeMap<String, GitHubSettings>,
        dns: &Dns,
        vault: &Arc<Vault>,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Self, ConnectionProblem> {
        let mut lines = BTreeMap::new();
        for (name, settings) in settings {
            let wires =
                wires(settings, dns).map_err(|problem| ConnectionProblem { connection: name.clone(), problem })?;
            let carriage = Carriage { wires, vault: Arc::clone(vault), telemetry: Arc::clone(telemetry) };
            lines.insert(name.clone(), Line::new(&Arc::new(carriage)));
        }
        Ok(Self { lines, warned: AtomicBool::new(false) })
    }

    /// Starts a call whose answer keeps the promise.
    pub(crate) fn start(&self, id: RequestId, kind: CallKind, request: Box<Request>, promise: Promise) {
        let Some(line) = self.lines.get(&request.connection) else {
            promise.refuse("the connection is not in the config any more");
            return;
        };
        let crew = if kind.is_poll() { &line.listeners } else { &line.workers };
        match crew.take(Call { id, kind, request, promise }) {
            Ok(threads) if threads > LISTENERS_FINE => self.warn_of_many(),
            Ok(_) => {}
            Err(unmanned) => {
                unmanned.job.promise.refuse(&format!("no thread for the call: {}", unmanned.error));
            }
        }
    }

    fn warn_of_many(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("more than {LISTENERS_FINE} listeners, a thread each: the daemon `poolkeeper` takes less");
        }
    }
}

fn wires(settings: &GitHubSettings, dns: &Dns) -> Result<Wires, String> {
    let tls = tls_config(settings.ca_file.as_deref())?;
    Ok(Wires { tls, dns: dns.clone(), proxies: of_config(settings.proxy.as_deref())? })
}

impl Line {
    fn new(carriage: &Arc<Carriage>) -> Self {
        let crew = |name, threads_max, input_bytes| {
            let carriage = Arc::clone(carriage);
            Crew::new(name, threads_max, move || {
                Box::new(Courier { carriage: Arc::clone(&carriage), agent: None, input_bytes })
            })
        };
        Self {
            listeners: crew("listener", LISTENERS_MAX, LISTENER_INPUT_BYTES),
            workers: crew("github", WORKERS_MAX, INPUT_BYTES),
        }
    }
}

/// What the threads of one connection share.
struct Carriage {
    wires: Wires,
    vault: Arc<Vault>,
    telemetry: Arc<Telemetry>,
}

/// One thread's end of a connection.
struct Courier {
    carriage: Arc<Carriage>,
    agent: Option<Agent>,
    input_bytes: usize,
}

impl Hand<Call> for Courier {
    fn carry(&mut self, call: Call) {
        let Call { id, kind, request, promise } = call;
        let https = request.url.starts_with("https:");
        let agent = self.agent.get_or_insert_with(|| self.carriage.wires.agent(https, self.input_bytes)).clone();
        if !promise.carried_by(&agent) {
            return;
        }
        let result = self.carriage.exchange(&agent, id, kind, *request);
        if !promise.keep(Event::GitHubReply { id, result }) {
            // Calling off shut the agent down.
            self.agent = None;
        }
    }
}

impl Carriage {
    fn exchange(
        &self,
        agent: &Agent,
        id: RequestId,
        kind: CallKind,
        request: Request,
    ) -> Result<Reply, TransportError> {
        let started = Instant::now();
        let connection = request.connection.clone();
        let result = self
            .raw(agent, request)
            .map(|(raw, sent)| self.vault.seal(kind, id, &connection, raw, &sent, clock::unix_s()));
        let outcome = outcome(result.as_ref().map(|reply| reply.status).map_err(|error| error.kind));
        self.telemetry.github_call(kind, &connection, &outcome, started.elapsed());
        result
    }

    fn raw(&self, agent: &Agent, request: Request) -> Result<(RawReply, Secret), TransportError> {
        let authorization = self.vault.authorization(&request, clock::unix_s()).map_err(not_sent)?;
        let bounds = Bounds { timeout: Duration::from_millis(request.timeout.as_millis()), body_max: request.max_body };
        let wire = wire(request, &authorization.header)?;
        let sent = authorization.secret;
        let answer = exchange(agent, wire, bounds).map_err(|fault| fault.into_error(&sent))?;
        Ok((RawReply { status: answer.status, headers: allowed(&answer.headers), body: answer.body }, sent))
    }
}

/// The request as the HTTP client wants it: the core's headers, `Authorization`, and none of our own.
fn wire(request: Request, authorization: &str) -> Result<http::Request<Option<Vec<u8>>>, TransportError> {
    let mut built = http::Request::builder().method(request.method.as_str()).uri(&request.url);
    let carries_body = matches!(
        request.method,
        poolkeeper_core::github::request::Method::Post | poolkeeper_core::github::request::Method::Patch
    );
    for header in &request.headers {
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| not_sent(format!("header {} is illegal", header.name.as_str())))?;
        built = built.header(HeaderName::from_static(header.name.as_str()), value);
    }
    let mut secret = HeaderValue::from_str(authorization)
        .map_err(|_| not_sent("the credential holds characters that no header may hold"))?;
    secret.set_sensitive(true);
    let body = request.body.map(String::into_bytes).or_else(|| carries_body.then(Vec::new));
    built
        .header(http::header::AUTHORIZATION, secret)
        .body(body)
        .map_err(|error| not_sent(format!("no request can be made: {error}")))
}

fn allowed(headers: &HeaderMap) -> ReplyHeaders {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    ReplyHeaders {
        date: text("date"),
        retry_after: text("retry-after"),
        rate_limit_remaining: text("x-ratelimit-remaining"),
        rate_limit_reset: text("x-ratelimit-reset"),
        activity_id: text("activityid"),
        github_request_id: text("x-github-request-id"),
    }
}
