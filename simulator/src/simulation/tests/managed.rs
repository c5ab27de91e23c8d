//! Instances that get their runners from the daemon: what time and bad luck make of them.

use poolkeeper_core::config::Runners;
use poolkeeper_core::short_text::ShortText;

use super::*;
use crate::aws::GroupSpec;
use crate::simulation::sabotage;
use crate::world::{FaultAction, Weather};

const REMOVE: &str = "remove_runner";
const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
/// How many milliseconds before and after the gate is asked a job may come.
const AROUND_MS: u64 = 100;
/// How long GitHub's messages are on their way.
const NEWS_TAKES_MS: u64 = 50;
/// How many races are run for each seed.
const RACES_A_SEED: u64 = 2 * AROUND_MS;
/// How many seeds are raced; this variable in the environment makes it more.
const SEEDS_RACED: u64 = 3;
const SEEDS_VARIABLE: &str = "POOLKEEPER_RACES_SEEDS";

/// One managed pool.
pub(super) fn managed(idle: &str) -> SimulationConfig {
    let mut config = config();
    let mut raw = RawConfig::clone(&config.daemon);
    raw.pool.runners = Runners::Managed;
    raw.pool.idle_grace = Duration::from_secs(10);
    config.daemon = Config::try_from(raw).unwrap();
    config.world.runners.managed = true;
    let mut group = group("acme", "linux");
    group.tags.push(Tag { key: "runs-on-idle".into(), value: idle.into() });
    config.world.groups = vec![GroupSpec { max_size: 3, ..group }];
    config
}

/// The scale set of the one managed pool.
pub(super) fn key() -> SetKey {
    SetKey::new("acme", "acme-linux")
}

/// The instances of all groups.
pub(super) fn instances(simulation: &Simulation) -> Vec<ShortText> {
    let groups = simulation.world().aws_model().groups();
    groups.flat_map(|group| group.instances.iter().map(|instance| instance.id.clone())).collect()
}

/// Steps of a millisecond until something is so; the story that it never is when it takes an hour.
pub(super) fn until(simulation: &mut Simulation, what: &str, so: impl Fn(&Simulation) -> bool) {
    let begun = simulation.at();
    while !so(simulation) {
        assert!(simulation.at().since(begun) < LONG, "never: {what}");
        simulation.run_for(Duration::from_millis(1));
    }
}

pub(super) fn calls(simulation: &Simulation, peer: &str, call: &str) -> u64 {
    simulation.world().ledger().totals_ref().calls_of(peer, call)
}

#[test]
fn who_stands_by_for_a_day_is_left_alone() {
    let mut simulation = Simulation::new(managed("2"), 7);
    simulation.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(simulation.world().aws_model().groups().map(|group| group.instances.len()).sum::<usize>(), 2);
    assert_eq!((calls(&simulation, "aws", TERMINATE), calls(&simulation, "agent", TERMINATE)), (0, 0));
    assert_eq!(calls(&simulation, "github", REMOVE), 0, "nobody was even asked about");
    assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
}

/// A pool whose one instance is about to be one too many.
fn about_to_shrink(seed: u64, open_gate: bool) -> Simulation {
    let mut simulation = Simulation::new(managed("1"), seed);
    if open_gate {
        simulation.judge_by("no_secret");
        simulation.sabotage(sabotage::by_name("opens_the_gate").unwrap());
    }
    simulation.act(|world, at| {
        // News is on its way for a while: that is what makes it a race.
        let late =
            Weather { call: "poll".to_owned(), per_mille: 1000, action: FaultAction::Delay { ms: NEWS_TAKES_MS } };
        assert!(world.set_weather(at.now.mono + LONG, late));
    });
    simulation.run_for(Duration::from_secs(120));
    simulation.act(|world, at| {
        let tag = Tag { key: "runs-on-idle".into(), value: "0".into() };
        let name = world.aws_model().groups().next().unwrap().name.clone();
        world.aws_model_mut().set_tags(at.now, &[crate::aws::action::GroupTag { group: name, tag }]).unwrap();
    });
    simulation
}

/// When the gate is asked, counted from the moment the instance is one too many.
fn moment_of_the_gate(seed: u64) -> u64 {
    let mut simulation = about_to_shrink(seed, false);
    (0..200_000)
        .find(|_| {
            simulation.run_for(Duration::from_millis(1));
            calls(&simulation, "github", REMOVE) > 0
        })
        .unwrap()
}

/// How many of all races kill a job that was assigned around the moment in which scale-in picks its runner.
fn killed(seeds: u64, open_gate: bool) -> (u64, u64) {
    let mut killed = 0;
    for seed in 0..seeds {
        let gate = moment_of_the_gate(seed);
        for offset in 0..RACES_A_SEED {
            let mut simulation = about_to_shrink(seed, open_gate);
            simulation.run_for(Duration::from_millis(gate + offset - AROUND_MS));
            simulation.act(|world, at| world.queue_job(at, &key(), JobPlan::success(LONG)).unwrap());
            simulation.run_for(Duration::from_secs(60));
            killed += simulation.world().ledger().totals_ref().killed;
            if !open_gate {
                assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
            }
        }
    }
    (killed, seeds * RACES_A_SEED)
}

fn seeds_raced() -> u64 {
    std::env::var(SEEDS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS_RACED)
}

#[test]
fn a_job_that_comes_as_its_runner_is_picked_survives() {
    let (killed, races) = killed(seeds_raced(), false);
    println!("{killed} killed in {races} races");
    assert_eq!(killed, 0, "in {races} races");
}

#[test]
fn with_the_gate_open_such_jobs_are_killed() {
    let (killed, races) = killed(1, true);
    println!("{killed} killed in {races} races with the gate open");
    assert!(killed * 100 > races, "{killed} killed in {races} races: the gate is not what saves them");
}
