//! `poolkeeper-sim shrink`: a failing scenario made into a short story.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use poolkeeper_simulator::scenario::{Scenario, Shrunk, shrink};

use super::{DONE, FAILED, Failure};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A seed or a scenario file
    #[arg(value_name = "SEED|FILE")]
    what: String,
}

pub(super) fn run(options: &Options, out: &mut impl Write) -> Result<u8, Failure> {
    // A panic of the machine is a finding, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let scenario = match options.what.parse::<u64>() {
        Ok(seed) => Scenario::from_seed(seed),
        Err(_) => Scenario::load(Path::new(&options.what)).map_err(Failure::Usage)?,
    };
    let terminal = io::stderr().is_terminal();
    let told = |smaller: &Scenario, runs: usize| {
        let text = format!("{} events, {} pools left after {runs} runs", smaller.events.len(), smaller.pools.len());
        // Nobody looks any more when this fails.
        drop(if terminal { write!(io::stderr(), "\r\x1b[K{text}") } else { writeln!(io::stderr(), "{text}") });
    };
    let shrunk = shrink(&scenario, told);
    if terminal {
        drop(writeln!(io::stderr()));
    }
    let Some(Shrunk { mut scenario, verdict, runs }) = shrunk else {
        drop(writeln!(io::stderr(), "{} does not fail: there is nothing to shrink", options.what));
        return Ok(FAILED);
    };
    if let Some(failure) = verdict.failure {
        scenario.story = format!("{}: {}", failure.checker, failure.what);
        drop(writeln!(io::stderr(), "{} after {runs} runs; save what follows as a file for fuzz", failure.contract));
    }
    write!(out, "{}", scenario.to_json())?;
    Ok(DONE)
}
