//! Thousands of jobs over many managed pools, while AWS lets few calls through.
//!
//! The figures are printed with `--nocapture`.

mod meter;

use std::sync::{Arc, Mutex};

use poolkeeper_core::config::Runners;
use poolkeeper_core::time::Instant;

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
/// How long jobs run.
const SOME_MINUTES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(180));
/// Where they are to end at about the same time.
const JOB: Duration = Duration::from_secs(60);
/// Auto Scaling's limits are not published: these are far below what any account is known to have.
const AUTO_SCALING: Rate = Rate { burst: 20, per_second: 5 };
/// What the parameter store allows by default, and where its higher throughput is on.
const STORE_BY_DEFAULT: Rate = Rate { burst: 3, per_second: 3 };
const STORE_AT_BEST: Rate = Rate { burst: 40, per_second: 40 };
/// How long the daemon may take until all is quiet again.
const QUIET_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// Configs that nobody deleted have expired by then.
const EXPIRED: Duration = Duration::from_secs(1800);
/// How long an instance waits for its config.
const AGENT_WAITS: Duration = Duration::from_secs(600);
const SEED: u64 = 11;

/// Jobs, and how fast they come.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    jobs: u64,
    gap: Duration,
    /// The shortest and the longest.
    duration: (Duration, Duration),
}

fn an_hour() -> Load {
    Load { name: "one after the other", jobs: scaled(JOBS_AN_HOUR), gap: GAP, duration: SOME_MINUTES }
}

fn at_once() -> Load {
    Load { name: "at once", jobs: scaled(JOBS_AT_ONCE), gap: Duration::ZERO, duration: SOME_MINUTES }
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

#[test]
fn a_burst_is_served_while_the_instances_of_the_one_before_are_ended() {
    // A small load piles up only where AWS lets fewer calls through.
    let per_second = u32::try_from(scaled(u64::from(AUTO_SCALING.per_second))).unwrap().max(2);
    let mut stage = Stage::set(Rate { per_second, ..AUTO_SCALING }, STORE_AT_BEST);
    stage.jobs_come(&Load { duration: (JOB, JOB), ..at_once() });
    let peak = stage.until_terminations_wait();
    stage.simulation.act(|world, _| drop(world.take_latencies_us()));
    let second = Load { name: "at once, while instances are ended", duration: (JOB, JOB), ..at_once() };
    stage.jobs_come(&second);
    println!("{peak} instances wait for their end when the second burst comes");
    stage.ends(&second);
}

#[test]
fn a_daemon_that_is_killed_in_a_burst_loses_few_configs() {
    let mut stage = Stage::set(AUTO_SCALING, STORE_BY_DEFAULT);
    // With fewer jobs most configs of a burst may wait for the store at once.
    let load = Load { name: "at once, and a daemon that is killed", jobs: JOBS_AT_ONCE, ..at_once() };
    stage.jobs_come(&load);
    // Most instances are there by then, and wait for their configs.
    stage.simulation.run_for(Duration::from_secs(45));
    stage.simulation.crash();
    stage.simulation.run_for(Duration::from_secs(5));
    stage.simulation.start();
    stage.lost = JOBS_AT_ONCE / 4;
    stage.ends(&load);
}

/// A run, and what is measured of it.
struct Stage {
    simulation: Simulation,
    figures: Arc<Mutex<Figures>>,
    auto_scaling: Rate,
    store: Rate,
    jobs: u64,
    /// How many configs may be lost on their way to the store: the runners of those are made anew.
    lost: u64,
    begun: Instant,
}

/// Lets the jobs come, and waits until nothing is left of them.
fn run(load: Load, store: Rate) {
    let mut stage = Stage::set(AUTO_SCALING, store);
    stage.jobs_come(&load);
    stage.ends(&load);
}

impl Stage {
    /// Pools that are listened to, and empty.
    fn set(auto_scaling: Rate, store: Rate) -> Self {
        let keeping = Keeping { steps: 0, notices: 0, journal: None, stop_at_violation: true };
        let mut simulation = Simulation::keeping(pools(auto_scaling, store), SEED, keeping);
        simulation.run_until_quiet(LONG).unwrap();
        let figures = Arc::new(Mutex::new(Figures::default()));
        simulation.watch(Box::new(Meter::new(Arc::clone(&figures))));
        let begun = simulation.at();
        Self { simulation, figures, auto_scaling, store, jobs: 0, lost: 0, begun }
    }

    fn jobs_come(&mut self, load: &Load) {
        self.jobs += load.jobs;
        self.begun = self.simulation.at();
        let workload = WorkloadConfig {
            sets: pool_names().map(|name| SetKey::new("acme", &format!("acme-{name}"))).collect(),
            jobs: Some(load.jobs),
            gap: load.gap,
            duration: load.duration,
            canceled_percent: 0,
            failed_percent: 0,
            ..WorkloadConfig::default()
        };
        self.simulation.act(|world, at| world.start_workload(at, workload));
    }

    /// Waits until a tenth of the instances wait for their end: how many do.
    fn until_terminations_wait(&mut self) -> u64 {
        loop {
            let waiting = self.figures.lock().unwrap().waiting_for_their_end();
            if waiting >= self.jobs / 10 {
                return waiting;
            }
            assert!(self.simulation.at().since(self.begun) < LONG, "no terminations pile up");
            self.simulation.run_for(Duration::from_millis(100));
        }
    }

    fn ends(mut self, load: &Load) {
        let quiet = self.simulation.run_until_quiet(QUIET_WITHIN);
        self.tell(load);
        quiet.unwrap();
        self.simulation.run_for(EXPIRED);
        self.judge();
    }

    fn tell(&mut self, load: &Load) {
        let ms = |us: &u64| us / 1000;
        let took = self.simulation.at().since(self.begun);
        let capacity = self.simulation.act(|world, _| world.take_latencies_us());
        let jobs = self.simulation.world().ledger().jobs();
        let of_load = jobs.filter(|(_, job)| job.queued_us >= self.begun.as_millis() * 1000);
        let wait = of_load.filter_map(|(_, job)| job.wait()).map(Duration::as_millis).collect();
        println!(
            "{} jobs {}, over {POOLS} pools; Auto Scaling {} at once and {}/s, the store {}/s; all quiet after {} s",
            load.jobs,
            load.name,
            self.auto_scaling.burst,
            self.auto_scaling.per_second,
            self.store.per_second,
            took.as_millis() / 1000,
        );
        println!("  a job waits for its runner   {}", Spread::of(wait));
        println!("  a job waits for its capacity {}", Spread::of(capacity.iter().map(ms).collect()));
        println!("{}", self.figures.lock().unwrap());
    }

    fn judge(&mut self) {
        assert!(self.simulation.violations().is_empty(), "{:?}", self.simulation.violations());
        let totals = self.simulation.world().ledger().totals_ref();
        assert_eq!((totals.queued, totals.ended_well, totals.killed), (self.jobs, self.jobs, 0));
        let left = self.simulation.act(|world, at| world.left_behind(at));
        assert_eq!(left, crate::world::LeftBehind::default());
        let figures = self.figures.lock().unwrap();
        let longest = figures.longest_wait();
        assert!(longest < AGENT_WAITS, "a config waited for {} s", longest.as_millis() / 1000);
        assert_eq!(figures.storm(), None, "more than a quarter of the calls is throttled");
        let asked = figures.calls_to_github("remove_runner");
        assert!(
            asked <= self.jobs + self.jobs / 10 + self.lost,
            "{asked} runners of {} jobs were to be removed",
            self.jobs
        );
    }
}

fn pool_names() -> impl Iterator<Item = String> {
    (0..POOLS).map(|n| format!("p{n}"))
}

/// Managed pools whose instances take as long as real ones.
fn pools(auto_scaling: Rate, store: Rate) -> SimulationConfig {
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
        rate: Some(auto_scaling),
        ..AwsConfig::default()
    };
    config.latency = (Duration::from_millis(5), Duration::from_millis(50));
    config
}
