//! A machine that daemons run on, one after the other: the present one's state machine and shell, what the state
//! directory holds, and the checkers that watch.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use poolkeeper_core::Machine;
use poolkeeper_core::config::{Config, RawConfig};
use poolkeeper_core::event::{Effect, Event, ExitReason, Memory};
use poolkeeper_core::notice::Notice;
use poolkeeper_core::recording::Step;
use poolkeeper_core::time::{Duration, Instant, Now};

use super::Keeping;
use super::check::{self, Checker, Checks, Objection, Observed};
use super::recorder::Recorder;
use super::sabotage::Saboteur;
use super::shell::Shell;
use crate::http::{HttpResponse, Ticket};
use crate::world::{World, WorldNow};

/// The directory of a second daemon's journal.
const SECOND: &str = "second";
const NO_PANIC: (&str, &str) = ("no_panic", "nothing that happens makes the machine panic");

/// One life of a daemon.
#[derive(Debug)]
struct Life {
    machine: Machine,
    /// The machine before its first step.
    origin: Machine,
    /// The seed it was made with.
    seed: u64,
    /// When it was started: its monotonic clock begins there.
    since: Instant,
    shell: Shell,
    /// What it means to keep.
    memory: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Host {
    number: usize,
    config: Config,
    life: Option<Life>,
    /// What [`Effect::Remember`] left behind.
    memory: BTreeMap<String, String>,
    writable: bool,
    checks: Checks,
    saboteur: Option<Box<dyn Saboteur>>,
    effects: Vec<Effect>,
    kept_steps: usize,
    recent: VecDeque<Step>,
    notices: Vec<Notice>,
    keeps_notices: bool,
    exit: Option<ExitReason>,
    /// How many effects of the next step are carried out before the daemon is killed.
    doomed: Option<usize>,
    recorder: Option<Recorder>,
}

impl Host {
    pub(super) fn new(number: usize, config: Config, keeping: &Keeping) -> Self {
        Self {
            number,
            config: owned_by(config, number),
            life: None,
            memory: BTreeMap::new(),
            writable: true,
            checks: Checks::new(check::all()),
            saboteur: None,
            effects: Vec::new(),
            kept_steps: keeping.steps,
            recent: VecDeque::new(),
            notices: Vec::new(),
            keeps_notices: keeping.notices > 0,
            exit: None,
            doomed: None,
            recorder: recorder(number, keeping),
        }
    }

    /// Begins a life: the event it begins with.
    pub(super) fn start(
        &mut self,
        at: Instant,
        unix_ms: u64,
        pat: String,
        latency: (Duration, Duration),
        (machine_seed, shell_seed): (u64, u64),
    ) -> Event {
        let machine = Machine::new(self.config.clone(), machine_seed);
        self.life = Some(Life {
            origin: machine.clone(),
            machine,
            seed: machine_seed,
            since: at,
            shell: Shell::new(pat, latency, shell_seed),
            memory: self.memory.clone(),
        });
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_life(unix_ms);
        }
        self.exit = None;
        self.doomed = None;
        self.recent.clear();
        self.checks.started();
        let remembered = self.memory.iter().map(|(key, value)| Memory { key: key.clone(), value: value.clone() });
        Event::Start { remembered: remembered.collect() }
    }

    /// Ends a life: the requests that nobody waits for any more.
    pub(super) fn crash(&mut self) -> Vec<Ticket> {
        self.doomed = None;
        let Some(life) = self.life.take() else { return Vec::new() };
        life.shell.tickets()
    }

    pub(super) fn close_journal(&mut self) -> std::io::Result<()> {
        self.recorder.as_mut().map_or(Ok(()), Recorder::close)
    }

    pub(super) const fn doom(&mut self, effects: usize) {
        self.doomed = Some(effects);
    }

    /// It does not end in a step to come after all.
    pub(super) const fn spare(&mut self) {
        self.doomed = None;
    }

    pub(super) fn forget(&mut self) {
        self.memory.clear();
    }

    pub(super) const fn set_writable(&mut self, writable: bool) {
        self.writable = writable;
    }

    pub(super) fn disconnect(&mut self, at: Instant) -> Vec<Ticket> {
        self.life.as_mut().map(|life| life.shell.disconnect(at)).unwrap_or_default()
    }

    pub(super) const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub(super) const fn is_first(&self) -> bool {
        self.number == 0
    }

    pub(super) fn machine(&self) -> Option<&Machine> {
        self.life.as_ref().map(|life| &life.machine)
    }

    pub(super) fn origin(&self) -> Option<&Machine> {
        self.life.as_ref().map(|life| &life.origin)
    }

    pub(super) const fn recent(&self) -> &VecDeque<Step> {
        &self.recent
    }

    pub(super) const fn exit(&self) -> Option<ExitReason> {
        self.exit
    }

    pub(super) fn watch(&mut self, checker: Box<dyn Checker>) {
        self.checks.push(checker);
    }

    pub(super) fn sabotage(&mut self, saboteur: Box<dyn Saboteur>) {
        self.saboteur = Some(saboteur);
    }

    pub(super) fn judge_by(&mut self, checker: &str) {
        self.checks.only(checker);
    }

    pub(super) fn pending(&self, observed: &Observed<'_>) -> Vec<Objection> {
        self.checks.pending(observed)
    }

    pub(super) fn is_waiting(&mut self, at: Instant, world: &World) -> bool {
        let observed = observed(self.number, self.life.as_ref(), self.memory.len(), at, world);
        self.checks.is_waiting(&observed)
    }

    pub(super) fn hand_over_notices(&mut self, to: &mut VecDeque<Notice>) {
        to.extend(self.notices.drain(..));
    }

    pub(super) fn observed<'a>(&'a self, at: Instant, world: &'a World) -> Observed<'a> {
        observed(self.number, self.life.as_ref(), self.memory.len(), at, world)
    }

    /// When something is next due.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        let timer = self.timer();
        let life = self.life.as_ref()?;
        [timer, life.shell.next_wakeup()].into_iter().flatten().min()
    }

    pub(super) fn awaits(&self, ticket: Ticket) -> bool {
        self.life.as_ref().is_some_and(|life| life.shell.awaits(ticket))
    }

    pub(super) fn replied(&mut self, at: Instant, ticket: Ticket, reply: HttpResponse) {
        if let Some(life) = &mut self.life {
            life.shell.replied(at, ticket, reply);
        }
    }

    pub(super) fn expire(&mut self, at: Instant) -> Vec<Ticket> {
        self.life.as_mut().map(|life| life.shell.expire(at)).unwrap_or_default()
    }

    /// The event that is due now, if any.
    pub(super) fn due(&mut self, at: Instant) -> Option<Event> {
        if let Some(event) = self.life.as_mut()?.shell.arrival(at) {
            return Some(event);
        }
        (self.timer()? <= at).then_some(Event::Tick)
    }

    /// When the machine's next timer is honoured.
    fn timer(&self) -> Option<Instant> {
        let life = self.life.as_ref()?;
        let (due, _) = life.machine.poll_timeout()?;
        let due = life.since + due.since(Instant::default());
        Some(self.saboteur.as_ref().map_or(due, |saboteur| saboteur.due(due)))
    }

    /// One step of the machine, with all that follows from it.
    pub(super) fn step(&mut self, world: &mut World, at: WorldNow, unix_ms: u64, event: Event) -> Vec<Objection> {
        let Some(life) = &mut self.life else { return Vec::new() };
        let now = Now { mono: Instant::from_millis(at.now.mono.since(life.since).as_millis()), unix_ms };
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(now, &event, life.seed, &life.machine);
        }
        let kept = (self.kept_steps > 0).then(|| event.clone());
        let mut objections = self.watched(|checks, observed| checks.hear(now, &event, observed), at, world);
        let mut effects = std::mem::take(&mut self.effects);
        match self.handle(at, now, event, &mut effects) {
            Ok(()) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.end(&effects);
                }
                objections.extend(self.watched(|checks, observed| checks.step(&effects, observed), at, world));
                self.carry_out(world, at, &effects);
            }
            Err(panic) => {
                let (checker, contract) = NO_PANIC;
                objections.push(Objection { checker, contract, what: panic_text(panic.as_ref()) });
                self.doomed = Some(0);
            }
        }
        if let Some(event) = kept {
            self.keep(now, event, &effects);
        }
        let doomed = self.doomed.is_some_and(|most| most == 0 || !effects.is_empty());
        effects.clear();
        self.effects = effects;
        if self.exit.is_some() || doomed {
            for ticket in self.crash() {
                world.cancel(ticket);
            }
        }
        objections
    }

    /// Lets the machine take an event, as the saboteur has it; the error is its panic.
    fn handle(
        &mut self,
        at: WorldNow,
        now: Now,
        mut event: Event,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Box<dyn Any + Send>> {
        let Some(life) = &mut self.life else { return Ok(()) };
        let machine = &mut life.machine;
        let heard = self.saboteur.as_mut().is_none_or(|saboteur| saboteur.event(at.now.mono, &mut event));
        let taken = catch_unwind(AssertUnwindSafe(|| {
            if heard {
                machine.handle(now, event, effects);
            }
        }));
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.effects(at.now.mono, effects);
        }
        taken
    }

    /// Lets the checkers look at what is so.
    fn watched(
        &mut self,
        look: impl FnOnce(&mut Checks, Observed<'_>) -> Vec<Objection>,
        at: WorldNow,
        world: &World,
    ) -> Vec<Objection> {
        let observed = observed(self.number, self.life.as_ref(), self.memory.len(), at.now.mono, world);
        look(&mut self.checks, observed)
    }

    fn carry_out(&mut self, world: &mut World, at: WorldNow, effects: &[Effect]) {
        let Some(life) = &mut self.life else { return };
        for effect in effects.iter().take(self.doomed.unwrap_or(usize::MAX)) {
            match effect {
                Effect::Note(notice) if self.keeps_notices => self.notices.push(notice.clone()),
                Effect::Note(_) => {}
                Effect::Exit(reason) => self.exit = Some(*reason),
                Effect::Remember { key, value } => {
                    match value {
                        Some(value) => drop(life.memory.insert(key.clone(), value.clone())),
                        None => drop(life.memory.remove(key)),
                    }
                    // What could not be written goes to disk with the next write.
                    if self.writable {
                        self.memory.clone_from(&life.memory);
                    }
                    life.shell.remembered(at.now.mono, key, self.writable);
                }
                Effect::GitHub { .. } | Effect::Aws { .. } | Effect::Cancel { .. } | Effect::Drop(_) => {
                    life.shell.execute(world, at, effect);
                }
            }
        }
    }

    fn keep(&mut self, now: Now, event: Event, effects: &[Effect]) {
        self.recent.push_back(Step { now, event, effects: Some(effects.to_vec()) });
        if self.recent.len() > self.kept_steps {
            self.recent.pop_front();
        }
    }
}

fn observed<'a>(daemon: usize, life: Option<&'a Life>, memories: usize, at: Instant, world: &'a World) -> Observed<'a> {
    Observed {
        at,
        world: Some(world),
        daemon,
        machine: life.map(|life| &life.machine),
        secrets: life.map_or(0, |life| life.shell.secrets()),
        memories,
    }
}

/// Each machine's daemon owns its sessions under a name of its own.
fn owned_by(config: Config, number: usize) -> Config {
    if number == 0 {
        return config;
    }
    let mut raw = RawConfig::from(config.clone());
    raw.owner = format!("{}-{number}", raw.owner);
    Config::try_from(raw).unwrap_or(config)
}

fn recorder(number: usize, keeping: &Keeping) -> Option<Recorder> {
    let mut settings = keeping.journal.clone()?;
    if number > 0 {
        settings.dir = settings.dir.join(SECOND);
    }
    Some(Recorder::new(settings))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}
