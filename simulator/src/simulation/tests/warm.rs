//! Warm pools, launch hooks, and jobs that run for long.

use poolkeeper_core::config::Runners;
use poolkeeper_core::notice::{Notice, PoolFact, RunnerFact};

use super::managed::{calls, instances, key, managed};
use super::refused::{refusal, weather};
use super::*;
use crate::aws::GroupSpec;

const HOOK: &str = "prepared";
const COMPLETE: &str = "CompleteLifecycleAction";

fn with_group(change: impl FnOnce(&mut GroupSpec)) -> SimulationConfig {
    let mut config = managed("0");
    if let Some(group) = config.world.groups.first_mut() {
        change(group);
    }
    config
}

fn facts(simulation: &Simulation) -> Vec<RunnerFact> {
    let of_runner = |notice: &Notice| {
        if let Notice::Pool { fact: PoolFact::Runner(fact), .. } = notice { Some(fact.clone()) } else { None }
    };
    simulation.notices().iter().filter_map(of_runner).collect()
}

fn run_a_job(simulation: &mut Simulation, span: Duration) {
    simulation.act(|world, at| world.queue_job(at, &key(), JobPlan::success(span)).unwrap());
}

#[test]
fn members_of_a_warm_pool_are_told_of_and_get_a_config_once_they_have_left_it() {
    let mut simulation = Simulation::new(
        with_group(|group| {
            group.warm_pool = Some(poolkeeper_core::aws::WarmPool::default());
            group.warm_size = 2;
        }),
        7,
    );
    simulation.run_for(Duration::from_secs(90));
    let warm = simulation.machine().unwrap().pools(None, 1).remove(0).warm.unwrap();
    assert_eq!((warm.stopped, warm.running, warm.moving), (2, 0, 0));
    assert_eq!((calls(&simulation, "github", "jit_config"), calls(&simulation, "aws", "PutParameter")), (0, 0));
    run_a_job(&mut simulation, Duration::from_secs(30));
    simulation.run_for(Duration::from_secs(10));
    assert_eq!(calls(&simulation, "aws", "PutParameter"), 1);
    let up = facts(&simulation).into_iter().find(|fact| matches!(fact, RunnerFact::Up { .. }));
    assert!(matches!(up, Some(RunnerFact::Up { warm: true, took, .. }) if took <= Duration::from_secs(5)), "{up:?}");
    simulation.run_until_quiet(LONG).unwrap();
    let totals = simulation.world().ledger().totals();
    assert_eq!((totals.ended_well, totals.starts.warm, totals.starts.cold), (1, 1, 0));
    assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
}

#[test]
fn a_warm_pool_that_may_not_be_listed_is_told_of_once_until_it_may() {
    let group = |group: &mut GroupSpec| group.warm_pool = Some(poolkeeper_core::aws::WarmPool::default());
    let mut simulation = Simulation::new(with_group(group), 7);
    let told = |simulation: &Simulation| {
        let is_told = |notice: &&Notice| matches!(notice, Notice::Pool { fact: PoolFact::WarmPoolDenied { .. }, .. });
        simulation.notices().iter().filter(is_told).count()
    };
    weather(&mut simulation, "DescribeWarmPool", Duration::from_secs(300), refusal(500, "InternalFailure"));
    simulation.run_for(Duration::from_secs(600));
    assert_eq!(told(&simulation), 0);
    for times in 1..=2 {
        weather(&mut simulation, "DescribeWarmPool", Duration::from_secs(600), refusal(403, "AccessDenied"));
        simulation.run_for(Duration::from_secs(600));
        assert_eq!(told(&simulation), times);
        simulation.run_for(Duration::from_secs(300));
        assert_eq!(told(&simulation), times);
    }
    assert!(calls(&simulation, "aws", "DescribeWarmPool") > 20, "it is asked again");
}

/// Whether the group is gone for good is known after some listings without it.
#[test]
fn the_warm_pool_of_a_group_that_is_missed_is_not_asked_for() {
    let group = |group: &mut GroupSpec| group.warm_pool = Some(poolkeeper_core::aws::WarmPool::default());
    let mut simulation = Simulation::new(with_group(group), 7);
    simulation.run_for(Duration::from_secs(90));
    let asked = calls(&simulation, "aws", "DescribeWarmPool");
    assert!(asked > 0);
    let name = simulation.world().aws_model().groups().next().unwrap().name.clone();
    simulation.act(|world, at| world.aws_model_mut().delete_group(at.now, &name, true)).unwrap();
    simulation.run_for(Duration::from_secs(600));
    assert_eq!(calls(&simulation, "aws", "DescribeWarmPool"), asked);
}

#[test]
fn an_instance_that_is_launched_is_a_cold_start() {
    let mut simulation = Simulation::new(managed("0"), 7);
    run_a_job(&mut simulation, Duration::from_secs(30));
    simulation.run_until_quiet(LONG).unwrap();
    let up = facts(&simulation).into_iter().filter(|fact| matches!(fact, RunnerFact::Up { warm: false, .. }));
    assert_eq!((up.count(), simulation.world().ledger().totals_ref().starts.cold), (1, 1));
}

#[test]
fn a_launch_hook_is_completed_where_the_tags_ask_for_it_and_only_there() {
    for asked in [true, false] {
        let mut config = with_group(|group| {
            group.launch_hook = Some(HOOK.into());
            if asked {
                group.tags.push(Tag { key: "runs-on-launch-hook".into(), value: HOOK.into() });
            }
        });
        config.world.aws.hook_timeout = LONG;
        let mut simulation = Simulation::new(config, 3);
        run_a_job(&mut simulation, Duration::from_secs(10));
        simulation.run_for(Duration::from_secs(300));
        assert_eq!(calls(&simulation, "aws", COMPLETE), u64::from(asked));
        let told = facts(&simulation).iter().any(|fact| matches!(fact, RunnerFact::HookCompleted { .. }));
        assert_eq!((told, simulation.world().ledger().totals_ref().ended_well), (asked, u64::from(asked)));
    }
}

#[test]
fn a_job_that_runs_for_longer_than_it_may_is_told_of_once_and_left_alone() {
    let mut config = managed("0");
    let mut raw = RawConfig::clone(&config.daemon);
    raw.pool.runners = Runners::Managed;
    raw.pool.max_job_time = Some(Duration::from_secs(600));
    config.daemon = Config::try_from(raw).unwrap();
    let mut simulation = Simulation::new(config, 3);
    run_a_job(&mut simulation, LONG);
    let too_long = |simulation: &Simulation| {
        facts(simulation).iter().filter(|fact| matches!(fact, RunnerFact::JobTooLong { .. })).count()
    };
    simulation.run_for(Duration::from_secs(590));
    assert_eq!(too_long(&simulation), 0);
    simulation.run_for(Duration::from_secs(60));
    assert_eq!(too_long(&simulation), 1);
    simulation.run_for(Duration::from_secs(2000));
    assert_eq!((too_long(&simulation), instances(&simulation).len()), (1, 1));
    simulation.run_until_quiet(LONG + LONG).unwrap();
    assert_eq!(simulation.world().ledger().totals_ref().ended_well, 1);
}
