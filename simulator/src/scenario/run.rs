//! Running a scenario: things go wrong for a while, then all heals, and in the end everything must be as it should.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use poolkeeper_core::time::{Duration, Instant};
use poolkeeper_shell::config::JournalSettings;
use serde::Serialize;

use super::{PoolPlan, Scenario, Timed};
use crate::github::SetKey;
use crate::simulation::check::Frugal;
use crate::simulation::{Keeping, Simulation, sabotage};

/// How often is looked whether everything is done.
const LOOK: Duration = Duration::from_secs(5);
/// How long the last jobs may take, beyond the time an instance needs.
const PROBE_LIMIT: Duration = Duration::from_secs(900);
/// Stands where no checker objected.
const HARNESS: &str = "harness";
const MODELS_HOLD: &str = "the models of peers do not panic";
const RUNS: &str = "the scenario can be run";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// What it took.
    pub stats: Stats,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The checker that objected.
    pub checker: String,
    /// What should have held.
    pub contract: String,
    /// What is wrong.
    pub what: String,
    /// In which part of the run.
    pub phase: Phase,
    /// Simulated time, in milliseconds.
    pub at_ms: u64,
    /// The steps of all daemons so far.
    pub step: u64,
    /// Which daemon: 0 is the first.
    pub daemon: usize,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Things go wrong.
    Faults,
    /// All is well again, and what was left behind is made up for.
    Healing,
    /// One more job for each pool.
    Probe,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Steps of all daemons.
    pub steps: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Calls that a fault hit.
    pub faults: u64,
    /// Jobs that ended.
    pub jobs: u64,
}

/// Runs a scenario, as fast as can be.
#[must_use]
pub fn run(scenario: &Scenario) -> Verdict {
    play(scenario, Keeping::nothing(), |_| ())
}

/// Runs a scenario, once the simulation was prepared: with a saboteur, with more checkers or with fewer.
#[must_use]
pub fn run_prepared(scenario: &Scenario, prepare: impl FnOnce(&mut Simulation)) -> Verdict {
    play(scenario, Keeping::nothing(), prepare)
}

/// Runs a scenario, and writes the journals that the daemons would write.
#[must_use]
pub fn record(scenario: &Scenario, journal: JournalSettings) -> Verdict {
    play(scenario, Keeping { journal: Some(journal), ..Keeping::nothing() }, |_| ())
}

fn play(scenario: &Scenario, keeping: Keeping, prepare: impl FnOnce(&mut Simulation)) -> Verdict {
    let failed = |checker: &str, contract: &str, what: String| Verdict {
        failure: Some(Failure {
            checker: checker.to_owned(),
            contract: contract.to_owned(),
            what,
            phase: Phase::Faults,
            at_ms: 0,
            step: 0,
            daemon: 0,
        }),
        stats: Stats::default(),
    };
    let config = match scenario.knobs.simulation(&scenario.pools) {
        Ok(config) => config,
        Err(problem) => return failed(HARNESS, RUNS, problem),
    };
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut simulation = Simulation::keeping(config, scenario.seed, keeping);
        if let Some(saboteur) = scenario.sabotage.as_deref().and_then(sabotage::by_name) {
            simulation.sabotage(saboteur);
        }
        if !scenario.most_calls.is_empty() {
            simulation.watch(Box::new(Frugal(scenario.most_calls.clone())));
        }
        prepare(&mut simulation);
        Stage { scenario, plans: scenario.pools.clone(), simulation, second_wanted: false }.play()
    }));
    played.unwrap_or_else(|panic| failed(HARNESS, MODELS_HOLD, panic_text(panic.as_ref())))
}

/// A scenario being run.
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    /// The pools there are, or were.
    pub(super) plans: Vec<PoolPlan>,
    pub(super) simulation: Simulation,
    /// Whether a second daemon is meant to run.
    pub(super) second_wanted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    End,
    Begin,
}

impl Stage<'_> {
    fn play(mut self) -> Verdict {
        let phase = self.phases().unwrap_or_else(|phase| phase);
        let failure = self.failure(phase);
        let at_ms = self.simulation.at().as_millis();
        let steps = self.simulation.steps();
        let world = self.simulation.world();
        let jobs = world.ledger().totals_ref().ended;
        let stats = Stats { steps, simulated_ms: at_ms, faults: world.fault_hits(), jobs };
        let closed = self.simulation.close_journal();
        let unwritten = |error: std::io::Error| Failure {
            checker: HARNESS.to_owned(),
            contract: RUNS.to_owned(),
            what: format!("its journal cannot be written: {error}"),
            phase,
            at_ms,
            step: steps,
            daemon: 0,
        };
        Verdict { failure: failure.or_else(|| closed.err().map(unwritten)), stats }
    }

    /// Runs all phases: the one that failed is the error, the last one is right.
    fn phases(&mut self) -> Result<Phase, Phase> {
        for (at_ms, turn, event) in schedule(self.scenario) {
            self.run_to(at_ms);
            match turn {
                Turn::Begin => self.begin(at_ms, &event.what),
                Turn::End => self.end(&event.what),
            }
            self.go_on(Phase::Faults)?;
        }
        self.run_to(self.scenario.span_ms);
        self.go_on(Phase::Faults)?;
        self.heal();
        let limit = self.time_to_recover();
        self.simulation.run_until_quiet_looking(limit, LOOK).map_err(|_| Phase::Healing)?;
        self.probe();
        let limit = self.time_to_probe() + PROBE_LIMIT;
        self.simulation.run_until_quiet_looking(limit, LOOK).map_err(|_| Phase::Probe)?;
        Ok(Phase::Probe)
    }

    fn run_to(&mut self, at_ms: u64) {
        let at = Instant::from_millis(at_ms.min(self.scenario.span_ms));
        if at > self.simulation.at() {
            self.simulation.run_for(at.since(self.simulation.at()));
        }
    }

    fn go_on(&self, phase: Phase) -> Result<(), Phase> {
        if self.simulation.violations().is_empty() { Ok(()) } else { Err(phase) }
    }

    fn failure(&self, phase: Phase) -> Option<Failure> {
        if let Some(violation) = self.simulation.violations().first() {
            return Some(Failure {
                checker: violation.checker.to_owned(),
                contract: violation.contract.to_owned(),
                what: violation.objection.clone(),
                phase,
                at_ms: violation.at.as_millis(),
                step: violation.step,
                daemon: violation.daemon,
            });
        }
        let waiting = self.simulation.unfinished();
        let first = waiting.first()?;
        let all: Vec<_> = waiting.iter().map(|objection| objection.what.as_str()).collect();
        Some(Failure {
            checker: first.checker.to_owned(),
            contract: first.contract.to_owned(),
            what: format!("not in time: {}", all.join("; ")),
            phase,
            at_ms: self.simulation.at().as_millis(),
            step: self.simulation.steps(),
            daemon: 0,
        })
    }

    pub(super) fn key(&self, group: &str) -> Option<SetKey> {
        self.plans.iter().find(|plan| plan.group == group).map(PoolPlan::key)
    }
}

/// What begins and what ends, in order; at one moment ends come first.
fn schedule(scenario: &Scenario) -> Vec<(u64, Turn, &Timed)> {
    let mut turns: Vec<_> = scenario.events.iter().map(|event| (event.at_ms, Turn::Begin, event)).collect();
    turns.extend(scenario.events.iter().filter_map(|event| {
        let end_ms = event.at_ms.saturating_add(event.what.lasts_ms()?);
        Some((end_ms, Turn::End, event))
    }));
    turns.retain(|(at_ms, _, _)| *at_ms <= scenario.span_ms);
    turns.sort_by_key(|(at_ms, turn, _)| (*at_ms, *turn));
    turns
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}
