//! One connection against a peer that answers anything, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::config::{Build, ConnectionConfig, CredentialKind};
use poolkeeper_core::connection::{Caller, Connection, ConnectionEffect, ConnectionEvent};
use poolkeeper_core::github::answer::{Answer, Label, Queue, RunnerSetting};
use poolkeeper_core::github::call::{Call, NewScaleSet};
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{Auth, CallKind, Request, RequestId, Slot};
use poolkeeper_core::github::scope::Scope;
use poolkeeper_core::limiter::Limits;
use poolkeeper_core::notice::PoolId;
use poolkeeper_core::time::{Duration, Instant};
use proptest::prelude::*;

use crate::support::{Surroundings, good_reply, recorded, reply, settings, span_ms, text};

/// Few, so that bounds are met.
const LIMITS: Limits = Limits { in_flight: 3, burst: 6, rate: 2 };
/// A connection that is retired, and whose requests all end, has answered every call after this many steps.
const STEPS_TO_END: usize = 400;
/// The shell has answered within a request's own time-out; beyond it the connection waits this much longer.
const BACKSTOP: Duration = Duration::from_secs(15);
const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// A slot that no reply of this connection brought: a session's own.
const QUEUE_TOKEN: Slot = Slot(RequestId(1 << 40));

#[derive(Clone, Debug)]
enum Op {
    Call { caller: u32, call: usize },
    Reply { which: usize, outcome: Outcome },
    Stray,
    Cancel { caller: u32 },
    Wait(u64),
    Timer,
    Retire,
}

#[derive(Clone, Debug)]
enum Outcome {
    /// What the call asks for.
    Well {
        lifetime_s: Option<u64>,
    },
    /// A success of something else.
    Nonsense,
    Status {
        status: u16,
        retry_after_s: Option<u64>,
    },
    Transport(TransportErrorKind),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        60 => (0..4u32, 0..15usize).prop_map(|(caller, call)| Op::Call { caller, call }),
        100 => (0..8usize, outcome()).prop_map(|(which, outcome)| Op::Reply { which, outcome }),
        4 => Just(Op::Stray),
        6 => (0..4u32).prop_map(|caller| Op::Cancel { caller }),
        24 => span_ms().prop_map(Op::Wait),
        30 => Just(Op::Timer),
        1 => Just(Op::Retire),
    ];
    proptest::collection::vec(op, 1..100)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    use TransportErrorKind as Kind;
    let lifetime_s = proptest::option::weighted(0.8, prop_oneof![Just(3600), 0..200u64]);
    let statuses = vec![301, 400, 401, 401, 401, 403, 404, 409, 410, 429, 500, 503];
    let retry_after_s = proptest::option::weighted(0.1, 0..100u64);
    let status = (proptest::sample::select(statuses), retry_after_s);
    let kinds = vec![Kind::Connect, Kind::TimedOut, Kind::Broken, Kind::TooLarge, Kind::Cancelled, Kind::NotSent];
    prop_oneof![
        12 => lifetime_s.prop_map(|lifetime_s| Outcome::Well { lifetime_s }),
        1 => Just(Outcome::Nonsense),
        3 => status.prop_map(|(status, retry_after_s)| Outcome::Status { status, retry_after_s }),
        1 => proptest::sample::select(kinds).prop_map(Outcome::Transport),
    ]
}

fn credential() -> impl Strategy<Value = CredentialKind> {
    proptest::sample::select(vec![
        CredentialKind::Pat,
        CredentialKind::App { installation: None },
        CredentialKind::App { installation: Some(7) },
    ])
}

fn call(n: usize) -> Call {
    let queue = || Queue { url: "https://q.test/1?k=2".into(), token: QUEUE_TOKEN };
    let set = || NewScaleSet {
        name: "acme-linux".into(),
        runner_group_id: 1,
        labels: vec![Label::system("linux")],
        runner_setting: RunnerSetting { disable_update: true },
    };
    match n {
        0 => Call::RunnerGroup { name: "default".into() },
        1 => Call::ScaleSets,
        2 => Call::ScaleSetByName { runner_group_id: 1, name: "acme-linux".into() },
        3 => Call::ScaleSet { id: 4 },
        4 => Call::CreateScaleSet { set: set() },
        5 => Call::UpdateScaleSet { id: 4, set: set() },
        6 => Call::DeleteScaleSet { id: 4 },
        7 => Call::CreateSession { scale_set: 4, owner: "host".into() },
        8 => Call::RefreshSession { scale_set: 4, session: "s".into() },
        9 => Call::DeleteSession { scale_set: 4, session: "s".into() },
        10 => Call::Poll { scale_set: 4, queue: queue(), last_message: 3, max_capacity: 2 },
        11 => Call::Acknowledge { scale_set: 4, queue: queue(), message: 3 },
        12 => Call::Acquire { scale_set: 4, token: QUEUE_TOKEN, request_ids: vec![1, 2] },
        13 => Call::AcquirableJobs { scale_set: 4 },
        _ => Call::JitConfig { scale_set: 4, runner: "i-1".into() },
    }
}

#[derive(Clone, Debug)]
struct Sent {
    kind: CallKind,
    at: Instant,
    timeout: Duration,
    cancelled: bool,
}

/// A connection, its peer, and what both did.
struct Life {
    connection: Connection,
    around: Surroundings,
    /// Requests in flight.
    sent: BTreeMap<RequestId, Sent>,
    last_id: RequestId,
    /// Calls that were asked for and not yet answered, by caller and kind.
    asked: BTreeMap<(Caller, CallKind), usize>,
    /// Secrets that replies brought to the connection itself.
    live: BTreeSet<Slot>,
    dropped: BTreeSet<Slot>,
    connected_at: Option<Instant>,
    retired: bool,
    trace: Vec<String>,
}

impl Life {
    fn new(credential: CredentialKind) -> Self {
        let config = ConnectionConfig {
            url: "https://ghes.test".into(),
            credential,
            orgs: vec!["acme".into()],
            runner_group: "default".into(),
            force_ghes: false,
        };
        let scope = Scope::Organization("acme".into());
        Self {
            connection: Connection::new("main", &config, scope, &Build::default()).expect("a legal URL"),
            around: Surroundings::limited(LIMITS),
            sent: BTreeMap::new(),
            last_id: RequestId(0),
            asked: BTreeMap::new(),
            live: BTreeSet::new(),
            dropped: BTreeSet::new(),
            connected_at: None,
            retired: false,
            trace: Vec::new(),
        }
    }

    /// Lives through the orders; with `reborn` it is written down and read again before each.
    fn lived(credential: CredentialKind, ops: &[Op], reborn: bool) -> Self {
        let mut life = Self::new(credential);
        for op in ops {
            if reborn {
                life.connection = recorded(&life.connection);
            }
            life.take(op);
        }
        life
    }

    fn take(&mut self, op: &Op) {
        match op {
            Op::Call { caller, call: n } => self.ask(Caller::Session(PoolId(*caller)), call(*n)),
            Op::Reply { which, outcome } => {
                let id = self.sent.keys().nth(which % self.sent.len().max(1)).copied();
                if let Some(id) = id {
                    self.reply(id, outcome);
                }
            }
            Op::Stray => {
                let id = RequestId(self.last_id.0 + 1000);
                self.handle(ConnectionEvent::Reply { id, result: Ok(reply(200, Body::Raw(Bytes::default()))) });
            }
            Op::Cancel { caller } => self.handle(ConnectionEvent::Cancel { caller: Caller::Session(PoolId(*caller)) }),
            Op::Wait(ms) => {
                self.around.wait(*ms);
                self.handle(ConnectionEvent::Tick);
            }
            Op::Timer => self.timer(),
            Op::Retire => self.retire(),
        }
    }

    /// A caller asks for one poll at a time.
    fn ask(&mut self, caller: Caller, call: Call) {
        let asked = self.asked.entry((caller, call.kind())).or_default();
        if call.kind().is_poll() && *asked > 0 {
            return;
        }
        *asked += 1;
        self.handle(ConnectionEvent::Call { caller, call });
    }

    fn timer(&mut self) {
        if let Some(at) = self.connection.poll_timeout() {
            self.around.wait(at.since(self.around.now).as_millis());
            self.handle(ConnectionEvent::Tick);
        }
    }

    fn retire(&mut self) {
        self.retired = true;
        self.handle(ConnectionEvent::Retire);
    }

    fn reply(&mut self, id: RequestId, outcome: &Outcome) {
        let sent = self.sent.remove(&id).expect("a request in flight");
        let result = match outcome {
            Outcome::Well { lifetime_s } => Ok(self.success(id, sent.kind, *lifetime_s)),
            Outcome::Nonsense => Ok(text(200, r#"{"half":"#)),
            Outcome::Status { status, retry_after_s } => {
                let retry_after = retry_after_s.map(|s| s.to_string());
                let headers = ReplyHeaders { retry_after, ..ReplyHeaders::default() };
                Ok(Reply { headers, ..text(*status, "no") })
            }
            Outcome::Transport(kind) => Err(TransportError { kind: *kind, detail: "scripted".into() }),
        };
        self.handle(ConnectionEvent::Reply { id, result });
    }

    fn success(&mut self, id: RequestId, kind: CallKind, lifetime_s: Option<u64>) -> Reply {
        if matches!(kind, CallKind::AccessToken | CallKind::RegistrationToken | CallKind::AdminConnection) {
            self.live.insert(Slot(id));
        }
        if kind == CallKind::AdminConnection {
            self.connected_at = Some(self.around.now);
        }
        good_reply(id, kind, lifetime_s)
    }

    fn handle(&mut self, event: ConnectionEvent) {
        let mut effects = Vec::new();
        self.connection.handle(&mut self.around.context(), event, &mut effects);
        self.trace.push(format!("{effects:?}"));
        for effect in effects {
            self.effect(effect);
        }
        self.check();
    }

    fn effect(&mut self, effect: ConnectionEffect) {
        match effect {
            ConnectionEffect::Request { id, call, request } => self.request(id, call, &request),
            ConnectionEffect::Cancel { id } => {
                let sent = self.sent.get_mut(&id).expect("only what is in flight is given up");
                let overdue = self.around.now >= sent.at + sent.timeout + BACKSTOP;
                assert!(sent.kind.is_poll() || overdue, "only polls, and what the shell forgot, are given up");
                sent.cancelled = true;
            }
            ConnectionEffect::Forget { id } => {
                let sent = self.sent.remove(&id).expect("only what is in flight is forgotten");
                assert!(sent.cancelled && self.around.now >= sent.at + sent.timeout + BACKSTOP, "{sent:?}");
            }
            ConnectionEffect::Called { caller, call, result } => {
                let left = self.asked.get_mut(&(caller, call)).expect("only what was asked is answered");
                *left = left.checked_sub(1).expect("a call is answered once");
                assert!(answers(call, &result), "{call:?} does not answer {result:?}");
            }
            ConnectionEffect::Drop(slot) => {
                assert!(self.dropped.insert(slot), "a secret is dropped once");
                self.live.remove(&slot);
            }
            ConnectionEffect::Note(_) => {}
        }
    }

    fn request(&mut self, id: RequestId, kind: CallKind, request: &Request) {
        assert!(id > self.last_id, "ids are never used again");
        self.last_id = id;
        assert!(kind.is_poll() || !self.retired, "a connection that is retired asks for nothing");
        match request.auth {
            Auth::Credential => assert!(is_chain(kind), "the credential itself is shown to GitHub's REST API only"),
            Auth::Bearer(slot) | Auth::RemoteAuth(slot) => {
                let own = matches!(kind, CallKind::Poll | CallKind::Acknowledge | CallKind::Acquire);
                assert!(
                    if own { slot == QUEUE_TOKEN } else { self.live.contains(&slot) },
                    "{kind:?} with a dead token"
                );
            }
        }
        if let Some(at) = self.connected_at.filter(|_| is_chain(kind)) {
            assert!(self.around.now.since(at) >= RENEW_AT_MOST_EVERY, "no token is renewed twice in half a minute");
        }
        assert!(request.url.starts_with("https://"), "{}", request.url);
        let one_at_a_time = |sent: &Sent| is_chain(sent.kind);
        assert!(!is_chain(kind) || !self.sent.values().any(one_at_a_time), "one step of the chain at a time");
        let sent = Sent { kind, at: self.around.now, timeout: request.timeout, cancelled: false };
        assert!(self.sent.insert(id, sent).is_none());
    }

    fn check(&self) {
        let bounded = self.sent.values().filter(|sent| !sent.kind.is_poll()).count();
        assert!(bounded <= 3, "calls in flight are bounded, polls aside");
        let waits: usize = self.asked.values().sum();
        let timer = self.connection.poll_timeout();
        assert!(waits == 0 || timer.is_some(), "what was asked has a timer: {:?}", self.connection);
        for sent in self.sent.values() {
            assert!(timer.is_some_and(|at| at <= sent.at + sent.timeout + BACKSTOP), "no request waits for ever");
        }
        assert!(self.live.len() <= 3, "a chain has three tokens at most");
    }

    /// The config replaces it, and what is in flight ends.
    fn end(&mut self) {
        if !self.retired {
            self.retire();
        }
        for _ in 0..STEPS_TO_END {
            match self.sent.keys().next().copied() {
                Some(id) => self.reply(id, &Outcome::Well { lifetime_s: Some(3600) }),
                None => break,
            }
        }
        assert!(self.sent.is_empty());
        assert!(self.asked.values().all(|left| *left == 0), "every call is answered: {:?}", self.asked);
        assert!(self.live.is_empty(), "no secret outlives the connection: {:?}", self.live);
    }
}

const fn is_chain(kind: CallKind) -> bool {
    matches!(
        kind,
        CallKind::Installation | CallKind::AccessToken | CallKind::RegistrationToken | CallKind::AdminConnection
    )
}

/// Whether an answer is one to that call.
fn answers(call: CallKind, result: &Result<Answer, CallError>) -> bool {
    match result {
        Err(error) => error.kind != CallErrorKind::RateLimited || error.status.is_some(),
        Ok(Answer::RunnerGroup(_)) => call == CallKind::RunnerGroup,
        Ok(Answer::ScaleSets(_)) => call == CallKind::ScaleSets,
        Ok(Answer::ScaleSet(_)) => matches!(
            call,
            CallKind::ScaleSetByName | CallKind::ScaleSet | CallKind::CreateScaleSet | CallKind::UpdateScaleSet
        ),
        Ok(Answer::Session(_)) => matches!(call, CallKind::CreateSession | CallKind::RefreshSession),
        Ok(Answer::Message(_) | Answer::EmptyReply) => call == CallKind::Poll,
        Ok(Answer::Acquired(_)) => call == CallKind::Acquire,
        Ok(Answer::AcquirableJobs(_)) => call == CallKind::AcquirableJobs,
        Ok(Answer::JitConfig { .. }) => call == CallKind::JitConfig,
        Ok(Answer::Runner(_)) => matches!(call, CallKind::RunnerByName | CallKind::Runner),
        Ok(Answer::Runners(_)) => call == CallKind::Runners,
        Ok(Answer::Done) => {
            matches!(
                call,
                CallKind::DeleteScaleSet | CallKind::DeleteSession | CallKind::Acknowledge | CallKind::RemoveRunner
            )
        }
    }
}

proptest! {
    #![proptest_config(settings(200))]

    #[test]
    fn a_connection_keeps_the_rules_whatever_it_is_answered(credential in credential(), ops in ops()) {
        Life::lived(credential, &ops, false);
    }

    #[test]
    fn a_connection_answers_every_call_once_and_leaves_no_secret(credential in credential(), ops in ops()) {
        Life::lived(credential, &ops, false).end();
    }

    #[test]
    fn a_connection_that_was_written_down_goes_on_as_if_it_had_not(credential in credential(), ops in ops()) {
        let (straight, reborn) = (Life::lived(credential, &ops, false), Life::lived(credential, &ops, true));
        prop_assert_eq!(straight.trace, reborn.trace);
        prop_assert_eq!(straight.connection, reborn.connection);
    }
}
