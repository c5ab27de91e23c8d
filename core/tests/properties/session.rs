//! One session against a peer that answers anything, and an owner who opens and closes it at any time.

use poolkeeper_core::github::answer::{Answer, OpenedSession, Queue};
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::message::{Job, JobMessage, JobMessageKind, Message, Statistics};
use poolkeeper_core::github::request::{RequestId, Slot};
use poolkeeper_core::session::{Session, SessionEvent};
use poolkeeper_core::view::SessionView;
use proptest::prelude::*;

use crate::support::{Surroundings, call_error, recorded, settings, span_ms};

#[path = "session_rules.rs"]
mod rules;

use rules::Rules;

const SET: u64 = 9;
/// A session that is told to close, and gets good answers, is closed after this many calls and waits.
const STEPS_TO_CLOSE: usize = 20;

#[derive(Clone, Debug)]
enum Op {
    Open { left: bool },
    Close,
    Reply(Result<Content, CallError>),
    Wait(u64),
    Timer,
    Remembered,
    Counts(Statistics),
    Capacity(u32),
}

/// What a good answer holds: each call takes its part.
#[derive(Clone, Debug)]
struct Content {
    queueless: bool,
    lifetime_s: Option<u64>,
    statistics: Option<Statistics>,
    news: News,
    ids: Vec<u64>,
    got: usize,
}

#[derive(Clone, Debug)]
enum News {
    Nothing,
    Empty,
    Next { skipped: u64, unknown: u32 },
    Again { back: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let reply = prop_oneof![7 => content().prop_map(Ok), 2 => call_error().prop_map(Err)];
    let op = prop_oneof![
        1 => any::<bool>().prop_map(|left| Op::Open { left }),
        1 => Just(Op::Close),
        24 => reply.prop_map(Op::Reply),
        4 => span_ms().prop_map(Op::Wait),
        8 => Just(Op::Timer),
        4 => Just(Op::Remembered),
        1 => statistics().prop_map(Op::Counts),
        1 => (0..6u32).prop_map(Op::Capacity),
    ];
    (any::<bool>(), proptest::collection::vec(op, 1..120)).prop_map(|(left, mut ops)| {
        ops.insert(0, Op::Open { left });
        ops
    })
}

fn content() -> impl Strategy<Value = Content> {
    let news = prop_oneof![
        2 => Just(News::Nothing),
        1 => Just(News::Empty),
        5 => (0..3u64, 0..2u32).prop_map(|(skipped, unknown)| News::Next { skipped, unknown }),
        1 => (0..3u64).prop_map(|back| News::Again { back }),
    ];
    let lifetime_s = proptest::option::of(prop_oneof![Just(0), 1..90u64, Just(3600)]);
    let statistics = proptest::option::weighted(0.7, statistics());
    let ids = proptest::collection::vec(0..40u64, 0..5);
    let parts = (proptest::bool::weighted(0.05), lifetime_s, statistics, news, ids, 0..5usize);
    parts.prop_map(|(queueless, lifetime_s, statistics, news, ids, got)| Content {
        queueless,
        lifetime_s,
        statistics,
        news,
        ids,
        got,
    })
}

fn statistics() -> impl Strategy<Value = Statistics> {
    (0..4u32, 0..3u32, 0..5u32).prop_map(|(available, acquired, assigned)| Statistics {
        available,
        acquired,
        assigned,
        ..Statistics::default()
    })
}

/// A session, its peer, and the rules that both are held to.
struct Life {
    session: Session,
    around: Surroundings,
    rules: Rules,
    slots: u64,
    trace: Vec<String>,
}

impl Life {
    fn new() -> Self {
        Self {
            session: Session::new("host"),
            around: Surroundings::new(),
            rules: Rules::default(),
            slots: 0,
            trace: Vec::new(),
        }
    }

    /// Lives through the orders; with `reborn` it is written down and read again before each.
    fn lived(ops: &[Op], reborn: bool) -> Self {
        let mut life = Self::new();
        life.capacity(5);
        for op in ops {
            if reborn {
                life.session = recorded(&life.session);
            }
            life.take(op);
        }
        life
    }

    fn capacity(&mut self, capacity: u32) {
        self.session.set_capacity(capacity);
        self.rules.capacity = capacity;
    }

    /// The counts are read while no acquire is under way, so that they are no older than the session's own.
    fn counts(&mut self, statistics: Statistics) {
        if !matches!(self.rules.in_flight, Some(Call::Acquire { .. })) {
            self.session.set_counts(statistics);
            self.rules.counted(statistics);
        }
    }

    fn take(&mut self, op: &Op) {
        match op {
            Op::Open { left } if self.session.is_closed() => self.open(*left),
            Op::Open { .. } => self.handle(SessionEvent::Open { scale_set: SET + 1, left: None }),
            Op::Close => self.close(),
            Op::Reply(reply) => self.reply(reply),
            Op::Wait(ms) => {
                self.around.wait(*ms);
                self.handle(SessionEvent::Tick);
            }
            Op::Timer => self.timer(),
            Op::Counts(statistics) => self.counts(*statistics),
            Op::Remembered => self.handle(SessionEvent::Remembered),
            Op::Capacity(capacity) => self.capacity(*capacity),
        }
    }

    fn open(&mut self, left: bool) {
        if left && self.rules.remembered.is_none() {
            self.rules.remembered = Some("old".to_owned());
        }
        let left = self.rules.remembered.clone();
        self.handle(SessionEvent::Open { scale_set: SET, left });
    }

    fn close(&mut self) {
        let first = !self.rules.closing;
        self.rules.closing = !self.session.is_closed();
        self.handle(SessionEvent::Close);
        let ends = self.session.is_closed() || self.rules.in_flight.is_some();
        assert!(ends || !first, "a close does not wait for a timer");
    }

    fn timer(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.around.wait(at.since(self.around.now).as_millis());
            self.handle(SessionEvent::Tick);
        }
    }

    fn reply(&mut self, reply: &Result<Content, CallError>) {
        let Some(call) = self.rules.in_flight.clone() else { return };
        let result = match reply {
            Ok(content) => Ok(self.answer(&call, content)),
            Err(error) => Err(error.clone()),
        };
        self.rules.ended(self.around.now, &result);
        self.handle(SessionEvent::Called(result));
    }

    fn answer(&mut self, call: &Call, content: &Content) -> Answer {
        match call {
            Call::CreateSession { .. } => {
                self.slots += 1;
                self.session_answer(format!("s-{}", self.slots), content)
            }
            Call::RefreshSession { session, .. } => {
                self.slots += 1;
                self.session_answer(session.clone(), content)
            }
            Call::Poll { last_message, .. } => message(*last_message, content),
            Call::Acquire { request_ids, .. } => {
                Answer::Acquired(request_ids.iter().copied().take(content.got).collect())
            }
            Call::AcquirableJobs { .. } => Answer::AcquirableJobs(content.ids.clone()),
            Call::DeleteSession { .. } | Call::Acknowledge { .. } => Answer::Done,
            Call::RunnerGroup { .. }
            | Call::ScaleSets
            | Call::ScaleSetByName { .. }
            | Call::ScaleSet { .. }
            | Call::CreateScaleSet { .. }
            | Call::UpdateScaleSet { .. }
            | Call::DeleteScaleSet { .. }
            | Call::JitConfig { .. }
            | Call::RunnerByName { .. }
            | Call::Runner { .. }
            | Call::Runners
            | Call::RemoveRunner { .. } => panic!("no call of a session: {call:?}"),
        }
    }

    fn session_answer(&self, id: String, content: &Content) -> Answer {
        let url = if content.queueless { String::new() } else { format!("https://q/{}", self.slots) };
        let queue = Queue { url, token: Slot(RequestId(self.slots)) };
        Answer::Session(OpenedSession { id, queue, lifetime_s: content.lifetime_s, statistics: content.statistics })
    }

    fn handle(&mut self, event: SessionEvent) {
        let early = event == SessionEvent::Tick && self.session.poll_timeout().is_none_or(|at| self.around.now < at);
        let mut effects = Vec::new();
        self.session.handle(&mut self.around.turn(), event, &mut effects);
        assert!(!early || effects.is_empty(), "nothing happens before its time: {effects:?}");
        for effect in &effects {
            self.rules.effect(self.around.now, effect);
        }
        self.trace.push(format!("{effects:?}"));
        self.check();
    }

    fn check(&self) {
        let (session, in_flight) = (&self.session, self.rules.in_flight.is_some());
        assert_eq!(session.is_calling(), in_flight, "it knows whether it has a call in flight");
        let timer = session.poll_timeout();
        assert!(!in_flight || timer.is_none(), "it waits for its call, not for a timer");
        assert!(session.is_closed() || in_flight || timer.is_some(), "what is not closed has a call or a timer");
        assert!(!session.is_open() || !self.rules.live.is_empty(), "an open session has a token");
        assert_eq!(session.is_closed(), session.view() == SessionView::None, "it shows what it is");
        assert!(!session.is_closed() || self.rules.live.is_empty(), "a closed session has no token");
        assert_eq!(session.is_open(), session.view() == SessionView::Open, "it shows what it is");
        let closes = self.rules.closing && !session.is_closed();
        assert_eq!(closes, session.view() == SessionView::Closing, "it shows that it closes");
        assert!(!self.rules.lost_a_set, "a set that is gone is told of");
        assert_eq!(session.polls(), self.rules.polls, "polls that ended well are counted");
    }

    /// Closes it, with good answers only.
    fn end(&mut self) {
        let good = Content {
            queueless: false,
            lifetime_s: Some(3600),
            statistics: None,
            news: News::Nothing,
            ids: Vec::new(),
            got: 0,
        };
        self.close();
        for _ in 0..STEPS_TO_CLOSE {
            if self.session.is_closed() {
                break;
            }
            match &self.rules.in_flight {
                Some(Call::Poll { .. }) if self.rules.cancelled => self.reply(&Err(cancelled())),
                Some(_) => self.reply(&Ok(good.clone())),
                None => self.timer(),
            }
        }
        assert!(self.session.is_closed(), "it closes: {:?}", self.session);
        assert!(
            self.rules.remembered.is_none() || self.rules.gave_up(),
            "nothing of ours is left unless GitHub keeps it"
        );
    }
}

fn cancelled() -> CallError {
    CallError {
        kind: CallErrorKind::Cancelled,
        status: None,
        message: String::new(),
        retry_after: None,
        activity_id: None,
    }
}

fn message(last: u64, content: &Content) -> Answer {
    let id = match content.news {
        News::Empty => return Answer::EmptyReply,
        News::Nothing => return Answer::Message(None),
        News::Next { skipped, .. } => last + 1 + skipped,
        News::Again { back } => last.saturating_sub(back).max(1),
    };
    let unknown = if let News::Next { unknown, .. } = content.news { unknown } else { 0 };
    let offer = |request_id: &u64| JobMessage {
        kind: if request_id % 7 == 3 { JobMessageKind::Assigned } else { JobMessageKind::Available },
        job: Job { request_id: *request_id, ..Job::default() },
        ..JobMessage::default()
    };
    let jobs = content.ids.iter().map(offer).collect();
    Answer::Message(Some(Message { id, statistics: content.statistics, jobs, unknown }))
}

proptest! {
    #![proptest_config(settings(200))]

    #[test]
    fn a_session_keeps_the_rules_whatever_it_is_answered(ops in ops()) {
        Life::lived(&ops, false);
    }

    #[test]
    fn a_session_that_is_told_to_close_closes_and_leaves_nothing(ops in ops()) {
        Life::lived(&ops, false).end();
    }

    #[test]
    fn a_session_that_was_written_down_goes_on_as_if_it_had_not(ops in ops()) {
        let (straight, reborn) = (Life::lived(&ops, false), Life::lived(&ops, true));
        prop_assert_eq!(straight.trace, reborn.trace);
        prop_assert_eq!(straight.session, reborn.session);
    }
}
