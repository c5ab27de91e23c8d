//! Carries requests to GitHub and brings back sealed replies: a thread each for polls, a few for all else.

mod listeners;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::{Reply, ReplyHeaders, TransportError};
use poolkeeper_core::github::request::{CallKind, Method, Request, RequestId, Slot};
use poolkeeper_core::limiter;
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_shell::clock;
use poolkeeper_shell::config::GitHubSettings;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::transport::{ConnectionProblem, not_sent, outcome, reply_headers};
use poolkeeper_shell::vault::{Authorization, Vault};
use ureq::Agent;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue};

use crate::crew::{Crew, Worker};
use crate::http::{Bounds, Dns, INPUT_BYTES, Wires, exchange, of_config, tls_config};
use crate::inbox::Promise;
use listeners::{Held, Listeners};

/// The most listeners of a connection, one thread each. Each thread takes two of the process's memory maps, and Linux
/// allows 65,530.
const LISTENERS_MAX: usize = 10_000;

/// The transport to every GitHub in the config.
pub(crate) struct GitHub {
    connections: BTreeMap<String, Connection>,
    common: Common,
}

/// What all connections have in common, also with those after a reload.
#[derive(Clone)]
struct Common {
    dns: Dns,
    vault: Arc<Vault>,
    telemetry: Arc<Telemetry>,
    listeners: Listeners,
}

/// The threads of one connection.
struct Connection {
    listeners: Crew<Call>,
    others: Crew<Call>,
}

/// A call under way.
struct Call {
    id: RequestId,
    kind: CallKind,
    request: Box<Request>,
    /// None for the connection's own credential, which the call's thread signs with.
    kept: Option<Authorization>,
    promise: Promise,
    held: Option<Held>,
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
        let (vault, telemetry) = (Arc::clone(vault), Arc::clone(telemetry));
        Self::of(settings, Common { dns: dns.clone(), vault, telemetry, listeners: Listeners::default() })
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn reopened(&self, settings: &BTreeMap<String, GitHubSettings>) -> Result<Self, ConnectionProblem> {
        Self::of(settings, self.common.clone())
    }

    fn of(settings: &BTreeMap<String, GitHubSettings>, common: Common) -> Result<Self, ConnectionProblem> {
        let mut connections = BTreeMap::new();
        for (name, settings) in settings {
            let wires = wires(settings, &common.dns)
                .map_err(|problem| ConnectionProblem { connection: name.clone(), problem })?;
            connections.insert(name.clone(), Connection::new(&wires, &common));
        }
        Ok(Self { connections, common })
    }

    /// Starts a call whose answer keeps the promise.
    pub(crate) fn start(&self, id: RequestId, kind: CallKind, request: Box<Request>, promise: Promise) {
        // The machine may drop the slot before a thread has time for the call.
        let kept = match self.common.vault.kept_authorization(&request) {
            Ok(kept) => kept,
            Err(problem) => return unsent(id, promise, problem),
        };
        let Some(connection) = self.connections.get(&request.connection) else {
            return unsent(id, promise, "the connection is not in the config any more".to_owned());
        };
        let (crew, held) = if kind.is_poll() {
            (&connection.listeners, Some(self.common.listeners.one_more()))
        } else {
            (&connection.others, None)
        };
        if let Err(unmanned) = crew.take(Call { id, kind, request, kept, promise, held }) {
            unmanned.job.promise.refuse(&format!("no thread for the call: {}", unmanned.error));
        }
    }
}

fn unsent(id: RequestId, promise: Promise, problem: String) {
    promise.keep(Event::GitHubReply { id, result: Err(not_sent(problem)) });
}

fn wires(settings: &GitHubSettings, dns: &Dns) -> Result<Wires, String> {
    let tls = tls_config(settings.ca_file.as_deref())?;
    Ok(Wires { tls, dns: dns.clone(), proxies: of_config(settings.proxy.as_deref())? })
}

impl Connection {
    fn new(wires: &Wires, common: &Common) -> Self {
        let crew = |name, threads_max, listens| {
            let (wires, common) = (wires.clone(), common.clone());
            Crew::new(name, threads_max, move || Box::new(Caller::new(wires.clone(), common.clone(), listens)))
        };
        let others_max = usize::try_from(limiter::GITHUB.in_flight).unwrap_or(usize::MAX);
        Self { listeners: crew("listener", LISTENERS_MAX, true), others: crew("github", others_max, false) }
    }
}

/// One thread's end of a connection.
struct Caller {
    wires: Wires,
    common: Common,
    listens: bool,
    agent: Option<SchemeAgent>,
}

/// An agent, and the scheme that its proxy is for.
struct SchemeAgent {
    https: bool,
    agent: Agent,
}

impl Worker<Call> for Caller {
    fn carry(&mut self, call: Call) {
        let Call { id, kind, request, kept, promise, held } = call;
        let agent = self.agent(request.url.starts_with("https:"));
        if !promise.carried_by(&agent) {
            return;
        }
        let started = Instant::now();
        let connection = request.connection.clone();
        let result = self.exchange(&agent, id, kind, request, kept);
        drop(held);
        let outcome = outcome(result.as_ref().map(|reply| reply.status).map_err(|error| error.kind));
        if self.hand_in(id, promise, result) {
            self.common.telemetry.github_call(kind, &connection, &outcome, started.elapsed());
        }
    }
}

impl Caller {
    fn new(wires: Wires, common: Common, listens: bool) -> Self {
        Self { wires, common, listens, agent: None }
    }

    fn agent(&mut self, https: bool) -> Agent {
        if let Some(kept) = self.agent.as_ref().filter(|kept| kept.https == https) {
            return kept.agent.clone();
        }
        let agent = if self.listens { self.wires.listener(https) } else { self.wires.agent(https, INPUT_BYTES) };
        self.agent = Some(SchemeAgent { https, agent: agent.clone() });
        agent
    }

    /// Answers; `false` when the call was called off meanwhile, which also shut the agent down.
    fn hand_in(&mut self, id: RequestId, promise: Promise, result: Result<Reply, TransportError>) -> bool {
        let answered = promise.keep(Event::GitHubReply { id, result });
        if !answered {
            self.agent = None;
            // The machine does not know of a secret that came all the same.
            self.common.vault.drop_slot(Slot(id));
        }
        answered
    }

    fn exchange(
        &self,
        agent: &Agent,
        id: RequestId,
        kind: CallKind,
        request: Box<Request>,
        kept: Option<Authorization>,
    ) -> Result<Reply, TransportError> {
        let vault = &self.common.vault;
        let Authorization { header, secret } = match kept {
            Some(kept) => kept,
            None => vault.authorization(&request, clock::unix_s()).map_err(not_sent)?,
        };
        let connection = request.connection.clone();
        let raw = raw(agent, *request, header, &secret)?;
        Ok(vault.seal(kind, id, &connection, raw, &secret, clock::unix_s()))
    }
}

fn raw(agent: &Agent, request: Request, authorization: String, sent: &Secret) -> Result<RawReply, TransportError> {
    let bounds = Bounds { timeout: Duration::from_millis(request.timeout.as_millis()), body_max: request.max_body };
    let wire = wire(request, authorization)?;
    let answer = exchange(agent, wire, bounds).map_err(|fault| fault.into_error(sent))?;
    Ok(RawReply { status: answer.status, headers: allowed(&answer.headers), body: answer.body })
}

/// The request as the HTTP client wants it: the core's headers, `Authorization`, and none of our own.
fn wire(request: Request, authorization: String) -> Result<http::Request<Option<Vec<u8>>>, TransportError> {
    let mut built = http::Request::builder().method(request.method.as_str()).uri(&request.url);
    for header in &request.headers {
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| not_sent(format!("header {} is illegal", header.name.as_str())))?;
        built = built.header(HeaderName::from_static(header.name.as_str()), value);
    }
    let mut secret = HeaderValue::try_from(authorization)
        .map_err(|_| not_sent("the credential holds characters that no header may hold"))?;
    secret.set_sensitive(true);
    let carries_body = matches!(request.method, Method::Post | Method::Patch);
    let body = request.body.map(String::into_bytes).or_else(|| carries_body.then(Vec::new));
    built
        .header(http::header::AUTHORIZATION, secret)
        .body(body)
        .map_err(|error| not_sent(format!("no request can be made: {error}")))
}

fn allowed(headers: &HeaderMap) -> ReplyHeaders {
    reply_headers(|name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned))
}
