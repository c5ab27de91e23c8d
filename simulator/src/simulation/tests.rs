//! Seeded scenarios: one daemon, its world, and what may go wrong.

mod bill;
mod faults;
mod lives;
mod load;
mod managed;
mod refused;
mod restart;
mod story;
mod warm;

use std::collections::BTreeMap;

use poolkeeper_core::Machine;
use poolkeeper_core::aws::Tag;
use poolkeeper_core::config::{Config, ConnectionConfig, CredentialKind, RawConfig};
use poolkeeper_core::event::{Event, ExitReason};
use poolkeeper_core::notice::PoolId;
use poolkeeper_core::recording::Replay;
use poolkeeper_core::time::Duration;
use poolkeeper_core::view::PoolView;
use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal::{self, Segment};

use super::check::{Checker, Moment};
use super::{Simulation, SimulationConfig};
use crate::aws::GroupSpec;
use crate::github::{GitHubConfig, SetKey, Style};
use crate::workload::{JobPlan, WorkloadConfig};
use crate::world::WorldConfig;

const POOLS: [(&str, &str); 3] = [("acme", "linux"), ("acme", "arm"), ("widgets", "linux")];
const LONG: Duration = Duration::from_secs(3600);
const SEEDS: std::ops::Range<u64> = 0..5;

#[test]
fn steady_demand_is_served() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        demand(&mut simulation, 60, Duration::from_secs(1));
        quiet(&mut simulation, seed);
        assert_eq!(simulation.world().ledger().totals().ended_well, 60);
    }
}

#[test]
fn a_burst_beyond_the_pool_is_served_in_turn() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        simulation.run_for(Duration::from_secs(10));
        demand(&mut simulation, 200, Duration::ZERO);
        let mut largest = 0;
        for _ in 0..100 {
            simulation.run_for(Duration::from_millis(100));
            let groups = simulation.world().aws_model().groups();
            largest = groups.map(|group| group.desired).fold(largest, u32::max);
        }
        assert_eq!(largest, 20);
        quiet(&mut simulation, seed);
    }
}

#[test]
fn jobs_that_are_called_off_leave_no_capacity_behind() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        let workload = WorkloadConfig { canceled_percent: 70, ..workload(80, Duration::from_millis(300)) };
        simulation.act(|world, at| world.start_workload(at, workload));
        quiet(&mut simulation, seed);
    }
}

#[test]
fn an_enterprise_servers_jobs_are_acquired() {
    for seed in SEEDS {
        let mut config = config();
        config.world.github.style = Style::Enterprise;
        let mut simulation = Simulation::new(config, seed);
        demand(&mut simulation, 60, Duration::from_millis(300));
        quiet(&mut simulation, seed);
        assert!(simulation.world().ledger().totals().calls_of("github", "acquire") > 0);
    }
}

#[test]
fn a_queued_job_raises_capacity_within_a_round_trip() {
    let mut simulation = simulation(1);
    simulation.run_until_quiet(LONG).unwrap();
    let key = SetKey::new("acme", "acme-linux");
    simulation.act(|world, at| world.queue_job(at, &key, JobPlan::success(Duration::from_secs(1))).unwrap());
    simulation.run_for(Duration::from_secs(2));
    let samples = simulation.act(|world, _| world.take_latencies_us());
    assert_eq!(samples.len(), 1);
    assert!(samples[0] <= 20_000, "{} us", samples[0]);
}

#[test]
fn a_group_with_a_least_size_keeps_it() {
    let mut config = config();
    config.world.groups[0].min_size = 2;
    let mut simulation = Simulation::new(config, 4);
    demand(&mut simulation, 40, Duration::from_millis(500));
    quiet(&mut simulation, 4);
    simulation.run_for(Duration::from_secs(30));
    let group = simulation.world().aws_model().group("asg-acme-linux").unwrap();
    assert_eq!((group.desired, group.instances.len()), (2, 2));
}

#[test]
fn many_pools_are_served_side_by_side() {
    let mut config = config();
    let names: Vec<_> = (0..60).map(|n| format!("p{n}")).collect();
    config.world.groups = names.iter().map(|name| group("acme", name)).collect();
    let mut simulation = Simulation::new(config, 5);
    let sets = names.iter().map(|name| SetKey::new("acme", &format!("acme-{name}"))).collect();
    let workload = WorkloadConfig { sets, ..workload(150, Duration::from_millis(20)) };
    simulation.act(|world, at| world.start_workload(at, workload));
    quiet(&mut simulation, 5);
}

#[test]
fn a_stop_closes_every_session_and_ends_the_daemon() {
    let mut simulation = simulation(2);
    simulation.run_until_quiet(LONG).unwrap();
    simulation.tell(Event::Stop);
    simulation.run_for(Duration::from_secs(10));
    assert_eq!(simulation.exit(), Some(ExitReason::Stopped));
    let open = simulation.world().github_model().sets().filter(|s| s.session_owner.is_some());
    assert_eq!(open.count(), 0);
    assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
}

#[test]
fn a_run_replays_from_its_steps_and_a_seed_repeats() {
    let run = || {
        let mut simulation = simulation(3);
        demand(&mut simulation, 30, Duration::from_millis(500));
        simulation.run_for(Duration::from_secs(60));
        simulation
    };
    let (first, second) = (run(), run());
    assert_eq!(first.recent(), second.recent());
    let mut replay = Replay::new(first.origin().unwrap().clone());
    for step in first.recent() {
        replay.step(step.clone()).unwrap();
    }
    assert_eq!(replay.machine(), first.machine().unwrap());
}

#[test]
fn a_recorded_run_leaves_a_journal_of_each_life_that_replays() {
    let dir = tempfile::tempdir().unwrap();
    let mut simulation = Simulation::recorded(config(), 3, JournalSettings::in_dir(dir.path()));
    demand(&mut simulation, 30, Duration::from_millis(500));
    simulation.run_for(Duration::from_secs(20));
    simulation.crash();
    simulation.run_for(Duration::from_secs(5));
    simulation.start();
    simulation.run_for(Duration::from_secs(20));
    simulation.close_journal().unwrap();
    let files = journal::files(dir.path()).unwrap();
    assert_eq!(files.len(), 2);
    let mut steps = 0;
    for file in files {
        let segment: Segment = Segment::open(&file).unwrap();
        let fresh = Machine::new(segment.header.config.clone(), segment.header.seed);
        assert_eq!(segment.header.state, fresh);
        let mut replay = Replay::new(segment.header.state.clone());
        for step in segment {
            replay.step(step.unwrap()).unwrap();
        }
        steps += replay.steps();
    }
    assert_eq!(steps, simulation.steps());
}

#[test]
fn a_step_leaves_alone_the_pools_that_it_did_not_settle() {
    let mut simulation = simulation(4);
    simulation.watch(Box::new(Unmoved::default()));
    demand(&mut simulation, 60, Duration::from_secs(1));
    quiet(&mut simulation, 4);
}

/// Knows every pool's view as of the step before.
#[derive(Debug, Default)]
struct Unmoved {
    views: BTreeMap<PoolId, PoolView>,
}

impl Checker for Unmoved {
    fn name(&self) -> &'static str {
        "unmoved"
    }

    fn contract(&self) -> &'static str {
        "a pool that a step did not settle looks as before"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let machine = moment.observed.machine.unwrap();
        let view_of = |view: PoolView| (view.id, PoolView { described_at: None, ..view });
        let views: BTreeMap<_, _> = machine.pools(None, usize::MAX).into_iter().map(view_of).collect();
        let moved = views.iter().find(|(id, view)| {
            !machine.settled().contains(id) && self.views.get(id).is_none_or(|before| before != *view)
        });
        let moved = moved.map(|(id, view)| format!("{id:?}: {:?} -> {view:?}", self.views.get(id)));
        self.views = views;
        moved.map_or(Ok(()), Err)
    }
}

fn config() -> SimulationConfig {
    SimulationConfig {
        daemon: daemon(),
        world: WorldConfig {
            github: GitHubConfig::default(),
            groups: POOLS.iter().map(|(org, pool)| group(org, pool)).collect(),
            ..WorldConfig::default()
        },
        latency: (Duration::from_millis(1), Duration::from_millis(10)),
    }
}

fn daemon() -> Config {
    let main = ConnectionConfig {
        url: "https://github.com".to_owned(),
        credential: CredentialKind::Pat,
        orgs: vec!["*".to_owned()],
        runner_group: "default".to_owned(),
        force_ghes: false,
    };
    let raw = RawConfig {
        stack: "sim".into(),
        owner: "sim-host".to_owned(),
        connections: [("main".to_owned(), main)].into(),
        ..RawConfig::default()
    };
    Config::try_from(raw).unwrap()
}

fn group(org: &str, pool: &str) -> GroupSpec {
    let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
    GroupSpec {
        name: format!("asg-{org}-{pool}").into(),
        max_size: 30,
        new_instances_protected: true,
        suspended_processes: vec!["AZRebalance".into()],
        tags: vec![tag("runs-on-stack", "sim"), tag("runs-on-org", org), tag("runs-on-pool", pool)],
        ..GroupSpec::default()
    }
}

fn sets() -> Vec<SetKey> {
    POOLS.iter().map(|(org, pool)| SetKey::new(org, &format!("{org}-{pool}"))).collect()
}

fn workload(jobs: u64, gap: Duration) -> WorkloadConfig {
    WorkloadConfig { sets: sets(), jobs: Some(jobs), gap, ..WorkloadConfig::default() }
}

fn simulation(seed: u64) -> Simulation {
    Simulation::new(config(), seed)
}

fn demand(simulation: &mut Simulation, jobs: u64, gap: Duration) {
    simulation.act(|world, at| world.start_workload(at, workload(jobs, gap)));
}

fn quiet(simulation: &mut Simulation, seed: u64) {
    if let Err(pending) = simulation.run_until_quiet(LONG) {
        let tail: Vec<_> = simulation.recent().iter().rev().take(10).collect();
        panic!("seed {seed}, at {:?}: {pending}\n{tail:#?}", simulation.at());
    }
}
