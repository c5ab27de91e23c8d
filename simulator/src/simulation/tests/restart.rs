//! What a restarted daemon does about an instance: by whether its runner is registered, online or at work, and by whether
//! its config still waits to be taken. The table stands in `docs/managed-runners.md`.

use poolkeeper_core::notice::{Notice, PoolFact, Proof, RunnerFact};

use super::managed::{calls, key, managed, until};
use super::*;

const JIT_CONFIG: &str = "jit_config";
const REMOVE: &str = "remove_runner";
const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
const SCOPE: &str = "acme";
/// So long an agent may take to find its config.
const FINDS_WITHIN: Duration = Duration::from_secs(60);
const BOOT_DEADLINE: Duration = Duration::from_secs(600);
/// Longer than a stored config lives.
const LONGER_THAN_A_CONFIG: Duration = Duration::from_secs(31 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    None,
    Registered,
    Online,
    Busy,
    OfAnotherSet,
}

/// One instance, and the daemon that has just died.
struct Cell {
    simulation: Simulation,
    instance: String,
}

impl Cell {
    fn new(runner: Runner, has_config: bool) -> Self {
        let mut config = managed("1");
        config.world.runners.retry = FINDS_WITHIN;
        config.world.groups.push(group("acme", "arm"));
        let mut simulation = Simulation::new(config, 3);
        let stored = |simulation: &Simulation| {
            simulation.world().store().instances(simulation.at()).next().map(ToOwned::to_owned)
        };
        until(&mut simulation, "a config is stored", |simulation| stored(simulation).is_some());
        let instance = stored(&simulation).unwrap();
        if runner == Runner::Busy {
            simulation.act(|world, at| world.queue_job(at, &key(), JobPlan::success(LONG)).unwrap());
        }
        if matches!(runner, Runner::Online | Runner::Busy) {
            until(&mut simulation, "it is online", |simulation| is_online(simulation, &instance));
        }
        simulation.crash();
        let mut cell = Self { simulation, instance };
        cell.change_runner(runner);
        cell.change_config(has_config);
        cell
    }

    fn change_runner(&mut self, runner: Runner) {
        let instance = self.instance.clone();
        self.simulation.act(|world, _| match runner {
            Runner::Registered | Runner::Online | Runner::Busy => {}
            Runner::None => world.github_model_mut().lose_runner(SCOPE, &instance),
            Runner::OfAnotherSet => {
                world.github_model_mut().lose_runner(SCOPE, &instance);
                assert!(world.github_model_mut().connect_runner(&SetKey::new(SCOPE, "acme-arm"), &instance));
            }
        });
    }

    fn change_config(&mut self, has_config: bool) {
        let instance = self.instance.clone();
        self.simulation.act(|world, at| {
            let now = at.now.mono;
            match (has_config, world.store().get(now, &instance).is_some()) {
                (true, false) => world.store_mut().put(now, &instance, "an old one".to_owned()).unwrap(),
                (false, true) => world.store_mut().delete(now, &instance).unwrap(),
                (true, true) | (false, false) => {}
            }
        });
    }

    /// The daemon is there again, and so much time passes.
    fn restarted_for(&mut self, span: Duration) {
        self.simulation.start();
        self.simulation.run_for(span);
    }

    fn told(&self, wanted: impl Fn(&RunnerFact) -> bool) -> bool {
        let of_runner =
            |notice: &Notice| matches!(notice, Notice::Pool { fact: PoolFact::Runner(fact), .. } if wanted(fact));
        self.simulation.notices().iter().any(of_runner)
    }

    fn is_there(&self) -> bool {
        self.simulation.world().aws_model().group_of(&self.instance).is_some()
    }

    fn calls(&self, peer: &str, call: &str) -> u64 {
        calls(&self.simulation, peer, call)
    }

    /// A job runs in the end, nobody was killed, and no config stays.
    fn goes_on(mut self) {
        let before = self.simulation.world().ledger().totals_ref().ended_well;
        let plan = JobPlan::success(Duration::from_secs(10));
        self.simulation.act(|world, at| world.queue_job(at, &key(), plan).unwrap());
        self.simulation.run_for(LONGER_THAN_A_CONFIG);
        assert_eq!(self.simulation.world().ledger().totals_ref().ended_well, before + 1);
        let at = self.simulation.at();
        assert!(!self.simulation.world().store().instances(at).any(|id| id == self.instance));
        assert_eq!(self.simulation.world().ledger().totals_ref().killed, 0);
        assert!(self.simulation.violations().is_empty(), "{:?}", self.simulation.violations());
    }
}

fn is_online(simulation: &Simulation, instance: &str) -> bool {
    simulation.world().github_model().runners_named(instance).any(|(_, online)| online)
}

#[test]
fn without_a_runner_it_gets_a_config_in_place_of_any_that_is_there() {
    for has_config in [false, true] {
        let mut cell = Cell::new(Runner::None, has_config);
        cell.restarted_for(Duration::from_secs(30));
        assert_eq!(cell.calls("github", JIT_CONFIG), 2, "config there: {has_config}");
        assert_eq!(cell.calls("aws", TERMINATE), 0);
        cell.goes_on();
    }
}

#[test]
fn registered_with_its_config_waiting_it_is_adopted_and_comes_up() {
    let mut cell = Cell::new(Runner::Registered, true);
    cell.restarted_for(Duration::from_secs(120));
    assert!(cell.told(|fact| matches!(fact, RunnerFact::Adopted { .. })));
    assert!(is_online(&cell.simulation, &cell.instance));
    assert_eq!((cell.calls("github", JIT_CONFIG), cell.calls("aws", TERMINATE)), (1, 0));
    cell.goes_on();
}

#[test]
fn registered_and_its_config_gone_it_is_adopted_and_ended_once_it_is_late() {
    let mut cell = Cell::new(Runner::Registered, false);
    cell.restarted_for(BOOT_DEADLINE - Duration::from_secs(10));
    assert!(cell.told(|fact| matches!(fact, RunnerFact::Adopted { .. })));
    assert_eq!((cell.calls("github", REMOVE), cell.calls("aws", TERMINATE)), (0, 0), "it may still come up");
    cell.simulation.run_for(Duration::from_secs(110));
    assert!(cell.told(|fact| matches!(fact, RunnerFact::Free { proof: Proof::Removed, .. })));
    assert!(!cell.is_there());
    assert_eq!(cell.calls("github", JIT_CONFIG), 2, "another one came in its place");
    cell.goes_on();
}

#[test]
fn online_it_is_adopted_and_takes_the_next_job() {
    for has_config in [false, true] {
        let mut cell = Cell::new(Runner::Online, has_config);
        cell.restarted_for(Duration::from_secs(300));
        assert!(cell.told(|fact| matches!(fact, RunnerFact::Adopted { .. })));
        assert!(is_online(&cell.simulation, &cell.instance));
        assert_eq!((cell.calls("github", JIT_CONFIG), cell.calls("github", REMOVE)), (1, 0));
        cell.goes_on();
    }
}

#[test]
fn at_work_it_is_adopted_and_left_alone_until_its_job_ends() {
    for has_config in [false, true] {
        let mut cell = Cell::new(Runner::Busy, has_config);
        cell.restarted_for(LONG - Duration::from_secs(600));
        assert!(cell.told(|fact| matches!(fact, RunnerFact::Adopted { .. })));
        assert!(cell.is_there());
        cell.simulation.run_for(Duration::from_secs(900));
        assert!(!cell.is_there());
        assert_eq!(cell.simulation.world().ledger().totals_ref().ended_well, 1);
        cell.goes_on();
    }
}

#[test]
fn with_a_runner_of_another_set_it_is_told_of_and_left_alone() {
    for has_config in [false, true] {
        let mut cell = Cell::new(Runner::OfAnotherSet, has_config);
        cell.restarted_for(Duration::from_secs(100));
        assert!(cell.told(|fact| matches!(fact, RunnerFact::Foreign { .. })));
        assert!(cell.is_there());
        assert_eq!((cell.calls("github", REMOVE), cell.calls("aws", TERMINATE)), (0, 0));
    }
}
