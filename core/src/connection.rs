//! One connection to GitHub for one scope: the chain of tokens, then any [`Call`].
//!
//! Calls wait here until there is a token and the API's limits have room. A call ends in exactly one
//! [`ConnectionEffect::Called`]; failed calls are not repeated here, except once after a token was refused.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::config::{Build, ConnectionConfig, Defences};
use crate::context::Context;
use crate::github::answer::{Answer, RunnerGroup};
use crate::github::call::{Call, Target};
use crate::github::error::{CallError, CallErrorKind};
use crate::github::reply::{Reply, TransportError};
use crate::github::request::{Auth, CallKind, DIGITS, Header, HeaderName, Request, RequestId, Slot, push_number};
use crate::github::scope::{Scope, ScopeError, ServerUrl};
use crate::limiter::LimitsId;
use crate::notice::{ConnectionFact, PoolId};
use crate::runners::MemberId;
use crate::time::{Duration, Instant};

mod token_chain;

use token_chain::{ChainStep, TokenChain};

/// What the shell may take beyond a request's own time-out before the call counts as lost.
const BACKSTOP: Duration = Duration::from_secs(15);
/// How long a client with usual defaults waits for a poll that does not return: five tries of five minutes.
const HUNG_POLL: Duration = Duration::from_secs(25 * 60);
/// How long the id of a runner group is taken to be right.
const RUNNER_GROUP_LIFE: Duration = Duration::from_secs(300);

/// Who asked for a call, and gets its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// The message session of a pool.
    Session(PoolId),
    /// A pool, about its scale set.
    Pool(PoolId),
    /// A pool, about the runner of one of its instances.
    Runner(PoolId, MemberId),
    /// All pools of a scope that wait for the list of its runners.
    Census,
    /// A person, by a command.
    Operator,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionEvent {
    /// Somebody asks for a call.
    Call {
        /// Who.
        caller: Caller,
        /// What.
        call: Call,
    },
    /// A request ended.
    Reply {
        /// The request.
        id: RequestId,
        /// How.
        result: Result<Reply, TransportError>,
    },
    /// The config replaced this connection: what waits ends as cancelled, and nothing more is sent.
    Retire,
    /// The caller no longer wants the poll or the session it asked for; the call still ends, at once if it was not sent.
    Cancel {
        /// Who.
        caller: Caller,
    },
    /// Time has passed, or the API's limits have room again.
    Tick,
}

/// What a connection wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionEffect {
    /// Send a request.
    Request {
        /// Names it.
        id: RequestId,
        /// What it is for.
        call: CallKind,
        /// The request.
        request: Box<Request>,
    },
    /// Give up a request.
    Cancel {
        /// The request.
        id: RequestId,
    },
    /// A call ended.
    Called {
        /// Who asked.
        caller: Caller,
        /// What was asked.
        call: CallKind,
        /// The answer, or why there is none.
        result: Result<Answer, CallError>,
    },
    /// A request is over for good: no reply to it will be accepted.
    Forget {
        /// The request.
        id: RequestId,
    },
    /// A secret is no longer needed.
    Drop(Slot),
    /// A fact.
    Note(ConnectionFact),
}

/// One connection for one scope. Getters: [`Self::scope`], [`Self::poll_timeout`]; in: [`Self::handle`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    name: String,
    /// The limits it shares with all connections of its name.
    pub(crate) limits: LimitsId,
    #[serde(default, skip_serializing_if = "Defences::all_on")]
    pub(crate) defences: Defences,
    scope: Scope,
    user_agent: UserAgent,
    tokens: TokenChain,
    urgent: VecDeque<Waiting>,
    waiting: VecDeque<Waiting>,
    in_flight: BTreeMap<RequestId, Box<Flight>>,
    by_deadline: BTreeSet<(Instant, RequestId)>,
    polls: Polls,
    runner_groups: BTreeMap<String, (RunnerGroup, Instant)>,
    pump_at: Option<Instant>,
    /// The chain's next step waits for room in the API's limits, not for time.
    chain_waits: bool,
    /// A call or a step waits for another call of the same credential to end.
    starved: bool,
    retired: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    caller: Caller,
    call: Call,
    token_refused: bool,
}

impl Waiting {
    /// How it ends unsent.
    const fn cancelled(&self) -> ConnectionEffect {
        let result = Err(CallError::cancelled());
        ConnectionEffect::Called { caller: self.caller, call: self.call.kind(), result }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flight {
    purpose: Purpose,
    admin: Option<Slot>,
    deadline: Instant,
}

/// The poll in flight of each caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(Caller, RequestId)>", into = "Vec<(Caller, RequestId)>")]
struct Polls(BTreeMap<Caller, RequestId>);

/// Where the next call stands.
enum Place {
    Urgent(usize),
    First,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Purpose {
    Chain(CallKind),
    Call(Waiting),
}

/// The parts of the User-Agent that do not change, around the scale set's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserAgent {
    before: String,
    after: String,
}

impl Connection {
    /// A connection that has no token yet.
    ///
    /// # Errors
    /// When the connection's URL is none.
    pub fn new(name: &str, config: &ConnectionConfig, scope: Scope, build: &Build) -> Result<Self, ScopeError> {
        let server = ServerUrl::parse(&config.url, config.force_ghes)?;
        Ok(Self {
            name: name.into(),
            limits: LimitsId::default(),
            defences: Defences::default(),
            tokens: TokenChain::new(server, &scope, config.credential),
            scope,
            user_agent: UserAgent::new(build),
            urgent: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            polls: Polls::default(),
            runner_groups: BTreeMap::new(),
            pump_at: None,
            chain_waits: false,
            starved: false,
            retired: false,
        })
    }

    /// The connection's name in the config.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The scope it serves.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// When the next [`ConnectionEvent::Tick`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let overdue = self.by_deadline.first().map(|(at, _)| *at);
        let chain = self.tokens.poll_timeout(self.wants_admin() && !self.chain_waits);
        [overdue, self.pump_at, chain].into_iter().flatten().min()
    }

    /// Whether it waits for another call of the same credential to end.
    pub(crate) const fn is_starved(&self) -> bool {
        self.starved
    }

    fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.urgent.is_empty()
    }

    /// Whether a call waits that needs the admin token.
    fn wants_admin(&self) -> bool {
        !self.waiting.is_empty() || self.urgent.iter().any(|waiting| !waiting.call.brings_its_token())
    }

    /// Whether nothing is asked, in flight or waiting.
    pub(crate) fn is_idle(&self) -> bool {
        !self.has_waiting() && self.in_flight.is_empty()
    }

    /// The pool that a request in flight serves, unless it serves several.
    pub(crate) fn pool_of_call(&self, id: RequestId) -> Option<PoolId> {
        match &self.in_flight.get(&id)?.purpose {
            Purpose::Call(Waiting {
                caller: Caller::Session(pool) | Caller::Pool(pool) | Caller::Runner(pool, _),
                ..
            }) => Some(*pool),
            Purpose::Call(Waiting { caller: Caller::Census | Caller::Operator, .. }) | Purpose::Chain(_) => None,
        }
    }

    /// Takes one event and appends its effects.
    pub fn handle(&mut self, cx: &mut Context<'_>, event: ConnectionEvent, effects: &mut Vec<ConnectionEffect>) {
        match event {
            ConnectionEvent::Call { caller, call } => {
                self.enqueue(cx, Waiting { caller, call, token_refused: false }, effects);
            }
            ConnectionEvent::Reply { id, result } => self.ended(cx, id, result, effects),
            ConnectionEvent::Cancel { caller } => self.cancel(caller, effects),
            ConnectionEvent::Retire => self.retire(effects),
            ConnectionEvent::Tick => self.give_up_overdue(cx, effects),
        }
        self.pump(cx, effects);
    }

    fn enqueue(&mut self, cx: &mut Context<'_>, waiting: Waiting, effects: &mut Vec<ConnectionEffect>) {
        if self.retired {
            let (caller, call) = (waiting.caller, waiting.call.kind());
            return effects.push(ConnectionEffect::Called { caller, call, result: Err(CallError::cancelled()) });
        }
        if waiting.call.kind().is_poll() {
            self.send(cx, waiting, effects);
        } else if waiting.call.is_urgent() {
            self.urgent.push_back(waiting);
        } else {
            let kind = waiting.call.kind();
            self.waiting.push_back(waiting);
            if kind == CallKind::RunnerGroup {
                self.answer_from_memory(cx.now, effects);
            }
        }
    }

    fn ended(
        &mut self,
        cx: &mut Context<'_>,
        id: RequestId,
        result: Result<Reply, TransportError>,
        effects: &mut Vec<ConnectionEffect>,
    ) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.by_deadline.remove(&(flight.deadline, id));
        if let Purpose::Call(waiting) = &flight.purpose
            && waiting.call.kind().is_poll()
        {
            self.polls.0.remove(&waiting.caller);
        }
        let result = match result {
            Ok(reply) if (200..300).contains(&reply.status) => Ok(reply),
            Ok(reply) => Err(CallError::from_reply(&reply)),
            Err(error) => Err(error.into()),
        };
        if let Err(CallError { kind: CallErrorKind::RateLimited, retry_after, .. }) = &result {
            cx.limiter.throttled(cx.now, retry_after.filter(|_| self.defences.keep_waits));
            effects.push(ConnectionEffect::Note(ConnectionFact::RateLimited {
                wait: retry_after.unwrap_or(Duration::ZERO),
            }));
        }
        match flight.purpose {
            Purpose::Chain(step) => {
                cx.limiter.release();
                self.tokens.replied(cx, step, id, result, effects);
                if self.retired {
                    self.tokens.drop_all(effects);
                }
            }
            Purpose::Call(waiting) => {
                if !waiting.call.kind().is_poll() {
                    cx.limiter.release();
                }
                self.called(cx.now, waiting, flight.admin, result, effects);
            }
        }
    }

    fn called(
        &mut self,
        now: Instant,
        waiting: Waiting,
        admin: Option<Slot>,
        result: Result<Reply, CallError>,
        effects: &mut Vec<ConnectionEffect>,
    ) {
        if let (Err(CallError { status: Some(401), .. }), Some(slot)) = (&result, admin)
            && !waiting.token_refused
            && !self.retired
            && self.tokens.refused(now, slot, effects)
        {
            self.urgent.push_front(Waiting { token_refused: true, ..waiting });
            return;
        }
        let Waiting { caller, call, .. } = waiting;
        let kind = call.kind();
        let result = result.and_then(|reply| call.answer(reply));
        if let (Call::RunnerGroup { name }, Ok(Answer::RunnerGroup(Some(group)))) = (&call, &result) {
            self.runner_groups.insert(name.clone(), (group.clone(), now));
        }
        effects.push(ConnectionEffect::Called { caller, call: kind, result });
        if kind == CallKind::RunnerGroup {
            self.answer_from_memory(now, effects);
        }
    }

    fn cancel(&mut self, caller: Caller, effects: &mut Vec<ConnectionEffect>) {
        effects.extend(self.polls.0.get(&caller).map(|id| ConnectionEffect::Cancel { id: *id }));
        let unwanted = |waiting: &Waiting| {
            waiting.caller == caller && matches!(waiting.call, Call::Poll { .. } | Call::CreateSession { .. })
        };
        for queue in [&mut self.urgent, &mut self.waiting] {
            if let Some(waiting) = queue.iter().position(unwanted).and_then(|place| queue.remove(place)) {
                effects.push(waiting.cancelled());
            }
        }
    }

    fn retire(&mut self, effects: &mut Vec<ConnectionEffect>) {
        self.retired = true;
        effects.extend(self.urgent.drain(..).chain(self.waiting.drain(..)).map(|waiting| waiting.cancelled()));
        effects.extend(self.polls.0.values().map(|id| ConnectionEffect::Cancel { id: *id }));
        self.tokens.drop_all(effects);
    }

    /// The shell answers every request in time; one that it does not answer is given up here.
    fn give_up_overdue(&mut self, cx: &mut Context<'_>, effects: &mut Vec<ConnectionEffect>) {
        while let Some((deadline, id)) = self.by_deadline.first().copied() {
            if deadline > cx.now {
                return;
            }
            if let Some(flight) = self.in_flight.get(&id) {
                let call = flight.purpose.kind();
                effects.push(ConnectionEffect::Note(ConnectionFact::Overdue { call }));
            }
            effects.push(ConnectionEffect::Cancel { id });
            effects.push(ConnectionEffect::Forget { id });
            self.ended(cx, id, Err(TransportError::overdue()), effects);
        }
    }

    /// Sends what may be sent now: the chain's next step, then calls in order.
    fn pump(&mut self, cx: &mut Context<'_>, effects: &mut Vec<ConnectionEffect>) {
        self.pump_at = None;
        self.chain_waits = false;
        self.starved = false;
        if let Some(step) = self.tokens.next_step(cx.now, self.wants_admin()) {
            match cx.limiter.take(cx.now) {
                Ok(()) => self.send_step(cx, step, effects),
                Err(at) => {
                    self.chain_waits = true;
                    self.wait_for_room(at);
                }
            }
        }
        while let Some(place) = self.next_place(cx.now) {
            if let Err(at) = cx.limiter.take(cx.now) {
                return self.wait_for_room(at);
            }
            let next = match place {
                Place::Urgent(n) => self.urgent.remove(n),
                Place::First => self.waiting.pop_front(),
            };
            match next {
                Some(waiting) => self.send(cx, waiting, effects),
                None => unreachable!("the place was taken from the queue"),
            }
        }
    }

    /// Which waiting call may be sent next: without an admin token only one that brings its own.
    fn next_place(&self, now: Instant) -> Option<Place> {
        if self.tokens.admin(now).is_none() {
            return self.urgent.iter().position(|waiting| waiting.call.brings_its_token()).map(Place::Urgent);
        }
        if self.urgent.is_empty() { (!self.waiting.is_empty()).then_some(Place::First) } else { Some(Place::Urgent(0)) }
    }

    fn wait_for_room(&mut self, at: Option<Instant>) {
        self.pump_at = at;
        self.starved = at.is_none();
    }

    /// Answers who waits for a runner group whose id is known. Only a new question and a new answer give it work.
    fn answer_from_memory(&mut self, now: Instant, effects: &mut Vec<ConnectionEffect>) {
        self.runner_groups.retain(|_, (_, at)| now.since(*at) < RUNNER_GROUP_LIFE);
        let known = &self.runner_groups;
        self.waiting.retain(|waiting| {
            let Call::RunnerGroup { name } = &waiting.call else { return true };
            let Some((group, _)) = known.get(name) else { return true };
            let result = Ok(Answer::RunnerGroup(Some(group.clone())));
            effects.push(ConnectionEffect::Called { caller: waiting.caller, call: CallKind::RunnerGroup, result });
            false
        });
    }

    fn send(&mut self, cx: &mut Context<'_>, waiting: Waiting, effects: &mut Vec<ConnectionEffect>) {
        let draft = waiting.call.draft();
        let admin = self.tokens.admin(cx.now);
        let url = match (draft.target, admin) {
            (Target::Queue(url), _) => url,
            (Target::Service(path), Some(admin)) => {
                format!("{}/{path}", admin.url.trim_end_matches('/'))
            }
            (Target::Service(_), None) => {
                unreachable!("calls of the service are sent with an admin token")
            }
        };
        let admin_slot = admin.map(|admin| admin.slot);
        let auth = match (draft.token, admin_slot) {
            (Some(slot), _) | (None, Some(slot)) => Auth::Bearer(slot),
            (None, None) => unreachable!("calls of the service are sent with an admin token"),
        };
        let mut headers = draft.headers;
        headers.push(self.user_agent.header(waiting.call.scale_set()));
        let request = Box::new(Request {
            connection: self.name.clone(),
            method: draft.method,
            url,
            auth,
            headers,
            body: draft.body,
            timeout: if self.defences.end_hung_polls { draft.timeout } else { draft.timeout.max(HUNG_POLL) },
            max_body: draft.max_body,
        });
        let admin = if draft.token.is_none() { admin_slot } else { None };
        self.emit(cx, Purpose::Call(waiting), admin, request, effects);
    }

    fn send_step(&mut self, cx: &mut Context<'_>, step: ChainStep, effects: &mut Vec<ConnectionEffect>) {
        let kind = step.kind;
        let mut headers = step.headers;
        headers.push(self.user_agent.header(0));
        let request = Box::new(Request {
            connection: self.name.clone(),
            method: step.method,
            url: step.url,
            auth: step.auth,
            headers,
            body: step.body,
            timeout: token_chain::TIMEOUT,
            max_body: token_chain::MAX_BODY,
        });
        self.emit(cx, Purpose::Chain(kind), None, request, effects);
        self.tokens.sent();
    }

    fn emit(
        &mut self,
        cx: &mut Context<'_>,
        purpose: Purpose,
        admin: Option<Slot>,
        request: Box<Request>,
        effects: &mut Vec<ConnectionEffect>,
    ) {
        let id = cx.ids.next();
        let call = purpose.kind();
        let deadline = cx.now + request.timeout + BACKSTOP;
        self.by_deadline.insert((deadline, id));
        if let Purpose::Call(waiting) = &purpose
            && call.is_poll()
        {
            self.polls.0.insert(waiting.caller, id);
        }
        self.in_flight.insert(id, Box::new(Flight { purpose, admin, deadline }));
        effects.push(ConnectionEffect::Request { id, call, request });
    }

    /// Checks what must always hold.
    pub(crate) fn check(&self) {
        assert_eq!(self.in_flight.len(), self.by_deadline.len(), "each call in flight has one deadline");
    }
}

impl From<Vec<(Caller, RequestId)>> for Polls {
    fn from(polls: Vec<(Caller, RequestId)>) -> Self {
        Self(polls.into_iter().collect())
    }
}

impl From<Polls> for Vec<(Caller, RequestId)> {
    fn from(polls: Polls) -> Self {
        polls.0.into_iter().collect()
    }
}

impl Purpose {
    const fn kind(&self) -> CallKind {
        match self {
            Self::Chain(kind) => *kind,
            Self::Call(waiting) => waiting.call.kind(),
        }
    }
}

impl UserAgent {
    fn new(build: &Build) -> Self {
        #[derive(Serialize)]
        struct Text<'a>(&'a str);
        let quoted = |text: &str| serde_json::to_string(&Text(text)).unwrap_or_default();
        let (version, commit) = (quoted(&build.version), quoted(&build.commit));
        let before = format!(r#"{{"system":"poolkeeper","version":{version},"commit_sha":{commit},"scale_set_id":"#);
        let after = format!(
            r#","subsystem":"listener","build_version":{version},"build_commit_sha":{commit},"kind":"scaleset"}}"#
        );
        Self { before, after }
    }

    fn header(&self, scale_set: u64) -> Header {
        let mut value = String::with_capacity(self.before.len() + DIGITS + self.after.len());
        value.push_str(&self.before);
        push_number(&mut value, scale_set);
        value.push_str(&self.after);
        Header { name: HeaderName::UserAgent, value: value.into() }
    }
}

#[cfg(test)]
mod tests;
