//! Thousands of jobs over many managed pools, while AWS lets few calls through.
//!
//! The figures are printed with `--nocapture`.

mod meter;

use std::sync::{Arc, Mutex};

use poolkeeper_core::config::Runners;

use self::meter::{Figures, Meter, Spread};
use super::*;
use crate::aws::{AwsConfig, Rate};
use crate::simulation::Keeping;

const POOLS: usize = 60;
/// What each pool can hold: more than ever come to one.
const SIZE_MAX: u32 = 60;
/// How much of the load there is by default, in percent; this variable in the environment makes it more.
const PERCENT: u64 = 10;
const PERCENT_VARIABLE: &str = "POOLKEEPER_LOAD_PERCENT";
/// Jobs an hour, one after the other, and at once.
const JOBS_AN_HOUR: u64 = 3000;
const JOBS_AT_ONCE: u64 = 1000;
/// Between two jobs.
const GAP: Duration = Duration::from_millis(1200);
/// Auto Scaling's limits are not published: these are far below what any account is known to have.
const AUTO_SCALING: Rate = Rate { burst: 20, per_second: 5 };
/// What the parameter store allows by default, and where its higher throughput is on.
const STORE_BY_DEFAULT: Rate = Rate { burst: 3, per_second: 3 };
const STORE_AT_BEST: Rate = Rate { burst: 40, per_second: 40 };
/// How long the daemon may take until all is quiet again.
const QUIET_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// Configs that nobody deleted have expired by then.
const EXPIRED: Duration = Duration::from_secs(1800);
const SEED: u64 = 11;

/// Jobs, and how fast they come.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    jobs: u64,
    gap: Duration,
}

fn an_hour() -> Load {
    Load { name: "one after the other", jobs: scaled(JOBS_AN_HOUR), gap: GAP }
}

fn at_once() -> Load {
    Load { name: "at once", jobs: scaled(JOBS_AT_ONCE), gap: Duration::ZERO }
}

fn scaled(jobs: u64) -> u64 {
    let percent = std::env::var(PERCENT_VARIABLE).ok().and_then(|text| text.parse().ok());
    jobs * percent.unwrap_or(PERCENT) / 100
}

#[test]
fn steady_jobs_are_served_with_the_store_at_its_default() {
    run(an_hour(), STORE_BY_DEFAULT);
}

#[test]
fn steady_jobs_are_served_with_the_store_at_its_best() {
    run(an_hour(), STORE_AT_BEST);
}

#[test]
fn a_burst_over_all_pools_is_served_with_the_store_at_its_default() {
    run(at_once(), STORE_BY_DEFAULT);
}

#[test]
fn a_burst_over_all_pools_is_served_with_the_store_at_its_best() {
    run(at_once(), STORE_AT_BEST);
}

/// Lets the jobs come, and waits until nothing is left of them.
fn run(load: Load, store: Rate) {
    let figures = Arc::new(Mutex::new(Figures::default()));
    let keeping = Keeping { steps: 0, notices: 0, journal: None, stop_at_violation: true };
    let mut simulation = Simulation::keeping(pools(store), SEED, keeping);
    simulation.run_until_quiet(LONG).unwrap();
    simulation.watch(Box::new(Meter::new(Arc::clone(&figures))));
    let sets = pool_names().map(|name| SetKey::new("acme", &format!("acme-{name}"))).collect();
    let workload = WorkloadConfig {
        sets,
        jobs: Some(load.jobs),
        gap: load.gap,
        duration: (Duration::from_secs(30), Duration::from_secs(180)),
        canceled_percent: 0,
        failed_percent: 0,
        ..WorkloadConfig::default()
    };
    let begun = simulation.at();
    simulation.act(|world, at| world.start_workload(at, workload));
    let quiet = simulation.run_until_quiet(QUIET_WITHIN);
    let took = simulation.at().since(begun);
    tell(load, store, &mut simulation, &figures, took);
    quiet.unwrap();
    simulation.run_for(EXPIRED);
    judge(load, &mut simulation);
}

fn tell(load: Load, store: Rate, simulation: &mut Simulation, figures: &Mutex<Figures>, took: Duration) {
    let ms = |us: &u64| us / 1000;
    let capacity = Spread::of(simulation.act(|world, _| world.take_latencies_us()).iter().map(ms).collect());
    let jobs = simulation.world().ledger().jobs();
    let wait = Spread::of(jobs.filter_map(|(_, job)| job.wait()).map(Duration::as_millis).collect());
    println!(
        "{} jobs {}, over {POOLS} pools; Auto Scaling {} at once and {}/s, the store {}/s; all quiet after {} s",
        load.jobs,
        load.name,
        AUTO_SCALING.burst,
        AUTO_SCALING.per_second,
        store.per_second,
        took.as_millis() / 1000,
    );
    println!("  a job waits for its runner   {wait}");
    println!("  a job waits for its capacity {capacity}");
    println!("{}", figures.lock().unwrap());
}

fn judge(load: Load, simulation: &mut Simulation) {
    assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
    let totals = simulation.world().ledger().totals_ref();
    assert_eq!((totals.queued, totals.ended_well, totals.killed), (load.jobs, load.jobs, 0));
    let left = simulation.act(|world, at| world.left_behind(at));
    assert_eq!(left, crate::world::LeftBehind::default());
}

fn pool_names() -> impl Iterator<Item = String> {
    (0..POOLS).map(|n| format!("p{n}"))
}

/// Managed pools whose instances take as long as real ones.
fn pools(store: Rate) -> SimulationConfig {
    let mut config = config();
    let mut raw = RawConfig::clone(&config.daemon);
    raw.pool.runners = Runners::Managed;
    raw.pool.size_max = SIZE_MAX;
    config.daemon = Config::try_from(raw).unwrap();
    config.world.groups = pool_names().map(|name| GroupSpec { max_size: SIZE_MAX, ..group("acme", &name) }).collect();
    config.world.runners.managed = true;
    config.world.runners.register = Duration::from_secs(2);
    config.world.store_rate = Some(store);
    config.world.aws = AwsConfig {
        boot: (Duration::from_secs(15), Duration::from_secs(45)),
        shutdown: Duration::from_secs(5),
        rate: Some(AUTO_SCALING),
        ..AwsConfig::default()
    };
    config.latency = (Duration::from_millis(5), Duration::from_millis(50));
    config
}
