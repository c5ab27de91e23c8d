//! How much simulated time one core gets through.

use std::io::Write;
use std::time::Instant;

use poolkeeper_simulator::scenario::{self, Scenario};
use serde::Serialize;

use super::super::{DONE, FAILED, Failure};

/// The pools of each scenario that is timed.
const POOLS: usize = 10;
/// How many scenarios are timed.
const SCENARIOS: usize = 60;

#[derive(Serialize)]
struct Speed {
    scenarios: usize,
    pools: usize,
    simulated_hours: u64,
    steps: u64,
    faults: u64,
    jobs: u64,
    wall_ms: u64,
    hours_a_second: u64,
}

pub(super) fn run(json: bool, out: &mut impl Write) -> Result<u8, Failure> {
    let ten = |scenario: &Scenario| scenario.pools.len() == POOLS;
    let scenarios: Vec<_> = (0..).map(Scenario::from_seed).filter(ten).take(SCENARIOS).collect();
    let begun = Instant::now();
    let verdicts: Vec<_> = scenarios.iter().map(scenario::run).collect();
    let wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let simulated_ms: u64 = verdicts.iter().map(|verdict| verdict.stats.simulated_ms).sum();
    let speed = Speed {
        scenarios: scenarios.len(),
        pools: POOLS,
        simulated_hours: simulated_ms / 3_600_000,
        steps: verdicts.iter().map(|verdict| verdict.stats.steps).sum(),
        faults: verdicts.iter().map(|verdict| verdict.stats.faults).sum(),
        jobs: verdicts.iter().map(|verdict| verdict.stats.jobs).sum(),
        wall_ms,
        hours_a_second: simulated_ms / 3600 / wall_ms,
    };
    if json {
        writeln!(out, "{}", serde_json::to_string(&speed).unwrap_or_default())?;
    } else {
        let Speed { simulated_hours, steps, faults, jobs, hours_a_second, .. } = speed;
        writeln!(out, "{hours_a_second} simulated hours a second on one core")?;
        writeln!(
            out,
            "  the first {SCENARIOS} seeds with {POOLS} pools, one after the other on one thread, all checkers on: \
             {simulated_hours} simulated hours, {steps} steps, {faults} calls hit by faults, {jobs} jobs, {wall_ms} ms"
        )?;
    }
    Ok(if verdicts.iter().all(|verdict| verdict.failure.is_none()) { DONE } else { FAILED })
}
