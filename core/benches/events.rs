//! Events a second through one machine: 70 % empty polls, 20 % messages of two jobs, 8 % AWS replies, 2 % pages of 100
//! described groups. Only the time inside `Machine::handle` counts.
//!
//! What each kind costs is measured in a run of polls and messages in these proportions, and the figure is the mix of
//! these costs. A message's cost includes the reply to its acknowledge. The counts that are read
//! again every ten minutes are shown and not mixed in: how many there are depends on how fast time passes.
//!
//! `cargo bench -p poolkeeper-core --bench events`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::as_conversions, reason = "figures for people")]
#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, AwsReply};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders};

#[path = "../tests/main_job/peer.rs"]
mod peer;

use peer::{Peer, config, github_event, message};

/// Rounds of polls and messages, 90 of them each.
const ROUNDS: u64 = 3_000;
/// What the describes bring, by the hundred.
const GROUP: &str = "described group";
const QUIET: u64 = 70;
const MESSAGES: u64 = 20;
/// How long a poll is held.
const POLL_MS: u64 = 50_000;

/// A table: what each kind of event costs, then events of the mix a second. The cheapest of three runs counts.
fn main() {
    let mut at_100 = f64::NAN;
    for pools in [100, 1_000, 10_000] {
        let runs = (0..3).map(|_| run(pools));
        let Some(best) = runs.min_by(|a, b| a.ns_an_event().total_cmp(&b.ns_an_event())) else { continue };
        let cost = best.ns_an_event();
        at_100 = if pools == 100 { cost } else { at_100 };
        println!("{pools} pools: {:.0} events/s, {cost:.0} ns each, {:.2} of 100 pools", 1e9 / cost, cost / at_100);
        for (kind, Spent { times, span }) in &best.spent {
            println!("{kind:>16} {times:>8} times, {:>7.0} ns each", span.as_nanos() as f64 / *times as f64);
        }
    }
}

/// What the steps of one kind of event took.
#[derive(Default)]
struct Spent {
    times: u64,
    span: Duration,
}

struct Bench {
    machine: Machine,
    peer: Peer,
    effects: Vec<Effect>,
    writes: VecDeque<Effect>,
    describes: VecDeque<Effect>,
    spent: BTreeMap<&'static str, Spent>,
    next_message: u64,
    next_pool: u64,
}

fn run(pools: u64) -> Bench {
    let mut peer = Peer::new(pools as usize);
    let mut machine = Machine::new(config(), 1);
    peer.run(&mut machine, Event::Start { remembered: Vec::new() });
    peer.run_until(&mut machine, 60_000);
    assert_eq!(u64::from(machine.summary().open), pools);
    let mut bench = Bench {
        machine,
        peer,
        effects: Vec::new(),
        writes: VecDeque::new(),
        describes: VecDeque::new(),
        spent: BTreeMap::new(),
        next_message: 1,
        next_pool: 0,
    };
    for round in 0..ROUNDS {
        bench.round(round, pools);
    }
    bench
}

impl Bench {
    /// What an event of the mix costs.
    fn ns_an_event(&self) -> f64 {
        let ns = |kind| self.spent.get(kind).map_or(f64::NAN, |spent| spent.span.as_nanos() as f64);
        let times = |kind| self.spent.get(kind).map_or(f64::NAN, |spent| spent.times as f64);
        let message = (ns("message") + ns("acknowledged")) / times("message");
        let each = |kind| ns(kind) / times(kind);
        0.70 * each("empty poll") + 0.20 * message + 0.08 * each("write") + 0.02 * 100.0 * each(GROUP)
    }

    fn round(&mut self, round: u64, pools: u64) {
        self.peer.now_ms += POLL_MS * 100 / pools;
        for n in 0..QUIET + MESSAGES {
            let reply = if n % 9 < 2 {
                self.next_message += 1;
                message(self.next_message, u32::try_from(1 + (round + n) % 5).unwrap_or(1), 2)
            } else {
                nothing()
            };
            self.next_pool = (self.next_pool + 7919) % pools;
            if let Some(id) = self.peer.polls.remove(&(self.next_pool + 1)) {
                self.time(github_event(id, reply));
            }
        }
        // All that waits is answered: what AWS leaves unanswered for a minute is given up.
        for effect in core::mem::take(&mut self.writes).into_iter().chain(core::mem::take(&mut self.describes)) {
            self.aws_reply(effect);
        }
        if self.machine.poll_timeout().is_some_and(|(at, _)| at.as_millis() <= self.peer.now_ms) {
            self.time(Event::Tick);
        }
    }

    fn aws_reply(&mut self, effect: Effect) {
        if let Some(event) = self.peer.answer(effect) {
            self.time(event);
        }
    }

    /// Takes one event, and answers at once what is neither a poll nor a call to AWS.
    fn time(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.peer.now();
            let (kind, times) = kind(&event);
            let start = Instant::now();
            self.machine.handle(now, event, &mut self.effects);
            let span = start.elapsed();
            let spent = self.spent.entry(kind).or_default();
            spent.times += times;
            spent.span += span;
            for effect in self.effects.drain(..) {
                match &effect {
                    Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. } => self.writes.push_back(effect),
                    Effect::Aws { call: AwsCall::DescribeGroups { .. }, .. } => self.describes.push_back(effect),
                    Effect::Note(_) => {}
                    Effect::Aws { call: AwsCall::Instances { .. }, .. }
                    | Effect::GitHub { .. }
                    | Effect::Cancel { .. }
                    | Effect::Remember { .. }
                    | Effect::Drop(_)
                    | Effect::Exit(_) => events.extend(self.peer.answer(effect)),
                }
            }
        }
    }
}

/// The kind of an event, and how many of it there are: described groups are counted one by one.
fn kind(event: &Event) -> (&'static str, u64) {
    let kind = match event {
        Event::GitHubReply { result: Ok(Reply { status: 202, .. }), .. } => "empty poll",
        Event::GitHubReply { result: Ok(Reply { status: 204, .. }), .. } => "acknowledged",
        Event::GitHubReply { result: Ok(Reply { body: Body::Raw(Bytes(text)), .. }), .. } if is_message(text) => {
            "message"
        }
        Event::GitHubReply { .. } => "counts",
        Event::AwsReply { result: Ok(AwsReply::Groups { groups, .. }), .. } => return (GROUP, groups.len() as u64),
        Event::AwsReply { .. } => "write",
        Event::Tick => "tick",
        Event::Start { .. } | Event::Remembered { .. } | Event::Reconfigure(_) | Event::Stop => "other",
    };
    (kind, 1)
}

fn is_message(text: &[u8]) -> bool {
    text.starts_with(br#"{"body""#)
}

fn nothing() -> Reply {
    Reply { status: 202, headers: ReplyHeaders::default(), body: Body::Raw(Bytes(Vec::new())) }
}
