//! One pool in a whole machine: peers that answer anything, a group that anybody changes, a config that changes too.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, Group, Instance, LifecycleState};
use poolkeeper_core::config::{Config, RawConfig};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::message::Statistics;
use poolkeeper_core::github::reply::{Body, Reply, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{Auth, CallKind, Request, RequestId, Slot};
use poolkeeper_core::notice::{Notice, PoolFact};
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::{Duration, Instant, Now};
use poolkeeper_core::view::SessionView;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::{good_reply, recorded, settings, span_ms, text};

#[path = "../main_job/peer.rs"]
#[expect(dead_code, reason = "only the group and the config are used here")]
mod peer;

/// No step of one pool wants more than this done.
const EFFECTS_A_STEP: usize = 40;
/// No machine ticks this often without time passing or anybody answering.
const TICKS_AT_ONCE: u32 = 4;
/// A call to AWS that nobody answered for this long is given up.
const AWS_BACKSTOP: Duration = Duration::from_secs(60);
/// A machine that is told to stop, and gets good answers, has exited after this many of them.
const STEPS_TO_STOP: usize = 200;

#[derive(Clone, Debug)]
enum Op {
    GitHub { which: usize, outcome: Outcome },
    Aws { which: usize, error: Option<AwsError> },
    Human(Shape),
    Vanish,
    Boot,
    Wait(u64),
    Timer,
    Reconfigure { size_max: u32, idle: u32, moved: bool },
    NotRemembered,
    Stop,
}

#[derive(Clone, Debug)]
enum Outcome {
    Well { news: Option<News> },
    Nonsense,
    Status(u16),
    Transport(TransportErrorKind),
}

/// What a poll brings.
#[derive(Clone, Debug)]
struct News {
    statistics: Option<Statistics>,
    offers: Vec<u64>,
    again: bool,
}

#[derive(Clone, Debug)]
struct Shape {
    min: u32,
    max: u32,
    desired: u32,
    protected: bool,
    pool: u32,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        60 => (0..4usize, outcome()).prop_map(|(which, outcome)| Op::GitHub { which, outcome }),
        30 => (0..3usize, proptest::option::weighted(0.15, aws_error())).prop_map(|(which, error)| Op::Aws { which, error }),
        10 => shape().prop_map(Op::Human),
        1 => Just(Op::Vanish),
        8 => Just(Op::Boot),
        6 => span_ms().prop_map(Op::Wait),
        30 => Just(Op::Timer),
        1 => (1..12u32, 0..3u32, any::<bool>()).prop_map(|(size_max, idle, moved)| Op::Reconfigure { size_max, idle, moved }),
        1 => Just(Op::NotRemembered),
        1 => Just(Op::Stop),
    ];
    proptest::collection::vec(op, 1..120)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    use TransportErrorKind as Kind;
    let statistics = (0..3u32, 0..2u32, 0..9u32).prop_map(|(available, acquired, assigned)| Statistics {
        available,
        acquired,
        assigned,
        ..Statistics::default()
    });
    let offers = proptest::collection::vec(1..9u64, 0..3);
    let news = (proptest::option::weighted(0.8, statistics), offers, proptest::bool::weighted(0.1));
    let news = news.prop_map(|(statistics, offers, again)| News { statistics, offers, again });
    let kinds = vec![Kind::Connect, Kind::TimedOut, Kind::Broken, Kind::TooLarge, Kind::NotSent];
    prop_oneof![
        20 => proptest::option::of(news).prop_map(|news| Outcome::Well { news }),
        1 => Just(Outcome::Nonsense),
        5 => proptest::sample::select(vec![400, 401, 403, 404, 404, 409, 409, 429, 503]).prop_map(Outcome::Status),
        1 => proptest::sample::select(kinds).prop_map(Outcome::Transport),
    ]
}

fn aws_error() -> impl Strategy<Value = AwsError> {
    let message = || String::from("scripted");
    proptest::sample::select(vec![
        AwsError::Throttled,
        AwsError::Denied { message: message() },
        AwsError::Contention,
        AwsError::Validation { message: message() },
        AwsError::Transport { message: message() },
    ])
}

fn shape() -> impl Strategy<Value = Shape> {
    let parts = (0..3u32, 0..12u32, 0..9u32, proptest::bool::weighted(0.8), 0..2u32);
    parts.prop_map(|(min, extra, desired, protected, pool)| Shape { min, max: min + extra, desired, protected, pool })
}

/// A machine, the one group it may drive, and what is known of both from outside.
struct Life {
    machine: Machine,
    now: Now,
    group: Option<Group>,
    /// The group's bounds as the machine was told last.
    told: (u32, u32),
    told_at: Instant,
    github: BTreeMap<RequestId, CallKind>,
    cancelled: Vec<RequestId>,
    aws: BTreeMap<RequestId, (AwsCall, Instant)>,
    last_id: RequestId,
    live: BTreeSet<Slot>,
    dropped: BTreeSet<Slot>,
    last_message: u64,
    absorbed: BTreeSet<u64>,
    ticks: u32,
    exited: bool,
    trace: Vec<String>,
    seen: BTreeSet<CallKind>,
    writes: usize,
}

impl Life {
    fn begun() -> Self {
        let mut life = Self {
            machine: Machine::new(peer::config(), 7),
            now: Now { mono: Instant::from_millis(1000), unix_ms: 1_777_629_600_000 },
            group: Some(peer::group(0)),
            told: (0, 0),
            told_at: Instant::default(),
            github: BTreeMap::new(),
            cancelled: Vec::new(),
            aws: BTreeMap::new(),
            last_id: RequestId(0),
            live: BTreeSet::new(),
            dropped: BTreeSet::new(),
            last_message: 0,
            absorbed: BTreeSet::new(),
            ticks: 0,
            exited: false,
            trace: Vec::new(),
            seen: BTreeSet::new(),
            writes: 0,
        };
        life.handle(Event::Start { remembered: Vec::new() });
        life
    }

    fn lived(ops: &[Op], reborn: bool) -> Self {
        let mut life = Self::begun();
        for op in ops {
            if reborn {
                life.machine = recorded(&life.machine);
            }
            life.take(op);
        }
        life
    }

    fn take(&mut self, op: &Op) {
        match op {
            Op::GitHub { which, outcome } => {
                if let Some(id) = self.github.keys().nth(which % self.github.len().max(1)).copied() {
                    self.answer(id, outcome);
                }
            }
            Op::Aws { which, error } => {
                if let Some(id) = self.aws.keys().nth(which % self.aws.len().max(1)).copied() {
                    self.aws_answer(id, error.as_ref());
                }
            }
            Op::Human(shape) => self.change(shape),
            Op::Vanish => self.group = None,
            Op::Boot => self.boot(),
            Op::Wait(ms) => {
                self.wait(Duration::from_millis(*ms));
                self.handle(Event::Tick);
            }
            Op::Timer => self.timer(),
            Op::Reconfigure { size_max, idle, moved } => {
                let mut raw = RawConfig::from(peer::config());
                for connection in raw.connections.values_mut().filter(|_| *moved) {
                    connection.url = "https://moved.test".into();
                }
                (raw.pool.size_max, raw.pool.idle) = (*size_max, *idle);
                let config = Config::try_from(raw).expect("a legal config");
                self.handle(Event::Reconfigure(Box::new(config)));
            }
            Op::NotRemembered => self.handle(Event::Remembered { key: "session/x".into(), ok: false }),
            Op::Stop => self.handle(Event::Stop),
        }
    }

    fn wait(&mut self, span: Duration) {
        self.now.mono = self.now.mono + span;
        self.now.unix_ms += span.as_millis();
        if span > Duration::ZERO {
            self.ticks = 0;
        }
    }

    fn timer(&mut self) {
        let Some((at, _)) = self.machine.poll_timeout() else { return };
        self.wait(at.since(self.now.mono));
        self.ticks += 1;
        assert!(self.ticks <= TICKS_AT_ONCE, "it does not tick in a hurry: {:?}", self.machine.poll_timeout());
        self.handle(Event::Tick);
    }

    fn change(&mut self, shape: &Shape) {
        let mut group = self.group.take().unwrap_or_else(|| peer::group(0));
        (group.min_size, group.max_size) = (shape.min, shape.max);
        group.desired = shape.desired.clamp(shape.min, shape.max);
        group.new_instances_protected = shape.protected;
        for tag in group.tags.iter_mut().filter(|tag| tag.key == "runs-on-pool") {
            tag.value = format!("pool-{}", shape.pool).into();
        }
        self.group = Some(group);
    }

    /// Instances follow desired, one step at a time: pending, in service, gone.
    fn boot(&mut self) {
        let Some(group) = &mut self.group else { return };
        for instance in &mut group.instances {
            if instance.state == LifecycleState::Pending {
                instance.state = LifecycleState::InService;
            }
        }
        let wanted = usize::try_from(group.desired).expect("small");
        group.instances.truncate(wanted);
        let missing = wanted - group.instances.len();
        let born = (0..missing).map(|n| Instance {
            id: format!("i-{}-{n}", self.last_id).into(),
            state: LifecycleState::Pending,
            healthy: true,
            protected: group.new_instances_protected,
            waits: false,
        });
        group.instances.extend(born);
    }

    fn answer(&mut self, id: RequestId, outcome: &Outcome) {
        let kind = self.github.remove(&id).expect("a request in flight");
        let result = match outcome {
            Outcome::Well { news: Some(news) } if kind.is_poll() => Ok(self.message(news)),
            Outcome::Well { .. } => Ok(good_reply(id, kind, Some(3600))),
            Outcome::Nonsense => Ok(text(200, "<html>")),
            Outcome::Status(status) => Ok(text(*status, "no")),
            Outcome::Transport(kind) => Err(TransportError { kind: *kind, detail: "scripted".into() }),
        };
        if let Ok(Reply { body: Body::Sealed(sealed), .. }) = &result {
            assert!(!matches!(sealed, Sealed::Error { .. } | Sealed::Unparsed { .. }));
            self.live.insert(Slot(id));
        }
        if kind == CallKind::CreateSession && result.is_ok() {
            self.last_message = 0;
            self.absorbed.clear();
        }
        self.handle(Event::GitHubReply { id, result });
    }

    fn message(&mut self, news: &News) -> Reply {
        if !news.again {
            self.last_message += 1;
        }
        let offer = |id: &u64| serde_json::json!({"messageType": "JobAvailable", "runnerRequestId": id});
        let jobs: Vec<_> = news.offers.iter().map(offer).collect();
        let message = serde_json::json!({
            "messageId": self.last_message.max(1),
            "messageType": "RunnerScaleSetJobMessages",
            "body": serde_json::Value::from(jobs).to_string(),
            "statistics": news.statistics,
        });
        self.last_message = self.last_message.max(1);
        text(200, &message.to_string())
    }

    fn aws_answer(&mut self, id: RequestId, error: Option<&AwsError>) {
        let (call, asked_at) = self.aws.remove(&id).expect("a call in flight");
        let result = match (call, error) {
            (_, Some(error)) => Err(error.clone()),
            (AwsCall::DescribeGroups { .. }, None) => {
                let heard = asked_at >= self.told_at && self.now.mono.since(asked_at) < AWS_BACKSTOP;
                if let Some(group) = self.group.as_ref().filter(|_| heard) {
                    (self.told, self.told_at) = ((group.min_size, group.max_size), asked_at);
                }
                Ok(AwsReply::Groups { groups: self.group.iter().cloned().collect(), next_token: None })
            }
            (call @ AwsCall::Instances { .. }, None) => panic!("nobody manages instances here: {call:?}"),
            (AwsCall::SetDesiredCapacity { desired, .. }, None) => match &mut self.group {
                Some(group) if (group.min_size..=group.max_size).contains(&desired) => {
                    group.desired = desired;
                    Ok(AwsReply::Done)
                }
                Some(_) | None => Err(AwsError::Validation { message: "scripted".into() }),
            },
        };
        self.handle(Event::AwsReply { id, result });
    }

    fn handle(&mut self, event: Event) {
        if !matches!(event, Event::Tick) {
            self.ticks = 0;
        }
        let was_open = self.is_open();
        let mut effects = Vec::new();
        self.machine.handle(self.now, event, &mut effects);
        assert!(!self.exited || effects.is_empty(), "nothing is done after the end");
        assert!(effects.len() <= EFFECTS_A_STEP, "a step does a bounded number of things: {effects:?}");
        self.trace.push(format!("{effects:?}"));
        for effect in effects {
            self.effect(effect, was_open);
        }
        self.machine.check();
        if let Some(id) = self.cancelled.pop() {
            let error = TransportError { kind: TransportErrorKind::Cancelled, detail: String::new() };
            self.handle(Event::GitHubReply { id, result: Err(error) });
        }
    }

    fn is_open(&self) -> bool {
        self.machine.pools(None, 9).iter().any(|pool| pool.session == SessionView::Open)
    }

    fn effect(&mut self, effect: Effect, was_open: bool) {
        match effect {
            Effect::GitHub { id, call, request } => self.request(id, call, &request),
            Effect::Aws { id, call } => {
                self.number(id);
                if let AwsCall::SetDesiredCapacity { desired, .. } = call {
                    assert!(was_open || self.is_open(), "who has no session writes nothing");
                    assert!((self.told.0..=self.told.1).contains(&desired), "{desired} is outside {:?}", self.told);
                    let alive = |at: &Instant| self.now.mono.since(*at) < AWS_BACKSTOP;
                    let is_write = |call: &AwsCall| matches!(call, AwsCall::SetDesiredCapacity { .. });
                    let writing = self.aws.values().any(|(call, at)| is_write(call) && alive(at));
                    assert!(!writing, "one write at a time");
                    self.writes += 1;
                }
                self.aws.insert(id, (call, self.now.mono));
            }
            Effect::Cancel { id } => {
                if self.github.remove(&id).is_some() {
                    self.cancelled.push(id);
                }
            }
            Effect::Drop(slot) => {
                assert!(self.dropped.insert(slot), "a secret is dropped once: {slot:?}");
                self.live.remove(&slot);
            }
            Effect::Note(Notice::Pool { fact: PoolFact::Message { message, .. }, .. }) => {
                assert!(self.absorbed.insert(message), "a message is absorbed once");
            }
            Effect::Exit(_) => self.exited = true,
            Effect::Remember { .. } | Effect::Note(_) => {}
        }
    }

    fn number(&mut self, id: RequestId) {
        assert!(id > self.last_id, "ids are never used again");
        self.last_id = id;
    }

    fn request(&mut self, id: RequestId, kind: CallKind, request: &Request) {
        self.number(id);
        self.seen.insert(kind);
        match request.auth {
            Auth::Credential => {}
            Auth::Bearer(slot) | Auth::RemoteAuth(slot) => {
                assert!(self.live.contains(&slot), "{kind:?} with a dead token");
            }
        }
        if kind == CallKind::Acknowledge {
            let message = request.url.split('?').next().and_then(|path| path.rsplit('/').next());
            let message: u64 = message.and_then(|id| id.parse().ok()).expect("an acknowledge names its message");
            assert!(self.absorbed.contains(&message), "message {message} is acknowledged unheard");
        }
        self.github.insert(id, kind);
    }

    fn stop(&mut self) {
        self.handle(Event::Stop);
        for _ in 0..STEPS_TO_STOP {
            if self.exited {
                break;
            }
            if let Some(id) = self.github.keys().next().copied() {
                self.answer(id, &Outcome::Well { news: None });
            } else if let Some(id) = self.aws.keys().next().copied() {
                self.aws_answer(id, None);
            } else {
                self.timer();
            }
        }
        assert!(self.exited, "a machine that is told to stop exits");
        assert_eq!(self.machine.poll_timeout(), None);
        self.no_connection_is_kept_in_vain();
    }

    fn no_connection_is_kept_in_vain(&self) {
        let state = serde_json::to_value(&self.machine).expect("state serialises");
        let connections = state.get("connections").and_then(|all| all.as_object()).expect("connections by id");
        for connection in connections.values().filter(|connection| connection["retired"] == true) {
            let in_flight = connection["in_flight"].as_object().map_or(0, serde_json::Map::len);
            assert!(in_flight > 0, "a connection that was replaced is forgotten once nothing of it is in flight");
        }
    }
}

#[test]
fn the_orders_lead_to_every_call_a_pool_makes() {
    let mut runner = TestRunner::new(settings(1));
    let (mut seen, mut writes) = (BTreeSet::new(), 0);
    for _ in 0..200 {
        let ops = ops().new_tree(&mut runner).expect("orders").current();
        let life = Life::lived(&ops, false);
        seen.extend(life.seen);
        writes += life.writes;
    }
    for kind in [
        CallKind::AdminConnection,
        CallKind::CreateSession,
        CallKind::DeleteSession,
        CallKind::Poll,
        CallKind::Acknowledge,
        CallKind::Acquire,
        CallKind::AcquirableJobs,
    ] {
        assert!(seen.contains(&kind), "no {kind:?} in {seen:?}");
    }
    assert!(writes >= 20, "only {writes} writes");
}

proptest! {
    #![proptest_config(settings(120))]

    #[test]
    fn a_pool_keeps_the_rules_whatever_its_peers_answer(ops in ops()) {
        Life::lived(&ops, false);
    }

    #[test]
    fn a_machine_that_is_told_to_stop_exits_whatever_came_before(ops in ops()) {
        Life::lived(&ops, false).stop();
    }

    #[test]
    fn a_machine_that_was_written_down_goes_on_as_if_it_had_not(ops in ops()) {
        let (straight, again, reborn) = (Life::lived(&ops, false), Life::lived(&ops, false), Life::lived(&ops, true));
        prop_assert_eq!(&straight.trace, &again.trace, "the same events have the same effects");
        prop_assert_eq!(straight.trace, reborn.trace);
        prop_assert_eq!(straight.machine, reborn.machine);
    }
}
