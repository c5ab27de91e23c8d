//! How long `poolkeeper-sim replay` takes for 1 million recorded events of the main job's mix with 1,000 pools: 70 %
//! empty polls, 20 % messages of two jobs, 8 % AWS replies, 2 % pages of 100 described groups, and the replies to the
//! acknowledges beside them. The journal is the shell's own; the command is timed as a whole, as a process of its own.
//!
//! `cargo bench -p poolkeeper-simulator --bench replay`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::VecDeque;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders};
use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal::{self, Journal};

#[expect(dead_code, reason = "the core's own tests use the rest of it")]
#[path = "../../core/tests/main_job/peer.rs"]
mod peer;

use peer::{Peer, config, github_event, message};

const STEPS: u64 = 1_000_000;
const POOLS: u64 = 1_000;
/// What one round brings.
const QUIET: u64 = 70;
const MESSAGES: u64 = 20;
const WRITES: usize = 8;
const PAGES: usize = 2;
/// How long a poll is held.
const POLL_MS: u64 = 50_000;
const SEED: u64 = 1;
const RUNS: usize = 3;
const BOUND: Duration = Duration::from_secs(10);

struct Recording {
    machine: Machine,
    peer: Peer,
    journal: Journal,
    effects: Vec<Effect>,
    writes: VecDeque<Effect>,
    describes: VecDeque<Effect>,
    steps: u64,
    quiet: u64,
    messages: u64,
    aws: u64,
    next_pool: u64,
}

fn main() -> ExitCode {
    let dir = tempfile::tempdir().expect("a directory for the journal");
    let began = Instant::now();
    let recording = Recording::record(JournalSettings::in_dir(dir.path()));
    let files = journal::files(dir.path()).expect("the journal is there");
    let bytes: u64 = files.iter().map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum();
    let Recording { steps, quiet, messages, aws, .. } = recording;
    println!(
        "{steps} steps ({quiet} empty polls, {messages} messages, {aws} replies of AWS) in {} segments of {} MB \
         together, recorded in {:.1} s",
        files.len(),
        bytes / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let began = Instant::now();
        let replay = Command::new(env!("CARGO_BIN_EXE_poolkeeper-sim")).arg("replay").args(&files).output();
        let took = began.elapsed();
        let replay = replay.expect("the command runs");
        let told = String::from_utf8_lossy(&replay.stdout).into_owned();
        assert!(replay.status.success(), "{told}");
        println!("{:.2} s: {}", took.as_secs_f64(), told.trim());
        best = best.min(took);
    }
    if best > BOUND {
        println!("missed: {best:?} is more than {BOUND:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Recording {
    fn record(settings: JournalSettings) -> Self {
        let pools = usize::try_from(POOLS).expect("few pools");
        let mut recording = Self {
            machine: Machine::new(config(), SEED),
            peer: Peer::new(pools),
            journal: Journal::new(settings.clone(), 0),
            effects: Vec::new(),
            writes: VecDeque::new(),
            describes: VecDeque::new(),
            steps: 0,
            quiet: 0,
            messages: 0,
            aws: 0,
            next_pool: 0,
        };
        recording.take(Event::Start { remembered: Vec::new() });
        while u64::from(recording.machine.summary().open) < POOLS {
            recording.peer.now_ms += 10;
            recording.answer_aws(usize::MAX, usize::MAX);
            recording.tick();
        }
        for round in 0.. {
            if recording.steps >= STEPS {
                break;
            }
            recording.round(round);
        }
        let journal = std::mem::replace(&mut recording.journal, Journal::new(settings, 0));
        journal.close().expect("the journal can be written");
        recording
    }

    fn round(&mut self, round: u64) {
        self.peer.now_ms += POLL_MS * 100 / POOLS;
        for n in 0..QUIET + MESSAGES {
            self.next_pool = (self.next_pool + 7919) % POOLS;
            let Some(id) = self.peer.polls.remove(&(self.next_pool + 1)) else { continue };
            if n % 9 < 2 {
                self.messages += 1;
                let assigned = u32::try_from((round + n) % 5).unwrap_or(0);
                self.take(github_event(id, message(self.messages, assigned, 2)));
            } else {
                self.quiet += 1;
                self.take(github_event(id, nothing()));
            }
        }
        self.answer_aws(WRITES, PAGES);
        self.tick();
    }

    fn answer_aws(&mut self, writes: usize, describes: usize) {
        let writes = writes.min(self.writes.len());
        let describes = describes.min(self.describes.len());
        let due: Vec<Effect> = self.writes.drain(..writes).chain(self.describes.drain(..describes)).collect();
        for effect in due {
            self.aws += 1;
            if let Some(event) = self.peer.answer(effect) {
                self.take(event);
            }
        }
    }

    fn tick(&mut self) {
        if self.machine.poll_timeout().is_some_and(|(at, _)| at.as_millis() <= self.peer.now_ms) {
            self.take(Event::Tick);
        }
    }

    /// Takes and records one event, and answers at once what is neither a poll nor a call to AWS.
    fn take(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            if self.steps == STEPS {
                return;
            }
            let now = self.peer.now();
            self.steps += 1;
            self.journal.begin(now, &event, SEED, &self.machine).expect("the journal can be written");
            self.machine.handle(now, event, &mut self.effects);
            self.journal.end(&self.effects).expect("the journal can be written");
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

fn nothing() -> Reply {
    Reply { status: 202, headers: ReplyHeaders::default(), body: Body::Raw(Bytes(Vec::new())) }
}
