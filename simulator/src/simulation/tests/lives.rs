//! Crashes, restarts, and what others do to sessions, sets and groups.

use poolkeeper_core::notice::{AwsFact, Notice, PoolFact};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::Duration;

use super::super::Simulation;
use super::{LONG, SEEDS, config, demand, quiet, sets, simulation};
use crate::github::JobResult;
use crate::simulation::check::{Checker, Observed};

fn pool_fact(simulation: &Simulation, wanted: impl Fn(&PoolFact) -> bool) -> bool {
    simulation.notices().iter().any(|n| matches!(n, Notice::Pool { fact, .. } if wanted(fact)))
}

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_no_job() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        demand(&mut simulation, 60, Duration::from_secs(1));
        let mut rng = Rng::new(seed);
        for _ in 0..10 {
            simulation.run_for(Duration::from_millis(rng.below(8000)));
            simulation.crash();
            simulation.run_for(Duration::from_millis(rng.below(2000)));
            simulation.start();
        }
        quiet(&mut simulation, seed);
    }
}

#[test]
fn with_its_memory_a_restarted_daemon_listens_again_at_once() {
    let mut simulation = simulation(4);
    simulation.run_until_quiet(LONG).unwrap();
    simulation.crash();
    simulation.start();
    simulation.run_for(Duration::from_secs(3));
    assert_eq!(simulation.world().github_model().held_polls(), sets().len());
    assert!(!pool_fact(&simulation, |fact| matches!(fact, PoolFact::Standby { .. })));
}

#[test]
fn without_its_memory_a_restarted_daemon_stands_by_until_the_old_session_ends() {
    let mut simulation = simulation(5);
    simulation.run_until_quiet(LONG).unwrap();
    simulation.crash();
    simulation.forget();
    simulation.start();
    simulation.run_for(Duration::from_secs(20));
    assert!(pool_fact(&simulation, |fact| matches!(fact, PoolFact::Standby { .. })));
    assert_eq!(simulation.world().github_model().held_polls(), 0);
    assert_eq!(simulation.world().ledger().totals().capacity_writes, 0);
    demand(&mut simulation, 10, Duration::from_secs(1));
    quiet(&mut simulation, 5);
}

#[test]
fn evicted_sessions_are_opened_anew() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        demand(&mut simulation, 40, Duration::from_secs(1));
        for key in sets() {
            simulation.run_for(Duration::from_secs(5));
            simulation.act(|world, at| world.end_session(at, &key));
        }
        quiet(&mut simulation, seed);
    }
}

#[test]
fn a_scale_set_that_was_deleted_is_made_again() {
    let mut simulation = simulation(6);
    simulation.run_until_quiet(LONG).unwrap();
    let key = &sets()[0];
    assert!(simulation.act(|world, at| world.retire_set(at, key)));
    demand(&mut simulation, 20, Duration::from_secs(1));
    quiet(&mut simulation, 6);
    assert!(simulation.world().github_model().set(key).is_some());
}

#[test]
fn a_group_that_vanishes_is_let_go_and_the_others_stay() {
    let mut config = config();
    config.world.groups.extend((0..5).map(|n| super::group("acme", &format!("more{n}"))));
    let mut simulation = Simulation::new(config, 7);
    simulation.run_until_quiet(LONG).unwrap();
    let now = simulation.act(|_, at| at.now);
    simulation.act(|world, _| world.aws_model_mut().delete_group(now, "asg-acme-more0", true)).unwrap();
    simulation.run_for(Duration::from_secs(600));
    assert!(pool_fact(&simulation, |fact| matches!(fact, PoolFact::Gone)));
    let polls = simulation.world().github_model().held_polls();
    assert_eq!(polls, sets().len() + 4);
    demand(&mut simulation, 20, Duration::from_secs(1));
    quiet(&mut simulation, 7);
}

#[test]
fn when_all_groups_vanish_at_once_nothing_is_closed() {
    let mut simulation = simulation(8);
    simulation.run_until_quiet(LONG).unwrap();
    let names: Vec<_> = simulation.world().aws_model().groups().map(|g| g.name.clone()).collect();
    for name in names {
        let now = simulation.act(|_, at| at.now);
        simulation.act(|world, _| world.aws_model_mut().delete_group(now, &name, true)).unwrap();
    }
    simulation.run_for(Duration::from_secs(600));
    assert!(simulation.notices().iter().any(|n| matches!(n, Notice::Aws(AwsFact::MassDisappearance { .. }))));
    assert_eq!(simulation.world().github_model().held_polls(), sets().len());
}

#[test]
fn a_wall_clock_that_jumps_disturbs_nothing() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        demand(&mut simulation, 40, Duration::from_secs(1));
        for by in [-86_400_000, 3 * 86_400_000, -3_600_000] {
            simulation.run_for(Duration::from_secs(7));
            simulation.jump_clock_ms(by);
        }
        quiet(&mut simulation, seed);
    }
}

#[test]
fn a_job_that_dies_by_another_hand_is_not_held_against_us() {
    let mut simulation = simulation(9);
    demand(&mut simulation, 10, Duration::from_millis(100));
    simulation.run_for(Duration::from_secs(8));
    let runner = |simulation: &Simulation| {
        let jobs: Vec<_> = simulation.world().ledger().jobs().map(|(_, job)| job.clone()).collect();
        jobs.into_iter().find(|job| job.ended_us.is_none()).and_then(|job| job.runner)
    };
    let busy = runner(&simulation).unwrap();
    let now = simulation.act(|_, at| at.now);
    simulation.act(|world, _| world.aws_model_mut().terminate_instance(now, &busy, true)).unwrap();
    quiet(&mut simulation, 9);
    let totals = simulation.world().ledger().totals();
    assert_eq!(totals.results.get(&JobResult::Lost), Some(&1));
}

/// A checker whose contract nobody can keep: the harness must say so.
#[derive(Debug)]
struct Impossible;

impl Checker for Impossible {
    fn name(&self) -> &'static str {
        "impossible"
    }

    fn contract(&self) -> &'static str {
        "no call is ever made"
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let calls = observed.world?.ledger().totals().calls_to("aws");
        (calls > 0).then(|| format!("{calls} calls were made"))
    }
}

#[test]
fn a_broken_contract_is_reported() {
    let mut simulation = simulation(9);
    simulation.watch(Box::new(Impossible));
    let report = simulation.run_until_quiet(Duration::from_secs(60)).unwrap_err();
    assert!(report.contains("calls were made"), "{report}");
}
