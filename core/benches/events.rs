//! Events a second through one machine: 70 % empty polls, 20 % messages of two jobs, 8 % AWS replies, 2 % pages of 100
//! described groups. Only the time inside `Machine::handle` counts.
//!
//! `cargo bench -p poolkeeper-core`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::as_conversions, reason = "figures for people")]
#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders};

#[path = "../tests/main_job/peer.rs"]
mod peer;

use peer::{Peer, config, github_event, message};

/// Rounds of the mix: each brings 100 events of it.
const ROUNDS: u64 = 3_000;
/// What one round brings, beside the replies to acknowledges, which are carried out and timed but not counted.
const QUIET: u64 = 70;
const MESSAGES: u64 = 20;
const WRITES: usize = 8;
const PAGES: usize = 2;
/// How long a poll is held.
const POLL_MS: u64 = 50_000;

fn main() {
    println!("{:>8} {:>12} {:>10} {:>12}", "pools", "events/s", "ns/event", "against 100");
    let mut at_100 = f64::NAN;
    for pools in [100, 1_000, 10_000] {
        let cost = (0..3).map(|_| run(pools)).fold(f64::INFINITY, f64::min);
        at_100 = if pools == 100 { cost } else { at_100 };
        println!("{pools:>8} {:>12.0} {cost:>10.0} {:>12.2}", 1e9 / cost, cost / at_100);
    }
}

struct Bench {
    machine: Machine,
    peer: Peer,
    effects: Vec<Effect>,
    writes: VecDeque<Effect>,
    describes: VecDeque<Effect>,
    spent: Duration,
    events: u64,
    next_message: u64,
    next_pool: u64,
}

fn run(pools: u64) -> f64 {
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
        spent: Duration::ZERO,
        events: 0,
        next_message: 1,
        next_pool: 0,
    };
    for round in 0..ROUNDS {
        bench.round(round, pools);
    }
    bench.spent.as_nanos() as f64 / bench.events as f64
}

impl Bench {
    fn round(&mut self, round: u64, pools: u64) {
        self.peer.now_ms += POLL_MS * 100 / pools;
        for n in 0..QUIET + MESSAGES {
            let reply = if n % 9 < 2 {
                self.next_message += 1;
                message(self.next_message, u32::try_from((round + n) % 5).unwrap_or(0), 2)
            } else {
                nothing()
            };
            self.next_pool = (self.next_pool + 7919) % pools;
            if let Some(id) = self.peer.polls.remove(&(self.next_pool + 1)) {
                self.events += 1;
                self.time(github_event(id, reply));
            }
        }
        for _ in 0..WRITES {
            let Some(effect) = self.writes.pop_front() else { break };
            self.aws_reply(effect);
        }
        for _ in 0..PAGES {
            let Some(effect) = self.describes.pop_front() else { break };
            self.aws_reply(effect);
        }
        if self.machine.poll_timeout().is_some_and(|(at, _)| at.as_millis() <= self.peer.now_ms) {
            self.time(Event::Tick);
        }
    }

    fn aws_reply(&mut self, effect: Effect) {
        if let Some(event) = self.peer.answer(effect) {
            self.events += 1;
            self.time(event);
        }
    }

    /// Takes one event, and answers at once what is neither a poll nor a call to AWS.
    fn time(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.peer.now();
            let start = Instant::now();
            self.machine.handle(now, event, &mut self.effects);
            self.spent += start.elapsed();
            for effect in self.effects.drain(..) {
                match &effect {
                    Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. } => self.writes.push_back(effect),
                    Effect::Aws { call: AwsCall::DescribeGroups { .. }, .. } => self.describes.push_back(effect),
                    Effect::Note(_) => {}
                    Effect::GitHub { .. }
                    | Effect::Cancel { .. }
                    | Effect::Remember { .. }
                    | Effect::Drop(_)
                    | Effect::Exit(_) => events.extend(self.peer.answer(effect)),
                }
            }
        }
    }
}

fn nothing() -> Reply {
    Reply { status: 202, headers: ReplyHeaders::default(), body: Body::Raw(Bytes(Vec::new())) }
}
