//! A sample recording: the journal of a simulated daemon over hours in which much goes on and some things go wrong.

mod demand;
mod trouble;

use std::io;

use poolkeeper_core::config::{Config, ConnectionConfig, CredentialKind, RawConfig};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Duration, Instant};
use poolkeeper_shell::config::JournalSettings;

use crate::aws::{AwsConfig, GroupSpec};
use crate::runners::RunnersConfig;
use crate::sandbox::scenery::Scenery;
use crate::simulation::{Simulation, SimulationConfig};
use crate::world::WorldConfig;
use demand::Demand;
use trouble::Trouble;

/// The most pools of a sample.
pub const MAX_POOLS: usize = 1_000;
/// The most hours of a sample.
pub const MAX_HOURS: u64 = 24 * 31;
/// From this many pools on, the last one is such that the daemon refuses it.
const REFUSED_FROM: usize = 8;
const SLICE: Duration = Duration::from_secs(60);

/// What a sample is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How many pools.
    pub pools: usize,
    /// How many hours.
    pub hours: u64,
    /// Decides all that chance decides.
    pub seed: u64,
}

/// What a sample came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Steps of the machine.
    pub steps: u64,
    /// Jobs that were queued.
    pub jobs: u64,
    /// Times that desired capacity was set.
    pub capacity_writes: u64,
}

/// Records a sample, and tells after each hour how many there were.
///
/// # Errors
/// When the journal cannot be written.
pub fn record(sample: Sample, journal: JournalSettings, mut tell: impl FnMut(u64)) -> io::Result<Recorded> {
    let Sample { pools, hours, seed } = sample;
    let mut rng = Rng::new(seed);
    let mut scenery = Scenery::new(pools.clamp(1, MAX_POOLS));
    if let Some(last) = scenery.groups.last_mut().filter(|_| pools >= REFUSED_FROM) {
        last.weighted = true;
    }
    let groups: Vec<_> = scenery.groups.iter().map(|group| group.name.clone()).collect();
    let mut demand = Demand::new(&scenery.sets, rng.next());
    let span = Duration::from_secs(hours.clamp(1, MAX_HOURS) * 3600);
    let mut trouble = Trouble::new(span, &groups, &scenery.sets, rng.next());
    let mut simulation = Simulation::recorded(config(scenery.groups), rng.next(), journal);
    let end = Instant::default() + span;
    let mut told = 0;
    while simulation.at() < end {
        trouble.come(&mut simulation);
        let from = simulation.at();
        for (at, key, plan) in demand.slice(from, SLICE) {
            simulation.run_for(at.since(simulation.at()));
            simulation.act(|world, now| {
                // A job that GitHub has no room for never was.
                let _ = world.queue_job(now, key, plan);
            });
        }
        simulation.run_for((from + SLICE).since(simulation.at()));
        let gone = simulation.at().as_millis() / 3_600_000;
        if gone > told {
            told = gone;
            tell(gone);
        }
    }
    simulation.close_journal()?;
    let totals = simulation.world().ledger().totals_ref();
    let (jobs, capacity_writes) = (totals.queued, totals.capacity_writes);
    Ok(Recorded { steps: simulation.steps(), jobs, capacity_writes })
}

fn config(groups: Vec<GroupSpec>) -> SimulationConfig {
    let aws = AwsConfig {
        boot: (Duration::from_secs(20), Duration::from_secs(70)),
        shutdown: Duration::from_secs(15),
        lag: Duration::from_secs(1),
        ..AwsConfig::default()
    };
    let runners =
        RunnersConfig { register: Duration::from_secs(4), leave: Duration::from_secs(2), ..RunnersConfig::default() };
    SimulationConfig {
        daemon: daemon(),
        world: WorldConfig { aws, groups, runners, ..WorldConfig::default() },
        latency: (Duration::from_millis(20), Duration::from_millis(180)),
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
        stack: crate::sandbox::scenery::STACK.into(),
        owner: "sample".to_owned(),
        connections: [("main".to_owned(), main)].into(),
        ..RawConfig::default()
    };
    Config::try_from(raw).unwrap_or_else(|problem| unreachable!("the sample's own config is valid: {problem}"))
}

#[cfg(test)]
mod tests;
