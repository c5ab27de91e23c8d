//! `traffic`: recorded exchanges against a machine of this version.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use poolkeeper_shell::journal::expand;
use poolkeeper_simulator::traffic::{self, Script, Verdict};
use serde_json::json;

use super::{DONE, FAILED, Failure};

/// The most seeds of one command.
const MAX_SEEDS: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Journal files, or directories of them, in the order in which they were written
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Draw faults from this seed, or from each of a range of seeds
    #[arg(long, value_name = "SEED|A..B", value_parser = seeds)]
    faults: Option<Range<u64>>,
    /// Print a line of JSON for each run
    #[arg(long)]
    json: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let seeds = match text.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| from..to),
        None => text.parse().ok().map(|seed: u64| seed..seed.saturating_add(1)),
    };
    let seeds = seeds.filter(|seeds| !seeds.is_empty() && seeds.end - seeds.start <= MAX_SEEDS);
    seeds.ok_or_else(|| format!("is neither a seed nor a range like 0..100 of at most {MAX_SEEDS} seeds"))
}

/// Runs the script, and says whether any judge objected.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Failure> {
    let files = expand(&options.files).map_err(Failure::Usage)?;
    let script = Script::read(files.iter().map(PathBuf::as_path)).map_err(|e| Failure::Usage(e.to_string()))?;
    if !options.json {
        let Script { version, steps, exchanges, writes, .. } = &script;
        let (segments, minutes) = (files.len(), script.millis() / 60_000);
        writeln!(
            out,
            "{exchanges} exchanges of {minutes} min, in {steps} steps of {segments} segments written by version \
             {version}; desired capacity was set {writes} times"
        )?;
    }
    let mut failed = 0_u64;
    let mut runs = 0_u64;
    let seeds = options.faults.clone().map_or_else(|| vec![None], |seeds| seeds.map(Some).collect());
    for seed in seeds {
        let verdict = traffic::run(&script, seed);
        runs += 1;
        failed += u64::from(!verdict.violations.is_empty());
        tell(options, out, &verdict)?;
    }
    if !options.json {
        let outcome = if failed == 0 { "nobody objected".to_owned() } else { format!("{failed} with violations") };
        writeln!(out, "{runs} runs: {outcome}")?;
    }
    Ok(if failed == 0 { DONE } else { FAILED })
}

fn tell(options: &Options, out: &mut dyn Write, verdict: &Verdict) -> Result<(), Failure> {
    if options.json {
        return Ok(writeln!(out, "{}", json!({ "run": verdict }))?);
    }
    let Verdict { faults, steps, answered, made_up, writes, violations, .. } = verdict;
    let name = faults.map_or_else(|| "as recorded".to_owned(), |seed| format!("faults of seed {seed}"));
    writeln!(
        out,
        "{name}: {steps} steps, {answered} calls answered as recorded, {made_up} otherwise; desired capacity was set \
         {writes} times"
    )?;
    for violation in violations {
        writeln!(out, "  {violation}")?;
    }
    if !violations.is_empty() {
        let files: Vec<String> = options.files.iter().map(|file| file.display().to_string()).collect();
        let faults = faults.map(|seed| format!(" --faults {seed}")).unwrap_or_default();
        writeln!(out, "  again: poolkeeper-sim traffic{faults} {}", files.join(" "))?;
    }
    Ok(())
}
