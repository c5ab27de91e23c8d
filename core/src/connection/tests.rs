//! One connection against scripted replies.

use alloc::string::ToString;
use alloc::vec;

use super::*;
use crate::config::CredentialKind;
use crate::context::RequestIds;
use crate::github::reply::{Body, Bytes, ReplyHeaders};
use crate::limiter::{GITHUB, Limiter, Limits};
use crate::rng::Rng;
use crate::seal::{Sealed, SealedSecret};

mod tokens;

const POOL: PoolId = PoolId(7);
/// The same span as the chain's own.
const RENEW_AT_MOST_EVERY_MS: u64 = 30_000;

struct Script {
    connection: Connection,
    now_ms: u64,
    rng: Rng,
    ids: RequestIds,
    limiter: Limiter,
    sent: VecDeque<(RequestId, CallKind, Request)>,
    called: Vec<Result<Answer, CallError>>,
    dropped: Vec<Slot>,
}

impl Script {
    fn new(credential: CredentialKind) -> Self {
        let config = ConnectionConfig {
            url: "https://ghes.corp".into(),
            credential,
            orgs: vec!["acme".to_string()],
            runner_group: "default".into(),
            force_ghes: false,
        };
        let scope = Scope::Organization("acme".into());
        Self {
            connection: Connection::new("main", &config, scope, &Build::default()).unwrap(),
            now_ms: 1000,
            rng: Rng::new(3),
            ids: RequestIds::default(),
            limiter: Limiter::new(GITHUB),
            sent: VecDeque::new(),
            called: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// A connection that has its admin token.
    fn connected() -> Self {
        let mut script = Self::new(CredentialKind::Pat);
        script.ask(group("default"));
        script.reply(sealed(|token| Sealed::Token { token }));
        script.reply(sealed(admin));
        script.reply(text(r#"{"count":1,"value":[{"id":1,"name":"default"}]}"#));
        assert_eq!(script.called.len(), 1);
        script
    }

    fn handle(&mut self, event: ConnectionEvent) {
        let now = Instant::from_millis(self.now_ms);
        let mut cx = Context { now, rng: &mut self.rng, ids: &mut self.ids, limiter: &mut self.limiter };
        let mut effects = Vec::new();
        self.connection.handle(&mut cx, event, &mut effects);
        for effect in effects {
            match effect {
                ConnectionEffect::Request { id, call, request } => self.sent.push_back((id, call, *request)),
                ConnectionEffect::Called { result, .. } => self.called.push(result),
                ConnectionEffect::Drop(slot) => self.dropped.push(slot),
                ConnectionEffect::Cancel { .. } | ConnectionEffect::Forget { .. } | ConnectionEffect::Note(_) => {}
            }
        }
        self.connection.check();
    }

    fn ask(&mut self, call: Call) {
        self.handle(ConnectionEvent::Call { caller: Caller::Operator, call });
    }

    /// Answers the oldest request; `make` gets its id, by which secrets are named.
    fn reply(&mut self, make: impl FnOnce(RequestId) -> Reply) -> (CallKind, Request) {
        let (id, call, request) = self.sent.pop_front().expect("a request in flight");
        self.handle(ConnectionEvent::Reply { id, result: Ok(make(id)) });
        (call, request)
    }

    fn wait(&mut self) {
        self.now_ms = self.connection.poll_timeout().expect("a timer").as_millis();
        self.handle(ConnectionEvent::Tick);
    }
}

fn group(name: &str) -> Call {
    Call::RunnerGroup { name: name.into() }
}

fn admin(token: SealedSecret) -> Sealed {
    Sealed::AdminConnection { url: "https://ghes.corp/_services/t1/".into(), token }
}

fn sealed(make: impl FnOnce(SealedSecret) -> Sealed) -> impl FnOnce(RequestId) -> Reply {
    |id| {
        let token = SealedSecret { slot: Slot(id), len: 9, lifetime_s: Some(3600) };
        Reply { status: 200, headers: ReplyHeaders::default(), body: Body::Sealed(make(token)) }
    }
}

fn status(status: u16) -> impl FnOnce(RequestId) -> Reply {
    move |_| Reply { status, headers: ReplyHeaders::default(), body: Body::Raw(Bytes::default()) }
}

fn text(body: &'static str) -> impl FnOnce(RequestId) -> Reply {
    move |_| Reply { status: 200, headers: ReplyHeaders::default(), body: Body::Raw(Bytes(body.as_bytes().to_vec())) }
}

#[test]
fn a_pat_leads_through_a_registration_token_to_the_service() {
    let mut script = Script::new(CredentialKind::Pat);
    script.ask(group("a b"));
    let (call, request) = script.reply(sealed(|token| Sealed::Token { token }));
    assert_eq!((call, request.auth), (CallKind::RegistrationToken, Auth::Credential));
    assert_eq!(request.url, "https://ghes.corp/api/v3/orgs/acme/actions/runners/registration-token");
    let (call, request) = script.reply(sealed(admin));
    assert_eq!((call, request.auth), (CallKind::AdminConnection, Auth::RemoteAuth(Slot(RequestId(1)))));
    assert_eq!(request.body.as_deref(), Some(r#"{"url":"https://ghes.corp/acme","runner_event":"register"}"#));
    let (_, request) = script.reply(text(r#"{"count":0,"value":[]}"#));
    assert_eq!(
        request.url,
        "https://ghes.corp/_services/t1/_apis/runtime/runnergroups/?groupName=a%20b&api-version=6.0-preview"
    );
    assert_eq!(request.auth, Auth::Bearer(Slot(RequestId(2))));
    assert_eq!(script.called, [Ok(Answer::RunnerGroup(None))]);
    assert_eq!(script.dropped, [Slot(RequestId(1))], "the registration token is used up");
}

#[test]
fn an_app_looks_its_installation_up_first() {
    let mut script = Script::new(CredentialKind::App { installation: None });
    script.ask(group("default"));
    let (call, request) = script.reply(text(r#"{"id":42}"#));
    assert_eq!((call, request.auth), (CallKind::Installation, Auth::Credential));
    assert!(request.url.ends_with("/api/v3/orgs/acme/installation"), "{}", request.url);
    let (call, request) = script.reply(sealed(|token| Sealed::Token { token }));
    assert_eq!((call, request.auth), (CallKind::AccessToken, Auth::Credential));
    assert!(request.url.ends_with("/app/installations/42/access_tokens"), "{}", request.url);
    let (call, request) = script.reply(sealed(|token| Sealed::Token { token }));
    assert_eq!((call, request.auth), (CallKind::RegistrationToken, Auth::Bearer(Slot(RequestId(2)))));
}

#[test]
fn many_calls_share_one_chain_of_tokens() {
    let mut script = Script::new(CredentialKind::Pat);
    for _ in 0..20 {
        script.ask(Call::ScaleSets);
    }
    assert_eq!(script.sent.len(), 1);
    script.reply(sealed(|token| Sealed::Token { token }));
    script.reply(sealed(admin));
    assert_eq!(script.sent.len(), 8, "and are bounded in flight");
}

#[test]
fn a_fresh_registration_token_that_is_refused_is_tried_again() {
    let mut script = Script::new(CredentialKind::Pat);
    script.ask(Call::ScaleSets);
    script.reply(sealed(|token| Sealed::Token { token }));
    for _ in 0..3 {
        let (call, _) = script.reply(status(403));
        assert_eq!(call, CallKind::AdminConnection);
        assert!(script.sent.is_empty(), "not at once");
        script.wait();
    }
    script.reply(status(403));
    script.wait();
    assert_eq!(script.sent.front().map(|(_, call, _)| *call), Some(CallKind::RegistrationToken));
}

#[test]
fn a_refused_admin_token_is_renewed_and_the_call_made_once_more() {
    let mut script = Script::connected();
    script.now_ms += 60_000;
    script.ask(Call::ScaleSets);
    script.reply(status(401));
    assert_eq!(script.called.len(), 1, "the call goes on");
    script.reply(sealed(|token| Sealed::Token { token }));
    script.reply(sealed(admin));
    let (call, _) = script.reply(status(401));
    assert_eq!(call, CallKind::ScaleSets);
    assert_eq!(script.called.last().unwrap().as_ref().unwrap_err().kind, CallErrorKind::Denied);
}

#[test]
fn no_token_is_renewed_twice_within_half_a_minute() {
    let mut script = Script::connected();
    script.now_ms += 5_000;
    script.ask(Call::ScaleSets);
    script.reply(status(401));
    assert_eq!(script.called.last().unwrap().as_ref().unwrap_err().kind, CallErrorKind::Denied);
    assert!(script.sent.is_empty());
}

#[test]
fn a_token_is_renewed_early_while_calls_go_on() {
    let mut script = Script::connected();
    script.now_ms += 3_000_000;
    script.ask(Call::ScaleSets);
    let kinds: Vec<_> = script.sent.iter().map(|(_, call, _)| *call).collect();
    assert_eq!(kinds, [CallKind::RegistrationToken, CallKind::ScaleSets]);
}

#[test]
fn a_runner_groups_id_is_asked_for_once() {
    let mut script = Script::connected();
    script.ask(group("default"));
    assert!(script.sent.is_empty());
    assert_eq!(script.called.len(), 2);
}

#[test]
fn who_waits_for_a_runner_groups_id_gets_it_when_another_is_told() {
    let mut script = Script::new(CredentialKind::Pat);
    script.limiter = Limiter::new(Limits { in_flight: 1, burst: 9, rate: 9 });
    script.ask(group("default"));
    script.ask(group("default"));
    script.reply(sealed(|token| Sealed::Token { token }));
    script.reply(sealed(admin));
    assert_eq!(script.sent.len(), 1);
    script.reply(text(r#"{"count":1,"value":[{"id":1,"name":"default"}]}"#));
    assert!(script.sent.is_empty());
    assert_eq!(script.called.len(), 2);
    assert!(script.called.iter().all(Result::is_ok));
}

#[test]
fn a_call_that_the_shell_forgets_is_given_up() {
    let mut script = Script::connected();
    script.ask(Call::ScaleSets);
    script.wait();
    assert_eq!(script.called.last().unwrap().as_ref().unwrap_err().kind, CallErrorKind::OutcomeUnknown);
}

#[test]
fn polls_do_not_wait_behind_the_limits() {
    let mut script = Script::connected();
    script.limiter = Limiter::new(Limits { in_flight: 0, burst: 1, rate: 1 });
    let queue = crate::github::answer::Queue { url: "https://q/1?k=2".into(), token: Slot(RequestId(2)) };
    script.ask(Call::Poll { scale_set: 1, queue, last_message: 4, max_capacity: 3 });
    script.ask(Call::ScaleSets);
    assert_eq!(script.sent.len(), 1);
    let (_, _, request) = &script.sent[0];
    assert_eq!(request.url, "https://q/1?k=2&lastMessageId=4");
    assert!(request.headers.iter().any(|h| h.name == HeaderName::MaxCapacity && h.value == "3"));
}

#[test]
fn a_chain_that_waits_for_room_sets_no_timer() {
    let mut script = Script::new(CredentialKind::Pat);
    script.limiter = Limiter::new(Limits { in_flight: 0, burst: 1, rate: 1 });
    script.ask(Call::ScaleSets);
    assert_eq!((script.sent.len(), script.connection.poll_timeout()), (0, None));
    script.limiter = Limiter::new(GITHUB);
    script.handle(ConnectionEvent::Tick);
    assert_eq!(script.sent.len(), 1);
}

#[test]
fn a_rate_limit_stops_every_call_for_as_long_as_the_peer_asked() {
    let mut script = Script::connected();
    script.ask(Call::ScaleSets);
    script.reply(|_| Reply {
        status: 429,
        headers: ReplyHeaders { retry_after: Some("30".into()), ..ReplyHeaders::default() },
        body: Body::Raw(Bytes::default()),
    });
    let error = script.called.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.kind, error.retry_after), (CallErrorKind::RateLimited, Some(Duration::from_secs(30))));
    script.ask(Call::ScaleSets);
    assert!(script.sent.is_empty());
    script.wait();
    assert_eq!((script.sent.len(), script.now_ms), (1, 31_000));
}

#[test]
fn a_token_that_comes_after_the_connection_was_replaced_is_dropped() {
    let mut script = Script::new(CredentialKind::Pat);
    script.ask(Call::ScaleSets);
    script.handle(ConnectionEvent::Retire);
    script.reply(sealed(|token| Sealed::Token { token }));
    assert_eq!(script.dropped, [Slot(RequestId(1))]);
    assert!(script.sent.is_empty());
}

#[test]
fn what_is_asked_is_known_until_it_ends() {
    let mut script = Script::new(CredentialKind::Pat);
    assert!(script.connection.is_idle());
    script.handle(ConnectionEvent::Call { caller: Caller::Pool(POOL), call: Call::ScaleSets });
    assert!(!script.connection.is_idle(), "a token is on its way");
    script.handle(ConnectionEvent::Reply { id: RequestId(1), result: Err(TransportError::overdue()) });
    script.sent.clear();
    assert!(!script.connection.is_idle(), "the call waits");
    let mut script = Script::connected();
    script.handle(ConnectionEvent::Call { caller: Caller::Pool(POOL), call: Call::ScaleSets });
    let id = script.sent[0].0;
    assert_eq!(script.connection.pool_of_call(id), Some(POOL));
    assert!(!script.connection.is_idle(), "it is in flight");
    script.reply(text(r#"{"count":0,"value":[]}"#));
    assert_eq!(script.connection.pool_of_call(id), None);
    assert!(script.connection.is_idle());
}

#[test]
fn room_that_others_hold_is_waited_for_and_known_to_be() {
    let mut script = Script::connected();
    script.limiter = Limiter::new(Limits { in_flight: 0, burst: 1, rate: 1 });
    script.ask(Call::ScaleSets);
    assert!(script.connection.is_starved());
    script.limiter = Limiter::new(GITHUB);
    script.handle(ConnectionEvent::Tick);
    assert!(!script.connection.is_starved());
    assert_eq!(script.sent.len(), 1);
}

#[test]
fn whoever_gives_up_takes_back_its_own_poll_and_session_and_nothing_else() {
    let mut script = Script::new(CredentialKind::Pat);
    let (mine, other) = (Caller::Session(POOL), Caller::Session(PoolId(8)));
    let session = || Call::CreateSession { scale_set: 1, owner: "host".into() };
    script.handle(ConnectionEvent::Call { caller: other, call: session() });
    script.handle(ConnectionEvent::Call { caller: mine, call: Call::ScaleSets });
    script.handle(ConnectionEvent::Call { caller: mine, call: session() });
    script.handle(ConnectionEvent::Cancel { caller: mine });
    assert_eq!(script.called, [Err(CallError::cancelled())]);
    script.reply(sealed(|token| Sealed::Token { token }));
    script.reply(sealed(admin));
    let left: Vec<_> = script.sent.iter().map(|(_, call, _)| *call).collect();
    assert_eq!(left, [CallKind::CreateSession, CallKind::ScaleSets]);
}

#[test]
fn a_runner_groups_id_is_asked_for_again_after_five_minutes() {
    let mut script = Script::connected();
    script.now_ms += RUNNER_GROUP_LIFE.as_millis() - 1;
    script.ask(group("default"));
    assert!(script.sent.is_empty());
    script.now_ms += 1;
    script.ask(group("default"));
    assert_eq!(script.sent.len(), 1);
}

#[test]
fn without_its_defence_a_hung_poll_is_waited_for_twenty_five_minutes() {
    let mut script = Script::connected();
    script.connection.defences.end_hung_polls = false;
    let queue = crate::github::answer::Queue { url: "https://q/1".into(), token: Slot(RequestId(2)) };
    script.ask(Call::Poll { scale_set: 1, queue, last_message: 0, max_capacity: 3 });
    assert_eq!(script.sent[0].2.timeout, Duration::from_secs(1500));
}

#[test]
fn an_exception_named_by_a_redirect_proves_nothing() {
    let body = r#"{"typeName":"GitHub.Actions.Runtime.WebApi.RunnerScaleSetNotFoundException, x","message":"gone"}"#;
    let kind = |status| {
        let body = Body::Raw(Bytes(body.into()));
        CallError::from_reply(&Reply { status, headers: ReplyHeaders::default(), body }).kind
    };
    assert_eq!(kind(302), CallErrorKind::Misbehaved);
    assert_eq!(kind(404), CallErrorKind::ScaleSetNotFound);
    assert_eq!(kind(400), CallErrorKind::ScaleSetNotFound);
}
