//! A daemon's machine against the world, in one process and in virtual time.
//!
//! A seed decides all that chance decides, so that a run that failed runs again. Checkers watch every step; what they
//! object to is kept in [`Simulation::violations`].

pub mod check;
mod recorder;
pub mod shell;

use std::collections::{BTreeMap, VecDeque};

use poolkeeper_core::Machine;
use poolkeeper_core::config::Config;
use poolkeeper_core::event::{Effect, Event, ExitReason, Memory};
use poolkeeper_core::notice::Notice;
use poolkeeper_core::recording::Step;
use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Duration, Instant, Now};
use poolkeeper_shell::config::JournalSettings;

use crate::world::{World, WorldConfig, WorldNow};
use check::{Checker, Moment, Observed};
use recorder::Recorder;
use shell::Shell;

/// When simulated time begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_777_629_600_000;
/// The most steps at one moment: more is a busy loop.
const MAX_STEPS_A_MOMENT: u32 = 10_000;
/// How long [`Simulation::run_until_quiet`] waits between looks.
const LOOK: Duration = Duration::from_millis(500);
/// The newest steps that are kept to explain a failure.
const KEPT_STEPS: usize = 20_000;
/// The newest notices that are kept.
const KEPT_NOTICES: usize = 100_000;
/// The most violations that are kept.
const MAX_VIOLATIONS: usize = 20;

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct SimulationConfig {
    /// The daemon's config.
    pub daemon: Config,
    /// The world.
    pub world: WorldConfig,
    /// The shortest and the longest time a reply is on its way.
    pub latency: (Duration, Duration),
}

/// One life of the daemon.
#[derive(Debug)]
struct Daemon {
    machine: Machine,
    /// The machine before its first step.
    origin: Machine,
    /// What the machine was made with.
    seed: u64,
    /// When it was started: its monotonic clock begins there.
    since: Instant,
    shell: Shell,
}

/// A machine and the world it lives in.
#[derive(Debug)]
pub struct Simulation {
    world: World,
    config: SimulationConfig,
    daemon: Option<Daemon>,
    /// What [`Effect::Remember`] left behind.
    memory: BTreeMap<String, String>,
    checkers: Vec<Box<dyn Checker>>,
    violations: Vec<String>,
    rng: Rng,
    at: Instant,
    unix_jump_ms: i64,
    steps: u64,
    effects: Vec<Effect>,
    recent: VecDeque<Step>,
    notices: VecDeque<Notice>,
    exit: Option<ExitReason>,
    recorder: Option<Recorder>,
}

impl Simulation {
    /// A world with a daemon that has just started.
    #[must_use]
    pub fn new(config: SimulationConfig, seed: u64) -> Self {
        Self::with(config, seed, None)
    }

    /// The same with a journal of each of the daemon's lives, as a daemon writes it.
    ///
    /// A journal that cannot be written any more is closed; [`Simulation::close_journal`] says why.
    #[must_use]
    pub fn recorded(config: SimulationConfig, seed: u64, journal: JournalSettings) -> Self {
        Self::with(config, seed, Some(Recorder::new(journal)))
    }

    fn with(config: SimulationConfig, seed: u64, recorder: Option<Recorder>) -> Self {
        let mut rng = Rng::new(seed);
        let world = World::new(config.world.clone(), rng.next());
        let mut simulation = Self {
            world,
            config,
            daemon: None,
            memory: BTreeMap::new(),
            checkers: check::all(),
            violations: Vec::new(),
            rng,
            at: Instant::default(),
            unix_jump_ms: 0,
            steps: 0,
            effects: Vec::new(),
            recent: VecDeque::new(),
            notices: VecDeque::new(),
            exit: None,
            recorder,
        };
        simulation.start();
        simulation
    }

    /// Starts the daemon, with what it remembers, unless it runs.
    pub fn start(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        let seed = self.rng.next();
        let machine = Machine::new(self.config.daemon.clone(), seed);
        let pat = self.config.world.github.pat.clone().unwrap_or_default();
        let shell = Shell::new(pat, self.config.latency, self.rng.next());
        let origin = machine.clone();
        self.daemon = Some(Daemon { machine, origin, seed, since: self.at, shell });
        let unix_ms = self.daemon_now(self.at).unix_ms;
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_life(unix_ms);
        }
        self.exit = None;
        self.recent.clear();
        for checker in &mut self.checkers {
            checker.started();
        }
        let remembered =
            self.memory.iter().map(|(key, value)| Memory { key: key.clone(), value: value.clone() }).collect();
        self.step(Event::Start { remembered });
    }

    /// Kills the daemon: its connections break, its secrets are gone, what it remembers stays.
    pub fn crash(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            for ticket in daemon.shell.tickets() {
                self.world.cancel(ticket);
            }
        }
    }

    /// Completes the journal's file; a later step of the same life is not recorded.
    ///
    /// # Errors
    /// When a file could not be written, now or before.
    pub fn close_journal(&mut self) -> std::io::Result<()> {
        self.recorder.as_mut().map_or(Ok(()), Recorder::close)
    }

    /// Loses the state directory.
    pub fn forget(&mut self) {
        self.memory.clear();
    }

    /// Gives the machine an event from outside: a stop, or a new config.
    pub fn tell(&mut self, event: Event) {
        self.step(event);
    }

    /// Moves the wall clock; the monotonic one knows nothing of it.
    pub const fn jump_clock_ms(&mut self, by: i64) {
        self.unix_jump_ms += by;
    }

    /// Runs for a while.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.at + span;
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.at = next.max(self.at);
            self.moment();
        }
        self.at = end;
        self.moment();
    }

    /// Runs until no checker waits for anything any more.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with what is still waited for, or when a checker objected to anything.
    pub fn run_until_quiet(&mut self, limit: Duration) -> Result<(), String> {
        let end = self.at + limit;
        let mut pending = self.pending();
        while !pending.is_empty() && self.at < end && self.violations.is_empty() {
            self.run_for(LOOK);
            pending = self.pending();
        }
        if !self.violations.is_empty() {
            return Err(self.violations.join("\n"));
        }
        if pending.is_empty() { Ok(()) } else { Err(pending.join("\n")) }
    }

    /// What the checkers still wait for.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let moment = self.observed();
        self.checkers.iter().filter_map(|checker| checker.pending(&moment)).collect()
    }

    /// What the checkers objected to.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds a checker.
    pub fn watch(&mut self, checker: Box<dyn Checker>) {
        self.checkers.push(checker);
    }

    /// The world.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Acts on the world now.
    pub fn act<R>(&mut self, act: impl FnOnce(&mut World, WorldNow) -> R) -> R {
        let now = self.world_now();
        act(&mut self.world, now)
    }

    /// The machine, while the daemon lives.
    #[must_use]
    pub fn machine(&self) -> Option<&Machine> {
        self.daemon.as_ref().map(|daemon| &daemon.machine)
    }

    /// The machine as it was before the first step of its present life.
    #[must_use]
    pub fn origin(&self) -> Option<&Machine> {
        self.daemon.as_ref().map(|daemon| &daemon.origin)
    }

    /// The newest notices, in order.
    #[must_use]
    pub const fn notices(&self) -> &VecDeque<Notice> {
        &self.notices
    }

    /// The newest steps of the daemon's present life.
    #[must_use]
    pub const fn recent(&self) -> &VecDeque<Step> {
        &self.recent
    }

    /// How the daemon ended, when it did so by itself.
    #[must_use]
    pub const fn exit(&self) -> Option<ExitReason> {
        self.exit
    }

    /// Steps taken, in all lives.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Simulated time.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    fn world_now(&self) -> WorldNow {
        WorldNow::virtual_time(Now { mono: self.at, unix_ms: EPOCH_MS + self.at.as_millis() })
    }

    fn daemon_now(&self, since: Instant) -> Now {
        let unix_ms = (EPOCH_MS + self.at.as_millis()).saturating_add_signed(self.unix_jump_ms);
        Now { mono: Instant::from_millis(self.at.since(since).as_millis()), unix_ms }
    }

    fn observed(&self) -> Observed<'_> {
        Observed {
            at: self.at,
            world: &self.world,
            machine: self.machine(),
            secrets: self.daemon.as_ref().map_or(0, |daemon| daemon.shell.secrets()),
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let daemon = self.daemon.as_ref();
        let timer = daemon.and_then(|daemon| {
            let (at, _) = daemon.machine.poll_timeout()?;
            Some(daemon.since + at.since(Instant::default()))
        });
        let arrival = daemon.and_then(|daemon| daemon.shell.next_wakeup());
        [timer, arrival, self.world.next_wakeup()].into_iter().flatten().min()
    }

    /// All that happens at the present moment.
    fn moment(&mut self) {
        for _ in 0..MAX_STEPS_A_MOMENT {
            let now = self.world_now();
            let replies = self.world.advance(now);
            let Some(daemon) = &mut self.daemon else { return };
            for (ticket, reply) in replies {
                daemon.shell.replied(now.now.mono, ticket, reply);
            }
            for ticket in daemon.shell.expire(now.now.mono) {
                self.world.cancel(ticket);
            }
            if let Some(event) = daemon.shell.arrival(now.now.mono) {
                self.step(event);
                continue;
            }
            let due = daemon.machine.poll_timeout().map(|(at, _)| at);
            let own_now = self.at.since(daemon.since);
            if due.is_some_and(|at| at.since(Instant::default()) <= own_now) {
                self.step(Event::Tick);
                continue;
            }
            return;
        }
        self.object(format!("more than {MAX_STEPS_A_MOMENT} steps at {:?}", self.at));
    }

    fn step(&mut self, event: Event) {
        let Some(daemon) = &self.daemon else { return };
        let now = self.daemon_now(daemon.since);
        let Some(daemon) = &mut self.daemon else { return };
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(now, &event, daemon.seed, &daemon.machine);
        }
        daemon.machine.handle(now, event.clone(), &mut effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.end(&effects);
        }
        self.steps += 1;
        self.check(now, &event, &effects);
        let at = self.world_now();
        if let Some(daemon) = &mut self.daemon {
            for effect in &effects {
                match effect {
                    Effect::Note(notice) => self.notices.push_back(notice.clone()),
                    Effect::Exit(reason) => self.exit = Some(*reason),
                    Effect::Remember { key, value } => {
                        match value {
                            Some(value) => drop(self.memory.insert(key.clone(), value.clone())),
                            None => drop(self.memory.remove(key)),
                        }
                        daemon.shell.remembered(at.now.mono, key);
                    }
                    Effect::GitHub { .. } | Effect::Aws { .. } | Effect::Cancel { .. } | Effect::Drop(_) => {
                        daemon.shell.execute(&mut self.world, at, effect);
                    }
                }
            }
        }
        self.recent.push_back(Step { now, event, effects: Some(effects.clone()) });
        if self.recent.len() > KEPT_STEPS {
            self.recent.pop_front();
        }
        while self.notices.len() > KEPT_NOTICES {
            self.notices.pop_front();
        }
        effects.clear();
        self.effects = effects;
        if self.exit.is_some() {
            self.crash();
        }
    }

    fn check(&mut self, now: Now, event: &Event, effects: &[Effect]) {
        let mut checkers = std::mem::take(&mut self.checkers);
        let moment = Moment { now, event, effects, observed: self.observed() };
        let mut objections = Vec::new();
        for checker in &mut checkers {
            if let Err(objection) = checker.step(&moment) {
                objections.push(format!("{}: {objection}", checker.contract()));
            }
        }
        self.checkers = checkers;
        for objection in objections {
            self.object(objection);
        }
    }

    fn object(&mut self, objection: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(format!("at {} ms: {objection}", self.at.as_millis()));
        }
    }
}

#[cfg(test)]
mod tests;
