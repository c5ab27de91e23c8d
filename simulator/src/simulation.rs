//! Daemons' machines against the world, in one process and in virtual time.
//!
//! A seed decides all that chance decides, so that a run that failed runs again. Checkers watch every step; what they
//! object to is kept in [`Simulation::violations`]. One daemon is the rule; a second one, on a machine of its own, is
//! there by mistake.

pub mod check;
mod host;
mod recorder;
pub mod sabotage;
pub mod shell;

use std::collections::VecDeque;
use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::config::Config;
use poolkeeper_core::event::{Event, ExitReason};
use poolkeeper_core::notice::Notice;
use poolkeeper_core::recording::Step;
use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Duration, Instant, Now};
use poolkeeper_shell::config::JournalSettings;

use crate::world::{World, WorldConfig, WorldNow};
use check::{Checker, Objection, Observed};
use host::Host;
use sabotage::Saboteur;

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
/// The most daemons.
const MAX_DAEMONS: usize = 2;
const NO_BUSY_LOOP: (&str, &str) = ("busy_loop", "the machine comes to rest at every moment");

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

/// What is kept of a run beside its outcome.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// How many of the newest steps.
    pub steps: usize,
    /// How many of the newest notices.
    pub notices: usize,
    /// The journal of each of a daemon's lives; a second daemon's is in the directory `second` of the first's.
    pub journal: Option<JournalSettings>,
    /// Whether the run ends at the first violation.
    pub stop_at_violation: bool,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { steps: KEPT_STEPS, notices: KEPT_NOTICES, journal: None, stop_at_violation: false }
    }
}

impl Keeping {
    /// Nothing, and the run ends at the first violation: the fastest.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { steps: 0, notices: 0, journal: None, stop_at_violation: true }
    }
}

/// Something that a checker objected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker's name.
    pub checker: &'static str,
    /// The checker's contract.
    pub contract: &'static str,
    /// What is wrong.
    pub objection: String,
    /// Simulated time.
    pub at: Instant,
    /// The steps of all daemons so far.
    pub step: u64,
    /// Which daemon: 0 is the first.
    pub daemon: usize,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checker, contract, objection, at, step, daemon } = self;
        write!(f, "at {} ms, step {step}, daemon {daemon}: {checker}: {contract}: {objection}", at.as_millis())
    }
}

/// Machines and the world they live in.
#[derive(Debug)]
pub struct Simulation {
    world: World,
    config: SimulationConfig,
    hosts: Vec<Host>,
    keeping: Keeping,
    violations: Vec<Violation>,
    rng: Rng,
    at: Instant,
    unix_jump_ms: i64,
    steps: u64,
    notices: VecDeque<Notice>,
}

impl Simulation {
    /// A world with a daemon that has just started.
    #[must_use]
    pub fn new(config: SimulationConfig, seed: u64) -> Self {
        Self::keeping(config, seed, Keeping::default())
    }

    /// The same with a journal of each of the daemon's lives, as a daemon writes it.
    ///
    /// A journal that cannot be written any more is closed; [`Simulation::close_journal`] says why.
    #[must_use]
    pub fn recorded(config: SimulationConfig, seed: u64, journal: JournalSettings) -> Self {
        Self::keeping(config, seed, Keeping { journal: Some(journal), ..Keeping::default() })
    }

    /// As [`Simulation::new`], with a say in what is kept.
    #[must_use]
    pub fn keeping(config: SimulationConfig, seed: u64, keeping: Keeping) -> Self {
        let mut rng = Rng::new(seed);
        let world = World::new(config.world.clone(), rng.next());
        let mut simulation = Self {
            world,
            hosts: vec![Host::new(0, config.daemon.clone(), &keeping)],
            config,
            keeping,
            violations: Vec::new(),
            rng,
            at: Instant::default(),
            unix_jump_ms: 0,
            steps: 0,
            notices: VecDeque::new(),
        };
        simulation.start();
        simulation
    }

    /// Starts the daemon, with what it remembers, unless it runs.
    pub fn start(&mut self) {
        self.start_daemon(0);
    }

    /// Starts a daemon: 0 is the first, 1 a second one on a machine of its own. Others there are none.
    pub fn start_daemon(&mut self, daemon: usize) {
        if daemon >= MAX_DAEMONS {
            return;
        }
        while self.hosts.len() <= daemon {
            let host = Host::new(self.hosts.len(), self.config.daemon.clone(), &self.keeping);
            self.hosts.push(host);
        }
        let (machine_seed, shell_seed) = (self.rng.next(), self.rng.next());
        let pat = self.config.world.github.pat.clone().unwrap_or_default();
        let Some(host) = self.hosts.get_mut(daemon).filter(|host| !host.is_up()) else { return };
        let unix_ms = (EPOCH_MS + self.at.as_millis()).saturating_add_signed(self.unix_jump_ms);
        let started = host.start(self.at, unix_ms, pat, self.config.latency, (machine_seed, shell_seed));
        self.step(daemon, started);
    }

    /// Kills the daemon: its connections break, its secrets are gone, what it remembers stays.
    pub fn crash(&mut self) {
        self.crash_daemon(0);
    }

    /// Kills a daemon.
    pub fn crash_daemon(&mut self, daemon: usize) {
        let Some(host) = self.hosts.get_mut(daemon) else { return };
        for ticket in host.crash() {
            self.world.cancel(ticket);
        }
    }

    /// Kills a daemon in its next step that has any effects, when so many of them have been carried out.
    pub fn crash_in_step(&mut self, daemon: usize, effects: usize) {
        if let Some(host) = self.hosts.get_mut(daemon) {
            host.doom(effects);
        }
    }

    /// Kills no daemon in a step to come.
    pub fn spare_all(&mut self) {
        self.hosts.iter_mut().for_each(Host::spare);
    }

    /// Completes the journals' files; a later step of the same life is not recorded.
    ///
    /// # Errors
    /// When a file could not be written, now or before.
    pub fn close_journal(&mut self) -> std::io::Result<()> {
        self.hosts.iter_mut().try_for_each(Host::close_journal)
    }

    /// Loses the state directory.
    pub fn forget(&mut self) {
        self.forget_daemon(0);
    }

    /// Loses a daemon's state directory.
    pub fn forget_daemon(&mut self, daemon: usize) {
        if let Some(host) = self.hosts.get_mut(daemon) {
            host.forget();
        }
    }

    /// Makes the daemons' state directories writable, or not.
    pub fn set_writable(&mut self, writable: bool) {
        for host in &mut self.hosts {
            host.set_writable(writable);
        }
    }

    /// Breaks every connection that a daemon has open.
    pub fn disconnect(&mut self, daemon: usize) {
        let Some(host) = self.hosts.get_mut(daemon) else { return };
        for ticket in host.disconnect(self.at) {
            self.world.cancel(ticket);
        }
    }

    /// Whether a daemon lives.
    #[must_use]
    pub fn is_up(&self, daemon: usize) -> bool {
        self.hosts.get(daemon).is_some_and(Host::is_up)
    }

    /// Gives the machine an event from outside: a stop, or a new config.
    pub fn tell(&mut self, event: Event) {
        self.tell_daemon(0, event);
    }

    /// Gives a daemon's machine an event from outside.
    pub fn tell_daemon(&mut self, daemon: usize, event: Event) {
        if self.is_up(daemon) {
            self.step(daemon, event);
        }
    }

    /// Moves the wall clock; the monotonic one knows nothing of it.
    pub const fn jump_clock_ms(&mut self, by: i64) {
        self.unix_jump_ms = self.unix_jump_ms.saturating_add(by);
    }

    /// Runs for a while.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.at + span;
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.at = next.max(self.at);
            self.moment();
            if self.is_over() {
                return;
            }
        }
        self.at = end;
        self.moment();
    }

    /// Runs until no checker waits for anything any more.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with what is still waited for, or when a checker objected to anything.
    pub fn run_until_quiet(&mut self, limit: Duration) -> Result<(), String> {
        self.run_until_quiet_looking(limit, LOOK)
    }

    /// As [`Simulation::run_until_quiet`], with a look so often.
    ///
    /// # Errors
    /// As there.
    pub fn run_until_quiet_looking(&mut self, limit: Duration, every: Duration) -> Result<(), String> {
        let end = self.at + limit;
        while self.is_waiting() && self.at < end && self.violations.is_empty() {
            self.run_for(every);
        }
        if !self.violations.is_empty() {
            let violations: Vec<_> = self.violations.iter().map(ToString::to_string).collect();
            return Err(violations.join("\n"));
        }
        let pending = self.pending();
        if pending.is_empty() { Ok(()) } else { Err(pending.join("\n")) }
    }

    /// Whether the checkers still wait for anything.
    fn is_waiting(&mut self) -> bool {
        let mut hosts = self.hosts.iter_mut().filter(|host| host.is_first() || host.is_up());
        hosts.any(|host| host.is_waiting(self.at, &self.world))
    }

    /// What the checkers still wait for.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.unfinished().into_iter().map(|objection| objection.what).collect()
    }

    /// What the checkers still wait for, each with its name and contract.
    #[must_use]
    pub fn unfinished(&self) -> Vec<Objection> {
        let mut waiting = Vec::new();
        for host in self.hosts.iter().filter(|host| host.is_first() || host.is_up()) {
            let observed = host.observed(self.at, &self.world);
            waiting.extend(host.pending(&observed));
        }
        waiting
    }

    /// What the checkers objected to.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Adds a checker of the first daemon.
    pub fn watch(&mut self, checker: Box<dyn Checker>) {
        if let Some(host) = self.hosts.first_mut() {
            host.watch(checker);
        }
    }

    /// Judges the first daemon by the checker of that name alone.
    pub fn judge_by(&mut self, checker: &str) {
        if let Some(host) = self.hosts.first_mut() {
            host.judge_by(checker);
        }
    }

    /// Lets somebody edit what the first daemon's machine hears and says from now on.
    pub fn sabotage(&mut self, saboteur: Box<dyn Saboteur>) {
        if let Some(host) = self.hosts.first_mut() {
            host.sabotage(saboteur);
        }
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
        self.hosts.first().and_then(Host::machine)
    }

    /// The machine as it was before the first step of its present life.
    #[must_use]
    pub fn origin(&self) -> Option<&Machine> {
        self.hosts.first().and_then(Host::origin)
    }

    /// What is so for a daemon now.
    #[must_use]
    pub fn observed(&self, daemon: usize) -> Option<Observed<'_>> {
        self.hosts.get(daemon).map(|host| host.observed(self.at, &self.world))
    }

    /// The newest notices of all daemons, in order.
    #[must_use]
    pub const fn notices(&self) -> &VecDeque<Notice> {
        &self.notices
    }

    /// The newest steps of the daemon's present life.
    #[must_use]
    pub fn recent(&self) -> &VecDeque<Step> {
        const NONE: &VecDeque<Step> = &VecDeque::new();
        self.hosts.first().map_or(NONE, Host::recent)
    }

    /// How the daemon ended, when it did so by itself.
    #[must_use]
    pub fn exit(&self) -> Option<ExitReason> {
        self.hosts.first().and_then(Host::exit)
    }

    /// Steps taken, by all daemons in all lives.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Simulated time.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    fn is_over(&self) -> bool {
        self.keeping.stop_at_violation && !self.violations.is_empty()
    }

    fn world_now(&self) -> WorldNow {
        WorldNow::virtual_time(Now { mono: self.at, unix_ms: EPOCH_MS + self.at.as_millis() })
    }

    fn next_moment(&self) -> Option<Instant> {
        let hosts = self.hosts.iter().filter_map(Host::next_wakeup).min();
        [hosts, self.world.next_wakeup()].into_iter().flatten().min()
    }

    /// All that happens at the present moment.
    fn moment(&mut self) {
        for _ in 0..MAX_STEPS_A_MOMENT {
            if self.is_over() {
                return;
            }
            self.exchange();
            let due = self.hosts.iter_mut().enumerate().find_map(|(n, host)| Some((n, host.due(self.at)?)));
            match due {
                Some((daemon, event)) => self.step(daemon, event),
                None => return,
            }
        }
        let (checker, contract) = NO_BUSY_LOOP;
        let what = format!("more than {MAX_STEPS_A_MOMENT} steps at once");
        self.object(0, Objection { checker, contract, what });
    }

    /// Lets the world move, and brings what it answers to those who asked.
    fn exchange(&mut self) {
        let now = self.world_now();
        for (ticket, reply) in self.world.advance(now) {
            if let Some(host) = self.hosts.iter_mut().find(|host| host.awaits(ticket)) {
                host.replied(now.now.mono, ticket, reply);
            }
        }
        for host in &mut self.hosts {
            for ticket in host.expire(now.now.mono) {
                self.world.cancel(ticket);
            }
        }
    }

    fn step(&mut self, daemon: usize, event: Event) {
        let at = self.world_now();
        let Some(host) = self.hosts.get_mut(daemon) else { return };
        self.steps += 1;
        let unix_ms = at.now.unix_ms.saturating_add_signed(self.unix_jump_ms);
        let objections = host.step(&mut self.world, at, unix_ms, event);
        host.hand_over_notices(&mut self.notices);
        while self.notices.len() > self.keeping.notices {
            self.notices.pop_front();
        }
        for objection in objections {
            self.object(daemon, objection);
        }
    }

    fn object(&mut self, daemon: usize, objection: Objection) {
        if self.violations.len() < MAX_VIOLATIONS {
            let Objection { checker, contract, what } = objection;
            let (at, step) = (self.at, self.steps);
            self.violations.push(Violation { checker, contract, objection: what, at, step, daemon });
        }
    }
}

#[cfg(test)]
mod tests;
