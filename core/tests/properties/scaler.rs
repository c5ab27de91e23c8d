//! The scaler alone, against a group that anybody may change, and wishes that change at any time.

use std::collections::BTreeMap;

use poolkeeper_core::aws::{AwsError, Group, Instance, LifecycleState};
use poolkeeper_core::config::Defences;
use poolkeeper_core::notice::Decision;
use poolkeeper_core::rng::Rng;
use poolkeeper_core::runners::Judgement;
use poolkeeper_core::scaler::{Changed, Counts, Scaler, Shown, Wanted};
use poolkeeper_core::time::{Duration, Instant};
use proptest::prelude::*;

use crate::support::{recorded, settings, span_ms};

const FRESH: Duration = Duration::from_secs(10);
const TRUST: Duration = Duration::from_secs(30);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
enum Op {
    /// A describe that was asked for so long ago.
    Describe {
        group: Shape,
        asked_ms_ago: u64,
        member_left: bool,
        unseen: u32,
    },
    /// A describe of what AWS would show now.
    DescribeAgain,
    Want(Wanted),
    Wait(u64),
    Timer,
    Write,
    Answer(Option<AwsError>),
    JobEnded,
}

/// A group in numbers: the instances are named so that describes show the same ones.
#[derive(Clone, Debug, Default)]
struct Shape {
    min: u32,
    max: u32,
    desired: u32,
    in_service: u32,
    unprotected: u32,
    unhealthy: u32,
    pending: u32,
    terminating: u32,
    standby: u32,
}

impl Shape {
    fn group(&self) -> Group {
        let instance = |kind: &str, n: u32, state: LifecycleState| Instance {
            id: format!("{kind}-{n}").into(),
            protected: n >= self.unprotected,
            waits: false,
            healthy: n >= self.unhealthy,
            state,
        };
        let serving = (0..self.in_service).map(|n| instance("s", n, LifecycleState::InService));
        let pending = (0..self.pending).map(|n| instance("p", n, LifecycleState::Pending));
        let leaving = (0..self.terminating).map(|n| instance("t", n, LifecycleState::Terminating));
        let aside = (0..self.standby).map(|n| instance("o", n, LifecycleState::Other("Standby".into())));
        Group {
            min_size: self.min,
            max_size: self.max,
            desired: self.desired,
            instances: serving.chain(pending).chain(leaving).chain(aside).collect(),
            ..Group::default()
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let unseen = prop_oneof![4 => Just(0), 1 => 1..3u32];
    let describe = (shape(), prop_oneof![4 => Just(0), 1 => 0..40_000u64], proptest::bool::weighted(0.2), unseen);
    let op = prop_oneof![
        6 => describe.prop_map(|(group, asked_ms_ago, member_left, unseen)| Op::Describe { group, asked_ms_ago, member_left, unseen }),
        5 => Just(Op::DescribeAgain),
        5 => wanted().prop_map(Op::Want),
        4 => span_ms().prop_map(Op::Wait),
        4 => proptest::sample::select(vec![FRESH, TRUST]).prop_map(|span| Op::Wait(span.as_millis())),
        5 => Just(Op::Timer),
        8 => Just(Op::Write),
        8 => proptest::option::weighted(0.3, error()).prop_map(Op::Answer),
        1 => Just(Op::JobEnded),
    ];
    proptest::collection::vec(op, 1..60)
}

fn shape() -> impl Strategy<Value = Shape> {
    let few = || prop_oneof![4 => Just(0), 1 => 1..3u32];
    let parts = ((0..4u32), (0..12u32), (0..10u32), 0..6u32, few(), few(), few(), few(), few());
    parts.prop_map(|(min, extra, desired, in_service, unprotected, unhealthy, pending, terminating, standby)| {
        let max = min + extra;
        Shape { min, max, desired, in_service, unprotected, unhealthy, pending, terminating, standby }
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let room = prop_oneof![2 => Just(u32::MAX), 1 => 0..12u32];
    let may = || proptest::bool::weighted(0.85);
    let parts = (0..12u32, 0..3u32, 0..4u32, 0..14u32, room, prop_oneof![Just(0), Just(90_000)], may(), may());
    parts.prop_map(|(assigned, idle, size_min, size_max, room, grace_ms, may_raise, may_lower)| Wanted {
        assigned,
        idle,
        size_min,
        size_max,
        room,
        idle_grace: Duration::from_millis(grace_ms),
        boot_deadline: BOOT_DEADLINE,
        may_raise,
        may_lower,
        is_managed: false,
    })
}

fn error() -> impl Strategy<Value = AwsError> {
    let message = || String::from("scripted");
    proptest::sample::select(vec![
        AwsError::Throttled,
        AwsError::Denied { message: message() },
        AwsError::Contention,
        AwsError::Validation { message: message() },
        AwsError::Misbehaved { message: message() },
        AwsError::Transport { message: message() },
    ])
}

/// A scaler, and beside it what a second reader of the same facts makes of them.
struct Life {
    scaler: Scaler,
    now: Instant,
    rng: Rng,
    wanted: Wanted,
    shape: Option<Shape>,
    described_at: Option<Instant>,
    seen_at: Instant,
    pending_since: BTreeMap<u32, Instant>,
    /// Desired before and after the write in flight.
    writing: Option<(u32, u32)>,
    left_while_writing: bool,
    wrote_at: Option<Instant>,
    trusted_until: Option<Instant>,
    doubtful_since: Option<Instant>,
    refused_at: Option<Instant>,
    surplus_since: Option<Instant>,
    trace: Vec<String>,
}

impl Life {
    fn new() -> Self {
        Self {
            scaler: Scaler::default(),
            now: Instant::from_millis(10_000_000),
            rng: Rng::new(5),
            wanted: Wanted {
                size_max: 10,
                room: u32::MAX,
                boot_deadline: BOOT_DEADLINE,
                may_raise: true,
                may_lower: true,
                ..Wanted::default()
            },
            shape: None,
            described_at: None,
            seen_at: Instant::default(),
            pending_since: BTreeMap::new(),
            writing: None,
            left_while_writing: false,
            wrote_at: None,
            trusted_until: None,
            doubtful_since: None,
            refused_at: None,
            surplus_since: None,
            trace: Vec::new(),
        }
    }

    fn lived(ops: &[Op], reborn: bool) -> Self {
        let mut life = Self::new();
        for op in ops {
            if reborn {
                life.scaler = recorded(&life.scaler);
            }
            life.take(op);
            life.settle();
        }
        life
    }

    fn take(&mut self, op: &Op) {
        match op {
            Op::Describe { group, asked_ms_ago, member_left, unseen } => {
                let asked_at = Instant::from_millis(self.now.as_millis() - asked_ms_ago);
                // The owner passes over a describe older than the last.
                if self.described_at.is_none_or(|at| asked_at >= at) {
                    self.describe(group.clone(), asked_at, *member_left, *unseen);
                }
            }
            Op::DescribeAgain => {
                if let Some(shape) = self.shape.clone() {
                    let desired = self.scaler.desired();
                    self.describe(Shape { desired, ..shape }, self.now, false, 0);
                }
            }
            Op::Want(wanted) => self.wanted = *wanted,
            Op::Wait(ms) => self.now = self.now + Duration::from_millis(*ms),
            Op::Timer => {
                if let Some(at) = self.scaler.poll_timeout(self.now, &self.wanted) {
                    assert!(at > self.now, "a timer lies ahead");
                    self.now = at;
                }
            }
            Op::Write => self.write(),
            Op::Answer(error) => self.answer(error.as_ref()),
            Op::JobEnded => {
                self.scaler.instance_leaves();
                self.instance_leaves();
            }
        }
    }

    fn describe(&mut self, shape: Shape, asked_at: Instant, member_left: bool, unseen: u32) {
        let described = shape.desired.saturating_sub(unseen);
        let before = self.scaler.desired();
        let group = shape.group();
        let shown = Shown { group: &group, asked_at, member_left, unseen_decrements: unseen };
        self.scaler.count(self.now, &group, self.wanted.boot_deadline, |_| Judgement::Serves);
        let changed = self.scaler.described(self.now, &shown, Defences::default());
        self.pending_since.retain(|n, _| *n < shape.pending);
        for n in 0..shape.pending {
            self.pending_since.entry(n).or_insert(self.now);
        }
        let first = self.described_at.is_none();
        (self.described_at, self.seen_at) = (Some(asked_at), self.now);
        if member_left {
            self.instance_leaves();
        }
        let trusted = self.trusted_until.is_some_and(|until| self.now < until);
        let wrote_later = self.wrote_at.is_some_and(|at| asked_at < at);
        if let Some((before, _)) = self.writing.as_mut().filter(|_| !wrote_later && !trusted) {
            *before = described;
        }
        let ours_is_newer = self.writing.is_some() || wrote_later;
        if !ours_is_newer && self.doubtful_since.is_some_and(|since| asked_at >= since) {
            (self.doubtful_since, self.trusted_until) = (None, None);
        }
        let trusted = self.trusted_until.is_some_and(|until| self.now < until);
        let believed = !ours_is_newer && (described == before || !trusted);
        if believed {
            self.trusted_until = None;
        }
        let expected = if believed { described } else { before };
        assert_eq!(self.scaler.desired(), expected, "our own write is believed until a describe can know it");
        let told = (believed && !first && expected != before).then_some(Changed { from: before, to: expected });
        assert_eq!(changed, told, "a change by others is told");
        self.shape = Some(shape);
    }

    /// What is known of desired is old, and so will a write in flight be.
    fn instance_leaves(&mut self) {
        self.trusted_until = None;
        self.left_while_writing = self.writing.is_some();
    }

    fn write(&mut self) {
        let Some(decision) = self.scaler.decide(self.now, &self.wanted) else { return };
        self.writing = Some((self.scaler.desired(), decision.to));
        self.left_while_writing = false;
        self.scaler.writes(decision);
        assert_eq!(self.scaler.desired(), decision.to);
        assert_eq!(self.scaler.decide(self.now, &self.wanted), None, "one write at a time");
    }

    fn answer(&mut self, error: Option<&AwsError>) {
        let Some((before, after)) = self.writing.take() else { return };
        match error {
            None => {
                self.scaler.wrote(self.now);
                (self.wrote_at, self.trusted_until) =
                    (Some(self.now), (!self.left_while_writing).then(|| self.now + TRUST));
                self.surplus_since = None;
                assert_eq!(self.scaler.desired(), after);
            }
            Some(error) => {
                self.scaler.refused(self.now, error, &mut self.rng);
                self.refused_at = Some(self.now);
                self.trusted_until = None;
                let surely_not = matches!(error, AwsError::Throttled | AwsError::Denied { .. } | AwsError::Contention);
                if surely_not {
                    assert_eq!(self.scaler.desired(), before, "what was refused is not so");
                } else {
                    (self.wrote_at, self.doubtful_since) = (Some(self.now), Some(self.now));
                }
                assert_eq!(self.scaler.decide(self.now, &self.wanted), None, "nothing is tried again at once");
            }
        }
    }

    /// What the pool does after every step, and what must hold then.
    fn settle(&mut self) {
        self.scaler.watch_surplus(self.now, &self.wanted);
        let (target, out) = self.expected();
        let desired = self.scaler.desired();
        let surplus = self.wanted.may_lower && self.described_at.is_some() && desired > out;
        self.surplus_since = surplus.then(|| self.surplus_since.unwrap_or(self.now));
        assert_eq!(self.scaler.target(&self.wanted), target, "target = assigned + idle, within the bounds");
        assert_eq!(self.scaler.lacks(&self.wanted), self.wanted.may_raise && desired < out);
        assert_eq!(self.scaler.counts(), self.counts());
        assert_eq!(self.scaler.goal(&self.wanted), out, "the goal also replaces what cannot serve");
        assert_eq!(self.scaler.described_at(), self.described_at);
        assert_eq!(self.scaler.surplus_since(), self.surplus_since);
        let decision = self.scaler.decide(self.now, &self.wanted);
        self.trace.push(format!("{decision:?} {:?}", self.scaler.poll_timeout(self.now, &self.wanted)));
        if let Some(decision) = &decision {
            self.allowed(decision, out);
        } else {
            assert!(!self.is_due(out), "what is due is done: {:?} {:?}", self.scaler, self.wanted);
        }
        self.motion(out);
    }

    /// The target, and how far capacity is raised: instances that cannot serve are replaced.
    fn expected(&self) -> (u32, u32) {
        let (min, max) = self.shape.as_ref().map_or((0, 0), |shape| (shape.min, shape.max));
        let hi = self.wanted.size_max.min(max).max(min);
        let lo = self.wanted.size_min.max(min).min(hi);
        let target = (self.wanted.assigned + self.wanted.idle).clamp(lo, hi);
        assert_eq!(self.scaler.bounds(&self.wanted), (lo, hi));
        assert_eq!(self.scaler.group_bounds(), (min, max));
        (target, (target + self.counts().unusable).min(max.min(self.wanted.room).max(min)))
    }

    fn counts(&self) -> Counts {
        let Some(shape) = &self.shape else { return Counts::default() };
        let late = |since: &&Instant| self.seen_at.since(**since) >= BOOT_DEADLINE.times(2);
        let stuck = self.pending_since.values().filter(late).count();
        Counts {
            in_service: shape.in_service,
            ready: shape.in_service - shape.unhealthy.min(shape.in_service),
            unprotected: shape.unprotected.min(shape.in_service),
            pending: shape.pending,
            unusable: shape.unhealthy.min(shape.in_service) + u32::try_from(stuck).expect("few"),
            terminating: shape.terminating,
        }
    }

    /// Whether a describe says now that capacity set from it can kill nobody.
    fn is_fresh(&self) -> bool {
        self.described_at.is_some_and(|at| self.now.since(at) < FRESH)
    }

    fn lower_at(&self) -> Option<Instant> {
        self.surplus_since.map(|since| since + self.wanted.idle_grace)
    }

    /// Whether something is to be written, no retry being waited for.
    fn is_due(&self, out: u32) -> bool {
        let (desired, counts) = (self.scaler.desired(), self.counts());
        let held = self.described_at.is_none() || self.writing.is_some() || self.doubtful_since.is_some();
        if held || self.may_wait_to_retry() || desired == out {
            return false;
        }
        if desired < out {
            return self.wanted.may_raise && (self.is_fresh() || (self.wanted.may_lower && counts.unprotected == 0));
        }
        let nobody_dies = counts.pending == 0 && counts.unprotected == 0 && self.is_fresh();
        self.wanted.may_lower && nobody_dies && self.lower_at().is_some_and(|at| self.now >= at)
    }

    fn may_wait_to_retry(&self) -> bool {
        self.refused_at.is_some_and(|at| self.now.since(at) <= LONGEST_RETRY)
    }

    fn allowed(&self, decision: &Decision, out: u32) {
        let (desired, counts) = (self.scaler.desired(), self.counts());
        let shape = self.shape.as_ref().expect("nothing is written before a describe");
        assert_eq!((decision.from, decision.to), (desired, out));
        assert_ne!(decision.to, desired, "what is so is not written");
        assert!((shape.min..=shape.max).contains(&decision.to), "never outside the group's bounds: {decision:?}");
        assert!(self.writing.is_none() && self.doubtful_since.is_none(), "one write at a time, and none in doubt");
        if decision.to > desired {
            assert!(self.wanted.may_raise);
            assert!(self.is_fresh() || (self.wanted.may_lower && counts.unprotected == 0), "raised on an old view");
        } else {
            assert!(self.wanted.may_lower && self.is_fresh(), "lowered on an old view");
            assert_eq!((counts.pending, counts.unprotected), (0, 0), "lowered where that can pick a victim");
            assert!(self.lower_at().is_some_and(|at| self.now >= at), "lowered before the grace is over");
        }
        let (lo, hi) = self.scaler.bounds(&self.wanted);
        let numbers = Decision {
            from: desired,
            to: out,
            assigned: self.wanted.assigned,
            idle: self.wanted.idle,
            lo,
            hi,
            target: self.scaler.target(&self.wanted),
            unusable: counts.unusable,
            in_service: counts.in_service,
            pending: counts.pending,
        };
        assert_eq!(*decision, numbers, "a decision tells its numbers");
    }

    /// When the group is to be described often, and when time alone may bring a decision.
    fn motion(&self, out: u32) {
        let (desired, counts) = (self.scaler.desired(), self.counts());
        let unsure = self.writing.is_some() || self.trusted_until.is_some() || self.doubtful_since.is_some();
        let changes = counts.pending > 0 || counts.terminating > 0 || counts.in_service != desired;
        let wanted = desired != out || self.described_at.is_none();
        assert_eq!(self.scaler.in_motion(&self.wanted), unsure || changes || wanted);
        let waits = self.trusted_until.is_some() || self.doubtful_since.is_some() || self.surplus_since.is_some();
        assert_eq!(self.scaler.waits_for_describe(), waits);
        let timer = self.scaler.poll_timeout(self.now, &self.wanted);
        if self.writing.is_some() || self.doubtful_since.is_some() {
            assert_eq!(timer, None, "an answer comes first");
        } else if !self.may_wait_to_retry() {
            assert_eq!(timer, self.lower_at().filter(|at| *at > self.now), "the end of the grace has a timer");
        } else if self.wanted.may_raise && desired < out {
            let retries = timer.is_some_and(|at| at <= self.now + LONGEST_RETRY);
            let tried = self.scaler.decide(self.now, &self.wanted).is_some();
            let stale = !(self.is_fresh() || self.wanted.may_lower && counts.unprotected == 0);
            assert!(retries || tried || stale, "a retry has a timer");
        }
    }
}

proptest! {
    #![proptest_config(settings(200))]

    #[test]
    fn a_scaler_follows_its_rules_whatever_happens_to_the_group(ops in ops()) {
        Life::lived(&ops, false);
    }

    #[test]
    fn a_scaler_that_was_written_down_goes_on_as_if_it_had_not(ops in ops()) {
        let (straight, reborn) = (Life::lived(&ops, false), Life::lived(&ops, true));
        prop_assert_eq!(straight.trace, reborn.trace);
        prop_assert_eq!(straight.scaler, reborn.scaler);
    }
}
