//! `record`: a sample recording, to try the other commands on.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal;
use poolkeeper_simulator::sample::{self, MAX_HOURS, MAX_POOLS, Sample};

use super::{DONE, Failure};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many pools
    #[arg(long, value_name = "N", default_value_t = 8)]
    pools: usize,
    /// How many simulated hours
    #[arg(long, value_name = "N", default_value_t = 1)]
    hours: u64,
    /// Decides everything that chance decides
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The directory for the journal, which must hold none yet
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// Records a sample and says what it came to.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Failure> {
    let Options { pools, hours, seed, out: dir } = options;
    if !(1..=MAX_POOLS).contains(pools) || !(1..=MAX_HOURS).contains(hours) {
        let problem = format!("--pools must be between 1 and {MAX_POOLS}, --hours between 1 and {MAX_HOURS}");
        return Err(Failure::Usage(problem));
    }
    if journal::files(dir).is_ok_and(|files| !files.is_empty()) {
        let dir = dir.display();
        return Err(Failure::Usage(format!("there is a journal in {dir} already; name another directory")));
    }
    let sample = Sample { pools: *pools, hours: *hours, seed: *seed };
    let mut told = Ok(());
    let recorded = sample::record(sample, JournalSettings::in_dir(dir), |hour| {
        if told.is_ok() && hour < *hours {
            told = writeln!(out, "{hour} of {hours} h").and_then(|()| out.flush());
        }
    });
    told?;
    let recorded = recorded.map_err(|error| Failure::Usage(format!("cannot write into {}: {error}", dir.display())))?;
    let (steps, jobs, writes) = (recorded.steps, recorded.jobs, recorded.capacity_writes);
    writeln!(
        out,
        "{hours} h of {pools} pools recorded in {}: {steps} steps, {jobs} jobs, {writes} capacity writes",
        dir.display()
    )?;
    Ok(DONE)
}
